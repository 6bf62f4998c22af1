"""Findings: each code as a trace, none of a clean capture, the worst and farthest first, words with their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from analyzer.classify.finding_codes import CODES, SEVERITIES
from analyzer.classify.findings import MOST_SERVERS
from tests import http2
from tests import tlswire as tls
from tests.fleet import Timer, fleet
from tests.messages import MQTT_CONNECT
from tests.property.harness import run
from tests.talk import Packet, Talk, merge
from tests.unit.classify import test_closing as closes

Row = dict[str, Any]


def findings(trace: Talk | list[Packet]) -> list[Row]:
    return run(trace).rows("findings")


def only(trace: Talk | list[Packet]) -> Row:
    (row,) = findings(trace)
    return row


def used(number: int = 1, port: int = 80) -> Talk:
    talk = Talk((f"10.0.1.{number}", 40000), ("10.0.0.2", port))
    return talk.handshake().orig(b"\x01request", at="1s").resp(b"\x01response").orig_ack()


def http(number: int = 1) -> Talk:
    talk = Talk((f"10.0.1.{number}", 40000), ("10.0.0.2", 80)).handshake()
    return talk.orig(GET, at=1).resp(OK).orig_ack()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOTHING = b"HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n"
PROMISE = OK.replace(b"Content", b"Keep-Alive: timeout=60\r\nContent")


def waiting(number: int = 1) -> Talk:
    """A client whose second request, a long poll, is not answered."""
    return http(number).orig(GET, at=2).resp_ack()


def gateway_timeout(number: int = 1) -> Talk:
    answer = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return waiting(number).resp(answer, at=32).resp_fin().orig_ack().orig_fin().resp_ack()


def long_polls(number: int = 1) -> Talk:
    """Answered with an event or, by the server's timer, with nothing."""
    talk, at = http(number), 2.0
    for wait, answer in ((25.1, OK), (30, NOTHING), (28.4, OK), (30, NOTHING), (30, NOTHING), (30, NOTHING)):
        talk.orig(GET, at=at).resp_ack().resp(answer, at=at + wait).orig_ack()
        at += wait + 0.03
    return talk.wait("1s").orig_fin().resp_fin().orig_ack()


def pinging(*, answered: int, every: int = 10) -> Talk:
    """A Redis client that pings, four times, `answered` of them with an answer."""
    talk = Talk().handshake()
    for k in range(4):
        talk.orig(b"PING\r\n", at=(k + 1) * every)
        talk = talk.resp(b"+PONG\r\n").orig_ack() if k < answered else talk.resp_ack()
    return talk


def busy(*, every: int) -> Talk:
    """A client that pings four times; other commands come between, so that no silence is as long as the period."""
    talk = Talk().handshake()
    for k in range(4):
        talk.orig(b"GET a\r\n", at=(k + 0.5) * every).resp(b"$1\r\na\r\n").orig_ack()
        talk.orig(b"PING\r\n", at=(k + 1) * every).resp(b"+PONG\r\n").orig_ack()
    return talk


def cut_body() -> Talk:
    """A response of 100 bytes of which 5 came."""
    talk = Talk().handshake().orig(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return talk.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst").orig_ack()


def window_used_up() -> Talk:
    talk = http2.H2().begin().ask(1)
    talk.resp(talk.callee.headers(1, http2.OK))
    for k in range(5):
        talk.resp(http2.data(1, bytes(13_107)), at=2 + k / 100)
    talk.orig(http2.widened(70_000, 1) + http2.widened(70_000), at=7)
    return talk.resp(http2.data(1, b"rest", end=True)).finish()


def bled() -> Talk:
    talk = Talk().handshake().orig(tls.record(22, tls.client_hello(heartbeat=True)))
    talk.resp(tls.record(22, tls.server_hello(heartbeat=True))).orig(tls.record(24, b"\1\x40\0"))
    return talk.resp(tls.record(24, b"\2\x40\0" + b"m" * 16381))


def told_to_calm_down() -> Talk:
    talk = Talk().handshake().orig(http2.PREFACE + http2.settings()).resp(http2.settings()).orig_ack()
    for k in range(3):
        talk.orig(http2.ping(), at=k + 1)
    return talk.resp(http2.goaway(0, 11, b"too_many_pings")).resp_fin().orig_fin().resp_ack()


def dead_peer() -> Talk:
    talk = used().orig(b"hello", at=400, lost=True)
    for k in range(6):
        talk.orig_retransmit(at=400 + 0.3 * 2**k, lost=True)
    return talk.orig_rst(at=450)


def late_probe() -> Talk:
    return used().orig_probe(at=500).resp_rst(bare=True)


def probes_in_vain() -> Talk:
    talk = used()
    for at in range(16, 60, 15):
        talk.orig_probe(at=at).resp_ack()
    return talk.resp_fin(at=61).orig_fin().resp_ack()


def stalled() -> Talk:
    talk = used().orig_ack(win=0)
    for k in range(5):
        talk.resp_probe(at=2 + 0.4 * 2**k).orig_ack(win=0)
    return talk.orig_ack(at=10, win=500).resp(b"at last").orig_ack().orig_fin(at=11).resp_fin().orig_ack()


def injected() -> Talk:
    talk = used().orig(b"request", at=10).resp_rst(at=10.002, ttl=40, options=b"")
    return talk.resp(b"response", at=10.03).orig_rst(bare=True)


def raced() -> Talk:
    return http().resp_fin(at=6).orig(GET, at=6.005, ack=1 + len(OK)).resp_rst(at=6.03, bare=True)


def broken_promise() -> Talk:
    talk = Talk(("10.0.1.1", 40000), ("10.0.0.2", 80)).handshake()
    return talk.orig(GET, at=1).resp(PROMISE).orig_ack().resp_fin(at=21).orig_fin().resp_ack()


def silent_subscriber(silence: float = 95) -> Talk:
    """An MQTT client that promised to speak each 60 s."""
    talk = Talk().handshake().orig(MQTT_CONNECT, at=1).resp(b"\x20\2\0\0").orig_ack()
    return talk.resp_fin(at=1 + silence).orig_fin().resp_ack()


def given_up(k: int, tried: float, reset: bool = True) -> Talk:
    """A request that is repeated for so long, and then no more."""
    talk, at = used(k).orig(b"hello", at=40 + k, lost=True), 0.3
    while at < tried:
        talk.orig_retransmit(at=40 + k + at, lost=True)
        at *= 2
    return talk.orig_rst(at=40 + k + tried) if reset else talk


def old_connection() -> list[Packet]:
    """A host that restarted takes the ports of a connection that its server still has (RFC 9293 section 3.5.1)."""
    anew = Talk(("10.0.1.1", 40000), ("10.0.0.2", 80), isn=(900_000_000, 2_000_000))
    old = used()
    anew.syn(at=300).resp_ack(seq=old.server.snd_nxt, ack=1_000_000 + old.client.snd_nxt - 900_000_000)
    return merge(old, anew.orig_rst(bare=True, seq=1_000_000 + old.client.snd_nxt - 900_000_000))


def balanced(front_s: float, back_s: float) -> list[Packet]:
    """Clients, a load balancer that they talk to, and its backend."""
    front = fleet(Timer(front_s), 40, early=0.0, survivors=0.0, server=("10.0.0.2", 443))
    back = []
    for k in range(40):
        talk = Talk(("10.0.0.2", 30000 + k), ("10.0.9.1", 8080)).handshake(at=7 * k).orig(b"x" * 99).resp(b"y" * 99)
        talk.orig_ack().wait(back_s).resp_fin().orig_fin().resp_ack()
        back.append(talk)
    return merge(front, *back)


def beating_near_a_timeout() -> list[Packet]:
    """One client keeps its connection open, just so; the others are closed after a minute."""
    talk = Talk(("10.0.7.7", 40000), ("10.0.0.2", 443)).handshake(at=3)
    for k in range(1, 6):
        talk.orig(b"PING\r\n", at=50 * k).resp(b"+PONG\r\n").orig_ack()
    return merge(talk.orig_fin().resp_fin().orig_ack(), fleet(Timer(60), 40, early=0.0, survivors=0.0))


def among_others(talk: Talk, until: int) -> list[Packet]:
    """A connection in a capture that goes on, with others that begin and end."""
    others = [used(k, 81).wait(150 * k).orig_fin().resp_fin().orig_ack() for k in range(1, until // 150)]
    return merge(talk, *others, closes.later(used(99, 81).orig_fin().resp_fin().orig_ack(), until))


CASES: dict[str, Callable[[], Any]] = {
    "peer.dead": dead_peer,
    "close.stale_connection": lambda: used().orig(b"more", at=300).resp_rst(bare=True),
    "keepalive.too_late": late_probe,
    "keepalive.state_lost": lambda: used().orig_probe(at=60).resp_ack().orig_probe(at=120).resp_rst(bare=True),
    "keepalive.not_counted": probes_in_vain,
    "close.half_closed_leak": lambda: closes.later(used().resp_fin(at=2).orig_ack(), 100),
    "stall.zero_window": stalled,
    "http2.window_stall": window_used_up,
    "http.request_unfinished": lambda: http().orig(GET[:20], at=2).resp_ack().resp_fin(at=62).orig_fin().resp_ack(),
    "http2.unserved": lambda: http2.H2().begin().ask(1).ask(3).ask(5).answer(1).resp(http2.goaway(1)).finish(),
    "tls.heartbleed": bled,
    "reset.middlebox": injected,
    "heartbeat.unanswered": lambda: pinging(answered=3).orig_fin(at=45).resp_fin().orig_ack(),
    "heartbeat.too_slow": lambda: busy(every=40).resp_rst(at=190),
    "http2.enhance_your_calm": told_to_calm_down,
    "http.cut_short": lambda: cut_body().resp_fin().orig_ack().orig_fin().resp_ack(),
    "http.max_requests": lambda: merge(*(limited(k, 20) for k in range(4)), limited(5, 12)),
    "close.burst": lambda: merge(*(ended(k, 300 + 0.2 * k) for k in range(8))),
    "heartbeat.promise_broken": silent_subscriber,
    "heartbeat.little_room": beating_near_a_timeout,
    "close.zombie": lambda: among_others(used(), 1000),
    "connect.half_open": old_connection,
    "timeout.backend_first": lambda: balanced(60, 5),
    "timeout.unacknowledged": lambda: merge(*(given_up(k, 20 + 0.05 * k) for k in range(1, 5))),
    "http.keepalive_race": raced,
    "http.stale_reuse": lambda: http().resp_fin(at=6).orig_ack().orig(GET, at=10).resp_rst(bare=True),
    "http.silent_drop_reuse": lambda: http().orig(GET, at=300).resp_rst(bare=True),
    "http.half_race": lambda: http().orig(GET, at=1.5).resp_ack().resp_rst(at=1.7),
    "reset.ignored": lambda: used().resp_rst(bare=True, seq=60_000, at=2).orig(b"go on", at=2.5).resp_ack(),
    "close.icmp": closes.icmp_abort,
    "connect.refused": closes.refused,
    "connect.no_answer": lambda: closes.later(closes.syn_timeout(), 60),
    "connect.unfinished": lambda: closes.later(closes.synack_timeout(), 60),
    "timeout.path": lambda: fleet(Timer(350, clock="wire", by="path", how="silent"), 40, early=0.0, survivors=1.0),
    "http.closes_early": broken_promise,
    "http.wait_cut": lambda: merge(waiting(1).resp_fin(at=32).orig_ack().orig_fin().resp_ack(), gateway_timeout(2)),
    "close.unread_data": lambda: used().orig(b"more", at=1.3).resp_ack().resp_rst(at=1.5),
    "timeout.idle": lambda: fleet(Timer(60), 40, early=0.0, survivors=0.0),
    "timeout.pair_mismatch": lambda: merge(
        fleet(Timer(60), 40, early=0.0, survivors=0.0),
        fleet(Timer(60, by="client"), 40, early=0.0, survivors=0.0, seed=2),
    ),
    "timeout.lifetime": lambda: fleet(Timer(3600, clock="age"), 40, early=0.0),
}


@pytest.mark.parametrize("code", CASES)
def test_each_code_as_a_trace(code: str) -> None:
    rows = [row for row in findings(CASES[code]()) if row["code"] == code]
    (row,) = rows
    assert row["severity"] == CODES[code].severity_of(len(row["flow_ids"].split()))
    assert row["endpoint"] and row["reference"] == CODES[code].reference
    assert 0 < row["confidence"] <= 1
    for text in (row["title"], row["explanation"], row["recommendation"]):
        assert "{" not in text and "nan" not in text
    if not code.startswith("timeout") and code != "heartbeat.little_room":
        assert row["evidence_frames"]


def test_a_pool_that_overlooks_a_fin_is_told_whatever_it_speaks() -> None:
    """Where no protocol is read there is no race; a late alert, or a late answer of the server, is no use of a pool."""
    overlooked = used().resp_fin(at=6).orig_ack().orig(b"more", at=10).resp_rst(bare=True)
    assert [row["code"] for row in findings(overlooked)] == ["close.stale_connection"]
    answered = used().orig(b"slow", at=2).resp_ack().orig_fin(at=5).resp_ack().resp(b"late", at=10).orig_rst(bare=True)
    assert "close.stale_connection" not in [row["code"] for row in findings(answered)]


def limited(k: int, requests: int) -> Talk:
    """A connection that the server ends right after so many responses."""
    talk = Talk((f"10.0.1.{k + 1}", 40000), ("10.0.0.2", 80)).handshake()
    for _ in range(requests):
        talk.orig(GET).resp(OK).orig_ack()
    return talk.resp_fin().orig_fin().resp_ack()


def ended(k: int, at: float) -> Talk:
    """One of several connections to a server, each begun and last used at another time, that the server ends."""
    talk = Talk((f"10.0.1.{k + 1}", 40000), ("10.0.0.2", 80)).handshake(at=1 + 3 * k)
    talk.orig(b"hi", at=100 + 25 * (k % 8)).resp(b"ho").orig_ack()
    return talk.resp_fin(at=at).orig_fin().resp_ack()


CLEAN: dict[str, Callable[[], Any]] = {
    "fin": lambda: used().orig_fin(at=2).resp_fin().orig_ack(),
    "server closes": lambda: used().resp_fin(at=2).orig_fin().resp_ack(),
    "still open": lambda: closes.later(used(), 30),
    "http": lambda: http().orig_fin(at=2).resp_fin().orig_ack(),
    "idle close": lambda: http().resp_fin(at=66).orig_fin().resp_ack(),
    "answered probes": lambda: used().orig_probe(at=61).resp_ack().orig_fin(at=62).resp_fin().orig_ack(),
    "client aborts": lambda: used().orig_rst(at=1.5),
    "answers fin with rst": lambda: used().resp_fin(at=2).orig_ack().orig_rst(at=2.01),
    "browser has read enough": lambda: used().resp(b"more", at=2).orig_ack().orig_rst(at=2.1),
    "retransmission": lambda: used().orig(b"x", at=2, lost=True).orig_retransmit(at=2.3).resp_ack()
    .orig_fin(at=3).resp_fin().orig_ack(),
    "answered heartbeats": lambda: pinging(answered=4).orig_fin(at=45).resp_fin().orig_ack(),
    "an end before an answer could come": lambda: pinging(answered=3).orig_fin(at=40.3).resp_fin().orig_ack(),
    "the one who was asked leaves": lambda: pinging(answered=3).resp_fin(at=45).orig_fin().resp_ack(),
    "servers that end at different counts": lambda: merge(*(limited(k, 20 + k) for k in range(4))),
    "closes one after the other": lambda: merge(*(ended(k, 300 + 11 * k) for k in range(8))),
    "closes at a steady rate": lambda: merge(*(ended(k, 300 + 0.3 * k) for k in range(60))),
    "long polls": long_polls,
    "a client that waits no longer": lambda: waiting().orig_fin(at=32).resp_fin().orig_ack(),
    "nothing": Talk,
}  # fmt: skip


def test_a_server_that_stops_before_it_answers_cut_the_exchange() -> None:
    row = only(waiting().resp_fin(at=2.5).orig_ack().orig_fin().resp_ack())
    assert row["code"] == "http.cut_short"
    assert run(cut_body().resp_fin().orig_ack().orig_fin()).close["explanation"].endswith("or not all of it.")


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_capture_has_none(name: str) -> None:
    assert findings(CLEAN[name]()) == []


def test_advice_has_numbers() -> None:
    row = only(fleet(Timer(60), 40, early=0.0, survivors=0.0))
    assert row["title"].startswith("Idle timeout of 60 s (40 connections), kept by the server")
    assert "each 20 s, 30 s at most" in row["recommendation"]
    assert "before 59 s" in row["recommendation"] and "65 s or" in row["recommendation"]
    assert "AWS ALB" in row["explanation"]


def test_a_client_that_gives_up_well_before_is_no_mismatch() -> None:
    client = fleet(Timer(30, by="client"), 40, early=0.0, survivors=0.0, seed=2)
    rows = findings(merge(fleet(Timer(60), 40, early=0.0, survivors=0.0), client))
    assert "timeout.pair_mismatch" not in {row["code"] for row in rows}


def test_the_silence_before_a_request_that_crossed_a_fin_is_the_connections() -> None:
    """Not the moment since the FIN; and the client's pool must stay below the server's patience."""
    row = only(raced())
    assert row["code"] == "http.keepalive_race"
    assert "(observed: 4.98 s, so at most 3.98 s)" in row["recommendation"]
    assert run(raced()).rows("http_requests")[1]["idle_before_s"] == pytest.approx(5, abs=0.1)


def test_a_pool_that_did_not_look_is_told_the_servers_patience() -> None:
    row = only(http().resp_fin(at=6).orig_ack().orig(GET, at=9).resp_rst(bare=True))
    assert row["code"] == "http.stale_reuse"
    assert "server's timeout (observed: 4.98 s)" in row["recommendation"]


def test_a_broker_that_closes_before_the_promise_is_broken() -> None:
    assert findings(silent_subscriber(60)) == []
    result = run(silent_subscriber())
    assert result.close["trigger"] == "idle_timeout"
    assert "at least every 60 s (MQTT keep-alive)" in result.close["explanation"]
    assert "longer than the 90 s" in result.close["explanation"]


def test_a_limit_for_unacknowledged_data_without_a_reset_is_bounded() -> None:
    """Nothing tells when the kernel gave up, only which repetition never came."""
    waiting = closes.later(used(9), 400)
    (row,) = [
        row
        for row in findings(merge(*(given_up(k, 9, reset=False) for k in range(1, 5)), waiting))
        if row["code"] == "timeout.unacknowledged"
    ]
    assert row["title"] == "Unacknowledged data is given up after 4.8 to 10.1 s (4 connections), by the client"


@pytest.mark.parametrize("tried", [(20, 40, 60), (20, 20)])
def test_different_times_are_no_limit(tried: tuple[float, ...]) -> None:
    rows = findings(merge(*(given_up(k + 1, seconds) for k, seconds in enumerate(tried))))
    assert "timeout.unacknowledged" not in {row["code"] for row in rows}


def test_a_backend_that_waits_longer_is_right() -> None:
    codes = {row["code"] for row in findings(balanced(60, 75))}
    assert codes == {"timeout.idle"}
    (row,) = [row for row in findings(balanced(60, 5)) if row["code"] == "timeout.backend_first"]
    assert row["endpoint"] == "10.0.9.1:8080"
    assert "after 5.02 s, the load balancer before it after 60 s" in row["title"]
    assert "timeout 65 s or more" in row["recommendation"] and "before 4.02 s" in row["recommendation"]


def test_a_server_is_not_behind_itself() -> None:
    """On one host any program may be the client: a capture of the loopback interface shows addresses of nobody."""
    talks = []
    for k in range(40):
        talk = Talk(("127.0.0.1", 30000 + k), ("127.0.0.1", 8080)).handshake(at=7 * k).orig(b"x" * 99).resp(b"y" * 99)
        talks.append(talk.orig_ack().wait("5s").resp_fin().orig_fin().resp_ack())
    assert "timeout.backend_first" not in {row["code"] for row in findings(merge(*talks))}


def test_a_promise_that_was_kept_until_the_last_words() -> None:
    """What is said just before the close is payload; the silence that counts is the one before it."""
    for silence, kept in ((60, True), (20, False)):
        talk = Talk(("10.0.1.1", 40000), ("10.0.0.2", 80)).handshake()
        talk.orig(GET, at=1).resp(PROMISE).orig_ack()
        talk.resp(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", at=1 + silence).resp_fin()
        rows = findings(talk.orig_fin().resp_ack())
        assert ("http.closes_early" not in {row["code"] for row in rows}) == kept, silence


def test_a_quiet_connection_that_is_probed_is_no_zombie() -> None:
    talk = used()
    for at in range(200, 1000, 200):
        talk.orig_probe(at=at).resp_ack()
    assert findings(among_others(talk, 1000)) == []


def test_a_capture_that_was_paused_knows_no_zombies() -> None:
    assert findings(closes.later(used(), 1000)) == []


def test_the_path_is_bounded() -> None:
    rows = findings(fleet(Timer(350, clock="wire", by="path", how="silent"), 40, early=0.0, survivors=1.0))
    codes = [row["code"] for row in rows]
    assert codes[0] == "peer.dead" and "timeout.path" in codes
    row = rows[codes.index("timeout.path")]
    assert re.search(r"after 3[0-4]\d to 35\d s", row["title"])
    assert "AWS NAT gateway" in row["explanation"]


def test_one_refusal_is_a_note_three_are_a_warning() -> None:
    def refused(n: int) -> list[Packet]:
        return merge(*(Talk((f"10.0.1.{k}", 999)).syn(at=k).resp_rst() for k in range(1, n + 1)))

    assert only(refused(1))["severity"] == "note"
    assert only(refused(1))["title"] == "1 connection refused"
    row = only(refused(3))
    assert (row["severity"], row["title"], row["flow_ids"]) == ("warning", "3 connections refused", "0 1 2")


def test_a_scan_is_one_finding() -> None:
    scan = merge(*(Talk(server=("10.0.0.9", port)).syn(at=port / 1000).resp_rst() for port in range(1, 200)))
    row = only(scan)
    assert row["endpoint"] is None
    assert (row["severity"], row["title"]) == ("note", "199 connections refused, at 199 servers")
    few = merge(*(Talk(server=("10.0.0.9", p)).syn(at=p).resp_rst() for p in range(1, MOST_SERVERS + 1)))
    assert len(findings(few)) == MOST_SERVERS


def test_the_worst_and_farthest_come_first() -> None:
    refused = [Talk((f"10.0.3.{k}", 999), ("10.0.0.3", 80)).syn(at=k).resp_rst() for k in range(1, 6)]
    stale = [used(k, 443).orig(b"more", at=300 + k).resp_rst(bare=True) for k in (1, 2)]
    rows = findings(merge(*refused, *stale, dead_peer()))
    assert [row["code"] for row in rows][:3] == ["peer.dead", "connect.refused", "close.stale_connection"]
    assert [row["finding_id"] for row in rows] == list(range(len(rows)))
    order = [SEVERITIES.index(row["severity"]) for row in rows]
    assert order == sorted(order)


def test_batching_is_invisible() -> None:
    trace = merge(dead_peer(), *(used(k, 443).orig(b"more", at=300 + k).resp_rst(bare=True) for k in (2, 3)))
    assert findings(trace) == run(trace, range(0, len(trace), 3)).rows("findings")


# ------------------------------------------------------------------------------------------------ the registry
def test_a_silence_far_shorter_than_one_that_was_survived_is_no_timeout() -> None:
    """The path was cut between two beats that were always in time."""
    for at in (170, 190, 199):
        rows = findings(pinging(answered=4, every=40).resp_rst(at=at))
        assert "heartbeat.too_slow" not in {row["code"] for row in rows}


def test_a_race_seen_beside_the_client_tells_the_server_s_patience() -> None:
    """There the request goes out before the FIN comes: the silence before the FIN began with the request."""
    talk = http().orig(GET, at=6.005, lost=True).resp_fin(at=6.01, ack=1 + len(GET)).resp_rst(at=6.03, bare=True)
    (row,) = [row for row in findings(talk) if row["code"] == "http.keepalive_race"]
    assert "observed: 4.99 s" in row["recommendation"]


def test_every_code_has_its_trace() -> None:
    assert set(CASES) == set(CODES)


def test_every_code_is_complete() -> None:
    for name, code in CODES.items():
        assert re.fullmatch(r"[a-z][a-z0-9]*\.[a-z_]+", name)
        assert code.severity in SEVERITIES and code.reference and code.title
        assert len(code.explanation) > 60 and len(code.recommendation) > 40
        assert code.seconds or not re.search(r"{(low|median|high|half|third|plus5|minus1)}", code.recommendation)


# ------------------------------------------------------------------------------------------ resets that end nothing
@pytest.mark.parametrize("again", [20.03, 21.0])
def test_a_client_that_met_its_old_connection(again: float) -> None:
    """It rebooted, or a NAT gave its port to another: RFC 9293 section 3.5.1. Nothing was injected."""
    old = used()
    new = Talk(("10.0.1.1", 40000), isn=(9_000_000, 8_000_000)).syn(at=20)
    new.resp_ack(seq=-5_999_990, ack=-7_999_991, at=20.02, lost=True).orig_rst(bare=True, seq=-7_999_991)
    second = Talk(("10.0.1.1", 40000), isn=(9_000_000, 8_000_000)).syn(at=again).syn_ack().ack().orig(b"hi").resp(b"ok")
    rows = findings(merge(old, new, second))
    assert [(row["code"], row["flow_ids"]) for row in rows] == [("connect.half_open", "1")]


def test_a_reset_after_a_complete_close_is_not_said_to_be_ignored() -> None:
    talk = used().orig_fin(at="2s").resp_fin().orig_ack().resp_retransmit(at="4s").orig_rst(bare=True, at="4.001s")
    assert findings(talk.resp_retransmit(at="9s").orig_rst(bare=True, at="9.001s")) == []


@pytest.mark.parametrize(
    "talk",
    [
        http2.H2().begin().ask(1).ask(3).answer(1).answer(3).resp(http2.goaway(3)).finish(),
        http2.H2()
        .begin()
        .ask(1)
        .resp(http2.goaway(2**31 - 1))
        .ask(3)
        .resp(http2.goaway(3))
        .answer(1)
        .answer(3)
        .finish(),
        http2.H2().begin().ask(1).orig(http2.goaway(0)).answer(1).finish(),
    ],
    ids=["all served", "two steps", "of the client"],
)
def test_a_goaway_that_leaves_nothing_unserved(talk: Talk) -> None:
    assert "http2.unserved" not in [row["code"] for row in findings(talk)]


def test_who_gave_up_on_an_answer_had_not_enough_of_anything() -> None:
    """gRPC's client says ENHANCE_YOUR_CALM where its own keepalive ping has no answer."""
    talk = http2.H2().begin().ask(1).orig(http2.ping(), at=5).resp_ack()
    talk.orig(http2.goaway(0, 11, b"ping_timeout"), at=8).orig_fin().resp_ack().resp_fin().orig_ack()
    assert "http2.enhance_your_calm" not in [row["code"] for row in findings(talk)]


def test_a_request_that_came_after_the_goaway() -> None:
    talk = http2.H2().begin().ask(1).answer(1).resp(http2.goaway(1)).ask(3).finish()
    assert "http2.unserved" in [row["code"] for row in findings(talk)]


HALF = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def test_a_request_that_is_never_finished() -> None:
    """Its body stalls, and the server says so before it closes: it was not the server that failed to answer."""
    talk = http().orig(HALF + bytes(1000), at=2).resp_ack().resp(TIMED_OUT, at=32).resp_fin().orig_fin().resp_ack()
    result = run(talk)
    (row,) = result.rows("findings")
    assert row["code"] == "http.request_unfinished" and "no more for 30 s" in row["explanation"]
    assert result.close["explanation"].endswith("The client had not sent all of its request.")


def parted(talk: Talk, at: float, answer: bytes) -> list[str]:
    return [row["code"] for row in findings(talk.resp(answer, at=at).resp_fin().orig_fin().resp_ack())]


def test_a_client_that_may_not_send_the_rest_is_not_waited_for() -> None:
    """It waits for 100 (Continue), or for the window to open; or all is there, and an empty line more."""
    expects = HALF.replace(b"Host", b"Expect: 100-continue\r\nHost")
    assert parted(http().orig(expects, at=2).resp_ack(), 5, TIMED_OUT.replace(b"408", b"401")) == []
    full = http().orig(HALF + bytes(1000), at=2).resp_ack(win=0)
    assert "http.request_unfinished" not in parted(full, 9, TIMED_OUT.replace(b"408", b"503"))
    assert parted(http().orig(GET + b"\r", at=2).resp_ack(), 5, TIMED_OUT.replace(b"408", b"200")) == []


def test_a_body_that_is_refused_at_once_is_not_waited_for() -> None:
    large = TIMED_OUT.replace(b"408 Request Timeout", b"413 Content Too Large")
    talk = http().orig(HALF + bytes(1000), at=2).resp_ack().resp(large).resp_fin().orig_fin().resp_ack()
    assert findings(talk) == []
