"""What WebSocket carries of heartbeats: control frames by opcode, messages by their words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.messages import C, S, beats
from tests.property.harness import run
from tests.websocket import BINARY, CONTINUATION, PING, PONG, TEXT, Deflater, frame, of_client, upgraded

pytestmark = pytest.mark.usefixtures("compiled")

PHOENIX_1 = b'{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"7"}'
PHOENIX_2 = b'[null,"7","phoenix","heartbeat",{}]'
REPLY_1 = b'{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"7","topic":"phoenix"}'
REPLY_2 = b'[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]'
SIGNALR = b'{"type":6}\x1e'


def found(*said: tuple[str, bytes]) -> list[tuple[str, str, int, Any]]:
    """Return the beats of a WebSocket on which these frames came, a second apart, and nothing for ten more."""
    talk = upgraded()
    for second, (way, what) in enumerate(said, 2):
        (talk.orig if way == C else talk.resp)(what, at=second)
    return beats(run(talk.wait("10s").orig_fin().resp_fin().orig_ack()))


def test_pings_are_paired_by_what_they_carry() -> None:
    said = [(S, frame(PING, b"1")), (S, frame(PING, b"2")), (C, of_client(PONG, b"2")), (S, frame(PING, b"3"))]
    assert found(*said) == [(S, "websocket", 3, False), (S, "websocket", 3, True), (S, "websocket", 3, False)]


def test_a_pong_that_answers_nothing_is_a_beat_of_its_own() -> None:
    assert found((C, of_client(PONG)), (C, of_client(PONG))) == [(C, "websocket", 6, None)] * 2


def test_both_sides_ping() -> None:
    said = [(C, of_client(PING)), (S, frame(PONG)), (S, frame(PING)), (C, of_client(PONG))]
    assert found(*said) == [(C, "websocket", 6, True), (S, "websocket", 2, True)]


def test_engine_io_4_server_pings_and_3_client_pings() -> None:
    assert found((S, frame(TEXT, b"2")), (C, of_client(TEXT, b"3"))) == [(S, "engineio", 1, True)]
    assert found((C, of_client(TEXT, b"2")), (S, frame(TEXT, b"3"))) == [(C, "engineio", 1, True)]
    assert found((S, frame(TEXT, b"2")), (S, frame(TEXT, b"2"))) == [(S, "engineio", 1, False)] * 2


@pytest.mark.parametrize("text", [b"2probe", b"23", b"4", b'42["2"]', b"0{}", b"", b" 2", b"\x32\x0a"])
def test_texts_that_only_begin_like_engine_io(text: bytes) -> None:
    assert found((S, frame(TEXT, text)), (C, of_client(TEXT, text))) == []


def test_signalr_and_phoenix_and_stomp() -> None:
    assert found((S, frame(TEXT, SIGNALR)), (C, of_client(TEXT, SIGNALR))) == [
        (S, "signalr", len(SIGNALR), None), (C, "signalr", len(SIGNALR), None)
    ]  # fmt: skip
    for text, reply in ((PHOENIX_1, REPLY_1), (PHOENIX_2, REPLY_2)):
        assert found((C, of_client(TEXT, text))) == [(C, "phoenix", len(text), False)]
        assert found((C, of_client(TEXT, text)), (S, frame(TEXT, reply))) == [(C, "phoenix", len(text), True)]
        elsewhere = reply.replace(b'"phoenix"', b'"rooms:1"')
        assert found((C, of_client(TEXT, text)), (S, frame(TEXT, elsewhere))) == [(C, "phoenix", len(text), False)]
    assert found((C, of_client(TEXT, b"\n")), (S, frame(TEXT, b"\n"))) == [(C, "stomp", 1, None), (S, "stomp", 1, None)]


@pytest.mark.parametrize("text", [
    b'{"type":6}', b'{"type":1}\x1e', b'{"type":6}\x1e{"type":6}\x1e', b'"heartbeat"', b"\n\n", b"\r", b"heartbeat",
    b'{"event":"heartbeat"' + b" " * 60 + b"}",
])  # fmt: skip
def test_texts_that_only_look_like_them(text: bytes) -> None:
    assert found((S, frame(TEXT, text))) == []


def test_binary_messages_are_none() -> None:
    assert found((S, frame(BINARY, b"2")), (C, of_client(BINARY, b"\n"))) == []


def test_a_message_in_fragments_and_a_compressed_one() -> None:
    parts = [(S, frame(TEXT, b'{"type"', fin=False)), (S, frame(CONTINUATION, b":6}\x1e"))]
    assert found(*parts) == [(S, "signalr", len(SIGNALR), None)]
    deflater = Deflater()
    talk = upgraded(b"permessage-deflate").resp(frame(TEXT, deflater.message(b"2"), rsv=4), at="3s")
    assert [(way, kind) for way, kind, *_ in beats(run(talk))] == [(S, "engineio")]


def test_the_silence_of_the_application_leaves_control_frames_out() -> None:
    talk = upgraded().orig(of_client(TEXT, b"hi"), at="2s")
    for second in (12, 22, 32):
        talk.resp(frame(PING), at=second).orig(of_client(PONG))
    result = run(talk.orig(of_client(TEXT, b"bye"), at="42s"))
    assert result.flow["max_app_gap_s"] == pytest.approx(40, abs=0.1)
