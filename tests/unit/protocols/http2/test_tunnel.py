"""WebSocket over HTTP/2 (RFC 8441): the same reader, through a channel of the stream."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.protocols.http2 import reader
from tests.http2 import H2, PREFACE, RST_STREAM, data, frame, goaway, ping, request, settings
from tests.property.harness import Result, Row, run
from tests.talk import Talk
from tests.websocket import CLOSE, PING, PONG, TEXT, code, of_client
from tests.websocket import frame as ws

pytestmark = pytest.mark.usefixtures("compiled")

CONNECT = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"),
    (":authority", "server.example"), ("sec-websocket-version", "13"),
]  # fmt: skip
GRANTED = [(":status", "200"), ("sec-websocket-protocol", "chat")]


def begun(enable: int = 1) -> H2:
    talk = H2().handshake().orig(PREFACE + settings()).resp(settings((8, enable)) + settings(ack=True))
    return talk.orig(settings(ack=True))


def opened(*more: tuple[str, str], stream: int = 1) -> H2:
    """A connection with a WebSocket on a stream."""
    talk = begun()
    talk.orig(talk.caller.headers(stream, CONNECT))
    return talk.resp(talk.callee.headers(stream, [*GRANTED, *more]))


def frames(result: Result, *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in result.rows("websocket_frames")]


def test_frames_and_messages() -> None:
    talk = opened().orig(data(1, of_client(TEXT, b"Hello"))).resp(data(1, ws(TEXT, b"Hi") + ws(PING, b"x")))
    talk.orig(data(1, of_client(PONG, b"x"))).orig(data(1, of_client(CLOSE, code(1000))))
    talk.resp(data(1, ws(CLOSE, code(1000)), end=True)).orig(data(1, end=True)).finish()
    result = run(talk)
    assert frames(result, "stream_id", "dir", "opcode", "error") == [
        (1, "c2s", "text", None), (1, "s2c", "text", None), (1, "s2c", "ping", None), (1, "c2s", "pong", None),
        (1, "c2s", "close", None), (1, "s2c", "close", None),
    ]  # fmt: skip
    (row,) = result.rows("http_requests")
    assert (row["method"], row["target"], row["upgrade"], row["complete"]) == ("CONNECT", "/chat", "websocket", True)
    assert row["websocket_protocol"] == "chat"
    assert (result.flow["app_protocol"], result.flow["websocket_messages"]) == ("websocket", 2)
    assert (result.close["trigger"], result.close["graceful_app"]) == ("ws_close", "yes")
    assert result.anomalies == {}


def test_frames_across_data_frames_and_padding() -> None:
    whole = of_client(TEXT, b"0123456789")
    talk = opened().orig(data(1, whole[:3], pad=5) + ping() + data(1, whole[3:9], pad=0)).orig(data(1, whole[9:]))
    assert frames(run(talk.finish()), "opcode", "payload_len") == [("text", 10)]


def test_compressed() -> None:
    talk = opened(("sec-websocket-extensions", "permessage-deflate"))
    packer = zlib.compressobj(wbits=-15)
    packed = (packer.compress(b"a" * 500) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    (row,) = run(talk.orig(data(1, of_client(TEXT, packed, rsv=4))).finish()).rows("websocket_messages")
    assert (row["len"], row["compressed"], row["complete"]) == (500, True, True)


def test_beside_requests_and_another_socket() -> None:
    talk = opened().ask(3, "/page")
    talk.orig(talk.caller.headers(5, CONNECT)).resp(talk.callee.headers(5, GRANTED))
    talk.orig(data(1, of_client(TEXT, b"one")) + data(5, of_client(TEXT, b"five"))).answer(3, ws(TEXT, b"no frame"))
    result = run(talk.finish())
    assert sorted(frames(result, "stream_id", "payload_len")) == [(1, 3), (5, 4)]
    assert {row["stream_id"]: row["upgrade"] for row in result.rows("http_requests")} == {
        1: "websocket", 3: None, 5: "websocket",
    }  # fmt: skip


@pytest.mark.parametrize("status", ["403", "101"])
def test_refused(status: str) -> None:
    talk = begun()
    talk.orig(talk.caller.headers(1, CONNECT)).resp(talk.callee.headers(1, [(":status", status)]))
    result = run(talk.resp(data(1, ws(TEXT, b"not a frame"))).finish())
    assert result.rows("websocket_frames") == []
    assert result.flow["app_protocol"] == "http2"


def test_the_server_has_to_offer_it() -> None:
    talk = begun(0)
    talk.orig(talk.caller.headers(1, CONNECT)).resp(talk.callee.headers(1, GRANTED))
    assert run(talk.orig(data(1, of_client(TEXT, b"x"))).finish()).rows("websocket_frames") == []


def test_a_hole_inside_is_a_hole_of_the_websocket() -> None:
    body = data(1, of_client(TEXT, bytes(100)))
    talk = opened().orig(body[:60]).orig_drop(20).orig(body[80:]).resp_ack().orig(data(1, of_client(TEXT, b"x")))
    result = run(talk.resp_ack().finish())
    assert [(row["wire_len"], row["complete"]) for row in result.rows("websocket_messages")] == [
        (100, False),
        (1, True),
    ]


def test_a_reset_stream_is_over() -> None:
    talk = opened().orig(data(1, of_client(TEXT, b"x"))).resp(frame(RST_STREAM, struct.pack("!I", 8), stream=1))
    talk.orig(data(1, of_client(TEXT, b"late"))).ask(3)
    assert frames(run(talk.finish()), "payload_len") == [(1,)]


def test_silence_is_the_websockets() -> None:
    talk = opened().orig(data(1, of_client(TEXT, b"x")), at="1s").orig(data(1, of_client(TEXT, b"y")), at="9s")
    assert [gap["class"] for gap in run(talk.finish()).gaps] == ["websocket_idle"]


def test_more_sockets_than_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_SOCKETS", 1)
    talk = opened()
    talk.orig(talk.caller.headers(3, CONNECT)).resp(talk.callee.headers(3, GRANTED))
    talk.orig(data(1, of_client(TEXT, b"one")) + data(3, of_client(TEXT, b"three")))
    result = run(talk.finish())
    assert frames(result, "stream_id") == [(1,)]
    assert result.anomalies == {"http2.websocket_cap": 1}


def conversation(cuts: list[int]) -> Talk:
    """Two WebSockets and requests between them, with silences, in segments cut anywhere."""
    talk, clock = begun(), 1.0
    caller, callee = talk.caller, talk.callee
    turns = [
        ("orig", caller.headers(1, CONNECT)), ("resp", callee.headers(1, GRANTED) + data(1, ws(TEXT, b"hi"))),
        ("orig", data(1, of_client(TEXT, b"a")) + caller.headers(3, request("/x"), end=True)),
        ("resp", callee.headers(3, [(":status", "200")]) + data(1, ws(PING, b"p")) + data(3, b"body", end=True)),
        ("orig", data(1, of_client(PONG, b"p")) + caller.headers(5, CONNECT)),
        ("resp", callee.headers(5, GRANTED) + data(5, ws(TEXT, b"five")) + ping()),
        ("orig", ping(ack=True) + data(5, of_client(CLOSE, code(1001)), end=True)),
        ("resp", data(5, ws(CLOSE, code(1001)), end=True) + data(1, ws(CLOSE, code(1000))) + goaway(5)),
    ]  # fmt: skip
    for who, sent in turns:
        clock += 2
        place = 0
        for k in range(99):
            size = cuts[k % len(cuts)] if cuts else len(sent)
            part = sent[place : place + size]
            if not part:
                break
            getattr(talk, who)(part, at=clock + k / 1000)
            place += size
    return talk.finish()


def words(result: Result) -> list[tuple[object, ...]]:
    found = frames(result, "stream_id", "index", "dir", "opcode", "payload_len", "close_code", "error")
    requests: list[Row] = result.rows("http_requests")
    return [*sorted(found, key=str), *((r["stream_id"], r["status"], r["target"], r["complete"]) for r in requests)]


@given(st.lists(st.integers(7, 40), max_size=4), st.lists(st.integers(0, 60), max_size=9))
def test_neither_cuts_nor_batches_matter(cuts: list[int], where: list[int]) -> None:
    talk = conversation(cuts)
    whole = run(talk)
    assert run(talk, where).fingerprints() == whole.fingerprints()
    assert words(whole) == words(run(conversation([])))
