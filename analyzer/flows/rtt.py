"""Round-trip times as seen at the capture point.

A direction's data until the peer's ACK covers the part of the path from the capture point to the peer and back; both
parts together are the path. One segment is timed at a time and a retransmission voids the sample (Karn's algorithm,
RFC 6298 section 3). Up to 64 samples per direction are kept; when they are full every second one is dropped and from
then on only every second, fourth, ... sample is taken, so that they stay spread over the life of the flow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.flows.state import RTT_SAMPLES
from analyzer.kernel import I32, I64, Records, helper

RTT_UNIT_NS = 100  # samples are kept in 32 bits: up to 214 s
_LONGEST = (1 << 31) - 1


@helper
def start_timing(me: Records, end: int, now: int) -> None:
    """Time the segment that ends at `end` unless another is being timed."""
    if me.timed_end == 0:
        me.timed_end = end
        me.timed_ts = now


@helper
def void_timing(me: Records, seq: int) -> None:
    """A retransmission from `seq` on: the ACK could belong to either copy."""
    if me.timed_end > seq:
        me.timed_end = 0


@helper
def _slot(me: Records, m: Records, free: I32) -> int:
    if me.rtt_slot < 0:
        if m.n_rtt_free > 0:
            m.n_rtt_free -= 1
            me.rtt_slot = free[m.n_rtt_free]
        else:
            me.rtt_slot = m.n_rtt
            m.n_rtt += 1
    slot: int = me.rtt_slot
    return slot


@helper
def take_sample(me: Records, ack: int, now: int, m: Records, samples: I32, free: I32) -> None:
    """End the timing if `ack` covers it: smooth (RFC 6298 section 2.3), remember the smallest, keep the sample."""
    if me.timed_end == 0 or ack < me.timed_end:
        return
    rtt = now - me.timed_ts
    me.timed_end = 0
    if rtt < 0:
        return  # a clock was set back
    if me.srtt == 0:
        me.srtt, me.rtt_min = max(rtt, 1), rtt
        me.rtt_stride = 1
    else:
        me.srtt = max(me.srtt + (rtt - me.srtt) // 8, 1)
        me.rtt_min = min(me.rtt_min, rtt)
    if me.rtt_skip > 0:
        me.rtt_skip -= 1
        return
    me.rtt_skip = me.rtt_stride - 1
    base = _slot(me, m, free) * RTT_SAMPLES
    if me.rtt_n == RTT_SAMPLES:
        for k in range(RTT_SAMPLES // 2):
            samples[base + k] = samples[base + 2 * k]
        me.rtt_n = RTT_SAMPLES // 2
        me.rtt_stride *= 2
        me.rtt_skip = me.rtt_stride - 1
    samples[base + me.rtt_n] = min(rtt // RTT_UNIT_NS, _LONGEST)
    me.rtt_n += 1


class Taken(NamedTuple):
    """Copied samples of `sides` sides. has: those that have any    n, ticks (has.size,), (has.size, n.max())"""

    sides: int
    has: I64
    n: I64
    ticks: I32


def taken(sides: Records, samples: I32) -> Taken:
    """Return a copy of these sides' samples."""
    has: I64 = np.flatnonzero((sides["rtt_slot"] >= 0) & (sides["rtt_n"] > 0))
    n: I64 = sides["rtt_n"][has].astype(np.int64)
    rows = samples[: samples.size // RTT_SAMPLES * RTT_SAMPLES].reshape(-1, RTT_SAMPLES)
    return Taken(sides.shape[0], has, n, rows[sides["rtt_slot"][has], : n.max(initial=0)])


def quantiles(of: Taken) -> tuple[I64, I64]:
    """Return (p50, p95) of each side's samples in nanoseconds, nearest rank; -1 where there is none."""
    p50 = np.full(of.sides, -1, np.int64)
    p95 = p50.copy()
    has, n, ticks = of.has, of.n, of.ticks
    if has.size:
        ticks[np.arange(ticks.shape[1]) >= n[:, None]] = _LONGEST  # unused places sort last
        ticks.sort(axis=1)
        row = np.arange(has.size)
        p50[has] = ticks[row, (n - 1) // 2].astype(np.int64) * RTT_UNIT_NS
        p95[has] = ticks[row, (95 * n + 99) // 100 - 1].astype(np.int64) * RTT_UNIT_NS
    return p50, p95
