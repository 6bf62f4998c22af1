"""Where the closes of a group pile up: the arithmetic of inferred timeouts, on columns and for all groups at once.

What    A timer shows as a pile of closes after nearly the same silence, with few just below it, and with few that
        outlived it. A timer that is only looked at now and then (a sweep) spreads its pile evenly over one period.
Limits  One pile per group. A pile of fewer than three closes is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, Mask

F64 = NDArray[np.float64]

LEAST_CLOSES = 3  # two equal silences are common by chance
LEAST_HAZARD = 0.3  # share of the connections still silent at T that must have been closed at T
CONTRAST = 3.0  # a pile is this much denser than what is just below it; a smooth distribution is not
TRIM = 20  # one close in twenty at either end of a pile may be a stranger
SWEEP_CLOSES = 12  # fewer cannot be told from a bell
SWEEP_KS = 1.63  # Kolmogorov-Smirnov at 1 %: D * sqrt(n) of evenly spread silences stays below it
CHANCE = 1e-3  # of a window as full and narrow, if silences were spread evenly
_LONGEST_US = 1 << 40  # 12.7 days; what is longer counts as that
NONE = -1


def window_us(silence_us: I64) -> I64:
    """Return how far closes of one timer may lie apart: 2 % and up to a second for ticks, jitter and lost segments."""
    width: I64 = silence_us // 50 + np.minimum(silence_us // 10, 1_000_000)
    return width


class Piles(NamedTuple):
    """(groups,) the pile of each group, or NONE in `first`.

    value_us, spread_us  where it begins and how wide it is    limit_us  what is longer outlived it
    first, last  its members, as places in the sorted order    above  closes of the same group that outlived it
    sweep  True if it is spread evenly over a period
    step_us  then: how far apart its closes are on average, which is how well its beginning is known; else 0
    """

    value_us: I64
    spread_us: I64
    limit_us: I64
    first: I64
    last: I64
    above: I64
    sweep: Mask
    step_us: I64

    @classmethod
    def none(cls, groups: int) -> Piles:
        """Return no pile for each of so many groups."""
        value, spread, limit, first, last, above = (np.full(groups, NONE, np.int64) for _ in range(6))
        return cls(
            value, spread, limit, first, last, above, np.zeros(groups, np.bool_), np.zeros(groups, np.int64)
        )  # fmt: skip

    @property
    def found(self) -> Mask:
        """Groups that have one."""
        has: Mask = self.first != NONE
        return has

    @property
    def closes(self) -> I64:
        """Members of each pile."""
        return np.where(self.found, self.last - self.first, 0)


class Survivors(NamedTuple):
    """Silences that ended well or go on: (n,) endpoint number and length, in ascending order of both."""

    key: I64

    @classmethod
    def of(cls, endpoint: I64, length_us: I64) -> Survivors:
        """Sort them once; `above` then answers for any number of groups."""
        return cls(np.sort(endpoint * _LONGEST_US + np.clip(length_us, 0, _LONGEST_US - 1)))

    def above(self, endpoint: I64, length_us: I64) -> I64:
        """Return, for each pair, how many silences at that endpoint were longer."""
        end = np.searchsorted(self.key, (endpoint + 1) * _LONGEST_US)
        begin = np.searchsorted(self.key, endpoint * _LONGEST_US + np.clip(length_us, 0, _LONGEST_US - 1), "right")
        result: I64 = end - begin
        return result

    def longest_to(self, endpoint: I64, limit_us: I64) -> I64:
        """Return, for each pair, the longest silence at that endpoint of at most `limit_us`; -1 if there is none."""
        at = np.searchsorted(self.key, endpoint * _LONGEST_US + np.clip(limit_us, 0, _LONGEST_US - 1), "right") - 1
        if self.key.size == 0:
            return np.full(endpoint.size, -1, np.int64)
        picked = self.key[np.maximum(at, 0)]
        return np.where((at >= 0) & (picked >= endpoint * _LONGEST_US), picked - endpoint * _LONGEST_US, -1)


class _Groups(NamedTuple):
    """Closes sorted by group and silence. key = group and silence in one number; start, end (groups,) places."""

    key: I64
    value: I64
    owner: I64
    start: I64
    end: I64
    endpoint: I64
    survivors: Survivors

    def above(self, group: I64, limit_us: I64) -> I64:
        """Return how many closes of each group came after a longer silence."""
        at = np.searchsorted(self.key, group * _LONGEST_US + np.clip(limit_us, 0, _LONGEST_US - 1), "right")
        result: I64 = self.end[group] - np.minimum(at, self.end[group])
        return result

    def hazard(self, group: I64, closes: I64, limit_us: I64) -> F64:
        """Return which share of the connections that were silent so long was closed in a pile."""
        outlived = self.survivors.above(self.endpoint[group], limit_us)
        share: F64 = closes / np.maximum(closes + outlived, 1)
        return share


def piles(
    group: I64, groups: int, silence_us: I64, endpoint: I64, survivors: Survivors, least_us: int
) -> tuple[Piles, I64]:
    """Find the pile of each group.

    group (n,) 0..groups-1    silence_us (n,) before each close, short ones too: a pile must stand out from them
    endpoint (groups,) whose survivors speak about the group; the closes themselves are among them
    least_us  shortest timeout that is looked for
    Returns (piles, order): `order` (n,) sorts the closes by group and silence; places in Piles refer to it.
    """
    key = group * _LONGEST_US + np.clip(silence_us, 0, _LONGEST_US - 1)
    order = np.argsort(key, kind="stable")
    key = key[order]
    edges = np.searchsorted(key, np.arange(groups + 1) * _LONGEST_US)
    made = Piles.none(groups)
    if key.size:
        g = _Groups(key, key % _LONGEST_US, key // _LONGEST_US, edges[:-1], edges[1:], endpoint, survivors)
        _windows(made, g, least_us)
        _sweeps(made, g, least_us)
    return made, order


def _windows(made: Piles, g: _Groups, least_us: int) -> None:
    """Piles no wider than a window: the fullest window of each group, if it stands out."""
    width = window_us(g.value)
    stop = np.minimum(np.searchsorted(g.key, g.key + width, "right"), g.end[g.owner])
    count = np.where(g.value >= least_us, stop - np.arange(g.key.size), 0)
    best = _fullest(count, g.start, g.end)
    groups = np.flatnonzero(best != NONE)
    at = best[groups]
    n = count[at]
    trim = n // TRIM
    first, last = at + trim, stop[at] - trim
    value, spread = g.value[first], g.value[last - 1] - g.value[first]
    limit = np.maximum(value + width[first], g.value[stop[at] - 1])
    below = first - np.maximum(np.searchsorted(g.key, g.key[first] - width[first]), g.start[groups])
    half = np.searchsorted(g.key, groups * _LONGEST_US + value // 2)  # what is far shorter is another matter
    good = (n >= LEAST_CLOSES) & (g.hazard(groups, n, limit) >= LEAST_HAZARD)
    good &= n >= CONTRAST * np.maximum(below - trim, 0)
    good &= _chance(g.end[groups] - half, n, spread, value) <= CHANCE
    # A few of many that are spread around it are no pile: a sweep's closes crowd here and there by chance.
    around = np.searchsorted(g.key, groups * _LONGEST_US + limit + limit // 2, "right")
    good &= np.minimum(around, g.end[groups]) - half - n <= n
    _enter(made, groups[good], value[good], spread[good], limit[good], at[good], stop[at][good], g)


def _sweeps(made: Piles, g: _Groups, least_us: int) -> None:
    """Piles spread evenly over [T, T + period], period <= T: the longest run of each group without a jump in it.

    One close in twenty may come later than the period explains: its FIN was lost, or its host was slow. Where closes
    are few, evenly spread ones have jumps: then all are tried that may be of one period by their length.
    """
    value, owner = g.value, g.owner
    jump = np.r_[True, (owner[1:] != owner[:-1]) | (value[1:] > value[:-1] + value[:-1] // 50 + 1_000_000)]
    begin = np.flatnonzero(jump)
    end = np.r_[begin[1:], value.size]
    filled = np.flatnonzero(g.end > g.start)
    last = g.end[filled]
    top = value[last - 1 - (last - g.start[filled]) // TRIM]
    half = np.minimum(np.searchsorted(g.key, filled * _LONGEST_US + (top - 1_000_000) // 2), last - 1)
    order = np.argsort(np.concatenate([owner[begin], filled]), kind="stable")
    _runs(made, g, np.concatenate([begin, half])[order], np.concatenate([end, last])[order], least_us)


def _runs(made: Piles, g: _Groups, begin: I64, end: I64, least_us: int) -> None:
    """Enter the fullest of the runs [begin, end) of each group, in order, that are spread as evenly as a sweep."""
    group, n = g.owner[begin], end - begin
    value = g.value
    held = n - n // TRIM
    low, high = value[begin], value[begin + held - 1]
    span = np.maximum(high - low, 1)
    first = np.cumsum(n) - n  # of each run, where all stand side by side
    rank = np.arange(int(n.sum())) - np.repeat(first, n)
    even = (value[rank + np.repeat(begin, n)] - np.repeat(low, n)) / np.repeat(span, n)
    off = np.abs((rank + 0.5) / np.repeat(held, n) - even)
    distance = np.maximum.reduceat(np.where(rank < np.repeat(held, n), off, 0.0), first)
    limit = np.maximum(high + window_us(high), value[end - 1])
    below = begin - np.maximum(np.searchsorted(g.key, g.key[begin] - span), g.start[group])
    good = (n >= SWEEP_CLOSES) & (low >= least_us) & (span <= low + 1_000_000) & (span > window_us(low) // 2)
    good &= (distance * np.sqrt(held) <= SWEEP_KS) & (n >= CONTRAST * below)
    good &= (g.hazard(group, n, limit) >= LEAST_HAZARD) & (4 * n >= 5 * made.closes[group])
    places = np.arange(g.start.size)
    fullest = _fullest(
        np.where(good, n, 0), np.searchsorted(group, places), np.searchsorted(group, places, "right")
    )  # fmt: skip
    chosen = np.flatnonzero(fullest != NONE)
    run = fullest[chosen]
    # The least of n evenly spread silences lies span / (n - 1) above where they begin, on average.
    step = span[run] // (held[run] - 1)
    start = low[run] - step
    _enter(made, chosen, start, high[run] - start, limit[run], begin[run], end[run], g)
    made.sweep[chosen], made.step_us[chosen] = True, step


def _enter(made: Piles, group: I64, value: I64, spread: I64, limit: I64, first: I64, last: I64, g: _Groups) -> None:
    made.value_us[group], made.spread_us[group], made.limit_us[group] = value, spread, limit
    made.first[group], made.last[group], made.above[group] = first, last, g.above(group, limit)


def _chance(of: I64, n: I64, spread_us: I64, value_us: I64) -> F64:
    """Return how many windows as narrow as this one hold n of `of` closes that are spread over [T/2, T] by chance.

    The scan statistic's first term: of * C(of - 1, n - 1) * (spread / (T/2)) ** (n - 1). Closer than 10 ms is luck of
    the clock, not evidence.
    """
    log_factorial = np.r_[0.0, np.cumsum(np.log(np.arange(1, int(of.max(initial=1)) + 1)))]
    narrow = np.log(np.clip(spread_us, 10_000, None) / np.maximum(value_us // 2, 1))
    choose = log_factorial[of - 1] - log_factorial[n - 1] - log_factorial[np.maximum(of - n, 0)]
    result: F64 = np.exp(np.minimum(np.log(of) + choose + (n - 1) * narrow, 0.0))
    return result


def _fullest(count: I64, start: I64, end: I64) -> I64:
    """Return the place of the largest positive count in each [start, end); the first of equals, NONE if all are 0."""
    best = np.full(start.size, NONE, np.int64)
    some = np.flatnonzero(end > start)
    if some.size == 0:
        return best
    top = np.maximum.reduceat(count, start[some])
    size = end[some] - start[some]
    hit = np.flatnonzero((count == np.repeat(top, size)) & (count > 0))  # the groups lie side by side, in order
    owner = np.repeat(some, size)[hit]
    first = np.r_[np.ones(min(hit.size, 1), np.bool_), owner[1:] != owner[:-1]]
    best[owner[first]] = hit[first]
    return best
