"""What heartbeats say about a close: that nobody answered the last ones, or that they came too seldom.

Needs   closes, heartbeats and heartbeat_series of the same flows
Gives   findings: heartbeat.unanswered, heartbeat.too_slow
Limits  Not said of connections that both programs ended in order without a single answer: some servers never do.
        One beat that a protocol names is enough to be missed; of those inferred from timing it takes two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.idle_gap import OFTEN, outlived
from analyzer.classify.promises import broken
from analyzer.classify.verdict import KIND, Verdict, late_bytes
from analyzer.kernel import I64, Mask, distinct
from analyzer.tables.tcp import GRACE, INITIATORS, TRIGGERS

_LEAST_INFERRED = 2  # unanswered beats
_LEAST_BEATS = 3  # of a series whose period is believed
_SLACK = 1.05  # a beat that finds the connection gone comes a little later than its period
_GONE = ("rst_on_idle", "rst_to_data_stale", "rst_to_keepalive", "silent_death", "abort_retransmit")


def unanswered(facts: Facts, verdict: Verdict, graceful_app: Array, beats: dict[str, Any]) -> tuple[I64, Array, Array]:
    """Return the flows that ended after beats nobody answered: index, seconds since the first of them, its frame.

    beats: columns of `heartbeats`, at least one row, each series together and by time
    """
    due = np.flatnonzero(beats["answered"] >= 0)  # one-way beats, and those that may still be answered, say nothing
    if due.size == 0:
        return due, np.zeros(0), due
    flow_id, missed, good = beats["flow_id"][due], beats["missed"][due] == 1, beats["answered"][due] == 1
    at = np.arange(due.size)
    start = np.flatnonzero(np.r_[True, _changes(flow_id) | _changes(beats["series_id"][due])])
    first = np.maximum(np.maximum.reduceat(np.where(good, at, -1), start) + 1, start)  # of those at the end
    run = np.append(start[1:], due.size) - first
    waited = np.maximum.reduceat(np.where(missed, at, -1), start) >= first  # long enough to say so
    inferred = np.array(beats["method"].names)[beats["method"].codes[due[start]]] == "inferred"
    here = facts.rows_of(flow_id[start])
    closed = facts.flow["close_ts"][here] != 0
    beater = beats["dir"].codes[due[start]].astype(np.int64)
    leaves = _parted_first(facts)[here] == 2 - beater  # who says goodbye is alive, whatever it answers
    leaves |= (verdict.initiator[here] == 1 - beater) & ~_said_goodbye(facts, here, beater)
    # Some peers never answer: if both programs then end in order, nobody missed anything.
    never = ~np.maximum.reduceat(good, start)
    parted = (never & (graceful_app[here] == GRACE.index("yes"))) | leaves
    enough = waited & (run >= np.where(inferred, _LEAST_INFERRED, 1))
    chosen = np.flatnonzero(enough & closed & ~parted)
    here, first = here[chosen], due[first[chosen]]
    return here, (facts.flow["close_ts"][here] - beats["ts"][first]) / 1e9, beats["frame"][first]


def _parted_first(facts: Facts) -> Array:
    """Return who said first, in its protocol's words, that it leaves: 0 nobody, 1 client, 2 server."""
    result: Array = np.maximum(facts.app["ws_close_first"], facts.app["bye_first"])
    return result


def _said_goodbye(facts: Facts, here: I64, side: I64) -> Mask:
    """Return where `side` (k,) of flows `here` parted before the other's FIN, which may then come first."""
    at, other = np.arange(here.size), 1 - side
    late = np.stack([late_bytes(facts, np.full(facts.n, x)) for x in (0, 1)])[other, here]  # after the other's FIN
    closed = facts.flow["close_ts"][here]
    byes = np.stack([facts.app["tls_bye_c"][here], facts.app["tls_bye_s"][here]])
    mine, theirs = byes[side, at], byes[other, at]
    said: Mask = facts.farewell.side[here] == side
    said |= (_parted_first(facts)[here] == side + 1) & (late <= 0)
    said |= (mine != 0) & (mine <= closed) & ((theirs == 0) | (mine < theirs))
    return said


def too_slow(facts: Facts, verdict: Verdict, silence_s: Array, trigger: Array, series: dict[str, Any]) -> I64:
    """Return the flows whose close or loss came between two beats; `silence_s` (n,) before it.

    series: columns of `heartbeat_series`, at least one row
    """
    here = facts.rows_of(series["flow_id"])
    gone: Mask = np.isin(verdict.kind, [KIND[kind] for kind in _GONE])
    gone |= (trigger == TRIGGERS.index("idle_timeout")) & ~broken(facts)
    silence = silence_s[here]
    between = (silence <= _SLACK * series["period_s"]) & (1e9 * silence >= facts.settings.idle_min_ns)
    beater = np.where(series["dir"].codes == 0, INITIATORS.index("client"), INITIATORS.index("server"))
    between &= verdict.initiator[here] != beater  # who closes itself had no need to be heard sooner
    some = distinct(here[gone[here] & between & (series["beats"] >= _LEAST_BEATS)])
    result: I64 = some[outlived(facts, (1e9 * np.nan_to_num(silence_s)).astype(np.int64))[some] < OFTEN]
    return result


def _changes(values: Array) -> Mask:
    changed: Mask = values[1:] != values[:-1]
    return changed
