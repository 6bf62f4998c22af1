"""HTTP fields of every Arkime session: methods and how often, targets, hosts, statuses, versions of both sides.

Arkime's lists are sets over a session, its counters (`method-GET`) are of requests. A status of 1xx is one of its
statuses, not an answer of ours; hosts are compared without their ports, of which it leaves out some. Sessions whose
only HTTP field is a host have it from a ClientHello. None of its captures has WebSocket.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from analyzer import Analysis, analyze
from tests.corpus import CORPUS, needs_corpus

pytestmark = [needs_corpus, pytest.mark.corpus]

Told = dict[str, Any]


@cache
def ours(file: str) -> Analysis:
    return analyze(CORPUS / file)


@cache
def sessions() -> list[tuple[str, Told]]:
    """Return (capture, session) for every session in which Arkime read HTTP."""
    found = []
    for path in sorted(CORPUS.glob("arkime/*.expect/*.test")):
        for session in json.loads(path.read_text())["sessions3"]:
            if "method" in session["body"].get("http", {}) or "statuscode" in session["body"].get("http", {}):
                found.append((f"arkime/{path.parent.name.removesuffix('.expect')}", session["body"]))
    return found


def theirs(body: Told) -> Told:
    http = body["http"]
    return {
        "methods": {name.removeprefix("method-"): n for name, n in http.items() if name.startswith("method-")},
        "targets": {path.partition("?")[0] for path in http.get("path", [])},
        "hosts": {host.partition(":")[0] for host in http.get("host", [])} - {""},
        "statuses": {code for code in http.get("statuscode", []) if code >= 200},
        "versions": {
            v.removesuffix(".0") if v == "2.0" else v
            for side in ("client", "server")
            for v in http.get(f"{side}Version", [])
        },
    }


def mine(file: str, body: Told) -> Told:
    """Return the same of our flow between these ports that began when the session did."""
    result = ours(file)
    flows = result.flows
    ports = {body["source"]["port"], body["destination"]["port"]}
    between = flows[[{a, b} == ports for a, b in zip(flows.client_port, flows.server_port, strict=True)]]
    (flow,) = between[between.first_ts.astype("int64") // 10**6 == body["firstPacket"]].flow_id
    rows = result.http_requests[result.http_requests.flow_id == flow]
    return {
        "methods": dict(Counter(rows.method.dropna())),
        "targets": {target.partition("?")[0] for target in rows.target.dropna()},
        "hosts": {host.lower().partition(":")[0] for host in rows.host.dropna()} - {""},
        "statuses": {int(code) for code in rows.status.dropna()},
        "versions": set(rows.version.dropna()),
    }


def compared() -> list[tuple[str, str, Any, Any]]:
    """Return (capture, what, ours, Arkime's) for every session and value."""
    out = []
    for file, body in sessions():
        a, b = mine(file, body), theirs(body)
        out += [(file, what, a[what], b[what]) for what in b if (what != "methods" or b[what])]
    return out


def test_sessions() -> None:
    assert len(sessions()) >= 15
    for file, what, a, b in compared():
        assert a == b, f"{file}: {what}"


def test_there_is_no_websocket_to_compare() -> None:
    assert not any(b"websocket" in path.read_bytes() for path in CORPUS.glob("arkime/*.expect/*.test"))
