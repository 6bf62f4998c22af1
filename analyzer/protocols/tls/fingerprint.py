"""JA3, JA3S, JA4 and JA4S: which program made a hello, as a short text.

Source  https://github.com/salesforce/ja3; https://github.com/FoxIO-LLC/ja4, technical_details/JA4.md and JA4S.md. JA4
        is under BSD-3-Clause; JA4S is one of the JA4+ methods, whose use FoxIO limits by a licence of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from analyzer.protocols.tls.hello import (
    ALPN,
    GROUPS,
    POINT_FORMATS,
    SERVER_NAME,
    SIGNATURES,
    ClientHello,
    ServerHello,
    alpn_names,
    listed,
)
from analyzer.protocols.tls.names import is_grease

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "0" * 12
_REMEMBERED = 64  # hellos; a hostile one has at most 64 kB, a usual one 500 bytes


def ja3(hello: ClientHello) -> str:
    """Return the MD5 of what the client offers, GREASE left out."""
    groups, formats = hello.extensions.get(GROUPS, b""), hello.extensions.get(POINT_FORMATS, b"")
    return _ja3(hello.version, hello.ciphers, tuple(hello.kinds), groups, formats)


# Hellos that differ in a name's length only are read each time, and say the same here.
@lru_cache(_REMEMBERED)
def _ja3(version: int, ciphers: tuple[int, ...], kinds: tuple[int, ...], groups: bytes, formats: bytes) -> str:
    parts = (ciphers, kinds, listed(groups), formats[1:])
    return _md5([str(version)] + ["-".join(str(n) for n in part if not is_grease(n)) for part in parts])


def ja3s(hello: ServerHello) -> str:
    """Return the MD5 of what the server chose."""
    return _ja3s(hello.version, hello.cipher, tuple(hello.kinds))


@lru_cache(_REMEMBERED)
def _ja3s(version: int, cipher: int, kinds: tuple[int, ...]) -> str:
    return _md5([str(version), str(cipher), "-".join(map(str, kinds))])


def ja4(hello: ClientHello) -> str:
    """Return the JA4 of a ClientHello over TCP."""
    name = "d" if SERVER_NAME in hello.extensions else "i"
    signatures = hello.extensions.get(SIGNATURES, b"")
    return _ja4(max(hello.versions), name, hello.ciphers, tuple(hello.kinds), signatures, _ends(hello.alpn))


@lru_cache(_REMEMBERED)
def _ja4(
    newest: int, name: str, all_ciphers: tuple[int, ...], all_kinds: tuple[int, ...], signing: bytes, ends: str
) -> str:  # fmt: skip
    ciphers = [n for n in all_ciphers if not is_grease(n)]
    kinds = [n for n in all_kinds if not is_grease(n)]
    signatures = [n for n in listed(signing) if not is_grease(n)]
    version = _VERSIONS.get(newest, "00")
    first = f"t{version}{name}{min(len(ciphers), 99):02d}{min(len(kinds), 99):02d}{ends}"
    rest = _hex(sorted(n for n in kinds if n not in (SERVER_NAME, ALPN)))
    if signatures:
        rest += "_" + _hex(signatures)
    return f"{first}_{_sha(_hex(sorted(ciphers)))}_{_sha(rest) if kinds else _NOTHING}"


def ja4s(hello: ServerHello) -> str:
    """Return the JA4S of a ServerHello over TCP."""
    ends = _ends(alpn_names(hello.extensions.get(ALPN, b"")))
    return _ja4s(_VERSIONS.get(hello.chosen, "00"), hello.cipher, tuple(hello.kinds), ends)


@lru_cache(_REMEMBERED)
def _ja4s(version: str, cipher: int, kinds: tuple[int, ...], ends: str) -> str:
    return f"t{version}{min(len(kinds), 99):02d}{ends}_{cipher:04x}_{_sha(_hex(kinds))}"


def _ends(names: Sequence[bytes]) -> str:
    """First and last character of the first application protocol; of its hex form if they are no letters or digits."""
    if not names or not names[0]:
        return "00"
    name = names[0]
    if chr(name[0]).isalnum() and chr(name[-1]).isalnum() and name[0] < 128 and name[-1] < 128:
        return chr(name[0]) + chr(name[-1])
    return name.hex()[0] + name.hex()[-1]


def _hex(values: Iterable[int]) -> str:
    return ",".join(f"{n:04x}" for n in values)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING


def _md5(parts: list[str]) -> str:
    return hashlib.md5(",".join(parts).encode(), usedforsecurity=False).hexdigest()
