"""Reassembly of IP fragments, bounded in time and memory.

Source  RFC 791 section 3.2, RFC 8200 section 4.5.
Gives   the datagram's payload, in the slot of the frame that completed it (as Wireshark does).
Limits  The first copy of each byte wins. A fragment that the capture clipped counts with its length on the wire, so
        that lengths come out right; the payload then ends where the captured bytes do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from analyzer.anomalies import Ledger
from analyzer.kernel import U8, Records
from analyzer.settings import NS, Settings

TIMEOUT_NS: Final = 60 * NS
"""RFC 8200 section 4.5 and RFC 1122 section 3.3.2: after a minute a datagram is given up, its number may come again."""

PIECE_OVERHEAD_BYTES: Final = 200
"""What keeping a fragment costs besides its bytes: else a flood of 8-byte fragments would pass under the cap."""

MAX_PIECES: Final = 256
"""Pieces of one datagram; SLIP's MTU of 296 bytes (RFC 1055) makes 241 of the largest. A hostile one has 8192, and each
of its fragments that covers them all would cost a millisecond."""

MAX_DONE: Final = 4096
"""Finished datagrams remembered, to know second copies of their fragments; a millisecond at 4 million per second."""

MAX_PAYLOAD: Final = 65535

Key = tuple[int, int, int, int, int, int]


class Fragment(NamedTuple):
    """One fragment: where it belongs, and its bytes (fewer than `length` if the capture was clipped)."""

    key: Key  # addresses, identification, protocol (-1 for IPv6, where only the first fragment's counts)
    offset: int
    length: int
    more: bool
    payload: bytes
    protocol: int
    ts_ns: int = 0
    frame: int = 0
    l2: int = 0


class Datagram(NamedTuple):
    """A whole datagram: protocol number of its payload, the payload, its length on the wire."""

    protocol: int
    payload: bytes
    length: int


def fragments_of(jobs: Records, segments: Records, data: U8) -> Iterator[Fragment]:
    """Yield the fragments that the kernel stopped at; their headers are captured whole.

    Columns become lists first: a numpy scalar at a time, this took twice as long.
    """
    view = data.data
    slots = segments[jobs["packet"]]
    places = zip(*(jobs[name].tolist() for name in ("ip", "at", "end", "wire")), strict=True)
    facts = zip(*(slots[name].tolist() for name in ("ip_version", "ip_id", "ts_ns", "frame", "l2")), strict=True)
    ends = zip(*(slots[name].tolist() for name in ("src_hi", "src_lo", "dst_hi", "dst_lo")), strict=True)
    for (ip, at, end, wire), (version, number, *seen), addresses in zip(places, facts, ends, strict=True):
        if version == 4:  # RFC 791 section 3.1: flags and offset in the header's bytes 6 and 7
            position = view[ip + 6] << 8 | view[ip + 7]
            offset, more = (position & 0x1FFF) * 8, bool(position & 0x2000)
            protocol = view[ip + 9]
            key = (*addresses, number, protocol)
        else:  # RFC 8200 section 4.5: the fragment header is the 8 bytes before the payload
            position = view[at - 6] << 8 | view[at - 5]
            offset, more = position & 0xFFF8, bool(position & 1)
            protocol = view[at - 8]
            key = (*addresses, int.from_bytes(view[at - 4 : at], "big"), -1)
        yield Fragment(key, offset, wire - at, more, bytes(view[at:end]), protocol, *seen)


@dataclass(slots=True)
class _Waiting:
    """A datagram in the making. Pieces do not overlap and are sorted by start."""

    first_ns: int
    first_frame: int
    frames: int = 0
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    have: int = 0  # bytes on the wire in all pieces
    total: int = -1  # -1 = the last fragment was not seen yet
    protocol: int = -1  # of the fragment at offset 0
    cost: int = PIECE_OVERHEAD_BYTES

    def put(self, start: int, end: int, payload: bytes) -> bool:
        """Fill what is still missing of [start, end); False if other fragments had a part of it already."""
        at = start
        i = bisect_right(self.starts, start)
        if i > 0:
            at = max(at, self.ends[i - 1])
        clean = at == start
        while at < end:
            limit = min(end, self.starts[i]) if i < len(self.starts) else end
            if limit > at:
                self.starts.insert(i, at)
                self.ends.insert(i, limit)
                self.parts.insert(i, payload[at - start : limit - start])
                self.have += limit - at
                i += 1
            if limit == end:
                break
            clean = False
            at = max(limit, self.ends[i])
            i += 1
        return clean

    def holds(self, start: int, end: int, payload: bytes) -> bool:
        """Return whether one piece is exactly this one: a copy (`-i any`, a mirror port), not an overlap."""
        i = bisect_right(self.starts, start) - 1
        return i >= 0 and self.starts[i] == start and self.ends[i] == end and self.parts[i] == payload

    def captured(self) -> bytes:
        """Return the payload up to the first byte that the capture does not have."""
        whole: list[bytes] = []
        for start, end, part in zip(self.starts, self.ends, self.parts, strict=True):
            whole.append(part)
            if len(part) < end - start:
                break
        return b"".join(whole)


class Fragments:
    """Datagrams in the making, the oldest first."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._cap = settings.max_fragment_bytes
        self._copy_ns = settings.duplicate_ns
        self._ledger = ledger
        # A dict looks for its first key through all that were deleted before it.
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()
        self._done: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # when, and SEGMENT.l2 of the last fragment
        self._held = 0

    def add(self, fragment: Fragment) -> Datagram | None:
        """Take a fragment in; return the datagram if it is whole now."""
        now, frame, l2 = fragment.ts_ns, fragment.frame, fragment.l2
        self._expire(now)
        start, end = fragment.offset, fragment.offset + fragment.length
        if end == start or end > MAX_PAYLOAD or (fragment.more and fragment.length % 8):
            self._ledger.note("decode.bad_ip", frame=frame, detail="a fragment of impossible length")
            return None
        if fragment.key in self._done:
            done_ns, done_l2 = self._done.pop(fragment.key)
            if l2 != done_l2 and abs(now - done_ns) <= self._copy_ns:
                self._done[fragment.key] = done_ns, done_l2
                return None  # the second copy of a fragment that was captured twice
        entry = self._waiting.get(fragment.key)
        if entry is None:
            entry = self._waiting[fragment.key] = _Waiting(now, frame)
            self._held += entry.cost
        entry.frames += 1
        if not _agree(entry, fragment, end):
            self._ledger.note("decode.bad_ip", frame=frame, detail="fragments that disagree about where they end")
            return None
        self._fill(entry, fragment, start, end, frame)
        if entry.have == entry.total:
            self._drop(fragment.key)
            self._done[fragment.key] = now, l2
            return Datagram(entry.protocol, entry.captured(), entry.total)
        if len(entry.starts) > MAX_PIECES:
            self._over_cap(fragment.key)
        while self._held > self._cap:
            self._over_cap(next(iter(self._waiting)))
        return None

    def finish(self) -> None:
        """Give up all that is waiting."""
        for key in list(self._waiting):
            self._give_up(key)

    def _fill(self, entry: _Waiting, fragment: Fragment, start: int, end: int, frame: int) -> None:
        if not fragment.more:
            entry.total = end
        if start == 0 and entry.protocol < 0:
            entry.protocol = fragment.protocol
        if entry.holds(start, end, fragment.payload):
            return
        pieces, have = len(entry.starts), entry.have
        if not entry.put(start, end, fragment.payload):
            self._ledger.note("decode.fragment_overlap", frame=frame)
        cost = (len(entry.starts) - pieces) * PIECE_OVERHEAD_BYTES + entry.have - have
        entry.cost += cost
        self._held += cost

    def _expire(self, now: int) -> None:
        while self._done:
            key = next(iter(self._done))
            if abs(now - self._done[key][0]) <= self._copy_ns and len(self._done) <= MAX_DONE:
                break
            del self._done[key]
        while self._waiting:
            key = next(iter(self._waiting))
            if now - self._waiting[key].first_ns <= TIMEOUT_NS:
                break
            self._give_up(key)

    def _give_up(self, key: Key) -> None:
        entry = self._waiting[key]
        self._ledger.note("decode.fragment_missing", entry.frames, frame=entry.first_frame)
        self._drop(key)

    def _over_cap(self, key: Key) -> None:
        self._ledger.note("decode.fragment_cap", frame=self._waiting[key].first_frame)
        self._drop(key)

    def _drop(self, key: Key) -> None:
        self._held -= self._waiting.pop(key).cost


def _agree(entry: _Waiting, fragment: Fragment, end: int) -> bool:
    """Return whether a fragment fits with what is known of the datagram's end."""
    if fragment.more:
        return entry.total < 0 or end <= entry.total
    seen = entry.ends[-1] if entry.ends else 0
    return entry.total == end or (entry.total < 0 and seen <= end)
