"""Beats of one side that come between those of the other: to the kernel each is the answer to the beat before it.

What    Answers that came after a silence are looked at as units of their own. They are a series if they keep to their
        own time far better than to what they seem to answer.
Needs   UNIT rows of whole flows, and the series found among them
Gives   more series, of answers
Limits  Two timers with the same period stay one series that is answered: nothing tells them from an echo. What comes
        within a quarter of a second after the other side's beat is not seen, and folded over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.heartbeat import QUIET_NS, SMALL, Series, by_size, joined, series_of
from analyzer.kernel import I64, Mask, Records, joined_rows

_CROSSED = 1 / 3  # share of a series that seemed to answer; with fewer it was found without them, or is none
_OWN_TIME = 0.3  # of how far their distance from the other side's beats varies: answers would vary as much


def with_answers(units: Records) -> tuple[Records, I64]:
    """Return the units, and behind them their answers that came after a silence; (m,) whose answers these are."""
    wait = units["answer_ts"] - units["ts"]
    whose = np.flatnonzero((units["answer_ts"] > 0) & (wait >= QUIET_NS) & (units["answer_size"] <= SMALL))
    asked = units[whose]
    rows = asked.copy()
    for name in ("ts", "frame", "size", "record", "heard", "rest", "head"):
        rows[name] = asked["answer_" + name]
        rows["answer_" + name] = 0
    rows["dir"], rows["before"] = 1 - asked["dir"], wait[whose]
    rows["after"] = np.where(asked["after"] >= 0, asked["after"] - wait[whose], -1)
    return joined_rows(units, rows) if whose.size else units, whose


def crossed(units: Records, whose: I64, reading: NDArray[np.int8], found: Series) -> Series:
    """Return the series found and those of answers; units, whose  as `with_answers` returns them."""
    n = units.shape[0] - whose.size
    used = np.zeros(units.shape[0], np.bool_)
    used[found.unit] = True
    used[n:] |= _answers_of_found(whose, found, n)
    alone = n + np.flatnonzero(used[whose])  # between beats: those are no data that they might be a part of
    units["before"][alone] = units["after"][alone] = -1
    left = np.flatnonzero(~used)
    order = left[np.lexsort(tuple(units[name][left] for name in ("frame", "ts", "size", "dir", "flow_id")))]
    group = by_size(units, order, 0)
    share = np.bincount(group, weights=order >= n) / np.maximum(np.bincount(group), 1)
    keep = share[group] >= _CROSSED if group.size else np.zeros(0, np.bool_)
    order = order[keep]
    more = series_of(units, order, by_size(units, order, 0), reading, np.zeros(units.shape[0], np.bool_))
    own = _keep_their_own_time(units, whose, more)
    number = np.cumsum(own) - 1
    mine = own[more.series] if own.size else np.zeros(0, np.bool_)
    of_series = {name: getattr(more, name)[own] for name in Series.__slots__ if name not in ("unit", "series")}
    return joined(found, Series(**of_series, unit=more.unit[mine], series=number[more.series[mine]]))


def _answers_of_found(whose: I64, found: Series, n: int) -> Mask:
    """Return which answers are those of a series that is answered."""
    answered = np.zeros(n, np.bool_)
    answered[found.unit[found.paired[found.series]]] = True
    result: Mask = answered[whose]
    return result


def _keep_their_own_time(units: Records, whose: I64, more: Series) -> Mask:
    """Return the series whose beats keep to their period, and not to what was said before them."""
    n = units.shape[0] - whose.size
    own = np.zeros(more.flow_id.size, np.bool_)
    for k in range(own.size):  # a few series of all that are found
        members = more.unit[more.series == k]
        seeming = members[members >= n]
        ts, wait = np.sort(units["ts"][members]), units["ts"][seeming] - units["ts"][whose[seeming - n]]
        gap, period = np.diff(ts), int(more.period_ns[k])
        late = np.abs(gap - np.maximum(np.round(gap / period), 1) * period)
        own[k] = float(np.median(late)) < _OWN_TIME * float(np.mean(np.abs(wait - np.median(wait))))
    return own
