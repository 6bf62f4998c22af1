"""Ends that look like something else: what a reset had received, closes that the capture joined or missed, leaks."""

from __future__ import annotations

import pytest

from tests.property.harness import Result, Row, run
from tests.talk import Packet, Talk, merge
from tests.unit.flows.test_flow_table import quote

pytestmark = pytest.mark.usefixtures("compiled")

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /pay HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asked() -> Talk:
    """One exchange, everything acknowledged by 0.04 s."""
    return Talk().handshake().orig(GET).resp(OK).orig_ack()


def watched(talk: Talk | list[Packet], at: int = 100) -> Result:
    """Run it in a capture that goes on for longer."""
    other = Talk(("10.0.0.9", 5000), t0=1_700_000_000 + at).handshake().orig(b"z").resp_ack()
    return run(merge(talk, other))


def first(result: Result) -> Row:
    """The close of the first connection."""
    return result.rows("closes")[0]


def codes(result: Result) -> list[str]:
    return [row["code"] for row in result.rows("findings")]


# ------------------------------------------------------------------------------------------------ requests
@pytest.mark.parametrize("at", [0.5, 5.0])
def test_a_reset_that_acknowledges_the_request_had_received_it(at: float) -> None:
    """Whether it was carried out is not known: sending a POST again may do it twice (definitions B11)."""
    result = run(asked().orig(POST, at=at).resp_rst(at=at + 0.03))
    assert (first(result)["close_kind"], first(result)["race"]) == ("rst_unread_data", "half_race")
    assert codes(result) == ["http.half_race"]


def test_a_bare_reset_after_a_silence_had_forgotten_the_connection() -> None:
    result = run(asked().orig(POST, at="5s").resp_rst(bare=True))
    assert (first(result)["close_kind"], first(result)["race"]) == ("rst_to_data_stale", "silent_drop_reuse")


def test_an_idle_reset_may_cross_a_request() -> None:
    result = run(asked().resp_rst(at="5s").orig(POST, at="5.0001s"))
    assert (first(result)["close_kind"], first(result)["race"]) == ("rst_on_idle", "race")
    assert codes(result) == ["http.keepalive_race"]  # and no request waited for those five seconds


def test_a_request_that_acknowledges_the_fin_did_not_cross_it() -> None:
    """The client's system knew that the server had closed: the pool did not look."""
    talk = Talk(rtt="1ms").handshake().orig(GET).resp(OK).orig_ack()
    result = run(talk.resp_fin(at="5s").orig(POST, at="5.002s").resp_rst(bare=True))
    assert first(result)["race"] == "stale_reuse"


def test_who_asks_on_after_connection_close_races_nobody() -> None:
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    talk = Talk(capture="middle").handshake().orig(GET).resp(last).resp_fin().orig(GET, ack=len(last) + 1)
    assert "http.keepalive_race" not in codes(run(talk.resp_rst(bare=True)))


def test_a_tunnel_that_is_not_read_is_not_known_to_be_finished() -> None:
    talk = Talk().handshake().orig(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n")
    talk.resp(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n").orig(b"\x01\x02")
    row = first(run(talk.resp(b"\x03").orig_ack().resp_fin().orig_fin().resp_ack()))
    assert (row["graceful_app"], row["trigger"]) == ("unknown", "unknown")


# ------------------------------------------------------------------------------------------------ half closed
def test_a_capture_that_joins_between_the_fins_shows_no_leak() -> None:
    talk = asked().orig_fin(at="1s").resp_ack().resp_fin(at="1.03s").orig_ack()
    for begin in (7, 8):
        result = watched(talk.packets[begin:])
        assert "close.half_closed_leak" not in codes(result)
        assert first(result)["confidence"] < 0.9


def test_a_fin_that_the_capture_lacks_shows_no_leak() -> None:
    packets = asked().orig_fin(at="1s").resp_fin().orig_ack().packets
    result = watched(packets[:6] + packets[7:])
    assert first(result)["close_kind"] == "capture_gap" and codes(result) == []


def test_a_side_that_never_closes_is_a_leak_only_after_a_minute() -> None:
    talk = asked().orig_fin(at="1s").resp_ack()
    leaked, ends = watched(talk), watched(talk, 10)
    assert first(leaked)["close_kind"] == first(ends)["close_kind"] == "half_closed_open"
    assert codes(leaked) == ["close.half_closed_leak"] and "leaked socket" in first(leaked)["explanation"]
    assert codes(ends) == [] and first(ends)["explanation"].endswith("had not closed when the capture ended.")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda t: t.resp_probe(at="500s").orig_rst(bare=True, seq=30), "rst_to_keepalive"),
        (lambda t: t.resp_fin(at="500s").orig_rst(bare=True, seq=30), "rst_after_own_fin"),
        (lambda t: t.resp_rst(at="500s"), "rst_after_peer_fin"),
        (lambda t: t.resp_fin(at="500s").orig_ack(), "fin_client_first"),
    ],
    ids=["probe", "late FIN, reset", "reset", "late FIN"],
)
def test_a_leak_that_ended_after_all(end: object, kind: str) -> None:
    result = run(end(asked().orig_fin(at="1s").resp_ack()))  # type: ignore[operator]
    assert first(result)["close_kind"] == kind
    assert codes(result) == ["close.half_closed_leak"]
    assert "at once" not in first(result)["explanation"] and "answered with a reset" not in first(result)["explanation"]


# ------------------------------------------------------------------------------------------------ silences
def stuck(times: tuple[float, ...], *, answered: bool) -> Talk:
    """The server asks again and again whether the client's window has opened."""
    talk = asked().resp(b"d" * 900, at="1s").orig_ack(win=0)
    for at in times:
        talk.resp_probe(at=at)
        if answered:
            talk.orig_ack(win=0)
    return talk


def test_a_stall_that_the_capture_cuts_off_is_no_idleness() -> None:
    result = run(stuck((1.3, 1.8, 2.8, 4.8, 8.8, 16.8, 32.8, 64.8), answered=True))
    assert first(result)["close_kind"] == "open_idle" and "window was closed" in first(result)["explanation"]
    assert codes(result) == ["stall.zero_window"]


def test_window_probes_without_an_answer_are_a_silent_death() -> None:
    result = watched(stuck((1.3, 1.8, 2.8, 4.8, 8.8, 16.8, 32.8), answered=False), 200)
    assert first(result)["close_kind"] == "silent_death" and "7 probes" in first(result)["explanation"]
    assert codes(result) == ["peer.dead"]


def test_probes_that_nobody_answered_did_not_fail_to_count() -> None:
    talk = asked()
    for at in (60, 70, 80, 90):
        talk.resp_probe(at=at)
    talk.resp_fin(at=95)
    for at in (95.3, 96.0, 97.4):
        talk.resp_retransmit(at=at)
    assert "keepalive.not_counted" not in codes(run(talk))


def test_an_answer_that_was_acknowledged_is_not_waited_for() -> None:
    talk = (
        Talk().handshake().orig(b"ask", at="1s").resp_drop(5000).orig_ack(at="1.05s").orig(b"next", at="5s").resp(b"x")
    )
    assert [row["class"] for row in run(talk).rows("idle_gaps")] == ["think_time"]


# ------------------------------------------------------------------------------------------------ openings
def test_a_full_accept_queue_is_the_servers_doing() -> None:
    talk = Talk().syn().syn_ack().ack(lost=True).orig(GET, lost=True)
    for at in (1, 3, 7):
        talk.resp_retransmit(at=at).orig_ack().orig_retransmit(at=at + 0.2, lost=True)
    result = watched(talk, 200)
    assert first(result)["close_kind"] == "synack_timeout"
    assert "repeated its SYN-ACK (4 in all)" in first(result)["explanation"]


def test_icmp_answers_a_syn_whatever_its_code() -> None:
    for code in (0, 1, 5, 11, 13):
        talk = Talk().syn()
        syn = talk.packets[0][1]
        talk.frame(quote(syn, 3, code), at=0.02).syn(at=1).syn(at=3)
        assert first(run(talk))["close_kind"] == "icmp_abort"
    talk = Talk().syn()
    assert first(run(talk.frame(quote(talk.packets[0][1], 3, 4), at=0.02).syn(at=1)))["close_kind"] == "syn_timeout"


def test_icmp_may_quote_a_probe() -> None:
    talk = asked().orig_probe(at="60s")
    probe = talk.packets[-1][1]
    talk.orig_probe(at="70s").orig_probe(at="80s").frame(quote(probe, 3, 1), at=83)
    assert first(run(talk))["close_kind"] == "icmp_abort"


def test_a_handshake_without_its_syn_may_be_aborted_too() -> None:
    assert first(run(Talk().syn_ack(ack=1).orig_rst(bare=True, seq=1)))["close_kind"] == "handshake_aborted"


def test_an_abort_long_after_the_clients_half_close_is_the_servers() -> None:
    """It had gone on sending for two seconds: what ended the connection was not the client's FIN."""
    talk = Talk().handshake().orig(GET).orig_fin().resp_ack().resp(b"x" * 1000, at=0.1).orig_ack()
    row = first(run(talk.resp(b"y" * 1000, at=1.0).orig_ack().resp_rst(at=3.0)))
    assert (row["close_kind"], row["initiator"], row["graceful_tcp"]) == ("rst_abort", "server", "no")


def test_a_reset_right_after_the_last_answer_to_a_half_close_is_an_answer_to_it() -> None:
    talk = Talk().handshake().orig(GET).orig_fin().resp_ack().resp(OK, at=1.0).orig_ack().resp_rst()
    assert first(run(talk))["close_kind"] == "rst_after_peer_fin"


def test_a_reset_while_a_request_waits_names_its_causes() -> None:
    row = first(run(asked().orig(GET, at=1).resp_ack().resp_rst(at=5)))
    assert row["close_kind"] == "rst_on_idle" and "ended with that data unread" in row["explanation"]


def test_a_client_that_never_spoke_was_not_silent_for_too_long() -> None:
    silent = Talk().handshake().resp_fin(at=30).orig_ack().orig_fin().resp_ack()
    pushed = Talk().handshake().resp(b"x" * 400, at=1).orig_ack().resp(b"y" * 900, at=3).orig_ack()
    for talk in (silent, pushed.resp_fin(at=15).orig_ack().orig_fin().resp_ack()):
        assert first(run(talk))["trigger"] == "unknown"


@pytest.mark.parametrize("size", [0, len(GET)])
def test_a_request_that_the_capture_lacks(size: int) -> None:
    """The server acknowledged it, and never answered: that the client was silent cannot be said."""
    talk = asked()
    if size:
        talk.orig(GET, at="1s", unseen=True).resp_ack()
    row = first(run(talk.resp_fin(at="9s").orig_ack().orig_fin().resp_ack()))
    expected = ("unknown", "unknown") if size else ("idle_timeout", "yes")
    assert (row["trigger"], row["graceful_app"]) == expected


# ------------------------------------------------------------------------------------------------ odd captures
def test_a_capture_that_begins_with_a_probe_misses_nothing() -> None:
    talk = Talk().handshake().orig(b"hello").resp(b"w").orig_ack()
    before = len(talk.packets)
    talk.orig_probe(at="10s").resp_ack().orig_probe(at="20s").resp_ack().orig(b"zz", at="35s").resp_ack()
    row = run(talk.packets[before:]).flow
    assert (row["missing_bytes_c"], row["missing_bytes_s"], row["payload_bytes_c"]) == (0, 0, 2)


def test_a_clock_that_is_set_back_makes_no_negative_times() -> None:
    packets = asked().orig(GET, at="5s").resp(OK).orig_ack().orig_fin(at="9s").resp_fin().orig_ack().packets
    for step_ns in (300_000_000, 3_600_000_000_000):
        result = run([(ts - (step_ns if k > 6 else 0), frame) for k, (ts, frame) in enumerate(packets)])
        assert result.flow["duration_s"] >= 0 and first(result)["age_s"] >= 0
        assert result.flow["rtt_min_s"] == pytest.approx(0.02, abs=0.001)


def test_a_syn_ack_that_overtook_its_syn_times_no_handshake() -> None:
    packets = asked().packets
    (syn_ts, syn), (answer_ts, answer) = packets[:2]
    assert run([(syn_ts, answer), (answer_ts, syn), *packets[2:]]).flow["handshake_rtt_s"] is None


def test_a_request_before_the_late_fin_is_what_the_reset_answers() -> None:
    stale = asked().resp_fin(at=6).orig_ack().orig(GET, at=10).orig_fin().resp_rst(bare=True)
    row = first(run(stale.packets))
    assert (row["close_kind"], row["race"]) == ("rst_after_own_fin", "stale_reuse")
    assert row["explanation"].startswith("The server closed (FIN), then reset because the client still had something")
