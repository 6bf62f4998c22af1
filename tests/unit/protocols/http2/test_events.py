"""Server-sent events over HTTP/2: beats are found however their bytes are cut, and only where HPACK tells of events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2 import H2, OK, RST_STREAM, Field, data, frame, ping, request
from tests.messages import S, beats
from tests.property.harness import run
from tests.property.traces import cuts

pytestmark = pytest.mark.usefixtures("compiled")

EVENTS: list[Field] = [*OK, ("content-type", "text/event-stream; charset=utf-8")]
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def opened(*first: bytes, fields: list[Field] = EVENTS) -> H2:
    """Return a connection whose first response has begun."""
    talk = H2().begin().ask(1, at="1s")
    talk.resp(talk.callee.headers(1, fields) + b"".join(data(1, body) for body in first), at="1.1s")
    return talk


@pytest.mark.parametrize("beat", [b":\n\n", b": ping\n", PING, b":\r\n\r\n"])
@pytest.mark.parametrize("first", [(), (b"data: 1\n\n",), (b"\n", b"retry: 3\n\n"), (b"event: a\ndata: 1\n\n",)])
@pytest.mark.parametrize("pad", [None, 7])
def test_comments_and_pings_are_beats(beat: bytes, first: tuple[bytes, ...], pad: int | None) -> None:
    talk = opened(*first)
    for second in (16, 31, 46):
        talk.resp(data(1, beat, pad=pad), at=second)
    result = run(talk)
    size = len(PING) if beat == PING else len(beat.rstrip(b"\r\n")) + 1
    assert beats(result) == [(S, "sse", size, None)] * 3
    (series,) = result.rows("heartbeat_series")
    assert (series["period_s"], series["method"]) == (pytest.approx(15, abs=0.01), "explicit")


def test_headers_and_the_first_beat_in_one_segment() -> None:
    assert beats(run(opened(b":\n\n"))) == [(S, "sse", 2, None)]
    talk = H2().begin().ask(1)
    one = talk.callee.headers(1, EVENTS) + data(1, b":\n\n") + ping() + data(1, b"data: 1\n\n" + PING, end=True)
    result = run(talk.resp(one).finish())
    assert [(row["protocol"], row["size"]) for row in result.rows("heartbeats")] == [("http2", 17), ("sse", 2)]
    assert result.rows("http_requests")[0]["response_bytes"] == 3 + 9 + len(PING)


@pytest.mark.parametrize(
    "fields",
    [OK, [*OK, ("content-type", "text/plain")], [*EVENTS, ("content-encoding", "gzip")]],
)
def test_other_bodies_have_no_beats(fields: list[Field]) -> None:
    talk = opened(b":\n\n", fields=fields)
    assert beats(run(talk.resp(data(1, b":\n\n"), at="9s").resp(data(1, PING), at="19s"))) == []


def test_what_a_client_sends_has_none() -> None:
    talk = H2().begin().ask(1, end=False)
    assert beats(run(talk.orig(data(1, b":\n\n")).orig(data(1, b":\n\n"), at="9s"))) == []


def test_streams_are_kept_apart() -> None:
    talk = opened(b"data: half a line").ask(3)
    talk.resp(talk.callee.headers(3, EVENTS) + data(3, b":") + data(1, b": no\n\n") + data(3, b"ka\n\n"), at="9s")
    assert beats(run(talk)) == [(S, "sse", 4, None)]


def test_the_silence_of_the_application_leaves_beats_out() -> None:
    talk = opened(b"data: 1\n\n")
    for second in (11.1, 21.1, 31.1):
        talk.resp(data(1, PING), at=second)
    talk.resp(data(1, b"data: 2\n\n", end=True), at=51.1)
    result = run(talk.finish())
    assert result.flow["max_app_gap_s"] == pytest.approx(50, abs=0.1)
    assert result.flow["max_payload_gap_s"] == pytest.approx(20, abs=0.1)


def test_words_and_the_end_are_heard() -> None:
    """Each word a frame of its own, cut in the middle of a line; the last frame is a beat that ends the stream."""
    talk = opened(b"data: 1")
    for second in (11.1, 31.1):
        talk.resp(data(1, b" and more"), at=second)
    talk.resp(data(1, b"\n\n" + PING), at=41.1).resp(data(1, b":\n\n", end=True), at=61.1)
    result = run(talk.resp_fin(at=71.1).orig_ack().orig_fin().resp_ack())
    assert result.flow["max_app_gap_s"] == pytest.approx(30, abs=0.1)
    assert result.close["idle_app_s"] == pytest.approx(10, abs=0.1)


def test_streams_that_beat_by_one_timer_are_one_series() -> None:
    talk = opened(b"data: 1\n\n").ask(3)
    talk.resp(talk.callee.headers(3, EVENTS) + data(3, b"data: 1\n\n"))
    for second in (15, 30, 45):
        talk.resp(data(1, b":\n\n"), at=second).resp(data(3, b":\n\n"), at=second + 0.002)
    (series,) = run(talk).rows("heartbeat_series")
    assert (series["beats"], series["period_s"]) == (3, pytest.approx(15, abs=0.01))


@pytest.mark.parametrize("again", [EVENTS, OK])
def test_a_place_that_is_used_again_knows_nothing_of_before(again: list[Field]) -> None:
    talk = H2().begin().ask(1, at="1s")
    talk.resp(talk.callee.headers(1, EVENTS) + data(1, b"data: half a line", end=True)).ask(3, at="5s")
    talk.resp(talk.callee.headers(3, again) + data(3, b": ka\n\n"), at="9s")
    assert len(beats(run(talk))) == (1 if again is EVENTS else 0)
    talk = H2().begin().ask(1, at="1s").answer(1).ask(3, at="5s")
    talk.resp(talk.callee.headers(3, EVENTS) + data(3, b": ka\n\n"), at="9s")
    assert beats(run(talk)) == [(S, "sse", 5, None)]


def test_the_rest_of_a_frame_is_not_read_to_the_stream_that_took_its_place() -> None:
    talk, rest = opened(b"data: 1\n\n"), data(1, b"data: half a line that goes on")
    talk.resp(rest[:20], at="2s").orig(frame(RST_STREAM, b"\0\0\0\x08", stream=1)).ask(3)
    talk.resp(rest[20:], at="3s").resp(talk.callee.headers(3, EVENTS) + data(3, b": ka\n\n"), at="9s")
    assert beats(run(talk)) == [(S, "sse", 5, None)]


def test_an_interim_response_says_nothing_of_the_body() -> None:
    talk = H2().begin().ask(1, at="1s")
    talk.resp(talk.callee.headers(1, [(":status", "103"), ("content-type", "text/event-stream")]))
    talk.resp(talk.callee.headers(1, [*OK, ("content-type", "text/plain")]) + data(1, b":\n\n"), at="9s")
    assert beats(run(talk)) == []


def test_bytes_behind_a_hole_in_a_frame_are_a_lines_rest() -> None:
    cut = data(1, b"data: z\n" + b"data: x" + b"y" * 30 + b":\n\n:\n\n")
    talk = opened(b"data: 1\n\n").resp(cut[:20], at="2s").resp_drop(20).resp(cut[40:], at="9s").orig_ack()
    found = run(talk.resp(data(1, b":\n\n"), at="19s")).rows("heartbeats")
    assert [row["size"] for row in found] == [2, 2]  # the second in the frame, and the next


def test_a_hole_in_padding_costs_no_line() -> None:
    padded = data(1, b":\n\n", pad=30)
    talk = opened(b"data: 1\n\n").resp(padded[:15], at="2s").resp_drop(10).resp(padded[25:], at="3s").orig_ack()
    assert len(beats(run(talk.resp(data(1, b":\n\n"), at="19s")))) == 2


def test_frames_that_are_missing_may_have_gone_on_with_a_line() -> None:
    half = data(1, b"data: half")
    talk = opened(b"data: 1\n\n").resp_drop(len(half), at="2s").resp(data(1, b":continued\n\n"), at="9s").orig_ack()
    assert beats(run(talk.resp(data(1, b":ka\n\n"), at="19s"))) == [(S, "sse", 4, None)]


def test_a_line_after_missing_bytes_is_not_judged() -> None:
    talk = opened(b"data: 1\n\n")
    talk.resp(data(1, b":" + b"x" * 20)[:12], at="2s").resp_drop(18).resp(data(1, b":\n\n:\n\n"), at="9s").orig_ack()
    assert beats(run(talk)) == [(S, "sse", 2, None)]


def test_a_stream_that_was_reset_and_one_without_end() -> None:
    talk = opened(b"data: 1\n\n").resp(data(1, PING)[:20], at="2s")
    talk.orig(b"\0\0\4\3\0\0\0\0\1\0\0\0\x08", at="2.1s").resp(data(1, PING)[20:], at="2.2s")
    assert beats(run(talk)) == []


def test_what_is_asked_of_a_crowd_is_limited() -> None:
    """400 answers of one byte in a segment; HPACK is asked of 256, and one more for 4 kB that they have."""
    talk, text = H2().begin(), b""
    streams = range(1, 801, 2)
    talk.orig(b"".join(talk.caller.headers(stream, request(), end=True) for stream in streams))
    for stream in streams:
        text += talk.callee.headers(stream, OK) + data(stream, b"d", end=True)
    result = run(talk.resp(text).finish())
    asked = 256 + len(text) // 4096
    assert abs(result.anomalies["http2.events_cap"] - (len(streams) - asked)) <= 1
    assert result.flow["requests"] == len(streams)


PARTS = st.lists(st.sampled_from([b":\n", b":a\r\n\r\n", b"data: 1\n\n", PING, b"\n", b"x", b"e"]), max_size=8)


@given(PARTS, PARTS, st.lists(st.integers(1, 50), max_size=5), st.lists(st.integers(1, 90), max_size=5), cuts())
def test_frames_segments_and_batches_do_not_matter(
    one: list[bytes], other: list[bytes], bodies: list[int], segments: list[int], where: list[int]
) -> None:
    """Two streams, a part of each every ten seconds: in a frame and a segment, or in several that come at once."""

    def said(bodies: list[int], segments: list[int]) -> H2:
        talk = H2().begin().ask(1).ask(3)
        text = talk.callee.headers(1, EVENTS) + talk.callee.headers(3, EVENTS)
        for k in range(max(len(one), len(other))):
            for stream, parts in ((1, one[k : k + 1]), (3, other[k : k + 1])):
                text += b"".join(data(stream, piece) for part in parts for piece in pieces(part, bodies))
            for piece in pieces(text, segments):
                talk.resp(piece, at=10 + 10 * k)
            text = b""
        return talk

    talk = said(bodies, segments)
    result = run(talk)
    found, plain = ([(row["ts"], row["size"]) for row in of.rows("heartbeats")] for of in (result, run(said([], []))))
    assert found == plain
    assert run(talk, where).fingerprints() == result.fingerprints()


def pieces(text: bytes, places: list[int]) -> list[bytes]:
    return [text[start:end] for start, end in pairwise(sorted({0, len(text), *(p for p in places if p < len(text))}))]
