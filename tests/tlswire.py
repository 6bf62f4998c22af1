"""TLS bytes, made by hand: `client_hello(sni="a.example")`, `record(22, ...)`, handshakes as turns of two sides."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

CCS = bytes.fromhex("140303000101")
RETRY = hashlib.sha256(b"HelloRetryRequest").digest()
GCM, CHACHA13 = 0xC02F, 0x1301


def vector(size: int, body: bytes) -> bytes:
    """A vector with a length of `size` bytes."""
    return len(body).to_bytes(size, "big") + body


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    return struct.pack("!BHH", kind, version, len(body)) + body


def message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + vector(3, body)


def extension(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!H", kind) + vector(2, body)


def client_hello(
    *, sni: str = "", alpn: Sequence[bytes] = (), session_id: bytes = b"", ticket: bytes | None = None,
    versions: Sequence[int] = (), psk: bool = False, psk_age: int = 0x5EED, early: bool = False,
    heartbeat: bool = False, ciphers: Sequence[int] = (0x1301, GCM, 0x00FF), random: bytes = b"c" * 32,
    more: bytes = b"",
) -> bytes:  # fmt: skip
    """A ClientHello message."""
    out = b""
    if sni:
        out += extension(0, vector(2, b"\0" + vector(2, sni.encode())))
    out += extension(10, vector(2, struct.pack("!HH", 29, 23))) + extension(13, vector(2, struct.pack("!H", 0x0403)))
    if alpn:
        out += extension(16, vector(2, b"".join(vector(1, name) for name in alpn)))
    if ticket is not None:
        out += extension(35, ticket)
    if versions:
        out += extension(43, vector(1, b"".join(struct.pack("!H", v) for v in versions)))
    if heartbeat:
        out += extension(15, b"\1")
    if early:
        out += extension(42)
    out += more
    if psk:
        out += extension(
            41, vector(2, vector(2, b"identity") + struct.pack("!I", psk_age)) + vector(2, vector(1, b"b" * 32))
        )
    body = struct.pack("!H", 0x0303) + random + vector(1, session_id)
    body += vector(2, b"".join(struct.pack("!H", c) for c in ciphers)) + vector(1, b"\0") + vector(2, out)
    return message(1, body)


def server_hello(
    *, cipher: int = GCM, session_id: bytes = b"", tls13: bool = False, psk: bool = False, alpn: bytes = b"",
    heartbeat: bool = False, random: bytes = b"s" * 32, ticket: bool = False,
) -> bytes:  # fmt: skip
    """A ServerHello message."""
    out = b"" if tls13 else extension(0xFF01, b"\0")
    if tls13:
        share = b"" if random == RETRY else vector(2, b"k" * 32)
        out += extension(43, b"\3\4") + extension(51, struct.pack("!H", 29) + share)
    if psk:
        out += extension(41, b"\0\0")
    if alpn:
        out += extension(16, vector(2, vector(1, alpn)))
    if heartbeat:
        out += extension(15, b"\1")
    if ticket:
        out += extension(35)
    body = struct.pack("!H", 0x0303) + random + vector(1, session_id) + struct.pack("!HB", cipher, 0) + vector(2, out)
    return message(2, body)


def certificate(*ders: bytes) -> bytes:
    return message(11, vector(3, b"".join(vector(3, der) for der in ders)))


SERVER_KEY = message(12, b"\3\0\x17" + vector(1, b"p" * 65) + b"\4\3" + vector(2, b"sig"))
CLIENT_KEY = message(16, vector(1, b"p" * 65))
FINISHED = record(22, b"\x9f" * 40)  # encrypted: it looks like anything
ALERT = record(21, b"\x9f" * 26)
DER = b"0\3not"


def data(length: int) -> bytes:
    return record(23, b"\xd1" * length)


def full12(
    der: bytes = DER, *, session_id: bytes = b"i" * 32, ticket: bytes = b"", hello: bytes = b"", alpn: bytes = b""
) -> list[bytes]:
    """Turns of a full TLS 1.2 handshake, the client first."""
    issued = record(22, message(4, b"\0\0\1\0" + vector(2, ticket))) if ticket else b""
    server = server_hello(session_id=session_id, alpn=alpn, ticket=bool(ticket))
    return [
        record(22, hello or client_hello(sni="a.example", ticket=b"" if ticket else None)),
        record(22, server + certificate(der) + SERVER_KEY + message(14, b"")),
        record(22, CLIENT_KEY) + CCS + FINISHED,
        issued + CCS + FINISHED,
    ]


def short12(*, session_id: bytes = b"i" * 32, ticket: bytes | None = None) -> list[bytes]:
    """Turns of an abbreviated TLS 1.2 handshake."""
    return [
        record(22, client_hello(sni="a.example", session_id=session_id, ticket=ticket)),
        record(22, server_hello(session_id=session_id)) + CCS + FINISHED,
        CCS + FINISHED,
    ]


def full13(hello: bytes = b"", *, psk: bool = False) -> list[bytes]:
    """Turns of a TLS 1.3 handshake; the third has the client's Finished."""
    first = hello or client_hello(sni="a.example", versions=[0x0A0A, 0x0304, 0x0303], alpn=[b"h2", b"http/1.1"])
    return [
        record(22, first, 0x0301),
        record(22, server_hello(cipher=0x1301, tls13=True, psk=psk, session_id=b"")) + CCS + data(900),
        CCS + data(53),
    ]
