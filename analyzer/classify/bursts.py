"""Connections of one server that end together: a restart, a deployment, a load balancer that lets go of its targets.

What    At least LEAST closes by the server within WINDOW_NS, after different ages and different silences, so that no
        timer explains it, and CONTRAST times as many as the server's other closes would make likely.
Needs   flows and closes, as they finish
Gives   findings: close.burst
Limits  Only connections that lasted LEAST_AGE_NS count: short ones end together whenever many begin together.
Memory  61 bytes for each close of that kind, until the end.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.classify.grouped import Rows, by_server
from analyzer.classify.verdict import Verdict
from analyzer.tables.tcp import INITIATORS

LEAST = 5
WINDOW_NS = 2_000_000_000
CONTRAST = 5
LEAST_AGE_NS = 10_000_000_000
_SPREAD_NS = 2_000_000_000  # timers that count age or silence end connections closer together than that

CLOSE = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("ts", np.int64), ("age", np.int64),
     ("idle", np.int64), ("frame", np.int64), ("flow_id", np.int64)]
)  # fmt: skip


def closes_of(facts: Facts, verdict: Verdict) -> Rows:
    """Return CLOSE rows of the finished flows that their server ended after a while."""
    flow = facts.flow
    age = flow["close_ts"] - flow["first_ts"]
    by_server = verdict.initiator == INITIATORS.index("server")
    here = np.flatnonzero(by_server & (flow["close_ts"] != 0) & (age >= LEAST_AGE_NS))
    rows = np.zeros(here.size, CLOSE)
    for name, field in (
        ("version", "ip_version"), ("port", "server_port"), ("hi", "server_hi"), ("lo", "server_lo"),
        ("ts", "close_ts"), ("idle", "close_idle_payload"), ("frame", "close_frame"), ("flow_id", "flow_id"),
    ):  # fmt: skip
        rows[name] = flow[field][here]
    rows["age"] = age[here]
    return rows


def bursts(rows: Rows) -> list[Rows]:
    """Return the bursts among CLOSE rows, each with its rows by time."""
    return [burst for mine in by_server(rows) for burst in _of_server(mine[np.argsort(mine["ts"], kind="stable")])]


def _of_server(rows: Rows) -> list[Rows]:
    """Return the bursts of one server; `rows` by time."""
    ts, found, k = rows["ts"], [], 0
    end = np.searchsorted(ts, ts + WINDOW_NS, "right")
    usual = CONTRAST * WINDOW_NS / max(int(ts[-1] - ts[0]), WINDOW_NS)
    held = end - np.arange(rows.size)
    for first in np.flatnonzero((held >= LEAST) & (held >= usual * (rows.size - held))).tolist():
        if first < k:
            continue
        burst = rows[first : end[first]]
        if np.ptp(burst["age"]) >= _SPREAD_NS and np.ptp(burst["idle"]) >= _SPREAD_NS:
            found.append(burst)
            k = int(end[first])
    return found
