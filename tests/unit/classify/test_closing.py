"""Definition B5: every close kind as a trace, with who ended it and what the row says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from analyzer.settings import Settings
from analyzer.tables.tcp import CLOSE_KINDS
from tests.property.harness import Result, run
from tests.talk import Packet, Talk, merge
from tests.unit.flows.test_flow_table import quote

Trace = list[Packet]


def used(**make: object) -> Talk:
    """Return a connection that has exchanged a request and a response by 1.02 s, everything acknowledged."""
    return Talk(**make).handshake().orig(b"request", at="1s").resp(b"response").orig_ack()  # type: ignore[arg-type]


def later(talk: Talk, at: float) -> Trace:
    """Return the trace with a stranger's frame that ends the capture `at` seconds in."""
    return merge(talk, Talk(("10.9.9.9", 9), ("10.0.0.3", 9)).syn(at=at))


def close(talk: Talk | Trace) -> tuple[str, str]:
    """Return (kind, initiator) of the first flow."""
    row = run(talk).rows("closes")[0]
    return row["close_kind"], row["initiator"]


# ------------------------------------------------------------------------------------------------ FIN
def fin_client_first() -> Talk:
    return used().orig_fin(at="2s").resp_fin().orig_ack()


def fin_server_first() -> Talk:
    return used().resp_fin(at="2s").orig_fin().resp_ack()


def fin_simultaneous() -> Talk:
    return used(capture="middle").orig_fin(at="2s").resp_fin(at="2.001s", ack=8).orig_ack(at="2.011s").resp_ack()


def fin_half_close() -> Talk:
    talk = used().orig_fin(at="2s").resp_ack().resp(b"the rest", at="2.5s").orig_ack()
    return talk.resp_fin(at="3s").orig_ack()


def half_closed_open() -> Talk:
    return used().resp_fin(at="2s").orig_ack().orig(b"still here", at="70s").resp_rst(bare=True, unseen=True)


def fin_unanswered() -> Talk:
    talk = used().orig_fin(at="2s", lost=True)
    for at in (2.2, 2.6, 3.4, 5.0):
        talk.orig_retransmit(at=at, lost=True)
    return talk


# ------------------------------------------------------------------------------------------------ RST
def rst_after_own_fin() -> Talk:
    """The client called close(); the server still had something to say."""
    return used().orig_fin(at="2s").resp_ack().resp(b"one more", at="2.03s").orig_rst(bare=True)


def rst_after_peer_fin() -> Talk:
    return used().resp_fin(at="2s").orig_ack().orig_rst(at="2.01s")


def rst_unread_data() -> Talk:
    return used().orig(b"unread", at="1.1s").resp_rst()


def rst_abort() -> Talk:
    return used().orig(b"a", at="1.5s").resp_ack().orig_rst(at="1.8s")


def rst_on_idle() -> Talk:
    return used().resp_rst(at="61s")


def rst_to_data_stale() -> Talk:
    return used().orig(b"anyone?", at="301s").resp_rst(bare=True)


def rst_to_keepalive() -> Talk:
    return used().orig_probe(at="301s").resp_rst(bare=True)


# ------------------------------------------------------------------------------------------------ handshake
def refused() -> Talk:
    return Talk().syn().resp_rst()


def handshake_aborted() -> Talk:
    return Talk().syn().syn_ack().orig_rst(bare=True)


def syn_timeout() -> Talk:
    return Talk().syn(lost=True).syn(at="1s", lost=True).syn(at="3s", lost=True).syn(at="7s", lost=True)


def synack_timeout() -> Talk:
    return Talk().syn().syn_ack(lost=True).syn_ack(at="1s", lost=True).syn_ack(at="3s", lost=True)


# ------------------------------------------------------------------------------------------------ giving up
def retries(talk: Talk, times: tuple[float, ...] = (2.2, 2.6, 3.4, 5.0)) -> Talk:
    talk.orig(b"hello?", at="2s", lost=True)
    for at in times:
        talk.orig_retransmit(at=at, lost=True)
    return talk


def abort_retransmit() -> Talk:
    return retries(used()).orig_rst(at="8.2s")


def abort_keepalive() -> Talk:
    talk = used()
    for at in (61, 71, 81):
        talk.orig_probe(at=at, lost=True)
    return talk.orig_rst(at="91s")


def abort_zero_window() -> Talk:
    talk = used().resp_ack(win=0, at="1.03s")
    for at in (1.25, 1.7, 2.6, 4.4):
        talk.orig_probe(at=at).resp_ack(win=0)
    return talk.orig_rst(at="8s")


def silent_death() -> Talk:
    return retries(used())


# ------------------------------------------------------------------------------------------------ the rest
def icmp_abort() -> Talk:
    talk = used().orig(b"more", at="2s", lost=True)
    return talk.frame(quote(talk.packets[-1][1], 3, 13))


def implicit_port_reuse() -> Trace:
    return merge(used(), Talk(isn=(9, 9)).handshake(at="30s"))


def open_active() -> Talk:
    return used()


def open_idle() -> Talk:
    return used().orig_probe(at="31s").resp_ack()


def capture_gap() -> Talk:
    """The server's FIN was not captured; the client's ACK says that it was sent."""
    return used().orig_fin(at="2s").resp_ack().resp_fin(unseen=True, at="2.1s").orig_ack()


KINDS: list[tuple[Callable[[], Talk | Trace], str, str]] = [
    (fin_client_first, "client", "yes"),
    (fin_server_first, "server", "yes"),
    (fin_simultaneous, "both", "yes"),
    (fin_half_close, "client", "yes"),
    (half_closed_open, "server", "no"),
    (fin_unanswered, "client", "no"),
    (rst_after_own_fin, "client", "no"),
    (rst_after_peer_fin, "server", "yes"),
    (rst_unread_data, "server", "no"),
    (rst_abort, "client", "no"),
    (rst_on_idle, "server", "no"),
    (rst_to_data_stale, "server", "no"),
    (rst_to_keepalive, "server", "no"),
    (refused, "server", "no"),
    (handshake_aborted, "client", "no"),
    (syn_timeout, "none", "no"),
    (synack_timeout, "none", "no"),
    (abort_retransmit, "client", "no"),
    (abort_keepalive, "client", "no"),
    (abort_zero_window, "client", "no"),
    (icmp_abort, "unknown", "no"),
    (implicit_port_reuse, "unknown", "unknown"),
    (silent_death, "none", "no"),
    (open_active, "none", "n/a"),
    (open_idle, "none", "n/a"),
    (capture_gap, "unknown", "unknown"),
]


@pytest.mark.parametrize(("make", "initiator", "graceful"), KINDS, ids=[make.__name__ for make, _, _ in KINDS])
def test_every_kind(make: Callable[[], Talk | Trace], initiator: str, graceful: str) -> None:
    row = run(make()).rows("closes")[0]
    assert (row["close_kind"], row["initiator"], row["graceful_tcp"]) == (make.__name__, initiator, graceful)
    assert 0.5 <= row["confidence"] <= 1
    assert row["close_kind_base"] == row["close_kind"]
    assert "{" not in row["explanation"] and row["explanation"].endswith(".")
    assert row["evidence_frames"] == sorted(set(row["evidence_frames"]))


def test_every_kind_that_can_be_reached_is_tested() -> None:
    assert {make.__name__ for make, _, _ in KINDS} == set(CLOSE_KINDS) - {"rst_injected_suspected"}


@pytest.mark.parametrize("make", [make for make, _, _ in KINDS if make is not implicit_port_reuse])
def test_the_verdict_does_not_depend_on_frames_of_others(make: Callable[[], Talk]) -> None:
    strangers = [Talk((f"10.7.0.{k}", 7), t0=1_700_000_000 + k / 50).handshake() for k in range(30)]
    assert close(merge(make(), *strangers)) == close(make())


MIRRORED = {"client": "server", "server": "client"}
SWAPS = {"fin_client_first": "fin_server_first", "fin_server_first": "fin_client_first"}
ESTABLISHED = [
    make
    for make, _, _ in KINDS
    if make.__name__ not in ("refused", "handshake_aborted", "syn_timeout", "synack_timeout", "implicit_port_reuse")
]


@pytest.mark.parametrize("make", ESTABLISHED, ids=[make.__name__ for make in ESTABLISHED])
def test_without_the_handshake_the_sides_are_told_by_port(make: Callable[[], Talk]) -> None:
    """Joined midstream (the data is still there), every verdict on an established connection stays."""
    whole, cut = run(make()).close, run(make().packets[3:]).close
    assert (cut["close_kind"], cut["initiator"]) == (whole["close_kind"], whole["initiator"])


@pytest.mark.parametrize("make", ESTABLISHED, ids=[make.__name__ for make in ESTABLISHED])
def test_swapped_roles_swap_the_initiator(make: Callable[[], Talk]) -> None:
    """The same segments with the ports exchanged: who did it bears the other side's name."""
    first = make().packets[3:]
    swapped = [(at, _with_ports(frame)) for at, frame in first]
    whole, mirror = run(first).close, run(swapped).close
    assert mirror["close_kind"] == SWAPS.get(whole["close_kind"], whole["close_kind"])
    assert mirror["initiator"] == MIRRORED.get(whole["initiator"], whole["initiator"])


def _with_ports(frame: bytes) -> bytes:
    """Exchange the ports 80 and 40000, also in what an ICMP error quotes."""
    for at in (34, 62):
        ports = frame[at : at + 4]
        if {ports[:2], ports[2:]} == {b"\x00\x50", b"\x9c\x40"}:
            frame = frame[:at] + ports[2:] + ports[:2] + frame[at + 4 :]
    return frame


# ------------------------------------------------------------------------------------------------ FIN, in detail
def test_a_fin_with_payload() -> None:
    result = run(used().resp_fin(b"last words", at="2s").orig_fin().resp_ack())
    assert result.kinds == ["fin_server_first"]
    assert result.flow["payload_bytes_s"] == 18


def test_three_frames_are_enough_for_an_orderly_end() -> None:
    assert close(used().orig_fin(at="2s").resp_fin()) == ("fin_client_first", "client")


def test_a_fin_again_changes_nothing() -> None:
    talk = used().orig_fin(at="2s", lost=True).orig_retransmit(at="2.2s").resp_fin().orig_ack()
    row = run(talk).close
    assert (row["close_kind"], row["fin_c"], row["fin_s"]) == ("fin_client_first", 2, 1)


def test_data_in_flight_when_the_fin_came_is_no_half_close() -> None:
    talk = used(capture="middle").orig_fin(at="2s").resp(b"crossing", at="2.005s", ack=8)
    assert close(talk.resp_fin(at="2.02s").orig_ack().orig_ack())[0] == "fin_client_first"


def test_fins_far_apart_that_do_not_know_of_each_other() -> None:
    """The first FIN was lost; half a minute later the other side closes on its own."""
    talk = used().orig_fin(at="2s", lost=True).resp_fin(at="32s", ack=8).orig_retransmit(at="32.1s").resp_ack()
    assert close(talk) == ("fin_client_first", "client")


def test_a_fin_that_ends_the_capture() -> None:
    row = run(used().orig_fin(at="2s")).close
    assert (row["close_kind"], row["initiator"], row["confidence"] < 0.7) == ("half_closed_open", "client", True)


@pytest.mark.parametrize(("again", "end"), [(True, 2.3), (False, 4)])
def test_a_fin_that_nobody_acknowledged(again: bool, end: float) -> None:
    """Whether the other side leaks a socket cannot be said of a FIN that never reached it."""
    talk = used().orig_fin(at="2s", lost=True)
    if again:
        talk.orig_retransmit(at="2.2s", lost=True)
    assert close(later(talk, end)) == ("fin_unanswered", "client")


def test_a_fin_that_was_not_acknowledged_while_the_other_side_went_on() -> None:
    """Then it lives, and whether the FIN arrived is not known; nothing was repeated."""
    talk = used().orig_fin(at="2s", lost=True)
    for second in (3, 4, 5):
        talk.resp(b"more", at=second).orig_ack()
    assert close(talk) == ("half_closed_open", "client")
    alone = run(later(used().orig_fin(at="2s", lost=True), 4)).rows("closes")[0]["explanation"]
    assert "nothing came back" in alone
    assert "repeated" not in alone


def test_a_reset_at_once_after_the_own_fin_is_no_answer_to_data() -> None:
    """A proxy in a hurry: nothing came for it in between."""
    row = run(used().orig_fin(at="2s").orig_rst(at="2.00004s")).close
    assert (row["close_kind"], row["trigger"]) == ("rst_after_own_fin", "unknown")
    assert "reset at once" in row["explanation"]
    assert run(rst_after_own_fin()).close["trigger"] == "data_after_close"


def test_a_reset_by_a_side_that_had_stopped_reading() -> None:
    """Its own window was closed: no idle timeout, however long that was."""
    talk = used().orig(b"more than it reads", at="1.1s").resp_ack(win=0)
    assert close(talk.resp_rst(at="30s")) == ("rst_unread_data", "server")
    assert close(used().orig(b"answered late", at="1.1s").resp_ack().resp_rst(at="30s")) == ("rst_on_idle", "server")


def one_sided(talk: Talk) -> list[Packet]:
    return [packet for packet in talk.packets if packet[1][26:30] == bytes((10, 0, 0, 1))]


def probed(*, answered: bool, timestamps: bool = True) -> Talk:
    talk = Talk(timestamps=timestamps).handshake().orig(b"request", at="1s").resp(b"response").orig_ack()
    for second in range(2, 8):
        talk.orig_probe(at=second, lost=not answered)
        talk = talk.resp_ack() if answered else talk
    return talk


def test_of_a_peer_that_was_not_captured_echoed_timestamps_tell() -> None:
    alive, dead = run(one_sided(probed(answered=True))), run(one_sided(probed(answered=False)))
    assert alive.close["close_kind"] == "open_idle"
    assert alive.answers == ["ack"] * 5 + ["pending"]
    assert [row["answer_frame"] for row in alive.probes] == [None] * 6
    assert dead.close["close_kind"] == "silent_death"
    assert set(dead.answers[:-1]) == {"no"}


def test_without_timestamps_nothing_tells() -> None:
    result = run(one_sided(probed(answered=True, timestamps=False)))
    assert (result.close["close_kind"], set(result.answers)) == ("open_idle", {"pending"})


def test_sentences_say_what_is_not_known() -> None:
    alone = run(one_sided(fin_client_first())).close["explanation"]
    assert "what the server said is not in the capture" in alone
    midstream = run(used().orig_fin(at="2s").resp_fin().orig_ack().packets[-3:]).close
    assert (midstream["idle_payload_s"], "without payload" in midstream["explanation"]) == (None, False)


def test_one_direction_of_an_orderly_end() -> None:
    """Nothing of the server was captured: its FIN cannot be missed."""
    talk = fin_client_first()
    only = [packet for packet in talk.packets if packet[1][26:30] == bytes((10, 0, 0, 1))]
    assert close(only) == ("fin_client_first", "client")


def test_the_fin_that_is_missing_had_the_ack_of_the_first() -> None:
    """The commonest form: FIN and ACK of the server in one frame, which the capture lost."""
    assert close(used().orig_fin(at="2s").resp_fin(unseen=True).orig_ack()) == ("capture_gap", "unknown")


def test_both_fins_are_missing() -> None:
    """Each is acknowledged, the capture lacks both: the connection is not open."""
    end = used().orig_fin(at="2s", unseen=True).resp_ack().resp_fin(unseen=True).orig_ack().packets
    assert close(end) == ("capture_gap", "unknown")
    assert close(end[6:]) == ("open_active", "none")  # nothing else captured: where it had got is not known
    slow = used().orig_fin(at="2s", unseen=True).resp_ack().resp_fin(at="30s", unseen=True).orig_ack()
    assert close(slow) == ("capture_gap", "unknown")
    assert close(used().orig_fin(at="2s", unseen=True).resp_ack()) == ("open_idle", "none")


def test_a_hole_long_before_is_no_missing_close() -> None:
    talk = used().resp_drop(100, at="5s").orig_ack().orig(b"x", at="6s").resp(b"y").orig_ack()
    talk.orig_fin(at="7s").resp_ack()
    assert run(later(talk, 100)).kinds[0] == "half_closed_open"


def test_an_orderly_end_before_a_stray_reset_stays_orderly() -> None:
    """A late segment to a connection long closed draws a RST; that did not end it."""
    talk = fin_client_first().resp_retransmit(2, at="2.5s").orig_rst(bare=True)
    assert close(talk) == ("fin_client_first", "client")


# ------------------------------------------------------------------------------------------------ RST, in detail
def test_evidence_of_a_reset() -> None:
    row = run(rst_to_data_stale()).close
    assert row["evidence_frames"] == [7, 8]
    assert (row["trigger"], row["rst_signature"]) == ("data_after_close", "closed_socket")
    assert row["idle_payload_s"] == pytest.approx(0.02)
    assert row["age_s"] == pytest.approx(301.02, abs=0.001)


def test_evidence_of_a_dead_peer_are_the_probes_that_it_left_unanswered() -> None:
    """Those before its last answer tell nothing; of very many the last ones are enough."""
    talk = Talk().handshake().orig(b"hi", at="1s").resp_ack().resp(b"ho").orig_ack()  # frames 4 to 7
    talk.orig_probe(at="8s").resp_ack()
    for second in range(16, 116, 5):
        talk.orig_probe(at=f"{second}s", lost=True)  # 10 to 29
    row = run(talk.orig_rst(at="121s")).close
    assert (row["close_kind"], row["evidence_frames"]) == ("abort_keepalive", [6, 9, *range(14, 31)])


def test_a_peer_that_comes_back_to_close_finds_nobody() -> None:
    """The network was down; what was repeated without an answer is why the socket was gone when the FIN came."""
    talk = retries(used()).resp_fin(at="20s").orig_rst(at="20.001s", bare=True)
    assert close(talk) == ("abort_retransmit", "client")
    assert close(used().resp_fin(at="20s").orig_rst(at="20.001s", bare=True)) == ("rst_after_peer_fin", "server")


@pytest.mark.parametrize(("times", "kind"), [(3, "fin_client_first"), (4, "fin_unanswered")])
def test_a_fin_that_comes_again_and_again_had_no_answer_whatever_was_captured(times: int, kind: str) -> None:
    talk = used().orig_fin(at="20s", lost=True)
    for k in range(1, times):
        talk.orig_retransmit(at=f"{20 + 0.2 * 2**k}s", lost=True)
    alone = [packet for packet in talk.packets if packet[1][26:30] == bytes((10, 0, 0, 1))]
    assert close([*alone[-times:]])[0] == kind


def test_a_stale_connection_says_how_long_it_rested() -> None:
    """Said to a person: after 300 s without payload, not after the request that found out."""
    assert " after 299.9" in run(rst_to_data_stale()).close["explanation"]


def test_silence_before_a_reset_on_idle() -> None:
    row = run(rst_on_idle()).close
    assert row["idle_payload_s"] == pytest.approx(59.98, abs=0.01)
    assert row["rst_signature"] == "live"
    assert "59.9" in row["explanation"]


@pytest.mark.parametrize(("idle_min", "kind"), [(30, "rst_on_idle"), (90, "rst_abort")])
def test_what_counts_as_idle_is_a_setting(idle_min: int, kind: str) -> None:
    settings = Settings(idle_min_ns=idle_min * 10**9)
    assert run(rst_on_idle(), settings=settings).kinds == [kind]


def test_a_probe_long_before_is_no_stimulus() -> None:
    talk = used().orig_probe(at="61s").resp_ack().resp_rst(at="75s")
    assert close(talk) == ("rst_on_idle", "server")


def test_a_reset_far_away_is_still_an_answer_to_the_probe() -> None:
    """A path of 300 ms: 1.5 round trips are waited for."""
    talk = used(rtt="300ms").orig_probe(at="61s").resp_rst(bare=True)
    assert close(talk) == ("rst_to_keepalive", "server")


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_who_resets_after_unanswered_probes_gave_up(probes: int) -> None:
    """KEEPCNT may be 1 or 2 (definitions B2: three misses, or an abort); less sure then."""
    talk = used()
    for k in range(probes):
        talk.orig_probe(at=61 + 10 * k, lost=True)
    row = run(talk.orig_rst(at=61 + 10 * probes)).close
    assert (row["close_kind"], row["initiator"]) == ("abort_keepalive", "client")
    assert (row["basis"], row["confidence"]) == (("observed", 0.95) if probes == 3 else ("inferred", 0.7))


def test_a_reset_right_after_a_probe_did_not_wait_for_its_answer() -> None:
    assert close(used().orig_probe(at="61s", lost=True).orig_rst(at="61.3s")) == ("rst_on_idle", "client")


def test_resets_of_both_sides() -> None:
    row = run(used().orig_rst(at="2.5s").resp_rst(at="2.501s")).close
    assert (row["close_kind"], row["initiator"], row["rst_c"], row["rst_s"]) == ("rst_on_idle", "client", 1, 1)


@pytest.mark.parametrize("n", [1, 3])
def test_an_ignored_reset_is_no_close(n: int) -> None:
    """A RST far outside the window; the connection goes on for a minute (RFC 5961 section 3)."""
    talk = used()
    for k in range(n):
        talk.resp_rst(bare=True, seq=60_000, at=2 + k).orig(b"go on", at=2.5 + k).resp_ack()
    talk.orig_fin(at="62s").resp_fin().orig_ack()
    assert close(talk) == ("fin_client_first", "client")


def test_an_ignored_reset_after_a_fin_is_no_close() -> None:
    talk = used().orig_fin(at="2s").resp_ack().resp_rst(bare=True, seq=60_000, at="3s")
    assert close(talk.resp(b"more", at="4s").orig_ack().resp_fin().orig_ack())[0] == "fin_half_close"


def test_a_fin_after_an_ignored_reset_keeps_its_time() -> None:
    talk = used().resp_rst(bare=True, seq=60_000, at="3s").orig_fin(at="3.1s").resp_ack(at="4s").orig_ack(at="5s")
    row = run(talk.resp_fin(at="6s").orig_ack()).close
    assert (row["close_kind"], row["age_s"]) == ("fin_client_first", pytest.approx(3.1))


def test_what_was_in_flight_does_not_make_a_reset_ignored() -> None:
    talk = used(capture="server", rtt="150ms").resp_rst(at="2s").orig(b"crossing", at="2.1s", ack=9)
    assert close(talk)[1] == "server"


def test_a_reset_after_an_ignored_one_counts() -> None:
    talk = used().resp_rst(bare=True, seq=60_000, at="2s").orig(b"go on", at="2.5s").resp_ack().orig_rst(at="33s")
    assert close(talk) == ("rst_on_idle", "client")


def test_a_reset_by_the_server_during_the_handshake() -> None:
    talk = Talk().syn().syn_ack().resp_rst(at="0.5s")
    kind, who = close(talk)
    assert (kind.startswith("rst_"), who) == (True, "server")


def test_a_connection_made_and_reset_at_once() -> None:
    """A health check: complete handshake, no payload."""
    assert close(Talk().handshake().orig_rst()) == ("rst_abort", "client")


# ------------------------------------------------------------------------------------------------ open, in detail
@pytest.mark.parametrize(("wait", "kind"), [(1.5, "open_active"), (2.5, "open_idle")])
def test_idle_is_counted_to_the_end_of_the_capture(wait: float, kind: str) -> None:
    row = run(later(used(), wait)).rows("closes")[0]
    assert row["close_kind"] == kind


def test_open_since() -> None:
    row = run(later(used(), 31)).rows("closes")[0]
    assert row["idle_payload_s"] == pytest.approx(29.98, abs=0.01)
    assert row["ts"] == 1_700_000_001_020_000_000 + 50_000


@pytest.mark.parametrize(("end", "kind"), [(5.5, "silent_death"), (30, "abort_retransmit")])
def test_a_side_that_stopped_retrying_has_given_up(end: float, kind: str) -> None:
    assert close(later(silent_death(), end))[0] == kind


@pytest.mark.parametrize(("end", "kind"), [(85, "silent_death"), (200, "abort_keepalive")])
def test_a_side_that_stopped_probing_has_given_up(end: float, kind: str) -> None:
    talk = used()
    for at in (61, 71, 81):
        talk.orig_probe(at=at, lost=True)
    assert close(later(talk, end))[0] == kind


def test_a_full_accept_queue() -> None:
    """The client's ACKs are there, the server sends its SYN-ACK again all the same."""
    talk = Talk().syn().syn_ack().ack(lost=True)
    for at in (1, 3, 7):
        talk.syn_ack(at=at).orig_ack(lost=True)
    assert run(later(talk, 60)).kinds[0] == "synack_timeout"


def test_the_server_gives_up_too() -> None:
    talk = used().resp(b"hello?", at="2s", lost=True)
    for at in (2.2, 2.6, 3.4, 5.0):
        talk.resp_retransmit(at=at, lost=True)
    assert close(talk.resp_rst(at="8.2s")) == ("abort_retransmit", "server")


def test_repeats_at_an_even_pace_are_no_timer_that_gives_up() -> None:
    """The waits of RFC 6298 double; a program that says the same again each second is cut off for another reason."""
    talk = used().resp(b"hello?", at="2s", lost=True)
    for at in (3, 4, 5, 6):
        talk.resp_retransmit(at=at, lost=True)
    assert close(talk.resp_rst(at="7s")) != ("abort_retransmit", "server")


def test_one_syn_and_a_capture_that_goes_on() -> None:
    assert close(later(Talk().syn(), 5)) == ("syn_timeout", "none")


def test_a_syn_at_the_end_of_the_capture() -> None:
    assert close(Talk().syn()) == ("open_active", "none")


def test_retries_that_were_answered_are_forgotten() -> None:
    talk = retries(used()).orig_retransmit(at="8.2s").resp_ack()
    assert close(later(talk, 60)) == ("open_idle", "none")


# ------------------------------------------------------------------------------------------------ end_seen, Zeek, IPFIX
def summary(result: Result) -> tuple[bool, str, str, int]:
    flow = result.rows("flows")[0]
    return flow["end_seen"], flow["conn_state"], flow["history"], flow["flow_end_reason"]


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (fin_client_first, (True, "SF", "ShADdFf", 3)),
        (fin_server_first, (True, "SF", "ShADdfFa", 3)),
        (rst_abort, (True, "RSTO", "ShADdaR", 3)),
        (rst_on_idle, (True, "RSTR", "ShADdr", 3)),
        (refused, (True, "REJ", "Sr", 3)),
        (handshake_aborted, (True, "RSTO", "ShR", 3)),
        (syn_timeout, (False, "S0", "S", 1)),
        (open_active, (False, "S1", "ShADd", 4)),
        (implicit_port_reuse, (False, "S1", "ShADd", 3)),
    ],
)
def test_other_tools_words(make: Callable[[], Talk], wanted: tuple[bool, str, str, int]) -> None:
    assert summary(run(make())) == wanted


@pytest.mark.parametrize(
    ("make", "bits"),
    [(fin_client_first, 31), (refused, 37), (handshake_aborted, 35), (open_active, 15), (rst_abort, 47)],
)
def test_completeness_is_wiresharks(make: Callable[[], Talk], bits: int) -> None:
    assert run(make()).flow["completeness"] == bits


# ------------------------------------------------------------------------------------------------ null is not zero
def test_missing_is_null() -> None:
    """tables.md: never 0, "" or -1."""
    lone = run(Talk().syn())
    assert (lone.close["idle_payload_s"], lone.close["rst_signature"]) == (None, None)


def test_no_payload_no_payload_silence() -> None:
    assert run(Talk().syn().resp_rst()).flow["max_payload_gap_s"] is None


def test_one_segment_has_no_silence() -> None:
    assert run(Talk().syn()).flow["max_wire_gap_s"] is None


def test_nothing_came_before_a_lone_reset() -> None:
    assert run(used().resp_rst().packets[-1:]).close["idle_wire_s"] is None


def test_offers_are_unknown_without_a_handshake() -> None:
    flow = run(used().packets[3:]).flow
    assert (flow["sack_ok"], flow["timestamps_ok"]) == (None, None)


def test_a_handshake_with_a_repeated_syn_has_no_round_trip() -> None:
    """Which of the two was answered?"""
    assert run(Talk().syn(lost=True).syn(at="1s").syn_ack().ack()).flow["handshake_rtt_s"] is None


def test_an_idle_connection_joined_midstream_and_reset() -> None:
    """No payload in the capture: the silence is at least as long as the capture saw."""
    talk = Talk().handshake().orig(b"ask").resp(b"answer").orig_ack()
    for k in range(1, 6):
        talk.orig_probe(at=f"{60 * k}s").resp_ack()
    packets = list(talk.resp_rst(at="350s").packets)[6:]
    result = run(packets)
    assert close(packets) == ("rst_on_idle", "server")
    assert result.rows("closes")[0]["idle_payload_s"] is None


def test_a_lone_reset_is_no_verdict() -> None:
    packets = list(Talk().handshake().orig(b"ask").resp_rst().packets)[-1:]
    assert close(packets) == ("capture_gap", "unknown")


# ------------------------------------------------------------------------------------------------ idle timeouts
def trigger(talk: Talk) -> str:
    return str(run(talk).rows("closes")[0]["trigger"])


def test_a_server_that_waited_long_for_the_client_timed_it_out() -> None:
    assert trigger(used().resp_fin(at="61.02s").orig_fin().resp_ack()) == "idle_timeout"
    assert trigger(used().resp_rst(at="61.02s")) == "idle_timeout"


def test_but_not_after_a_moment_or_in_its_own_turn() -> None:
    assert trigger(used().resp_fin(at="4s").orig_fin().resp_ack()) == "unknown"
    assert trigger(used().orig(b"request", at="2s").resp_ack().resp_fin(at="62s").orig_fin().resp_ack()) == "unknown"


def test_a_client_that_closes_has_finished() -> None:
    assert trigger(used().orig_fin(at="61.02s").resp_fin().orig_ack()) == "unknown"


def test_probes_are_no_activity_of_the_client() -> None:
    talk = used()
    for at in range(10, 60, 10):
        talk.orig_probe(at=at).resp_ack()
    assert trigger(talk.resp_fin(at="61.02s").orig_fin().resp_ack()) == "idle_timeout"
