"""Redis (RESP 2 and 3) as traces: what is a ping, and what only looks like one."""

from __future__ import annotations

import pytest

from tests.messages import REDIS, C, beats, resp
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

PONG = b"+PONG\r\n"


def test_pings_in_every_form_and_values_that_only_look_like_them() -> None:
    result = run(REDIS.talk())
    assert beats(result) == REDIS.beats()
    assert (result.flow["app_protocol"], result.flow["heartbeat_kinds"]) == ("redis", "redis")


def test_fifty_pings_at_once_are_answered_in_order() -> None:
    result = run(Talk().handshake().orig(resp(b"PING") * 50).resp(PONG * 49))
    assert [answered for *_, answered in beats(result)] == [True] * 49 + [None]  # the last one may still be


def test_a_connection_that_only_pings() -> None:
    for ping in (b"PING\r\n", resp(b"PING")):
        talk = Talk().handshake()
        for second in (1, 2, 3):
            talk.orig(ping, at=second).resp(PONG)
        result = run(talk)
        assert beats(result) == [(C, "redis", len(ping), True)] * 3
        assert result.flow["app_protocol"] == "redis"


def test_joined_in_midstream_by_a_ping() -> None:
    talk = Talk().resp(PONG).orig(resp(b"PING"), at="1s").resp(PONG).orig(resp(b"PING"), at="2s").resp(PONG)
    assert beats(run(talk)) == [(C, "redis", 14, True)] * 2


@pytest.mark.parametrize("answer", [b"pong\r\n", b"220 ready\r\n", b"\0\1\2\3", b"ERR\r\n", b"*x\r\n", b"+PONG\n"])
def test_a_server_that_does_not_speak_resp_proves_nothing(answer: bytes) -> None:
    result = run(Talk().handshake().orig(resp(b"PING")).resp(answer).orig(resp(b"PING"), at="5s").resp(answer))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


@pytest.mark.parametrize(
    "opening", [b"PINGS\r\n", b"* 1 FETCH\r\n", b"*\r\n", b"*0\r\n", b"*3 EXISTS\r\n", b"PING x\r\n"]
)
def test_what_is_no_opening(opening: bytes) -> None:
    result = run(Talk().handshake().orig(opening).resp(PONG).orig(b"PING\r\n", at="5s").resp(PONG))
    assert result.flow["app_protocol"] in ("unknown", "redis")
    assert len(beats(result)) <= 1


def test_a_hole_is_survived() -> None:
    """Of a ping whose answer could not have been seen nothing is claimed."""
    talk = Talk().handshake().orig(resp(b"GET", b"a")).resp(b"$100\r\n" + b"x" * 10).resp_drop(50).resp(b"x" * 40)
    talk.resp(b"\r\n").orig_ack().orig(resp(b"PING"), at="2s").resp(PONG)
    lost = talk.resp_drop(9).resp(b"\r\n", at="3s").orig_ack().orig(resp(b"PING"), at="4s").resp(PONG)
    lost.orig(resp(b"PING"), at="5s").resp(PONG)
    assert [answered for *_, answered in beats(run(lost))] == [True, None, True]
