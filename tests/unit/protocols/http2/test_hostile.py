"""HTTP/2 as nobody should send it: each cap holds, says so by its name, and the rest goes on."""

from __future__ import annotations

import struct

import pytest

from analyzer.protocols.http2 import reader
from analyzer.protocols.http2.headers import LIST_MAX
from analyzer.protocols.http2.state import BLOCK_MAX, MAX_STREAMS
from tests.http2 import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    H2,
    HEADERS,
    PADDED,
    PING,
    RST_STREAM,
    Side,
    data,
    frame,
    ping,
    request,
    settings,
)
from tests.property.harness import Row, run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def in_segments(talk: H2, data: bytes) -> H2:
    for k in range(0, len(data), 1400):
        talk.orig(data[k : k + 1400])
    return talk


def rows(talk: Talk) -> tuple[list[Row], dict[str, int]]:
    result = run(talk)
    return sorted(result.rows("http_requests"), key=lambda row: row["index"]), result.anomalies


def test_an_hpack_bomb() -> None:
    """One long line in the table, and a byte for each time that it is said again."""
    talk = H2().begin()
    block = talk.caller.block([*request(), ("x-long", "y" * 3900)]) + b"\xbe" * (LIST_MAX // 3000)
    in_segments(talk, frame(HEADERS, block, stream=1, flags=END_STREAM | END_HEADERS))
    found, odd = rows(talk.ask(3, "/next").finish())
    assert odd == {"http2.header_list_cap": 1, "http2.hpack_unknown": 1}  # the host is a line of the lost table
    assert [row["target"] for row in found] == [None, "/next"]


def test_a_flood_of_continuations() -> None:
    talk = H2().begin().orig(frame(HEADERS, b"\x82", stream=1))
    in_segments(talk, frame(CONTINUATION, bytes(1300), stream=1) * (BLOCK_MAX // 1300 + 20))
    found, odd = rows(talk.orig(frame(CONTINUATION, stream=1, flags=END_HEADERS)).ask(3, "/next").finish())
    assert odd == {"http2.block_cap": 1}
    assert [row["target"] for row in found] == [None, "/next"]


def test_header_blocks_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PARTIAL", 1000)
    talk = in_segments(H2().begin(), frame(HEADERS, b"\x82" * 1200, stream=1))
    assert rows(talk)[1] == {"http2.block_cap": 1}


def test_more_connections_than_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TABLES", 1)
    found, odd = rows(H2().begin().ask(1).answer(1).finish())
    assert odd == {"http2.hpack_cap": 1}
    assert [(row["method"], row["status"], row["complete"]) for row in found] == [("GET", None, True)]


def test_more_texts_than_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_SAID", 70)
    talk = H2().begin().ask(1, "/" + "x" * 20).ask(3, "/" + "y" * 40).ask(5, "/z")
    found, odd = rows(talk.finish())
    assert odd == {"http.text_cap": 1}
    assert [row["target"] for row in found] == ["/" + "x" * 20, None, "/z"]


def test_more_streams_than_are_followed() -> None:
    talk, side = H2().begin(), Side()
    side.block(request())
    opened = b"".join(talk.caller.headers(2 * k + 1, request()) for k in range(MAX_STREAMS + 3))
    found, odd = rows(in_segments(talk, opened).finish())
    assert odd == {"http2.stream_cap": 3}
    assert len(found) == MAX_STREAMS


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(PING, bytes(7)), "http2.bad_length"),
        (frame(RST_STREAM, bytes(5), stream=1), "http2.bad_length"),
        (frame(GOAWAY, bytes(4)), "http2.bad_length"),
        (frame(4, bytes(5)), "http2.bad_length"),
        (frame(4, bytes(6), flags=1), "http2.bad_length"),
        (frame(0, b"", stream=1, flags=PADDED), "http2.bad_length"),
        (frame(PING, bytes(8), stream=1), "http2.bad_stream"),
        (frame(0, b"x"), "http2.bad_stream"),
        (frame(0, b"\xffxyz", stream=1, flags=PADDED), "http2.bad_padding"),
        (frame(CONTINUATION, b"\x82", stream=1, flags=END_HEADERS), "http2.bad_continuation"),
        (frame(HEADERS, b"\x82", stream=3) + ping(), "http2.bad_continuation"),
        (frame(HEADERS, b"\x80", stream=3, flags=END_HEADERS), "http2.bad_hpack"),
        (frame(HEADERS, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", stream=3, flags=END_HEADERS), "http2.bad_hpack"),
        (frame(HEADERS, b"\x40\x7fabc", stream=3, flags=END_HEADERS), "http2.bad_hpack"),
        (frame(HEADERS, b"\x82\x3f\xe1\x1f", stream=3, flags=END_HEADERS), "http2.bad_hpack"),
    ],
)
def test_what_is_wrong_has_a_name_and_reading_goes_on(bad: bytes, code: str) -> None:
    talk = H2().begin().ask(1, end=False).orig(bad).orig(ping(b"the last"))
    result = run(talk.finish())
    assert result.anomalies == {code: 1}
    assert result.rows("http2_frames")[-1]["type"] == "PING"


def test_a_length_that_lies() -> None:
    """The frame swallows what follows, as its length says; what it swallowed is not made up."""
    talk = H2().begin().ask(1).resp(frame(0, b"x", stream=1, length=1 << 23)).resp(ping()).resp(settings())
    result = run(talk.finish())
    assert result.anomalies == {"http2.frame_size": 1}
    assert [row["type"] for row in result.rows("http2_frames")] == ["SETTINGS"] * 4


def test_a_larger_frame_that_was_agreed_on() -> None:
    talk = H2().begin().orig(settings((5, 100000))).ask(1)
    big = talk.callee.headers(1, [(":status", "200")]) + data(1, bytes(50000), end=True)
    for k in range(0, len(big), 1400):
        talk.resp(big[k : k + 1400])
    found, odd = rows(talk.finish())
    assert odd == {}
    assert found[0]["response_bytes"] == 50000


def test_a_response_that_nobody_asked_for() -> None:
    talk = H2().begin()
    talk.resp(talk.callee.headers(9, [(":status", "200")], end=True)).resp(frame(5, struct.pack("!I", 3), stream=1))
    assert rows(talk.finish())[0] == []


def test_a_stream_that_is_opened_again() -> None:
    talk = H2().begin().ask(1).answer(1).ask(1, "/again")
    assert [row["target"] for row in rows(talk.finish())[0]] == ["/"]
