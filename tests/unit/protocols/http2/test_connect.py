"""CONNECT over HTTP/2 (RFC 9113 section 8.5): what a stream's tunnel carries is read like a connection's own bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2 import H2, PREFACE, data, request, settings
from tests.property.harness import Result, run
from tests.websocket import TEXT, of_client
from tests.websocket import request as ws_request
from tests.websocket import response as ws_response

pytestmark = pytest.mark.usefixtures("compiled")

CONNECT = [(":method", "CONNECT"), (":authority", "inner.example:443")]
GET = b"GET /inner HTTP/1.1\r\nHost: inner.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def opened(stream: int = 1, status: str = "200") -> H2:
    talk = H2().begin()
    talk.orig(talk.caller.headers(stream, CONNECT))
    return talk.resp(talk.callee.headers(stream, [(":status", status)]))


def shown(result: Result) -> list[tuple[object, ...]]:
    names = ("stream_id", "version", "method", "target", "status", "upgrade", "complete")
    return sorted((tuple(row[name] for name in names) for row in result.rows("http_requests")), key=str)


def test_http1_in_a_tunnel() -> None:
    talk = opened().orig(data(1, GET[:20])).orig(data(1, GET[20:])).resp(data(1, OK))
    talk.orig(data(1, end=True)).resp(data(1, end=True)).finish()
    result = run(talk)
    assert shown(result) == [
        (1, "1.1", "GET", "/inner", 200, None, True), (1, "2", "CONNECT", None, 200, "CONNECT", True),
    ]  # fmt: skip
    assert (result.flow["app_protocol"], result.flow["http_host"]) == ("http2", "inner.example:443")
    assert result.anomalies == {}


def test_websocket_in_http1_in_a_tunnel() -> None:
    talk = opened().orig(data(1, ws_request())).resp(data(1, ws_response()))
    result = run(talk.orig(data(1, of_client(TEXT, b"deep"))).finish())
    assert [(row["stream_id"], row["payload_len"]) for row in result.rows("websocket_frames")] == [(1, 4)]


def test_two_tunnels_and_a_request_beside_them() -> None:
    talk = opened()
    talk.orig(talk.caller.headers(3, CONNECT)).resp(talk.callee.headers(3, [(":status", "200")]))
    talk.orig(data(3, GET) + data(1, GET.replace(b"/inner", b"/first"))).ask(5, "/outer").answer(5)
    talk.resp(data(1, OK) + data(3, OK))
    rows = shown(run(talk.finish()))
    assert [(row[0], row[3], row[4]) for row in rows if row[2] == "GET"] == [
        (1, "/first", 200), (3, "/inner", 200), (5, "/outer", 200),
    ]  # fmt: skip


def test_http2_in_a_tunnel() -> None:
    """The same reader, twice: each has its own streams and header tables."""
    inner, talk = H2(), opened()
    talk.orig(data(1, PREFACE + settings() + inner.caller.headers(1, request("/deep"), end=True)))
    talk.resp(data(1, settings() + inner.callee.headers(1, [(":status", "200")], end=True)))
    assert ("/deep", 200) in [(row[3], row[4]) for row in shown(run(talk.finish()))]


def test_refused() -> None:
    result = run(opened(status="403").resp(data(1, OK, end=True)).finish())
    assert shown(result) == [(1, "2", "CONNECT", None, 403, None, False)]


def test_the_silence_is_the_tunnels() -> None:
    talk = opened().orig(data(1, GET), at="1s").resp(data(1, OK)).orig(data(1, GET), at="9s")
    assert [gap["class"] for gap in run(talk.finish()).gaps] == ["tunnel_idle"]


def test_a_body_that_looks_like_http_is_none() -> None:
    """Only CONNECT makes a tunnel."""
    talk = H2().begin()
    talk.orig(talk.caller.headers(1, request("/up", "PUT"))).resp(talk.callee.headers(1, [(":status", "200")]))
    talk.orig(data(1, GET, end=True)).resp(data(1, OK, end=True))
    assert [row[1] for row in shown(run(talk.finish()))] == ["2"]


@given(st.lists(st.integers(0, 60), max_size=9))
def test_batches_do_not_matter(where: list[int]) -> None:
    talk = opened().orig(data(1, GET), at="1s").resp(data(1, OK)).orig(data(1, GET), at="9s").ask(3).answer(3)
    talk.orig(talk.caller.headers(5, CONNECT)).resp(talk.callee.headers(5, [(":status", "200")]) + data(5, b"hi"))
    talk.orig(data(5, GET) + data(1, end=True)).resp(data(5, OK), at="20s").finish()
    assert run(talk, where).fingerprints() == run(talk).fingerprints()
