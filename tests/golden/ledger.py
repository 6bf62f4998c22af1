"""A slow, plain account of a TCP stream, kept from tshark's columns and nothing of ours.

Each segment is given what was true *before* it: what its sender had sent, what the capture had of that, what the peer
had acknowledged, which windows were open. A disagreement about a label is then settled by these facts, not by taste.
Numbers are unwrapped; each direction counts from its first number seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIN, SYN, RST, ACK = 1, 2, 4, 16
WINDOW_MAX = 2**30  # RFC 7323 section 2.3: what is further ahead is believed when a second number is near it


@dataclass(slots=True)
class Row:
    """One segment as tshark read it."""

    frame: int
    time_ns: int
    a_to_b: bool
    seq: int
    ack: int
    len: int
    flags: int
    win: int
    tsval: int | None = None
    ip_id: int | None = None

    @property
    def pure_ack(self) -> bool:
        return self.len == 0 and self.flags & (SYN | FIN | RST | ACK) == ACK


@dataclass(slots=True)
class Half:
    """One direction so far."""

    base: int | None = None
    top: int | None = None  # end of what was captured
    acked: int | None = None  # highest acknowledged by the peer
    held: list[list[int]] = field(default_factory=list)  # captured intervals, sorted and apart
    last: Row | None = None
    last_ack: int | None = None
    fin_end: int | None = None
    acked_ns: int = 0  # when `acked` last moved
    window: int | None = None
    tsval: int | None = None  # of the segment that went furthest
    ip_id: int | None = None
    other: int | None = None  # number of a SYN that differs from the first
    asked: int | None = None  # number just past the latest segment that went back one, as a keep-alive probe does
    far: int | None = None
    repeats: int = 0  # duplicate ACKs in a row, in the sense of RFC 5681 section 2

    def unwrap(self, number: int, near: int | None) -> int:
        if self.base is None:
            self.base = number
            return 0
        near = near or 0
        return near + ((number - self.base - near + 2**31) % 2**32) - 2**31

    def believes(self, number: int, known: int | None) -> bool:
        if known is None or number - known <= WINDOW_MAX:
            return True
        near = self.far is not None and abs(number - self.far) <= 2**20
        self.far = number
        return near

    def has(self, left: int, right: int) -> int:
        """Return how many bytes of [left, right) were captured."""
        return sum(max(0, min(right, b) - max(left, a)) for a, b in self.held)

    def take(self, left: int, right: int) -> None:
        merged = [left, right]
        apart = []
        for a, b in self.held:
            if b < merged[0] or a > merged[1]:
                apart.append([a, b])
            else:
                merged = [min(a, merged[0]), max(b, merged[1])]
        self.held = sorted([*apart, merged])


@dataclass(slots=True)
class Before:
    """What was true just before a segment; `None` = not known. `me` sends it."""

    row: Row
    seq: int
    end: int  # just past it; SYN and FIN count one
    ack: int | None
    top: int | None  # end of what `me` had sent in the capture
    acked: int | None  # of `me`, by the peer
    seen: int  # bytes of this segment that were captured before
    peer_top: int | None
    peer_acked: int | None  # of the peer, by `me`
    last: Row | None  # of `me`
    peer_last: Row | None
    last_ack: int | None
    window: int | None
    peer_window: int | None
    fin_sent: bool
    peer_fin_end: int | None
    since_acked_ns: int  # since the peer's acknowledgments last moved
    quiet_ns: int
    tsval: int | None
    ip_id: int | None
    peer_held: bool  # the capture has bytes (or a SYN, a FIN) of the peer
    held: bool
    peer_repeats: int
    peer_asked: int | None  # what an answer to the peer's latest probe acknowledges, raw
    new_numbers: bool  # a SYN that does not repeat the number of the first

    @property
    def nxt(self) -> int | None:
        """What `me` had sent, captured or not: an acknowledgment proves that it was."""
        known = [n for n in (self.top, self.acked) if n is not None]
        return max(known) if known else None

    @property
    def peer_nxt(self) -> int | None:
        known = [n for n in (self.peer_top, self.peer_acked) if n is not None]
        return max(known) if known else None


def account(rows: list[Row]) -> list[Before]:
    """Return what was true before each row of one stream; leave copies of a frame out before."""
    halves = {True: Half(), False: Half()}
    return [_step(row, halves[row.a_to_b], halves[not row.a_to_b]) for row in rows]


def copies(rows: list[Row], within_ns: int = 1_000_000) -> set[int]:
    """Return the frames that are copies of one a moment before, or copies of those: not even the IP-ID went on.

    Not by length: where the link layer is misread, tshark takes a copy for a byte or four shorter.
    """
    found = set()
    latest: dict[tuple[object, ...], int] = {}
    for row in rows:
        key = (row.a_to_b, row.seq, row.ack, row.flags, row.win, row.tsval, row.ip_id)
        if key in latest and abs(row.time_ns - latest[key]) <= within_ns:
            found.add(row.frame)
        latest[key] = row.time_ns
    return found


def _follow(row: Row, me: Half, peer: Half) -> bool:
    """Settle which of two SYNs counts: the one that the peer acknowledges. True if this is such a second SYN."""
    if row.flags & ACK and peer.other is not None and row.ack == (peer.other + 1) % 2**32:
        peer.base, peer.top, peer.acked, peer.held, peer.other = peer.other, 1, None, [[0, 1]], None
    if row.flags & SYN and me.base is not None and row.seq != me.base and not row.flags & RST:
        me.other = row.seq
        return True
    return False


def _step(row: Row, me: Half, peer: Half) -> Before:
    second = _follow(row, me, peer)
    seq = me.unwrap(row.seq, me.top if me.top is not None else me.acked)
    end = seq + row.len + bool(row.flags & SYN) + bool(row.flags & FIN)
    ack = None
    if row.flags & ACK and not (row.flags & RST and peer.base is None):
        ack = peer.unwrap(row.ack, peer.acked if peer.acked is not None else peer.top)
    before = Before(
        row=row, seq=seq, end=end, ack=ack, top=me.top, acked=me.acked, seen=me.has(seq, end),
        peer_top=peer.top, peer_acked=peer.acked,
        last=me.last, peer_last=peer.last, last_ack=me.last_ack, window=me.window, peer_window=peer.window,
        fin_sent=me.fin_end is not None, peer_fin_end=peer.fin_end, since_acked_ns=row.time_ns - me.acked_ns,
        quiet_ns=row.time_ns - max((h.last.time_ns for h in (me, peer) if h.last), default=row.time_ns),
        tsval=me.tsval, ip_id=me.ip_id, held=bool(me.held), peer_held=bool(peer.held), peer_repeats=peer.repeats,
        peer_asked=peer.asked,
        new_numbers=second,
    )  # fmt: skip
    if row.flags & RST:
        me.last = row
        return before
    if ack is not None and peer.believes(ack, before.peer_nxt) and (peer.acked is None or ack > peer.acked):
        peer.acked, peer.acked_ns = ack, row.time_ns
    if second or not me.believes(end, before.nxt):
        me.last = row
        return before
    outstanding = ack is not None and before.peer_nxt is not None and ack < before.peer_nxt
    if row.pure_ack and ack == me.last_ack and outstanding and row.win == me.window:
        me.repeats += 1
    elif ack != me.last_ack:
        me.repeats = 0
    if row.len <= 1 and not row.flags & (SYN | FIN) and (before.nxt is None or seq == before.nxt - 1):
        me.asked = (row.seq + 1) % 2**32
    if me.top is None or end > me.top:
        me.top = end
        if row.tsval is not None:
            me.tsval = max(me.tsval or 0, row.tsval)
        me.ip_id = row.ip_id
    if end > seq:
        me.take(seq, end)
    if row.flags & FIN:
        me.fin_end = end
    if ack is not None:
        me.last_ack = ack
    me.window = row.win
    me.last = row
    return before
