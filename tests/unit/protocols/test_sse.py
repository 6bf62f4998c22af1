"""Server-sent events (WHATWG HTML section 9.2) as traces: comments are heartbeats, everything else is said."""

from __future__ import annotations

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


LINES = st.sampled_from([b":", b": x", b"data: y", b"", b"id: :", b"::"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(1, 60), max_size=5), st.booleans(), cuts())
def test_segments_chunks_and_batches_do_not_matter(
    lines: list[tuple[bytes, bytes]], places: list[int], chunked: bool, where: list[int]
) -> None:
    body = b"".join(line + end for line, end in lines)
    talk = opened(CHUNKS if chunked else CLOSE)
    edges = sorted({0, len(body), *(place for place in places if place < len(body))})
    for start, end in pairwise(edges):
        talk.resp(chunk(body[start:end]) if chunked else body[start:end])
    result = run(talk)
    assert len(beats(result)) == sum(line.startswith(b":") for line, _ in lines)
    assert run(talk, where).fingerprints() == result.fingerprints()
