"""WebSocket whose handshake was not captured: recognised beyond doubt, or not at all."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.messages import MQTT_CONNECT
from tests.property.harness import Result, run
from tests.talk import Talk
from tests.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Deflater,
    code,
    frame,
    frames,
    messages,
    of_client,
)

pytestmark = pytest.mark.usefixtures("compiled")

PORTS: dict[str, Any] = {"server": ("10.0.0.2", 8765)}


def protocol(result: Result) -> str:
    return str(result.flow["app_protocol"])


def beats(result: Result) -> list[tuple[str, str, str, bool]]:
    return [(row["protocol"], row["method"], row["dir"], row["answered"]) for row in result.rows("heartbeats")]


def masked(k: int, opcode: int, payload: bytes = b"") -> bytes:
    """Return a client's frame with a key of its own."""
    return frame(opcode, payload, mask=struct.pack("!I", 0x9E3779B9 * (k + 1) % 2**32))


# ------------------------------------------------------------------------------------------------ what convinces
@pytest.mark.parametrize("payload", [b"", b"\x01\x02\x03\x04"], ids=["empty", "four bytes"])
def test_pings_of_the_server_and_their_pongs(payload: bytes) -> None:
    talk = Talk(**PORTS)
    for k in range(6):
        talk.resp(frame(PING, payload), at=20 * k).orig(masked(k, PONG, payload)).resp_ack()
    result = run(talk)
    assert protocol(result) == "websocket"
    assert beats(result) == [("websocket", "explicit", "s2c", True)] * 6  # the first ones, too
    assert frames(result, "index", "opcode", "pong_of", "error")[:4] == [
        (0, "ping", None, None), (1, "pong", 0, None), (2, "ping", None, None), (3, "pong", 2, None),
    ]  # fmt: skip
    assert result.anomalies == {}


def test_pings_of_the_client() -> None:
    talk = Talk(**PORTS)
    for k in range(4):
        talk.orig(masked(k, PING), at=10 * k).resp(frame(PONG)).orig_ack()
    assert beats(run(talk)) == [("websocket", "explicit", "c2s", True)] * 4


def test_close_frames_are_enough() -> None:
    talk = Talk(**PORTS).resp(frame(CLOSE, code(1001, "going away"))).orig(of_client(CLOSE, code(1001, "going away")))
    result = run(talk.resp_fin().orig_ack().orig_fin().resp_ack())
    assert frames(result, "dir", "close_code", "close_reason") == [
        ("s2c", 1001, "going away"), ("c2s", 1001, "going away"),
    ]  # fmt: skip
    assert (result.close["trigger"], result.close["graceful_app"]) == ("ws_close", "yes")


def test_texts_of_both_sides() -> None:
    result = run(Talk(**PORTS).orig(of_client(TEXT, b'{"op":"subscribe"}')).resp(frame(TEXT, b'{"ok":true}'), at=2))
    assert messages(result, "dir", "kind", "len", "complete") == [("c2s", "text", 18, True), ("s2c", "text", 11, True)]


def test_texts_of_one_side() -> None:
    ticks = [b'{"price":%d}' % k for k in range(100, 105)]
    server = Talk(**PORTS)
    client = Talk(**PORTS)
    for k, tick in enumerate(ticks):
        server.resp(frame(TEXT, tick), at=k).orig_ack()
        client.orig(masked(k, TEXT, tick), at=k).resp_ack()
    assert len(messages(run(server), "len")) == len(messages(run(client), "len")) == 5


def test_binary_messages_count_where_they_are_masked() -> None:
    talk = Talk(**PORTS)
    for k in range(5):
        talk.orig(masked(k, BINARY, bytes([k, 200, 0, 9])), at=k).resp(frame(BINARY, bytes([8, k, 255])))
    assert len(frames(run(talk), "index")) == 10


def test_compressed_messages_are_counted_not_inflated() -> None:
    talk, sent, got = Talk(**PORTS), Deflater(), Deflater()
    sizes = []
    for k in range(5):
        said, back = sent.message(b'{"n":%d}' % k * 3), got.message(b"[%d]" % k * 9)
        talk.orig(frame(TEXT, said, mask=bytes([k, 7, 9, k]), rsv=4), at=k).resp(frame(TEXT, back, rsv=4))
        sizes += [len(said), len(back)]
    result = run(talk)
    assert messages(result, "wire_len", "len", "compressed", "utf8_ok") == [(n, None, True, None) for n in sizes]
    assert result.anomalies == {}


def test_the_client_is_who_masks() -> None:
    """Neither port is a server's, and the capture begins with the server."""
    talk = Talk(("10.0.0.1", 50001), ("10.0.0.2", 50000))
    for k in range(3):
        talk.orig(frame(PING, b"x"), at=k).resp(masked(k, PONG, b"x"))
    result = run(talk.orig(frame(CLOSE, code(1000)), at=9).resp(masked(9, CLOSE, code(1000))))
    assert frames(result, "error") == [None] * 8
    assert [row["answered"] for row in result.rows("heartbeats")] == [True] * 3


def test_a_pong_of_a_ping_before_the_capture_is_not_called_unsolicited() -> None:
    talk = Talk(**PORTS).orig(masked(9, PONG, b"earlier")).resp_ack()
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=9 + k).orig(masked(k, PONG, b"%d" % k))
    result = run(talk.orig(masked(8, PONG, b"by itself"), at=15))
    assert [word for word in frames(result, "unsolicited") if word is not None] == [False, False, False, True]
    assert [row["dir"] for row in result.rows("heartbeats")] == ["s2c", "s2c", "s2c", "c2s"]


def test_fragments_of_a_message_that_began_before() -> None:
    talk = Talk(**PORTS).resp(frame(PING, b"a")).orig(masked(1, PONG, b"a"))
    result = run(talk.resp(frame(CONTINUATION, b"rest"), at=2).resp(frame(TEXT, b"new")))
    assert frames(result, "opcode", "error")[2:] == [("continuation", None), ("text", None)]
    assert messages(result, "kind", "complete") == [(None, False), ("text", True)]


def engineio(between: bytes) -> list[str]:
    talk = Talk(**PORTS)
    for k in range(5):
        talk.resp(frame(TEXT, b"2"), at=25 * k).orig(masked(k, TEXT, b"3"))
        talk.resp(frame(TEXT, between), at=25 * k + 9).orig_ack()
    return [row["protocol"] for row in run(talk).rows("heartbeats") if row["method"] == "explicit"]


def test_engineio_by_habit_or_by_an_event() -> None:
    assert engineio(b"hello") == ["engineio"] * 3
    assert engineio(b'42["news",{"a":1}]') == ["engineio"] * 4


# ------------------------------------------------------------------------------------------------ where it begins
def test_in_the_middle_of_a_message() -> None:
    whole = frame(TEXT, b"x" * 2000)
    talk = Talk(**PORTS).resp(whole[900:]).orig_ack()
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=5 + k).orig(masked(k, PONG, b"%d" % k))
    result = run(talk)
    assert frames(result, "opcode") == ["ping", "pong"] * 3
    assert (result.anomalies, frames(result, "error")) == ({}, [None] * 6)


def test_in_the_middle_of_a_fragmented_message() -> None:
    talk = Talk(**PORTS).resp(frame(CONTINUATION, b"more", fin=False)).resp(frame(CONTINUATION, b"end"))
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=5 + k).orig(masked(k, PONG, b"%d" % k))
    result = run(talk)
    assert (protocol(result), result.anomalies) == ("websocket", {})


def test_messages_longer_than_segments() -> None:
    talk = Talk(**PORTS)
    for k in range(4):
        talk.resp(frame(TEXT, b"%d" % k * 5000), at=k).orig_ack()
    talk.orig(of_client(PING, b"!"), at=9).resp(frame(PONG, b"!"))
    result = run(talk)
    assert frames(result, "opcode", "payload_len")[-3:] == [("text", 5000), ("ping", 1), ("pong", 1)]
    assert frames(result, "error") == [None] * len(frames(result, "error"))


def test_one_side_is_in_the_middle_of_a_long_message() -> None:
    talk = Talk(**PORTS).resp(frame(BINARY, b"\0\xff" * 9000)[:7240]).orig_ack()
    for k in range(3):
        talk.orig(masked(k, TEXT, b"number %d" % k), at=2 + k).resp_ack()
    talk.resp((b"\0\xff" * 9000)[7236:], at=9).orig_ack()
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=10 + k).orig(masked(k, PONG, b"%d" % k))
    result = run(talk)
    assert [row["dir"] for row in result.rows("websocket_messages")] == ["c2s"] * 3
    assert beats(result)[-2:] == [("websocket", "explicit", "s2c", True)] * 2
    assert frames(result, "error") == [None] * len(frames(result, "error"))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_segments_that_cut_frames(size: int) -> None:
    """As long as a segment begins with a frame, it does not matter how what follows is cut."""
    talk = Talk(**PORTS)
    for k in range(4):
        said = masked(k, TEXT, b"hello number %d" % k)
        for at in range(0, len(said), size):
            talk.orig(said[at : at + size])
        talk.resp_ack()
    result = run(talk.orig(masked(9, PING)).resp(frame(PONG)))
    assert (protocol(result), result.anomalies, len(result.rows("heartbeats"))) == ("websocket", {}, 1)


def test_bytes_that_are_missing() -> None:
    talk = Talk(**PORTS)
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=k).resp_drop(40).orig_ack()
    for k in range(3):
        talk.resp(frame(PING, b"%d" % k), at=9 + k).orig(masked(k, PONG, b"%d" % k))
    result = run(talk)
    assert beats(result)[-2:] == [("websocket", "explicit", "s2c", True)] * 2


def test_batches_do_not_matter() -> None:
    talk = Talk(**PORTS).resp(frame(TEXT, b"y" * 700)[300:])
    for k in range(4):
        talk.resp(frame(TEXT, b"tick %d" % k * 40)).resp(frame(PING, b"%d" % k), at=1 + k)
        talk.orig(masked(k, PONG, b"%d" % k))
    whole = run(talk).fingerprints()
    for cut in range(1, len(talk.packets)):
        assert run(talk, [cut]).fingerprints() == whole
    assert run(talk, range(len(talk.packets))).fingerprints() == whole


# ------------------------------------------------------------------------------------------------ what does not
TLV = [bytes([0x81, 9]) + b"record %02d" % k for k in range(20)]
OTHERS: dict[str, list[tuple[str, bytes]]] = {
    # type 2 bits, a length: exactly a server's binary frame
    "mqtt subscribes": [
        step for k in range(9)
        for step in (("orig", b"\x82\x08\0\x01\0\x03a/%d\0" % k), ("resp", b"\x90\3\0\1\0"))
    ],
    "netbios": [("orig", b"\x81\0\0\x44" + b"A" * 68), ("resp", b"\x82\0\0\0")] * 5,
    "ssl 2": [("orig", b"\x80\x2e" + bytes(46)), ("resp", b"\x80\x2e" + bytes(range(46)))] * 5,
    "mysql": [("orig", b"\x09\0\0\0\3SELECT 2"), ("resp", b"\1\0\0\1\2" + b"\x81\0\0\2" + b"x" * 129)] * 5,
    "types and lengths both ways": [step for k in range(10) for step in (("orig", TLV[k]), ("resp", TLV[k + 10]))],
    "a two-byte heartbeat": [("resp", b"\x89\0")] * 20,
    "a two-byte heartbeat, answered": [("resp", b"\x89\0"), ("orig", b"\x8a\0")] * 20,
    "binary of one side": [("resp", frame(BINARY, bytes([k, 0, 255]))) for k in range(20)],
    "zeros": [("orig", bytes(40)), ("resp", bytes(10))] * 9,
    "ber": [("orig", b"\x30\x0c\x02\x01\x05\x42\x00"), ("resp", b"\x82\x84\0\0\0\4abcd")] * 9,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_it(name: str) -> None:
    talk = Talk()
    for second, (who, said) in enumerate(OTHERS[name]):
        (talk.orig if who == "orig" else talk.resp)(said, at=second)
    result = run(talk)
    assert (protocol(result) == "websocket", result.rows("websocket_frames")) == (False, [])


def test_frames_in_which_one_side_never_speaks_it() -> None:
    """Texts like a server's, asked for by what is no client of WebSocket."""
    talk = Talk()
    for k in range(10):
        talk.orig(b"get record %d\n" % k, at=k).resp(TLV[k])
    assert protocol(run(talk)) == "unknown"


def test_a_connection_seen_from_its_beginning_is_none() -> None:
    talk = Talk().handshake()
    for k in range(5):
        talk.resp(frame(PING, b"%d" % k), at=20 * k).orig(masked(k, PONG, b"%d" % k)).resp_ack()
    assert protocol(run(talk)) == "unknown"


def test_another_protocol_is_none_though_it_was_watched() -> None:
    talk = Talk().resp(frame(PING, b"?")).orig(MQTT_CONNECT, at=1).resp(b"\x20\2\0\0").orig(b"\xc0\0").resp(b"\xd0\0")
    assert protocol(run(talk)) == "mqtt"


def test_many_connections_give_their_room_back() -> None:
    packets = []
    for k in range(40):
        talk = Talk(("10.0.0.1", 41000 + k), ("10.0.0.2", 8765), t0=1_700_000_000 + k)
        for n in range(3):
            talk.resp(frame(PING, MASK)).orig(masked(n, PONG, MASK))
        packets += talk.resp_fin().orig_ack().orig_fin().resp_ack().packets
    result = run(packets, range(0, len(packets), 3))
    assert {row["app_protocol"] for row in result.rows("flows")} == {"websocket"}
    assert len(result.rows("heartbeats")) == 120
