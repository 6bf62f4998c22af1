"""Payload bytes as they pass: unmasked where they are needed, checked as UTF-8, stepped over otherwise.

Source  RFC 6455 sections 5.3 (masking), 8.1 (UTF-8); RFC 3629 section 4 (which byte sequences are UTF-8).
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.websocket.state import CONTROL_MAX, HEAD_MAX, KEYS, KIND_TEXT, PIECE_BYTES

_BLOCK = 16  # a multiple of the key's four bytes


@helper
def _key_byte(s: Records, place: int) -> np.int64:
    """Return the byte of the masking key for payload byte `place`."""
    return (np.int64(s.mask) >> ((place & 3) * 8)) & 255


@routine
def _ascii(source: U8, at: int, n: int, place: int, s: Records, m: Records) -> int:
    """Return how many of `n` bytes are surely ASCII: whole blocks from the first on."""
    k0, k1, k2, k3 = _key_byte(s, place), _key_byte(s, place + 1), _key_byte(s, place + 2), _key_byte(s, place + 3)
    done = _much_ascii(source[at : at + n], place, s, m.keys) if n >= KEYS else 0
    while done + _BLOCK <= n:
        some = np.int64(0)
        for k in range(at + done, at + done + _BLOCK, 4):
            some |= (source[k] ^ k0) | (source[k + 1] ^ k1) | (source[k + 2] ^ k2) | (source[k + 3] ^ k3)
        if some >= 0x80:
            break
        done += _BLOCK
    return done


@routine
def _much_ascii(payload: U8, place: int, s: Records, keys: U8) -> int:
    """As `_ascii`, in blocks of KEYS bytes: between two arrays without a way out the compiler uses vectors."""
    for k in range(KEYS):
        keys[k] = _key_byte(s, place + k)
    done = 0
    while done + KEYS <= payload.size:
        block, some = payload[done : done + KEYS], np.uint8(0)
        for k in range(KEYS):
            some |= block[k] ^ keys[k]
        if some >= 0x80:
            break
        done += KEYS
    return done


@routine
def check_utf8(source: U8, at: int, n: int, s: Records, m: Records) -> None:
    """Follow `n` payload bytes through the UTF-8 of the message; `bad_utf8` is set where it breaks."""
    key, place = int(s.mask), int(s.length - s.left)
    left, low, high = int(s.utf8_left), int(s.utf8_low), int(s.utf8_high)
    for k in range(_ascii(source, at, n, place, s, m) if left == 0 else 0, n):
        b = np.int64(source[at + k]) ^ ((key >> (((place + k) & 3) * 8)) & 255)
        if left == 0:
            if b < 0x80:
                continue
            low, high = 0x80, 0xBF
            if 0xC2 <= b <= 0xDF:
                left = 1
            elif 0xE0 <= b <= 0xEF:
                left = 2
                low = 0xA0 if b == 0xE0 else 0x80  # no overlong forms
                high = 0x9F if b == 0xED else 0xBF  # no surrogates
            elif 0xF0 <= b <= 0xF4:
                left = 3
                low = 0x90 if b == 0xF0 else 0x80
                high = 0x8F if b == 0xF4 else 0xBF  # nothing beyond U+10FFFF
            else:
                s.bad_utf8 = 1
                return
        elif low <= b <= high:
            left -= 1
            low, high = 0x80, 0xBF
        else:
            s.bad_utf8 = 1
            return
    s.utf8_left, s.utf8_low, s.utf8_high = left, low, high


@routine
def is_utf8(s: Records, start: int) -> bool:
    """Whether the kept payload of a control frame is UTF-8 from `start` on (the reason of a close frame)."""
    left, low, high = 0, 0x80, 0xBF
    for k in range(start, s.kept):
        b = np.int64(s.payload[k])
        if left > 0:
            if not low <= b <= high:
                return False
            left -= 1
            low, high = 0x80, 0xBF
        elif b >= 0x80:
            if not 0xC2 <= b <= 0xF4:
                return False
            left = 1 if b < 0xE0 else 2 if b < 0xF0 else 3
            low = 0xA0 if b == 0xE0 else 0x90 if b == 0xF0 else 0x80
            high = 0x9F if b == 0xED else 0x8F if b == 0xF4 else 0xBF
    return left == 0


@routine
def _keep_control(source: U8, at: int, n: int, s: Records) -> None:
    key, place = int(s.mask), int(s.length - s.left)
    if s.kept != min(place, CONTROL_MAX):
        return  # bytes before these are missing
    n = min(n, CONTROL_MAX - int(s.kept))
    for k in range(n):
        s.payload[place + k] = np.int64(source[at + k]) ^ ((key >> (((place + k) & 3) * 8)) & 255)
    s.kept += n


@routine
def _keep_compressed(
    source: U8, at: int, n: int, s: Records, stream: int, arena: U8, pieces: Records, m: Records
) -> None:
    key, place, free = int(s.mask), int(s.length - s.left), int(m.arena)
    for k in range(n):
        arena[free + k] = np.int64(source[at + k]) ^ ((key >> (((place + k) & 3) * 8)) & 255)
    m.arena += n
    piece = pieces[m.n_pieces]
    piece.stream, piece.at, piece.length, piece.what = stream, free, n, PIECE_BYTES
    piece.text = 1 if s.kind == KIND_TEXT else 0
    piece.message, piece.row, piece.frame = 0, 0, s.frame
    m.n_pieces += 1


@routine
def take_payload(
    source: U8, at: int, n: int, s: Records, stream: int, arena: U8, pieces: Records, m: Records
) -> None:  # fmt: skip
    """Take `n` payload bytes of the frame being read, before they are counted in `s.left`."""
    if s.apart:
        _keep_control(source, at, n, s)
    elif s.compressed:
        if s.inflate and not s.partial:
            _keep_compressed(source, at, n, s, stream, arena, pieces, m)
    else:
        if s.words < HEAD_MAX and s.words == s.wire:
            key, place, kept = int(s.mask), int(s.length - s.left), int(s.words)
            for k in range(min(n, HEAD_MAX - kept)):
                s.word[kept + k] = np.int64(source[at + k]) ^ ((key >> (((place + k) & 3) * 8)) & 255)
            s.words += min(n, HEAD_MAX - kept)
        if s.kind == KIND_TEXT and not s.bad_utf8 and not s.partial:
            check_utf8(source, at, n, s, m)
