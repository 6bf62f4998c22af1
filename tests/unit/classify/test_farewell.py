"""Last words before a close: the silence that a timer ended is the one before them."""

from __future__ import annotations

import pytest

from tests import http2 as h2
from tests import tlswire as w
from tests.property.harness import Result, run
from tests.talk import Packet, Talk, merge
from tests.websocket import CLOSE, PING, PONG, TEXT, code, frame, of_client, upgraded

pytestmark = pytest.mark.usefixtures("compiled")


def codes(result: Result) -> list[str]:
    return [row["code"] for row in result.rows("findings")]


def servers(result: Result) -> list[tuple[str, float]]:
    """Side and value of the timeouts that were inferred."""
    return [(row["side"], round(row["value_s"] or row["upper_bound_s"], 1)) for row in result.rows("timeouts")]


def mail(k: int, *, before: float = 3, words: bytes = b"* BYE Autologout\r\n") -> Talk:
    """A protocol that is not read: the server says goodbye after a silence, and closes."""
    talk = Talk(("10.0.0.1", 2000 + k), ("10.0.0.2", 143), t0=1_700_000_000 + 10 * k).handshake()
    talk.resp(b"* OK ready\r\n").orig(b"a NOOP\r\n", at=0.5).resp(b"a OK\r\n").orig_ack()
    return talk.resp(words, at=0.52 + before).resp_fin().orig_ack().orig_fin().resp_ack()


def test_an_unread_goodbye() -> None:
    result = run(merge(*(mail(k) for k in range(4))))
    assert servers(result) == [("server", 3.0)] and "timeout.idle" in codes(result)
    row = result.rows("closes")[0]
    assert row["trigger"] == "idle_timeout" and row["explanation"].startswith("The server broke a silence of 3.0")
    assert row["idle_payload_s"] < 0.1 and row["idle_app_s"] == pytest.approx(3, abs=0.1)


def test_who_pushes_messages_is_not_parting() -> None:
    """A server that speaks unasked, again and again, and closes after one of those."""
    talk = Talk().handshake().orig(b"subscribe\r\n").resp(b"ok\r\n").orig_ack()
    for at in (4, 8, 12):
        talk.resp(b"tick\r\n", at=at).orig_ack()
    row = run(talk.resp_fin().orig_ack().orig_fin().resp_ack()).close
    assert row["trigger"] == "unknown" and row["idle_app_s"] < 1


@pytest.mark.parametrize("more", [b"QUIT\r\n", b""])
def test_a_greeting_that_is_delayed_is_no_goodbye(more: bytes) -> None:
    """A mail server keeps a check waiting for its banner, or a server thinks before its only words."""
    talk = Talk().handshake().resp(b"220 mail ESMTP\r\n", at=6).orig_ack()
    if more:
        talk.orig(more).resp(b"221 2.0.0 Bye\r\n")
    row = run(talk.resp_fin().orig_ack().orig_fin().resp_ack()).close
    assert (row["trigger"], row["idle_app_s"] < 1) == ("unknown", True)


def test_words_that_are_answered_are_no_goodbye() -> None:
    talk = Talk().handshake().orig(b"SUBSCRIBE\r\n").resp(b"OK\r\n").orig_ack().resp(b"JOB 17\r\n", at=30).orig_ack()
    talk.orig(b"DONE 17\r\n", at=30.1).resp(b"THANKS\r\n").resp_fin().orig_ack().orig_fin().resp_ack()
    assert run(talk).close["trigger"] == "unknown"


def test_a_close_long_after_the_words_is_another_matter() -> None:
    talk = (
        Talk().handshake().resp(b"* OK\r\n").orig(b"a NOOP\r\n").resp(b"a OK\r\n").orig_ack().resp(b"* note\r\n", at=4)
    )
    assert run(talk.resp_fin(at=6).orig_ack().orig_fin().resp_ack()).close["idle_app_s"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("first", ["server", "client"])
def test_a_close_frame(first: str) -> None:
    """Whoever sends its FIN first: the timer is that of the side that sent the close frame."""

    def talk(k: int) -> list[Packet]:
        made = upgraded(client=("10.0.0.1", 3000 + k), t0=1_700_000_000 + 10 * k)
        made.orig(of_client(PING)).resp(frame(PONG)).orig_ack()
        made.wait(3).resp(frame(CLOSE, code(1001))).orig(of_client(CLOSE, code(1001)))
        ended = made.resp_fin().orig_fin().resp_ack() if first == "server" else made.orig_fin().resp_fin().orig_ack()
        return list(ended.packets)

    assert servers(run(merge(*(talk(k) for k in range(4))))) == [("server", 3.0)]


def test_a_close_notify() -> None:
    def talk(k: int) -> Talk:
        made = Talk(("10.0.0.1", 4000 + k), ("10.0.0.2", 443), t0=1_700_000_000 + 10 * k).handshake()
        for number, flight in enumerate(w.full13()):
            made = made.orig(flight) if number % 2 == 0 else made.resp(flight)
        made.orig(w.data(100)).resp(w.data(300)).orig_ack()
        return made.wait(3).resp(w.data(19)).resp_fin().orig_ack().orig_fin().resp_ack()

    result = run(merge(*(talk(k) for k in range(4))))
    assert servers(result) == [("server", 3.0)]
    assert result.rows("closes")[0]["trigger"] == "idle_timeout"


def test_a_close_notify_long_before_the_fin() -> None:
    """nginx waits three seconds for the other side's after its own: the timer is the one before its words."""

    def talk(k: int) -> Talk:
        made = Talk(("10.0.0.1", 4000 + k), ("10.0.0.2", 443), t0=1_700_000_000 + 20 * k).handshake()
        for number, flight in enumerate(w.full12()):
            made = made.orig(flight) if number % 2 == 0 else made.resp(flight)
        made.orig(w.data(100)).resp(w.data(300)).orig_ack()
        return made.wait(4).resp(w.ALERT).orig_ack().wait(3).resp_fin().orig_fin().resp_ack()

    result = run(merge(*(talk(k) for k in range(4))))
    assert servers(result) == [("server", 4.0)]
    row = result.rows("closes")[0]
    assert (row["trigger"], row["idle_app_s"]) == ("idle_timeout", pytest.approx(4, abs=0.1))


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_client_that_closes_at_the_servers_goodbye_is_not_said_to_time_out_alone(by: str) -> None:
    talk = upgraded().orig(of_client(PING, b""), at=2).resp(frame(PONG, b"")).orig_ack()
    talk.resp(frame(CLOSE, code(1001)), at=8).orig_fin()
    row = run(talk.resp_rst() if by == "rst" else talk.resp_fin().orig_ack()).close
    assert row["explanation"].startswith("The server broke a silence of ")


# ------------------------------------------------------------------------------------------------ no idle timeout
def test_a_silence_that_was_survived_often_ended_by_no_timer() -> None:
    talk = Talk().handshake()
    for k in range(5):
        talk.orig(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", at=2 * k + 1)
        talk.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").orig_ack()
    row = run(talk.resp_fin(at=10.6).orig_ack().orig_fin().resp_ack()).close
    assert row["trigger"] == "response_complete"


def test_a_client_that_gives_up_waiting_keeps_no_idle_timeout() -> None:
    def talk(k: int, request: bytes) -> Talk:
        made = Talk(("10.0.0.1", 5000 + k), t0=1_700_000_000 + 10 * k).handshake().orig(request, at=1).resp_ack()
        return made.orig_fin(at=3.5).resp_ack().resp_fin(at=8).orig_ack()

    for request in (b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n", b"\x00\x01call"):
        assert servers(run(merge(*(talk(k, request) for k in range(5))))) == []


def test_a_known_default_of_responses_needs_one() -> None:
    """2 s is gunicorn's; a binary protocol that is closed after them names nobody."""

    def talk(k: int, ask: bytes, answer: bytes) -> Talk:
        made = Talk(("10.0.0.1", 6000 + k), t0=1_700_000_000 + 10 * k).handshake().orig(ask).resp(answer).orig_ack()
        return made.resp_fin(at=2.04).orig_ack().orig_fin().resp_ack()

    http = (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for (ask, answer), named in ((http, True), ((b"\x00\x01ask", b"\x00\x02answer"), False)):
        (row,) = run(merge(*(talk(k, ask, answer) for k in range(4)))).rows("timeouts")
        assert ("gunicorn" in (row["known_as"] or "")) == named


def test_closes_that_agree_closely_are_no_default_that_runs_out_late() -> None:
    def talk(k: int, after: float) -> Talk:
        made = Talk(("10.0.0.1", 7000 + k), t0=1_700_000_000 + 10 * k).handshake()
        made.orig(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").resp(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").orig_ack()
        return made.resp_fin(at=0.04 + after).orig_ack().orig_fin().resp_ack()

    (exact,) = run(merge(*(talk(k, 2.9) for k in range(6)))).rows("timeouts")
    assert "gunicorn" not in (exact["known_as"] or "")


def test_a_broken_promise_is_no_timeout() -> None:
    made = [Talk(("10.0.0.1", 8000 + k), t0=1_700_000_000 + 100 * k).handshake() for k in range(4)]
    for talk in made:
        talk.orig(b"\x10\x0e\0\4MQTT\4\2\0\x0a\0\2ab").resp(b"\x20\2\0\0").orig_ack()
        talk.resp_fin(at=15.1).orig_ack().orig_fin().resp_ack()
    result = run(merge(*made))
    assert "heartbeat.promise_broken" in codes(result) and result.rows("timeouts") == []


# ------------------------------------------------------------------------------------------------ answers too late
def pinged(*, late: bool) -> Talk:
    """A Redis client that pings, gives up, and is answered after its FIN."""
    talk = Talk().handshake()
    for at in (2, 4, 6):
        talk.orig(b"PING\r\n", at=at).resp(b"+PONG\r\n").orig_ack()
    talk.orig(b"PING\r\n", at=8).resp_ack().orig_fin(at=10).resp_ack()
    return talk.resp(b"+PONG\r\n", at=11).orig_rst(bare=True) if late else talk


@pytest.mark.parametrize("late", [False, True])
def test_an_answer_after_the_asker_has_closed_is_none(late: bool) -> None:
    result = run(pinged(late=late))
    (series,) = result.rows("heartbeat_series")
    assert (series["answered_share"], series["longest_missed_run"]) == (0.75, 1)
    assert "heartbeat.unanswered" in codes(result)


def unanswered_in_tls() -> Talk:
    """TLS without keys: beats, the last three of which nobody answers, until 45 s."""
    talk = Talk(server=("10.0.0.2", 443)).handshake()
    for number, turn in enumerate(w.full12()):
        (talk.orig if number % 2 == 0 else talk.resp)(turn)
    for k in range(9):
        talk.orig(w.data(40), at=5 + 5 * k)
        talk = talk.resp(w.data(44)).orig_ack() if k < 6 else talk.resp_ack()
    return talk


@pytest.mark.parametrize("bye", [False, True])
def test_a_goodbye_that_answers_the_peers_fin_is_no_giving_up(bye: bool) -> None:
    talk = unanswered_in_tls().resp_fin(at=50).orig_ack()
    if bye:
        talk.orig(w.ALERT)
    assert "heartbeat.unanswered" not in codes(run(talk.orig_fin().resp_ack()))


def gives_up(*, by: str, fin: str) -> Talk:
    """A client whose pings are no longer answered; `by` says goodbye, the FIN of `fin` comes first."""
    talk = upgraded()
    for second in (2, 4, 6, 8):
        talk.orig(of_client(PING), at=second)
        talk = talk.resp(frame(PONG)).orig_ack() if second < 6 else talk.resp_ack()
    if by == "client":
        talk.orig(of_client(CLOSE, code(1011, "keepalive ping timeout")), at=10).resp(frame(CLOSE, code(1011)))
    else:
        talk.resp(frame(CLOSE, code(1001)), at=10).orig(of_client(CLOSE, code(1001)))
    if fin == "client":
        return talk.orig_fin().resp_fin().orig_ack()
    return talk.resp_fin().orig_fin().resp_ack()


@pytest.mark.parametrize("fin", ["client", "server"])
def test_who_gave_up_on_beats_is_who_said_goodbye_first(fin: str) -> None:
    """RFC 6455 section 7.1.1: the server's FIN is to be the first, whoever had enough."""
    assert "heartbeat.unanswered" in codes(run(gives_up(by="client", fin=fin)))
    assert "heartbeat.unanswered" not in codes(run(gives_up(by="server", fin=fin)))


@pytest.mark.parametrize("first", ["client", "server"])
def test_who_gave_up_in_tls_without_keys(first: str) -> None:
    talk = unanswered_in_tls()
    say, answer = (talk.orig, talk.resp) if first == "client" else (talk.resp, talk.orig)
    say(w.ALERT, at=50)
    answer(w.ALERT)
    result = run(talk.resp_fin().orig_fin().resp_ack())
    assert ("heartbeat.unanswered" in codes(result)) == (first == "client")


def closing_words(reader: str, talk: Talk) -> Talk:
    """Let the client ask, and part right after the answer."""
    if reader == "websocket":
        talk.orig(of_client(TEXT, b"one more")).resp(frame(TEXT, b"ok"))
        return talk.orig(of_client(CLOSE, code(1000))).resp(frame(CLOSE, code(1000))).resp_fin()
    if isinstance(talk, h2.H2):
        return talk.ask(3).answer(3).orig(h2.goaway(0)).orig_fin().resp_fin().orig_ack()
    return talk.orig(w.data(120)).resp(w.data(300)).orig(w.data(19)).resp(w.data(19)).resp_fin()


def opened(reader: str, k: int) -> Talk:
    client, t0 = ("10.0.0.1", 5000 + k), 1_700_000_000 + 10 * k
    if reader == "websocket":
        return upgraded(client=client, t0=t0).orig(of_client(TEXT, b"hi")).resp(frame(TEXT, b"ok"))
    if reader == "http2":
        return h2.H2(client).begin().ask(1).answer(1)
    talk = Talk(client, ("10.0.0.2", 443), t0=t0).handshake()
    for number, flight in enumerate(w.full13()):
        talk = talk.orig(flight) if number % 2 == 0 else talk.resp(flight)
    return talk.orig(w.data(100)).resp(w.data(300))


@pytest.mark.parametrize("reader", ["websocket", "http2", "tls"])
def test_who_asks_before_it_parts_had_no_timer(reader: str) -> None:
    """The silence ends with a request; the goodbye comes after its answer."""
    result = run(merge(*(closing_words(reader, opened(reader, k).wait(3)) for k in range(4))))
    assert servers(result) == [] and "timeout.idle" not in codes(result)
    assert not any(row["explanation"].startswith("The client broke") for row in result.rows("closes"))


def test_a_server_that_pushes_before_it_closes_had_no_timer() -> None:
    """Three events of a TLS stream, each acknowledged by the program, and then close_notify."""

    def talk(k: int) -> Talk:
        made = opened("tls", k).wait(3)
        for _ in range(3):
            made.resp(w.data(140)).orig(w.data(25))
        return made.resp(w.data(19)).resp_fin().orig(w.data(19)).orig_fin().resp_ack()

    result = run(merge(*(talk(k) for k in range(4))))
    assert servers(result) == []
    assert {row["trigger"] for row in result.rows("closes")} == {"unknown"}


def test_a_goodbye_of_two_records() -> None:
    """GOAWAY and close_notify in TLS that nobody opened: the second follows the first at once."""

    def talk(k: int) -> Talk:
        made = opened("tls", k).wait(3).resp(w.data(34)).resp(w.data(19)).resp_fin()
        return made.orig_ack().orig_fin().resp_ack()

    assert servers(run(merge(*(talk(k) for k in range(4))))) == [("server", 3.0)]
