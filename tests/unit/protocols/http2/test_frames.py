"""HTTP/2 connections as traces: frames, pings and their answers, goodbyes, and how the close is judged."""

from __future__ import annotations

import struct

import pytest

from tests.http2 import (
    ACK,
    H2,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    data,
    frame,
    goaway,
    ping,
    settings,
    widened,
)
from tests.property.harness import Row, run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def frames(talk: Talk, *kinds: str, records_too: bool = False) -> list[Row]:
    rows = run(talk, records_too=records_too).rows("http2_frames")
    return [row for row in rows if not kinds or row["type"] in kinds]


# ------------------------------------------------------------------------------------------------ frames
def test_a_connection_with_prior_knowledge() -> None:
    result = run(H2().begin().ask(1).answer(1).finish())
    assert [(row["dir"], row["type"], row["ack"]) for row in result.rows("http2_frames")] == [
        ("c2s", "SETTINGS", False), ("s2c", "SETTINGS", False), ("s2c", "SETTINGS", True), ("c2s", "SETTINGS", True),
    ]  # fmt: skip
    assert result.flow["app_protocol"] == "http2"
    assert (result.flow["requests"], result.flow["http_host"]) == (1, "example.com")
    assert result.anomalies == {}


def test_all_frames_are_listed_if_asked_for() -> None:
    kinds = [row["type"] for row in frames(H2().begin().ask(1).answer(1).finish(), records_too=True)]
    assert kinds == ["SETTINGS"] * 4 + ["HEADERS", "HEADERS", "DATA"]


def test_what_control_frames_say() -> None:
    talk = H2().begin().ask(1, end=False)
    talk.orig(settings((4, 65535), (0x1234, 7)) + frame(WINDOW_UPDATE, struct.pack("!I", 1000), stream=1))
    talk.orig(frame(PRIORITY, bytes(5), stream=3) + frame(RST_STREAM, struct.pack("!I", 8), stream=1))
    talk.resp(goaway(1, 11, b"too_many_pings")).resp(frame(0x42, b"??", flags=3)).finish()
    rows = frames(talk)[4:]
    assert [row["type"] for row in rows] == [
        "SETTINGS", "WINDOW_UPDATE", "PRIORITY", "RST_STREAM", "GOAWAY", "UNKNOWN",
    ]  # fmt: skip
    assert rows[0]["settings"] == "INITIAL_WINDOW_SIZE=65535,0x1234=7"
    assert (rows[1]["increment"], rows[1]["stream_id"]) == (1000, 1)
    assert (rows[3]["error_code"], rows[3]["stream_id"]) == ("CANCEL", 1)
    assert (rows[4]["error_code"], rows[4]["last_stream_id"], rows[4]["debug"]) == (
        "ENHANCE_YOUR_CALM", 1, "too_many_pings",
    )  # fmt: skip
    assert (rows[5]["length"], rows[5]["flags"], rows[5]["error_code"]) == (2, "0x3", None)


def test_a_server_that_speaks_first() -> None:
    talk = Talk().handshake().resp(settings((3, 100))).orig(PREFACE + settings()).resp(settings(ack=True))
    assert [(row["dir"], row["type"]) for row in frames(talk)] == [
        ("s2c", "SETTINGS"), ("c2s", "SETTINGS"), ("s2c", "SETTINGS"),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_preface_in_two_segments(cut: int) -> None:
    talk = Talk().handshake().orig(PREFACE[:cut]).orig(PREFACE[cut:] + settings()).resp(settings())
    assert [row["type"] for row in frames(talk)] == ["SETTINGS", "SETTINGS"]


@pytest.mark.parametrize(
    "first", [b"PRI /x HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"]
)
def test_what_only_begins_like_the_preface_is_http1(first: bytes) -> None:
    assert run(Talk().handshake().orig(first).resp(b"HTTP/1.1 200 OK\r\n\r\n")).flow["app_protocol"] == "http1"


def test_a_length_and_zeros_are_no_settings() -> None:
    """What a protocol with lengths of four bytes sends."""
    talk = Talk().handshake().orig(b"\0\0\0\4\0\0\0\0" * 3).resp(b"\0\0\0\4\0\0\0\0" * 3)
    assert run(talk).flow["app_protocol"] == "unknown"


# ------------------------------------------------------------------------------------------------ pings
def test_a_ping_is_paired_by_its_eight_bytes() -> None:
    talk = H2().begin().orig(ping(b"aaaaaaaa"), at="1s").orig(ping(b"bbbbbbbb"), at="1.5s")
    talk.resp(ping(b"bbbbbbbb", ack=True), at="1.6s").resp(ping(b"aaaaaaaa", ack=True), at="2s").finish()
    rows = frames(talk, "PING")
    assert [row["ping_of"] for row in rows] == [None, None, rows[1]["frame"], rows[0]["frame"]]
    assert [row["rtt_s"] for row in rows[2:]] == pytest.approx([0.1, 1.0])


def test_pings_are_heartbeats() -> None:
    talk = H2().begin()
    for k in range(5):
        talk.orig(ping(bytes([k] * 8)), at=f"{10 + 5 * k}s")
        if k < 4:
            talk.resp(ping(bytes([k] * 8), ack=True), at=f"{10.04 + 5 * k}s")
    result = run(talk.resp_ack().orig_fin(at="80s").resp_fin().orig_ack())
    (series,) = result.rows("heartbeat_series")
    assert (series["protocol"], series["method"], series["dir"], series["beats"]) == ("http2", "explicit", "c2s", 5)
    assert (series["period_s"], series["answered_share"]) == (pytest.approx(5.0), pytest.approx(0.8))
    assert [row["missed"] for row in result.rows("heartbeats")] == [False] * 4 + [True]
    assert result.rows("heartbeats")[0]["size"] == 17


def test_an_answer_to_no_ping_is_no_beat() -> None:
    result = run(H2().begin().resp(ping(ack=True)).finish())
    assert result.rows("heartbeats") == []
    assert [row["ping_of"] for row in result.rows("http2_frames") if row["type"] == "PING"] == [None]


# ------------------------------------------------------------------------------------------------ the close
def test_goaway_makes_a_close_graceful() -> None:
    close = run(H2().begin().ask(1).answer(1).resp(goaway(1)).finish()).close
    assert (close["trigger"], close["graceful_app"]) == ("goaway", "yes")


def test_without_goaway_it_is_not() -> None:
    assert run(H2().begin().ask(1).answer(1).finish()).close["graceful_app"] == "no"


def test_goaway_with_an_error_is_not() -> None:
    close = run(H2().begin().ask(1).answer(1).resp(goaway(1, 11)).finish()).close
    assert (close["trigger"], close["graceful_app"]) == ("goaway", "no")


def test_an_error_is_not_forgotten_by_a_goodbye_after_it() -> None:
    """Node says NO_ERROR after any GOAWAY, when it destroys the session."""
    close = run(H2().begin().ask(1).answer(1).resp(goaway(1, 11)).resp(goaway(1)).finish()).close
    assert (close["trigger"], close["graceful_app"]) == ("goaway", "no")


def test_a_request_that_was_not_finished() -> None:
    assert run(H2().begin().ask(1).answer(1).ask(3).resp(goaway(3)).finish()).close["graceful_app"] == "no"


def test_goaway_in_two_steps_leaves_out_what_came_after() -> None:
    """RFC 9113 section 6.8: first 2^31-1, then the last stream that is served; the request above it may be repeated."""
    talk = H2().begin().ask(1).resp(goaway(2**31 - 1)).ask(3).answer(1).resp(goaway(1)).ask(5).finish()
    result = run(talk)
    assert result.close["graceful_app"] == "yes"
    complete = {row["stream_id"]: row["complete"] for row in result.rows("http_requests")}
    assert complete == {1: True, 3: False, 5: False}


def test_silences_by_whose_turn_it_is() -> None:
    talk = H2().begin().ask(1, at="5s").answer(1)
    talk.ask(3, at="10s").resp(talk.callee.headers(3, [(":status", "200")]), at="15s")
    talk.resp(frame(0, b"x", stream=3, flags=1), at="20s").finish()
    assert [gap["class"] for gap in run(talk).gaps] == ["think_time", "think_time", "server_wait", "stream_pause"]


def test_pings_are_no_words_of_the_application() -> None:
    talk = H2().begin().ask(1, at="1s").answer(1)
    talk.orig(ping(), at="10s").resp(ping(ack=True)).orig(ping(), at="20s").resp(ping(ack=True))
    result = run(talk.resp_fin(at="30s").orig_ack().orig_fin().resp_ack())
    assert result.flow["max_app_gap_s"] > 28
    assert result.close["idle_app_s"] > 28
    assert result.close["trigger"] == "idle_timeout"


# ------------------------------------------------------------------------------------------------ losses
def test_a_hole_inside_a_body_is_stepped_over() -> None:
    talk = H2().begin().ask(1).resp(talk_body(6000)[:3000]).resp_drop(2000).resp(talk_body(6000)[5000:])
    talk.orig_ack().resp(goaway(1)).finish()
    result = run(talk)
    assert result.anomalies.keys() <= {"flow.ack_unseen"}
    assert [row["type"] for row in result.rows("http2_frames")][-1] == "GOAWAY"


def talk_body(size: int) -> bytes:
    """A response whose body has one frame."""
    return H2().callee.headers(1, [(":status", "200")]) + frame(0, bytes(size), stream=1)


def test_after_a_lost_header_a_segment_of_frames_is_believed() -> None:
    talk = H2().begin().ask(1).resp_drop(40).resp(b"\x93" * 200).resp(ping() + settings(ack=True)).orig_ack()
    result = run(talk.resp(goaway(1)).finish())
    assert result.anomalies["http2.lost"] == 1
    ours = [row["type"] for row in result.rows("http2_frames") if row["dir"] == "s2c"]
    assert ours == ["SETTINGS", "SETTINGS", "PING", "SETTINGS", "GOAWAY"]


def test_framing_that_stays_lost_leaves_the_end_unknown() -> None:
    talk = H2().begin().ask(1).answer(1).resp_drop(40).resp(b"\x93" * 200).orig_ack()
    assert run(talk.finish()).close["graceful_app"] == "unknown"


@pytest.mark.parametrize("side", ["orig", "resp"])
def test_joined_midstream(side: str) -> None:
    talk = Talk()
    getattr(talk, side)(ping())
    assert [row["type"] for row in frames(talk.orig_ack().resp_ack())] == ["PING"]


GRPC = b"\0\0\0\0\4abcd"


@pytest.mark.parametrize(
    ("said", "types"),
    [
        (goaway(2**31 - 1), ["GOAWAY"]), (goaway(7, 11, b"too_many_pings"), ["GOAWAY"]),
        (settings(ack=True), ["SETTINGS"]), (H2().callee.headers(1, [(":status", "200")]) + data(1, b"x"), []),
        (data(5, GRPC), []), (data(5, b"whatever") + widened(8) + goaway(5), ["WINDOW_UPDATE", "GOAWAY"]),
    ],
)  # fmt: skip
def test_joined_midstream_by_what_says_enough(said: bytes, types: list[str]) -> None:
    result = run(Talk().resp(said).orig_ack().resp_fin().orig_ack())
    assert result.flow["app_protocol"] == "http2"
    assert [row["type"] for row in result.rows("http2_frames")] == types


@pytest.mark.parametrize(
    "said",
    [
        data(5, b"whatever"), data(5, b"\0\0\0\0\5abcd"), goaway(1)[:-1], goaway(1, 14), settings(ack=True) + b"\0",
        settings(ack=True)[:-1] + b"\1", bytes(40), b"\0\0\0\4\0\0\0\0" * 4, b"\0\0\0\x0d\0\0\0\1hello world",
    ],
)  # fmt: skip
def test_not_joined_by_what_says_less(said: bytes) -> None:
    result = run(Talk().resp(said).orig_ack().resp(said).orig_ack())
    assert (result.flow["app_protocol"], result.rows("http2_frames")) == ("unknown", [])


def test_a_goaway_tells_why_a_connection_closed_that_was_joined_midstream() -> None:
    talk = Talk().resp(data(1, b"x" * 99)).orig_ack().resp(goaway(1, 0), at=60).resp_fin()
    result = run(talk.orig_ack().orig_fin().resp_ack())
    assert (result.close["trigger"], result.flow["app_protocol"]) == ("goaway", "http2")


def test_settings_and_ack_share_their_words() -> None:
    (row,) = [row for row in frames(H2().begin()) if row["dir"] == "c2s" and row["ack"]]
    assert (row["flags"], row["settings"], row["length"]) == ("ACK", None, 0)
    assert frame(SETTINGS, flags=ACK) == settings(ack=True)
