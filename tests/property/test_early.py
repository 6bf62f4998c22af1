"""Behind a request for an upgrade: neither the segments nor how far the answer comes late change what is read."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.harness import Result, run
from tests.property.traces import cuts, plain
from tests.talk import Talk
from tests.websocket import BINARY, PING, TEXT, frame, of_client, request, response

pytestmark = pytest.mark.usefixtures("compiled")

WHEN = ("request_ts", "request_end_ts", "response_ts", "response_end_ts", "request_frame", "response_frame", "ttfb_s",
        "idle_before_s", "hol_wait_s", "ts", "frame", "rtt_s", "first_ts", "last_ts", "index", "message_id", "pong_of",
        "unsolicited")  # fmt: skip
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
ASKS = [b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n", b"POST /%d HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /%d HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"]  # fmt: skip


@dataclass
class Said:
    """Client's bytes up to the end of its request for an upgrade, and behind it; the server's, and behind that."""

    asked: bytes
    behind: bytes
    answer: bytes
    more: bytes


@st.composite
def granted(draw: st.DrawFn) -> Said:
    before = draw(st.integers(0, 2))
    sizes = st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING]), st.integers(0, 120)), max_size=8)
    behind = b"".join(of_client(kind, b"a" * n) for kind, n in draw(sizes))
    more = b"".join(frame(kind, b"b" * n) for kind, n in draw(sizes))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 102 Processing\r\n\r\n"]))
    asked = b"".join(ASKS[0] % k for k in range(before)) + request()
    return Said(asked, behind, before * OK + interim + response(), more)


@st.composite
def declined(draw: st.DrawFn) -> Said:
    kinds = draw(st.lists(st.integers(0, 2), max_size=5))
    behind = b"".join(ASKS[kind] % k for k, kind in enumerate(kinds))
    return Said(ASKS[2] % 99, behind, OK, len(kinds) * OK)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    out = []
    while data:
        out.append(data[: sizes[len(out) % len(sizes)]])
        data = data[len(out[-1]) :]
    return out


def spoken(made: Said, sizes: list[int], early: int) -> Talk:
    """Say it with `early` of the client's segments before the answer."""
    talk = Talk().handshake()
    for piece in pieces(made.asked, sizes):
        talk.orig(piece)
    behind = pieces(made.behind, sizes)
    for piece in behind[:early]:
        talk.orig(piece)
    for piece in pieces(made.answer, sizes):
        talk.resp(piece)
    for piece in behind[early:]:
        talk.orig(piece)
    for piece in pieces(made.more, sizes):
        talk.resp(piece)
    return talk.resp_fin().orig_ack().orig_fin().resp_ack()


def rows(result: Result) -> list[list[dict[str, object]]]:
    names = ("http_requests", "websocket_frames", "websocket_messages")
    return [sorted(plain(result.rows(name), *WHEN), key=str) for name in names]


SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=4)


@given(st.one_of(granted(), declined()), SIZES, st.integers(0, 40), cuts())
def test_how_early_does_not_matter(made: Said, sizes: list[int], early: int, where: list[int]) -> None:
    talk = spoken(made, sizes, early)
    result = run(talk)
    assert rows(result) == rows(run(spoken(made, [2000], 0)))
    assert run(talk, where).fingerprints() == result.fingerprints()


@given(declined(), SIZES, st.integers(0, 40))
def test_every_declined_request_is_answered(made: Said, sizes: list[int], early: int) -> None:
    found = run(spoken(made, sizes, early))
    asked = made.behind.count(b" HTTP/1.1\r\n") + 1
    assert [row["status"] for row in found.rows("http_requests")] == [200] * asked
    assert found.anomalies == {}
