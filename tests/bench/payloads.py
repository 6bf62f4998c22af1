"""Payload bytes that look like HTTP, TLS and WebSocket, framed as their RFCs say."""

from __future__ import annotations

import base64
import hashlib
import struct
from random import Random

_WORDS = """
    connection timeout keep alive server client balance upstream request response stream window segment packet frame
    latency deploy region cluster shard replica queue worker cache token session metric gauge counter event payload
"""
_PATHS = ("/api/v1/items/", "/static/app-", "/users/", "/search?q=", "/images/", "/v2/metrics/", "/feed/")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
_TYPES = ("text/html; charset=utf-8", "application/json", "application/octet-stream", "application/javascript")
_POOL_BYTES = 4 << 20
# RFC 6455 section 1.3
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Payloads:
    """A pool of text and a pool of noise, from which messages are cut."""

    def __init__(self, rng: Random) -> None:
        words = rng.choices(_WORDS.split(), k=20_000)
        lines = [f'{{"id": {i}, "{words[i]}": "{words[i + 1]} {words[i + 2]}"}}\n' for i in range(19_000)]
        text = "".join(lines).encode()
        self._text = (text * (_POOL_BYTES // len(text) + 1))[:_POOL_BYTES]
        self._noise = rng.randbytes(_POOL_BYTES)

    def text(self, rng: Random, n: int) -> bytes:
        """Return `n` bytes of JSON lines."""
        at = rng.randrange(_POOL_BYTES - n)
        return self._text[at : at + n]

    def noise(self, rng: Random, n: int) -> bytes:
        """Return `n` bytes without pattern, as a cipher's output."""
        at = rng.randrange(_POOL_BYTES - n)
        return self._noise[at : at + n]

    # --- HTTP/1.1 (RFC 9112)

    def request(
        self, rng: Random, host: str, body: int = 0, *, close: bool = False, method: str = "GET", more: str = ""
    ) -> bytes:
        """Return a GET (or `method`), or a POST with `body` bytes; `more` is a field line besides the usual ones."""
        path = f"{rng.choice(_PATHS)}{rng.getrandbits(40):x}"
        head = [
            f"{'POST' if body else method} {path} HTTP/1.1",
            f"Host: {host}",
            f"User-Agent: {_AGENT}",
            "Accept: text/html,application/json;q=0.9,*/*;q=0.8",
            "Accept-Encoding: gzip, deflate, br",
            f"Cookie: session={rng.getrandbits(128):032x}",
            f"Connection: {'close' if close else 'keep-alive'}",
        ]
        if more:
            head.append(more)
        if body:
            head += ["Content-Type: application/json", f"Content-Length: {body}"]
        return "\r\n".join([*head, "", ""]).encode() + (self.text(rng, body) if body else b"")

    def response(self, rng: Random, body: int, *, close: bool = False) -> bytes:
        """Return a 200 with `body` bytes, one in six of them chunked."""
        kind = rng.choice(_TYPES)
        chunked = rng.random() < 1 / 6
        head = [
            "HTTP/1.1 200 OK",
            "Server: nginx/1.24.0",
            "Date: Tue, 14 Nov 2023 22:13:20 GMT",
            f"Content-Type: {kind}",
            "Connection: close" if close else "Connection: keep-alive",
            "" if close else "Keep-Alive: timeout=5, max=1000",
            f'ETag: "{rng.getrandbits(64):016x}"',
            "Transfer-Encoding: chunked" if chunked else f"Content-Length: {body}",
        ]
        content = self.noise(rng, body) if kind == "application/octet-stream" else self.text(rng, body)
        if chunked:
            pieces = [content[i : i + 4096] for i in range(0, body, 4096)]
            content = b"".join(self.chunk(piece) for piece in [*pieces, b""])
        return "\r\n".join([*filter(None, head), "", ""]).encode() + content

    def bare_response(self, rng: Random, status: str, body: int) -> bytes:
        """Return a head without a body: a 304, or what HEAD is told about `body` bytes (section 6.3)."""
        tag = f'ETag: "{rng.getrandbits(64):016x}"'
        lines = [f"HTTP/1.1 {status}", "Server: nginx/1.24.0", "Connection: keep-alive", tag]
        return "\r\n".join([*lines, *([f"Content-Length: {body}"] if body else []), "", ""]).encode()

    def chunk(self, content: bytes) -> bytes:
        """Return one chunk (section 7.1); of nothing, the last one."""
        return b"%x\r\n%b\r\n" % (len(content), content)

    def event(self, rng: Random, number: int) -> bytes:
        """Return a server-sent event, every tenth a comment that keeps the stream open (WHATWG HTML section 9.2)."""
        if number % 10 == 9:
            return b": keep-alive\n\n"
        line = self.text(rng, rng.randrange(60, 400)).replace(b"\n", b" ")
        return b"id: %d\nevent: update\ndata: %b\n\n" % (number, line)

    # --- WebSocket (RFC 6455)

    def upgrade(self, rng: Random, host: str) -> tuple[bytes, bytes]:
        """Return the upgrade request and the 101 that accepts it."""
        key = base64.b64encode(rng.randbytes(16)).decode()
        accept = base64.b64encode(hashlib.sha1((key + _WEBSOCKET_GUID).encode()).digest()).decode()
        both = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        request = f"GET /live HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_AGENT}\r\n{both}"
        request += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        return (
            request.encode(),
            f"HTTP/1.1 101 Switching Protocols\r\n{both}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode(),
        )

    def frame(self, rng: Random, opcode: int, payload: bytes, *, masked: bool) -> bytes:
        """Return one final frame (section 5.2); a client masks, a server does not."""
        n, mask_bit = len(payload), 0x80 * masked
        if n < 126:
            head = bytes((0x80 | opcode, mask_bit | n))
        elif n < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, mask_bit | 126, n)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, mask_bit | 127, n)
        if not masked:
            return head + payload
        key = rng.randbytes(4)
        pad = int.from_bytes((key * (n // 4 + 1))[:n], "big")
        return head + key + (int.from_bytes(payload, "big") ^ pad).to_bytes(n, "big")

    # --- TLS 1.3 (RFC 8446)

    def client_hello(self, rng: Random, host: str) -> bytes:
        """Return a ClientHello record of 517 bytes, padded as browsers do."""
        name = host.encode()
        extensions = [
            (0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name),
            (10, bytes.fromhex("0006001d00170018")),
            (13, bytes.fromhex("000c040308040401050308050501")),
            (16, b"\x00\x0c\x02h2\x08http/1.1"),
            (43, bytes.fromhex("0403040303")),
            (45, b"\x01\x01"),
            (51, struct.pack("!HHH", 36, 29, 32) + rng.randbytes(32)),
        ]
        ciphers = bytes.fromhex("130113021303c02bc02fc02cc030cca9cca8")
        fixed = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32)
        fixed += struct.pack("!H", len(ciphers)) + ciphers + b"\x01\x00"
        used = sum(4 + len(body) for _, body in extensions)
        extensions.append((21, bytes(512 - 4 - len(fixed) - 2 - used - 4)))
        packed = b"".join(struct.pack("!HH", kind, len(body)) + body for kind, body in extensions)
        return _record(22, _handshake(1, fixed + struct.pack("!H", len(packed)) + packed), b"\x03\x01")

    def server_flight(self, rng: Random) -> bytes:
        """Return ServerHello, change_cipher_spec and encrypted records as big as a certificate chain."""
        share = struct.pack("!HH", 29, 32) + rng.randbytes(32)
        packed = struct.pack("!HHH", 43, 2, 0x0304) + struct.pack("!HH", 51, len(share)) + share
        body = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32) + b"\x13\x01\x00"
        hello = _handshake(2, body + struct.pack("!H", len(packed)) + packed)
        flight = (
            27,
            rng.randrange(2200, 4200),
            281,
            69,
        )  # EncryptedExtensions, Certificate, CertificateVerify, Finished
        return _record(22, hello) + _record(20, b"\1") + b"".join(_record(23, self.noise(rng, n)) for n in flight)

    def client_finished(self, rng: Random) -> bytes:
        """Return change_cipher_spec and an encrypted Finished."""
        return _record(20, b"\1") + _record(23, self.noise(rng, 53))

    def application_data(self, rng: Random, n: int) -> bytes:
        """Return `n` bytes of plaintext as records: 16 kB at most each, 17 bytes more for type and tag."""
        sizes = [min(16384, n - at) for at in range(0, n, 16384)]
        return b"".join(_record(23, self.noise(rng, size + 17)) for size in sizes)

    def close_notify(self, rng: Random) -> bytes:
        """Return an encrypted alert: 2 bytes of alert, 17 of type and tag."""
        return _record(23, self.noise(rng, 19))


def _record(kind: int, body: bytes, version: bytes = b"\x03\x03") -> bytes:
    return bytes((kind,)) + version + struct.pack("!H", len(body)) + body


def _handshake(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body
