"""AMQP 0-9-1, AMQP 1.0 and NATS as traces: what is a heartbeat, and what only looks like one."""

from __future__ import annotations

import pytest

from tests.messages import AMQP1_BEAT, AMQP_0, AMQP_1, AMQP_BEAT, NATS, C, Chat, S, amqp_frame, beats, performative
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

HEADER, HEADER_1, START = b"AMQP\0\0\x09\1", b"AMQP\0\1\0\0", amqp_frame(1, 0, b"\0\x0a\0\x0a\0\x09")
INFO, CONNECT = b'INFO {"server_id":"N"}\r\n', b'CONNECT {"verbose":false}\r\n'


@pytest.mark.parametrize("chat", [AMQP_0, AMQP_1, NATS], ids=["amqp-0-9-1", "amqp-1.0", "nats"])
def test_beats_of_both_sides(chat: Chat) -> None:
    result = run(chat.talk())
    assert beats(result) == chat.beats()
    assert (result.flow["app_protocol"], result.flow["heartbeat_kinds"]) == (chat.protocol,) * 2
    assert {row["dir"] for row in result.rows("heartbeat_series")} == {C, S}


@pytest.mark.parametrize("frame", [
    amqp_frame(8, 1, b""), amqp_frame(8, 0, b"x"), AMQP_BEAT[:-1] + b"\xcd", amqp_frame(4, 0, b""),
    amqp_frame(0, 0, b""),
])  # fmt: skip
def test_frames_that_are_no_heartbeat(frame: bytes) -> None:
    talk = Talk().handshake().orig(HEADER).resp(START).orig(frame, at="5s").orig(frame, at="9s")
    result = run(talk)
    assert (beats(result), result.flow["app_protocol"]) == ([], "amqp")


def test_amqp_joined_in_midstream_by_heartbeats_of_both_sides() -> None:
    for beat in (AMQP_BEAT, AMQP1_BEAT):
        talk = Talk().orig(beat).resp(beat, at="1s").orig(beat, at="30s")
        assert beats(run(talk)) == [(C, "amqp", 8, None), (S, "amqp", 8, None), (C, "amqp", 8, None)]
        alone = run(Talk().orig(beat).orig(beat, at="30s").resp(b"what?"))
        assert (beats(alone), alone.flow["app_protocol"]) == ([], "unknown")


def test_a_method_that_does_not_open_a_connection_proves_nothing() -> None:
    talk = Talk().handshake().orig(HEADER).resp(amqp_frame(1, 0, b"\0\x3c\0\x0a")).orig(AMQP_BEAT, at="5s")
    assert beats(run(talk)) == []


@pytest.mark.parametrize("frame", [performative(b"\0\x53\x14\xc0"), b"\0\0\0\x08\2\1\0\0", b"\0\0\0\x0c\3\0\0\0abcd"])
def test_frames_of_1_0_that_are_not_empty(frame: bytes) -> None:
    talk = Talk().handshake().orig(HEADER_1).resp(HEADER_1).orig(frame, at="5s").orig(frame, at="9s")
    assert beats(run(talk)) == []


# ------------------------------------------------------------------------------------------------ NATS
def test_a_payload_that_looks_like_pings_is_stepped_over() -> None:
    talk = Talk().handshake().resp(INFO).orig(CONNECT).orig(b"PUB a reply 12\r\nPING\r\nPING\r\n\r\n", at="3s")
    assert beats(run(talk)) == []


def test_nats_joined_in_midstream_by_ping_and_pong() -> None:
    talk = Talk().resp(b"PING\r\n").orig(b"PONG\r\n").resp(b"PING\r\n", at="120s").orig(b"PONG\r\n")
    assert beats(run(talk)) == [(S, "nats", 6, True)] * 2


@pytest.mark.parametrize("answer", [b"CONNECT /\r\n", b"PINGED\r\n", b"GET / HTTP/1.1\r\n\r\n", b"+PONG\r\n", b"\0\0"])
def test_a_client_that_does_not_speak_nats_proves_nothing(answer: bytes) -> None:
    result = run(Talk().handshake().resp(INFO).orig(answer).resp(b"PING\r\n", at="9s").orig(answer))
    assert beats(result) == [] or answer.startswith(b"CONNECT")


def test_a_line_that_is_no_operation_ends_the_reading() -> None:
    talk = Talk().handshake().resp(INFO).orig(CONNECT).orig(b"HELLO\r\nPING\r\n", at="3s").resp(b"PONG\r\n")
    result = run(talk)
    assert (beats(result), result.flow["app_protocol"]) == ([], "nats")
