"""Heartbeats that a protocol read as such: rows of `heartbeats`, and the timer behind them.

What    One series for each flow, protocol and direction; its period is the median time between beats.
Needs   BEAT rows of finished flows
Gives   heartbeats, heartbeat_series (method "explicit")
Limits  Whether the timer starts anew with each activity is not told: idle_triggered is left to inference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.heartbeat import ANSWER_NS, MERGE, REGULAR, SMALL
from analyzer.kernel import I64, Records
from analyzer.knowledge.load import SIDES, Knowledge
from analyzer.protocols.beats import ECHO_NS, PROTOCOLS
from analyzer.tables.build import MISSING, Coded
from analyzer.tables.kinds import DIRECTIONS

LEAST_WAIT_NS = 1_000_000_000
_APP = PROTOCOLS.index("app")
_LEAST_ANSWERS = 3  # that no word tells


def answered_in_other_words(beats: Records, units: Records) -> Records:
    """Return the beats, those that a program made up with the answers that no word tells (OCPP's Heartbeat).

    What the other side says right after a beat is its answer if it does so after most of them, in messages of one size.
    units  UNIT rows of the same flows: a beat in the middle of data has none, so its answer is not known.
    """
    mute = np.flatnonzero((beats["protocol"] == _APP) & (beats["paired"] == 0))
    if mute.size == 0 or units.size == 0:
        return beats
    by_frame = np.argsort(units["frame"], kind="stable")
    place = np.minimum(np.searchsorted(units["frame"][by_frame], beats["frame"][mute]), units.size - 1)
    unit = units[by_frame[place]]
    there = (unit["frame"] == beats["frame"][mute]) & (unit["dir"] == beats["dir"][mute])
    mute, unit = mute[there], unit[there]
    _, series = np.unique(beats["flow_id"][mute] << 1 | beats["dir"][mute], return_inverse=True)
    k = int(series.max(initial=-1)) + 1
    count = np.bincount(series, minlength=k)
    told = unit["answer_ts"] > 0
    soon = told & (unit["answer_ts"] - unit["ts"] <= ECHO_NS) & (unit["answer_size"] <= SMALL)
    usual = _quantile(unit["answer_size"][soon].astype(np.int64), series[soon], k, 0.5)
    alike = np.abs(unit["answer_size"] - usual[series]) <= MERGE
    good = np.bincount(series, weights=soon & alike, minlength=k)
    habit = (good >= _LEAST_ANSWERS) & (good * 2 >= count) & (good >= REGULAR * np.bincount(series[told], minlength=k))
    mine = habit[series]
    beats = beats.copy()
    beats["paired"][mute[mine]] = 1
    has = mine & told & alike
    for name in ("answer_ts", "answer_frame"):
        beats[name][mute[has]] = unit[name][has]
    return beats


def explicit(facts: Facts, knowledge: Knowledge) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of `heartbeats` and of `heartbeat_series` for finished flows."""
    beats = facts.beats
    beats = beats[np.lexsort((beats["frame"], beats["ts"], beats["dir"], beats["protocol"], beats["flow_id"]))]
    start = _starts(beats)
    series = np.cumsum(start) - 1
    head = beats[start]
    number = _number_in_flow(head["flow_id"])
    period = _period(beats, series, head.size)
    answered = (beats["answer_ts"] != 0) & waited_for(facts, beats)
    due = beats["paired"] == 1
    missed = due & ~answered & overdue(facts, beats["flow_id"], beats["ts"], series)
    known = due & (answered | missed)
    late = answered & (beats["answer_ts"] - beats["ts"] > np.where(period[series] > 0, period[series], 1 << 62))
    rows = {
        "flow_id": beats["flow_id"],
        "series_id": number[series],
        "protocol": Coded(beats["protocol"], PROTOCOLS),
        "method": Coded(np.zeros(beats.size, np.int8), ("explicit",)),
        "dir": Coded(beats["dir"], DIRECTIONS),
        "ts": beats["ts"],
        "frame": beats["frame"],
        "size": beats["size"],
        "answered": np.where(known, answered, -1).astype(np.int8),
        "answer_ts": np.where(answered, beats["answer_ts"], MISSING),
        "answer_frame": np.where(answered, beats["answer_frame"], MISSING),
        "rtt_s": np.where(answered, (beats["answer_ts"] - beats["ts"]) / 1e9, np.nan),
        "missed": np.where(known, missed, -1).astype(np.int8),
        "late": np.where(known, late, -1).astype(np.int8),
    }
    return rows, _series(head, series, number, period, beats, answered, known, missed, knowledge)


def _series(
    head: Records, series: I64, number: I64, period: I64, beats: Records, answered: Array, known: Array, missed: Array,
    knowledge: Knowledge,
) -> dict[str, Any]:  # fmt: skip
    k = head.size
    count = np.bincount(series, minlength=k)
    told = np.bincount(series, weights=known, minlength=k)
    good = np.bincount(series, weights=known & answered, minlength=k)
    due = np.bincount(series, weights=beats["paired"] == 1, minlength=k) > 0
    names = [
        "; ".join(beat.name for beat in knowledge.beats(ns / 1e9, SIDES[way], PROTOCOLS[code], answered=asks))
        if ns > 0
        else ""
        for ns, way, code, asks in zip(
            period.tolist(), head["dir"].tolist(), head["protocol"].tolist(), due.tolist(), strict=True
        )
    ]
    return {
        "flow_id": head["flow_id"],
        "series_id": number,
        "protocol": Coded(head["protocol"], PROTOCOLS),
        "method": Coded(np.zeros(k, np.int8), ("explicit",)),
        "dir": Coded(head["dir"], DIRECTIONS),
        "beats": count,
        "period_s": np.where(period > 0, period / 1e9, np.nan),
        "jitter_p95_s": _jitter(beats, series, period, k),
        "timer": Coded(np.full(k, -1), ("fixed_rate", "idle_triggered")),
        "answered_share": np.where(told > 0, good / np.maximum(told, 1), np.nan),
        "longest_missed_run": np.where(told > 0, longest_run(missed, series, k), MISSING),
        "known_as": [name or None for name in names],
        "confidence": np.ones(k),
    }


def _starts(beats: Records) -> Array:
    same = np.zeros(beats.size, np.bool_)
    if beats.size:
        a, b = beats[1:], beats[:-1]
        same[1:] = (a["flow_id"] == b["flow_id"]) & (a["protocol"] == b["protocol"]) & (a["dir"] == b["dir"])
    return ~same


def _number_in_flow(flow_id: I64) -> I64:
    """Return 0, 1, ... for the series of each flow; they stand together."""
    at = np.arange(flow_id.size)
    begins = np.ones(flow_id.size, np.bool_)
    begins[1:] = flow_id[1:] != flow_id[:-1]
    number: I64 = at - np.maximum.accumulate(np.where(begins, at, 0)) if at.size else at
    return number


def _between(beats: Records, series: I64) -> tuple[I64, I64]:
    """Return the times between neighbouring beats of a series, and whose they are."""
    same = series[1:] == series[:-1]
    return np.diff(beats["ts"])[same], series[1:][same]


def _quantile(values: I64, series: I64, k: int, q: float) -> I64:
    """Return the q-quantile of each series (nearest rank), -1 where there is no value."""
    order = np.lexsort((values, series))
    count = np.bincount(series, minlength=k)
    first = np.cumsum(count) - count
    rank = first + np.maximum(np.ceil(q * count).astype(np.int64) - 1, 0)
    found = values[order][np.minimum(rank, max(values.size - 1, 0))] if values.size else np.zeros(k, np.int64)
    result: I64 = np.where(count > 0, found, -1)
    return result


def _period(beats: Records, series: I64, k: int) -> I64:
    return _quantile(*_between(beats, series), k, 0.5)


def _jitter(beats: Records, series: I64, period: I64, k: int) -> Array:
    """Return the 95th percentile of the distance from the period, for three beats and more."""
    apart, whose = _between(beats, series)
    off = _quantile(np.abs(apart - period[whose]), whose, k, 0.95)
    result: Array = np.where(np.bincount(whose, minlength=k) >= 2, off / 1e9, np.nan)
    return result


def waited_for(facts: Facts, beats: Records) -> Array:
    """Return (b,) whether each beat's answer came before the side that had asked closed: later nobody hears it."""
    at, heard = facts.rows_of(beats["flow_id"]), np.ones(beats.size, np.bool_)
    for side, mine in enumerate((facts.client, facts.server)):
        for name in ("fin_ts", "rst_ts"):
            gone = mine[name][at]
            heard &= (beats["dir"] != side) | (gone == 0) | (beats["answer_ts"] <= gone)
    return heard


def overdue(facts: Facts, flow_id: I64, ts: I64, series: I64) -> Array:
    """Return (b,) whether an answer to each beat would have come by now; beats stand by series and time.

    Whoever beats again, or closes after max(3 srtt, 1 s) (definitions B2), waits no longer; an open connection may
    answer within ANSWER_NS.
    """
    again = np.zeros(ts.size, np.bool_)
    again[:-1] = series[1:] == series[:-1]
    at = facts.rows_of(flow_id)
    closed = facts.flow["close_ts"][at]
    left = (closed != 0) & (closed - ts >= np.maximum(3 * facts.path_rtt[at], LEAST_WAIT_NS))
    waited: Array = again | left | (facts.capture_end_ns - ts >= ANSWER_NS)
    return waited


def longest_run(missed: Array, series: I64, k: int) -> I64:
    """Return the longest run of missed beats in each series; beats stand by series and time."""
    longest = np.zeros(k, np.int64)
    at = np.arange(missed.size)
    begins = np.ones(missed.size, np.bool_)
    begins[1:] = series[1:] != series[:-1]
    before = np.where(~missed, at, np.where(begins, at - 1, -1))  # the latest beat that was not missed, or the start
    if missed.size:
        np.maximum.at(longest, series, at - np.maximum.accumulate(before))
    return longest
