"""Heartbeats inferred from timing and size alone, in traffic that cannot be read (definitions B8, "Inferred").

What    Small messages of one size that come by a timer: by the clock (fixed_rate), or after the same silence each time
        (idle_triggered). Beats that were missed, lost or hidden in data are folded over.
Needs   units: UNIT rows, the isolated small bursts of each flow and direction (or the records of a protocol)
Gives   heartbeats, heartbeat_series with method "inferred"
Limits  Five beats at least, most within 5 % of the period. A request that polls looks alike but has a large or varying
        answer: not reported. Nor is data that ticks in several sizes, or that can be read and says anything new (see
        `beat_contents`); where it cannot be read, ticks of one constant size cannot be told from beats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.beat_contents import HIDDEN, says_nothing_new
from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.said import HEAD, LONGEST

F64 = NDArray[np.float64]
I1, I2, I4, I8 = np.int8, np.int16, np.int32, np.int64

UNIT = np.dtype(
    [
        ("flow_id", I8), ("ts", I8), ("frame", I8),
        ("before", I8),  # ns since anything was said before it, -1 = it is the first
        ("after", I8),  # ns until anything but its answer is said, -1 = nothing is
        ("answer_ts", I8), ("answer_frame", I8),  # the first the other side says within ANSWER_NS, 0 = nothing
        ("size", I4), ("answer_size", I4), ("slot", I4),
        ("record", I4), ("answer_record", I4),  # its length in the header, where all of it is one TLS record, else 0
        ("rest", I8), ("answer_rest", I8),  # what they say, see `protocols.said`
        ("heard", I2), ("answer_heard", I2),
        ("dir", I1), ("head", np.uint8, (HEAD,)), ("answer_head", np.uint8, (HEAD,)),
    ],
    align=True,
)  # fmt: skip
"""A message that may be a beat: a burst of payload of at most SMALL bytes, after at least QUIET_NS of silence."""

SMALL = LONGEST  # bytes of a beat or its answer
QUIET_NS = 250_000_000  # a quarter of the shortest period: a beat in the middle of data is folded over
ANSWER_NS = 5_000_000_000

LEAST_BEATS = 5
LEAST_PERIOD_NS = 950_000_000  # a second, as its timer keeps it
MERGE = 4  # bytes by which a counter or a number in a beat may vary
NEARLY = 0.25  # of the period that an interval may be off while the period is not known well
REGULAR = 0.8  # share of intervals that must fit the period
LEAST_SEEN = 1 / 3  # of the beats due; with fewer, any two messages lie on some grid
MOST_CV = 0.1
CHANCE = 1e-3  # of so regular an arrangement, after Bonferroni over the sizes and models that were tried
ISOLATED = 0.5  # share of beats with nothing else within a quarter of a period; among much data
SOME_ISOLATED = 0.1  # and a few such silences, filled by nothing else, will do
PACE = 0.6  # of the other messages on the same beat: then all of it is data that ticks


@dataclass(slots=True)
class Series:
    """(k,) series of beats, by flow, direction and first beat; unit (b,) members and series (b,) whose they are.

    period_ns    jitter_ns 95th percentile off the beat    idle  True: idle_triggered    paired  True: it is answered
    """

    flow_id: I64
    dir: NDArray[np.int8]
    beats: I64
    period_ns: I64
    jitter_ns: I64
    idle: Mask
    paired: Mask
    p_value: F64
    confidence: F64
    unit: I64
    series: I64


def infer_series(units: Records, reading: NDArray[np.int8] | None = None) -> Series:
    """Return the heartbeats among `units` (UNIT rows, any order; of any number of flows).

    reading  how each can be read (see `beat_contents`); None = not at all: then timing and size alone decide
    """
    reading = np.full(units.shape[0], HIDDEN, np.int8) if reading is None else reading
    order = np.lexsort((units["frame"], units["ts"], units["size"], units["dir"], units["flow_id"]))
    first = by_size(units, order, 0)
    taken = np.zeros(units.shape[0], np.bool_)
    said_more = np.zeros(units.shape[0], np.bool_)
    found = series_of(units, order, first, reading, said_more)
    taken[found.unit] = True
    rest = order[~taken[order]]
    return joined(found, series_of(units, rest, by_size(units, rest, MERGE), reading, said_more))


def by_size(units: Records, order: I64, merge: int) -> I64:
    """Number the groups of `order` (sorted): same flow and direction, sizes no more than `merge` apart in a row."""
    flow, way, size = (units[name][order].astype(np.int64) for name in ("flow_id", "dir", "size"))
    new = np.ones(order.size, np.bool_)
    new[1:] = (flow[1:] != flow[:-1]) | (way[1:] != way[:-1]) | (size[1:] - size[:-1] > merge)
    return np.cumsum(new) - 1


def series_of(units: Records, order: I64, group: I64, reading: NDArray[np.int8], said_more: Mask) -> Series:
    """Judge each group of units.

    said_more (units,)  what was found to be data that ticks, added to here: it is not looked at again
    """
    n = np.bincount(group) if group.size else np.zeros(0, np.int64)
    streams = _pairs_of(units, order, group)
    big = n >= LEAST_BEATS
    keep = big[group]
    order, group = order[keep], (np.cumsum(big) - 1)[group[keep]]
    by_time = np.lexsort((units["frame"][order], units["ts"][order], group))
    order, group = order[by_time], group[by_time]
    k = int(big.sum())
    if k == 0:
        return _none()
    g = _Groups(units, order, group, k)
    tried = streams[np.flatnonzero(big)]
    timing = _timing(g, 3 * tried)
    paired, polling = _answers(g, timing.period)
    alone = _isolated(g, timing.period)
    quiet = (alone >= ISOLATED) | ((alone >= SOME_ISOLATED) & (alone * g.n >= 3))
    good = timing.good & ~polling & quiet & ~_all_in_pace(units, g, timing)
    good &= np.bincount(group, weights=said_more[order], minlength=k) < g.n
    timely = good.copy()
    good &= says_nothing_new(g.rows, g.group, g.start, reading[order], paired, np.flatnonzero(good))
    said_more[order] |= (timely & ~good)[group]
    return _made(g, timing, paired, good)


def _pairs_of(units: Records, order: I64, group: I64) -> I64:
    """Return how many sizes were tried in the flow and direction of each group."""
    if group.size == 0:
        return np.zeros(0, np.int64)
    head = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    flow, way = units["flow_id"][order[head]], units["dir"][order[head]]
    new = np.r_[True, (flow[1:] != flow[:-1]) | (way[1:] != way[:-1])]
    stream = np.cumsum(new) - 1
    result: I64 = np.bincount(stream)[stream]
    return result


class _Groups:
    """Members of k groups side by side, each in time order."""

    def __init__(self, units: Records, order: I64, group: I64, k: int) -> None:
        self.order, self.group, self.k = order, group, k
        self.n: I64 = np.bincount(group, minlength=k)
        self.start: I64 = np.cumsum(self.n) - self.n
        self.rows: Records = units[order]
        self.ts: I64 = self.rows["ts"].astype(np.int64)
        inner = np.r_[False, group[1:] == group[:-1]]
        self.pair = np.flatnonzero(inner)  # members that have one before them
        self.pair_group = group[self.pair]
        self.gap: I64 = self.ts[self.pair] - self.ts[self.pair - 1]

    def quantile(self, values: Any, group: I64, q: float) -> F64:
        """Return the q-quantile (nearest rank) of `values` in each group; NaN where there are none."""
        by_value = np.lexsort((values, group))
        n = np.bincount(group, minlength=self.k)
        start = np.cumsum(n) - n
        at = start + np.maximum(np.ceil(q * n).astype(np.int64) - 1, 0)
        has = n > 0
        out = np.full(self.k, np.nan)
        out[has] = np.asarray(values, np.float64)[by_value][at[has]]
        return out

    def share(self, mask: Mask, group: I64) -> F64:
        """Return the share of true ones in each group; 0 where there are none."""
        n = np.bincount(group, minlength=self.k)
        result: F64 = np.bincount(group, weights=mask, minlength=self.k) / np.maximum(n, 1)
        return result


# ------------------------------------------------------------------------------------------------ when
@dataclass(slots=True)
class _Timing:
    """(k,) per group: period and jitter in ns, whether the silence is the timer, the chance of it, and if it passes."""

    period: F64
    jitter: F64
    idle: Mask
    p_value: F64
    good: Mask


def _timing(g: _Groups, tried: I64) -> _Timing:
    """Fit both timer models to each group and keep the better."""
    rate, sparse = _fixed_rate(g, 0.5), _fixed_rate(g, 0.15)
    use = sparse.good & ~rate.good  # half of the beats are missing: the median interval is two periods
    for name in ("period", "jitter", "p_value", "good"):
        setattr(rate, name, np.where(use, getattr(sparse, name), getattr(rate, name)))
    idle = _idle_triggered(g)
    # Where nothing else is said both fit alike; then it is a clock until proven otherwise.
    better = idle.good & (~rate.good | (idle.jitter < 0.5 * rate.jitter))
    pick = np.where(better, 1, 0)
    period, jitter, p_value = (
        np.where(pick == 1, b, a)
        for a, b in ((rate.period, idle.period), (rate.jitter, idle.jitter), (rate.p_value, idle.p_value))
    )
    p_value = np.minimum(p_value * tried, 1.0)
    good = (rate.good | idle.good) & (p_value <= CHANCE)
    return _Timing(period, jitter, better, p_value, good)


def _fixed_rate(g: _Groups, start: float) -> _Timing:
    """Intervals are multiples of the period, which is first guessed as their `start`-quantile: others are missing."""
    period = g.quantile(g.gap, g.pair_group, start)
    for _ in range(2):  # then the mean over all that keep it nearly: a greeting may be as long as a beat
        steps = np.maximum(np.round(g.gap / period[g.pair_group]), 1)
        total = np.bincount(g.pair_group, weights=steps, minlength=g.k)
        near = np.abs(g.gap - steps * period[g.pair_group]) <= NEARLY * period[g.pair_group]
        whole = np.bincount(g.pair_group, weights=steps * near, minlength=g.k)
        spent = np.bincount(g.pair_group, weights=g.gap * near.astype(np.float64), minlength=g.k)
        period = np.where(whole > 0, spent / np.maximum(whole, 1), period)
    steps = np.round(g.gap / period[g.pair_group])
    off = np.abs(g.gap - np.maximum(steps, 1) * period[g.pair_group])
    made = _fit(g, off, g.pair_group, period)
    made.good &= (g.n - 1) >= LEAST_SEEN * total
    # Phases of a fixed rate gather at one point (Rayleigh): R = |sum exp(2 pi i t / m)| / n, p = exp(-n R**2).
    turn = 2j * np.pi * (g.ts - g.ts[g.start][g.group]) / period[g.group]
    wave = np.exp(turn)
    real = np.bincount(g.group, weights=wave.real, minlength=g.k)
    imaginary = np.bincount(g.group, weights=wave.imag, minlength=g.k)
    made.p_value = np.minimum(made.p_value, np.exp(-(real**2 + imaginary**2) / g.n))
    return made


def _idle_triggered(g: _Groups) -> _Timing:
    """Each beat comes after the same silence, whoever spoke before."""
    known = np.flatnonzero(g.rows["before"] >= 0)
    before, group = g.rows["before"][known].astype(np.float64), g.group[known]
    period = g.quantile(before, group, 0.5)
    off = np.abs(before - period[group])
    made = _fit(g, off, group, period)
    made.good &= np.bincount(group, minlength=g.k) >= LEAST_BEATS - 1
    return made


def _fit(g: _Groups, off: F64, group: I64, period: F64) -> _Timing:
    """Judge how closely intervals keep a period; off (n,) distances from it."""
    slack = np.maximum(0.05 * period, 250e6)
    regular = g.share(off <= np.minimum(slack, 0.25 * period)[group], group)
    spread = 1.4826 * g.quantile(off, group, 0.5) / period
    n = np.bincount(group, minlength=g.k)
    held = np.ceil(REGULAR * n).astype(np.int64)
    # By chance an interval lies within `off` of a multiple with probability 2 off / m, and 80 % of n do so in
    # C(n, held) ways; one of them made the period.
    width = np.clip(2 * g.quantile(off, group, REGULAR) / period, 1e-3, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_value = np.exp(np.minimum(_log_choose(n, held) + (held - 1) * np.log(width), 0.0))
        good = (period >= LEAST_PERIOD_NS) & (regular >= REGULAR) & (spread <= MOST_CV)
    jitter = g.quantile(off, group, 0.95)
    return _Timing(period, jitter, np.zeros(g.k, np.bool_), np.nan_to_num(p_value, nan=1.0), good)


def _log_choose(n: I64, k: I64) -> F64:
    logs = np.r_[0.0, np.cumsum(np.log(np.arange(1, int(n.max(initial=1)) + 1)))]
    result: F64 = logs[n] - logs[np.minimum(k, n)] - logs[np.maximum(n - k, 0)]
    return result


# ------------------------------------------------------------------------------------------------ what
def _answers(g: _Groups, period: F64) -> tuple[Mask, Mask]:
    """Return (answers belong to the beats, it is polling): nearly all are answered, alike and small; or not so."""
    patience = np.minimum(np.nan_to_num(period) / 2, ANSWER_NS)
    answered = (g.rows["answer_ts"] > 0) & (g.rows["answer_ts"] - g.ts <= patience[g.group])
    share = g.share(answered, g.group)
    size = g.rows["answer_size"][answered].astype(np.float64)
    of = g.group[answered]
    middle = g.quantile(size, of, 0.5)
    alike = g.share(np.abs(size - middle[of]) <= MERGE, of) >= REGULAR
    small = np.nan_to_num(middle, nan=0.0) <= SMALL
    paired = (share >= 0.5) & alike & small
    polling = (share >= 0.5) & ~paired
    return paired, polling


def _isolated(g: _Groups, period: F64) -> F64:
    """Return the share of beats with nothing else within a quarter of a period on either side."""
    near = np.nan_to_num(period)[g.group] / 4
    alone = ((g.rows["before"] < 0) | (g.rows["before"] >= near)) & ((g.rows["after"] < 0) | (g.rows["after"] >= near))
    return g.share(alone, g.group)


def _all_in_pace(units: Records, g: _Groups, timing: _Timing) -> Mask:
    """Return the groups whose flow says other things in the same direction at the same pace: data that ticks."""
    result = np.zeros(g.k, np.bool_)
    chosen = np.flatnonzero(timing.good)
    if chosen.size == 0:
        return result
    member = np.zeros(units.shape[0], np.int64) - 1
    member[g.order] = g.group
    key = units["flow_id"] * 2 + units["dir"]
    head = g.rows[g.start[chosen]]
    mine = head["flow_id"] * 2 + head["dir"]
    by_key = np.argsort(mine, kind="stable")
    left, right = np.searchsorted(mine[by_key], key), np.searchsorted(mine[by_key], key, "right")
    times = right - left  # one unit may stand beside several groups
    other = np.repeat(np.arange(units.shape[0]), times)
    place = np.arange(other.size) - np.repeat(np.cumsum(times) - times, times) + np.repeat(left, times)
    group = chosen[by_key[place]]
    keep = member[other] != group
    other, group = other[keep], group[keep]
    period = timing.period[group]
    off = units["ts"][other] - g.ts[g.start[group]]
    phase = np.abs(off - np.round(off / period) * period)
    by_clock = (phase <= 0.1 * period) & ~timing.idle[group]
    by_silence = np.abs(units["before"][other] - period) <= 0.1 * period
    on_beat = np.bincount(group, weights=by_clock | by_silence, minlength=g.k)
    count = np.bincount(group, minlength=g.k)
    result[chosen] = ((count >= LEAST_BEATS) & (4 * count >= g.n) & (on_beat >= PACE * count))[chosen]
    return result


# ------------------------------------------------------------------------------------------------ results
def _made(g: _Groups, timing: _Timing, paired: Mask, good: Mask) -> Series:
    chosen = np.flatnonzero(good)
    number = np.full(g.k, -1, np.int64)
    number[chosen] = np.arange(chosen.size)
    member = good[g.group]
    head = g.rows[g.start[chosen]]
    n = g.n[chosen]
    confidence = 0.5 + 0.2 * paired[chosen] + 0.2 * np.minimum(n / 20, 1.0)
    return Series(
        head["flow_id"].astype(np.int64), head["dir"].astype(np.int8), n,
        np.round(timing.period[chosen]).astype(np.int64), np.round(timing.jitter[chosen]).astype(np.int64),
        timing.idle[chosen], paired[chosen], timing.p_value[chosen], confidence, g.order[member],
        number[g.group[member]],
    )  # fmt: skip


def _none() -> Series:
    whole, real, flag = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_)
    return Series(
        whole, whole.astype(np.int8), whole, whole, whole, flag, flag, real, real, whole, whole
    )  # fmt: skip


def joined(a: Series, b: Series) -> Series:
    """Return both, the second's numbers after the first's."""
    parts = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in Series.__slots__}
    parts["series"] = np.concatenate([a.series, b.series + a.flow_id.size])
    return Series(**parts)
