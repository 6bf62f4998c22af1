"""How many requests a server takes on one connection, seen over its connections.

What    At least LEAST connections that the server ended right after the same number of responses, and none with more.
Source  RFC 9112 section 9.3 (`Keep-Alive: max=` says it in advance, if it is said at all); nginx keepalive_requests
Needs   flows whose HTTP was read, as they finish
Gives   findings: http.max_requests
Limits  Fewer than LEAST_REQUESTS are not told from clients that all want the same few things.
Memory  42 bytes for each such connection, until the end.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.classify.grouped import Rows, by_server
from analyzer.classify.verdict import Verdict
from analyzer.protocols.channel import HTTP1
from analyzer.tables.tcp import INITIATORS

LEAST = 3
LEAST_REQUESTS = 10

SERVED = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("flow_id", np.int64),
     ("frame", np.int64), ("responses", np.int32), ("ended", np.int8)]
)  # fmt: skip


def served(facts: Facts, verdict: Verdict) -> Rows:
    """Return SERVED rows of the finished flows with many responses; ended: the server closed right after the last."""
    app, flow = facts.app, facts.flow
    here = np.flatnonzero((app["reader"] == HTTP1) & (app["responses"] >= LEAST_REQUESTS))
    rows = np.zeros(here.size, SERVED)
    for name, field in (
        ("version", "ip_version"), ("port", "server_port"), ("hi", "server_hi"), ("lo", "server_lo"),
        ("flow_id", "flow_id"), ("frame", "close_frame"),
    ):  # fmt: skip
        rows[name] = flow[field][here]
    rows["responses"] = app["responses"][here]
    at_once = flow["close_idle_payload"] < facts.settings.idle_min_ns
    by_hand = (verdict.initiator == INITIATORS.index("server")) & (app["outstanding"] == 0) & (flow["close_ts"] != 0)
    rows["ended"] = (at_once & by_hand)[here]
    return rows


def limits(rows: Rows) -> list[Rows]:
    """Return for each server with a limit the rows of the connections that reached it."""
    found = []
    for mine in by_server(rows):
        most = mine["responses"].max()
        reached = mine[(mine["responses"] == most) & (mine["ended"] == 1)]
        if reached.size >= LEAST and reached.size == np.count_nonzero(mine["responses"] == most):
            found.append(reached)
    return found
