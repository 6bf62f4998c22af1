"""Idle gaps: payload silences, from the kernel's rows, and the one that the end of the capture cut off.

What    Each interval of at least `idle_min` between two segments that moved the conversation (definitions B7).
Needs   gaps (GAP rows), flows (for the silence that still ran)
Gives   idle_gaps
Limits  A trailing gap is censored: the connection may have gone on. Who was to speak is inferred from who spoke last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.flows.state import END_CAPTURE, GAP, GAP_CLASSES, GAP_ENDS, LIVE, TRAILING
from analyzer.kernel import Mask, Records
from analyzer.tables.build import Coded


def still_open(facts: Facts) -> Mask:
    """Flows on which a payload could still have come when the capture ended."""
    flow = facts.flow
    half = (facts.client["fin_seq"] != 0) ^ (facts.server["fin_seq"] != 0)
    going_on = (flow["active_ts"] != 0) & ((flow["close_ts"] == 0) | (half & (flow["close_rst"] == 0)))
    no_rst = (facts.client["rst_ts"] == 0) & (facts.server["rst_ts"] == 0)
    result: Mask = going_on & no_rst & (flow["ended"] == LIVE)
    return result


def trailing_rows(facts: Facts) -> Records:
    """Return GAP rows for silences that ran into the end of the capture."""
    flow = facts.flow
    length = facts.end_ns - flow["active_ts"]
    here = np.flatnonzero(still_open(facts) & (length >= facts.settings.idle_min_ns))
    rows = np.zeros(here.size, GAP)
    chosen = flow[here]
    rows["flow_id"] = chosen["flow_id"]
    rows["start_ts"], rows["end_ts"] = chosen["active_ts"], facts.capture_end_ns
    rows["start_frame"], rows["end_frame"] = chosen["active_frame"], -1
    rows["longest_wire"] = np.maximum(chosen["gap_wire"], facts.capture_end_ns - chosen["last_ts"])
    rows["fills"] = chosen["gap_fills"]
    rows["gap_class"], rows["ended_by"] = TRAILING, END_CAPTURE
    return rows


def idle_gaps(facts: Facts) -> dict[str, Any]:
    """Return the columns of `idle_gaps`."""
    rows = np.concatenate([facts.done.gaps, trailing_rows(facts)])
    end_frame = np.ma.MaskedArray(rows["end_frame"], rows["end_frame"] < 0)
    return {
        "flow_id": rows["flow_id"],
        "start_ts": rows["start_ts"],
        "end_ts": rows["end_ts"],
        "duration_s": (rows["end_ts"] - rows["start_ts"]) / 1e9,
        "class": Coded(rows["gap_class"], GAP_CLASSES),
        "longest_wire_silence_s": rows["longest_wire"] / 1e9,
        "filled_by": Coded((rows["fills"] > 0).astype(np.int8), ("none", "keepalive")),
        "fill_count": rows["fills"].astype(np.int64),
        "ended_by": Coded(rows["ended_by"], GAP_ENDS),
        "survived": rows["survived"] == 1,
        "censored": rows["ended_by"] == END_CAPTURE,
        "start_frame": rows["start_frame"],
        "end_frame": end_frame,
    }
