"""TCP keep-alive timers, read off the probes that the kernel labelled.

What    Answered probes are KEEPIDLE apart, unanswered ones KEEPINTVL; KEEPCNT is how many it took to give up.
Source  RFC 9293 section 3.8.4, RFC 1122 section 4.2.3.6; tcp(7) for the names.
Needs   keepalives (PROBE rows), flows (how it ended)
Gives   keepalives, and keepidle_s, keepintvl_s, keepcnt, keepalive_profile of flows
Limits  A timer is known only if the capture has the silence that ran it out; timers of one side only (the one that
        probed more).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.facts import Facts
from analyzer.flows.state import ANSWER_NO, ANSWER_PENDING, ANSWERS
from analyzer.kernel import I64, Mask, Records
from analyzer.tables.build import MISSING, Coded

F64 = NDArray[np.float64]

MOST_SHOWN = 16  # probes as evidence: Linux gives up after nine
_LONGEST_RTT_NS = 60_000_000_000  # what seems longer is a clock that jumped


def patience(facts: Facts) -> I64:
    """Return how long each flow's last probe must have waited before it counts as unanswered, in ns."""
    longest: I64 = np.maximum(facts.settings.probe_answer_ns, 3 * np.minimum(facts.path_rtt, _LONGEST_RTT_NS))
    return longest


def one_sided(facts: Facts) -> Mask:
    """Return the flows of which the capture has one side: what the last probe was answered is not to be seen."""
    lone: Mask = (facts.both("segments") == 0).any(axis=0)
    return lone


def unanswered(facts: Facts, side: Records) -> I64:
    """Return how many probes of a side stayed unanswered for good."""
    count: I64 = side["unanswered"] + (waits_in_vain(facts, side) & ~one_sided(facts)).astype(np.int64)
    return count


def waits_in_vain(facts: Facts, side: Records) -> Mask:
    """Return where a side's last probe has waited too long for its answer when the capture ends."""
    result: Mask = (side["probe_row"] >= 0) & (facts.end_ns - side["probe_ts"] >= patience(facts))
    return result


def answers(facts: Facts) -> NDArray[np.int8]:
    """Return each probe's answer, `pending` turned to `no` where the capture waited long enough for one."""
    rows = facts.done.probes
    wait = np.full(rows.shape[0], facts.settings.probe_answer_ns, np.int64)
    end = np.full(rows.shape[0], facts.capture_end_ns, np.int64)
    where = facts.rows_of(rows["flow_id"])
    known = where >= 0
    wait[known], end[known] = patience(facts)[where[known]], facts.end_ns[where[known]]
    answered: NDArray[np.int8] = rows["answered"].copy()
    waiting = answered == ANSWER_PENDING
    waiting[known] &= ~one_sided(facts)[where[known]]
    answered[waiting & (end - rows["ts"] >= wait)] = ANSWER_NO
    return answered


def last_unanswered(facts: Facts, chosen: Mask) -> I64:
    """Return (n, k) the frames of each chosen flow's last probes, up to MOST_SHOWN, that nobody answered; 0 = none."""
    rows = facts.done.probes
    where = facts.rows_of(rows["flow_id"])
    mine = np.flatnonzero(where >= 0)  # those of flows that go on may come first
    mine = mine[chosen[where[mine]]]
    if mine.size == 0:
        return np.zeros((facts.n, 0), np.int64)
    order = mine[np.lexsort((-rows["frame"][mine], where[mine]))]  # the last one first
    flow, answer = where[order], answers(facts)[order]
    begins = np.searchsorted(flow, flow)
    answered = np.cumsum(np.isin(answer, (ANSWER_NO, ANSWER_PENDING), invert=True))
    earlier = np.r_[0, answered][begins]
    place = np.arange(order.size) - begins
    kept = (answered == earlier) & (place < MOST_SHOWN)
    shown = np.zeros((facts.n, int(place[kept].max(initial=-1)) + 1), np.int64)
    shown[flow[kept], place[kept]] = rows["frame"][order[kept]]
    return shown


def keepalives(facts: Facts) -> dict[str, Any]:
    """Return the columns of `keepalives`."""
    rows = facts.done.probes
    has_answer = rows["answer_ts"] != 0
    rtt = np.where(has_answer, (rows["answer_ts"] - rows["ts"]) / 1e9, np.nan)
    return {
        "flow_id": rows["flow_id"],
        "frame": rows["frame"],
        "ts": rows["ts"],
        "dir": Coded(rows["dir"], ("c2s", "s2c")),
        "len": rows["length"].astype(np.int64),
        "idle_before_s": np.where(rows["idle_before"] >= 0, rows["idle_before"] / 1e9, np.nan),
        "answered": Coded(answers(facts), ANSWERS),
        "answer_frame": np.where(has_answer, rows["answer_frame"], MISSING),
        "rtt_s": rtt,
    }


# ------------------------------------------------------------------------------------------------ timers of a flow
@dataclass(frozen=True, slots=True)
class Profile:
    """A known set of keep-alive timers; None = any."""

    name: str
    idle_s: float
    interval_s: float | None = None
    count: int | None = None
    garbage: int | None = None  # bytes in a probe


# tcp(7); Windows KeepAliveTime/KeepAliveInterval; go src net/dial.go; curl keepalive-time.
PROFILES = (
    Profile("linux_default", 7200, 75, 9, 0),
    Profile("bsd_macos_default", 7200, 75, 8, 0),
    Profile("windows_default", 7200, 1, 10, 1),
    Profile("go_default", 15, 15, 9),
    Profile("chrome", 45, 45),
    Profile("curl_default", 60, 60),
    Profile("redis_default", 300, 100, 3),
)
PROFILE_NAMES = tuple(profile.name for profile in PROFILES)


@dataclass(slots=True)
class Timers:
    """(n,) per finished flow; NaN or MISSING where the capture does not tell."""

    idle_s: F64
    interval_s: F64
    count: I64
    profile: Coded


def timers(facts: Facts, gave_up: NDArray[np.bool_]) -> Timers:
    """Estimate KEEPIDLE, KEEPINTVL and KEEPCNT of the side that probed more.

    gave_up (n,)  the flow ended because probes stayed unanswered: then their number is KEEPCNT
    """
    nothing = np.full(facts.n, np.nan)
    out = Timers(
        nothing, nothing.copy(), np.full(facts.n, MISSING, np.int64), Coded(np.full(facts.n, -1), PROFILE_NAMES)
    )
    rows = facts.done.probes
    where = facts.rows_of(rows["flow_id"])
    prober = (facts.server["probes"] > facts.client["probes"]).astype(np.int8)
    mine = where >= 0
    mine[mine] = rows["dir"][mine] == prober[where[mine]]
    if not mine.any():
        return out
    rows, where = rows[mine], where[mine]
    order = np.lexsort((rows["frame"], where))
    rows, where = rows[order], where[order]
    first = np.r_[True, where[1:] != where[:-1]]
    # After an unanswered probe runs KEEPINTVL; after an answer, or anything else on the wire, KEEPIDLE.
    retry = np.r_[False, (rows["answered"] == ANSWER_NO)[:-1]] & ~first
    retry &= rows["idle_before"] == np.r_[0, np.diff(rows["ts"])]  # nothing but the unanswered probe in between
    idle = rows["idle_before"] / 1e9
    known = rows["idle_before"] >= 0
    _median_into(out.idle_s, where[known & ~retry], idle[known & ~retry])
    _median_into(out.interval_s, where[known & retry], idle[known & retry])
    run = np.where(prober == 0, facts.client["unanswered_run"], facts.server["unanswered_run"]).astype(np.int64)
    waiting = np.where(prober == 0, facts.client["probe_row"], facts.server["probe_row"]) >= 0
    cut = np.zeros(facts.n, np.bool_)  # the capture began too late to have the first
    cut[where[~known & (rows["answered"] == ANSWER_NO)]] = True
    out.count = np.where(gave_up & ~cut, run + waiting, MISSING)
    garbage = np.zeros(facts.n, np.int64)
    np.maximum.at(garbage, where, rows["length"])
    out.profile = _profiles(out, garbage)
    return out


def _median_into(out: F64, group: I64, value: F64) -> None:
    """Write the lower median of each group's values to out[group]."""
    if group.size == 0:
        return
    order = np.lexsort((value, group))
    group, value = group[order], value[order]
    start = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    size = np.diff(np.r_[start, group.size])
    out[group[start]] = value[start + (size - 1) // 2]


def _profiles(timers: Timers, garbage: I64) -> Coded:
    """Return the known defaults that fit each flow: within 2 % or 0.3 s, and nothing measured contradicts."""

    def fits(measured: F64, value: float | None) -> NDArray[np.bool_]:
        if value is None:
            return np.ones(measured.size, np.bool_)
        close: NDArray[np.bool_] = np.isnan(measured) | (np.abs(measured - value) <= max(0.02 * value, 0.3))
        return close

    codes = np.full(timers.idle_s.size, -1, np.int64)
    for k, known in enumerate(PROFILES):
        match = ~np.isnan(timers.idle_s) & fits(timers.idle_s, known.idle_s) & fits(timers.interval_s, known.interval_s)
        if known.count is not None:
            match &= (timers.count == MISSING) | (timers.count == known.count)
        if known.garbage is not None:
            match &= garbage == known.garbage
        codes[match & (codes < 0)] = k
    return Coded(codes, PROFILE_NAMES)
