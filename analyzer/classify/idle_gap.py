"""Idle gaps: payload silences, from the kernel's rows, and the one that the end of the capture cut off.

What    Each interval of at least `idle_min` between two segments that moved the conversation (definitions B7).
Needs   gaps (GAP rows), flows (for the silence that still ran)
Gives   idle_gaps
Limits  A trailing gap is censored: the connection may have gone on. Where no protocol is read, who was to speak is
        inferred from who spoke last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.flows.state import (
    END_CAPTURE,
    GAP,
    GAP_CLASSES,
    GAP_ENDS,
    LIVE,
    SERVER_WAIT,
    STREAM_PAUSE,
    THINK_TIME,
    TRAILING,
    TUNNEL_IDLE,
    UNKNOWN_CLASS,
    WEBSOCKET_IDLE,
)
from analyzer.kernel import I64, Mask, Records, chosen_rows, joined_rows
from analyzer.protocols.channel import PHASE_UNKNOWN
from analyzer.tables.build import MISSING, Coded


def still_open(facts: Facts) -> Mask:
    """Flows on which a payload could still have come when the capture ended."""
    flow = facts.flow
    half = (facts.client["fin_seq"] != 0) ^ (facts.server["fin_seq"] != 0)
    going_on = (flow["active_ts"] != 0) & ((flow["close_ts"] == 0) | (half & (flow["close_rst"] == 0)))
    no_rst = (facts.client["rst_ts"] == 0) & (facts.server["rst_ts"] == 0)
    result: Mask = going_on & no_rst & (flow["ended"] == LIVE)
    return result


# What a protocol says of the state in which a silence began; PHASE_UNKNOWN leaves the guess from TCP
_CLASS_OF_PHASE = np.array(
    [UNKNOWN_CLASS, THINK_TIME, SERVER_WAIT, STREAM_PAUSE, WEBSOCKET_IDLE, TUNNEL_IDLE], np.int8
)  # fmt: skip
_BY_TURN = (THINK_TIME, SERVER_WAIT)  # classes that TCP alone could only guess


def in_phase(facts: Facts, rows: Records) -> Array:
    """Return the class of each gap: what the protocol knew when it began, where one did and nothing stalled."""
    known = _phases(facts, rows)
    better = np.isin(rows["gap_class"], _BY_TURN) & (known != PHASE_UNKNOWN)
    result: Array = np.where(better, _CLASS_OF_PHASE[known], rows["gap_class"])
    return result


def _phases(facts: Facts, rows: Records) -> Array:
    """Return the phase in which each gap began: of the silence that covers it, else the flow's last one."""
    quiet = facts.silences
    known = np.zeros(rows.shape[0], np.int8)
    if rows.shape[0] == 0:
        return known
    row = facts.rows_of(rows["flow_id"])
    if facts.n:
        said = facts.app["last_ts"][row]
        last = (row >= 0) & (said <= rows["start_ts"]) & (said != 0)
        known[last] = facts.app["phase"][row[last]]
    if quiet.shape[0]:
        flow = np.concatenate([quiet["flow_id"], rows["flow_id"]])
        start = np.concatenate([quiet["start_ts"], rows["start_ts"]])
        kind = np.repeat(np.array([0, 1], np.int8), [quiet.shape[0], rows.shape[0]])
        order = np.lexsort((kind, start, flow))
        latest = np.maximum.accumulate(np.where(order < quiet.shape[0], np.arange(order.size), -1))
        found = np.where(latest >= 0, order[latest], -1)[np.argsort(order)][quiet.shape[0] :]  # for each gap
        one = chosen_rows(quiet, np.maximum(found, 0))
        covers = (found >= 0) & (one["flow_id"] == rows["flow_id"]) & (one["end_ts"] > rows["start_ts"])
        known[covers] = one["phase"][covers]
    return known


# Silences in which nobody owed anything: what an idle timer counts
IDLE = (THINK_TIME, WEBSOCKET_IDLE, TUNNEL_IDLE)

OFTEN = 2
"""Where as many silences of a flow were as long and survived, no timer ended this one: it would have struck before."""

_ALIKE = 0.97


def outlived(facts: Facts, silence_ns: I64) -> I64:
    """Return how many idle silences about as long as `silence_ns` (n,), or longer, each flow survived."""
    row, length = facts.survived_idle
    result: I64 = np.bincount(row[length >= _ALIKE * silence_ns[row]], minlength=facts.n)
    return result


def longest_pause(facts: Facts) -> I64:
    """Return the longest pause of a stream that each flow survived, in ns, 0 = none."""
    gaps, row = facts.done.gaps, facts.gap_row
    here = np.flatnonzero((gaps["survived"] == 1) & (row >= 0) & (facts.gap_class == STREAM_PAUSE))
    longest = np.zeros(facts.n, np.int64)
    np.maximum.at(longest, row[here], (gaps["end_ts"] - gaps["start_ts"])[here])
    return longest


def survived_idle(facts: Facts) -> tuple[I64, I64]:
    """Return `Facts.survived_idle`."""
    gaps, row = facts.done.gaps, facts.gap_row
    worked = (gaps["survived"] == 1) & (row >= 0) & np.isin(facts.gap_class, IDLE)
    worked[facts.farewell.gap[facts.farewell.gap >= 0]] = False
    return row[worked], (gaps["end_ts"] - gaps["start_ts"])[worked]


def stalled_at_end(facts: Facts) -> Mask:
    """Return on which flows the silence that the end of the capture cut off was spent behind a closed window."""
    flow = facts.flow
    since = np.where(flow["gap_zero_ts"] != 0, facts.end_ns - flow["gap_zero_ts"], 0)
    closed = flow["gap_closed_ns"] + since
    result: Mask = still_open(facts) & (closed > 0) & (2 * closed >= facts.end_ns - flow["active_ts"])
    return result


def trailing_rows(facts: Facts) -> Records:
    """Return GAP rows for silences that ran into the end of the capture."""
    flow = facts.flow
    length = facts.end_ns - flow["active_ts"]
    here = np.flatnonzero(still_open(facts) & (length >= facts.settings.idle_min_ns))
    rows = np.zeros(here.size, GAP)
    rows["flow_id"] = flow["flow_id"][here]
    rows["start_ts"], rows["end_ts"] = flow["active_ts"][here], facts.end_ns[here]
    rows["start_frame"], rows["end_frame"] = flow["active_frame"][here], -1
    rows["longest_wire"] = np.maximum(flow["gap_wire"][here], (facts.end_ns - flow["last_ts"])[here])
    rows["fills"] = flow["gap_fills"][here]
    rows["gap_class"], rows["ended_by"] = TRAILING, END_CAPTURE
    return rows


def idle_gaps(facts: Facts) -> dict[str, Any]:
    """Return the columns of `idle_gaps`."""
    trailing = trailing_rows(facts)
    rows = joined_rows(facts.done.gaps, trailing)
    codes = np.concatenate([facts.gap_class, in_phase(facts, trailing)])
    return {
        "flow_id": rows["flow_id"],
        "start_ts": rows["start_ts"],
        "end_ts": rows["end_ts"],
        "duration_s": (rows["end_ts"] - rows["start_ts"]) / 1e9,
        "class": Coded(codes, GAP_CLASSES),
        "longest_wire_silence_s": rows["longest_wire"] / 1e9,
        "filled_by": Coded((rows["fills"] > 0).astype(np.int8), ("none", "keepalive")),
        "fill_count": rows["fills"].astype(np.int64),
        "ended_by": Coded(rows["ended_by"], GAP_ENDS),
        "survived": rows["survived"] == 1,
        "censored": rows["ended_by"] == END_CAPTURE,
        "start_frame": rows["start_frame"],
        "end_frame": np.where(rows["end_frame"] >= 0, rows["end_frame"], MISSING),
    }
