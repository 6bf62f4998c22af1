"""Record decrypters: one direction under one set of keys.

Source  RFC 5246 section 6.2.3 (stream, CBC and AEAD ciphers), RFC 4346 section 6.2.3.2 (explicit IV), RFC 2246 (IV
        chained), RFC 6101 section 5.2.3.1 (SSL 3.0 MAC), RFC 7366 (encrypt-then-MAC), RFC 5288, RFC 6655, RFC 7905,
        RFC 8446 section 5.2.
Sees    nothing that does not authenticate: such a record is None, and the next one is tried as if it had been good.
Limits  Ciphers that the installed OpenSSL does not have are `UnsupportedError`.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Protocol

from analyzer.protocols.tls.schedule import SSL30, TLS10, TLS13, Keys
from analyzer.protocols.tls.suites import CBC, CCM, CCM8, CHACHA, GCM, NULL, RC4, Suite

Bytes = bytes | memoryview
Head = tuple[int, int, int, int]  # content type, version, where its body begins, length
Opened = tuple[int, Bytes]  # content type, plaintext

DATA = 23
# RFC 5246 section 6.2.3.3: the additional data of an AEAD, and the beginning of what a MAC covers
_PREFIX = struct.Struct(">QBHH")
_PREFIX_SSL3 = struct.Struct(">QBH")
_HEADER = struct.Struct(">BHH")
_EXPLICIT_NONCE = 8


class UnsupportedError(Exception):
    """The installed libraries do not have this cipher."""


class Opener(Protocol):
    """Opens the records of one direction, in order. `seq` is the number of the next record (it may be set)."""

    seq: int

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """Return content type and plaintext of a record, None if it does not authenticate; `seq` moves on."""

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """Open records that follow each other, all of application data outside, into `room` from `at` on.

        Returns the lengths of their contents. Ends before the first that is not application data inside, or that does
        not authenticate: `seq` is then its number, and `open` answers for it. It may end at once.
        """

    def skip(self, length: int) -> None:
        """A record with a body of `length` bytes passed unseen (a hole)."""


def opener(version: int, suite: Suite, keys: Keys, *, encrypt_then_mac: bool = False) -> Opener:
    """Return the decrypter for these keys. Raises UnsupportedError if the cipher is not available."""
    if version == TLS13:
        return Aead13(suite, keys)
    if suite.mode == CHACHA:
        return AeadImplicit(suite, keys)
    if suite.aead:
        return AeadExplicit(suite, keys)
    if suite.mode == CBC:
        return (CbcThenMac if encrypt_then_mac else MacThenCbc)(version, suite, keys)
    return Stream(version, suite, keys)


# ------------------------------------------------------------------------------------------------ AEAD
def _into(cipher: Any) -> Any:
    """Return decrypt_into of a cipher; before cryptography 47 it has none."""
    try:
        return cipher.decrypt_into
    except AttributeError:

        def copied(nonce: bytes, body: Bytes, aad: bytes, room: memoryview) -> None:
            room[:] = cipher.decrypt(nonce, body, aad)

        return copied


def _aead(suite: Suite, key: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

    try:
        if suite.mode == GCM:
            return AESGCM(key)
        if suite.mode == CHACHA:
            return ChaCha20Poly1305(key)
        if suite.mode in (CCM, CCM8):
            return AESCCM(key, 8 if suite.mode == CCM8 else 16)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(str(error)) from error
    raise UnsupportedError(suite.name)


class _Aead:
    """What the AEADs share: a nonce that is the IV and the record's number, and the cipher object."""

    def __init__(self, suite: Suite, keys: Keys) -> None:
        from cryptography.exceptions import InvalidTag

        self.seq = 0
        # cryptography raises ValueError for what is shorter than a tag
        self.failures = (InvalidTag, ValueError)
        self.tag = 8 if suite.mode == CCM8 else 16
        self.fixed = keys.iv
        self.iv = int.from_bytes(keys.iv, "big")
        cipher = _aead(suite, keys.key)
        self.decrypt, self.into = cipher.decrypt, _into(cipher)

    def skip(self, length: int) -> None:
        """See Opener."""
        self.seq += 1


class Aead13(_Aead):
    """TLS 1.3 (RFC 8446 section 5.2): the content type and padding are inside."""

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener; the type is the inner one."""
        nonce = (self.iv ^ self.seq).to_bytes(12, "big")
        self.seq += 1
        try:
            plain = self.decrypt(nonce, body, _HEADER.pack(kind, version, len(body)))
        except self.failures:
            return None
        end = len(plain) - 1
        if end < 0 or plain[end] == 0:  # padded with zeros
            end = len(plain.rstrip(b"\0")) - 1
            if end < 0:
                return None  # section 5.4: no type at all
        return plain[end], memoryview(plain)[:end]

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """See Opener. What is said once a record is said in as few steps as Python allows: they cost as much as AES."""
        into, iv, seq, tag, pack, failures = self.into, self.iv, self.seq, self.tag, _HEADER.pack, self.failures
        lengths = []
        for kind, version, start, length in heads:
            last = at + length - tag - 1
            if last < at:
                break
            nonce = (iv ^ seq).to_bytes(12, "big")
            try:
                into(nonce, data[start : start + length], pack(kind, version, length), room[at : last + 1])
            except failures:
                break
            if room[last] != DATA:
                if room[last] != 0:
                    break
                last = at + len(bytes(room[at:last]).rstrip(b"\0")) - 1
                if last < at or room[last] != DATA:
                    break
            lengths.append(last - at)
            at = last
            seq += 1
        self.seq = seq
        return lengths


class AeadImplicit(_Aead):
    """TLS 1.2 with ChaCha20-Poly1305 (RFC 7905): the nonce is not sent."""

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener."""
        seq = self.seq
        self.seq += 1
        try:
            aad = _PREFIX.pack(seq, kind, version, max(len(body) - self.tag, 0))
            return kind, self.decrypt((self.iv ^ seq).to_bytes(12, "big"), body, aad)
        except self.failures:
            return None

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """See Opener."""
        into, iv, tag, pack, failures, lengths = self.into, self.iv, self.tag, _PREFIX.pack, self.failures, []
        for seq, (kind, version, start, length) in enumerate(heads, self.seq):
            end = at + length - tag
            if end < at:
                break
            aad = pack(seq, kind, version, length - tag)
            try:
                into((iv ^ seq).to_bytes(12, "big"), data[start : start + length], aad, room[at:end])
            except failures:
                break
            lengths.append(end - at)
            at = end
        self.seq += len(lengths)
        return lengths


class AeadExplicit(_Aead):
    """TLS 1.2 with AES-GCM or AES-CCM (RFC 5288, RFC 6655): eight bytes of nonce come before the ciphertext."""

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener."""
        seq = self.seq
        self.seq += 1
        length = len(body) - _EXPLICIT_NONCE - self.tag
        if length < 0:
            return None
        nonce = self.fixed + bytes(body[:_EXPLICIT_NONCE])
        try:
            return kind, self.decrypt(nonce, body[_EXPLICIT_NONCE:], _PREFIX.pack(seq, kind, version, length))
        except self.failures:
            return None

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """See Opener."""
        into, fixed, pack, failures, lengths = self.into, self.fixed, _PREFIX.pack, self.failures, []
        extra = _EXPLICIT_NONCE + self.tag
        for seq, (kind, version, start, length) in enumerate(heads, self.seq):
            end = at + length - extra
            if end < at:
                break
            body = start + _EXPLICIT_NONCE
            aad = pack(seq, kind, version, length - extra)
            try:
                into(fixed + data[start:body], data[body : start + length], aad, room[at:end])
            except failures:
                break
            lengths.append(end - at)
            at = end
        self.seq += len(lengths)
        return lengths


# ------------------------------------------------------------------------------------------------ MACs
class _OneByOne:
    """What hashes the content costs far more than the steps around it: no runs."""

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """See Opener."""
        return []


class _Mac:
    """HMAC, or the MAC of SSL 3.0: both hash a prefix and the data, and then another prefix and that hash.

    The prefixes are hashed once; a record costs copies of these states and its own bytes.
    """

    def __init__(self, version: int, suite: Suite, key: bytes) -> None:
        self.ssl3 = version == SSL30
        new = hashlib.new(suite.mac, usedforsecurity=False)
        if self.ssl3:
            pads = 48 if suite.mac == "md5" else 40
            inner, outer = key + b"\x36" * pads, key + b"\x5c" * pads
        else:
            padded = key.ljust(new.block_size, b"\0")
            inner, outer = bytes(b ^ 0x36 for b in padded), bytes(b ^ 0x5C for b in padded)
        self.outer = new.copy()
        self.outer.update(outer)
        self.inner = new
        self.inner.update(inner)

    def of(self, seq: int, kind: int, version: int, data: Bytes) -> bytes:
        """Return the MAC of a record's content (RFC 5246 section 6.2.3.1)."""
        length = len(data)
        inner = self.inner.copy()
        inner.update(_PREFIX_SSL3.pack(seq, kind, length) if self.ssl3 else _PREFIX.pack(seq, kind, version, length))
        inner.update(data)
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class Stream(_OneByOne):
    """RC4, or no encryption at all; the MAC follows the content."""

    def __init__(self, version: int, suite: Suite, keys: Keys) -> None:
        self.seq = 0
        self.mac, self.size = _Mac(version, suite, keys.mac_key), suite.mac_size
        if suite.mode not in (RC4, NULL):
            raise UnsupportedError(suite.name)
        self.keyed = suite.mode == RC4
        self.decryptor = _cipher(suite, keys) if self.keyed else None

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener."""
        seq = self.seq
        self.seq += 1
        plain = memoryview(self.decryptor.update(body) if self.decryptor is not None else body)
        end = len(plain) - self.size
        if end < 0 or self.mac.of(seq, kind, version, plain[:end]) != plain[end:]:
            return None
        return kind, plain[:end]

    def skip(self, length: int) -> None:
        """See Opener; the key stream goes on under what was not seen."""
        self.seq += 1
        if self.decryptor is not None:
            self.decryptor.update(bytes(length))


class MacThenCbc(_OneByOne):
    """CBC as it was until RFC 7366: content, MAC and padding are encrypted together.

    One decryptor runs over all records. Where a record brings its own IV (TLS 1.1 and later), that is the ciphertext
    block before its first: what the decryptor makes of the IV itself is thrown away, and all after it is right.
    """

    def __init__(self, version: int, suite: Suite, keys: Keys) -> None:
        self.seq = 0
        self.ssl3 = version == SSL30
        self.mac, self.size, self.block = _Mac(version, suite, keys.mac_key), suite.mac_size, suite.block
        self.explicit = 0 if version <= TLS10 else suite.block
        self.decryptor = _cipher(suite, keys if keys.iv else Keys(keys.key, bytes(suite.block)))

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener."""
        seq = self.seq
        self.seq += 1
        if len(body) % self.block or not body:
            return None
        whole = self.decryptor.update(body)
        plain = memoryview(whole)[self.explicit :]
        if len(plain) <= self.size:
            return None
        padding = plain[-1]
        end = len(plain) - 1 - padding - self.size
        if end < 0:
            return None
        if not self.ssl3 and padding and whole[len(whole) - 1 - padding :] != bytes([padding]) * (padding + 1):
            return None
        if self.mac.of(seq, kind, version, plain[:end]) != plain[end : end + self.size]:
            return None
        return kind, plain[:end]

    def skip(self, length: int) -> None:
        """See Opener. In TLS 1.0 the next record's first block cannot be right: it will not authenticate."""
        self.seq += 1


class CbcThenMac(_OneByOne):
    """RFC 7366: the MAC covers IV and ciphertext, and is not encrypted."""

    def __init__(self, version: int, suite: Suite, keys: Keys) -> None:
        self.seq = 0
        self.mac, self.size, self.block = _Mac(version, suite, keys.mac_key), suite.mac_size, suite.block
        self.explicit = 0 if version <= TLS10 else suite.block
        self.decryptor = _cipher(suite, keys if keys.iv else Keys(keys.key, bytes(suite.block)))

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """See Opener."""
        seq = self.seq
        self.seq += 1
        end = len(body) - self.size
        if end <= self.explicit or end % self.block:
            return None
        sealed = memoryview(body)[:end]
        plain = memoryview(self.decryptor.update(sealed))[self.explicit :]
        if self.mac.of(seq, kind, version, sealed) != body[end:]:
            return None
        length = len(plain) - 1 - plain[-1]
        return (kind, plain[:length]) if length >= 0 else None

    def skip(self, length: int) -> None:
        """See Opener."""
        self.seq += 1


def _cipher(suite: Suite, keys: Keys) -> Any:
    """Return a running decryptor for a CBC or stream cipher."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    try:
        algorithm = _algorithm(suite.cipher, keys.key)
        return Cipher(algorithm, None if suite.mode == RC4 else modes.CBC(keys.iv)).decryptor()
    except (UnsupportedAlgorithm, ImportError, AttributeError) as error:
        raise UnsupportedError(f"{suite.name}: {error}") from error


def _algorithm(cipher: str, key: bytes) -> Any:
    """Old ciphers are moving to `decrepit`; where a version of cryptography has none, that is an ImportError."""
    from cryptography.hazmat.primitives.ciphers import algorithms

    if cipher.startswith("AES"):
        return algorithms.AES(key)
    from cryptography.hazmat.decrepit.ciphers import algorithms as old

    decrepit: Any = old
    if cipher.startswith("CAMELLIA"):
        return (decrepit.Camellia if hasattr(decrepit, "Camellia") else algorithms.Camellia)(key)
    if cipher in ("3DES_EDE", "DES"):
        return decrepit.TripleDES(key if len(key) == 24 else key * 3)  # DES is 3DES with one key three times
    return {"RC4": decrepit.ARC4, "SEED": decrepit.SEED, "IDEA": decrepit.IDEA, "RC2": decrepit.RC2}[cipher](key)
