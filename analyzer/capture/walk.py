"""What the pcap and pcapng walks share: the reused buffers, the state a kernel carries, and the reading loop.

Buffers of 4 MiB are filled by `readinto` in turn, a kernel walks the records in one, and the bytes of a record that is
not whole yet move to the front of the next before that is filled. Memory stays flat whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from analyzer.ahead import Turns
from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, FileInfo, PacketBatch
from analyzer.capture.source import Source
from analyzer.kernel import U8, Records, helper, records

Int: TypeAlias = int | np.int64  # a kernel's numbers: int64 compiled, either in plain Python
Truth: TypeAlias = bool | np.bool_

NS = 1_000_000_000

# Wireshark's WTAP_MAX_PACKET_SIZE_STANDARD and libpcap's MAXIMUM_SNAPLEN: nothing we can analyse is captured longer.
MAX_CAPLEN = 262_144
# The longest record held in memory: Wireshark's limit for a pcapng block. Longer ones cost a reader 16 MiB for nothing.
MAX_HELD = 16 << 20
# Times are kept within +-146 years of 1970, so that the difference of any two fits an int64 as well.
TS_LIMIT = (1 << 62) - 1
MAX_INT32 = (1 << 31) - 1
BACKWARDS_NS = NS  # capture.time_backwards: reordering between capture queues stays below this, a clock step does not

# Why a walk kernel returned.
FULL, MORE, DAMAGED, BLOCK, SKIP = 0, 1, 2, 3, 4

WALK = np.dtype(
    [
        ("at", np.int64),  # where the next record starts in the buffer
        ("end", np.int64),  # valid bytes in the buffer
        ("eof", np.int64),  # 1: nothing follows these bytes
        ("stop", np.int64),  # why the kernel returned
        (
            "need",
            np.int64,
        ),  # MORE: bytes wanted from `at` on. BLOCK, SKIP: bytes of the block. DAMAGED: 0, or it runs past the end
        ("out", np.int64),  # packets written to this batch
        ("frame", np.int64),  # frame number of the batch's first packet
        ("file", np.int64),
        ("packets", np.int64),  # of the file, before this batch
        ("known", np.int64),  # 1: the three below are set
        ("last_ts", np.int64),
        ("min_ts", np.int64),
        ("max_ts", np.int64),
        # tallies of this batch; `_first` is an index into it
        ("clipped", np.int64),
        ("clipped_first", np.int64),
        ("backwards", np.int64),
        ("backwards_first", np.int64),
        ("bad", np.int64),
        ("bad_first", np.int64),
        ("unknown_iface", np.int64),
        ("unknown_first", np.int64),
        ("drops", np.int64),  # packets lost, as packet blocks themselves report it
        ("drops_known", np.int64),
    ],
    align=True,
)
_TALLIES = ("clipped", "backwards", "bad", "unknown_iface")


@helper
def u16(data: U8, at: Int, big: Int) -> Int:
    """Read an unsigned 16-bit number in the file's byte order."""
    if big:
        return (np.int64(data[at]) << 8) | np.int64(data[at + 1])
    return np.int64(data[at]) | (np.int64(data[at + 1]) << 8)


@helper
def u32(data: U8, at: Int, big: Int) -> Int:
    """Read an unsigned 32-bit number in the file's byte order."""
    a, b, c, d = np.int64(data[at]), np.int64(data[at + 1]), np.int64(data[at + 2]), np.int64(data[at + 3])
    if big:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@helper
def put_packet(
    out: Records, n: Int, w: Records, ts: Int, off: Int, caplen: Int, wirelen: Int, link: Int, iface: Int
) -> None:
    """Write the packet as record `n` of `out` and add it to the tallies; its time is known."""
    if w.known == 0:
        w.known = 1
        w.min_ts = ts
        w.max_ts = ts
    elif ts < w.last_ts - BACKWARDS_NS:
        if w.backwards == 0:
            w.backwards_first = n
        w.backwards += 1
    w.last_ts = ts
    w.min_ts = min(w.min_ts, ts)
    w.max_ts = max(w.max_ts, ts)
    put_untimed(out, n, w, ts, off, caplen, wirelen, link, iface)


@helper
def put_untimed(
    out: Records, n: Int, w: Records, ts: Int, off: Int, caplen: Int, wirelen: Int, link: Int, iface: Int
) -> None:
    """Write the packet as record `n` of `out`; its time is borrowed and proves nothing."""
    if caplen < wirelen:
        if w.clipped == 0:
            w.clipped_first = n
        w.clipped += 1
    out[n].ts_ns = ts
    out[n].frame = w.frame + n
    out[n].off = off
    out[n].caplen = caplen
    # Some writers store a shorter length on the wire than they captured; the bytes are there, so they count.
    out[n].wirelen = min(max(caplen, wirelen), MAX_INT32)
    out[n].link = link
    out[n].iface = iface
    out[n].file = w.file


NO_FRAMES, ALL_FRAMES = -(1 << 63), (1 << 63) - 1


@dataclass(slots=True)
class Numbering:
    """Frame numbers over all files.

    limit_ts   where the next file starts: packets from this time on may be renumbered after they were read, so the
               ledger must not name their frames; ALL_FRAMES where there is no such file
    """

    next: int = 1
    limit_ts: int = ALL_FRAMES


class Window:
    """Buffers used in turn: data[start:end] is what was read and not used yet.

    The tail of one moves to the front of the next, so a batch stays whole while the next ones are read.

    offset   file position of data[0]    eof   nothing follows data[end]
    """

    def __init__(self, source: Source, size: int) -> None:
        self.size = max(size, 64)
        self.data: U8 = np.empty(self.size, np.uint8)
        self._turns: Turns[U8] = Turns(lambda: np.empty(self.size, np.uint8))
        self.start = self.end = self.offset = 0
        self.eof = False
        self.handed_on = False  # a batch that points into `data` was yielded
        self._source = source

    def ensure(self, need: int) -> bool:
        """Read until `need` bytes from `start` on are there (true) or the input ends (false)."""
        while self.end - self.start < need:
            if self.eof:
                return False
            self._make_room(need)
            # A grown buffer is filled little further than it must be: 4 MiB stay in the cache, 24 MiB do not. But a
            # little: a search for the next record asks for a few bytes more each time.
            room = min(len(self.data), max(self.size, self.start + need + self.size // 8))
            got = self._source.readinto(self.data.data[self.end : room])
            self.end += got
            self.eof = got == 0
        return True

    def skip(self, n: int) -> bool:
        """Step over `n` bytes without holding them; false if the input ends first."""
        while n > 0:
            step = min(n, self.end - self.start)
            self.start += step
            n -= step
            if n and not self.ensure(1):
                return False
        return True

    def _make_room(self, need: int) -> None:
        """Move the tail to the front where that is worth it, and grow if one record needs more than there is."""
        held = self.end - self.start
        # A pipe fills the buffer in small steps: move only when little room is left, or the tail is copied each time.
        if self.start and (len(self.data) - self.end < self.size // 8 or len(self.data) - self.start < need):
            tail = self.data[self.start : self.end]
            if self.handed_on:  # who uses the last batches still looks at this buffer
                size = len(self.data)
                self.data = self._turns.next(self.data)
                if len(self.data) < size:
                    self.data = np.empty(size, np.uint8)
                self.handed_on = False
            self.data[:held] = tail
            self.offset += self.start
            self.start, self.end = 0, held
        if len(self.data) - self.start < need:
            bigger: U8 = np.empty(need + need // 4, np.uint8)
            bigger[: self.end] = self.data[: self.end]
            self.data = bigger


class RecordReader:
    """Reads one file as PacketBatches. A subclass says how records are walked and what to do between them."""

    damage_code = "capture.damaged"

    def __init__(
        self,
        source: Source,
        info: FileInfo,
        file: int,
        ledger: Ledger,
        numbering: Numbering,
        buffer_bytes: int,
        first_iface: int,
    ) -> None:
        self.source = source
        self.info = info
        self.ledger = ledger
        self.window = Window(source, buffer_bytes)
        self._numbering = numbering
        # A batch ends when it is full: then small packets make no more work at once than usual ones.
        self.out = records(max(buffer_bytes // 256, 64), PACKET)
        self._turns = Turns(lambda: records(len(self.out), PACKET))
        self.state = records(1, WALK)
        self.walk = self.state[0]
        self.walk["file"] = file
        self._first_iface = first_iface
        self._damaged_places = self._damaged_bytes = 0
        self._first_damage = ""
        self._start()

    # --- what a subclass gives

    def _start(self) -> None:
        """Get ready to read; the file header is known to be there."""
        raise NotImplementedError

    def _walk(self) -> None:
        """Run the kernel over the window from `walk.at`."""
        raise NotImplementedError

    def _find(self) -> None:
        """Run the kernel that looks for the next plausible record from `walk.at`; MORE if it needs more bytes."""
        raise NotImplementedError

    def _block(self) -> None:
        """Read the whole block at the window's start, and step over it."""
        raise NotImplementedError

    def _skip(self, length: int) -> None:
        """Step over a block of `length` bytes that is not held."""
        raise NotImplementedError

    def _after_batch(self) -> None:
        """Update the file's facts that a batch may have changed."""

    # --- the loop

    def batches(self) -> Iterator[PacketBatch]:
        """Yield the file's packets in file order; each batch is valid while `ahead.MOST` more are asked for."""
        walk = self.walk
        while True:
            if walk["out"] == 0:
                walk["frame"] = self._numbering.next
            self._enter()
            self._walk()
            self.window.start = int(walk["at"])
            stop = int(walk["stop"])
            if stop == BLOCK:
                self._block()
                continue
            if stop == DAMAGED and self._found_at_hand():
                continue
            if walk["out"] or any(walk[name] for name in _TALLIES):
                batch = self._take_batch()
                if len(batch.packets):
                    yield batch
            if stop == DAMAGED:
                self._resynchronise()
            elif stop == SKIP:
                self._skip(int(walk["need"]))
            elif stop == MORE:
                if walk["eof"]:
                    break
                self.window.ensure(int(walk["need"]))
        self._finish()

    def _enter(self) -> None:
        walk, window = self.walk, self.window
        walk["at"], walk["end"], walk["eof"] = window.start, window.end, window.eof

    def _take_batch(self) -> PacketBatch:
        """Add the batch to the file's facts and the ledger, and reset its tallies."""
        walk, info = self.walk, self.info
        n = int(walk["out"])
        self._note("capture.snaplen_clipped", "clipped", "clipped_first")
        self._note("capture.time_backwards", "backwards", "backwards_first")
        self._note("capture.bad_block", "bad", "bad_first")
        self._note("capture.unknown_interface", "unknown_iface", "unknown_first")
        info.snaplen_clipped += int(walk["clipped"])
        info.packets += n
        if walk["known"]:
            info.first_ts_ns, info.last_ts_ns = int(walk["min_ts"]), int(walk["max_ts"])
        self._after_batch()
        for name in _TALLIES:
            walk[name] = 0
        walk["packets"] += n
        walk["out"] = 0
        packets = self.out[:n]
        if n:  # else nobody gets to see it, and no buffer's turn is over
            self.out = self._turns.next(self.out)
            self.window.handed_on = True
        return PacketBatch(packets, self.window.data[: self.window.end])

    def _note(self, code: str, tally: str, first: str) -> None:
        count = int(self.walk[tally])
        if count:
            index = int(self.walk[first])
            self.ledger.note(
                code,
                count,
                frame=self._frame(index),
                detail=f"{self.info.file}: packet {self.info.packets + index + 1}",
            )

    def _frame(self, index: int) -> int | None:
        """Return the frame number of the batch's packet `index`, None where a merge will change it."""
        return int(self.walk["frame"]) + index if self._numbers_stand() else None

    def _last_frame(self) -> int | None:
        """Return the number of the last frame that was handed on, None if there is none or a merge may change it."""
        last = self._numbering.next - 1 + int(self.walk["out"])
        return last if self._numbers_stand() and last > 0 else None

    def _numbers_stand(self) -> bool:
        return bool(self._numbering.limit_ts == ALL_FRAMES or self.walk["max_ts"] < self._numbering.limit_ts)

    # --- damage and the end

    def _found_at_hand(self) -> bool:
        """Skip to the next record if the bytes at hand have one: the batch then goes on behind the damage."""
        window, walk, need = self.window, self.walk, int(self.walk["need"])
        damaged = window.start
        window.start += 1
        self._enter()
        self._find()
        if walk["stop"] == MORE:
            window.start, walk["stop"], walk["need"] = damaged, DAMAGED, need
            return False
        window.start = int(walk["at"])
        self._note_damage(window.offset + damaged, window.start - damaged)
        return True

    def _resynchronise(self) -> None:
        """Skip to the next place that looks like a record; linear, as each offset is looked at once."""
        window, walk = self.window, self.walk
        from_offset = window.offset + window.start
        runs_past_end = bool(walk["need"])
        window.start += 1
        while True:
            self._enter()
            self._find()
            window.start = int(walk["at"])
            if walk["stop"] != MORE:
                break
            if walk["eof"]:
                window.start = window.end
                if runs_past_end:  # and nothing comes after it: odd, but simply the last one
                    return self.cut_short(from_offset)
                break
            window.ensure(int(walk["need"]))
        self._note_damage(from_offset, window.offset + window.start - from_offset)

    def _note_damage(self, offset: int, skipped: int) -> None:
        detail = f"{skipped} bytes skipped at offset {offset}"
        self.ledger.note(self.damage_code, frame=self._last_frame(), detail=f"{self.info.file}: {detail}")
        if self._damaged_places == 0:
            self._first_damage = detail
        self._damaged_places += 1
        self._damaged_bytes += skipped
        places = self._damaged_places
        many = f"damaged: {self._damaged_bytes} bytes skipped in {places} places, first {self._first_damage}"
        self.say(f"damaged: {detail}" if places == 1 else many, replaces="damaged")

    def say(self, text: str, replaces: str = "") -> None:
        """Add a remark to the file's `error`, in place of an earlier one that starts with `replaces`."""
        said = [part for part in self.info.error.split("; ") if part and not (replaces and part.startswith(replaces))]
        if text not in said:
            said.append(text)
        self.info.error = "; ".join(said)

    def cut_short(self, offset: int) -> None:
        """Note that the file ends inside the record that starts at `offset`."""
        self.info.truncated = True
        text = f"ends inside packet {self.info.packets + 1} (offset {offset})"
        self.say(text)
        self.ledger.note("capture.truncated", frame=self._last_frame(), detail=f"{self.info.file}: {text}")

    def _finish(self) -> None:
        window = self.window
        if window.end > window.start:
            self.cut_short(window.offset + window.start)
        if self.source.error:
            self.say(self.source.error)
            if not self.info.truncated:
                self.info.truncated = True
                detail = f"{self.info.file}: {self.source.error}"
                self.ledger.note("capture.truncated", frame=self._last_frame(), detail=detail)
