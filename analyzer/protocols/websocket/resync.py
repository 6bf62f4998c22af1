"""Finding frames again after bytes were lost: does a segment hold nothing but whole, plausible frames?

A random byte begins a plausible header about once in 30, and its length then fits the segment once in 250: one frame
proves little, two in a row (within a segment, or in two following ones) are a coincidence of one in many millions.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, helper, routine
from analyzer.protocols.websocket.state import BINARY, CLOSE, CONTROL_MAX, PONG

TRUSTED = 2


@routine
def header_size(head: U8, n: int) -> int:
    """Return how long a header is, as far as its first `n` bytes tell."""
    if n < 2:
        return 2
    short = np.int64(head[1]) & 127
    return 2 + (2 if short == 126 else 8 if short == 127 else 0) + (4 if head[1] >= 128 else 0)


@helper
def is_plausible(first: np.int64, second: np.int64, masked: bool, deflate: bool) -> bool:
    """True if a frame may begin with these two bytes; `masked`: it has to be. `deflate`: RSV1 may be set."""
    opcode, rsv = first & 15, (first >> 4) & 7
    if (3 <= opcode <= 7) or opcode > PONG or (rsv != 0 and not (rsv == 4 and deflate and 1 <= opcode <= BINARY)):
        return False
    return bool((second >= 128) == masked and (opcode < CLOSE or (first >= 128 and second & 127 <= CONTROL_MAX)))


@routine
def count_frames(source: U8, start: int, end: int, masked: bool, deflate: bool) -> int:
    """Return of how many whole frames [start, end) consists, 0 if of something else. `deflate`: RSV1 may be set."""
    n, at = 0, np.int64(start)
    while at < end:
        if end - at < 2:
            return 0
        first, second = np.int64(source[at]), np.int64(source[at + 1])
        if not is_plausible(first, second, masked, deflate):
            return 0
        length = second & 127
        at += 2
        if length == 126:
            if end - at < 2:
                return 0
            length = np.int64(source[at]) << 8 | np.int64(source[at + 1])
            at += 2
            if length < 126:
                return 0
        elif length == 127:
            if end - at < 8 or source[at] != 0 or source[at + 1] != 0:
                return 0
            length = np.int64(0)
            for k in range(2, 8):
                length = length << 8 | np.int64(source[at + k])
            at += 8
            if length < 65536:
                return 0
        at += length + (4 if masked else 0)
        n += 1
    return n if at == end else 0
