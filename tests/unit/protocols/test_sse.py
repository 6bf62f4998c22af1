"""Server-sent events (WHATWG HTML section 9.2) as traces: comments are heartbeats, everything else is said."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messages import S, beats
from tests.property.harness import run
from tests.property.traces import cuts
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

ASK = b"GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CLOSE, CHUNKS = HEAD + b"\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def opened(head: bytes = CLOSE) -> Talk:
    return Talk().handshake().orig(ASK, at="1s").resp(head)


@pytest.mark.parametrize("line", [b":\n", b": ping\n", b":\r\n", b":keep-alive\r", b": a: b\r\n"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_line_that_begins_with_a_colon_is_a_beat(line: bytes, chunked: bool) -> None:
    talk = opened(CHUNKS if chunked else CLOSE)
    for second in (16, 31, 46):
        talk.resp(chunk(line + b"\n") if chunked else line + b"\n", at=second)
    result = run(talk)
    size = len(line.rstrip(b"\r\n")) + 1
    assert beats(result) == [(S, "sse", size, None)] * 3
    (series,) = result.rows("heartbeat_series")
    assert (series["period_s"], series["method"]) == (pytest.approx(15, abs=0.01), "explicit")
    assert result.flow["heartbeat_kinds"] == "sse"


@pytest.mark.parametrize("body", [b"data: :\n\n", b"event: a\ndata::\n\n", b" : no\n\n", b"\n\n\n", b"id:7\r\r\n"])
def test_what_is_no_comment(body: bytes) -> None:
    assert beats(run(opened().resp(body, at="9s").resp(body.replace(b":", b";"), at="19s"))) == []


def test_only_an_event_stream_that_can_be_read_has_comments() -> None:
    text = CLOSE.replace(b"event-stream", b"plain")
    packed = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    for head in (text, packed, HEAD + b"Content-Length: 0\r\n\r\n"):
        assert beats(run(opened(head).resp(b":\n\n", at="9s").resp(b":\n\n", at="19s"))) == []


def test_the_silence_of_the_application_leaves_comments_out() -> None:
    talk = opened(CHUNKS).resp(chunk(b"data: 1\n\n"), at="2s")
    for second in (12, 22, 32, 42):
        talk.resp(chunk(b":\n\n"), at=second)
    result = run(talk.resp(chunk(b"data: 2\n\n"), at="52s").resp_fin().orig_fin().resp_ack())
    assert result.flow["max_app_gap_s"] == pytest.approx(50, abs=0.1)
    assert result.flow["max_payload_gap_s"] == pytest.approx(10, abs=0.1)


def test_a_line_after_missing_bytes_is_not_judged() -> None:
    talk = opened().resp(b"data: 1\n\n", at="2s").resp_drop(5).resp(b":\n\n:\n\n", at="9s").orig_ack()
    assert beats(run(talk)) == [(S, "sse", 2, None)]


@pytest.mark.parametrize("kind", ["ping", "heartbeat", "keep-alive", "keepalive", "keep_alive", "PING", "hb"])
@pytest.mark.parametrize("space", ["", " "])
def test_an_event_that_says_ping_is_a_beat(kind: str, space: str) -> None:
    talk, event = opened(), f'event:{space}{kind}\ndata: {{"type": "ping"}}\n\n'.encode()
    for second in (16, 31, 46):
        talk.resp(event, at=second)
    result = run(talk.resp(b"event: done\ndata: 1\n\n", at=61).resp_fin().orig_fin().resp_ack())
    assert beats(result) == [(S, "sse", len(event), None)] * 3
    assert result.flow["max_app_gap_s"] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    "event",
    [b"event: pinged\n\n", b"event: message\ndata: ping\n\n", b"data: 1\nevent: ping\n\n", b"event\n\n",
     b"events: ping\n\n", b"event:  \n\n", b"event: pong\n\n", b"id: 7\nevent: ping\n\n"],
)  # fmt: skip
def test_what_is_no_ping(event: bytes) -> None:
    assert beats(run(opened().resp(event, at="9s").resp(event, at="19s"))) == []


def test_a_ping_counts_once_it_is_whole() -> None:
    talk = opened().resp(b"event: ping\nda", at="9s")
    assert beats(run(talk)) == []
    (row,) = run(talk.resp(b"ta: 1\n", at="10s").resp(b"\n", at="11s")).rows("heartbeats")
    assert row["frame"] == 8


def test_beats_at_once_are_one_and_a_kilobyte_is_none() -> None:
    greeting = b":hello\n:world\n:\n\nevent: ping\nid: 7\n: c\ndata: {}\n\n"
    talk = opened().resp(b":" + b"-" * 2048 + b"\n\n" + greeting, at="1.1s")
    for second in (16, 31):
        talk.resp(greeting, at=second)
    assert beats(run(talk)) == [(S, "sse", 7, None)] * 3
    large = b"event: ping\ndata: " + b"-" * 1024 + b"\n\n"
    result = run(opened().resp(b":\n\n", at="9s").resp(large, at="19s").resp_fin(at="39s").orig_fin().resp_ack())
    assert beats(result) == [(S, "sse", 2, None)]
    assert result.flow["max_app_gap_s"] == pytest.approx(20, abs=0.1)


def test_a_ping_has_all_lines_to_its_blank_one() -> None:
    event = b"event: ping\r\nid: 7\r\n: c\r\ndata: {}\r\n\r\n"
    assert beats(run(opened().resp(event, at="9s"))) == [(S, "sse", len(event) - event.count(b"\r"), None)]


def test_a_byte_order_mark_is_stepped_over() -> None:
    assert beats(run(opened().resp(b"\xef\xbb\xbf: hi\n\n", at="9s"))) == [(S, "sse", 5, None)]


@pytest.mark.parametrize("chunked", [False, True])
def test_every_part_of_a_line_is_said(chunked: bool) -> None:
    talk = opened(CHUNKS if chunked else CLOSE)
    for second, part in ((3, b"data: {"), (30, b"abc"), (60, b"def"), (90, b"}\n\n")):
        talk.resp(chunk(part) if chunked else part, at=second)
    result = run(talk.resp_fin(at="100s").orig_fin().resp_ack())
    assert result.flow["max_app_gap_s"] == pytest.approx(30, abs=0.01)


LINES = st.sampled_from(
    [b":", b": x", b"data: y", b"", b"id: :", b"::", b"event: ping", b"event: a", b"event:hb", b"e"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
PAUSES = st.sampled_from([1, 4, 6, 9000])  # milliseconds


def counted(body: bytes, time_of: list[int]) -> int:
    """Return how many beats a stream has, read line by line; time_of: milliseconds, by byte."""
    found, is_beat = [], None
    for line in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n)", body):
        text, at = line[1], time_of[line.start(2)]
        if (not text and is_beat) or (text.startswith(b":") and not is_beat):
            found.append(at)
        if not text:
            is_beat = None
        elif not text.startswith(b":"):
            is_beat = bool(is_beat or (is_beat is None and re.fullmatch(b"event: ?(ping|hb)", text)))
    return sum(later - earlier > 5 for earlier, later in pairwise([-9999, *found]))


@given(
    st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.tuples(st.integers(1, 60), PAUSES), max_size=5),
    st.booleans(), cuts(),
)  # fmt: skip
def test_segments_chunks_and_batches_do_not_matter(
    lines: list[tuple[bytes, bytes]], places: list[tuple[int, int]], chunked: bool, where: list[int]
) -> None:
    body = b"".join(line + end for line, end in lines)
    talk, now, time_of = opened(CHUNKS if chunked else CLOSE), 2000, []
    pauses = {0: 1, len(body): 1} | {place: pause for place, pause in places if place < len(body)}
    for start, end in pairwise(sorted(pauses)):
        now += pauses[start]
        time_of += [now] * (end - start)
        talk.resp(chunk(body[start:end]) if chunked else body[start:end], at=f"{now}ms")
    result = run(talk)
    assert len(beats(result)) == counted(body, time_of)
    assert run(talk, where).fingerprints() == result.fingerprints()


def test_a_stream_that_a_proxy_cuts_after_a_silence_timed_out() -> None:
    """Not in the middle of an answer that was due: nothing is due but the next event, before the proxy's timeout."""
    talk = opened(CHUNKS)
    for second in (2, 3.5, 5):
        talk.resp(chunk(b"data: 1\n\n"), at=second).orig_ack()
    result = run(talk.resp_fin(at="65s").orig_ack().orig_fin().resp_ack())
    assert (result.close["trigger"], result.rows("findings")) == ("idle_timeout", [])
    longer = (
        opened(CHUNKS)
        .resp(chunk(b"data: 1\n\n"), at="2s")
        .orig_ack()
        .resp(chunk(b"data: 2\n\n"), at="90s")
        .orig_ack()
        .resp_fin(at="150s")
        .orig_fin()
        .resp_ack()
    )
    assert run(longer).close["trigger"] == "request_in_flight"  # a longer silence was survived
