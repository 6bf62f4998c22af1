"""WebSocket as traces: what was sent, and the rows that say so (RFC 6455)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.property.harness import Result, run
from tests.talk import Talk, merge
from tests.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    code,
    frame,
    frames,
    messages,
    of_client,
    request,
    response,
    upgraded,
)

pytestmark = pytest.mark.usefixtures("compiled")

MS = 1_000_000


def errors(result: Result) -> list[str]:
    """Return what is wrong with each frame, "" for nothing."""
    return [word or "" for word in frames(result, "error")]


def odd(result: Result) -> dict[str, int]:
    return {name: n for name, n in result.anomalies.items() if name.startswith("websocket.")}


# ------------------------------------------------------------------------------------------------ frames
def test_a_text_each_way() -> None:
    result = run(upgraded().orig(of_client(TEXT, b"hi"), at="3s").resp(frame(TEXT, b"hello")))
    assert frames(result, "index", "frame", "dir", "opcode", "fin", "masked", "payload_len", "message_id") == [
        (0, 7, "c2s", "text", True, True, 2, 0),
        (1, 8, "s2c", "text", True, False, 5, 1),
    ]
    assert messages(result, "dir", "kind", "frames", "wire_len", "len", "compressed", "utf8_ok", "complete") == [
        ("c2s", "text", 1, 2, 2, False, True, True),
        ("s2c", "text", 1, 5, 5, False, True, True),
    ]
    assert (result.flow["app_protocol"], result.flow["websocket_messages"]) == ("websocket", 2)
    assert odd(result) == {}
    assert {gap["class"] for gap in result.gaps} == {"websocket_idle"}


@pytest.mark.parametrize(("n", "size"), [(0, 7), (125, 7), (126, 16), (65535, 16), (65536, 64)])
def test_lengths_of_7_16_and_64_bits(n: int, size: int) -> None:
    result = run(upgraded().orig(of_client(BINARY, b"b" * n, size=size), at="2s").orig(of_client(PING, b"after")))
    assert frames(result, "opcode", "payload_len", "error") == [("binary", n, None), ("ping", 5, None)]
    assert messages(result, "len", "complete", "utf8_ok") == [(n, True, None)]


def test_frames_that_share_a_segment_with_the_101() -> None:
    both = response() + frame(TEXT, b"welcome") + frame(PING, b"1")
    result = run(Talk().handshake().orig(request(), at="1s").resp(both).orig(of_client(PONG, b"1")))
    assert frames(result, "opcode", "frame", "pong_of") == [("text", 5, None), ("ping", 5, None), ("pong", 6, 1)]


def test_a_message_of_three_frames_with_a_ping_between() -> None:
    talk = upgraded().orig(of_client(TEXT, b"f\xc3", fin=False), at="2s").orig(of_client(PING, b"p"), at="3s")
    talk.resp(frame(PONG, b"p"), at="3.1s").orig(of_client(CONTINUATION, b"\xbcr ", fin=False), at="4s")
    result = run(talk.orig(of_client(CONTINUATION, b"alle"), at="5s"))
    assert frames(result, "opcode", "fin", "message_id") == [
        ("text", False, 0), ("ping", True, None), ("pong", True, None), ("continuation", False, 0),
        ("continuation", True, 0),
    ]  # fmt: skip
    (message,) = result.rows("websocket_messages")
    assert (message["frames"], message["len"], message["utf8_ok"], message["complete"]) == (3, 9, True, True)
    assert message["last_ts"] - message["first_ts"] == 3_000 * MS
    assert errors(result) == [""] * 5
    assert [gap["class"] for gap in result.gaps] == ["stream_pause"] * 2


def test_a_frame_in_segments_of_one_byte() -> None:
    talk = upgraded().wait("1s")
    whole = of_client(TEXT, "grüße".encode(), size=16) + of_client(CLOSE, code(1000, "tschüß"))
    for byte in whole:
        talk.orig(bytes([byte]))
    result = run(talk)
    assert frames(result, "opcode", "payload_len", "close_code", "close_reason") == [
        ("text", 7, None, None), ("close", 10, 1000, "tschüß"),
    ]  # fmt: skip
    assert frames(result, "frame") == [6 + 15, 6 + len(whole)]


# ------------------------------------------------------------------------------------------------ pings
def test_ping_and_pong_with_their_round_trip() -> None:
    talk = upgraded().resp(frame(PING, b"abc"), at="2s").orig(of_client(PONG, b"abc"), at="2.030s")
    result = run(talk.resp(frame(PING, b"abd"), at="3s").orig(of_client(PONG, b"abd"), at="3.040s"))
    rows = frames(result, "opcode", "pong_of", "rtt_s", "unsolicited")
    assert rows == [("ping", None, None, None), ("pong", 0, 0.03, False), ("ping", None, None, None),
                    ("pong", 2, 0.04, False)]  # fmt: skip
    assert messages(result, "kind") == []


def test_pongs_that_answer_nothing() -> None:
    talk = upgraded().orig(of_client(PONG), at="2s").resp(frame(PING, b"x"), at="3s").orig(of_client(PONG, b"y"))
    result = run(talk.orig(of_client(PING, b"x"), at="4s").orig(of_client(PONG, b"x"), at="5s"))
    assert frames(result, "opcode", "unsolicited", "pong_of") == [
        ("pong", True, None), ("ping", None, None), ("pong", True, None), ("ping", None, None), ("pong", False, 1),
    ]  # fmt: skip


def test_a_lost_pong_does_not_shift_those_after_it() -> None:
    """Pings without payload all look the same: the one that was under way for as long as the path takes is meant."""
    talk = upgraded()
    for second in (2, 3, 4):
        talk.resp(frame(PING), at=second)
        if second > 2:
            talk.orig(of_client(PONG), at=second + 0.05)
    assert [rtt for rtt in frames(run(talk), "rtt_s") if rtt] == [0.05, 0.05]


@pytest.mark.parametrize("seen", [True, False], ids=["from the handshake on", "joined midstream"])
def test_pings_alike_on_a_long_path_are_answered_in_turn(seen: bool) -> None:
    """A ping each half second, 1.2 s of path: three are under way at a time."""
    talk = upgraded(rtt="1200ms")
    joined = len(talk.packets) - 2  # the upgrade is needed, the handshake is not
    events = [(3 + k / 2, frame(PING)) for k in range(6)] + [(4.2 + k / 2, of_client(PONG)) for k in range(6)]
    for at, data in sorted(events):
        (talk.orig if data == of_client(PONG) else talk.resp)(data, at=at)
    rows = frames(run(talk.packets if seen else talk.packets[joined - 1 :]), "rtt_s", "unsolicited")
    pongs = [rtt for rtt, unsolicited in rows if unsolicited is not None]
    assert pongs == pytest.approx([1.2] * 6, abs=0.01)
    assert not any(unsolicited for _, unsolicited in rows)


def test_a_peer_that_was_stuck_answers_all_pings_in_turn() -> None:
    talk = upgraded().resp(frame(PING), at=2).orig(of_client(PONG), at=2.02)
    for second in (3, 4, 5, 6):
        talk.resp(frame(PING), at=second)
    for k in range(4):
        talk.orig(of_client(PONG), at=7 + k / 100)
    rtts = [rtt for rtt in frames(run(talk), "rtt_s") if rtt]
    assert rtts == pytest.approx([0.02, 4, 3.01, 2.02, 1.03], abs=0.001)


def test_pings_under_way_together_are_both_answered() -> None:
    talk = upgraded().resp(frame(PING, b"1"), at="2s").resp(frame(PING, b"2"), at="2.001s")
    result = run(talk.orig(of_client(PONG, b"2"), at="2.05s").orig(of_client(PONG, b"1"), at="2.06s"))
    assert frames(result, "pong_of") == [None, None, 1, 0]


# ------------------------------------------------------------------------------------------------ closes
def test_the_closing_handshake() -> None:
    talk = upgraded().resp(frame(CLOSE, code(1001, "going away")), at="5s").orig(of_client(CLOSE, code(1001)))
    result = run(talk.resp_fin().orig_ack().orig_fin().resp_ack())
    assert frames(result, "dir", "close_code", "close_reason") == [("s2c", 1001, "going away"), ("c2s", 1001, None)]
    assert (result.close["trigger"], result.close["graceful_app"]) == ("ws_close", "yes")
    assert codes(result) == ("server", 1001, 1001)


def codes(result: Result) -> tuple[Any, ...]:
    return tuple(result.close[name] for name in ("ws_initiator", "ws_code_c", "ws_code_s"))


def test_a_close_without_a_code() -> None:
    talk = upgraded().orig(of_client(CLOSE), at="2s")
    result = run(talk)
    assert frames(result, "close_code", "close_reason", "error") == [(None, None, None)]
    assert codes(result) == ("client", 1005, None)  # the server may still answer
    ended = run(talk.resp(frame(CLOSE)).resp_fin().orig_ack().orig_fin().resp_ack())
    assert codes(ended) == ("client", 1005, 1005)
    assert ended.close["graceful_app"] == "yes"


def test_an_end_without_a_close_frame() -> None:
    assert codes(run(upgraded().resp_rst(at="5s"))) == (None, 1006, 1006)
    assert codes(run(upgraded().orig(of_client(CLOSE, code(4001)), at="2s").resp_rst(at="3s"))) == (
        "client",
        4001,
        1006,
    )
    assert codes(run(upgraded())) == (None, None, None)


# ------------------------------------------------------------------------------------------------ errors
BAD = {
    "unmasked frame of a client": (frame(TEXT, b"x"), b""),
    "masked frame of a server": (b"", of_client(TEXT, b"x")),
    "reserved opcode": (of_client(3, b"x"), frame(11, b"y")),
    "reserved bit set": (of_client(TEXT, b"x", rsv=4), frame(BINARY, b"x", rsv=1)),
    "control frame longer than 125 bytes": (of_client(PING, b"x" * 126), b""),
    "fragmented control frame": (of_client(PONG, b"x", fin=False), b""),
    "continuation of nothing": (of_client(CONTINUATION, b"x"), b""),
    "length not in its shortest form": (of_client(TEXT, b"x", size=16), frame(TEXT, b"x" * 300, size=64)),
    "close payload of one byte": (of_client(CLOSE, b"x"), b""),
    "bad close code": (of_client(CLOSE, code(1005)), frame(CLOSE, code(999))),
    "invalid UTF-8": (of_client(TEXT, b"\xff"), frame(CLOSE, code(1000) + b"\xc3")),
}


@pytest.mark.parametrize("what", BAD)
def test_broken_frames_are_named_and_reading_goes_on(what: str) -> None:
    client, server = BAD[what]
    talk = upgraded().wait("1s")
    for bytes_of_client, bytes_of_server in ((client, server), (of_client(PING, b"!"), frame(PING, b"!"))):
        if bytes_of_client:
            talk.orig(bytes_of_client)
        if bytes_of_server:
            talk.resp(bytes_of_server)
    result = run(talk)
    bad = bool(client) + bool(server)
    assert errors(result) == [what] * bad + [""] * 2
    assert sum(odd(result).values()) == bad
    assert frames(result, "opcode")[-2:] == ["ping"] * 2


def test_a_message_inside_a_message() -> None:
    talk = upgraded().orig(of_client(TEXT, b"one", fin=False), at="2s").orig(of_client(BINARY, b"two"))
    result = run(talk)
    assert errors(result) == ["", "message inside a message"]
    assert messages(result, "kind", "complete") == [("text", False), ("binary", True)]


def test_data_after_close() -> None:
    result = run(upgraded().orig(of_client(CLOSE, code(1000)) + of_client(TEXT, b"x") + of_client(PONG), at="2s"))
    assert errors(result) == ["", "data after close", ""]


def test_an_impossible_length_ends_framing() -> None:
    result = run(upgraded().orig(b"\x82\xff" + b"\xff" * 8 + b"mask" + b"x" * 100, at="2s").orig(of_client(PING)))
    assert errors(result) == ["impossible length"]
    assert odd(result) == {"websocket.impossible_length": 1, "websocket.lost": 1}


@pytest.mark.parametrize(
    "text",
    [b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xf8\x88", b"\x80", b"\xc3", b"\xf0\x9f"],
)
def test_what_is_not_utf8(text: bytes) -> None:
    result = run(upgraded().orig(of_client(TEXT, b"ok " + text), at="2s"))
    assert messages(result, "utf8_ok") == [False]
    assert errors(result) == ["invalid UTF-8"]


@pytest.mark.parametrize("at", [0, 15, 16, 47, 63, 64, 65, 127, 128, 150, 198])
@pytest.mark.parametrize("make", [frame, of_client])
def test_a_long_text_is_looked_at_byte_by_byte(make: Any, at: int) -> None:
    """Long ones are read many bytes at a time while they are ASCII."""
    for piece, valid in ((b"\xc3\xa9", True), (b"\xff\xff", False), (b"\xc3\x28", False), (b"\x80a", False)):
        payload = b"a" * at + piece + b"b" * (200 - at)
        sent = make(TEXT, payload)
        talk = upgraded().resp(sent) if make is frame else upgraded().orig(sent)
        assert messages(run(talk), "len", "utf8_ok") == [(202, valid)]


def test_a_frame_cut_short_by_the_fin() -> None:
    result = run(upgraded().orig(of_client(BINARY, b"x" * 50)[:30], at="2s").orig_fin().resp_fin().orig_ack())
    assert frames(result, "payload_len", "error") == [(50, "cut short")]
    assert messages(result, "wire_len", "complete") == [(24, False)]


def test_a_frame_cut_short_by_the_capture_is_no_error() -> None:
    result = run(upgraded().orig(of_client(BINARY, b"x" * 50)[:30], at="2s"))
    assert frames(result, "payload_len", "error") == [(50, None)]


# ------------------------------------------------------------------------------------------------ what is missing
def test_a_hole_inside_a_payload_keeps_framing() -> None:
    whole = frame(TEXT, b"t" * 3000)
    talk = upgraded().resp(whole[:1000], at="2s").resp_drop(1000).resp(whole[2000:]).orig_ack()
    result = run(talk.resp(frame(TEXT, b"next")).orig_ack(at="3s"))
    assert messages(result, "wire_len", "utf8_ok", "complete") == [(3000, None, False), (4, True, True)]
    assert errors(result) == ["", ""] and "websocket.lost" not in result.anomalies


def test_a_hole_in_a_header_loses_framing_until_segments_hold_whole_frames() -> None:
    talk = upgraded().resp(frame(TEXT, b"seen"), at="2s").resp_drop(500).resp(b"tail of something").orig_ack()
    talk.resp(frame(TEXT, b"believed not yet"), at="3s").orig_ack()
    talk.resp(frame(TEXT, b"yes") + frame(PING), at="4s").orig_ack()
    result = run(talk.resp(frame(TEXT, b"and more"), at="5s").orig_ack(at="6s"))
    assert odd(result) == {"websocket.lost": 1}
    assert messages(result, "len") == [4, 3, 8]
    assert frames(result, "opcode") == ["text", "text", "ping", "text"]
    assert errors(result) == [""] * 4


def test_random_bytes_after_a_loss_are_not_believed() -> None:
    talk = upgraded().resp_drop(500).resp(b"\x01" * 40 + b"\x82\x03abc", at="2s").orig_ack()
    result = run(talk.resp(b"plain text goes on", at="3s").orig_ack(at="5s"))
    assert frames(result, "opcode") == []


def test_clipped_packets_keep_their_headers() -> None:
    talk = upgraded().resp(frame(BINARY, b"x" * 1000), at="2s").orig_ack().resp(frame(TEXT, b"y" * 1300)).orig_ack()
    result = run(talk, snaplen=300)
    assert messages(result, "kind", "wire_len", "complete", "utf8_ok") == [
        ("binary", 1000, False, None), ("text", 1300, False, None),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ clocks, handshakes
def test_pings_do_not_count_as_the_application_speaking() -> None:
    talk = upgraded().orig(of_client(TEXT, b"x"), at="2s")
    for second in range(3, 12):
        talk.resp(frame(PING), at=second).orig(of_client(PONG))
    result = run(talk.resp(frame(TEXT, b"y"), at="12s"))
    assert result.flow["websocket_messages"] == 2
    assert len(frames(result, "opcode")) == 20


def test_what_the_handshake_said() -> None:
    good = Talk().handshake().orig(request(), at="1s").resp(response(protocol=b"graphql-ws"))
    bad = Talk(("10.0.0.9", 9)).handshake().orig(request(), at="1s").resp(response(b"another key"))
    plain = Talk(("10.0.0.8", 9)).handshake().orig(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at="1s")
    result = run(merge(good, bad, plain.resp(b"HTTP/1.1 204 No Content\r\n\r\n")))
    rows = result.rows("http_requests")
    assert [(row["websocket_protocol"], row["websocket_accepted"]) for row in rows] == [
        ("graphql-ws", True), (None, False), (None, None),
    ]  # fmt: skip
    assert odd(result) == {"websocket.bad_handshake": 1}
    assert [row["app_protocol"] for row in result.rows("flows")] == ["websocket", "websocket", "http1"]


def test_a_draft_before_the_rfc_is_left_alone() -> None:
    talk = Talk().handshake().orig(request(None, b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n"), at="1s")
    result = run(talk.resp(response(None) + b"8jKS'y:G*Co,Wxa-").orig(b"\x00hello\xff", at="2s"))
    assert odd(result) == {"websocket.old_draft": 1}
    assert frames(result, "opcode") == []


def test_granted_to_a_request_before_the_capture() -> None:
    """The answer alone says that this is a WebSocket; whether its accept value is right cannot be told."""
    talk = Talk().resp(response()).orig(of_client(TEXT, b"hi")).resp(frame(TEXT, b"hello"))
    result = run(talk)
    assert frames(result, "opcode", "payload_len") == [("text", 2), ("text", 5)]
    (row,) = result.rows("http_requests")
    assert (row["status"], row["upgrade"], row["websocket_accepted"]) == (101, "websocket", None)
    assert odd(result) == {}
