"""HTTP/2 for traces: frames as bytes, header blocks by an encoder that is not ours, and connections that have begun."""

from __future__ import annotations

import struct
from typing import Self

from hpack import Encoder

from tests.talk import Duration, Talk

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION) = range(10)
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32

Field = tuple[str, str]
OK: list[Field] = [(":status", "200"), ("server", "nginx")]


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0, length: int | None = None) -> bytes:
    """Return one frame; `length` is what its header says, if that is a lie."""
    n = len(payload) if length is None else length
    return struct.pack("!I", n)[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def settings(*pairs: tuple[int, int], ack: bool = False) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, b"".join(struct.pack("!HI", *pair) for pair in pairs), flags=ACK if ack else 0)


def ping(opaque: bytes = b"\1\2\3\4\5\6\7\x88", *, ack: bool = False) -> bytes:
    """Return a PING frame."""
    return frame(PING, opaque, flags=ACK if ack else 0)


def goaway(last: int, error: int = 0, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame."""
    return frame(GOAWAY, struct.pack("!II", last, error) + debug)


def widened(increment: int, stream: int = 0) -> bytes:
    """Return a WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, struct.pack("!I", increment), stream=stream)


def data(stream: int, payload: bytes = b"", *, end: bool = False, pad: int | None = None) -> bytes:
    """Return a DATA frame."""
    flags = END_STREAM if end else 0
    if pad is not None:
        payload, flags = bytes([pad]) + payload + bytes(pad), flags | PADDED
    return frame(DATA, payload, stream=stream, flags=flags)


def request(path: str = "/", method: str = "GET", *more: Field, host: str = "example.com") -> list[Field]:
    """Return the fields of a request."""
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", host), *more]


class Side:
    """What one side writes; header blocks need its table."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    def block(self, fields: list[Field]) -> bytes:
        """Return a header block."""
        made: bytes = self.encoder.encode(fields)
        return made

    def headers(self, stream: int, fields: list[Field], *, end: bool = False, cut: int = 0) -> bytes:
        """Return HEADERS; cut into a CONTINUATION for every `cut` bytes."""
        block, flags = self.block(fields), END_STREAM if end else 0
        if not cut:
            return frame(HEADERS, block, stream=stream, flags=flags | END_HEADERS)
        parts = [block[k : k + cut] for k in range(0, len(block), cut)]
        out = b""
        for k, part in enumerate(parts):
            last = END_HEADERS if k == len(parts) - 1 else 0
            kind, own = (CONTINUATION, 0) if k else (HEADERS, flags)
            out += frame(kind, part, stream=stream, flags=own | last)
        return out


class H2(Talk):
    """A connection whose sides can be asked for header blocks."""

    def __init__(self, client: tuple[str, int] = ("10.0.0.1", 40000)) -> None:
        super().__init__(client)
        self.caller, self.callee = Side(), Side()

    def begin(self) -> Self:
        """Handshake, preface, settings of both sides."""
        self.handshake().orig(PREFACE + settings((3, 100))).resp(settings((3, 128)) + settings(ack=True))
        return self.orig(settings(ack=True))

    def ask(self, stream: int, path: str = "/", *, end: bool = True, at: Duration | None = None) -> Self:
        """Send a request without a body, or its head."""
        self.orig(self.caller.headers(stream, request(path), end=end), **({} if at is None else {"at": at}))
        return self

    def answer(self, stream: int, body: bytes = b"hello") -> Self:
        """Send a whole response."""
        return self.resp(self.callee.headers(stream, OK) + data(stream, body, end=True))

    def finish(self) -> Self:
        """End both directions in order."""
        return self.resp_fin().orig_ack().orig_fin().resp_ack()
