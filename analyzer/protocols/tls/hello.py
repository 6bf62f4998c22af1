"""ClientHello and ServerHello.

Source  RFC 8446 sections 4.1.2, 4.1.3; RFC 5246 section 7.4.1; appendix E.2 for a ClientHello in SSL 2.0's clothes.
        Drafts of TLS 1.3 before 22 leave session id and compression out of the ServerHello.
Limits  A message whose lengths contradict each other is read up to there and marked `damaged`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct, unpack
from sys import intern

from analyzer.protocols.tls.names import SSL2, TLS1_3, is_grease

# RFC 8446 section 4.1.3: SHA-256 of "HelloRetryRequest" in place of a random
RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
RENEGOTIATION_SCSV = 0x00FF  # RFC 5746 section 3.3

SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURES, HEARTBEAT, ALPN = 0, 10, 11, 13, 15, 16
ENCRYPT_THEN_MAC, EXTENDED_MASTER, TICKET, PRE_SHARED_KEY, EARLY_DATA = 22, 23, 35, 41, 42
VERSIONS, KEY_SHARE, RENEGOTIATION = 43, 51, 0xFF01
OLD_KEY_SHARE = 40  # drafts of TLS 1.3 before 23


_TWO_NUMBERS = Struct(">HH").unpack_from


class MalformedError(ValueError):
    """A length points past the end of what holds it."""


class Cursor:
    """Reads numbers and vectors (RFC 8446 section 3) off the front of some bytes."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes."""
        end = self.at + n
        if end > len(self.data):
            raise MalformedError(f"{n} bytes wanted, {len(self.data) - self.at} there")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        """Return the next unsigned number of `size` bytes."""
        end = self.at + size  # not by `take`: these two are most of what reading a handshake costs
        if end > len(self.data):
            raise MalformedError(f"a number of {size} bytes wanted, {len(self.data) - self.at} there")
        number = int.from_bytes(self.data[self.at : end], "big")
        self.at = end
        return number

    def vector(self, size: int) -> bytes:
        """Return the bytes behind a length of `size` bytes."""
        at = self.at + size
        end = at + int.from_bytes(self.data[self.at : at], "big")
        if end > len(self.data):
            raise MalformedError(f"{end - self.at} bytes wanted, {len(self.data) - self.at} there")
        self.at = end
        return self.data[at:end]

    def __bool__(self) -> bool:
        return self.at < len(self.data)


@dataclass(slots=True)
class Hello:
    """What both hellos have. version as the message says; extensions in their order, the first of each kind.

    places  where the bodies of `extensions` begin, the message's body from 0
    """

    version: int = 0
    random: bytes = b""
    session_id: bytes = b""
    kinds: list[int] = field(default_factory=list)
    extensions: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    damaged: bool = False


@dataclass(slots=True)
class ClientHello(Hello):
    """What a client offers."""

    ciphers: tuple[int, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of the extension, else the one of the message; without GREASE."""
        return _versions(self.extensions.get(VERSIONS, b"")) or (self.version,)

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """The application protocols offered (RFC 7301)."""
        return alpn_names(self.extensions.get(ALPN, b""))


@dataclass(slots=True)
class ServerHello(Hello):
    """What a server chose."""

    cipher: int = 0
    compression: int = 0

    @property
    def is_draft(self) -> bool:
        """True for drafts of TLS 1.3 whose ServerHello has no session id and no compression."""
        return self.version >> 8 == 0x7F

    @property
    def chosen(self) -> int:
        """The version agreed."""
        body = self.extensions.get(VERSIONS)
        return int.from_bytes(body, "big") if body is not None and len(body) == 2 else self.version

    @property
    def group(self) -> int | None:
        """The group of the key share (TLS 1.3)."""
        body = self.extensions.get(KEY_SHARE, self.extensions.get(OLD_KEY_SHARE, b""))
        return int.from_bytes(body[:2], "big") if len(body) >= 2 else None


def is_tls13(version: int) -> bool:
    """True for TLS 1.3 and its drafts."""
    return version == TLS1_3 or version >> 8 in (0x7F, 0x7E)


# Clients of one kind say the same in all their hellos, servers have few names, and each is asked for several times.
# What is remembered has 64 kB at most, if it is hostile.
_remembered = lru_cache(64)


@_remembered
def numbers(body: bytes) -> tuple[int, ...]:
    """Return the 16-bit numbers of a vector's bytes; an odd byte at the end is left out."""
    n = len(body) // 2
    return unpack(f">{n}H", body[: 2 * n])


def listed(body: bytes | None) -> tuple[int, ...]:
    """Return the 16-bit numbers of an extension that is one vector with a 16-bit length."""
    return numbers(body[2:]) if body else ()


@_remembered
def _versions(body: bytes) -> tuple[int, ...]:
    return tuple(v for v in numbers(body[1:]) if not is_grease(v))


@_remembered
def host_name(body: bytes) -> str | None:
    """Return the host name in a server_name extension (RFC 6066 section 3)."""
    try:
        names = Cursor(Cursor(body).vector(2))
        while names:
            kind, name = names.number(1), names.vector(2)
            if kind == 0 and name:
                return intern(name.decode("utf-8", "backslashreplace"))
    except MalformedError:
        pass
    return None


@_remembered
def alpn_names(body: bytes) -> tuple[bytes, ...]:
    """Return the names of an ALPN extension."""
    names: list[bytes] = []
    try:
        left = Cursor(Cursor(body).vector(2)) if body else Cursor(b"")
        while left:
            names.append(left.vector(1))
    except MalformedError:
        pass
    return tuple(names)


def external_psks(body: bytes) -> tuple[bool, ...]:
    """Return, for each key that a pre_shared_key extension offers, whether it was agreed on outside TLS.

    Such a key has an age of 0 (RFC 8446 section 4.2.11); that of a ticket is hidden by a random number.
    """
    external: list[bool] = []
    try:
        offered = Cursor(Cursor(body).vector(2))
        while offered:
            offered.vector(2)  # its name
            external.append(offered.number(4) == 0)
    except MalformedError:
        pass
    return tuple(external)


def read_client_hello(body: bytes) -> ClientHello:
    """Return the ClientHello in a handshake message's body."""
    hello, read = ClientHello(), Cursor(body)
    try:
        hello.version, hello.random = read.number(2), read.take(32)
        hello.session_id = read.vector(1)
        hello.ciphers = numbers(read.vector(2))
        read.vector(1)  # compression methods
        read_extensions(read, hello)
    except MalformedError:
        hello.damaged = True
    return hello


def read_old_hello(body: bytes) -> ClientHello:
    """Return the ClientHello in an SSL 2.0 record, from its message type on."""
    hello, read = ClientHello(), Cursor(body)
    try:
        read.number(1)
        hello.version = read.number(2)
        suites, session, challenge = read.number(2), read.number(2), read.number(2)
        three = read.take(suites)
        codes = [int.from_bytes(three[k : k + 3], "big") for k in range(0, len(three) - 2, 3)]
        hello.ciphers = tuple(code for code in codes if code <= 0xFFFF)
        hello.session_id = read.take(session)
        hello.random = read.take(challenge).rjust(32, b"\0")
    except MalformedError:
        hello.damaged = True
    return hello


def read_server_hello(body: bytes) -> ServerHello:
    """Return the ServerHello (or HelloRetryRequest) in a handshake message's body."""
    hello, read = ServerHello(), Cursor(body)
    try:
        hello.version, hello.random = read.number(2), read.take(32)
        if not hello.is_draft:
            hello.session_id = read.vector(1)
        hello.cipher = read.number(2)
        if not hello.is_draft:
            hello.compression = read.number(1)
        read_extensions(read, hello)
    except MalformedError:
        hello.damaged = True
    return hello


def read_extensions(read: Cursor, hello: Hello) -> None:
    """Read the extensions that come next into `hello`."""
    if not read or hello.version == SSL2:
        return
    at = read.at + 2
    end = at + len(read.vector(2))
    data, kinds, extensions, places = read.data, hello.kinds, hello.extensions, hello.places
    while at < end:  # not with a Cursor: a hello has twenty of these, and a capture many hellos
        if end - at < 4:
            raise MalformedError("an extension without its length")
        kind, length = _TWO_NUMBERS(data, at)
        at += 4
        if length > end - at:
            raise MalformedError(f"an extension of {length} bytes, {end - at} there")
        kinds.append(kind)
        if kind not in extensions:
            extensions[kind], places[kind] = data[at : at + length], at
        at += length
