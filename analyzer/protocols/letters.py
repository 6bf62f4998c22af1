"""Bytes compared with words, in kernels: a word of up to seven letters is a number there."""

from __future__ import annotations

from analyzer.kernel import U8, routine
from analyzer.protocols.verdict import MORE, NO, YES


def coded(word: bytes) -> int:
    """Return a word of up to seven bytes as `number` and `letters` read it."""
    return int.from_bytes(word, "big")


PING, PONG, HB, KA = coded(b"PING"), coded(b"PONG"), coded(b"HB"), coded(b"KA")
# Longer words by their first seven letters, and their length
HEARTBEAT, _KEEPALIVE, _KEEP_ALIVE_2, _KEEP_ALIVE_3 = (
    coded(b"HEARTBE"), coded(b"KEEPALI"), coded(b"KEEP-AL"), coded(b"KEEP_AL")
)  # fmt: skip


@routine
def is_heartbeat(code: int, size: int) -> bool:
    """Is this heartbeat or keep-alive? `code` its first seven letters, in capitals, `size` how many it has."""
    if size == 9:
        return code in (HEARTBEAT, _KEEPALIVE)
    return size == 10 and code in (_KEEP_ALIVE_2, _KEEP_ALIVE_3)


@routine
def is_beat(code: int, size: int) -> bool:
    """Is this any word for a beat: ping, heartbeat, keep-alive, hb, ka?"""
    if size == 4:
        return code == PING
    return (size == 2 and code in (HB, KA)) or is_heartbeat(code, size)


@routine
def number(b: U8, at: int, n: int) -> int:
    """Return `n` <= 7 bytes as a big-endian number."""
    value = 0
    for k in range(n):
        value = value * 256 + int(b[at + k])
    return value


@routine
def letters(b: U8, at: int, n: int) -> int:
    """Return `n` <= 7 bytes as a number, with capital letters for small ones."""
    value = 0
    for k in range(n):
        one = int(b[at + k])
        value = value * 256 + (one - 32 if 97 <= one <= 122 else one)
    return value


@routine
def begins(b: U8, at: int, n: int, word: int, size: int) -> int:
    """Do `n` bytes begin with a word of `size` <= 7 bytes? MORE if they are its beginning."""
    if n >= size:
        return YES if number(b, at, size) == word else NO
    return MORE if number(b, at, n) == word >> 8 * (size - n) else NO


@routine
def digits_end(b: U8, at: int, end: int) -> int:
    """Return where the decimal digits from `at` on end."""
    while at < end and 48 <= b[at] <= 57:
        at += 1
    return at


@routine
def decimal(b: U8, at: int, end: int) -> int:
    """Return the decimal number in b[at:end], which are digits, 2**40 at most."""
    value = 0
    for k in range(at, end):
        value = min(value * 10 + int(b[k]) - 48, 1 << 40)
    return value
