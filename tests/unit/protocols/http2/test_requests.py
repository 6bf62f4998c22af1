"""HTTP/2 streams as exchanges: what HPACK says of them, where each begins and ends, and what is not known."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.http2 import (
    END_HEADERS,
    END_STREAM,
    H2,
    HEADERS,
    OK,
    PADDED,
    PREFACE,
    PRIORITISED,
    PUSH_PROMISE,
    RST_STREAM,
    Side,
    data,
    frame,
    ping,
    request,
    settings,
)
from tests.property.harness import Result, Row, run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def exchanges(result: Result) -> list[Row]:
    return sorted(result.rows("http_requests"), key=lambda row: row["index"])


def only(talk: Talk) -> Row:
    (row,) = exchanges(run(talk))
    return row


def show(row: Row, *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_an_exchange() -> None:
    row = only(H2().begin().ask(1, "/a?b").answer(1, b"hello").finish())
    assert show(row, "stream_id", "index", "method", "target", "host", "version") == (
        1, 0, "GET", "/a?b", "example.com", "2",
    )  # fmt: skip
    assert show(row, "status", "request_bytes", "response_bytes", "complete") == (200, 0, 5, True)
    assert show(row, "body_framing_c", "body_framing_s", "reused", "pipelined", "upgrade") == (
        "h2", "h2", False, False, None,
    )  # fmt: skip


def test_times_and_frames() -> None:
    talk = H2().begin().ask(1, end=False, at="5s").orig(data(1, b"ab", end=True), at="6s")
    talk.resp(talk.callee.headers(1, OK), at="8s").resp(data(1, b"abc", end=True), at="9s").finish()
    row, t0 = only(talk), talk.packets[0][0]
    times = [(row[f"{name}_ts"] - t0) / 1e9 for name in ("request", "request_end", "response", "response_end")]
    assert times == pytest.approx([5, 6, 8, 9])
    assert row["ttfb_s"] == pytest.approx(2)
    assert row["idle_before_s"] > 4
    assert show(row, "request_bytes", "response_bytes") == (2, 3)


def test_streams_at_the_same_time() -> None:
    talk = H2().begin().ask(1, "/one").ask(3, "/two").ask(5, "/three").answer(5, b"333").answer(1, b"1").answer(3)
    rows = exchanges(run(talk.finish()))
    assert [show(row, "stream_id", "target", "response_bytes", "reused") for row in rows] == [
        (1, "/one", 1, False), (3, "/two", 5, True), (5, "/three", 3, True),
    ]  # fmt: skip


def test_padding_and_priority_are_no_part_of_it() -> None:
    talk = H2().begin()
    block = b"\x03" + bytes(5) + talk.caller.block(request("/padded")) + bytes(3)
    talk.orig(frame(HEADERS, block, stream=1, flags=END_STREAM | END_HEADERS | PADDED | PRIORITISED))
    talk.resp(talk.callee.headers(1, OK) + data(1, b"four", pad=200, end=True)).finish()
    assert show(only(talk), "target", "response_bytes") == ("/padded", 4)


def test_continuations() -> None:
    talk = H2().begin()
    talk.orig(talk.caller.headers(1, request("/" + "x" * 300), end=True, cut=50)).answer(1).finish()
    assert show(only(talk), "target", "complete") == ("/" + "x" * 300, True)


def test_an_interim_response_is_not_the_answer() -> None:
    talk = H2().begin().ask(1, end=False)
    talk.resp(talk.callee.headers(1, [(":status", "100")]), at="1s").orig(data(1, b"x", end=True), at="2s")
    row = only(talk.resp(talk.callee.headers(1, OK, end=True), at="3s").finish())
    assert row["status"] == 200
    assert (row["response_ts"] - talk.packets[0][0]) / 1e9 == pytest.approx(3)


def test_only_an_interim_response_is_none() -> None:
    talk = H2().begin().ask(1, end=False)
    row = only(talk.resp(talk.callee.headers(1, [(":status", "103")])).finish())
    assert show(row, "status", "response_ts", "response_frame", "complete") == (None, None, None, False)


def test_grpc() -> None:
    talk = H2().begin()
    kind = ("content-type", "application/grpc+proto")
    talk.orig(talk.caller.headers(1, request("/demo.Echo/Say", "POST", kind)) + data(1, b"\0\0\0\0\1x", end=True))
    talk.resp(talk.callee.headers(1, [(":status", "200"), kind]) + data(1, b"\0\0\0\0\1y"))
    talk.resp(talk.callee.headers(1, [("grpc-status", "14"), ("grpc-message", "no")], end=True)).finish()
    result = run(talk)
    assert show(exchanges(result)[0], "status", "grpc_status", "response_bytes", "complete") == (200, 14, 6, True)
    assert result.flow["app_protocol"] == "grpc"


def test_pings_of_grpc_that_measure_bandwidth_are_no_heartbeats() -> None:
    """They come right after data; the other two come out of silence. The first comes before anything says gRPC."""
    talk, kind = H2().begin(), ("content-type", "application/grpc")
    talk.orig(ping(b"11111111"), at="1s").resp(ping(b"11111111", ack=True))
    talk.orig(talk.caller.headers(1, request("/x", "POST", kind)) + data(1, b"x", end=True), at="5s")
    talk.resp(ping(b"measure!")).orig(ping(b"measure!", ack=True))
    talk.orig(ping(b"22222222"), at="9s").resp(ping(b"22222222", ack=True))
    beats = run(talk.finish()).rows("heartbeats")
    assert [(row["protocol"], row["dir"], row["answered"]) for row in beats] == [("grpc", "c2s", True)] * 2


def test_elsewhere_a_ping_after_data_is_a_heartbeat() -> None:
    talk = H2().begin().ask(1).answer(1).orig(ping()).resp(ping(ack=True))
    assert [row["protocol"] for row in run(talk.finish()).rows("heartbeats")] == ["http2"]


def test_a_reset_ends_the_exchange() -> None:
    talk = H2().begin().ask(1).resp(talk_headers(H2().callee)).orig(frame(RST_STREAM, struct.pack("!I", 8), stream=1))
    row = only(talk.resp(data(1, b"late", end=True)).finish())
    assert show(row, "status", "complete", "response_bytes", "response_end_ts") == (200, False, None, None)


def talk_headers(side: Side) -> bytes:
    return side.headers(1, OK)


def test_a_push() -> None:
    talk = H2().begin().ask(1, "/page")
    promise = struct.pack("!I", 2) + talk.callee.block(request("/style.css"))
    talk.resp(frame(PUSH_PROMISE, promise, stream=1, flags=END_HEADERS)).answer(1).answer(2, b"css").finish()
    result = run(talk)
    pushed = next(row for row in exchanges(result) if row["stream_id"] == 2)
    assert show(pushed, "method", "target", "status", "response_bytes", "complete") == (
        "GET", "/style.css", 200, 3, True,
    )  # fmt: skip
    assert result.flow["requests"] == 1  # the client asked once


def test_upgraded_from_http1() -> None:
    """RFC 7540 section 3.2: the response to the HTTP/1 request comes on stream 1."""
    talk = H2().handshake()
    talk.orig(b"POST /up HTTP/1.1\r\nHost: up.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
              b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 3\r\n\r\nabc", at="1s")  # fmt: skip
    talk.resp(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + settings())
    talk.orig(PREFACE + settings()).answer(1, b"hello").ask(3, "/next").answer(3).finish()
    result = run(talk)
    first, one, three = exchanges(result)
    assert show(first, "version", "status", "upgrade", "stream_id") == ("1.1", 101, "h2c", None)
    assert show(one, "index", "version", "method", "target", "host", "status", "request_bytes", "response_bytes") == (
        1, "2", "POST", "/up", "up.example", 200, 3, 5,
    )  # fmt: skip
    assert show(one, "stream_id", "complete", "reused") == (1, True, False)
    assert one["request_ts"] == first["request_ts"]
    assert show(three, "index", "target", "complete", "reused") == (2, "/next", True, True)
    assert (result.flow["app_protocol"], result.flow["requests"]) == ("http2", 2)
    assert result.anomalies == {}


def test_upgraded_by_a_request_before_the_capture() -> None:
    """The answer says to what; the request of stream 1 is not known."""
    talk = H2()
    talk.resp(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + settings())
    talk.orig(PREFACE + settings()).answer(1, b"hello").ask(3, "/next").answer(3)
    result = run(talk)
    first, one, three = exchanges(result)
    assert show(first, "status", "upgrade", "request_ts") == (101, "h2c", None)
    assert show(one, "method", "status", "request_ts", "request_end_ts", "response_bytes", "complete") == (
        None, 200, None, None, 5, False,
    )  # fmt: skip
    assert show(three, "target", "complete") == ("/next", True)
    assert (result.flow["app_protocol"], result.flow["requests"]) == ("http2", 1)
    assert result.anomalies == {}


# ------------------------------------------------------------------------------------------------ what is not known
def test_a_lost_block_makes_the_table_unknown_not_wrong() -> None:
    """The second request is lost; the third refers to lines that it put into the table, and to older ones."""
    talk = H2().begin().orig(talk_request(H2().caller, 1, "/one"))
    client = H2().caller
    first, second, third = (talk_request(client, k, path) for k, path in ((1, "/one"), (3, "/two"), (5, "/two")))
    talk = H2().begin().orig(first).orig_drop(len(second)).orig(third).resp_ack()
    rows = exchanges(run(talk.finish()))
    assert [show(row, "stream_id", "method", "target", "host") for row in rows] == [
        (1, "GET", "/one", "example.com"), (5, "GET", None, None),
    ]  # fmt: skip


def talk_request(side: Side, stream: int, path: str) -> bytes:
    return side.headers(stream, request(path), end=True)


def test_lines_that_were_read_after_a_loss_are_known() -> None:
    client = H2().caller
    parts = [talk_request(client, 2 * k + 1, path) for k, path in enumerate(("/one", "/two", "/three", "/three"))]
    talk = H2().begin().orig(parts[0]).orig_drop(len(parts[1])).orig(parts[2]).orig(parts[3]).resp_ack()
    result = run(talk.finish())
    assert [show(row, "target", "host") for row in exchanges(result)] == [
        ("/one", "example.com"), ("/three", None), ("/three", None),
    ]  # fmt: skip
    assert result.anomalies["http2.hpack_unknown"] == 2


def test_joined_midstream() -> None:
    side, server = Side(), Side()
    talk_request(side, 1, "/before")  # only the encoder knows
    talk = Talk().orig(talk_request(side, 3, "/before")).resp(server.headers(3, OK) + data(3, b"x", end=True))
    result = run(talk.orig(talk_request(side, 5, "/after")).resp(server.headers(5, OK, end=True)))
    assert [show(row, "stream_id", "method", "target", "status", "complete") for row in exchanges(result)] == [
        (3, "GET", None, 200, True), (5, "GET", "/after", 200, True),
    ]  # fmt: skip
    assert result.anomalies["http2.hpack_unknown"] == 2


def test_a_response_to_a_request_before_the_capture() -> None:
    server = Side()
    talk = Talk().resp(server.headers(7, OK) + data(7, b"abc", end=True)).orig_ack()
    assert show(only(talk), "stream_id", "method", "request_ts", "status", "response_bytes") == (
        7, None, None, 200, 3,
    )  # fmt: skip


def test_a_larger_header_table() -> None:
    """As browsers do: the server allows 64 KiB, the client's encoder makes use of it."""
    talk = H2().handshake()
    talk.caller.encoder.header_table_size = 65536
    talk.orig(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings()).resp(settings((1, 65536)))
    paths = [f"/{k}/" + "y" * 400 for k in range(30)]
    for stream, path in enumerate([*paths, *paths]):
        talk.orig(talk.caller.headers(2 * stream + 1, request(path), end=True))
    assert [row["target"] for row in exchanges(run(talk.finish()))] == [*paths, *paths]
