"""One frame captured twice: on several interfaces (`-i any`), on both sides of a router, or by a mirror port.

A copy has the same sequence numbers, length, flags, IP-ID and timestamp option within a millisecond, but took another
way: another interface, link-layer address or VLAN, or one TTL less. Without a difference in its way it is a copy only
if it has a non-zero IP-ID of its own (RFC 6864: not reused within the lifetime of a datagram).
Removed before anything else looks, or every duplicate would be a retransmission.
"""

from __future__ import annotations

import numpy as np

from analyzer.flows.state import DUPLICATE_RING
from analyzer.kernel import Records, helper

_MICROS = (1 << 40) - 1
_31_BITS = (1 << 31) - 1


@helper
def is_duplicate_frame(seg: Records, me: Records, within_ns: int) -> bool:
    """True if one of this side's last few segments was the same frame; else remember this one."""
    # Nothing is hashed: ordinary traffic differs by small steps, which cancel each other out in a sum or a XOR.
    places = seg.seq | ((seg.ack & _31_BITS) << 32)
    marks = (np.int64(seg.ip_id) & 0xFFFF) | (np.int64(seg.flags) << 16) | ((np.int64(seg.payload_len) & 0xFFFF) << 25)
    marks |= np.int64(seg.window) << 41
    stamps = (seg.tsval & 0xFFFFFFFF) | ((seg.tsecr & _31_BITS) << 32)
    # The way and the time share a word: 24 bits of the one, 40 bits of microseconds (12 days) of the other.
    micros = (seg.ts_ns // 1000) & _MICROS
    way = ((seg.l2 ^ (seg.l2 >> 24) ^ (np.int64(seg.ttl) << 16)) & 0xFFFFFF) << 40
    ring = me.ring
    for k in range(DUPLICATE_RING):
        if ring[4 * k] == places and ring[4 * k + 1] == marks and ring[4 * k + 2] == stamps:
            seen = ring[4 * k + 3]
            apart = (micros - seen) & _MICROS
            near = apart <= within_ns // 1000 or _MICROS + 1 - apart <= within_ns // 1000
            unique_id = seg.ip_version == 4 and seg.ip_id > 0
            if near and ((seen ^ way) >> 40 != 0 or unique_id):
                return True
    at = me.ring_at
    ring[4 * at], ring[4 * at + 1], ring[4 * at + 2], ring[4 * at + 3] = places, marks, stamps, way | micros
    me.ring_at = (at + 1) & (DUPLICATE_RING - 1)
    return False
