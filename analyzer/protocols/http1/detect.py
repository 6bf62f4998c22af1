"""Is it HTTP/1? Answered from the first bytes of a direction; the first whole line then confirms it."""

from __future__ import annotations

from analyzer.kernel import U8, routine
from analyzer.protocols.verdict import MORE, NO, YES

NAME = (72, 84, 84, 80, 47, 49, 46)  # HTTP/1.


@routine
def looks_like_http1(first: U8, at: int, n: int) -> int:
    """Answer from `n` bytes at `first[at]`: a status line, or METHOD SP and what a target begins with."""
    same = 0
    while same < n and same < 7 and first[at + same] == NAME[same]:
        same += 1
    if same == 7:
        return YES
    if same == n:
        return MORE
    k = 0
    while k < n and (65 <= first[at + k] <= 90 or first[at + k] == 45 or first[at + k] == 95):
        k += 1
    if k == n:
        return MORE if n > 0 and n < 24 else NO
    if k < 3 or first[at + k] != 32:
        return NO
    connect = k == 7 and first[at] == 67 and first[at + 3] == 78 and first[at + 6] == 84
    while k + 1 < n and first[at + k + 1] == 32:
        k += 1
    if k + 1 == n:
        return MORE
    b = first[at + k + 1]
    if b == 47 or b == 42 or b == 104 or b == 72 or b == 46:  # / * http:// and what scanners ask for: ../..
        return YES
    letter = 97 <= b <= 122 or 65 <= b <= 90 or 48 <= b <= 57 or b == 91
    return YES if connect and letter else NO
