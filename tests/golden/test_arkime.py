"""TCP flag counts, packets and bytes of every session against Arkime's own test results.

Arkime's `client.bytes` and `server.bytes` count stream bytes once, as our `payload_bytes` do; `source.bytes` and
`destination.bytes` count frames. Sessions are matched by ports, in order of time. Where Arkime writes a long connection
in several pieces (each so many packets or minutes), the pieces are added up.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from tests.corpus import CORPUS, needs_corpus
from tests.golden.runs import endpoints, run

pytestmark = [needs_corpus, pytest.mark.corpus]

FLAGS = {
    "syn": lambda flags: "S" in flags and "A" not in flags,
    "syn-ack": lambda flags: "S" in flags and "A" in flags,
    "ack": lambda flags: "A" in flags and not set(flags) & set("SFRP"),
    "psh": lambda flags: "P" in flags,
    "fin": lambda flags: "F" in flags,
    "rst": lambda flags: "R" in flags,
}

PAYLOAD_DIFFERS = {
    "arkime/imap.pcap": "joined midstream: Arkime counts none of the stream",
    "arkime/tcp-reassembly-synthetic.pcap": "a hole that is never filled: Arkime does not count what lies behind it",
    "arkime/tcpseq_synthetic.pcap": "two broken segments from port 0 to port 0: Arkime takes neither for payload",
    "arkime/y2038-bgp.pcap": "the clock wraps, Arkime's pieces overlap in time and lose one message",
}
"""Captures with another number of stream bytes, and why. All else agrees in them too."""

Session = tuple[tuple[int, ...], ...]  # packets, wire bytes, payload bytes (lower port first), then flag counts
Sessions = dict[tuple[int, int], list[Session]]


def results() -> list[str]:
    """Return the captures with results of Arkime."""
    return sorted(
        {f"arkime/{path.parts[-2].removesuffix('.expect')}" for path in CORPUS.glob("arkime/*.expect/*.test")}
    )


def theirs(file: str) -> Sessions:
    """Return the TCP sessions by ports, in order of time."""
    out: Sessions = defaultdict(list)
    for path in (CORPUS / f"{file}.expect").glob("*.test"):
        bodies = [session["body"] for session in json.loads(path.read_text())["sessions3"]]
        for body in sorted(bodies, key=lambda body: body["firstPacket"]):
            if body.get("ipProtocol") == 6:
                source, target = body["source"], body["destination"]
                pairs = [(source[name], target[name]) for name in ("packets", "bytes")]
                pairs.append((body["client"]["bytes"], body["server"]["bytes"]))
                flags = tuple(body["tcpflags"][name] for name in FLAGS)
                _add(out, (source["port"], target["port"]), pairs, flags)
    return out


def ours(file: str) -> Sessions:
    """Return our flows in the same shape; the source is the sender of the first frame."""
    out: Sessions = defaultdict(list)
    first = {segment.flow_id: segment.client_to_server for segment in reversed(run(file).segments)}
    flags: dict[int, list[str]] = defaultdict(list)
    for segment in run(file).segments:
        flags[segment.flow_id].append(segment.flags)
    for flow in run(file).flows:
        k = flow["flow_id"]
        (_, client), (_, server) = endpoints(flow)
        pairs = [(flow[f"{name}_c"], flow[f"{name}_s"]) for name in ("frames", "wire_bytes", "payload_bytes")]
        counts = tuple(sum(map(test, flags[k])) for test in FLAGS.values())
        if first[k]:
            _add(out, (client, server), pairs, counts)
        else:
            _add(out, (server, client), [pair[::-1] for pair in pairs], counts)
    return out


def _add(out: Sessions, ports: tuple[int, int], pairs: list[tuple[int, int]], flags: tuple[int, ...]) -> None:
    """Enter a session with the lower port first, since who began is a guess where no SYN was seen."""
    if ports[0] > ports[1]:
        ports, pairs = ports[::-1], [pair[::-1] for pair in pairs]
    out[ports].append((*pairs, flags))


def added_up(sessions: list[Session]) -> list[Session]:
    return [tuple(tuple(map(sum, zip(*part, strict=True))) for part in zip(*sessions, strict=True))]


def compared(file: str) -> list[tuple[Session, Session]]:
    """Return (ours, Arkime's) for every session."""
    mine, other = ours(file), theirs(file)
    out: list[tuple[Session, Session]] = []
    for ports in sorted({*mine, *other}):
        a, b = mine.get(ports, []), other.get(ports, [])
        if a and b and len(a) != len(b):
            a, b = added_up(a), added_up(b)
        out += zip(a, b, strict=True)
    return out


def agrees(file: str, mine: Session, other: Session) -> bool:
    """Compare; in a capture of `PAYLOAD_DIFFERS` all but the stream bytes."""
    if file in PAYLOAD_DIFFERS:
        return mine[:2] + mine[3:] == other[:2] + other[3:]
    return mine == other


@pytest.mark.parametrize("file", results())
def test_sessions(file: str) -> None:
    for mine, other in compared(file):
        assert agrees(file, mine, other), f"{mine} is not {other}"


def test_exceptions_are_met() -> None:
    assert {file for file in results() if any(a != b for a, b in compared(file))} == set(PAYLOAD_DIFFERS)
