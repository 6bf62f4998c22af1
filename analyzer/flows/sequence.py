"""Sequence numbers: 32 bits on the wire, 64 bits here (RFC 9293 section 3.4)."""

from __future__ import annotations

from analyzer.kernel import helper

MASK = 0xFFFFFFFF
HALF = 0x80000000

# No window reaches further (RFC 7323 section 2.3), so a number beyond it is a stray one, or of bytes long not captured.
MAX_JUMP = 1 << 30


@helper
def unwrapped(raw: int, isn: int, near: int) -> int:
    """Return the 64-bit number with these low 32 bits (relative to `isn`) that is closest to `near`."""
    delta = (raw - isn - near) & MASK
    if delta >= HALF:
        delta -= MASK + 1
    return near + delta
