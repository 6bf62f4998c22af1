"""HTTP/1 exchanges as traces: what is paired, how long bodies are, who keeps the connection and how it ended."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.protocols.http1 import reader
from tests.property.harness import Result, Row, run
from tests.talk import Talk, merge

pytestmark = pytest.mark.usefixtures("compiled")

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def exchanges(result: Result) -> list[Row]:
    return sorted(result.rows("http_requests"), key=lambda row: row["index"])


def only(talk: Talk) -> Row:
    (row,) = exchanges(run(talk))
    return row


def talk(*turns: bytes) -> Talk:
    """A connection on which client and server take turns."""
    made = Talk().handshake()
    for k, turn in enumerate(turns):
        made = made.resp(turn) if k % 2 else made.orig(turn)
    return made


# ------------------------------------------------------------------------------------------------ one exchange
def test_an_exchange() -> None:
    row = only(talk(GET, OK).orig_fin())
    assert (row["method"], row["target"], row["host"], row["version"]) == ("GET", "/", "a.example", "1.1")
    assert (row["status"], row["request_bytes"], row["response_bytes"]) == (200, 0, 2)
    assert (row["body_framing_c"], row["body_framing_s"]) == ("none", "length")
    assert row["complete"] and not row["reused"] and not row["pipelined"] and row["hol_wait_s"] is None
    assert (row["request_frame"], row["response_frame"]) == (4, 5)


def test_times_are_of_first_and_last_bytes() -> None:
    trace = Talk().handshake()
    trace = trace.orig(GET[:5], at="1s").orig(GET[5:], at="2s").resp(OK[:9], at="3s").resp(OK[9:], at="4s")
    row = only(trace)
    t0 = row["request_ts"]
    assert [row[name] - t0 for name in ("request_end_ts", "response_ts", "response_end_ts")] == [
        10**9,
        2 * 10**9,
        3 * 10**9,
    ]
    assert row["ttfb_s"] == pytest.approx(1.0)
    assert row["idle_before_s"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("request_head", "response", "framing", "length"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "none", 0),
        (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", "none", 0),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "none", 0),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "length", 0),
        (GET, b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n", "chunked", 5),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "chunked", 1),
    ],
)  # fmt: skip
def test_where_a_body_ends(request_head: bytes, response: bytes, framing: str, length: int) -> None:
    rows = exchanges(run(talk(request_head, response, GET, OK)))
    assert (rows[0]["body_framing_s"], rows[0]["response_bytes"], rows[0]["complete"]) == (framing, length, True)
    assert (rows[1]["status"], rows[1]["reused"]) == (200, True)


def test_a_body_until_close_needs_a_fin() -> None:
    start = talk(GET, b"HTTP/1.1 200 OK\r\n\r\nabc")
    ended = only(start.resp_fin().orig_ack().orig_fin().resp_ack())
    assert (ended["body_framing_s"], ended["response_bytes"], ended["complete"]) == ("close", 3, True)
    cut = run(talk(GET, b"HTTP/1.1 200 OK\r\n\r\nabc").resp_rst())
    assert exchanges(cut)[0]["complete"] is False
    assert exchanges(cut)[0]["response_bytes"] is None
    assert cut.close["graceful_app"] == "no"


def test_interim_responses_are_not_the_answer() -> None:
    head = b"POST /up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    row = only(talk(head, b"HTTP/1.1 100 Continue\r\n\r\n", b"abc", OK))
    assert (row["status"], row["request_bytes"], row["complete"], row["pipelined"]) == (200, 3, True, False)


def test_pipelining_and_head_of_line() -> None:
    trace = Talk().handshake().orig(GET, at="1s").orig(GET, at="1.1s").resp(OK, at="3s").resp(OK, at="3.1s")
    first, second = exchanges(run(trace))
    assert (first["pipelined"], second["pipelined"]) == (False, True)
    assert second["hol_wait_s"] == pytest.approx(1.9)
    assert first["hol_wait_s"] is None


def test_upgrade_hands_the_rest_on() -> None:
    ask = b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"
    switch = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    result = run(talk(ask, switch, b"GET /not HTTP/1.1\r\n\r\n"))
    (row,) = exchanges(result)
    assert (row["status"], row["upgrade"], row["complete"]) == (101, "foo", True)


def test_inside_a_connect_tunnel() -> None:
    ask = b"CONNECT b.example:80 HTTP/1.1\r\nHost: b.example:80\r\n\r\n"
    outer, inner = sorted(
        run(talk(ask, b"HTTP/1.1 200 OK\r\n\r\n", GET, OK)).rows("http_requests"), key=lambda row: row["request_frame"]
    )
    assert (outer["method"], outer["target"], outer["upgrade"]) == ("CONNECT", "b.example:80", "CONNECT")
    assert (inner["method"], inner["status"], inner["upgrade"]) == ("GET", 200, None)


# ------------------------------------------------------------------------------------------------ HTTP/0.9
@pytest.mark.parametrize("pieces", [(b"<p>", b"hello\n\n"), (b"HTTP", b" is a protocol"), (b"HTTP/", b"\x00\xff")])
def test_a_simple_request(pieces: tuple[bytes, ...]) -> None:
    trace = talk(b"GET /old \r\n\r\n")
    for piece in pieces:
        trace = trace.resp(piece)
    result = run(trace.resp_fin().orig_ack().orig_fin().resp_ack())
    (row,) = exchanges(result)
    assert (row["method"], row["target"], row["version"], row["status"]) == ("GET", "/old", "0.9", None)
    assert (row["body_framing_c"], row["body_framing_s"], row["complete"]) == ("none", "close", True)
    assert (row["response_bytes"], row["response_frame"]) == (sum(map(len, pieces)), 5)
    assert result.close["graceful_app"] == "yes"
    assert result.anomalies == {}


def test_a_simple_request_answered_by_a_newer_server() -> None:
    result = run(talk(b"GET /old\r\n").resp(b"HTTP").resp(b"/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"))
    (row,) = exchanges(result)
    assert (row["version"], row["status"], row["response_bytes"], row["complete"]) == ("0.9", 400, 2, True)
    assert row["response_frame"] == 5


def test_a_simple_request_stands_at_the_beginning() -> None:
    assert exchanges(run(Talk().orig(b"GET /old\r\n").resp(b"<p>"))) == []  # joined midstream


# ------------------------------------------------------------------------------------------------ odd heads
@pytest.mark.parametrize(
    ("response", "code", "complete"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "http.bare_lf", True),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "http.obs_fold", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "http.two_lengths", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "http.two_lengths", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "http.two_lengths", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok", "http.bad_framing", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "http.length_and_chunked", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "http.bad_chunk", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\nContent-Length: 2\r\n\r\nok", "http.oversized_head", True),
        (b"HTTP/1.1 200 OK\r\nNo colon here\r\nContent-Length: 2\r\n\r\nok", "http.bad_head", True),
    ],
)  # fmt: skip
def test_ambiguous_heads_are_counted(response: bytes, code: str, complete: bool) -> None:
    result = run(talk(GET, response))
    assert exchanges(result)[0]["complete"] is complete
    assert result.anomalies[code] >= 1


def test_a_line_without_an_end_is_told() -> None:
    endless = talk(b"GET / HTTP/1.1\r\nX: " + b"a" * 5000, b"").orig(b"a" * 5000).orig(b"a" * 5000)
    assert run(endless).anomalies == {"http.oversized_head": 1}


@pytest.mark.parametrize("cut", [45, 1000, 9000])
def test_a_fold_goes_on_with_the_field_before_it_wherever_a_line_too_long_is_cut(cut: int) -> None:
    head = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n" + b"A" * 9000 + b": x\r\n close\r\n\r\n"
    whole, pieces = Talk().handshake().orig(head, whole=True), Talk().handshake().orig(head[:cut]).orig(head[cut:])
    for trace in (whole, pieces):
        result = run(trace.resp(OK).resp_fin().orig_fin())
        assert result.rows("flows")[0]["requests"] == 1
        assert trigger(result)[0] == "connection_close_header"


def test_a_fold_behind_a_start_line_belongs_to_no_field() -> None:
    first, second = b"GET /1 HTTP/1.1\r\nConnection: a\r\n\r\n", b"GET /2 HTTP/1.1\r\n close\r\n\r\n"
    rows = exchanges(run(talk(first, OK, second, OK)))
    assert [row["connection_c"] for row in rows] == ["a", None]


def test_texts_that_two_rows_share_find_no_room_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts of open requests are kept for the request and for its connection: more than there was room for."""
    for name, size in (("HEAP_BYTES", 8000), ("_MUCH_TEXT", 4000)):
        monkeypatch.setattr(reader, name, size)
    host = b"h" * 200
    talks = [Talk(("10.1.0.1", 2000 + k), t0=100 + k).handshake() for k in range(60)]
    packets = merge(*[talk.orig(b"GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (k, host)) for k, talk in enumerate(talks)])
    result = run(packets, range(4, len(packets), 4))
    assert len(result.rows("http_requests")) == 60
    named = [row["host"] for row in result.rows("http_requests") if row["host"] is not None]
    assert set(named) == {host.decode()} and 0 < len(named) < 60
    assert {row["http_host"] for row in result.rows("flows")} == {host.decode(), None}
    assert result.anomalies["http.text_cap"] > 0


def test_a_clean_exchange_has_no_anomalies() -> None:
    assert run(talk(GET, OK, GET, OK).orig_fin()).anomalies == {}


@pytest.mark.parametrize("target", [b".", b"../../etc/passwd", b"*", b"http://a/", b"/"])
def test_targets_that_a_first_request_may_have(target: bytes) -> None:
    (row,) = exchanges(
        run(talk(b"GET " + target + b" HTTP/1.0\r\n\r\n", b"HTTP/1.0 400 Bad\r\nContent-Length: 0\r\n\r\n"))
    )
    assert (row["method"], row["target"], row["status"]) == ("GET", target.decode(), 400)


@pytest.mark.parametrize(
    "first",
    [
        b"GET .\r\n",
        b"EHLO a.example\r\n",
        b"GETAWAY now\r\n",
        b"OPTIONS * RTSP/1.0\r\n\r\n",
        b"GET key\r\n",
        b"POST /\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ],
)
def test_what_is_not_http_stays_unknown(first: bytes) -> None:
    result = run(talk(first, b"250 hello there, how are you\r\n"))
    assert exchanges(result) == []
    assert result.flow["requests"] is None
    assert result.close["race"] is None


# ------------------------------------------------------------------------------------------------ loss
def test_a_hole_inside_a_body_is_only_counted() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"
    trace = talk(GET, head + b"x" * 100).resp(b"y" * 100, unseen=True).resp(b"z" * 100).orig(GET).resp(OK)
    first, second = exchanges(run(trace))
    assert (first["response_bytes"], first["complete"]) == (300, True)
    assert second["status"] == 200


@pytest.mark.parametrize("kept", [14, 17, 22, 40])
def test_a_snap_length_leaves_requests_as_far_as_they_go(kept: int) -> None:
    """14 + 20 + 32 bytes of headers, then so many of each segment: with luck the request line, never the head."""
    asked = b"GET /a/path?q=1 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n"
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"y" * 300
    trace = talk(asked, said, asked.replace(b"GET", b"PUT"), said)
    result = run(trace.resp_fin().orig_fin().resp_ack(), snaplen=66 + kept)
    target = asked[4:kept].split()[0].decode() if kept < 40 else "/a/path?q=1"
    assert [(e["method"], e["target"], e["complete"]) for e in exchanges(result)] == [
        ("GET", target, False), ("PUT", target, False)
    ]  # fmt: skip
    assert [e["status"] for e in exchanges(result)] == ([200, 200] if kept > 14 else [None, None])
    assert (result.close["trigger"], result.close["graceful_app"], result.close["race"]) == (
        "unknown",
        "unknown",
        "none",
    )


def test_a_hole_in_a_request_line_moves_no_answer() -> None:
    """The capture lost a segment; it is told later than what answers it."""
    trace = talk().orig(b"GET /lost", at="1s").orig_drop(60).resp(OK, at="1.01s").orig_ack()
    for second in (2, 3, 4):
        trace.orig(GET.replace(b"GET / ", b"GET /%d " % second), at=second).resp(OK).orig_ack()
    result = run(trace.resp_fin(at="70s").orig_fin().resp_ack())
    whole = [(e["target"], e["status"]) for e in exchanges(result) if e["method"]]
    assert whole == [("/2", 200), ("/3", 200), ("/4", 200)]
    assert (result.close["trigger"], result.close["graceful_app"]) == ("idle_timeout", "yes")


@pytest.mark.parametrize("held", [1, 2])
def test_after_a_lost_request_the_next_ones_keep_their_answers(held: int) -> None:
    """Where they follow at once the hole is not told yet: each answer then comes before its request is read."""
    trace = talk().orig_drop(len(GET), at="1s").resp(OK, at="1.001s").orig_ack()
    for k in range(5):
        at = 1.002 + 0.002 * k if k < held else 2.0 + k
        trace.orig(GET.replace(b"/ ", b"/%d " % k), at=f"{at:.4f}s")
        trace.resp(OK.replace(b"200", b"%d" % (200 + k)), at=f"{at + 0.0005:.4f}s").orig_ack()
    result = run(trace.orig_fin(at="9s").resp_fin().orig_ack())
    asked = [row for row in exchanges(result) if row["target"]]
    assert [(row["target"], row["status"]) for row in asked] == [(f"/{k}", 200 + k) for k in range(5)]
    assert all(row["complete"] and not row["pipelined"] for row in asked)
    assert all(row["ttfb_s"] == pytest.approx(0.0005, abs=1e-6) for row in asked)
    assert [row["status"] for row in exchanges(result) if not row["target"]] == [200]
    assert result.close["trigger"] != "request_in_flight"


def test_an_answer_to_a_client_that_had_given_up_was_read_by_nobody() -> None:
    """A client's timeout, and a backend that answers later: its reset says that it was gone."""
    waited = talk().orig(GET, at="1s").orig_fin(at="3s").resp_ack().resp(OK, at="4s")
    close = run(waited.orig_rst(bare=True)).close
    assert (close["initiator"], close["trigger"], close["graceful_app"]) == ("client", "request_in_flight", "no")
    assert "nobody read it" in close["explanation"]
    patient = (
        talk().orig(GET, at="1s").orig_fin(at="1.1s").resp_ack().resp(OK, at="4s").orig_ack().resp_fin().orig_ack()
    )
    close = run(patient).close
    assert (close["close_kind"], close["graceful_app"]) == ("fin_half_close", "yes")  # it shut its sending side only


def test_after_a_lost_response_the_others_keep_their_requests() -> None:
    """Exchanges faster than a hole is waited for: the requests are read before the responses that came between them."""
    made = Talk(capture="server", rtt="1ms").handshake()
    for k in range(4):
        made.orig(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % k, at=1 + k / 1000)
        answer = b"HTTP/1.1 20%d OK\r\nContent-Length: 0\r\n\r\n" % k
        made.resp(answer, lost=True, unseen=True) if k == 1 else made.resp(answer)
    rows = exchanges(run(made.orig_ack().wait(1).orig_fin().resp_fin().orig_ack()))
    assert [(row["target"], row["status"]) for row in rows] == [("/0", 200), ("/1", None), ("/2", 202), ("/3", 203)]
    assert not any(row["pipelined"] for row in rows)


def test_an_interim_response_that_a_snap_length_cuts_is_not_the_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </%s.css>\r\n\r\n" % (b"s" * 200)
    packets = Talk().handshake().orig(GET).resp(hints).resp(OK).orig_ack().packets
    (row,) = exchanges(run(packets, snaplen=120))
    assert row["status"] == 200


def test_an_answer_before_the_end_of_an_upload_has_no_waiting_time() -> None:
    upload = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    made = Talk().handshake().orig(upload + b"some").resp(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    row = only(made.orig(b" more"))
    assert (row["status"], row["ttfb_s"]) == (413, None)


def test_a_version_that_was_cut_off_is_not_known() -> None:
    result = run(talk(b"GET /a HTTP/1.0\r\n\r\n", OK), snaplen=66 + 9)
    assert [(e["method"], e["target"], e["version"]) for e in exchanges(result)] == [("GET", "/a", None)]


def test_a_second_answer_to_a_request_that_goes_on_concerns_nobody_else() -> None:
    """It takes away the exchange whose request is still being read, and another connection gets its place."""
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    one = Talk().handshake().orig(post % 1000 + b"x" * 10, at="1s").resp(OK, at="1.1s").resp(OK, at="1.2s").orig_ack()
    one.orig(b"x" * 10, at="3s").resp_ack().orig(b"x" * 980, at="9s").resp_ack()
    two = Talk(("10.0.0.9", 50000)).handshake(at="0.5s").orig(post % 2000 + b"y" * 10, at="2s").resp_ack()
    two.orig(b"y" * 20, at="20s").resp_ack()
    together = run(merge(one, two))
    for flow_id, alone in enumerate((run(one), run(two))):
        assert told(together, flow_id) == told(alone, 0)


def told(result: Result, flow_id: int) -> list[tuple[Any, ...]]:
    rows = [row for row in exchanges(result) if row["flow_id"] == flow_id]
    gaps = [row for row in result.rows("idle_gaps") if row["flow_id"] == flow_id and row["class"] != "trailing"]
    names = ("status", "request_bytes", "request_end_ts", "response_end_ts", "complete")
    return [*(tuple(row[name] for name in names) for row in rows), *((row["class"], row["start_ts"]) for row in gaps)]


def test_text_that_a_snap_length_cuts_is_no_request() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"
    body = b"POST OFFICE opens at nine. /etc/hosts is a file. " * 40
    asked = b"PUT /x HTTP/1.1\r\nContent-Length: 4000\r\n\r\n"
    result = run(talk(asked + body, said + body), snaplen=100)
    assert [e["method"] for e in exchanges(result)] == ["PUT"]


def test_after_a_hole_in_a_head_the_next_one_is_found() -> None:
    trace = talk(GET).resp(OK[:20]).resp(OK[20:], unseen=True).orig(GET).resp(OK).orig(GET).resp(OK)
    rows = exchanges(run(trace))
    assert [row["complete"] for row in rows] == [False, True, True]
    assert [row["status"] for row in rows] == [200, 200, 200]


def test_joined_midstream() -> None:
    trace = Talk().orig(b"rest of a body").resp(b"some more").orig(GET).resp(OK)
    (row,) = exchanges(run(trace))
    assert (row["method"], row["status"], row["complete"]) == ("GET", 200, True)


def test_one_direction_only() -> None:
    trace = Talk().handshake()
    for _ in range(3):
        trace = trace.orig(GET).resp(OK, unseen=True)
    rows = exchanges(run(trace))
    assert [row["method"] for row in rows] == ["GET"] * 3
    assert all(row["status"] is None and not row["complete"] for row in rows)


# ------------------------------------------------------------------------------------------------ closes
def closing(*turns: bytes, server: bool = True, after: str = "0.01s") -> Result:
    trace = talk(*turns)
    delay = float(after[:-1]) + 1
    trace = trace.resp_fin(at=delay) if server else trace.orig_fin(at=delay)
    trace = trace.orig_ack().orig_fin().resp_ack() if server else trace.resp_ack().resp_fin().orig_ack()
    return run(trace)


def trigger(result: Result) -> Any:
    return result.close["trigger"], result.close["graceful_app"]


def test_triggers_of_a_close() -> None:
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5, max=0\r\nContent-Length: 2\r\n\r\nok"
    old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert trigger(closing(GET, said, after="0s")) == ("connection_close_header", "yes")
    assert trigger(closing(GET, last, after="0s")) == ("keepalive_max_reached", "yes")
    assert trigger(closing(GET, OK, after="30s")) == ("idle_timeout", "yes")
    assert trigger(closing(GET, after="0s")) == ("request_in_flight", "no")
    assert closing(GET, old, after="0s").close["graceful_app"] == "yes"


def test_who_announced_the_close() -> None:
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    kept = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert closing(GET, OK).close["announced_by"] is None
    assert closing(GET, said).close["announced_by"] == "server"
    assert closing(asked, said).close["announced_by"] == "client"
    assert closing(b"GET / HTTP/1.0\r\n\r\n", OK).close["announced_by"] == "client"
    assert closing(kept, OK).close["announced_by"] is None


@pytest.mark.parametrize("status", [b"413 Too Large", b"401 Unauthorized"])
def test_an_answer_before_the_request_was_whole(status: bytes) -> None:
    """It is the final one: nothing waits any more, whether the rest comes or not (RFC 9110 section 10.1.1)."""
    asked = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 500
    said = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
    result = run(talk(asked, said).resp_fin(at="6s").orig_fin().resp_ack())
    assert (result.close["race"], result.close["trigger"]) == ("none", "connection_close_header")
    assert result.close["graceful_app"] == "yes"
    reset = run(talk(asked, said).orig(b"x" * 500, at="6s").resp_rst(at="6.0001s"))
    assert reset.close["race"] == "none"


def test_keep_alive_race() -> None:
    trace = talk(GET, OK).resp_fin(at="6s").orig(GET, at="6.00001s", ack=1 + len(OK)).resp_rst(at="6.0001s")
    result = run(trace)
    assert (result.close["race"], result.close["trigger"]) == ("race", "request_in_flight")
    assert "crossed" in result.close["explanation"]


def test_stale_reuse() -> None:
    trace = talk(GET, OK).resp_fin(at="6s").orig_ack(at="6.001s").orig(GET, at="9s").resp_rst(at="9.0001s")
    assert run(trace).close["race"] == "stale_reuse"


def test_classes_of_silences() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    trace = Talk().handshake().orig(GET, at="1s").resp(head + b"abc", at="4s").resp(b"def", at="8s").orig(GET, at="20s")
    assert [gap["class"] for gap in run(trace).gaps][-3:] == ["server_wait", "stream_pause", "think_time"]


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1%016x\r\n" % 0,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
        b"Content-Length: 18446744073709551615\r\n\r\n",
        b"Content-Length: 18446744073709551617\r\n\r\n",
        b"Content-Length: 11529215046068469761\r\n\r\n",
    ],
)
def test_a_length_that_fits_into_no_number_wraps_to_none(head: bytes) -> None:
    """RFC 9110 section 8.6. What follows is read on its own, as Zeek and tshark do, however kernels run."""
    said = b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    result = run(Talk().handshake().orig(said).resp_ack())
    assert [row["target"] for row in result.rows("http_requests")] == ["/", "/smuggled"]
    assert not result.rows("http_requests")[0]["complete"]


def test_a_reset_in_the_middle_of_a_conversation_is_no_race() -> None:
    """Nobody closed: a firewall rejects a request for which there was no silence. A RST sent before crosses it."""
    busy = Talk(rtt="40ms").handshake().orig(GET, at="1s").resp(OK).orig_ack().orig(GET, at="1.5s")
    rejected = run(busy.resp_rst(bare=True, at="1.5001s"))
    assert (rejected.close["race"], rejected.rows("findings")) == ("none", [])
    crossed = Talk(rtt="40ms", capture="middle").handshake().orig(GET, at="1s").resp(OK).orig_ack()
    assert run(crossed.resp_rst(at="1.3s").orig(GET, at="1.305s")).close["race"] == "race"
