"""Several files as one stream in time order.

A rotated ring is files that follow each other: they are passed on batch by batch, nothing is copied. Where files
overlap in time, their packets are merged by time into a buffer of their own; ties go to the file named first.

Within one file packets keep the file's order even where its clock goes back: what is merged by is the largest time
seen so far in that file. So a single file is never re-ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from analyzer.capture.batch import PACKET, PacketBatch
from analyzer.capture.walk import ALL_FRAMES, NO_FRAMES, Int, Numbering
from analyzer.kernel import I64, U8, Records, kernel, records

Part: TypeAlias = tuple[Records, U8, I64]  # packets, the bytes they point into, and their merge keys


# Packets of a merged batch at most: what can come of a batch has this much room (flows, stored pages).
MOST_MIXED = 1 << 15


@kernel
def gather(packets: Records, data: U8, rows: I64, start: Int, out: Records, out_data: U8) -> None:
    """Copy one file's packets and their bytes to the rows of the merged batch they belong to.

    packets (n,) PACKET into data    rows (n,) where packet i goes in `out`
    The bytes are laid out one after the other from out_data[start] on: a file's bytes stay together.
    """
    at: Int = start
    for i in range(packets.size):
        off, length, row = packets[i].off, np.int64(packets[i].caplen), rows[i]
        for k in range(length):
            out_data[at + k] = data[off + k]
        out[row].ts_ns = packets[i].ts_ns
        out[row].off = at
        out[row].caplen = packets[i].caplen
        out[row].wirelen = packets[i].wirelen
        out[row].link = packets[i].link
        out[row].iface = packets[i].iface
        out[row].file = packets[i].file
        at += length


class Lane:
    """One file on its way through the merge.

    begin      opens the file and returns its batches; called when the merge gets there
    first_ts   time of its first packet, None if it has no packet (or is alone, and it does not matter)
    """

    def __init__(self, index: int, begin: Callable[[], Iterator[PacketBatch]]) -> None:
        self.index = index
        self.begin = begin
        self.first_ts: int | None = None
        self._batch: PacketBatch | None = None
        self._batches: Iterator[PacketBatch] | None = None
        self._keys = np.empty(0, np.int64)
        self._newest = NO_FRAMES

    def advance(self) -> bool:
        """Load the next batch; false at the end of the file."""
        if self._batches is None:
            self._batches = self.begin()
        self._batch = next(self._batches, None)
        if self._batch is None:
            return False
        keys = np.maximum.accumulate(np.asarray(self._batch.packets["ts_ns"]))
        self._keys = np.maximum(keys, self._newest, out=keys)
        self._newest = int(self._keys[-1])
        self._cursor = 0
        return True

    @property
    def last_key(self) -> int:
        """The merge key of the batch's last packet."""
        return self._newest

    @property
    def left(self) -> int:
        """Packets of the batch that were not taken yet."""
        return len(self._keys) - self._cursor

    def count_until(self, key: int, *, inclusive: bool) -> int:
        """Return how many of the packets left come before `key`."""
        side: str = "right" if inclusive else "left"
        return int(np.searchsorted(self._keys, key, side=side)) - self._cursor  # type: ignore[call-overload]

    def take(self, n: int) -> Part:
        """Return the next `n` packets, the bytes they point into and their merge keys."""
        assert self._batch is not None
        part = slice(self._cursor, self._cursor + n)
        self._cursor += n
        return self._batch.packets[part], self._batch.data, self._keys[part]


def merged(lanes: list[Lane], numbering: Numbering) -> Iterator[PacketBatch]:
    """Yield the packets of all lanes in time order, numbered from `numbering.next`.

    Memory is one buffer for each file that overlaps another, and one for the merged batch.
    """
    # Files without a packet go first: reading them only fills in their FileInfo.
    waiting = sorted(lanes, key=lambda lane: (lane.first_ts is not None, lane.first_ts or 0, lane.index))
    active: list[Lane] = []
    mixer = _Mixer()
    while waiting or active:
        next_ts = _first_ts(waiting[0]) if waiting else None
        if next_ts is not None and (not active or next_ts <= min(lane.last_key for lane in active)):
            if len(active) == 1:  # what comes before the newcomer goes on as it is
                n = active[0].count_until(next_ts, inclusive=False)
                if n:
                    yield _numbered(active[0].take(n), numbering)
            newcomer = waiting.pop(0)
            numbering.limit_ts = NO_FRAMES if active else _next_first_ts(waiting)
            if newcomer.advance():
                active.append(newcomer)
                active.sort(key=lambda lane: lane.index)
        elif len(active) == 1:
            yield _numbered(active[0].take(active[0].left), numbering)
        else:
            packets, data, keys = mixer.mix(active)
            for start in range(0, len(packets), MOST_MIXED):
                yield _numbered((packets[start : start + MOST_MIXED], data, keys), numbering)
        numbering.limit_ts = _next_first_ts(waiting) if len(active) == 1 else NO_FRAMES
        active = [lane for lane in active if lane.left or lane.advance()]


def _first_ts(lane: Lane) -> int:
    return NO_FRAMES if lane.first_ts is None else lane.first_ts


def _next_first_ts(waiting: list[Lane]) -> int:
    return _first_ts(waiting[0]) if waiting else ALL_FRAMES


def _numbered(part: Part, numbering: Numbering) -> PacketBatch:
    """Make a batch of it; packets are renumbered if others came in between since they were read."""
    packets, data, _ = part
    n = len(packets)
    if packets["frame"][0] != numbering.next:
        packets["frame"] = np.arange(numbering.next, numbering.next + n)
    numbering.next += n
    return PacketBatch(packets, data)


class _Mixer:
    """Merges the batches at hand as far as their order is certain; owns the buffer that holds the result."""

    def __init__(self) -> None:
        self._out = records(0, PACKET)
        self._data: U8 = np.empty(0, np.uint8)

    def mix(self, active: list[Lane]) -> Part:
        """Merge up to the earliest end of a batch; `active` is in order of file index.

        Beyond that end the file it belongs to may still have packets as old. At that very time, files named before
        it are complete and files named after it must wait for its ties.
        """
        bound = min(active, key=lambda lane: (lane.last_key, lane.index))
        parts = []
        for lane in active:
            n = lane.count_until(bound.last_key, inclusive=lane.index <= bound.index)
            if n > 0:
                parts.append(lane.take(n))
        order = np.argsort(np.concatenate([keys for _, _, keys in parts]), kind="stable")
        total = len(order)
        rows = np.empty(total, np.int64)
        rows[order] = np.arange(total)
        sizes = [int(packets["caplen"].sum(dtype=np.int64)) for packets, _, _ in parts]
        if len(self._out) < total:
            self._out = records(total + total // 4, PACKET)
        if len(self._data) < sum(sizes):
            self._data = np.empty(sum(sizes) + sum(sizes) // 4, np.uint8)
        first = start = 0
        for (packets, data, _), size in zip(parts, sizes, strict=True):
            gather(packets, data, rows[first : first + len(packets)], start, self._out, self._data)
            first += len(packets)
            start += size
        self._out[:total]["frame"] = 0
        return self._out[:total], self._data[:start], rows
