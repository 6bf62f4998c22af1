"""Packets per direction of every TCP flow against nDPI's own test results.

nDPI ends a flow when it is idle and begins another on the same ports; the packets of an address pair are added up.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.corpus import CORPUS, needs_corpus
from tests.golden.runs import Endpoint, endpoints, run

pytestmark = [needs_corpus, pytest.mark.corpus]

FLOW = re.compile(
    r"\s*\d+\s+TCP (\S+):(\d+) <?-> (\S+):(\d+) .*?\[(\d+) pkts/\d+ bytes <?-> (\d+) pkts/\d+ bytes\]"
)  # fmt: skip

DIFFER = {
    "ndpi/ajp.pcap": "nDPI does not read the twelve FabricPath frames",
    "ndpi/capwap_data.pcapng": "TCP inside CAPWAP data, which we do not decode",
    "ndpi/fuzz-2021-10-13.pcap": "one frame of link type NULL with random bytes; tshark sees no TCP in it either",
    "ndpi/ndpi_match_string_subprotocol__error.pcapng": "nDPI drops frame 10, which is shorter than its IP length",
    "ndpi/reasm_crash_anon.pcapng": "fuzzed: nDPI drops nine broken IP lengths and counts two broken TCP headers",
}

Count = Counter[tuple[Endpoint, Endpoint]]


def results() -> list[str]:
    """Return the captures with results of nDPI."""
    return sorted({f"ndpi/{path.parts[-2].removesuffix('.expect')}" for path in CORPUS.glob("ndpi/*.expect/*.out")})


def theirs(file: str) -> Count:
    """Return packets by (sender, receiver)."""
    count: Count = Counter()
    for path in (CORPUS / f"{file}.expect").glob("*.out"):
        for found in filter(None, map(FLOW.match, path.read_text(errors="replace").splitlines())):
            a, b = (found[1].strip("[]"), int(found[2])), (found[3].strip("[]"), int(found[4]))
            count[a, b] += int(found[5])
            count[b, a] += int(found[6])
    return +count


def ours(file: str) -> Count:
    """Return packets by (sender, receiver)."""
    count: Count = Counter()
    for flow in run(file).flows:
        client, server = endpoints(flow)
        count[client, server] += flow["frames_c"]
        count[server, client] += flow["frames_s"]
    return +count


@pytest.mark.parametrize("file", results())
def test_packets_per_direction(file: str) -> None:
    if file in DIFFER:
        assert ours(file) != theirs(file), f"no longer true: {DIFFER[file]}"
    else:
        assert ours(file) == theirs(file)
