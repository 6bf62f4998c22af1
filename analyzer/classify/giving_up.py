"""How long a side goes on when nothing it sends is acknowledged: TCP_USER_TIMEOUT, seen over connections.

What    At least LEAST connections of one server on which the same side gave up after the same time: by a reset, which
        says when, or silently, which bounds it by the last repetition and the one that never came.
Source  RFC 9293 section 3.8.3 (R2), RFC 5482 (user timeout), RFC 6298 section 5.5; Linux tcp(7), TCP_USER_TIMEOUT
Needs   flows that ended unanswered (abort_retransmit, abort_zero_window), as they finish
Gives   findings: timeout.unacknowledged
Limits  Time counts from the newest data: a program that goes on writing while nothing is acknowledged starts it anew.
        A limit by count (tcp_retries2) on paths with the same round trip comes to the same time and is not told apart.
Memory  54 bytes for each such connection, until the end.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.clusters import window_us
from analyzer.classify.facts import Facts
from analyzer.classify.grouped import Rows, by_server
from analyzer.classify.verdict import KIND, Verdict

LEAST = 3
_MOST_SPAN = 2.2  # one connection alone bounds it that far: its waits double
_NEXT = 2.2  # times the last wait: by then the next repetition was due, a tick late at most
_KINDS = tuple(KIND[kind] for kind in ("abort_retransmit", "abort_zero_window"))

GAVE_UP = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("flow_id", np.int64),
     ("frame", np.int64), ("side", np.int8), ("least_us", np.int64), ("most_us", np.int64)]
)  # fmt: skip


def gave_up(facts: Facts, verdict: Verdict) -> Rows:
    """Return GAVE_UP rows of the finished flows on which a side gave up; least, most: for how long it tried."""
    side = verdict.initiator.astype(np.int8)  # of these kinds it is the client or the server
    begun = facts.of(side, "new_data_ts")
    here = np.flatnonzero(np.isin(verdict.kind, _KINDS) & (begun != 0))
    flow, side, begun = facts.flow.at(here), side[here], begun[here]
    at_end = verdict.resetter[here] == side
    last, gap = (facts.of(verdict.initiator, name)[here] for name in ("retry_ts", "retry_gap"))
    reset = facts.of(verdict.initiator, "rst_ts")[here]
    rows = np.zeros(here.size, GAVE_UP)
    for name, field in (
        ("version", "ip_version"), ("port", "server_port"), ("hi", "server_hi"), ("lo", "server_lo"),
        ("flow_id", "flow_id"),
    ):  # fmt: skip
        rows[name] = flow[field]
    rows["frame"] = np.where(at_end, facts.of(verdict.initiator, "rst_frame")[here], flow["last_frame"])
    rows["side"] = side
    rows["least_us"] = (np.where(at_end, reset, last) - begun) // 1000
    rows["most_us"] = (np.where(at_end, reset, last + (_NEXT * gap).astype(np.int64)) - begun) // 1000
    return rows


def limits(rows: Rows) -> list[tuple[Rows, float, float]]:
    """Return for each server and side with one limit its rows, and the seconds between which that lies."""
    found = []
    for mine in by_server(rows):
        for side in (0, 1):
            some = mine[mine["side"] == side]
            if some.size < LEAST:
                continue
            told = some[some["least_us"] == some["most_us"]]
            if told.size >= LEAST:
                low = int(told["least_us"].min())
                if int(told["least_us"].max()) - low <= int(window_us(np.array([low]))[0]):
                    found.append((told, low / 1e6, low / 1e6))
            elif told.size == 0:
                low, high = int(some["least_us"].max()), int(some["most_us"].min())
                if low <= high <= _MOST_SPAN * low:
                    found.append((some, low / 1e6, high / 1e6))
    return found
