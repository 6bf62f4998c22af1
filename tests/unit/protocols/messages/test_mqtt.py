"""MQTT (OASIS 3.1.1, 5.0) as traces: what is a ping, and what only looks like one."""

from __future__ import annotations

import pytest

from tests.messages import MQTT, MQTT_CONNECT, C, S, beats
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

PING, PONG, CONNACK = b"\xc0\0", b"\xd0\0", b"\x20\2\0\0"


def connected() -> Talk:
    return Talk().handshake().orig(MQTT_CONNECT, at="1s").resp(CONNACK)


def test_pings_with_their_answers() -> None:
    result = run(MQTT.talk())
    assert beats(result) == MQTT.beats()
    assert (result.flow["app_protocol"], result.flow["heartbeat_kinds"]) == ("mqtt", "mqtt")
    (series,) = result.rows("heartbeat_series")
    assert (series["beats"], series["answered_share"], series["longest_missed_run"]) == (3, 1.0 * 2 / 3, 1)
    assert [row["missed"] for row in result.rows("heartbeats")] == [False, False, True]


def test_the_silence_of_the_application_leaves_pings_out() -> None:
    talk = connected().orig(PING, at="21s").resp(PONG).orig(PING, at="41s").resp(PONG).orig(b"\xe0\0", at="61s")
    result = run(talk.orig_fin().resp_fin().orig_ack())
    assert result.flow["max_app_gap_s"] == pytest.approx(60, abs=0.1)
    assert result.flow["max_payload_gap_s"] == pytest.approx(20, abs=0.1)
    late = run(connected().orig(PING, at="21s").resp(PONG).resp_fin(at="41s").orig_fin().resp_ack())
    assert late.close["idle_app_s"] == pytest.approx(40, abs=0.2)


def test_mqtt_3_1_and_5_say_who_they_are() -> None:
    for connect in (b"\x10\x0f\0\6MQIsdp\3\2\0\x3c\0\1a", b"\x10\x10\0\4MQTT\5\2\0\x3c\0\0\3abc"):
        result = run(Talk().handshake().orig(connect).resp(b"\x20\3\0\0\0").orig(PING, at="9s").resp(PONG))
        assert beats(result) == [(C, "mqtt", 2, True)]


def test_a_ping_among_other_packets_of_a_segment() -> None:
    talk = connected().orig(b"\x32\7\0\1t\0\1ok" + PING + b"\x40\2\0\7", at="3s").resp(b"\x40\2\0\1" + PONG)
    assert beats(run(talk)) == [(C, "mqtt", 2, True)]


def test_joined_in_midstream_by_ping_and_answer() -> None:
    talk = Talk().orig(PING).resp(PONG).orig(PING, at="60s").resp(PONG)
    result = run(talk)
    assert beats(result) == [(C, "mqtt", 2, True)] * 2
    assert result.flow["app_protocol"] == "mqtt"


def test_a_ping_that_nobody_answers_proves_nothing() -> None:
    for answer in (b"\xd0\1x", b"ok", b"\x10\0"):
        result = run(Talk().orig(PING).resp(answer).orig(PING, at="60s").resp(answer))
        assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 40, b"\x20\0", b"\x21\2\0\0", b"\xd1\0"]
)
def test_a_connect_that_is_not_taken_up_proves_nothing(answer: bytes) -> None:
    result = run(Talk().handshake().orig(MQTT_CONNECT).resp(answer).orig(PING, at="9s").resp(answer))
    assert (beats(result), result.flow["app_protocol"] == "mqtt") == ([], False)


def test_a_hole_inside_a_payload_is_stepped_over() -> None:
    talk = connected().orig(b"\x30\x64\0\1t" + b"x" * 20, at="2s").orig_drop(60).orig(b"x" * 17, at="3s")
    assert beats(run(talk.resp_ack().orig(PING, at="4s").resp(PONG))) == [(C, "mqtt", 2, True)]


def test_after_a_lost_header_a_ping_of_its_own_is_believed() -> None:
    talk = connected().orig_drop(60).orig(b"\x05abc" + PING, at="3s").resp_ack().orig(b"zz" + PING, at="4s")
    talk.orig(PING, at="5s").resp(PONG, at="5.1s").orig(b"\x32\7\0\1t\0\1ok" + PING, at="6s")
    talk.orig_fin(at="15s")
    assert beats(run(talk)) == [(C, "mqtt", 2, True), (C, "mqtt", 2, False)]


def test_a_payload_that_begins_like_tls_is_no_starttls() -> None:
    hello = bytes.fromhex("16030100d8010000d40303") + bytes(0xD8 - 6)
    packet = b"\x30" + bytes([(len(hello) + 3) % 128 + 128, (len(hello) + 3) // 128]) + b"\0\1t"
    result = run(connected().orig(packet, at="2s").orig(hello, at="3s").orig(PING, at="4s").resp(PONG))
    assert (beats(result), result.flow["app_protocol"]) == ([(C, "mqtt", 2, True)], "mqtt")


def test_both_ends_are_told_apart_by_what_they_say() -> None:
    talk = Talk().handshake().resp(MQTT_CONNECT).orig(CONNACK).resp(PING, at="9s").orig(PONG)
    assert beats(run(talk)) == [(S, "mqtt", 2, True)]


def test_only_defaults_of_the_protocol_are_named() -> None:
    """BGP and others beat each 60 s as well."""
    talk = connected()
    for minute in range(1, 5):
        talk.orig(PING, at=60 * minute).resp(PONG)
    (series,) = run(talk).rows("heartbeat_series")
    assert series["known_as"] == "MQTT (paho, mqtt.js) keepalive 60 s"
