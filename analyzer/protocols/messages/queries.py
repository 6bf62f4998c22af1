"""Queries of SQL databases that ask for nothing: pools send them to see whether a connection still works."""

from __future__ import annotations

from analyzer.kernel import U8, routine
from analyzer.protocols.letters import coded, letters, number

_SELECT, _ONE = coded(b"SELECT"), coded(b" 1")


@routine
def asks_nothing(b: U8, at: int, end: int) -> bool:
    """True for an empty query and SELECT 1, with or without a semicolon."""
    while end > at and (b[end - 1] == 59 or b[end - 1] == 32):
        end -= 1
    if end == at:
        return True
    return end - at == 8 and letters(b, at, 6) == _SELECT and number(b, at + 6, 2) == _ONE
