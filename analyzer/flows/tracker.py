"""The flow table as an object: makes room, calls the kernels, and hands over what is finished."""

from __future__ import annotations

import secrets
from typing import NamedTuple

import numpy as np

from analyzer.ahead import Turns
from analyzer.decode.segment import SEGMENT
from analyzer.flows import state
from analyzer.flows.closing import FIN_AGAIN_NS
from analyzer.flows.rtt import Taken, quantiles, taken
from analyzer.flows.track import rebuild, track
from analyzer.kernel import (
    I32,
    I64,
    U8,
    Mask,
    Records,
    chosen_rows,
    clear_rows,
    copy_rows,
    grown,
    records,
    roomy,
    untouched,
)
from analyzer.settings import Settings
from analyzer.streams.inorder import PAGES, SPAN, flush, new_store

# The worst case for one segment: a keep-alive probe that also proves the one before it, a silence ended, and for either
# direction a hole, captured bytes, clipped bytes and a FIN. A stored block gives up to three spans when delivered.
_BATCH_FLOWS = 1 << 15  # what a batch can open: it has no more packets
_PROBES_PER_SEGMENT, _GAPS_PER_SEGMENT, _SPANS_PER_SEGMENT, _SPANS_PER_BLOCK = 2, 1, 8, 3

# Rows of open flows are kept until the flow ends, so that a verdict sees all of them. Past this many (64 MiB of either
# kind; a probe a second for twelve days) the settled ones are handed over early.
MAX_ROWS_HELD = 1 << 20

# Flows classified together: enough that numpy's cost per call does not count, few enough that their columns stay small
# (12,000 at once took 25 MB more than 4,096 at a time, and as long).
_FLOWS_AT_ONCE = 1 << 12
_GIVEN_UP, _GIVEN_UP_LIVE = 4, 64  # the share of all flows that goes at once: live, packets wait in the ring meanwhile
_HAND_OVER = 1 << 10  # flows that are over before some are handed over: some 10 kB each wait for that
_PAIRS = 1 << 19  # places for addresses and ports, 4 MiB: 360,000 connections later half of them are forgotten
_AGE_STEPS = 16  # looks for flows that are over in the time that they linger: the last one is that much late

FILE_LINGER_NS = 60_000_000_000
"""See `settings.linger_ns`."""


class Finished(NamedTuple):
    """Flows that are over, and the rows about flows (over or not) that will not change any more.

    flows (n,) FLOW    sides (2n,) SIDE    in no particular order of flow_id
    rtt_p50, rtt_p95 (2n,) int64 ns, -1 = no sample
    probes, gaps  rows of these flows, and when there are very many also of flows that go on
    slots (n,)  where the flows were kept: the protocol stage knows them by that
    """

    flows: Records
    sides: Records
    rtt_p50: I64
    rtt_p95: I64
    probes: Records
    gaps: Records
    slots: I32


def _longer(array: I32, n: int) -> I32:
    """Return `array` with room for n numbers; what is not used yet is not touched, so it takes no memory."""
    longer: I32 = np.empty(n, np.int32)
    longer[: array.size] = array
    return longer


def untold(done: Finished) -> I64:
    """Return which of the flows are closed or were replaced and were not announced yet."""
    acked = (done.sides["fin_acked_ts"] != 0).reshape(-1, 2).all(axis=1)
    reset = (done.sides["rst_ts"] != 0).reshape(-1, 2).any(axis=1)
    closed = (done.flows["close_ts"] != 0) & (acked | reset)
    result: I64 = np.flatnonzero((done.flows["told"] == 0) & (closed | (done.flows["ended"] == state.REUSED)))
    return result


class FlowTracker:
    """Owns all per-flow state. Bounded by `settings.max_flows`; knows no source and no table."""

    def __init__(self, settings: Settings) -> None:
        self.max_flows = settings.max_flows
        # Room for all from the start: memory that is not touched is not taken, and nothing is ever copied to grow.
        room = settings.max_flows + _BATCH_FLOWS
        self.flows = records(room, state.FLOW)
        self.sides = records(2 * room, state.SIDE)
        self.slots: I32 = np.full(4096, -1, np.int32)
        self.pairs: I64 = untouched(8 * _PAIRS).view(np.int64)
        self.free: I32 = np.zeros(room, np.int32)
        self.meta = records(1, state.META)
        self.recent = records(state.RECENT, SEGMENT)
        for blocks in ("free_block", "spent_block", "older_block", "oldest_block"):
            self.meta[blocks] = -1
        self.probes = records(1024, state.PROBE)
        self.gaps = records(1024, state.GAP)
        self.spans = records(_SPANS_PER_BLOCK * PAGES + 1024, SPAN)
        self._span_turns = Turns(lambda: records(1024, SPAN))
        self.samples: I32 = np.zeros(256 * state.RTT_SAMPLES, np.int32)
        self.rtt_free: I32 = np.zeros(256, np.int32)
        self.blocks, self.pages = new_store()
        self.labels = records(1024, state.LABEL)
        self._label_turns = Turns(lambda: records(1024, state.LABEL))
        self.limits = records(1, state.LIMITS)
        self.evicted = 0
        self._given_up_share = _GIVEN_UP_LIVE if settings.linger_ns else _GIVEN_UP
        self._next_age = 0
        self._set_limits(settings)

    def _set_limits(self, settings: Settings) -> None:
        limits = self.limits[0]
        limits["idle_min"] = settings.idle_min_ns
        limits["probe_quiet"] = settings.probe_quiet_ns
        limits["duplicate"] = settings.duplicate_ns
        limits["reorder"] = settings.reorder_ns
        limits["fast_retransmit"] = settings.fast_retransmit_ns
        limits["stimulus"] = settings.stimulus_ns
        limits["linger"] = settings.linger_ns or FILE_LINGER_NS
        limits["reset_linger"] = settings.linger_ns
        # Secret, odd and below 2**30: two hostile flows collide with probability < 2**-26, whatever their addresses.
        limits["secret_a"] = secrets.randbelow(1 << 29) * 2 + 1
        limits["secret_b"] = secrets.randbelow(1 << 29) * 2 + 1

    @property
    def live(self) -> int:
        """Flows that hold a slot."""
        m = self.meta[0]
        return int(m["n_slots"]) - int(m["n_free"])

    def feed(self, segments: Records, data: U8) -> tuple[Records, Records]:
        """Take decoded segments; return (labels (n,), spans), both valid while `ahead.MOST` more are made."""
        n = segments.shape[0]
        self.spans, self.labels = self._span_turns.next(self.spans), self._label_turns.next(self.labels)
        self._make_room(n)
        m = self.meta[0]
        m["n_spans"] = 0
        track(
            segments, self.recent, data, self.flows, self.sides, self.slots, self.pairs, self.free, self.meta,
            self.limits, self.probes, self.gaps, self.spans, self.samples, self.rtt_free, self.blocks, self.pages,
            self.labels,
        )  # fmt: skip
        return self.labels[:n], self.spans[: m["n_spans"]]

    def _make_room(self, n: int) -> None:
        m = self.meta[0]
        need = int(m["n_slots"]) + max(n - int(m["n_free"]), 0)
        if need > self.flows.shape[0]:
            self.flows = grown(self.flows, need)
            self.sides = grown(self.sides, 2 * self.flows.shape[0])
            self.free = _longer(self.free, self.flows.shape[0])
        if 2 * need > self.slots.size:  # at most half full, so that a search ends after a step or two
            self.slots = np.full(1 << int(4 * need - 1).bit_length(), -1, np.int32)
            rebuild(self.flows, self.slots, self.meta, self.limits)
        self.probes = roomy(self.probes, int(m["n_probes"]), _PROBES_PER_SEGMENT * n)
        self.gaps = roomy(self.gaps, int(m["n_gaps"]), _GAPS_PER_SEGMENT * n)
        self.spans = roomy(self.spans, 0, _SPANS_PER_BLOCK * PAGES + _SPANS_PER_SEGMENT * n)
        self.labels = roomy(self.labels, 0, n)
        pools = int(m["n_rtt"]) + n
        if pools > self.samples.size // state.RTT_SAMPLES:
            self.samples = _longer(self.samples, 2 * pools * state.RTT_SAMPLES)
            self.rtt_free = _longer(self.rtt_free, 2 * pools)

    # -------------------------------------------------------------------------------------- handing over
    def full(self) -> bool:
        """True if some flows should be given up before the next batch, or are over already."""
        m = self.meta[0]
        return (
            self.live >= self.max_flows
            or int(m["n_ended"]) >= _HAND_OVER
            or int(m["n_probes"]) > 2 * MAX_ROWS_HELD
            or int(m["n_gaps"]) > 2 * MAX_ROWS_HELD
        )

    def over(self, until_ns: int) -> I64:
        """Return the slots of closed flows whose last segment came before `until_ns`."""
        n = int(self.meta[0]["n_slots"])
        flows = self.flows[:n]
        here = np.flatnonzero((flows["live"] == 1) & (flows["close_ts"] != 0) & (flows["last_ts"] < until_ns))
        fins, resets = self.sides["fin_acked_ts"], self.sides["rst_ts"]
        acked = (fins[2 * here] != 0) & (fins[2 * here + 1] != 0)
        reset = (resets[2 * here] != 0) | (resets[2 * here + 1] != 0)
        result: I64 = here[acked | reset | (flows["ended"][here] != state.LIVE)]
        return result

    def age(self) -> None:
        """Let go what is over by the latest packet's time; in between, a part of the linger passes."""
        now = int(self.meta[0]["latest_ts"])
        if now >= self._next_age:
            self._next_age = now + int(self.limits[0]["linger"]) // _AGE_STEPS
            self.let_go(now)

    def let_go(self, now_ns: int) -> None:
        """Mark flows that were closed and quiet for long enough as over: `collect` hands them over."""
        limits = self.limits[0]
        slots = self.over(now_ns - int(limits["linger"]))
        slots = slots[self.flows["ended"][slots] == state.LIVE]
        fins = self.sides["fin_acked_ts"]
        acked = (fins[2 * slots] != 0) & (fins[2 * slots + 1] != 0)
        again = acked & ((self.sides["fins"][2 * slots] > 1) | (self.sides["fins"][2 * slots + 1] > 1))
        again &= self.flows["last_ts"][slots] >= now_ns - FIN_AGAIN_NS
        slots = slots[(acked | bool(limits["reset_linger"])) & ~again]
        self.flows["ended"][slots] = state.OVER
        self.flows["ended_ts"][slots] = self.flows["last_ts"][slots] + int(self.limits[0]["linger"])
        self.meta[0]["n_ended"] += slots.size

    def look_at(self, slots: I64) -> Finished:
        """Return flows as they are now, copied; they go on, and their rows stay."""
        chosen: I32 = slots.astype(np.int32)
        pair = np.empty(2 * slots.size, np.int64)
        pair[0::2], pair[1::2] = 2 * slots, 2 * slots + 1
        flows, sides = chosen_rows(self.flows, chosen), chosen_rows(self.sides, pair)
        none = np.full(2 * slots.size, -1, np.int64)
        return Finished(flows, sides, none, none, self.probes[:0], self.gaps[:0], chosen)

    def standing(self, most: int) -> tuple[Finished, Taken]:
        """Return up to `most` flows that were not handed over, with their probes and silences, copied; they go on.

        Their RTT samples are returned as they are: to find their quantiles takes longer than all the rest.

        Closed ones come first, those that closed last before others; then open ones, the oldest first.
        """
        n = int(self.meta[0]["n_slots"])
        here = np.flatnonzero(self.flows["live"][:n] == 1)
        closed = np.isin(here, self.over(np.iinfo(np.int64).max))
        when = self.flows["last_ts"][here], self.flows["first_ts"][here]
        here = here[np.lexsort((np.where(closed, -when[0], when[1]), ~closed))][:most]
        chosen: Mask = np.zeros(self.flows.shape[0], np.bool_)
        chosen[here] = True
        probes, gaps = self.probes[: self.meta[0]["n_probes"]], self.gaps[: self.meta[0]["n_gaps"]]
        done = self.look_at(here)
        probes = self._certain(probes[chosen[probes["slot"]]])
        gaps = gaps[chosen[gaps["slot"]] & (gaps["open"] != state.GAP_VOID)]
        return done._replace(probes=probes, gaps=gaps), taken(done.sides, self.samples)

    def collect(self) -> tuple[Finished, Records]:
        """Hand over the flows that are over, and if too many are open also those that have least left to tell.

        Returns (Finished, last spans of those flows). Their slots stay theirs until `release`.
        """
        n = int(self.meta[0]["n_slots"])
        flows = self.flows[:n]
        chosen = np.flatnonzero((flows["live"] == 1) & (flows["ended"] != state.LIVE))
        excess = self.live - chosen.size - self.max_flows + self.max_flows // self._given_up_share
        if self.live >= self.max_flows and excess > 0:
            victims = self._least_telling(excess)
            self.flows["ended"][victims] = state.EVICTED
            self.flows["ended_ts"][victims] = flows["last_ts"].max()
            self.evicted += victims.size
            chosen = np.concatenate([chosen, victims])
        slots = chosen.astype(np.int32)
        last = self.flush(slots)
        return self.finished(slots), last

    def remaining(self) -> list[I32]:
        """Return the slots of all flows in pieces: the capture is over, each is to be `flush`ed and then `finished`."""
        n = int(self.meta[0]["n_slots"])
        flows = self.flows[:n]
        live = np.flatnonzero(flows["live"] == 1)
        here: I32 = live[np.argsort(flows["flow_id"][live])].astype(np.int32)
        return [here[start : start + _FLOWS_AT_ONCE] for start in range(0, max(here.size, 1), _FLOWS_AT_ONCE)]

    def _least_telling(self, count: int) -> I64:
        """Return slots to give up: closed flows first, then unanswered SYNs, then the shortest-lived; old before new.

        A long idle connection is what longwire is for, so it is the last to go.
        """
        n = int(self.meta[0]["n_slots"])
        flows = self.flows[:n]
        here = np.flatnonzero((flows["live"] == 1) & (flows["ended"] == state.LIVE))
        last = flows["last_ts"][here]  # a column at a time: whole rows would be 50 MB
        established = (flows["handshake_ts"][here] != 0) | (flows["payload_ts"][here] != 0)
        rank = np.where(flows["close_ts"][here] != 0, 0, np.where(~established, 1, 2))
        when = np.where(rank == 2, last - flows["first_ts"][here], last)
        chosen: list[I64] = []
        for grade in range(3):
            graded = np.flatnonzero(rank == grade)
            if graded.size > count:
                graded = graded[np.argpartition(when[graded], count)[:count]]
            chosen.append(here[graded])
            count -= graded.size
        return np.concatenate(chosen)

    def flush(self, chosen: I32) -> Records:
        """Return the last spans of these flows: what waited for a hole to be filled."""
        m = self.meta[0]
        self.spans = roomy(self.spans, 0, _SPANS_PER_BLOCK * PAGES + _SPANS_PER_SEGMENT * chosen.size)
        m["n_spans"] = 0
        flush(self.flows, self.sides, chosen, self.blocks, self.spans, self.meta)
        return self.spans[: m["n_spans"]]

    def finished(self, chosen: I32) -> Finished:
        """Hand over flows that were flushed."""
        pair = np.empty(2 * chosen.size, np.int64)
        pair[0::2], pair[1::2] = 2 * chosen.astype(np.int64), 2 * chosen.astype(np.int64) + 1
        flows, sides = chosen_rows(self.flows, chosen), chosen_rows(self.sides, pair)
        p50, p95 = quantiles(taken(sides, self.samples))
        probes = self._settled_probes(chosen)
        gaps = self._settled_gaps(chosen)
        return Finished(flows, sides, p50, p95, probes, gaps, chosen)

    def _split(self, rows: Records, chosen: I32) -> Mask:
        """Return which rows can go: those of chosen flows, and if there are too many every settled one."""
        over = np.zeros(self.flows.shape[0], np.bool_)
        over[chosen] = True
        go: Mask = over[rows["slot"]]
        if rows.shape[0] - int(go.sum()) > MAX_ROWS_HELD:
            go |= rows["open"] != state.WAITING
        return go

    def _certain(self, probes: Records) -> Records:
        """Leave out rows of what turned out to be no probe, or was never known to be one."""
        doubtful = probes["open"] == state.DOUBTFUL
        if not doubtful.any():
            return probes
        pair = 2 * probes["slot"].astype(np.int64) + probes["dir"]
        return chosen_rows(probes, ~doubtful | (self.sides["bare_sure"][pair] == 1))

    def _settled_probes(self, chosen: I32) -> Records:
        """Take out probe rows; move the others to the front and tell their sides where they are now."""
        m = self.meta[0]
        rows = self.probes[: m["n_probes"]]
        go = self._split(rows, chosen)
        taken, kept = chosen_rows(rows, go), chosen_rows(rows, ~go)
        copy_rows(self.probes, kept)
        waiting = np.flatnonzero(kept["open"] == state.WAITING)
        self.sides["probe_row"][2 * kept["slot"][waiting].astype(np.int64) + kept["dir"][waiting]] = waiting
        m["n_probes"] = kept.shape[0]
        return self._certain(taken)

    def _settled_gaps(self, chosen: I32) -> Records:
        """The same for gap rows."""
        m = self.meta[0]
        rows = self.gaps[: m["n_gaps"]]
        go = self._split(rows, chosen)
        doubted = np.flatnonzero(go & (rows["open"] == state.GAP_KEPT))  # one per flow: they wait for its end
        go[doubted] = np.isin(rows["slot"][doubted], chosen)
        taken, kept = chosen_rows(rows, go), chosen_rows(rows, ~go)
        copy_rows(self.gaps, kept)
        doubted = np.flatnonzero(kept["open"] == state.GAP_KEPT)
        self.flows["kept_row"][kept["slot"][doubted]] = doubted
        waiting = np.flatnonzero(kept["open"] == state.GAP_OPEN)
        self.flows["gap_row"][kept["slot"][waiting]] = waiting  # the latest of a flow stands last
        place = np.cumsum(~go) - 1
        chained = waiting[kept["before"][waiting] >= 0]
        self.gaps["before"][chained] = place[kept["before"][chained]]
        m["n_gaps"] = kept.shape[0]
        void = taken["open"] == state.GAP_VOID
        return chosen_rows(taken, ~void) if void.any() else taken

    def release(self, chosen: I32) -> None:
        """Give the slots back."""
        m = self.meta[0]
        m["n_ended"] -= int(np.isin(self.flows["ended"][chosen], (state.REUSED, state.OVER)).sum())
        pair = (2 * chosen[:, None] + np.arange(2)).ravel()
        pools = self.sides["rtt_slot"][pair]
        pools = pools[pools >= 0]
        clear_rows(self.flows, chosen)
        clear_rows(self.sides, pair)
        at = int(m["n_free"])
        self.free[at : at + chosen.size] = chosen
        m["n_free"] = at + chosen.size
        at = int(m["n_rtt_free"])
        self.rtt_free[at : at + pools.size] = pools
        m["n_rtt_free"] = at + pools.size
        rebuild(self.flows, self.slots, self.meta, self.limits)
