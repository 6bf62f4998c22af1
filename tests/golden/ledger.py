"""A slow, plain account of a TCP stream, kept from tshark's columns and nothing of ours.

Each segment is given what was true *before* it: what its sender had sent, what the capture had of that, what the peer had
acknowledged, which windows were open. A disagreement about a label is then settled by these facts, not by taste.
Numbers are unwrapped; each direction counts from its first number seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIN, SYN, RST, ACK = 1, 2, 4, 16


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
    syn: bool = False
    new_ns: int = 0  # when it last went beyond `top`
    solid_ns: int = 0
    window: int | None = None
    tsval: int | None = None
    ip_id: int | None = None
    pushed: int | None = None  # end of the highest run that began where the one before it ended

    def unwrap(self, number: int, near: int | None) -> int:
        if self.base is None:
            self.base = number
            return 0
        near = near or 0
        return near + ((number - self.base - near + 2**31) % 2**32) - 2**31

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
    below_captured: bool  # some captured byte lies before `seq`
    peer_top: int | None
    peer_acked: int | None  # of the peer, by `me`
    last: Row | None  # of `me`
    peer_last: Row | None
    last_ack: int | None
    window: int | None
    peer_window: int | None
    fin_sent: bool
    peer_fin_end: int | None
    since_new_ns: int
    quiet_ns: int
    tsval: int | None
    ip_id: int | None
    first: bool
    peer_silent: bool
    both_syns: bool

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
    """Return what was true before each row of one stream."""
    halves = {True: Half(), False: Half()}
    return [_step(row, halves[row.a_to_b], halves[not row.a_to_b]) for row in rows]


def _step(row: Row, me: Half, peer: Half) -> Before:
    seq = me.unwrap(row.seq, me.top if me.top is not None else me.acked)
    end = seq + row.len + bool(row.flags & SYN) + bool(row.flags & FIN)
    ack = None
    if row.flags & ACK and not (row.flags & RST and peer.base is None):
        ack = peer.unwrap(row.ack, peer.acked if peer.acked is not None else peer.top)
    before = Before(
        row=row, seq=seq, end=end, ack=ack, top=me.top, acked=me.acked, seen=me.has(seq, end),
        below_captured=bool(me.held) and me.held[0][0] < seq, peer_top=peer.top, peer_acked=peer.acked,
        last=me.last, peer_last=peer.last, last_ack=me.last_ack, window=me.window, peer_window=peer.window,
        fin_sent=me.fin_end is not None, peer_fin_end=peer.fin_end, since_new_ns=row.time_ns - me.new_ns,
        quiet_ns=row.time_ns - max((h.last.time_ns for h in (me, peer) if h.last), default=row.time_ns),
        tsval=me.tsval, ip_id=me.ip_id, first=me.last is None, peer_silent=peer.last is None,
        both_syns=me.syn and peer.syn,
    )  # fmt: skip
    if row.flags & RST:
        me.last = row
        return before
    if me.top is None or end > me.top:
        me.top, me.new_ns = end, row.time_ns
        if row.tsval is not None:
            me.tsval = max(me.tsval or 0, row.tsval)
        me.ip_id = row.ip_id
    if end > seq:
        me.take(seq, end)
    me.syn = me.syn or bool(row.flags & SYN)
    if row.flags & FIN:
        me.fin_end = end
    if ack is not None:
        peer.acked = ack if peer.acked is None else max(peer.acked, ack)
        me.last_ack = ack
    me.window = row.win
    me.last = row
    return before
