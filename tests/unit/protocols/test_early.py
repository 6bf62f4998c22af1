"""What a client says behind its request for an upgrade, before the answer: the answer decides whose bytes these are."""

from __future__ import annotations

import pytest

from analyzer.protocols.http1.line import LINE_MAX
from analyzer.protocols.http1.state import MAX_PIECES, MAX_PIECES_EACH
from tests.property.harness import Result, run
from tests.talk import Talk, merge
from tests.tlswire import client_hello, record
from tests.websocket import BINARY, PING, PONG, TEXT, frame, frames, messages, of_client, request, response

pytestmark = pytest.mark.usefixtures("compiled")

GET = b"GET /next HTTP/1.1\r\nHost: b.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONNECT = b"CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n"
H2C = b"GET /%d HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"


def asked(result: Result) -> list[tuple[object, ...]]:
    rows = sorted(result.rows("http_requests"), key=lambda row: int(row["index"]))
    return [(row["target"], row["status"], row["complete"]) for row in rows]


# ------------------------------------------------------------------------------------------------ granted
@pytest.mark.parametrize("apart", [True, False])
def test_frames_before_the_101_are_frames(apart: bool) -> None:
    early, trace = of_client(TEXT, b"ear\nly"), Talk().handshake()
    trace = trace.orig(request()).orig(early, at="2s") if apart else trace.orig(request() + early)
    result = run(trace.resp(response(), at="3s").orig(of_client(TEXT, b"later")))
    assert frames(result, "payload_len", "error", "frame") == [(6, None, 5 if apart else 4), (5, None, 6 + apart)]
    assert messages(result, "len", "utf8_ok") == [(6, True), (5, True)]
    assert result.anomalies == {"http.early_upgrade": 1}


def test_frames_before_the_answer_to_an_early_ping() -> None:
    talk = Talk().handshake().orig(request() + of_client(PING, b"a"), at="1s")
    result = run(talk.resp(response() + frame(PONG, b"a"), at="1.5s").orig_ack())
    assert frames(result, "dir", "opcode", "rtt_s") == [("c2s", "ping", None), ("s2c", "pong", 0.5)]


def test_frames_before_a_101_that_comes_in_pieces() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\n\r\n" + response()
    talk = Talk().handshake().orig(request())
    for k in range(0, len(answer), 10):
        talk.resp(answer[k : k + 10]).orig(of_client(BINARY, b"x" * k))
    assert frames(run(talk), "payload_len") == list(range(0, len(answer), 10))


def test_a_hole_and_the_end_wait_too() -> None:
    talk = Talk().handshake().orig(request()).orig(of_client(TEXT, b"first")).orig_drop(40)
    talk.orig(of_client(TEXT, b"second")).orig(of_client(TEXT, b"third")).orig_fin().resp_ack(at="2s")
    result = run(talk.resp(response(), at="3s").orig_ack().resp_fin().orig_ack())
    assert frames(result, "payload_len")[0] == 5
    assert result.flow["missing_bytes_c"] == 40
    assert result.close["close_kind"] == "fin_half_close"


def test_tls_before_the_answer_to_connect() -> None:
    hello = record(22, client_hello(sni="inner.example"))
    for talk in (Talk().handshake().orig(CONNECT + hello), Talk().handshake().orig(CONNECT).orig(hello)):
        result = run(talk.resp(b"HTTP/1.1 200 Connection established\r\n\r\n").orig_ack())
        assert (result.flow["app_protocol"], result.flow["sni"]) == ("tls", "inner.example")


# ------------------------------------------------------------------------------------------------ declined
def test_requests_behind_a_declined_upgrade_are_requests() -> None:
    result = run(Talk().handshake().orig(request()).orig(GET, at="2s").resp(2 * OK, at="4s"))
    assert asked(result) == [("/chat", 200, True), ("/next", 200, True)]
    late = sorted(result.rows("http_requests"), key=lambda row: int(row["index"]))[1]
    assert (late["request_frame"], late["idle_before_s"]) == (5, pytest.approx(2, abs=0.1))
    assert late["ttfb_s"] == pytest.approx(2)
    assert result.anomalies == {}


def test_one_upgrade_behind_the_other() -> None:
    talk = Talk().handshake().orig(b"".join(H2C % k for k in range(4)) + GET).resp(OK).resp(OK + OK).resp(OK + OK)
    assert asked(run(talk)) == [(f"/{k}", 200, True) for k in range(4)] + [("/next", 200, True)]


def test_a_tunnel_that_is_refused_and_asked_for_again() -> None:
    refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    talk = Talk().handshake().orig(CONNECT + CONNECT).resp(refused).resp(b"HTTP/1.1 200 OK\r\n\r\n")
    result = run(talk.orig(record(22, client_hello(sni="inner.example"))))
    assert [row[1] for row in asked(result)] == [407, 200]
    assert result.flow["sni"] == "inner.example"


def test_requests_whose_answers_were_not_captured() -> None:
    talk = Talk().handshake()
    for k in range(400):
        talk.orig(H2C % k, at=1 + k)
        talk.server.rcv_nxt = talk.client.snd_nxt
    result = run(talk)
    assert [row[0] for row in asked(result)] == [f"/{k}" for k in range(400)]
    assert result.anomalies.get("http.early_cap", 0) > 0


def test_a_flow_that_ends_before_the_answer() -> None:
    result = run(Talk().handshake().orig(H2C % 1 + H2C % 2 + GET).orig_fin().resp_fin().orig_ack())
    assert asked(result) == [("/1", None, False), ("/2", None, False), ("/next", None, False)]


# ------------------------------------------------------------------------------------------------ bounded
def test_more_than_a_line_is_read_as_http_and_told() -> None:
    talk = Talk().handshake().orig(request()).orig(of_client(BINARY, b"x" * LINE_MAX)).resp(response())
    result = run(talk.orig(of_client(TEXT, b"later")))
    assert frames(result, "payload_len") == [5]
    assert result.anomalies["http.early_cap"] == 1


def test_many_small_segments_are_kept() -> None:
    talk = Talk().handshake().orig(request())
    for k in range(3 * MAX_PIECES_EACH):
        talk.orig(of_client(BINARY, b"x" * k))
    result = run(talk.resp(response()))
    assert frames(result, "payload_len") == list(range(3 * MAX_PIECES_EACH))
    assert result.anomalies == {"http.early_upgrade": 1}


def test_many_connections_share_what_is_kept() -> None:
    """Those that find no room are read as HTTP; room is given back."""
    talks = []
    for k in range(MAX_PIECES + 50):
        talks.append(Talk(("10.0.0.1", 10_000 + k)).handshake().orig(request(), at="1s").orig(GET, at="2s"))
        talks[-1].resp(OK + OK, at="3s")
    result = run(merge(*talks, Talk().handshake(at="4s").orig(request() + GET).resp(OK + OK)))
    assert result.anomalies == {"http.early_cap": 50}
    assert [row["status"] for row in result.rows("http_requests")] == [200] * 2 * (MAX_PIECES + 51)
