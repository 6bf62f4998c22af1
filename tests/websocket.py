"""WebSocket for traces: frames as bytes, and a connection that has just been upgraded."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from typing import Any

from tests.property.harness import Result, Row
from tests.talk import Talk

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
MASK = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int, payload: bytes = b"", *, mask: bytes | None = None, fin: bool = True, rsv: int = 0,
    size: int | None = None,
) -> bytes:  # fmt: skip
    """Return one frame. `mask` makes it a client's, `size` is 7, 16 or 64 bits of length (default: the shortest)."""
    n = len(payload)
    size = size or (7 if n < 126 else 16 if n < 65536 else 64)
    short = n if size == 7 else 126 if size == 16 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short])
    head += b"" if size == 7 else struct.pack("!H" if size == 16 else "!Q", n)
    if mask is None:
        return head + payload
    return head + mask + bytes(b ^ mask[k % 4] for k, b in enumerate(payload))


def of_client(opcode: int, payload: bytes = b"", **how: Any) -> bytes:
    """Return a masked frame."""
    return frame(opcode, payload, mask=MASK, **how)


def code(number: int, reason: str = "") -> bytes:
    """Return the payload of a close frame."""
    return struct.pack("!H", number) + reason.encode()


def request(key: bytes | None = KEY, more: bytes = b"") -> bytes:
    """Return the request of an opening handshake."""
    named = b"" if key is None else b"Sec-WebSocket-Key: %s\r\n" % key
    return (
        b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"%sSec-WebSocket-Version: 13\r\n%s\r\n" % (named, more)
    )


def response(key: bytes | None = KEY, extensions: bytes = b"", protocol: bytes = b"") -> bytes:
    """Return the 101 that accepts it."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    if key is not None:
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        head += b"Sec-WebSocket-Accept: %s\r\n" % accept
    head += b"Sec-WebSocket-Extensions: %s\r\n" % extensions if extensions else b""
    head += b"Sec-WebSocket-Protocol: %s\r\n" % protocol if protocol else b""
    return head + b"\r\n"


def upgraded(extensions: bytes = b"", **make: Any) -> Talk:
    """Return a connection at 1 s, upgraded."""
    return Talk(**make).handshake().orig(request(), at="1s").resp(response(extensions=extensions)).orig_ack()


class Deflater:
    """permessage-deflate, the sending end."""

    def __init__(self, *, bits: int = 15, takeover: bool = True) -> None:
        self.bits, self.takeover = bits, takeover
        self.engine: Any = None

    def message(self, payload: bytes) -> bytes:
        """Return a message's payload, compressed (RFC 7692 section 7.2.1)."""
        if self.engine is None or not self.takeover:
            self.engine = zlib.compressobj(wbits=-self.bits)
        return (self.engine.compress(payload) + self.engine.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def frames(result: Result, *columns: str) -> list[Any]:
    """Return columns of `websocket_frames` (one: plain values, several: tuples) in order."""
    return _picked(result.rows("websocket_frames"), columns)


def messages(result: Result, *columns: str) -> list[Any]:
    """Return columns of `websocket_messages` likewise."""
    return _picked(result.rows("websocket_messages"), columns)


def _picked(rows: list[Row], columns: tuple[str, ...]) -> list[Any]:
    if len(columns) == 1:
        return [row[columns[0]] for row in rows]
    return [tuple(row[name] for name in columns) for row in rows]
