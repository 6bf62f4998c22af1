"""Addresses as text, and the Community ID that joins a flow with other tools' records.

Source  Community ID Flow Hashing, version 1 (github.com/corelight/community-id-spec), seed 0.
"""

from __future__ import annotations

import hashlib
import socket

import numpy as np

from analyzer.kernel import I64, U8, Records
from analyzer.tables.build import Coded

_TCP = 6
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)


def address_bytes(hi: I64, lo: I64) -> U8:
    """Return (n, 16) network-order bytes; the last four are an IPv4 address."""
    return np.stack([hi, lo], axis=1).astype(">i8").view(np.uint8).reshape(-1, 16)


def address_text(hi: I64, lo: I64, version: I64) -> Coded:
    """Return addresses as text; each distinct one is formatted once."""
    raw = np.ascontiguousarray(np.concatenate([address_bytes(hi, lo), version.astype(np.uint8)[:, None]], axis=1))
    distinct, codes = np.unique(raw.view("V17").ravel(), return_inverse=True)
    names = []
    for item in distinct:
        packed = item.tobytes()
        if packed[16] == 4:
            names.append(socket.inet_ntop(socket.AF_INET, packed[12:16]))
        else:
            names.append(socket.inet_ntop(socket.AF_INET6, packed[:16]))
    return Coded(codes, names)


def community_id(flows: Records) -> list[str]:
    """Return the Community ID v1 of each flow: "1:" and the base64 of a SHA-1 over the ordered 5-tuple."""
    n = flows.shape[0]
    a, b = (
        address_bytes(flows["client_hi"], flows["client_lo"]),
        address_bytes(flows["server_hi"], flows["server_lo"]),
    )
    a_port, b_port = flows["client_port"].astype(">u2"), flows["server_port"].astype(">u2")
    swap = _greater(a, b, flows["client_port"], flows["server_port"])
    source, target = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    low = np.where(swap, b_port, a_port).astype(">u2").view(np.uint8).reshape(n, 2)
    high = np.where(swap, a_port, b_port).astype(">u2").view(np.uint8).reshape(n, 2)
    middle = np.tile(np.array([_TCP, 0], np.uint8), (n, 1))
    seed = np.zeros((n, 2), np.uint8)
    long = np.concatenate([seed, source, target, middle, low, high], axis=1)
    short = np.concatenate([seed, source[:, 12:], target[:, 12:], middle, low, high], axis=1)
    is_v4 = flows["ip_version"] == 4
    digests = np.zeros((n, 21), np.uint8)
    for rows, packed in ((np.flatnonzero(is_v4), short), (np.flatnonzero(~is_v4), long)):
        width, text = packed.shape[1], packed[rows].tobytes()
        joined = b"".join(hashlib.sha1(text[k * width : (k + 1) * width]).digest() for k in range(rows.size))
        digests[rows, :20] = np.frombuffer(joined, np.uint8).reshape(-1, 20)
    return _encoded(digests)


def _greater(a: U8, b: U8, a_port: I64, b_port: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """True where (a, a_port) > (b, b_port) in network byte order."""
    a_words, b_words = np.ascontiguousarray(a).view(">u8"), np.ascontiguousarray(b).view(">u8")
    hi, lo = a_words[:, 0] == b_words[:, 0], a_words[:, 1] == b_words[:, 1]
    result: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.where(
        hi, np.where(lo, a_port > b_port, a_words[:, 1] > b_words[:, 1]), a_words[:, 0] > b_words[:, 0]
    ).astype(np.bool_)
    return result


def _encoded(digests: U8) -> list[str]:
    """Return "1:" + base64 of each 20-byte digest (a 21st zero byte makes whole groups; its letters become "=")."""
    n = digests.shape[0]
    groups = digests.reshape(n, 7, 3).astype(np.int64)
    bits = (groups[:, :, 0] << 16) | (groups[:, :, 1] << 8) | groups[:, :, 2]
    letters = np.stack([_BASE64[(bits >> shift) & 63] for shift in (18, 12, 6, 0)], axis=2).reshape(n, 28)
    letters[:, 27] = ord("=")
    prefix = np.tile(np.frombuffer(b"1:", np.uint8), (n, 1))
    rows = np.ascontiguousarray(np.concatenate([prefix, letters], axis=1)).view("S30").ravel()
    texts: list[str] = rows.astype("U30").tolist()
    return texts
