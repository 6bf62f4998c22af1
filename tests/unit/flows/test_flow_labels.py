"""Definition B3 and the other labels of a segment: each of the 17, and what it must not be confused with."""

from __future__ import annotations

import pytest

from analyzer.flows.state import LABELS
from analyzer.tables.tcp import SEGMENT_LABELS
from tests.property.harness import run
from tests.talk import Talk, merge


def used(**make: object) -> Talk:
    """Return a connection that has exchanged a request and a response by 1.02 s, everything acknowledged (frame 6)."""
    return Talk(**make).handshake().orig(b"request", at="1s").resp(b"response").orig_ack()  # type: ignore[arg-type]


def burst(n: int = 4, **make: object) -> Talk:
    """Return a connection on which the server sends `n` segments of 100 bytes from 1 s on (from frame 4)."""
    talk = Talk(**make).handshake().resp(b"0" * 100, at="1s")  # type: ignore[arg-type]
    for k in range(1, n):
        talk.resp(bytes([48 + k]) * 100)
    return talk


def test_labels_are_declared_in_one_order() -> None:
    assert LABELS == SEGMENT_LABELS


def test_a_clean_conversation_has_no_labels() -> None:
    """Quiet captures assert no findings: false alarms count too."""
    talk = used().resp(b"z" * 5000).orig_ack().orig(b"bye").resp_ack().orig_fin().resp_fin().orig_ack()
    result = run(talk)
    assert set(result.labels) == {""}
    assert result.anomalies == {}


@pytest.mark.parametrize("capture", ["client", "middle", "server"])
@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
def test_a_clean_conversation_is_clean_at_every_capture_point(capture: str, ipv6: bool, timestamps: bool) -> None:
    talk = used(capture=capture, ipv6=ipv6, timestamps=timestamps).resp(b"z" * 9000).orig_ack().resp_fin().orig_fin()
    assert set(run(talk.resp_ack()).labels) == {""}


# ------------------------------------------------------------------------------------------------ sent again
def test_retransmission_after_a_timeout() -> None:
    talk = Talk().handshake().orig(b"lost", at="1s", lost=True).orig_retransmit(at="1.3s").resp_ack()
    result = run(talk)
    assert result.labels[4] == "retransmission"
    assert (result.flow["retransmits_c"], result.flow["spurious_c"], result.flow["payload_bytes_c"]) == (1, 0, 4)


def test_the_second_retransmission_is_one_too() -> None:
    talk = Talk().handshake().orig(b"lost", at="1s", lost=True).orig_retransmit(at="1.3s", lost=True)
    assert run(talk.orig_retransmit(at="1.9s").resp_ack()).labels[3:] == ["", "retransmission", "retransmission", ""]


def test_retransmission_of_a_segment_lost_before_the_capture_point() -> None:
    """The capture never had it; its timestamp tells that it was sent again, not late."""
    talk = Talk(capture="server").handshake().orig(b"a" * 100, at="1s", unseen=True, lost=True)
    talk.orig(b"b" * 100, at="1.001s").resp_ack(sack=[(101, 201)]).orig_retransmit(1, skip=1, at="1.25s").resp_ack()
    result = run(talk)
    assert result.labels[3] == "lost_segment"
    assert result.labels[5] == "retransmission"
    assert result.flow["payload_bytes_c"] == 200
    assert result.flow["missing_bytes_c"] == 0


def test_spurious_retransmission_was_acknowledged_before() -> None:
    result = run(Talk().handshake().orig(b"data", at="1s").resp_ack().orig_retransmit(at="1.3s").resp_ack())
    assert result.labels[5] == "retransmission,spurious_retransmission"
    assert (result.flow["retransmits_c"], result.flow["spurious_c"]) == (1, 1)


def test_fast_retransmission_follows_duplicate_acks() -> None:
    talk = Talk(capture="server").handshake().resp(b"0" * 100, at="1s", lost=True)
    talk.resp(b"1" * 100).resp(b"2" * 100).resp(b"3" * 100)
    for block in (201, 301, 401):
        talk.orig_ack(sack=[(101, block)])
    result = run(talk.resp_retransmit(1, skip=3).orig_ack())
    assert result.labels[7:10] == ["", "duplicate_ack", "duplicate_ack"] or result.labels[7:10] == ["duplicate_ack"] * 3
    assert result.labels[10] == "retransmission,fast_retransmission"


def two_holes(**make: object) -> Talk:
    """Ten segments of 100 bytes from 1 s on, the first and the fourth lost; five of the others are acknowledged."""
    talk = burst(10, capture="server", **make)  # type: ignore[arg-type]
    block = (101, 101)
    for k in (1, 2, 4, 5, 6):
        block = (block[0] if k != 4 else 401, 101 + 100 * k)
        talk.orig_ack(ack=1, sack=[block], at=1.02 + k / 10_000)
    return talk


def test_further_holes_of_a_recovery_are_fast_retransmissions() -> None:
    """RFC 6675: what SACK blocks leave out is sent again without a timer, and without more duplicate ACKs."""
    talk = two_holes().resp_retransmit(1, skip=9, at=1.021).resp_retransmit(1, skip=6)
    assert run(talk).labels[-2:] == ["retransmission,fast_retransmission"] * 2


def test_a_partial_ack_asks_for_the_next_hole() -> None:
    """RFC 6582 section 3.2, where the congestion window let the first hole be filled alone."""
    talk = two_holes().resp_retransmit(1, skip=9, at=1.021).orig_ack(ack=301, at=1.041).resp_retransmit(1, skip=6)
    assert run(talk).labels[-1] == "retransmission,fast_retransmission"


def test_after_a_timeout_nothing_is_fast() -> None:
    """RFC 6675 section 5.1: the ACK of what a timer sent again lets the next one follow, as slow start does."""
    talk = two_holes().resp_retransmit(1, skip=9, at=1.3).orig_ack(ack=301, at=1.32).resp_retransmit(1, skip=6)
    assert [run(talk).labels[k] for k in (-3, -1)] == ["retransmission"] * 2


def test_a_late_retransmission_after_duplicate_acks_is_not_fast() -> None:
    talk = Talk(capture="server").handshake().resp(b"0" * 100, at="1s", lost=True)
    talk.resp(b"1" * 100).resp(b"2" * 100).resp(b"3" * 100).orig_ack().orig_ack().orig_ack()
    assert run(talk.resp_retransmit(1, skip=3, at="1.4s")).labels[10] == "retransmission"


def test_tail_loss_probe_comes_after_two_round_trips() -> None:
    """RFC 8985 section 7: the last segment again, before a timeout could fire."""
    talk = used(rtt="40ms").orig(b"tail", at="2s", lost=True).orig_retransmit(at="2.09s").resp_ack()
    assert run(talk).labels[7] == "retransmission,tail_loss_probe"


def test_a_syn_again_is_a_retransmission() -> None:
    result = run(Talk().syn().syn(at="1s").syn_ack().ack())
    assert result.labels[1] == "retransmission"


def test_a_syn_ack_again_is_a_retransmission() -> None:
    result = run(Talk().syn().syn_ack(lost=True).syn_ack(at="1s").ack())
    assert "retransmission" in result.labels[2]


def test_a_fin_again_is_a_retransmission() -> None:
    result = run(used().orig_fin(at="2s", lost=True).orig_retransmit(at="2.3s").resp_ack().resp_fin().orig_ack())
    assert result.labels[7] == "retransmission"
    assert result.flow["close_kind"] == "fin_client_first"


def test_a_resegmented_retransmission() -> None:
    """Two segments come again as one: no byte counts twice."""
    talk = Talk().handshake().orig(b"abc", at="1s", lost=True).orig(b"def", lost=True)
    talk.orig(b"abcdef", seq=1, at="1.3s").resp_ack()
    result = run(talk)
    assert result.labels[5] == "retransmission"
    assert result.flow["payload_bytes_c"] == 6


def test_a_retransmission_with_new_bytes_behind() -> None:
    talk = Talk().handshake().orig(b"abc", at="1s", lost=True).orig(b"abcdef", seq=1, at="1.3s").resp_ack()
    result = run(talk)
    assert result.labels[4] == "retransmission"
    assert result.flow["payload_bytes_c"] == 6


# ------------------------------------------------------------------------------------------------ late
def test_out_of_order_is_late_not_resent() -> None:
    packets = burst(3).packets
    packets[3], packets[4] = (packets[3][0], packets[4][1]), (packets[4][0], packets[3][1])
    result = run(packets)
    assert result.labels[3:] == ["lost_segment", "out_of_order", ""]
    assert (result.flow["out_of_order_s"], result.flow["retransmits_s"]) == (1, 0)
    assert result.flow["payload_bytes_s"] == 300


@pytest.mark.parametrize("make", [{"timestamps": False}, {"ipv6": True, "timestamps": False}])
def test_out_of_order_without_timestamps(make: dict[str, bool]) -> None:
    packets = burst(3, **make).packets
    packets[3], packets[4] = (packets[3][0], packets[4][1]), (packets[4][0], packets[3][1])
    assert run(packets).labels[3:] == ["lost_segment", "out_of_order", ""]


@pytest.mark.parametrize("ipv6", [False, True])
def test_what_fills_an_old_hole_was_sent_again(ipv6: bool) -> None:
    """At the receiver, nothing but time tells: what comes a round trip after its hole was seen was asked for."""
    for after, label in (("1.005s", "out_of_order"), ("1.05s", "retransmission")):
        talk = Talk(capture="client", timestamps=False, ipv6=ipv6).handshake()
        talk.resp(b"0" * 100, at="1s", ip_id=0).resp(b"1" * 100, unseen=True, lost=True)
        for k in range(2, 60):
            talk.resp(bytes([k]) * 100, at=1 + k / 1000, ip_id=0)
        packets = sorted(
            [*talk.packets, *talk.resp_retransmit(1, skip=58, at=after, ip_id=0).packets[-1:]], key=lambda p: p[0]
        )
        assert [row["analysis"] for row in run(packets).segments if row["seq_rel"] == 101] == [label]


def test_out_of_order_behind_what_the_capture_lost() -> None:
    """Of a hole only what was acknowledged is given up: the rest of it is still under way."""
    talk = burst(1, timestamps=False).resp_drop(100).resp(b"late", at="1.1s").resp(b"end", at="1.1001s")
    talk.orig_ack(ack=201, at="1.1002s")
    packets = talk.packets
    late = packets.pop(4)
    result = run([*packets, (packets[-1][0] + 20_000_000, late[1])])
    assert result.labels[4:] == ["lost_segment", "", "out_of_order"]
    assert (result.flow["missing_bytes_s"], result.flow["payload_bytes_s"]) == (100, 107)


def test_overtaken_as_the_capture_began() -> None:
    """The client's first ACK tells that what the capture begins with is not the next in order."""
    talk = burst(3, timestamps=False).orig_ack(ack=1)
    packets = talk.packets[3:]
    result = run([packets[1], packets[3], (packets[3][0] + 300_000, packets[0][1])])
    assert result.labels == ["", "", "out_of_order"]


def test_repeated_as_the_capture_began() -> None:
    """What the first ACK acknowledges had arrived before the capture, whatever comes again later."""
    talk = burst(3, timestamps=False).orig_ack()
    packets = talk.packets[3:]
    result = run([packets[2], packets[3], (packets[3][0] + 300_000_000, packets[0][1])])
    assert result.labels == ["", "", "retransmission,spurious_retransmission"]


def test_lost_segment_follows_a_hole() -> None:
    result = run(burst(1).resp_drop(100).resp(b"x"))
    assert result.labels[4] == "lost_segment"


def test_acked_unseen() -> None:
    result = run(used().resp_drop(100, at="2s").orig_ack())
    assert result.labels[6] == "acked_unseen"
    assert result.flow["missing_bytes_s"] == 100
    assert result.anomalies == {"flow.ack_unseen": 1}


def test_an_ack_captured_before_its_data() -> None:
    """Two receive queues: the ACK overtakes. Nothing is missing, nothing was sent again."""
    talk = used().resp(b"n" * 50, at="2s").orig_ack(at="2.0005s")
    packets = [*talk.packets[:6], (talk.packets[6][0], talk.packets[7][1]), (talk.packets[7][0], talk.packets[6][1])]
    result = run(packets)
    assert result.labels[7] == ""
    assert (result.flow["missing_bytes_s"], result.flow["payload_bytes_s"]) == (0, 58)


# ------------------------------------------------------------------------------------------------ acknowledgements
def test_duplicate_acks() -> None:
    talk = burst(1).orig_ack().resp_drop(100).resp(b"x" * 10).orig_ack(ack=101).resp(b"y").orig_ack(ack=101)
    result = run(talk)
    assert [result.labels[k] for k in (6, 8)] == ["duplicate_ack"] * 2
    assert result.flow["duplicate_acks_c"] == 2


def test_an_ack_with_new_sack_blocks_is_a_duplicate_whatever_its_window() -> None:
    """RFC 6675 section 2. Linux moves its window as what arrives out of order fills its buffer."""
    talk = burst(4, capture="server").orig_ack(ack=1, sack=[(101, 201)], at="1.02s", win=502)
    talk.orig_ack(ack=1, sack=[(101, 301)], win=501).orig_ack(ack=1, sack=[(101, 401)], win=500)
    talk.orig_ack(ack=1, sack=[(101, 401)], win=600, at="1.021s").resp_retransmit(1, skip=3)
    result = run(talk)
    assert result.labels[8:] == ["duplicate_ack"] * 2 + ["window_update", "retransmission,fast_retransmission"]


def test_a_window_update_that_repeats_a_d_sack_is_none() -> None:
    """RFC 2883: a block below the ACK number tells of what came twice."""
    talk = burst(2).orig_ack().resp(b"new").orig_ack(ack=201, sack=[(1, 101)], win=600)
    assert run(talk).labels[-1] == "window_update"


def test_an_ack_again_with_nothing_outstanding_is_no_duplicate() -> None:
    """RFC 5681 section 2."""
    assert run(used().orig_ack(at="1.5s").orig_ack(at="1.6s")).flow["duplicate_acks_c"] == 0


def test_window_update() -> None:
    result = run(burst(2).orig_ack().orig_ack(win=900))
    assert result.labels[6] == "window_update"


def test_window_update_where_only_one_side_was_captured() -> None:
    packets = burst(2).orig_ack().orig_ack(win=900).orig_ack(win=900).packets
    assert run([packets[0], packets[2], *packets[5:]]).labels[3:] == ["window_update", ""]


def test_a_second_ack_after_the_handshake_is_no_challenge() -> None:
    """A window update right after the handshake answers nothing."""
    assert run(Talk().handshake().orig_ack(win=900)).labels[3] == "window_update"


def test_zero_window() -> None:
    result = run(used().orig_ack(win=0).orig_ack(win=400, at="1.5s"))
    assert result.labels[6:] == ["zero_window", "window_update"]
    assert (result.flow["zero_windows_c"], result.flow["zero_windows_s"]) == (1, 0)


@pytest.mark.parametrize("flags", ["RA", "FA"])
def test_a_zero_window_means_nothing_in_a_closing_segment(flags: str) -> None:
    assert run(used().orig_ack(win=0, flags=flags)).flow["zero_windows_c"] == 0


@pytest.mark.parametrize("closer", ["its own", "the other"])
def test_a_window_that_nothing_can_be_sent_into_is_not_closed(closer: str) -> None:
    """Who frees its buffers as it closes offers nothing: in its FIN, and in its ACK of the other side's."""
    talk = used()
    if closer == "its own":
        talk.orig_fin(win=0, at="2s").resp_ack()
    result = run(talk.resp_fin(at="40s").orig_ack(win=0).orig_ack(win=0, at="80s"))
    assert set(result.labels) == {""} and result.segments[-1]["window"] == 0
    assert result.flow["zero_windows_c"] == 0 and not result.rows("findings")
    assert "stalled_zero_window" not in [gap["class"] for gap in result.gaps]


def test_a_half_closed_side_that_stops_reading_is_stalled() -> None:
    """Its FIN is sent, but the other side still has data for it."""
    talk = used().orig_fin(at="2s").resp(b"x" * 100, at="3s").orig_ack(win=0)
    assert run(talk).labels[-1] == "zero_window"


def test_a_window_that_a_fin_closed_is_probed() -> None:
    """On a long path the first probe comes late enough to look like a keep-alive."""
    talk = (
        Talk(rtt="600ms", wscale=None).handshake().orig(b"GET", at=2).resp(b"x" * 1000, at=3).orig_fin(at=3.01, win=0)
    )
    talk.resp_ack(at=3.6)
    for at in (4.9, 6.9, 10.9):
        talk.resp_ack(at=at, seq=1000).orig_ack(at=at + 0.001, win=0)
    result = run(talk)
    assert result.labels[7::2] == ["zero_window_probe"] * 3
    assert result.flow["keepalive_probes_s"] == 0


def test_window_full() -> None:
    """wscale 7: a window of 2 is 256 bytes, and the server fills it."""
    result = run(used().orig_ack(win=2).resp(b"x" * 100).resp(b"y" * 156))
    assert result.labels[7:] == ["", "window_full"]


def test_zero_window_probe() -> None:
    assert run(used().resp_ack(win=0).orig_probe(at="1.5s")).labels[7] == "zero_window_probe"


@pytest.mark.parametrize("before", [0, 3])
def test_a_zero_window_probe_that_meets_the_opening_on_its_way(before: int) -> None:
    """Between the two hosts the probe is captured after the window update that its sender does not have yet."""
    talk = used(capture="middle").resp(b"x" * 1000, at="2s").orig_ack(win=0, at="2.01s")
    for k in range(before):
        talk.resp_probe(at=2.2 + k).orig_ack(win=0)
    result = run(talk.orig_ack(win=500, at="5.805s").resp_probe(at="5.81s").orig_ack(at="5.815s", win=500))
    assert result.labels[-2:] == ["zero_window_probe", ""] and result.probes == []
    later = run(talk.resp_probe(at="65.9s").orig_ack(win=500))
    assert later.labels[-2:] == ["keepalive_probe", "keepalive_ack"]


def test_challenge_ack() -> None:
    """RFC 5961 section 3: a RST that is not exactly next is answered with an ACK."""
    result = run(used().orig_rst(bare=True, seq=50, at="2s").resp_ack())
    assert result.labels[7] == "challenge_ack"


def test_challenge_ack_to_a_syn() -> None:
    """RFC 5961 section 4: a SYN in an established connection."""
    talk = used()
    result = run(talk.orig_ack(flags="S", seq=0, at="2s").resp_ack())
    assert result.labels[7] == "challenge_ack"


def test_port_reused() -> None:
    again = Talk(isn=(77, 88)).handshake(at="10s")
    result = run(merge(used(), again))
    assert result.labels[6] == "port_reused"
    assert [row["flow_id"] for row in result.segments] == [0] * 6 + [1] * 3


@pytest.mark.parametrize("cuts", [[], range(1, 40)])
def test_port_reused_long_after(cuts: range) -> None:
    """The connection before has left memory, but not its addresses and ports."""
    again = Talk(isn=(77, 88), t0=0).syn(at="500s").syn(at="501s").syn_ack().ack()
    other = Talk(("10.0.0.1", 40001), ("10.0.0.2", 80), t0=0).handshake(at="502s")
    first = Talk(t0=0).handshake().orig_fin(at="1s").resp_fin().orig_ack()
    result = run(merge(first, again, other), cuts=cuts)
    assert [label for label in result.labels if label] == ["port_reused", "retransmission"]
    assert result.labels[6] == "port_reused"


def test_keepalive_labels() -> None:
    assert run(used().orig_probe(at="61s").resp_ack()).labels[6:] == ["keepalive_probe", "keepalive_ack"]


def test_duplicate_frame() -> None:
    talk = used()
    at, frame = talk.packets[3]
    assert run([*talk.packets[:4], (at + 1000, frame), *talk.packets[4:]]).labels[4] == "duplicate_frame"
