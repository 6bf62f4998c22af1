"""Addresses as text, and the Community ID that joins a flow with other tools' records.

Source  Community ID Flow Hashing, version 1 (github.com/corelight/community-id-spec), seed 0; FIPS 180-4 (SHA-1).
Limits  Columns at once, with no Python step per flow: a scan has a million of them.
"""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyzer.kernel import I64, U8, Records

U32 = NDArray[np.uint32]

_TCP = 6
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_ID_LENGTH = 30  # "1:" and 28 letters of base64

# FIPS 180-4 sections 4.2.1 and 5.3.1: the constant of each 20 rounds, and the hash before the first block
_K = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)
_H0 = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)

_HASHED_AT_ONCE = 4096  # rows: their words stay in the cache for the 80 rounds


# ------------------------------------------------------------------------------------------------ addresses
def _octets() -> tuple[U8, U8]:
    """Return the text of each octet with a dot after it (256, 4), and how many of its letters count."""
    words = [f"{octet}.".encode() for octet in range(256)]
    return np.array(words, "S4").view(np.uint8).reshape(256, 4), np.array([len(word) for word in words], np.uint8)


_OCTETS, _OCTET_LENGTHS = _octets()


def address_bytes(hi: I64, lo: I64) -> U8:
    """Return (n, 16) network-order bytes; the last four are an IPv4 address."""
    return np.stack([hi, lo], axis=1).astype(">i8").view(np.uint8).reshape(-1, 16)


def address_text(hi: I64, lo: I64, version: NDArray[Any]) -> pa.Array:
    """Return addresses as text."""
    is_v4 = version == 4
    if is_v4.all():
        return _ipv4_text(lo)
    code = np.cumsum(is_v4) - 1
    names, index = _ipv6_text(hi[~is_v4], lo[~is_v4])
    four = int(is_v4.sum())
    code[~is_v4] = four + index
    return pa.concat_arrays([_ipv4_text(lo[is_v4]), pa.array(names, pa.string())]).take(pa.array(code))


def _ipv4_text(lo: I64) -> pa.Array:
    octets = lo.astype(">u4").view(np.uint8).reshape(-1, 4)
    letters = _OCTETS[octets].reshape(-1, 16)
    lengths = _OCTET_LENGTHS[octets]
    lengths[:, 3] -= 1  # no dot after the last
    counts = np.arange(4, dtype=np.uint8) < lengths[:, :, None]
    ends = np.cumsum(lengths.sum(axis=1, dtype=np.int64))
    return _texts(letters[counts.reshape(-1, 16)], np.r_[0, ends])


def _ipv6_text(hi: I64, lo: I64) -> tuple[list[str], I64]:
    """Return the text of each distinct address, and which of them each row has."""
    order = np.lexsort((lo, hi))
    high, low = hi[order], lo[order]
    first = np.r_[True, (high[1:] != high[:-1]) | (low[1:] != low[:-1])] if order.size else np.zeros(0, np.bool_)
    index = np.empty(order.size, np.int64)
    index[order] = np.cumsum(first) - 1
    raw = address_bytes(high[first], low[first]).tobytes()
    return [socket.inet_ntop(socket.AF_INET6, raw[at : at + 16]) for at in range(0, len(raw), 16)], index


def _texts(letters: U8, offsets: I64) -> pa.Array:
    """Return ASCII texts that lie one after the other as an Arrow array."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.string(), offsets.size - 1, buffers)


# ------------------------------------------------------------------------------------------------ Community ID
def community_id(flows: Records) -> pa.Array:
    """Return the Community ID v1 of each flow: "1:" and the base64 of a SHA-1 over the ordered 5-tuple."""
    n = flows.shape[0]
    letters = np.empty((n, _ID_LENGTH), np.uint8)
    letters[:, :2] = np.frombuffer(b"1:", np.uint8)
    for start in range(0, n, _HASHED_AT_ONCE):
        rows = slice(start, start + _HASHED_AT_ONCE)
        letters[rows, 2:] = _base64(sha1(*_messages(flows[rows])))
    return _texts(letters.ravel(), np.arange(0, (n + 1) * _ID_LENGTH, _ID_LENGTH))


def _messages(flows: Records) -> tuple[U8, I64]:
    """Return what is hashed, (n, 64) zero-filled, and its length: seed, addresses, protocol, padding, ports."""
    n = flows.shape[0]
    a, b = (
        address_bytes(flows["client_hi"], flows["client_lo"]),
        address_bytes(flows["server_hi"], flows["server_lo"]),
    )
    a_port, b_port = flows["client_port"], flows["server_port"]
    swap = _greater(a, b, a_port, b_port)
    source, target = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    tail = np.zeros((n, 6), np.uint8)
    tail[:, 0] = _TCP
    tail[:, 2:4] = np.where(swap, b_port, a_port).astype(">u2").view(np.uint8).reshape(n, 2)
    tail[:, 4:6] = np.where(swap, a_port, b_port).astype(">u2").view(np.uint8).reshape(n, 2)
    blocks = np.zeros((n, 64), np.uint8)
    is_v4 = flows["ip_version"] == 4
    for rows, first in ((is_v4, 12), (~is_v4, 0)):
        width = 16 - first
        blocks[rows, 2 : 2 + width] = source[rows, first:]
        blocks[rows, 2 + width : 2 + 2 * width] = target[rows, first:]
        blocks[rows, 2 + 2 * width : 8 + 2 * width] = tail[rows]
    return blocks, np.where(is_v4, 16, 40)


def _greater(a: U8, b: U8, a_port: I64, b_port: I64) -> NDArray[np.bool_]:
    """True where (a, a_port) > (b, b_port) in network byte order."""
    a_words, b_words = np.ascontiguousarray(a).view(">u8"), np.ascontiguousarray(b).view(">u8")
    hi, lo = a_words[:, 0] == b_words[:, 0], a_words[:, 1] == b_words[:, 1]
    result: NDArray[np.bool_] = np.where(
        hi, np.where(lo, a_port > b_port, a_words[:, 1] > b_words[:, 1]), a_words[:, 0] > b_words[:, 0]
    ).astype(np.bool_)
    return result


def sha1(blocks: U8, lengths: I64) -> U8:
    """Return the SHA-1 (n, 20) of messages of at most 55 bytes: one block each (FIPS 180-4 section 6.1.2).

    blocks (n, 64) the messages, zeros after them; padding is written into it    lengths (n,) bytes of each
    """
    n = blocks.shape[0]
    blocks[np.arange(n), lengths] = 0x80
    words = np.empty((80, n), np.uint32)
    words[:16] = blocks.view(">u4").T
    words[15] = 8 * lengths
    for t in range(16, 80):
        np.bitwise_xor(words[t - 3], words[t - 8], out=words[t])
        words[t] ^= words[t - 14]
        words[t] ^= words[t - 16]
        _rotate(words[t], 1, words[t])
    a, b, c, d, e = (np.full(n, h, np.uint32) for h in _H0)
    mixed, turned = np.empty(n, np.uint32), np.empty(n, np.uint32)
    for t in range(80):
        if t < 20:  # Ch: b chooses between c and d
            np.bitwise_xor(c, d, out=mixed)
            mixed &= b
            mixed ^= d
        elif 40 <= t < 60:  # Maj
            np.bitwise_or(b, c, out=mixed)
            mixed &= d
            mixed |= b & c
        else:  # Parity
            np.bitwise_xor(b, c, out=mixed)
            mixed ^= d
        _rotate(a, 5, turned)
        e += turned
        e += mixed
        e += words[t]
        e += np.uint32(_K[t // 20])
        _rotate(b, 30, b)
        a, b, c, d, e = e, a, b, c, d
    digest = np.stack([state + np.uint32(h) for state, h in zip((a, b, c, d, e), _H0, strict=True)], axis=1)
    return digest.astype(">u4").view(np.uint8).reshape(n, 20)


def _rotate(words: U32, bits: int, out: U32) -> None:
    """Rotate to the left; `out` may be `words`."""
    high = words >> np.uint32(32 - bits)
    np.left_shift(words, np.uint32(bits), out=out)
    out |= high


def _base64(digests: U8) -> U8:
    """Return the base64 (n, 28) of 20-byte digests; a 21st zero byte makes whole groups, its letter becomes "="."""
    n = digests.shape[0]
    groups = np.zeros((n, 7, 3), np.uint32)
    groups.reshape(n, 21)[:, :20] = digests
    bits = (groups[:, :, 0] << 16) | (groups[:, :, 1] << 8) | groups[:, :, 2]
    letters = np.stack([_BASE64[(bits >> shift) & 63] for shift in (18, 12, 6, 0)], axis=2).reshape(n, 28)
    letters[:, 27] = ord("=")
    return letters
