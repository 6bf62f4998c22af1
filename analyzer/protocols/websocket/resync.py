"""Finding frames again after bytes were lost: does a segment hold nothing but whole, plausible frames?

A random byte begins a plausible header about once in 30, and its length then fits the segment once in 250: one frame
proves little, two in a row (within a segment, or in two following ones) are a coincidence of one in many millions.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, routine
from analyzer.protocols.websocket.state import BINARY, CONTROL_MAX

TRUSTED = 2


@routine
def count_frames(source: U8, start: int, end: int, masked: bool, deflate: bool) -> int:
    """Return of how many whole frames [start, end) consists, 0 if of something else. `deflate`: RSV1 may be set."""
    n, at = 0, np.int64(start)
    while at < end:
        if end - at < 2:
            return 0
        first, second = np.int64(source[at]), np.int64(source[at + 1])
        opcode, length = first & 15, second & 127
        fin, rsv = first >> 7, (first >> 4) & 7
        if (3 <= opcode <= 7) or opcode > 10 or (rsv != 0 and not (rsv == 4 and deflate and 1 <= opcode <= BINARY)):
            return 0
        if (second >= 128) != masked or (opcode >= 8 and (not fin or length > CONTROL_MAX)):
            return 0
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
