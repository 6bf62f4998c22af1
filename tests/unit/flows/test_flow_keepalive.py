"""Definitions B1 and B2: what is a keep-alive probe, what only looks like one, and what answers it."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.flows import tracker
from tests.property.harness import Result, run
from tests.talk import Talk


def used() -> Talk:
    """Return a connection that has exchanged a request and a response by 1.02 s, everything acknowledged."""
    return Talk().handshake().orig(b"request", at="1s").resp(b"response").orig_ack()


def probes(result: Result) -> list[tuple[int, str, str]]:
    """Return (frame, direction, answer) of each probe."""
    return [(row["frame"], row["dir"], row["answered"]) for row in result.probes]


# ------------------------------------------------------------------------------------------------ what is a probe
def test_a_probe_goes_one_back_and_is_answered() -> None:
    result = run(used().orig_probe(at="61.02s").resp_ack())
    (probe,) = result.probes
    assert result.labels[6:] == ["keepalive_probe", "keepalive_ack"]
    assert (probe["frame"], probe["answer_frame"], probe["len"], probe["dir"]) == (7, 8, 0, "c2s")
    assert probe["rtt_s"] == pytest.approx(0.02)
    assert probe["idle_before_s"] == pytest.approx(60, abs=0.001)
    assert result.segments[7]["answers_frame"] == 7
    assert (result.flow["keepalive_probes_c"], result.flow["keepalive_unanswered_c"]) == (1, 0)
    assert result.flow["retransmits_c"] == 0


def test_a_probe_of_the_server() -> None:
    result = run(used().resp_probe(at="61s").orig_ack())
    assert probes(result) == [(7, "s2c", "ack")]


@pytest.mark.parametrize("make", [{"ipv6": True}, {"vlan": 7}, {"timestamps": False}, {"wscale": None}])
def test_a_probe_looks_the_same_everywhere(make: dict[str, Any]) -> None:
    result = run(Talk(**make).handshake().orig(b"x", at="1s").resp_ack().orig_probe(at="61s").resp_ack())
    assert probes(result) == [(6, "c2s", "ack")]


def test_a_probe_at_the_initial_sequence_number() -> None:
    """The side that never sent data goes back to its SYN's number."""
    result = run(Talk().handshake().orig_probe(at="61s").resp_ack())
    assert result.segments[3]["seq_rel"] == 0
    assert probes(result) == [(4, "c2s", "ack")]


def test_a_probe_whose_number_wraps() -> None:
    result = run(Talk(isn=(2**32 - 1, 5)).handshake().orig_probe(at="61s").resp_ack())
    assert result.segments[3]["seq"] == 2**32 - 1
    assert probes(result) == [(4, "c2s", "ack")]


def test_a_byte_of_garbage_is_no_payload() -> None:
    """Windows sends one byte; it never enters the stream and is not a retransmission."""
    result = run(used().orig_probe(b"\0", at="61s").resp_ack(sack=[(7, 8)]))
    assert result.probes[0]["len"] == 1
    assert probes(result) == [(7, "c2s", "ack")]
    assert result.flow["payload_bytes_c"] == 7
    assert result.flow["retransmits_c"] == 0


def test_garbage_at_the_initial_sequence_number_is_no_payload() -> None:
    result = run(Talk().handshake().orig_probe(b"\0", at="61s").resp_ack())
    assert probes(result) == [(4, "c2s", "ack")]
    assert result.flow["payload_bytes_c"] == 0


@pytest.mark.parametrize(("quiet", "wanted"), [("1.94s", 1), ("1.5s", 0)])
@pytest.mark.parametrize("garbage", [b"", b"\0"])
def test_a_probe_comes_after_silence(quiet: str, wanted: int, garbage: bytes) -> None:
    """The smallest KEEPIDLE of a kernel is a second, so 0.9 s of silence is asked for.

    Sooner it is an ACK that the byte before it overtook, or that byte again.
    """
    talk = Talk().handshake().orig(b"?", at="1s").resp(b"response").orig_ack()
    assert len(run(talk.orig_probe(garbage, at=quiet).resp_ack()).probes) == wanted


@pytest.mark.parametrize("timestamps", [False, True])
def test_an_ack_that_a_repetition_with_one_more_byte_overtook(timestamps: bool) -> None:
    def begun() -> Talk:
        return Talk(timestamps=timestamps).handshake().orig(b"abc", at="1s").resp(b"hello")

    late = begun().orig_ack().packets[-1]
    packets = begun().orig(b"abcd", seq=1, at="1.03s").resp_ack(ack=5).packets
    assert run([*packets, (packets[-1][0] + 2_000_000, late[1])]).probes == []


def test_a_probe_that_can_be_nothing_else_needs_no_silence() -> None:
    """The request went out in one segment: no ACK of its sender ever was a byte before its end."""
    assert probes(run(used().orig_probe(at="1.5s").resp_ack())) == [(7, "c2s", "ack")]
    assert probes(run(used().orig_probe(b"\0", at="1.5s").resp_ack())) == []
    unseen = used().orig_drop(2, at="1.2s").resp_ack().orig_probe(at="1.5s").resp_ack()
    assert probes(run(unseen)) == []  # these two bytes may have been two segments


def test_both_ends_probe_a_few_milliseconds_apart() -> None:
    """Timers of the same length on both ends cross on the wire; neither probe answers the other."""
    talk = used()
    for second in (61, 121, 181):
        talk.orig_probe(at=second).resp_probe(at=second + 0.004).orig_ack(at=second + 0.0041).resp_ack(at=second + 0.02)
    result = run(talk)
    assert result.answers == ["ack"] * 6
    assert [row["answer_frame"] - row["frame"] for row in result.probes] == [3, 1] * 3
    assert result.flow["keepalive_probes_c"] == result.flow["keepalive_probes_s"] == 3


def test_the_later_of_two_timers_is_not_reset_by_the_earlier_ones_probe() -> None:
    result = run(used().orig_probe(at="61s").resp_ack().resp_probe(at="61.3s").orig_ack())
    assert probes(result) == [(7, "c2s", "ack"), (9, "s2c", "ack")]


def test_a_probe_in_a_capture_of_one_direction() -> None:
    """Without the peer's ACKs nothing is known to be acknowledged: the empty form counts, the byte does not."""
    talk = used().orig_probe(at="61s").orig_probe(b"\0", at="121s")
    client = bytes((10, 0, 0, 1))
    one_way = [packet for packet in talk.packets if packet[1][26:30] == client]
    result = run(one_way)
    assert [row["len"] for row in result.probes] == [0]


# ------------------------------------------------------------------------------------------------ what is not
def test_an_unacknowledged_byte_sent_again_is_a_retransmission() -> None:
    result = run(Talk().handshake().orig(b"x", at="1s", lost=True).orig_retransmit(at="2.5s").resp_ack())
    assert result.probes == []
    assert "retransmission" in result.labels[4]


def test_a_window_probe_of_linux_is_no_keepalive() -> None:
    talk = used().resp_ack(win=0, at="1.03s")
    for at in (1.25, 1.68, 2.54, 4.24, 7.74):
        talk.orig_probe(at=at).resp_ack(win=0)
    result = run(talk)
    assert result.probes == []
    assert result.labels[7::2] == ["zero_window_probe"] * 5


def test_a_late_ack_after_the_own_fin_is_no_keepalive() -> None:
    talk = used().orig_fin(at="2s").resp_ack()
    result = run(talk.orig_ack(at="4s", seq=8).resp_fin(at="5s").orig_ack())
    assert result.probes == []


def test_an_answer_with_another_window_is_an_answer() -> None:
    result = run(used().orig_probe(at="61s").resp_ack(win=77))
    assert probes(result) == [(7, "c2s", "ack")]
    assert result.labels[7] == "keepalive_ack"


def test_an_idle_connection_joined_midstream() -> None:
    """The capture has nothing but probes and answers: the first pair is told by the second."""
    talk = used()
    for second in (61, 121, 181):
        talk.orig_probe(at=second).resp_ack()
    result = run(talk.packets[6:])
    assert probes(result) == [(1, "c2s", "ack"), (3, "c2s", "ack"), (5, "c2s", "ack")]
    assert result.probes[0]["idle_before_s"] is None
    assert result.flow["keepalive_probes_c"] == 3
    assert result.flow["keepidle_s"] == pytest.approx(60, abs=0.05)


def test_an_idle_connection_joined_at_bytes_of_garbage() -> None:
    """Windows: the first byte is a probe's, too, and never was part of what the application said."""
    talk = used()
    for second in (61, 121, 181):
        talk.orig_probe(b"\0", at=second).resp_ack(sack=[(7, 8)])
    talk.orig(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at="200s").resp_ack()
    result = run(talk.packets[6:])
    assert probes(result) == [(1, "c2s", "ack"), (3, "c2s", "ack"), (5, "c2s", "ack")]
    assert [row["len"] for row in result.probes] == [1, 1, 1]
    assert result.probes[0]["idle_before_s"] is None
    assert result.flow["payload_bytes_c"] == 27
    assert result.flow["missing_bytes_c"] == 0
    assert result.flow["app_protocol"] == "http1"


def test_a_single_byte_of_garbage_before_the_first_data_midstream() -> None:
    talk = used().orig_probe(b"\0", at=61).resp_ack().orig(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at="80s").resp_ack()
    for packets in (talk.packets[6:], [talk.packets[6], *talk.packets[8:]]):  # with its answer, and without
        result = run(packets)
        assert (result.flow["payload_bytes_c"], result.flow["missing_bytes_c"]) == (27, 0)
        assert result.flow["app_protocol"] == "http1"


def test_a_single_byte_that_is_pushed_is_data() -> None:
    """A keystroke: whoever sends its last byte sets PSH (RFC 9293 section 3.9.1)."""
    result = run(used().orig(b"x", at="61s").resp_ack().orig(b"y", at="63s").resp_ack().packets[6:])
    assert probes(result) == []
    assert result.flow["payload_bytes_c"] == 2


def test_of_one_direction_what_comes_soon_may_be_a_window_probe() -> None:
    """The peer's window is not to be seen, nor whether all was acknowledged."""
    talk = used().orig(b"more", at="2s").resp_ack(win=0)
    for at in (2.27, 2.7, 3.2):
        talk.orig_probe(at=at).resp_ack(win=0)
    own = [packet for packet in talk.packets if packet[1][26:30] == bytes((10, 0, 0, 1))]
    assert run(own).probes == []
    assert len(run(talk).probes) == 0


def test_a_byte_that_more_data_follows_at_once_is_data() -> None:
    """Test captures are often made by programs that never set PSH."""
    text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for pieces in ([text[:1], text[1:9], text[9:]], [text[:1], text[1:2], text[2:]]):
        talk = used()
        for number, piece in enumerate(pieces):
            talk.orig(piece, flags="A", at=f"{61 + number / 100}s", lost=True)
        result = run(talk.packets[6:])
        assert result.probes == []
        assert (result.flow["payload_bytes_c"], result.flow["missing_bytes_c"]) == (27, 0)
        assert (result.flow["app_protocol"], result.flow["requests"]) == ("http1", 1)
        assert result.rows("http_requests")[0]["request_frame"] == 1


def test_a_byte_that_was_answered_before_more_data_came_is_garbage() -> None:
    talk = used().orig_probe(b"\0", at=61).resp_ack().orig(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at="61.1s")
    flow = run(talk.packets[6:]).flow
    assert (flow["payload_bytes_c"], flow["app_protocol"]) == (27, "http1")


def test_a_window_probe_of_one_byte_at_the_beginning_is_data_once_it_is_taken() -> None:
    """The answer says that the byte was not taken; it comes again with the rest."""
    one = Talk().handshake().orig(b"request", at="1s").resp(b"response").orig_ack()
    one.orig_probe(b"h", seq=8, at="61s", lost=True).resp_ack(ack=8, win=0)
    one.resp_ack(ack=8, win=502, at="62s").orig(b"hello", seq=8).resp_ack()
    result = run(one.packets[6:])
    assert probes(result) == []
    assert result.flow["payload_bytes_c"] == 5


# A peer that was dead before the capture began: nothing of it is there, and only the prober's RST, one above what it
# sent before, tells that those were probes.
@pytest.mark.parametrize("garbage", [b"", b"\0"])
@pytest.mark.parametrize("timestamps", [False, True])
def test_a_peer_that_was_dead_before_the_capture_began(timestamps: bool, garbage: bytes) -> None:
    talk = Talk(timestamps=timestamps).handshake().orig(b"request", at="1s").resp(b"response").orig_ack()
    for second in range(61, 71, 2):
        talk.orig_probe(garbage, at=second, lost=True)
    result = run(talk.orig_rst(at="71s").packets[6:])
    assert probes(result) == [(n, "c2s", "no") for n in (1, 2, 3, 4, 5)]
    assert [row["len"] for row in result.probes] == [len(garbage)] * 5
    assert [row["idle_before_s"] for row in result.probes] == [None, 2, 2, 2, 2]
    assert (result.close["close_kind"], result.close["initiator"]) == ("abort_keepalive", "client")
    assert result.close["evidence_frames"] == [1, 2, 3, 4, 5, 6]
    assert (result.flow["keepalive_probes_c"], result.flow["keepalive_unanswered_c"]) == (5, 5)
    assert (result.flow["keepintvl_s"], result.flow["keepcnt"]) == (2, None)  # there may have been more before
    assert result.flow["payload_bytes_c"] == 0


def test_a_capture_that_begins_with_the_last_ack_before_the_probes() -> None:
    """An ordinary ACK says where its sender had got: what is one below it needs no answer to be a probe."""
    talk = used()
    for second in (61, 71, 81):
        talk.orig_probe(at=second, lost=True)
    result = run(talk.orig_rst(at="91s").packets[5:])
    assert probes(result) == [(2, "c2s", "no"), (3, "c2s", "no"), (4, "c2s", "pending")]  # of one direction
    assert result.labels[1:4] == ["keepalive_probe"] * 3
    assert result.close["close_kind"] == "abort_keepalive"
    alive = used().orig_probe(at="61s").resp_ack()
    assert probes(run(alive.packets[5:])) == [(2, "c2s", "ack")]


def test_answers_of_which_the_probes_are_missing_are_no_probes() -> None:
    talk = used()
    for second in (61, 121, 181, 241):
        talk.resp_probe(at=second).orig_ack()
    talk.orig_rst(at="250s")
    result = run([packet for packet in talk.packets[6:] if packet[1][26:30] == bytes((10, 0, 0, 1))])
    assert probes(result) == []
    assert result.close["close_kind"] == "rst_on_idle"


def test_a_peer_that_was_heard_in_between_was_not_dead() -> None:
    talk = used()
    for second in (61, 71, 81):
        talk.orig_probe(at=second).resp(b"news", at=second + 0.02)
    talk.orig_rst(at="91s")
    result = run([packet for packet in talk.packets[6:] if packet[1][26:30] == bytes((10, 0, 0, 1))])
    assert probes(result) == []


def test_an_idle_connection_joined_at_an_answer() -> None:
    """The answer of the side that is probed says where the prober had got (B1, 6)."""
    talk = used()
    for second in (61, 121, 181):
        talk.orig_probe(at=second).resp_ack()
    assert probes(run(talk.packets[7:])) == [(2, "c2s", "ack"), (4, "c2s", "ack")]


def test_a_server_that_probes_joined_midstream() -> None:
    talk = used()
    for second in (61, 121):
        talk.resp_probe(at=second).orig_ack()
    result = run(talk.packets[6:])
    assert probes(result) == [(1, "s2c", "ack"), (3, "s2c", "ack")]
    assert (result.flow["client_port"], result.flow["role_source"]) == (40000, "port")


def test_a_pair_of_ordinary_acks_midstream_is_no_probe() -> None:
    result = run(used().orig_ack(at="5s").resp_ack(at="5.02s").orig_ack(at="9s").packets[6:])
    assert result.probes == []


def test_an_older_timestamp_is_no_probe() -> None:
    """A segment that left its sender before the newest one is late, whatever its number."""
    assert run(used().orig_probe(at="61s", tsval=100_500).resp_ack()).probes == []


def test_probes_after_the_timestamp_wrapped() -> None:
    """It wraps after 49.7 days at most; Linux starts it anywhere, so a long connection may wrap on its first day."""
    talk = Talk()
    talk.client.tsval = 2**32 - 30_000  # wraps 30 s in
    talk.handshake().orig(b"x", at="1s").resp_ack()
    for second in (61, 121, 181):
        talk.orig_probe(at=second).resp_ack()
    assert run(talk).answers == ["ack"] * 3


@pytest.mark.parametrize("flags", ["FA", "RA", "R", "A"])
def test_only_an_ack_is_a_probe(flags: str) -> None:
    result = run(used().orig_probe(at="61s", flags=flags))
    assert len(result.probes) == (flags == "A")


def test_an_ack_that_is_not_one_back_is_no_probe() -> None:
    assert run(used().orig_ack(at="61s").resp_ack().orig_ack(at="121s", seq=6)).probes == []


# ------------------------------------------------------------------------------------------------ answers
def test_data_answers_a_probe() -> None:
    result = run(used().orig_probe(at="61s").resp(b"news").orig_ack())
    assert probes(result) == [(7, "c2s", "data")]
    assert result.flow["payload_bytes_s"] == 12


def test_a_reset_answers_a_probe() -> None:
    result = run(used().orig_probe(at="61s").resp_rst(bare=True))
    assert probes(result) == [(7, "c2s", "rst")]
    assert result.close["close_kind"] == "rst_to_keepalive"


def test_the_next_probe_finds_the_one_before_unanswered() -> None:
    result = run(used().orig_probe(at="61s", lost=True).orig_probe(at="71s").resp_ack())
    assert probes(result) == [(7, "c2s", "no"), (8, "c2s", "ack")]
    assert result.flow["keepalive_unanswered_c"] == 1


def test_a_capture_that_ends_at_once_leaves_the_answer_open() -> None:
    assert run(used().orig_probe(at="61s")).answers == ["pending"]


def test_a_capture_that_goes_on_long_enough_does_not() -> None:
    other = Talk(("10.0.0.9", 1)).syn(at="62.5s")
    assert run([*used().orig_probe(at="61s").packets, *other.packets]).answers == ["no"]


def test_a_pending_probe_is_not_counted_as_unanswered() -> None:
    assert run(used().orig_probe(at="61s")).flow["keepalive_unanswered_c"] == 0


def test_data_of_the_prober_itself_is_no_answer() -> None:
    result = run(used().orig_probe(at="61s", lost=True).orig(b"x", at="61.5s", lost=True))
    assert result.answers == ["pending"]


def test_an_ack_of_something_older_is_no_answer() -> None:
    result = run(used().orig_probe(at="61s").resp_ack(ack=3))
    assert result.answers == ["pending"]


# ------------------------------------------------------------------------------------------------ zero-window probes
def stalled() -> Talk:
    """Return a connection whose server closed its window at 1.03 s, all data acknowledged."""
    return used().resp_ack(win=0, at="1.03s")


def test_window_probe_of_linux_goes_one_back() -> None:
    result = run(stalled().orig_probe(at="1.3s").resp_ack(win=0))
    assert result.labels[6:] == ["zero_window", "zero_window_probe", "zero_window"]


def test_window_probe_of_bsd_is_the_next_byte() -> None:
    talk = stalled().orig(b"a", at="1.3s", lost=True).resp_ack(win=0)
    talk.orig_retransmit(at="1.9s", lost=True).resp_ack(win=0)
    result = run(talk)
    assert result.labels[7::2] == ["zero_window_probe"] * 2
    assert result.flow["retransmits_c"] == 0
    assert result.flow["payload_bytes_c"] == 7, "not acknowledged, so not in the stream"


def test_window_probe_is_the_first_unacknowledged_segment_again() -> None:
    talk = used().orig(b"more", at="1.02s", lost=True).resp_ack(win=0, ack=8)
    talk.orig_retransmit(at="1.5s", lost=True).resp_ack(win=0, ack=8).orig_retransmit(at="2.3s").resp_ack()
    result = run(talk)
    assert result.labels[8] == result.labels[10] == "zero_window_probe"
    assert result.flow["retransmits_c"] == 0
    assert result.flow["payload_bytes_c"] == 11


def test_an_accepted_window_probe_belongs_to_the_stream() -> None:
    """Its byte counts once it is acknowledged, and what follows goes on after it."""
    talk = stalled().orig(b"a", at="1.3s").resp_ack(win=100).orig(b"bcd").resp_ack()
    result = run(talk)
    assert "acked_unseen" not in result.labels[8]
    assert result.flow["payload_bytes_c"] == 7 + 4
    assert result.flow["missing_bytes_c"] == 0


def test_a_refused_window_probe_comes_again_with_its_neighbours() -> None:
    """The byte was not accepted; later it is the first of a whole segment and counts once."""
    talk = stalled().orig(b"a", at="1.3s", lost=True).resp_ack(win=0).resp_ack(win=100, at="2s")
    talk.orig(b"abcd", seq=8, at="2.1s").resp_ack()
    result = run(talk)
    assert result.flow["payload_bytes_c"] == 7 + 4


def test_a_keepalive_after_the_window_opened_again() -> None:
    result = run(stalled().resp_ack(win=500, at="1.5s").orig_probe(at="61.5s").resp_ack())
    assert probes(result) == [(9, "c2s", "ack")]


# ------------------------------------------------------------------------------------------------ timers
def dead_peer(idle: float, interval: float, count: int, garbage: bytes = b"") -> Talk:
    """Return a connection whose server vanished: probes without an answer, then the prober's RST."""
    talk, at = used(), 1.02 + idle
    for _ in range(count):
        talk.orig_probe(garbage, at=at, lost=True)
        at += interval
    return talk.orig_rst(at=at)


def test_timers_of_a_dead_peer() -> None:
    flow = run(dead_peer(60, 10, 6)).flow
    assert flow["keepidle_s"] == pytest.approx(60, abs=0.1)
    assert flow["keepintvl_s"] == pytest.approx(10, abs=0.1)
    assert flow["keepcnt"] == 6
    assert flow["close_kind"] == "abort_keepalive"


def test_answered_probes_are_keepidle_apart() -> None:
    talk = used()
    for second in (46.02, 91.04, 136.06):
        talk.orig_probe(at=second).resp_ack()
    flow = run(talk).flow
    assert flow["keepidle_s"] == pytest.approx(45, abs=0.1)
    assert (flow["keepintvl_s"], flow["keepcnt"]) == (None, None)


def test_one_lost_answer_among_many() -> None:
    """The retry comes KEEPINTVL later, the next probe KEEPIDLE after the answer."""
    talk = used().orig_probe(at="61.02s").resp_ack().orig_probe(at="121.04s", lost=True)
    talk.orig_probe(at="131.04s").resp_ack().orig_probe(at="191.06s").resp_ack()
    result = run(talk)
    assert result.answers == ["ack", "no", "ack", "ack"]
    assert result.flow["keepidle_s"] == pytest.approx(60, abs=0.1)
    assert result.flow["keepintvl_s"] == pytest.approx(10, abs=0.1)
    assert result.flow["keepcnt"] is None


@pytest.mark.parametrize(
    ("idle", "interval", "count", "garbage", "profile"),
    [
        (7200, 75, 9, b"", "linux_default"),
        (7200, 75, 8, b"", "bsd_macos_default"),
        (7200, 1, 10, b"\0", "windows_default"),
        (15, 15, 9, b"", "go_default"),
        (300, 100, 3, b"", "redis_default"),
        (45, 45, 7, b"", "chrome"),
        (37, 11, 5, b"", None),
    ],
)
def test_profiles(idle: float, interval: float, count: int, garbage: bytes, profile: str | None) -> None:
    flow = run(dead_peer(idle, interval, count, garbage)).flow
    assert flow["keepalive_profile"] == profile
    assert flow["keepcnt"] == count


def test_no_probe_no_timers() -> None:
    flow = run(used()).flow
    names = ("keepidle_s", "keepintvl_s", "keepcnt", "keepalive_profile")
    assert [flow[name] for name in names] == [None] * 4


def test_the_silence_before_a_probe_is_that_of_the_timer() -> None:
    """The peer's own probes do not restart the timer: 60 s, not 30."""
    talk = used().resp_probe(at="31s").orig_ack().orig_probe(at="61.02s").resp_ack()
    result = run(talk)
    assert result.probes[1]["idle_before_s"] == pytest.approx(60, abs=0.1)


def test_probes_that_are_handed_over_before_their_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many the settled ones come first, when no flow may be over yet."""
    monkeypatch.setattr(tracker, "MAX_ROWS_HELD", 1)
    talk = used()
    for second in range(60, 660, 60):
        talk.orig_probe(at=second).resp_ack()
    result = run(talk.orig_fin(at="700s").resp_fin().orig_ack(), range(len(talk.packets)))
    assert [answer for _, _, answer in probes(result)] == ["ack"] * 10
    assert result.close["close_kind"] == "fin_client_first"
