"""One frame captured twice: on several interfaces (`-i any`), on both sides of a router, or by a mirror port.

A copy has the same sequence numbers, length, flags, IP-ID and timestamp option within a millisecond of the frame, or of
another copy (a mirror that sees it four times takes longer), but took another way: another interface, link-layer
address or VLAN, or one TTL less. Without a difference in its way it is a copy only if it has a non-zero IP-ID of its
own (RFC 6864: not reused within the lifetime of a datagram), or is a SYN.
Removed before anything else looks, or every duplicate would be a retransmission.

Most copies are a frame or two behind: a side's last few frames are kept with it. Queues may be longer (a router's
receive offload hands on eight frames at once, a poll of a card 64), but a copy brings nothing new, so that only what
brings nothing new is looked for among all frames of the millisecond before it (`RECENT` of them at most).

The last few frames of a side that are kept for it also say what is usual there, when a RST comes (definitions B6).
"""

from __future__ import annotations

import numpy as np

from analyzer.decode.segment import ACK, FIN, RST, SYN, TCP
from analyzer.flows.sequence import HALF, MASK
from analyzer.flows.state import DUPLICATE_RING, OFF_COUNT, OTHER_DSCP, OTHER_LINK, RECENT
from analyzer.kernel import I64, Records, helper

_MICROS = (1 << 40) - 1
_31_BITS = (1 << 31) - 1
_DSCP_AT = 57  # its six bits in the marks of a frame, above those that tell a copy: a router may write another value
_MARKS = (1 << _DSCP_AT) - 1
_FLAGS_AT, _LINK = 16, 0xFFFF  # the low bits of a frame's way have no part of the TTL

_COUNTS = 64  # between IP-IDs of neighbours that count: those of frames joined by offloading, of other connections
_AHEAD = 0x1000  # after a silence, with other connections on the same counter


@helper
def is_duplicate_frame(
    segments: Records, i: int, recent: Records, recent_at: int, me: Records, peer: Records, within_ns: int
) -> bool:  # fmt: skip
    """True if `segments[i]` is the same frame as one of its side's just before it; else remember it.

    recent  what came before this batch, in a ring that goes on at `recent_at`
    """
    seg = segments[i]
    # Nothing is hashed: ordinary traffic differs by small steps, which cancel each other out in a sum or a XOR.
    places = seg.seq | ((seg.ack & _31_BITS) << 32)
    marks = (np.int64(seg.ip_id) & 0xFFFF) | (np.int64(seg.flags) << 16) | ((np.int64(seg.payload_len) & 0xFFFF) << 25)
    marks |= (np.int64(seg.window) << 41) | (np.int64(seg.dscp) << _DSCP_AT)
    stamps = (seg.tsval & 0xFFFFFFFF) | ((seg.tsecr & _31_BITS) << 32)
    # The way and the time share a word: 24 bits of the one, 40 bits of microseconds (12 days) of the other.
    micros = (seg.ts_ns // 1000) & _MICROS
    way = _way(seg) << 40
    ring = me.ring
    for k in range(DUPLICATE_RING):
        if ring[4 * k] == places and (ring[4 * k + 1] ^ marks) & _MARKS == 0 and ring[4 * k + 2] == stamps:
            seen = ring[4 * k + 3]
            apart = (micros - seen) & _MICROS
            near = apart <= within_ns // 1000 or _MICROS + 1 - apart <= within_ns // 1000
            if near and ((seen ^ way) >> 40 != 0 or _is_unique(seg)):
                ring[4 * k + 3] = (seen & ~_MICROS) | micros
                return True
    older = me.frames > DUPLICATE_RING + 1  # than what the ring has; this one is counted
    if older and _brings_nothing_new(seg, me, peer) and _came_before(segments, i, recent, recent_at, within_ns):
        return True
    at = me.ring_at
    ring[4 * at], ring[4 * at + 1], ring[4 * at + 2], ring[4 * at + 3] = places, marks, stamps, way | micros
    me.ring_at = (at + 1) & (DUPLICATE_RING - 1)
    return False


@helper
def _way(seg: Records) -> int:
    """Return the 24 bits that stand for the way a frame took."""
    way: int = (seg.l2 ^ (seg.l2 >> 24) ^ (np.int64(seg.ttl) << 16)) & 0xFFFFFF
    return way


@helper
def _is_unique(seg: Records) -> bool:
    """True if no other frame that was sent about now can be the same; a SYN is sent again after a second."""
    return bool((seg.ip_version == 4 and seg.ip_id > 0) or seg.flags & SYN)


@helper
def _brings_nothing_new(seg: Records, me: Records, peer: Records) -> bool:
    """True if a side was seen to send and to acknowledge as much before. A RST may acknowledge what no ACK did."""
    if me.isn < 0:
        return False
    if seg.flags & RST:
        return True
    end = seg.seq + seg.payload_len + (1 if seg.flags & SYN else 0) + (1 if seg.flags & FIN else 0)
    if 0 < (end - me.isn - me.sent_nxt) & MASK < HALF:
        return False
    return not (seg.flags & ACK and 0 < (seg.ack - peer.isn - me.last_ack) & MASK < HALF)


@helper
def _came_before(segments: Records, i: int, recent: Records, recent_at: int, within_ns: int) -> bool:
    """True if the same frame stands among those captured in the time before `segments[i]`."""
    seg = segments[i]
    for back in range(1, RECENT + 1):
        old = segments[i - back] if i >= back else recent[(recent_at + i - back) & (RECENT - 1)]
        if old.kind != TCP:
            continue
        if seg.ts_ns - old.ts_ns > within_ns:
            return False
        if old.seq == seg.seq and _is_same_frame(seg, old) and (_is_unique(seg) or _way(seg) != _way(old)):
            return True
    return False


@helper
def _is_same_frame(a: Records, b: Records) -> bool:
    ends = a.sport == b.sport and a.dport == b.dport and a.src_lo == b.src_lo and a.dst_lo == b.dst_lo
    ends = ends and a.src_hi == b.src_hi and a.dst_hi == b.dst_hi
    numbers = a.seq == b.seq and a.ack == b.ack and a.tsval == b.tsval and a.tsecr == b.tsecr
    rest = a.flags == b.flags and a.payload_len == b.payload_len and a.window == b.window and a.ip_id == b.ip_id
    return bool(ends and numbers and rest)


@helper
def keep_recent(segments: Records, recent: Records, recent_at: int) -> int:
    """Keep the last segments of a batch; return where the ring of them goes on."""
    n = segments.size
    for i in range(max(n - RECENT, 0), n):
        recent[(recent_at + i) & (RECENT - 1)] = segments[i]
    at: int = (recent_at + n) & (RECENT - 1)
    return at


@helper
def unlike_the_last(f: Records, seg: Records, me: Records, peer: Records) -> int:
    """Return how a RST differs from what the three frames before it of its side had in common.

    Bits OTHER_LINK, OTHER_DSCP, OFF_COUNT. The RST is the newest frame in the ring.
    """
    ring = me.ring
    # The ring is full: where the next frame goes is the oldest of the four.
    a, b, c, own = _place(me, 0), _place(me, 1), _place(me, 2), _place(me, 3)
    if me.segments < DUPLICATE_RING - 1 or (ring[a + 1] | ring[b + 1] | ring[c + 1]) & (RST << _FLAGS_AT) != 0:
        return 0
    unlike = 0
    usual = _link(ring, c)
    # The next file of a ring numbers its interfaces anew.
    if seg.file == f.file and _link(ring, a) == usual and _link(ring, b) == usual and _link(ring, own) != usual:
        unlike |= OTHER_LINK
    # A kernel without a socket answers with the DSCP of what it answers.
    usual, answered = _dscp(ring, c), _dscp(peer.ring, _place(peer, DUPLICATE_RING - 1))
    if _dscp(ring, a) == usual and _dscp(ring, b) == usual and seg.dscp != usual and seg.dscp != answered:
        unlike |= OTHER_DSCP
    # Without a socket it may also send 0.
    first, second, third = ring[a + 1] & 0xFFFF, ring[b + 1] & 0xFFFF, ring[c + 1] & 0xFFFF
    counts = 0 < (second - first) & 0xFFFF <= _COUNTS and 0 < (third - second) & 0xFFFF <= _COUNTS
    if seg.ip_version == 4 and seg.ip_id > 0 and counts and not 0 < (seg.ip_id - third) & 0xFFFF <= _AHEAD:
        unlike |= OFF_COUNT
    return unlike


@helper
def _place(me: Records, k: int) -> int:
    """Return where the frame begins that is `k` after the oldest in a side's ring."""
    return 4 * (int(me.ring_at + k) & (DUPLICATE_RING - 1))


@helper
def _link(ring: I64, place: int) -> int:
    return int(ring[place + 3] >> 40) & _LINK


@helper
def _dscp(ring: I64, place: int) -> int:
    return int(ring[place + 1] >> _DSCP_AT) & 0x3F
