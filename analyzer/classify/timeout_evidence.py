"""What timeouts are inferred from: closes with the silences before them, and silences that were or were not survived.

Source  definitions B12
Needs   closes, idle_gaps
Gives   CLOSE and GAP rows of finished flows, for `timeouts`
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.bursts import restarted
from analyzer.classify.facts import Array, Facts
from analyzer.classify.idle_gap import trailing_rows
from analyzer.classify.promises import broken
from analyzer.classify.verdict import KIND, Verdict
from analyzer.flows.state import AFTER_HALF_CLOSE, END_RST, STALLED_UNACKED, STALLED_ZERO_WINDOW, THINK_TIME, TRAILING
from analyzer.kernel import chosen_rows, joined_rows
from analyzer.protocols.channel import HTTP1, HTTP2, TLS

Rows = NDArray[Any]

# What killed data after a silence: the path had forgotten the connection, or the host was gone
_KILLED = tuple(
    KIND[k] for k in ("rst_to_data_stale", "rst_to_keepalive", "silent_death", "abort_retransmit", "abort_keepalive")
)
DIED, SURVIVED, RUNNING = range(3)

CLOSE = np.dtype(
    [("hi", np.int64), ("lo", np.int64), ("client_hi", np.int64), ("client_lo", np.int64), ("port", np.int32),
     ("version", np.int8), ("side", np.int8), ("rst", np.int8), ("answered", np.int8), ("http", np.int8),
     ("ts", np.int64),
     ("flow_id", np.int64), ("silence", np.int64, (4,))],
)  # fmt: skip
GAP = np.dtype(
    [("hi", np.int64), ("lo", np.int64), ("port", np.int32), ("version", np.int8), ("thinking", np.int8),
     ("fate", np.int8), ("flow_id", np.int64), ("payload", np.int64), ("wire", np.int64), ("age", np.int64)]
)  # fmt: skip


def closes_of(facts: Facts, verdict: Verdict, idle_app_s: Array) -> Rows:
    """Closes by a FIN, and by a RST after a silence, whoever was reset: the first closing segment and its silences.

    Of a side that said goodbye first the silence is the one before that, and the timer its own. A client that had
    waited for an answer gave that up: no idle timeout; nor is a promise that the other side broke, or a restart.
    """
    flow, app, farewell = facts.flow, facts.app, facts.farewell
    by_fin = (flow["close_rst"] == 0) & (verdict.kind != KIND["fin_simultaneous"])
    chosen = (flow["close_ts"] != 0) & (flow["close_idle_payload"] >= 0) & ~broken(facts) & ~restarted(facts)
    http = np.isin(app["reader"], (HTTP1, HTTP2))
    chosen &= ~(http & (app["outstanding"] > 0) & (flow["close_dir"] == app["requester"]))
    unanswered = facts.client["payload_ts"] > facts.server["payload_ts"]
    chosen &= ~(unanswered & (flow["close_dir"] == 0) & (farewell.side < 0))
    here = np.flatnonzero(chosen & (by_fin | (verdict.kind == KIND["rst_on_idle"])))
    rows = np.zeros(here.size, CLOSE)
    for name, field in (
        ("hi", "server_hi"), ("lo", "server_lo"), ("client_hi", "client_hi"), ("client_lo", "client_lo"),
        ("port", "server_port"), ("version", "ip_version"), ("side", "close_dir"), ("rst", "close_rst"),
        ("ts", "close_ts"), ("flow_id", "flow_id"),
    ):  # fmt: skip
        rows[name] = flow[field][here]
    # A response ended it if the server had the last word and there was a question: after a FIN nothing counts.
    last_c, last_s, said_c, said_s = (
        side[name][here] for name in ("payload_ts", "payload_bytes") for side in (facts.client, facts.server)
    )
    rows["answered"] = (last_s > last_c) & (said_c > 0) & (said_s > 0)
    parted = farewell.side[here] >= 0
    rows["side"] = np.where(parted, farewell.side[here], rows["side"])
    rows["answered"] |= parted & (farewell.side[here] == 1)
    rows["http"] = (http | (app["reader"] == TLS))[here]  # what TLS hides may be HTTP
    payload = np.where(parted, farewell.silence[here], flow["close_idle_payload"][here])
    spoken = np.nan_to_num(1e9 * idle_app_s[here]).astype(np.int64)
    silences = (
        flow["close_idle_wire"][here],
        payload,
        np.maximum(payload, spoken),
        rows["ts"] - flow["first_ts"][here],
    )
    for k, silence in enumerate(silences):
        rows["silence"][:, k] = silence // 1000
    return rows


def gaps_of(facts: Facts, verdict: Verdict) -> Rows:
    """Silences that were survived or still run, and those that killed what came after them."""
    parting = facts.farewell.gap[facts.farewell.gap >= 0]  # ended by the very timer, if with words
    gaps = joined_rows(np.delete(facts.done.gaps, parting), trailing_rows(facts))
    row = facts.rows_of(gaps["flow_id"])
    gaps, row = gaps[row >= 0], row[row >= 0]
    if row.size == 0:
        return np.zeros(0, GAP)
    flow = facts.flow
    half = (facts.client["fin_seq"][row] != 0) | (facts.server["fin_seq"][row] != 0)
    running = (gaps["gap_class"] == TRAILING) & ~half
    killed = np.isin(verdict.kind[row], _KILLED) & ~half & (gaps["survived"] == 0) & ~running
    killed &= (gaps["end_ts"] >= flow["payload_ts"][row]) | (gaps["ended_by"] >= END_RST)  # the last one of its flow
    stalled = np.isin(gaps["gap_class"], (STALLED_UNACKED, STALLED_ZERO_WINDOW, AFTER_HALF_CLOSE))
    keep = ~stalled & ((gaps["survived"] == 1) | running | killed)
    gaps, row = chosen_rows(gaps, keep), row[keep]
    rows = np.zeros(gaps.shape[0], GAP)
    rows["hi"], rows["lo"] = flow["server_hi"][row], flow["server_lo"][row]
    rows["port"], rows["version"] = flow["server_port"][row], flow["ip_version"][row]
    server_last = facts.server["payload_ts"][row] > facts.client["payload_ts"][row]
    rows["thinking"] = np.where(running[keep], server_last, gaps["gap_class"] == THINK_TIME)
    rows["fate"] = np.where(running[keep], RUNNING, np.where(killed[keep], DIED, SURVIVED))
    rows["flow_id"] = gaps["flow_id"]
    rows["payload"] = (gaps["end_ts"] - gaps["start_ts"]) // 1000
    rows["wire"] = gaps["longest_wire"] // 1000
    rows["age"] = np.where(running[keep], gaps["end_ts"] - flow["first_ts"][row], 0) // 1000
    return rows
