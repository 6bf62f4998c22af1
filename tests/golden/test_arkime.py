"""TCP flag counts, packets and bytes of every session against Arkime's own test results.

Arkime's `client.bytes` and `server.bytes` count stream bytes once, as our `payload_bytes` do; `source.bytes` and
`destination.bytes` count frames. A session on ports that were used before is matched in order of time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import pytest

from tests.corpus import CORPUS, needs_corpus
from tests.golden.runs import endpoints, run

pytestmark = [needs_corpus, pytest.mark.corpus]

FLAGS = {
    "syn": lambda flags: "S" in flags and "A" not in flags,
    "syn-ack": lambda flags: "S" in flags and "A" in flags,
    "ack": lambda flags: flags == "A",
    "psh": lambda flags: "P" in flags,
    "fin": lambda flags: "F" in flags,
    "rst": lambda flags: "R" in flags,
}

DIFFER: dict[str, tuple[set[str], str]] = {}


class Session(NamedTuple):
    ports: tuple[int, int]
    packets: tuple[int, int]
    wire_bytes: tuple[int, int]
    payload_bytes: tuple[int, int]
    flags: tuple[int, ...]


def results() -> list[str]:
    """Return the captures with results of Arkime."""
    return sorted(
        {f"arkime/{path.parts[-2].removesuffix('.expect')}" for path in CORPUS.glob("arkime/*.expect/*.test")}
    )


def theirs(file: str) -> list[Session]:
    """Return the TCP sessions, in order of time."""
    out = []
    for path in (CORPUS / f"{file}.expect").glob("*.test"):
        bodies = [session["body"] for session in json.loads(path.read_text())["sessions3"]]
        for body in sorted(bodies, key=lambda body: body["firstPacket"]):
            if body.get("ipProtocol") == 6:
                out.append(_session(body))
    return sorted(out, key=lambda session: session.ports)


def _session(body: dict[str, Any]) -> Session:
    source, target = body["source"], body["destination"]
    return Session(
        (source["port"], target["port"]),
        (source["packets"], target["packets"]),
        (source["bytes"], target["bytes"]),
        (body["client"]["bytes"], body["server"]["bytes"]),
        tuple(body["tcpflags"][name] for name in FLAGS),
    )


@cache
def ours(file: str) -> list[Session]:
    """Return our flows as sessions, in order of time; the source is the sender of the first frame."""
    out = []
    first = {segment.flow_id: segment.client_to_server for segment in reversed(run(file).segments)}
    flags: dict[int, list[str]] = defaultdict(list)
    for segment in run(file).segments:
        flags[segment.flow_id].append(segment.flags)
    for flow in run(file).flows:
        (_, client), (_, server) = endpoints(flow)
        turn = 1 if first[flow["flow_id"]] else -1
        both = [(flow[f"{name}_c"], flow[f"{name}_s"])[::turn] for name in ("frames", "wire_bytes", "payload_bytes")]
        counts = tuple(sum(map(test, flags[flow["flow_id"]])) for test in FLAGS.values())
        out.append(Session((client, server)[::turn], *both, counts))
    return sorted(out, key=lambda session: session.ports)


@pytest.mark.parametrize("file", results())
def test_sessions(file: str) -> None:
    assert ours(file) == theirs(file)
