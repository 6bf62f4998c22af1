"""From logged secrets to the keys of one direction.

Source  TLS 1.0 and 1.1: RFC 2246 and RFC 4346 sections 5, 6.3, 8.1. TLS 1.2: RFC 5246, same sections. SSL 3.0:
        RFC 6101 sections 6.1, 6.2.2. TLS 1.3: RFC 8446 sections 7.1 to 7.3.
        Extended master secret: RFC 7627. A CLIENT_RANDOM line already holds the master secret, extended or not; only
        a premaster secret needs the derivations before the key block.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from analyzer.protocols.tls.suites import Suite

SSL30, TLS10, TLS11, TLS12, TLS13 = 0x0300, 0x0301, 0x0302, 0x0303, 0x0304


class Keys(NamedTuple):
    """What one direction needs: key, the fixed part of its nonce (or the first IV), and the key of its MAC."""

    key: bytes
    iv: bytes
    mac_key: bytes = b""


# ------------------------------------------------------------------------------------------------ SSL 3.0 to TLS 1.2
def p_hash(name: str, secret: bytes, seed: bytes, size: int) -> bytes:
    """Return `size` bytes of P_hash (RFC 5246 section 5)."""
    out, a = b"", seed
    while len(out) < size:
        a = hmac.digest(secret, a, name)
        out += hmac.digest(secret, a + seed, name)
    return out[:size]


def prf(version: int, prf_hash: str, secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """Return `size` bytes of the PRF of TLS 1.2 with `prf_hash`, or of TLS 1.0 and 1.1 (RFC 2246 section 5)."""
    if version >= TLS12:
        return p_hash(prf_hash, secret, label + seed, size)
    half = (len(secret) + 1) // 2  # an odd byte in the middle belongs to both halves
    md5 = p_hash("md5", secret[:half], label + seed, size)
    sha1 = p_hash("sha1", secret[len(secret) - half :], label + seed, size)
    return bytes(x ^ y for x, y in zip(md5, sha1, strict=True))


def ssl3_expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """Return `size` bytes as SSL 3.0 derives them (RFC 6101 section 6.2.2): MD5 over SHA-1 with A, BB, CCC, ..."""
    out = b""
    for k in range((size + 15) // 16):
        salt = bytes([ord("A") + k]) * (k + 1)
        out += hashlib.md5(secret + hashlib.sha1(salt + secret + seed).digest()).digest()
    return out[:size]


def master_secret(version: int, suite: Suite, premaster: bytes, client_random: bytes, server_random: bytes) -> bytes:
    """Return the 48 bytes of the master secret (RFC 5246 section 8.1), not the extended one."""
    seed = client_random + server_random
    if version == SSL30:
        return ssl3_expand(premaster, seed, 48)
    return prf(version, suite.hash, premaster, b"master secret", seed, 48)


def extended_master_secret(version: int, suite: Suite, premaster: bytes, handshake: bytes) -> bytes:
    """Return the master secret of RFC 7627 section 4; `handshake` are all messages up to ClientKeyExchange."""
    if version >= TLS12:
        session_hash = hashlib.new(suite.hash, handshake).digest()
    else:
        session_hash = hashlib.md5(handshake).digest() + hashlib.sha1(handshake).digest()
    return prf(version, suite.hash, premaster, b"extended master secret", session_hash, 48)


def key_block(
    version: int, suite: Suite, master: bytes, client_random: bytes, server_random: bytes
) -> tuple[Keys, Keys]:
    """Return the keys of client and server (RFC 5246 section 6.3). TLS 1.1 and later have no IV here but in AEADs."""
    mac = 0 if suite.aead else suite.mac_size
    iv = suite.iv_size if suite.aead else suite.block if version <= TLS10 else 0
    key = suite.material or suite.key_size
    iv = 0 if suite.material else iv
    size = 2 * (mac + key + iv)
    seed = server_random + client_random
    if version == SSL30:
        block = ssl3_expand(master, seed, size)
    else:
        block = prf(version, suite.hash, master, b"key expansion", seed, size)
    parts, at = [], 0
    for part in (mac, mac, key, key, iv, iv):
        parts.append(block[at : at + part])
        at += part
    if suite.material:
        parts[2:] = _export(version, suite, parts[2], parts[3], client_random, server_random)
    return Keys(parts[2], parts[4], parts[0]), Keys(parts[3], parts[5], parts[1])


def _export(version: int, suite: Suite, client: bytes, server: bytes, first: bytes, second: bytes) -> list[bytes]:
    """Return keys and IVs of both sides of a 40-bit suite (RFC 2246 section 6.3.1, RFC 6101 section 6.2.2.1).

    The few secret bytes are spread over a whole key; everything else in it was sent in clear.
    """
    size, block = suite.key_size, suite.block
    if version == SSL30:
        keys = [hashlib.md5(client + first + second).digest(), hashlib.md5(server + second + first).digest()]
        ivs = [hashlib.md5(first + second).digest(), hashlib.md5(second + first).digest()]
        return [key[:size] for key in keys] + [iv[:block] for iv in ivs]
    seed = first + second
    keys = [
        prf(version, suite.hash, client, b"client write key", seed, size),
        prf(version, suite.hash, server, b"server write key", seed, size),
    ]
    iv = prf(version, suite.hash, b"", b"IV block", seed, 2 * block)
    return [*keys, iv[:block], iv[block:]]


# ------------------------------------------------------------------------------------------------ TLS 1.3
def expand_label(name: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1)."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    out, block, k = b"", b"", 0
    while len(out) < size:
        k += 1
        block = hmac.digest(secret, block + info + bytes([k]), name)
        out += block
    return out[:size]


def traffic_keys(suite: Suite, secret: bytes) -> Keys:
    """Return the keys of a traffic secret (RFC 8446 section 7.3)."""
    key = expand_label(suite.hash, secret, b"key", b"", suite.key_size)
    return Keys(key, expand_label(suite.hash, secret, b"iv", b"", 12))


def next_secret(suite: Suite, secret: bytes) -> bytes:
    """Return the traffic secret after a KeyUpdate (RFC 8446 section 7.2)."""
    return expand_label(suite.hash, secret, b"traffic upd", b"", len(secret))
