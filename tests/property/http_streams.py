"""Strategies for HTTP/1 connections, with what an independent implementation (h11) reads in the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
from hypothesis import strategies as st

_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
_METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "QUERY"])
_STATUS = st.sampled_from([200, 200, 201, 204, 302, 304, 404, 500])


@dataclass
class Turn:
    """One exchange as bytes."""

    request: bytes
    response: bytes


@dataclass
class Conversation:
    """Exchanges on one connection; `until_close` says that the last response ends with it."""

    turns: list[Turn] = field(default_factory=list)
    until_close: bool = False


def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    out = b""
    while body:
        size = draw(st.integers(1, max(len(body), 1)))
        extension = draw(st.sampled_from([b"", b";x=y", b';q="a,b"']))
        out += b"%x" % size + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    trailer = draw(st.sampled_from([b"", b"Checksum: 1\r\n"]))
    return out + b"0\r\n" + trailer + b"\r\n"


def _body(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return (framing fields, body bytes)."""
    body = draw(st.binary(max_size=300))
    how = draw(st.sampled_from(["length", "chunked", "none"]))
    if how == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    if how == "chunked":
        return draw(st.sampled_from([b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:CHUNKED  \r\n"])), _chunked(
            draw, body
        )
    return b"", b""


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw valid exchanges, one after the other."""
    made = Conversation()
    count = draw(st.integers(1, 4))
    for k in range(count):
        method = draw(_METHODS)
        fields, body = _body(draw)
        extra = draw(st.sampled_from([b"", b"X-Long: " + b"v" * 700 + b"\r\n", b"Accept: */*\r\nCookie: a=b; c=d\r\n"]))
        target = "/" + draw(_WORD) + draw(st.sampled_from(["", "?q=%20x", "/" + "p" * 400]))
        host = draw(_WORD)
        request = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + extra + fields + b"\r\n" + body
        status = draw(_STATUS)
        answer, content = _body(draw)
        if not answer and status not in (204, 304) and method != "HEAD":
            if k == count - 1 and draw(st.booleans()):
                made.until_close, content = True, draw(st.binary(max_size=50))
            else:
                answer = b"Content-Length: 0\r\n"
        if status in (204, 304):
            answer, content = b"", b""
        if method == "HEAD":
            content = b""
        interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]))
        response = interim + b"HTTP/1.1 %d Some Words\r\n" % status + answer + extra + b"\r\n" + content
        made.turns.append(Turn(request, response))
    return made


def by_h11(conversation: Conversation) -> list[dict[str, Any]]:
    """Return method, target, host, status and body lengths of each exchange as h11 reads them."""
    rows: list[dict[str, Any]] = []
    server, client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
    for turn in conversation.turns:
        row: dict[str, Any] = {"request_bytes": 0, "response_bytes": 0}
        server.receive_data(turn.request)
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                row["method"], row["target"] = event.method.decode(), event.target.decode()
                row["host"] = dict(event.headers)[b"host"].decode()
                client.send(event)
            elif isinstance(event, h11.Data):
                row["request_bytes"] += len(event.data)
                client.send(event)
            assert event is not h11.NEED_DATA
        client.send(event)
        client.receive_data(turn.response)
        if conversation.until_close and turn is conversation.turns[-1]:
            client.receive_data(b"")
        while not isinstance(answer := client.next_event(), h11.EndOfMessage):
            if isinstance(answer, h11.Response):
                row["status"] = answer.status_code
            elif isinstance(answer, h11.Data):
                row["response_bytes"] += len(answer.data)
            assert answer is not h11.NEED_DATA
        rows.append(row)
        # h11 asks for a full cycle on the server's side before the next request
        reason = h11.Response(status_code=row["status"], headers=[(b"content-length", b"0")])
        if row["status"] in (204, 304):
            reason = h11.Response(status_code=row["status"], headers=[])
        server.send(reason)
        server.send(h11.EndOfMessage())
        if turn is not conversation.turns[-1]:
            server.start_next_cycle()
            client.start_next_cycle()
    return rows
