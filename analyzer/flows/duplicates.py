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


@helper
def is_duplicate_frame(seg: Records, me: Records, within_ns: int) -> bool:
    """True if one of this side's last few segments was the same frame; else remember this one."""
    # 64 bits drawn from everything that a copy shares. Shifts only wrap, they cannot overflow into an error.
    signature = seg.seq ^ (seg.ack << 29) ^ (seg.tsval << 13) ^ (seg.tsecr << 21) ^ (seg.sack_left << 17) ^ seg.flags
    signature ^= (np.int64(seg.payload_len) << 8) ^ (np.int64(seg.ip_id) << 40) ^ (np.int64(seg.window) << 3)
    # The way and the time share a word: 24 bits of the one, 40 bits of microseconds (12 days) of the other.
    micros = (seg.ts_ns // 1000) & _MICROS
    way = ((seg.l2 ^ (seg.l2 >> 24) ^ (np.int64(seg.ttl) << 16)) & 0xFFFFFF) << 40
    ring = me.ring
    for k in range(DUPLICATE_RING):
        if ring[2 * k] == signature:
            seen = ring[2 * k + 1]
            apart = (micros - seen) & _MICROS
            near = apart <= within_ns // 1000 or _MICROS + 1 - apart <= within_ns // 1000
            unique_id = seg.ip_version == 4 and seg.ip_id > 0
            if near and ((seen ^ way) >> 40 != 0 or unique_id):
                return True
    at = me.ring_at
    ring[2 * at] = signature
    ring[2 * at + 1] = way | micros
    me.ring_at = (at + 1) & (DUPLICATE_RING - 1)
    return False
