"""Flow control as traces: who waited for a WINDOW_UPDATE, and for how long (RFC 9113 sections 5.2 and 6.9)."""

from __future__ import annotations

import struct

import pytest

from tests.http2 import H2, OK, PREFACE, RST_STREAM, data, frame, request, settings, widened
from tests.property.harness import Result, run
from tests.talk import Duration

pytestmark = pytest.mark.usefixtures("compiled")

WINDOW = 65_535


def answering(*, first: int | None = None) -> H2:
    """A response that begins; `first`: what the client's SETTINGS say of the windows of streams."""
    talk = H2().handshake().orig(PREFACE + settings(*([(4, first)] if first is not None else []))).resp(settings())
    return talk.ask(1).resp(talk.callee.headers(1, OK))


def fill(talk: H2, n: int, at: Duration, stream: int = 1) -> H2:
    """Let the server send `n` bytes of body at once."""
    for k in range(0, n, 13_107):
        talk.resp(data(stream, bytes(min(13_107, n - k))), at=at)
        at = float(at) + 0.001
    return talk


def waits(result: Result) -> list[tuple[object, ...]]:
    return [
        (row["type"], row["stream_id"], row["dir"], round(row["window_wait_s"], 3))
        for row in result.rows("http2_frames")
        if row["window_wait_s"] is not None
    ]


def waited(result: Result) -> dict[int, tuple[float | None, float | None]]:
    rows = [row for row in result.rows("http_requests") if row["stream_id"] is not None]
    return {row["stream_id"]: (row["window_wait_c_s"], row["window_wait_s_s"]) for row in rows}


def approximately(*values: float) -> object:
    return pytest.approx(values, abs=1e-3)


def test_both_windows_used_up() -> None:
    """The connection's window opens first, but the stream's is still closed: it waits on."""
    talk = fill(answering(), WINDOW, 2.0).orig(widened(1000), at=5.0).orig(widened(1000, 1), at=6.004)
    result = run(talk.resp(data(1, b"rest", end=True), at=6.1).finish())
    assert waits(result) == [("WINDOW_UPDATE", 1, "c2s", 4.0)]
    assert waited(result)[1] == approximately(0.0, 4.0)
    assert result.anomalies == {}


def test_a_stream_with_a_small_window() -> None:
    """Only the stream waits; another one goes on."""
    talk = fill(answering(first=26_214), 26_214, 2.0).ask(3, at=2.5).answer(3).orig(widened(99, 1), at=3.001)
    result = run(talk.resp(data(1, b"rest", end=True)).finish())
    assert waits(result) == [("WINDOW_UPDATE", 1, "c2s", 1.0)]
    assert waited(result) == {1: approximately(0.0, 1.0), 3: approximately(0.0, 0.0)}


def test_a_larger_first_window_for_streams_that_are_open() -> None:
    """Section 6.9.2: a change of SETTINGS_INITIAL_WINDOW_SIZE opens what it had closed."""
    talk = fill(answering(first=13_107), 13_107, 2.0).orig(settings((4, 20_000)), at=4.0)
    result = run(talk.resp(data(1, b"rest", end=True)).finish())
    assert waits(result) == [("SETTINGS", 0, "c2s", 2.0)]


def test_a_request_body_waits_for_the_server() -> None:
    talk = H2().begin()
    talk.orig(talk.caller.headers(1, request("/up", "POST")))
    for k in range(5):
        talk.orig(data(1, bytes(13_107)), at=2.0 + k / 1000)
    talk.resp(widened(9, 1) + widened(9), at=3.004).orig(data(1, b"x", end=True)).answer(1)
    result = run(talk.finish())
    assert waits(result) == [("WINDOW_UPDATE", 0, "s2c", 1.0)]
    assert waited(result)[1] == approximately(1.0, 0.0)


def test_a_body_that_ends_with_its_window_does_not_wait() -> None:
    talk = answering(first=13_107).resp(data(1, bytes(13_107), end=True), at=2).orig(widened(9, 1), at=9)
    result = run(talk.finish())
    assert (waits(result), waited(result)[1]) == ([], approximately(0.0, 0.0))


def test_an_end_without_more_data_did_not_wait() -> None:
    """A last, empty DATA frame needs no window."""
    talk = fill(answering(first=13_107), 13_107, 2.0).resp(data(1, end=True), at=4).orig(widened(9, 1), at=9)
    result = run(talk.finish())
    assert (waits(result), waited(result)[1]) == ([], approximately(0.0, 0.0))


def test_padding_counts() -> None:
    talk = answering(first=1000).resp(data(1, bytes(799), pad=200), at=2.0).orig(widened(9, 1), at=3.0)
    assert waits(run(talk.finish())) == [("WINDOW_UPDATE", 1, "c2s", 1.0)]


def test_given_up_while_it_waited() -> None:
    """A reset, and the end of the connection, end a wait as well: that is when somebody lost patience."""
    talk = fill(answering(first=13_107), 13_107, 2.0).ask(3, at=3.0).resp(b"")
    talk.resp(talk.callee.headers(3, OK) + data(3, bytes(13_107)), at=4.0)
    talk.orig(frame(RST_STREAM, struct.pack("!I", 8), stream=1), at=7.0).orig_fin(at=9.0).resp_fin().orig_ack()
    result = run(talk)
    one, three = waited(result)[1], waited(result)[3]
    assert one == approximately(0.0, 5.0)
    assert three == (0.0, pytest.approx(5.0, abs=0.1))


def test_windows_of_a_connection_joined_midstream_are_not_known() -> None:
    talk = H2()
    talk.ask(5).resp(talk.callee.headers(5, OK))
    fill(talk, WINDOW, 2.0, stream=5).orig(widened(9, 5), at=4.0).resp(data(5, b"x", end=True))
    result = run(talk)
    assert (waits(result), waited(result)[5]) == ([], (None, None))


def test_batches_do_not_matter() -> None:
    talk = fill(answering(first=26_214), 26_214, 2.0).ask(3, at=2.5).answer(3).orig(widened(99, 1), at=3.001)
    talk.resp(data(1, b"rest", end=True)).finish()
    assert run(talk, range(1, 40)).fingerprints() == run(talk).fingerprints()
