"""What real stacks do around a close: traces that were told wrong once, each with the rule that tells it right."""

from __future__ import annotations

import pytest

from tests import tlswire as w
from tests.property.harness import Result, run
from tests.talk import Packet, Talk, merge
from tests.unit.classify.test_closing import close, later, used

pytestmark = pytest.mark.usefixtures("compiled")

MSS = 1448


def doubling(talk: Talk, at: float, tries: int, *, skip: int = 0, wait: float = 0.22) -> tuple[Talk, float, float]:
    """Send the client's last bytes again and again, unanswered; return when the last was, and the next wait."""
    for _ in range(tries):
        at += wait
        wait *= 2
        talk.orig_retransmit(skip=skip, at=at, lost=True)
    return talk, at, wait


def codes(result: Result) -> set[str]:
    return {row["code"] for row in result.rows("findings")}


# ------------------------------------------------------------------------------------------------ a dead peer, or not
def sack_recovery() -> Talk:
    """Four of twenty segments were lost, and are sent again within a third of a millisecond (RFC 6675)."""
    lost = (1, 3, 5, 7)
    talk = Talk(capture="server").handshake().orig(b"GET", at="0.1s").resp_ack()
    for k in range(20):
        talk.resp(bytes(MSS), seq=1 + MSS * k, at=0.2 + k * 12e-6, lost=k in lost)
    for k in range(20):
        if k == 0:
            talk.orig_ack(at=0.22, ack=1 + MSS)
        elif k not in lost:
            talk.orig_ack(at=0.22 + k * 12e-6, ack=1 + MSS, sack=[(1 + MSS * k, 1 + MSS * (k + 1))])
    for k, at in zip(lost, (0, 20e-6, 100e-6, 300e-6), strict=True):
        talk.resp(bytes(MSS), seq=1 + MSS * k, at=0.2205 + at)
    return talk


def test_one_recovery_is_one_try() -> None:
    assert close(sack_recovery()) == ("open_active", "none")
    assert close(later(sack_recovery(), at=0.3)) == ("open_active", "none")
    assert close(sack_recovery().resp_rst(at="0.24s"))[0] == "rst_abort"


def test_who_still_talks_is_not_dead() -> None:
    """A black hole of path MTU discovery (RFC 2923) swallows large segments of one direction."""
    talk, at, wait = used().orig(bytes(MSS), at="5s", lost=True), 5.0, 0.22
    for k in range(7):
        at += wait
        wait *= 2
        talk.orig_retransmit(at=at, lost=True)
        if k in (3, 5):
            talk.resp(b"tick", at=at + 0.05).orig_ack(seq=8 + MSS)
    result = run(later(talk, at=60))
    assert result.rows("closes")[0]["close_kind"] == "open_idle"
    assert "peer.dead" not in codes(result)


def test_a_fin_behind_lost_data_hides_no_death() -> None:
    """The application gave up after 20 s and closed; its kernel goes on repeating the data."""
    talk, at, wait = doubling(used().orig(b"ping", at="31s", lost=True), 31, 6)
    talk.orig_fin(at="51s", lost=True)
    assert close(later(talk, at=51.5)) == ("silent_death", "none")
    doubling(talk, at, 4, skip=1, wait=wait)
    result = run(later(talk, at=600))
    assert close(later(talk, at=600)) == ("abort_retransmit", "client")
    assert "peer.dead" in codes(result)


def test_an_answer_that_nobody_acknowledges_after_the_fin() -> None:
    talk = Talk().handshake().orig(b"query\n", at="0.1s").orig_fin().resp_ack().resp(b"answer" * 10, at="2s", lost=True)
    at, wait = 2.0, 0.22
    for _ in range(8):
        at += wait
        wait *= 2
        talk.resp_retransmit(at=at, lost=True)
    result = run(later(talk, at=600))
    assert result.rows("closes")[0]["close_kind"] == "abort_retransmit"
    assert "close.half_closed_leak" not in codes(result)


def again() -> Talk:
    """Return a new connection from the port that clients of NFS and LDAP bind."""
    return Talk(isn=(50_000_000, 3)).syn(at="250s").syn_ack().ack().orig(b"xx").resp(b"yy").orig_ack()


def test_a_port_that_is_used_again_explains_nothing_that_is_seen() -> None:
    asked = Talk().syn()
    for at in (1, 3, 7, 15):
        asked.syn(at=at)
    assert close(merge(asked, again())) == ("syn_timeout", "none")
    lost, *_ = doubling(used().orig(b"call", at="30s", lost=True), 30, 8)
    assert close(merge(lost, again())) == ("abort_retransmit", "client")
    probed = used()
    for k in range(9):
        probed.orig_probe(at=61 + 10 * k, lost=True)
    assert close(merge(probed, again())) == ("abort_keepalive", "client")
    assert close(merge(used(), again())) == ("implicit_port_reuse", "unknown")


def crossed_syns() -> Talk:
    """A simultaneous open (RFC 9293 section 3.5, figure 7): two peers through two NATs, from ports they agreed on."""
    talk = Talk(capture="middle").syn().resp_ack(flags="S", seq=0, at=0.001)
    talk.orig_ack(flags="SA", seq=0, ack=1, at=0.02).resp_ack(flags="SA", seq=0, ack=1, at=0.0205)
    for side in (talk.client, talk.server):
        side.rcv_nxt = 1
    return talk


def test_a_simultaneous_open() -> None:
    talk = crossed_syns()
    result = run(talk)
    assert result.labels == [""] * 4 and close(talk) == ("open_active", "none")
    assert close(later(talk, at=30)) == ("open_idle", "none")
    talk.orig(b"hello", at="1s").resp(b"world").orig_ack().orig_fin(at="2s").resp_fin().orig_ack()
    result = run(talk)
    flow = result.flow
    assert (flow["conn_state"], flow["role_source"], flow["completeness"]) == ("SF", "syn", 31)
    assert (flow["retransmits_c"], flow["retransmits_s"]) == (0, 0) and not codes(result)


@pytest.mark.parametrize("closer", ["client", "server"])
def test_a_reset_in_place_of_the_last_ack_loses_nothing(closer: str) -> None:
    """Who has closed and aborts as the other side's FIN comes (SO_LINGER 0) acknowledges it in its reset."""
    if closer == "client":
        talk = used().orig_fin(at="2s").resp_fin().orig_rst()
    else:
        talk = used().resp_fin(at="2s").orig_ack().orig_fin().resp_rst()
    result = run(talk)
    row = result.rows("closes")[0]
    assert (row["close_kind"], row["graceful_tcp"]) == (f"fin_{closer}_first", "yes")
    assert "a reset stands for the" in row["explanation"] and not codes(result)


def test_a_reset_that_acknowledges_an_answer_after_its_fin_may_lose_it() -> None:
    talk = used().orig(b"more", at="2s").orig_fin().resp(b"answer", at="2.1s").resp_fin().orig_rst()
    assert close(talk)[0] == "rst_after_own_fin"


def test_a_goodbye_of_tls_after_the_other_sides_fin_is_no_half_close() -> None:
    """RFC 8446 section 6.1: close_notify is answered, a round trip after the FIN that came with it."""
    talk = Talk(server=("10.0.0.2", 443)).handshake()
    for number, flight in enumerate(w.full13()):
        talk = talk.orig(flight) if number % 2 == 0 else talk.resp(flight)
    talk.orig(w.data(100)).resp(w.data(300)).orig_ack().orig(w.data(19), at="2s").orig_fin()
    answered = talk.resp(w.data(19), at="2.03s").resp_fin().orig_ack()
    assert close(answered) == ("fin_client_first", "client")


def test_a_probe_that_may_still_be_answered_is_no_miss() -> None:
    talk = used().orig_probe(at=61, lost=True).orig_probe(at=71, lost=True).orig_probe(at=81)
    assert close(talk) == ("open_idle", "none")
    assert close(later(talk, at=83)) == ("silent_death", "none")


def test_of_one_direction_the_last_probe_tells_nothing() -> None:
    """Two probes were answered, as the echoed timestamps tell; of the third nobody knows."""
    talk = used()
    for k in range(3):
        talk.orig_probe(at=61 + k * 60).resp_ack()
    mine = [packet for packet in talk.orig_rst(at="200s").packets if packet[1][26:30] == talk.client.ip]
    result = run(mine)
    assert (result.close["close_kind"], result.flow["keepcnt"]) == ("rst_on_idle", None)
    assert "peer.dead" not in codes(result)


def test_the_probers_own_reset_ends_the_wait() -> None:
    """What comes after it answers the reset: all three probes stay unanswered."""
    talk = used()
    for at in (3, 4, 5):
        talk.orig_probe(at=at, lost=True)
    result = run(talk.orig_rst(at="6s").resp_rst(bare=True, at="12s"))
    assert (result.close["close_kind"], result.flow["keepcnt"], result.flow["keepalive_unanswered_c"]) == (
        "abort_keepalive", 3, 3,
    )  # fmt: skip
    assert [row["answered"] for row in result.rows("keepalives")] == ["no"] * 3


# ------------------------------------------------------------------------------------------------ resets
def cancelled(queue: float, *, answers: bool) -> Talk:
    """A browser cancels a download; what waits before the slow link goes on arriving for `queue` seconds."""
    talk, at = Talk(capture="client", rtt="30ms").handshake().orig(b"GET", at="0.1s").resp_ack(), 0.2
    for _ in range(300):
        at += 0.00232
        talk.resp(bytes(2 * MSS), at=at).orig_ack()
    talk.orig_rst(at=at + 0.0005)
    over = at + 0.03 + queue
    while at < over:
        at += 0.00232
        talk.resp(bytes(2 * MSS), at=at, ack=4)
        if answers:
            talk.orig_rst(bare=True)
    return talk


@pytest.mark.parametrize("answers", [True, False])
def test_what_was_under_way_is_no_life_after_a_reset(answers: bool) -> None:
    talk = cancelled(0.4, answers=answers)
    result = run(talk)
    assert (result.close["close_kind"], result.close["initiator"]) == ("rst_unread_data", "client")
    assert "reset.ignored" not in codes(result)
    lost = run(talk.resp(b"again", at="9s"))  # after a pause it is no queue
    assert "reset.ignored" in codes(lost)


def test_who_acknowledged_some_of_a_burst_had_not_forgotten() -> None:
    """A download is cancelled after the server had thought for two seconds; more was under way."""
    talk = Talk(capture="server").handshake().orig(b"GET /big", at="0.1s").resp_ack().resp(bytes(10 * MSS), at=2.2)
    for k in range(5):
        talk.orig_ack(at=2.22 + k * 1e-4, ack=1 + 2 * MSS * (k + 1))
    talk.resp(bytes(20 * MSS), at=2.2206).orig_rst(at=2.222, ack=1 + 10 * MSS)
    assert close(talk) == ("rst_unread_data", "client")


def test_quiet_is_not_idle_while_data_is_outstanding() -> None:
    talk = used().orig(b"q", at="5s", lost=True).orig_retransmit(at="5.22s", lost=True)
    assert close(talk.orig_retransmit(at="5.66s", lost=True).orig_rst(at="7s")) == ("rst_abort", "client")


def test_a_host_that_was_started_anew_answers_late() -> None:
    """ARP, or a link that comes up, delays its answer to what is sent again."""
    talk = used().resp(b"tick", at="2s", lost=True)
    for at in (2.2, 2.6, 3.4, 5.0):
        talk.resp_retransmit(at=at, lost=at < 5)
    assert close(talk.orig_rst(bare=True, at="6s", seq=8)) == ("rst_to_data_stale", "client")


def test_a_burst_that_began_before_the_fin_is_not_stale() -> None:
    """The server ends a stream after a silence, the client closes at once, the server's last word crosses that."""
    talk = used().resp(b"last words", at="5s").orig_fin(at="5.0003s").resp(b"bye", at="5.003s")
    assert close(talk.orig_rst(bare=True, at="5.0031s")) == ("rst_after_own_fin", "client")


def test_a_reader_that_had_stopped_before_the_capture_began() -> None:
    """All that was captured are window probes, their answers and the reset."""
    talk = used().orig(b"x" * 900, at="2s").resp_ack(win=0)
    for at in (3, 5, 9):
        talk.orig_probe(at=at).resp_ack(win=0)
    joined = talk.resp_rst(at="12s").packets[-7:]
    result = run(joined)
    assert (result.close["close_kind"], result.close["initiator"]) == ("rst_unread_data", "server")
    assert "stopped reading" in result.close["explanation"]


# ------------------------------------------------------------------------------------------------ copies and numbers
def test_a_mirrored_syn_ack_is_a_copy() -> None:
    """Linux gives SYN-ACKs the IP-ID 0: nothing else tells an exact copy."""
    talk = Talk(capture="middle").syn().syn_ack(ip_id=0).ack()
    twice: list[Packet] = [copy for ts, frame in talk.packets for copy in ((ts, frame), (ts + 3000, frame))]
    result = run(merge(twice, Talk(("10.9.9.9", 9), ("10.0.0.3", 9)).syn(at="10s")))
    flow = result.rows("flows")[0]
    assert result.rows("closes")[0]["close_kind"] == "open_idle"
    assert (flow["retransmits_s"], flow["handshake_rtt_s"]) == (0, pytest.approx(0.02))


def test_a_byte_that_was_sent_before_is_no_probe() -> None:
    """A keystroke whose ACKs are lost behind the capture point comes again, for seconds."""
    talk = Talk(capture="server").handshake().orig(b"abc", at="1s").resp(b"def").orig_ack(at="1.05s")
    talk.orig(b"x", at="5s").resp_ack(lost=True)
    for at in (5.22, 5.66, 6.54, 8.3, 11.82):
        talk.orig_retransmit(at=at).resp_ack(lost=at < 11)
    result = run(talk)
    assert (result.flow["keepalive_probes_c"], result.flow["spurious_c"]) == (0, 5)


def test_no_round_trip_is_measured_over_a_merged_retransmission() -> None:
    """Two small writes are lost and sent again as one (RFC 6298 section 3)."""
    talk = used().orig(b"aa", at="5s", lost=True).orig(b"bb", at="5.001s", lost=True)
    talk.orig(b"aabb", seq=8, at="5.22s").resp(b"ok", at="5.24s").orig_ack()
    assert run(talk).flow["rtt_p95_s"] < 0.1


@pytest.mark.parametrize("lower", [100, 800_000_000, 1_500_000_000, -1000])
def test_an_old_ack_before_the_syn_ack_moves_nothing(lower: int) -> None:
    """The server still has the port's last connection: it answers the SYN with that one's ACK (RFC 9293 3.5.1)."""
    old = Talk(isn=(2_000_000_000, 9_000_000)).handshake().orig(b"abc", at="1s").resp(b"defg").orig_ack()
    old.resp_fin(at="3s").orig_fin().resp_ack()
    new = Talk(isn=(2_000_000_000 - lower, 70_000_000)).syn(at="4s")
    new.packets.append((new.packets[-1][0] + 20_000_000, old.resp_ack(at="4.02s").packets.pop()[1]))
    new.orig_rst(bare=True, at="4.02005s", seq=lower + 5)
    new.syn(at="5s").syn_ack().ack().orig(b"new").resp(b"ok").orig_ack().orig_fin(at="8s").resp_fin().orig_ack()
    result = run(merge(old, new))
    flow, closed = result.rows("flows")[1], result.rows("closes")[1]
    assert (flow["payload_bytes_c"], flow["missing_bytes_c"], flow["spurious_c"]) == (3, 0, 0)
    assert (closed["close_kind"], closed["graceful_tcp"]) == ("fin_client_first", "yes")
    assert result.anomalies == {}
