"""Server-sent events over HTTP/2: beats are found however their bytes are cut, and only where HPACK tells of events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2 import H2, OK, Field, data, ping, request
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
    assert [row["protocol"] for row in result.rows("heartbeats")] == ["http2", "sse", "sse"]
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


BODIES = st.lists(st.sampled_from([b":\n", b":a\r\n\r\n", b"data: 1\n\n", PING, b"\n", b"x", b"e"]), max_size=8)


@given(BODIES, BODIES, st.lists(st.integers(1, 200), max_size=5), st.booleans(), cuts())
def test_frames_segments_and_batches_do_not_matter(
    one: list[bytes], other: list[bytes], places: list[int], events: bool, where: list[int]
) -> None:
    """What the bytes say does not depend on how they are cut: all of them come in one moment, or each alone."""

    def said(*, whole: bool) -> tuple[H2, bytes]:
        talk = H2().begin().ask(1).ask(3)
        text = talk.callee.headers(1, EVENTS if events else OK) + talk.callee.headers(3, EVENTS)
        if whole:
            return talk, text + data(1, b"".join(one)) + data(3, b"".join(other))
        for k in range(max(len(one), len(other))):
            text += b"".join(data(stream, some[k]) for stream, some in ((1, one), (3, other)) if k < len(some))
        return talk, text

    at_once = run(said(whole=True)[0].resp(said(whole=True)[1], at="2s"))
    talk, text = said(whole=False)
    for start, end in pairwise(sorted({0, len(text), *(place for place in places if place < len(text))})):
        talk.resp(text[start:end], at="2s")
    result = run(talk)
    assert len(beats(result)) == len(beats(at_once))
    assert run(talk, where).fingerprints() == result.fingerprints()
