"""dpkt and scapy read the same TCP headers, or there is a reason (`differential` says which)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.corpus import needs_corpus
from tests.golden.differential import LIBRARIES, Case, by_dpkt, by_scapy, captures, compare, packets, why
from tests.talk import Talk

# The scapy on sale warns of its own deprecations when it is imported
pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_disagreement_has_its_reason() -> None:
    """A sample; `python -m tests.golden.differential` reads every packet."""
    classes, unexplained = compare(captures(), 12, LIBRARIES)
    assert unexplained == []
    assert min(classes[f"{name}: agree"] for name in LIBRARIES) > 200


@needs_corpus
def test_the_odd_captures_are_read_whole() -> None:
    odd = ("reasm_crash_anon", "defrag__bug-6887", "pppoe-over-qinq", "vntag", "fuzz", "drop-protocol", "oobr")
    paths = [path for path in captures() if any(word in path.name for word in odd)]
    classes, unexplained = compare(paths, 1, LIBRARIES)
    assert unexplained == []
    assert len(classes) >= 14


@pytest.mark.parametrize("ipv6", [False, True])
def test_the_libraries_are_asked_rightly(ipv6: bool) -> None:
    """They read what we wrote; and an answer that differs from ours without a reason is not explained away."""
    frame = Talk(ipv6=ipv6).handshake().orig(b"hello", trailer=b"\0" * 6).packets[3][1]
    header = by_dpkt(1, frame)
    assert header is not None and header == by_scapy(1, frame)
    assert (header.dport, header.flags, header.payload) == (80, 24, 5)
    assert struct.pack(">I", header.seq) in frame
    assert why(Case(1, frame, "", header._replace(seq=0), header)) is None
    assert why(Case(1, frame, "", None, header)) is None
    assert why(Case(1, frame, "", header, None)) is None


def test_ours_is_what_the_decoder_says(tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(Talk().handshake().orig(b"hello").pcap())
    found = [(ours, by_dpkt(link, data)) for link, data, _, ours in packets(path)]
    assert all(ours is not None and ours == theirs for ours, theirs in found)
    assert len(found) == 4
