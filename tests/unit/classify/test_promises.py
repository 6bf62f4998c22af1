"""Promises to say something at least so often, read in three protocols, kept and broken."""

from __future__ import annotations

import struct

import pytest

from tests.messages import AMQP_BEAT, MQTT_CONNECT, amqp_frame
from tests.property.harness import Result, run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def ended(talk: Talk, silence: float, *, by: str = "server", cut: int = 0) -> Result:
    """One side closes after a silence of the other since the last frame."""
    talk.wait(silence)
    talk = talk.resp_fin().orig_fin().resp_ack() if by == "server" else talk.orig_fin().resp_fin().orig_ack()
    return run(talk, range(1, 99, cut) if cut else ())


def is_broken(result: Result) -> bool:
    """The verdict, its sentence and the finding say the same."""
    told = [row["code"] for row in result.rows("findings")].count("heartbeat.promise_broken")
    said = "was silent for longer" in result.close["explanation"]
    assert said == bool(told)
    if said:
        assert result.close["trigger"] == "idle_timeout"
    return said


# ------------------------------------------------------------------------------------------------ MQTT
CONNECT_5 = b"\x10\x10\0\4MQTT\5\2\0\x3c\0\0\3abc"  # keep-alive 60 s


def connack(properties: bytes, *, version: bytes = CONNECT_5, cut: int = 1 << 20) -> Talk:
    """A client that promised 60 s, and the server's answer, in pieces of `cut` bytes."""
    body = b"\0\0" + _length(len(properties)) + properties
    whole = b"\x20" + _length(len(body)) + body
    talk = Talk().handshake().orig(version, at=1)
    for start in range(0, len(whole), cut):
        talk.resp(whole[start : start + cut])
    return talk.orig_ack()


def _length(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n % 128 + 128, n // 128])


KEEP_20 = b"\x13\0\x14"
EVERY_OTHER = (
    b"\x11\0\0\0\x0a" b"\x21\0\x14" b"\x24\1" b"\x25\1" b"\x27\0\1\0\0" b"\x12\0\5auto1" b"\x22\0\x0a" b"\x1f\0\2ok"
    b"\x26\0\1k\0\3val" b"\x28\1" b"\x29\1" b"\x2a\1"
)  # fmt: skip


@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize("before", [b"", EVERY_OTHER, b"\x1a\0\1r\x1c\0\1s\x15\0\1m\x16\0\2\x13\x13"])
def test_the_keep_alive_of_a_server_of_mqtt_5_stands(before: bytes, cut: int) -> None:
    made = connack(before + KEEP_20 + b"\x2a\1", cut=cut)
    result = ended(made, 35, cut=cut)
    assert is_broken(result)
    assert "at least every 20 s (MQTT keep-alive)" in result.close["explanation"]
    assert "longer than the 30 s" in result.close["explanation"]
    assert not is_broken(ended(connack(before + KEEP_20), 25))


def test_without_one_the_clients_stands() -> None:
    for properties in (b"", EVERY_OTHER, b"\x1f\0\3\x13\0\x14"):  # the last: only a text that looks like it
        assert not is_broken(ended(connack(properties), 80))
        assert is_broken(ended(connack(properties), 95))


def test_a_server_may_ask_for_none() -> None:
    assert not is_broken(ended(connack(b"\x13\0\0"), 900))


def test_a_property_past_what_is_read_is_not_guessed() -> None:
    reason = b"\x1f\0\x64" + b"x" * 100
    assert not is_broken(ended(connack(reason + KEEP_20), 900))
    assert not is_broken(ended(connack(b"\x77" + KEEP_20), 900))  # no property that there is


def test_mqtt_3_has_no_properties() -> None:
    assert is_broken(ended(connack(KEEP_20, version=MQTT_CONNECT), 95))
    assert not is_broken(ended(connack(KEEP_20, version=MQTT_CONNECT), 80))


# ------------------------------------------------------------------------------------------------ AMQP 0-9-1
def tuned(seconds: int, *, asked: int = 60, cut: int = 1 << 20) -> Talk:
    """Start, tune (the server asks for a heartbeat of `asked` s), tune-ok, open."""
    header, start = b"AMQP\0\0\x09\1", amqp_frame(1, 0, b"\0\x0a\0\x0a\0\x09" + b"x" * 300)
    steps = [
        ("c", header), ("s", start), ("c", amqp_frame(1, 0, b"\0\x0a\0\x0b" + b"y" * 50)),
        ("s", amqp_frame(1, 0, b"\0\x0a\0\x1e" + struct.pack("!HIH", 2047, 131072, asked))),
        ("c", amqp_frame(1, 0, b"\0\x0a\0\x1f" + struct.pack("!HIH", 2047, 131072, seconds))
         + amqp_frame(1, 0, b"\0\x0a\0\x28\1/\0\0")),
        ("s", amqp_frame(1, 0, b"\0\x0a\0\x29\0")),
    ]  # fmt: skip
    talk = Talk().handshake()
    for who, said in steps:
        for at in range(0, len(said), cut):
            (talk.orig if who == "c" else talk.resp)(said[at : at + cut])
    return talk.orig_ack()


@pytest.mark.parametrize("cut", [1, 1000])
def test_both_sides_of_amqp_keep_what_they_agreed_on(cut: int) -> None:
    result = ended(tuned(20, cut=cut), 25)
    assert is_broken(result)
    assert "heartbeat of 20 s (AMQP tune-ok) and the client was silent" in result.close["explanation"]
    assert "the client may close" in ended(tuned(20, cut=cut), 25, by="client").close["explanation"]
    assert not is_broken(ended(tuned(20, cut=cut), 15))


def test_heartbeats_of_amqp_keep_the_promise() -> None:
    for silence in (12, 24):
        talk = tuned(20)
        for _ in range(5):
            talk.wait(10).orig(AMQP_BEAT).resp(AMQP_BEAT).orig_ack()
        assert is_broken(ended(talk, silence)) is (silence > 20)


def test_a_client_of_amqp_may_want_none() -> None:
    assert not is_broken(ended(tuned(0), 900))


# ------------------------------------------------------------------------------------------------ STOMP
def stomp(client: str, server: str, *, end: str = "\n", cut: int = 1 << 20) -> Talk:
    """Both open, with these headers."""
    talk = Talk().handshake()
    for say, command, header in ((talk.orig, "CONNECT", client), (talk.resp, "CONNECTED", server)):
        lines = [command, "version:1.2", header, "session:heart-beat:9,9", "", ""]
        said = end.join(line for line in lines if line != header or line).encode() + b"\0"
        for at in range(0, len(said), cut):
            say(said[at : at + cut])
    return talk.orig_ack()


@pytest.mark.parametrize("cut", [1, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_side_of_stomp_sends_as_often_as_it_can_and_the_other_wants(end: str, cut: int) -> None:
    def made() -> Talk:
        return stomp("heart-beat:4000,10000", "heart-beat:5000,20000", end=end, cut=cut)

    assert not is_broken(ended(made(), 18))
    result = ended(made(), 22)
    assert is_broken(result)  # the client can each 4 s, the server wants 20
    assert "client had promised to say something at least every 20 s (STOMP" in result.close["explanation"]
    assert not is_broken(ended(made(), 9, by="client"))
    assert "every 10 s (STOMP" in ended(made(), 11, by="client").close["explanation"]


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("heart-beat:0,10000", "heart-beat:5000,20000"),  # it cannot
        ("heart-beat:4000,10000", "heart-beat:5000,0"),  # nobody wants it
        ("heart-beat:4000,10000", "x:y"),
        ("x:y", "heart-beat:5000,20000"),
        ("heart-beat:4000", "heart-beat:5000,20000"),
        ("heart-beat:,10000", "heart-beat:5000,20000"),
        ("heart_beat:4000,10000", "heart-beat:5000,20000"),
    ],
)
def test_a_stomp_client_that_promised_nothing(client: str, server: str) -> None:
    assert not is_broken(ended(stomp(client, server), 900))


def test_a_header_of_a_later_frame_promises_nothing() -> None:
    talk = stomp("heart-beat:0,0", "heart-beat:0,0")
    talk.orig(b"SEND\ndestination:/q\nheart-beat:1000,1000\n\nhello\0", at=2).resp_ack()
    talk.resp(b"MESSAGE\nheart-beat:1000,1000\n\nhello\0", at=3).orig_ack()
    assert not is_broken(ended(talk, 900))
