"""Close state, history, packets per side and missed bytes against Zeek's conn.log (its own test baselines).

A log's row is matched with our flow by addresses and ports, in order of appearance. Letters that we do not write are
taken out of `history` first: `^` (Zeek turned the connection round), C and c (bad checksums, which we do not verify),
and X and x (a protocol analyzer gave up: nothing of TCP).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import pytest

from tests.corpus import CORPUS, needs_corpus
from tests.golden.runs import endpoints, run

pytestmark = [needs_corpus, pytest.mark.corpus]

COLUMNS = ("conn_state", "history", "packets", "missed_bytes")

LOGS_LEFT_OUT = {
    "scripts.base.frameworks.netcontrol.packetfilter": "the test drops packets on purpose",
    "core.pcap.dynamic-filter": "the test filters packets away",
    "core.vntag-in-vlan": "the one frame is cut short: Zeek logs a connection of no packets",
}
"""Zeek's tests that show it only part of the capture."""

FLOWS_DIFFER = {
    "zeek/ssh__ssh.client-side-half-duplex.pcap": (
        {"conn_state", "history", "packets"},
        "one direction only: Zeek's attempt timer ends the connection after 5 s and the rest becomes another",
    ),
    "zeek/tunnels__Teredo.pcap": (
        {"conn_state", "history", "packets"},
        "FINs without SYN, RSTs seconds apart: Zeek's timers cut each connection in two or three",
    ),
    "zeek/pppoe-over-qinq.pcap": (
        {"history"},
        "IP's total length counts Ethernet padding, PPPoE's length does not; Zeek takes it for payload",
    ),
}
"""Captures where some flows differ, in which columns at most, and why."""

NOT_OURS = {
    "zeek/ssh__ssh.client-side-half-duplex.pcap": "Zeek's second halves of one connection",
    "zeek/tunnels__Teredo.pcap": "the same",
}
"""Captures where Zeek has connections that we do not have."""


class Pair(NamedTuple):
    """A row of a log and the flow it is about, in the same words; None = not in the log."""

    zeek: dict[str, Any]
    ours: dict[str, Any]

    def differing(self) -> set[str]:
        return {name for name in COLUMNS if self.zeek[name] is not None and self.zeek[name] != self.ours[name]}


def logs() -> list[tuple[str, str]]:
    """Return (capture, test) of every conn.log."""
    found = sorted((CORPUS / "zeek").glob("*.expect/*/conn.log"))
    return [(f"zeek/{path.parts[-3].removesuffix('.expect')}", path.parts[-2]) for path in found]


def log_rows(file: str, test: str) -> list[dict[str, str]]:
    """Read the TCP rows of a log; some baselines have one bare line of column names instead of `#fields`."""
    lines = (CORPUS / f"{file}.expect" / test / "conn.log").read_text().splitlines()
    names = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    body = [line.split("\t") for line in lines if not line.startswith("#")]
    if names is None and body:
        names = body.pop(0)
    rows = [dict(zip(names or [], values, strict=True)) for values in body]
    return [row for row in rows if row.get("proto", "tcp") == "tcp"]


def letters(history: str) -> str:
    return re.sub("[Xx^Cc]", "", history)


@cache
def pairs(file: str, test: str) -> tuple[list[Pair], int]:
    """Return the rows that have a flow, and how many have none.

    A log without addresses can only be compared where there is one connection.
    """
    rows, flows = log_rows(file, test), run(file).flows
    if any("id.orig_h" not in row for row in rows):
        return ([_pair(rows[0], flows[0], False)] if len(rows) == len(flows) == 1 else []), 0
    met: Counter[object] = Counter()
    out, missing = [], 0
    for row in rows:
        orig, resp = (row["id.orig_h"], int(row["id.orig_p"])), (row["id.resp_h"], int(row["id.resp_p"]))
        same = [(f, endpoints(f) == (resp, orig)) for f in flows if endpoints(f) in ((orig, resp), (resp, orig))]
        place = met[orig, resp]
        met[orig, resp] += 1
        if place < len(same):
            out.append(_pair(row, *same[place]))
        else:
            missing += 1
    return out, missing


def _pair(row: dict[str, str], flow: dict[str, Any], turned: bool) -> Pair:
    sent = [row.get("orig_pkts", "-"), row.get("resp_pkts", "-")]
    zeek = {
        "conn_state": row.get("conn_state"),
        "history": letters(row["history"]) if "history" in row else None,
        "packets": None if "-" in sent else tuple(map(int, sent)),
        "missed_bytes": None if row.get("missed_bytes", "-") == "-" else int(row["missed_bytes"]),
    }
    packets = flow["frames_c"], flow["frames_s"]
    ours = {
        "conn_state": flow["conn_state"],
        "history": letters(flow["history"].swapcase() if turned else flow["history"]),
        "packets": packets[::-1] if turned else packets,
        "missed_bytes": (flow["missing_bytes_c"] or 0) + (flow["missing_bytes_s"] or 0),
    }
    return Pair(zeek, ours)


@pytest.mark.parametrize(("file", "test"), logs())
def test_connections(file: str, test: str) -> None:
    if test in LOGS_LEFT_OUT:
        pytest.skip(LOGS_LEFT_OUT[test])
    columns, reason = FLOWS_DIFFER.get(file, (set(), "they agree"))
    found, missing = pairs(file, test)
    for pair in found:
        assert pair.differing() <= columns, reason
    assert bool(missing) <= (file in NOT_OURS)


def test_exceptions_are_met() -> None:
    differing = {
        file for file, test in logs() if test not in LOGS_LEFT_OUT if any(p.differing() for p in pairs(file, test)[0])
    }
    assert differing == set(FLOWS_DIFFER)
    assert {file for file, test in logs() if test not in LOGS_LEFT_OUT and pairs(file, test)[1]} == set(NOT_OURS)
