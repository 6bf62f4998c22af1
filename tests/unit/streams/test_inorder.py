"""In-order spans: which bytes of a direction come out, where they are missing, and what bounds the memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.streams.inorder import HELD, MAX_BLOCKS, PAGE
from tests.property.harness import Stream, packets_of, run, spans_of
from tests.talk import Packet, Talk, write_pcap

Shape = list[tuple[object, ...]]


def server(talk: Talk | list[Packet], **how: object) -> Stream:
    return spans_of(talk, **how)[0, "s2c"]  # type: ignore[arg-type]


def shape(talk: Talk | list[Packet], **how: object) -> Shape:
    """Return what came out of the server's direction, neighbouring bytes joined."""
    return server(talk, **how).shape


def opened() -> Talk:
    return Talk().handshake()


def swapped(talk: Talk, one: int, other: int) -> list[Packet]:
    """Return the packets with the frames (not the times) of two of them exchanged."""
    packets = list(talk.packets)
    packets[one], packets[other] = (packets[one][0], packets[other][1]), (packets[other][0], packets[one][1])
    return packets


# ------------------------------------------------------------------------------------------------ order
def test_bytes_in_order() -> None:
    assert shape(opened().resp(b"one").resp(b"two").orig_ack()) == [("data", b"onetwo")]


def test_both_directions() -> None:
    spans = spans_of(opened().orig(b"ask").resp(b"tell").orig_fin(b"!").resp_fin().orig_ack())
    assert spans[0, "c2s"].shape == [("data", b"ask!"), ("fin",)]
    assert spans[0, "s2c"].shape == [("data", b"tell"), ("fin",)]


def test_late_bytes_wait() -> None:
    talk = opened().resp(b"one").resp(b"two").resp(b"three").orig_ack()
    for one, other in ((3, 4), (3, 5), (4, 5)):
        assert shape(swapped(talk, one, other)) == [("data", b"onetwothree")]


def test_the_fin_comes_last_even_if_it_was_captured_first() -> None:
    assert shape(swapped(opened().resp(b"one").resp_fin(b"two"), 3, 4)) == [("data", b"onetwo"), ("fin",)]
    assert shape(swapped(opened().resp(b"one").resp_fin(), 3, 4)) == [("data", b"one"), ("fin",)]


def test_retransmissions_bring_nothing() -> None:
    talk = opened().resp(b"one", at="1s", lost=True).resp_retransmit(at="2s").orig_ack().resp_retransmit(at="3s")
    assert shape(talk.resp(b"two")) == [("data", b"onetwo")]


def test_large_segments_take_several_pages() -> None:
    big = bytes(k % 251 for k in range(20_000))
    talk = opened().resp(b"first").resp(big, whole=True).resp(b"last")
    assert shape(swapped(talk, 3, 4)) == [("data", b"first" + big + b"last")]


def test_data_in_a_syn() -> None:
    """TCP Fast Open, RFC 7413."""
    talk = Talk()
    talk._send(talk.client, 2, b"early", 0, {})
    result = spans_of(talk.syn_ack().orig_ack().orig(b"late"))
    assert result[0, "c2s"].shape == [("data", b"earlylate")]


def test_streams_that_wrap() -> None:
    talk = Talk(isn=(5, 2**32 - 4)).handshake().resp(b"abcdef").resp(b"ghi").resp(b"jkl").orig_ack()
    assert shape(swapped(talk, 4, 5)) == [("data", b"abcdefghijkl")]


def test_midstream_begins_where_it_is_joined() -> None:
    talk = opened().resp(b"not seen").orig_ack().resp(b"seen").resp(b"too").orig_ack()
    assert shape(talk.packets[5:]) == [("data", b"seentoo")]


# ------------------------------------------------------------------------------------------------ overlap
def test_what_was_delivered_stays() -> None:
    talk = opened().resp(b"abcd").resp(b"XXXXef", seq=1, at="1s").orig_ack()
    assert shape(talk) == [("data", b"abcdef")]


def test_a_segment_within_what_was_delivered() -> None:
    assert shape(opened().resp(b"abcdef").resp(b"XX", seq=3, at="1s").resp(b"g", seq=7)) == [("data", b"abcdefg")]


def test_late_overlaps_keep_the_first_copy() -> None:
    """Both wait for the hole before them."""
    talk = opened().resp(b"cdef", seq=3).resp(b"XXXXgh", seq=3).resp(b"ab", seq=1)
    assert shape(talk) == [("data", b"abcdefgh")]


def test_a_late_segment_around_one_that_waits() -> None:
    talk = opened().resp(b"de", seq=4).resp(b"bcXXfg", seq=2).resp(b"a", seq=1)
    assert shape(talk) == [("data", b"abcdefg")]


def test_what_waits_is_the_first_copy_too() -> None:
    """The segment that fills the hole also covers bytes that came before it with other content."""
    talk = opened().resp(b"cdef", seq=3).resp(b"abXXXXgh", seq=1)
    assert shape(talk) == [("data", b"abcdefgh")]


def test_what_waits_is_kept_if_its_copy_was_clipped() -> None:
    """Captured bytes are not given up for a copy that the snap length cut."""
    frames = opened().resp(b"cd", seq=3).resp(b"abcd", seq=1, at="1s").packets
    cut = len(frames[4][1]) - 2  # "ab" is captured
    assert shape(frames, snaplen=cut) == [("data", b"abcd")]


def test_unique_bytes_are_counted_once() -> None:
    talk = opened().resp(b"cdef", seq=3).resp(b"XXXXgh", seq=3).resp(b"abcdefghij", seq=1).orig_ack(ack=11)
    assert run(talk).flow["payload_bytes_s"] == 10


# ------------------------------------------------------------------------------------------------ holes
def test_a_hole_is_announced_when_it_was_acknowledged() -> None:
    talk = opened().resp(b"one").orig_ack().resp_drop(100).resp(b"two").orig_ack().resp(b"three", at="2s").orig_ack()
    assert shape(talk) == [("data", b"one"), ("hole", 100), ("data", b"twothree")]
    assert run(talk).flow["missing_bytes_s"] == 100


def test_a_hole_at_the_end_is_announced_at_the_end() -> None:
    assert shape(opened().resp(b"one").resp_drop(50).orig_ack()) == [("data", b"one"), ("hole", 50)]


def test_a_hole_that_was_never_acknowledged() -> None:
    talk = opened().resp(b"one").resp_drop(50, lost=True).resp(b"two")
    assert shape(talk) == [("data", b"one"), ("hole", 50), ("data", b"two")]


def test_a_hole_before_the_fin() -> None:
    assert shape(opened().resp(b"one").resp_drop(9).resp_fin().orig_ack()) == [("data", b"one"), ("hole", 9), ("fin",)]


def test_a_hole_of_everything() -> None:
    assert shape(opened().resp_drop(77).resp_fin().orig_ack()) == [("hole", 77), ("fin",)]


def test_an_ack_captured_just_before_its_data_announces_nothing() -> None:
    talk = opened().resp(b"one").orig_ack().resp(b"two", at="1s").orig_ack(at="1.0005s").resp(b"three", at="1.001s")
    assert shape(swapped(talk, 5, 6)) == [("data", b"onetwothree")]


def test_two_holes() -> None:
    talk = opened().resp(b"a").resp_drop(2).resp(b"b").resp_drop(3).resp(b"c").orig_ack().orig_ack(at="1s")
    assert shape(talk) == [("data", b"a"), ("hole", 2), ("data", b"b"), ("hole", 3), ("data", b"c")]


def test_bytes_that_come_after_their_hole_was_announced() -> None:
    """What was delivered stays: too late."""
    talk = opened().resp(b"a").resp_drop(3).resp(b"e").orig_ack().orig_ack(at="1s").resp(b"bcd", seq=2, at="2s")
    assert shape(talk) == [("data", b"a"), ("hole", 3), ("data", b"e")]


def test_a_direction_that_was_not_captured_has_no_spans() -> None:
    talk = opened().orig(b"ask").resp(b"tell").orig(b"more").resp_ack()
    only = [packet for packet in packets_of(talk) if packet[1][26:30] == bytes((10, 0, 0, 1))]
    spans = spans_of(only)
    assert spans[0, "c2s"].shape == [("data", b"askmore")]
    assert (0, "s2c") not in spans


def test_bytes_beyond_the_fin_belong_to_no_stream() -> None:
    """RFC 9293 section 3.10.7.4: "This should not occur since a FIN has been received"; they are ignored."""
    talk = opened().resp(b"one").resp_fin().resp(b"never").orig_ack()
    assert shape(talk) == [("data", b"one"), ("fin",)]
    assert run(talk).flow["payload_bytes_s"] == 3


def test_a_stream_does_not_begin_twice() -> None:
    """The SYN of the next connection was not captured, its SYN-ACK was."""
    talk = opened().resp_fin().orig_ack()
    talk.server.isn += 70_000
    assert shape(talk.syn_ack(seq=0, at="9s").orig_ack().resp(b"new", seq=1)) == [("fin",)]


# ------------------------------------------------------------------------------------------------ clipped
def test_clipped_bytes_are_announced() -> None:
    talk = opened().resp(b"x" * 50).resp(b"y" * 50).orig_ack()
    cut = len(talk.packets[3][1]) - 40
    assert shape(talk, snaplen=cut) == [("data", b"x" * 10), ("clipped", 40), ("data", b"y" * 10), ("clipped", 40)]
    assert run(talk, snaplen=cut).flow["payload_bytes_s"] == 100


def test_clipped_bytes_that_waited() -> None:
    talk = opened().resp(b"x" * 50).resp(b"y" * 3000, whole=True)
    cut = len(talk.packets[3][1]) - 40
    wanted = [("data", b"x" * 10), ("clipped", 40), ("data", b"y" * 10), ("clipped", PAGE - 10), ("clipped", 952)]
    assert shape(swapped(talk, 3, 4), snaplen=cut) == wanted


def test_headers_only() -> None:
    talk = opened().resp(b"x" * 50).resp(b"y" * 50).resp_fin().orig_ack()
    assert shape(talk, snaplen=14 + 20 + 32) == [("clipped", 50), ("clipped", 50), ("fin",)]


# ------------------------------------------------------------------------------------------------ keep-alive, RST
def test_garbage_never_enters() -> None:
    talk = opened().resp(b"a").orig_ack().resp_probe(b"\0", at="61s").orig_ack().resp(b"b").orig_ack()
    assert shape(talk) == [("data", b"ab")]


def test_the_byte_of_a_window_probe_enters_once_it_is_acknowledged() -> None:
    talk = opened().resp(b"a").orig_ack().orig_ack(win=0).resp(b"b", at="1s", lost=True).orig_ack(win=0)
    assert shape(talk) in ([("data", b"a")], [("data", b"ab")]), "the capture's end gives out what waits"
    accepted = talk.resp_retransmit(at="2s").orig_ack(win=9).resp(b"c").orig_ack()
    assert shape(accepted) == [("data", b"abc")]


def test_text_in_a_reset_is_no_payload() -> None:
    """RFC 9293 section 3.5.3 allows a reason in a RST."""
    talk = opened().resp(b"a").resp_ack(flags="RA")
    talk._send(talk.server, 4 | 16, b"because", talk.server.snd_nxt, {}, keep=False)
    assert shape(talk) == [("data", b"a")]


# ------------------------------------------------------------------------------------------------ bounded memory
def late_segments(n: int, each: bytes = b"12345") -> Talk:
    """Return a stream that lost 100 bytes, then sends `n` segments, none of them acknowledged."""
    talk = opened().resp(b"begin").resp_drop(100, lost=True)
    for _ in range(n):
        talk.resp(each)
    return talk


def test_a_full_share_waits_no_longer() -> None:
    talk = late_segments(MAX_BLOCKS)
    assert run(talk).anomalies == {}
    assert run(talk.resp(b"12345")).anomalies == {"stream.reorder_cap": 1}


def test_a_full_share_loses_nothing_but_the_hole() -> None:
    """`deliver`: no room, so the hole is declared now, and the segment is tried once more."""
    talk = late_segments(MAX_BLOCKS + 10)
    assert shape(talk) == [("data", b"begin"), ("hole", 100), ("data", b"12345" * (MAX_BLOCKS + 10))]
    flow = run(talk).flow
    assert (flow["missing_bytes_s"], flow["payload_bytes_s"]) == (100, 5 + 5 * (MAX_BLOCKS + 10))


def test_a_full_share_in_several_batches() -> None:
    talk = late_segments(MAX_BLOCKS + 10)
    assert shape(talk, cuts=range(0, 3000, 100)) == shape(talk)


def test_pages_are_used_again() -> None:
    """Far more reordered bytes than the store has pages, a few at a time."""
    talk = opened()
    for k in range(3 * HELD // 10):
        talk.resp(bytes([k % 250]) * 10)
    packets = list(talk.packets)
    for k in range(3, len(packets) - 1, 2):
        packets[k], packets[k + 1] = (packets[k][0], packets[k + 1][1]), (packets[k + 1][0], packets[k][1])
    stream = server(packets, cuts=range(0, len(packets), 50))
    assert stream.data == b"".join(bytes([k % 250]) * 10 for k in range(3 * HELD // 10))


HOSTILE_STORE = """
from tests.property.harness import spans_of
from tests.unit.streams.test_inorder import clipped_and_late
packets, snaplen = clipped_and_late()
spans = spans_of(packets, range(0, len(packets), 100), snaplen=snaplen)
print(sum(len(stream.pieces) for stream in spans.values()))
"""


def clipped_and_late() -> tuple[list[Packet], int]:
    """Return a trace that fills every page with a clipped segment that has a hole before it, and its snap length."""
    packets: list[Packet] = []
    for port in range(HELD // MAX_BLOCKS):
        talk = Talk(("10.0.0.1", 1000 + port)).handshake()
        for k in range(MAX_BLOCKS):
            talk.resp(bytes(20), seq=100 + 40 * k)
        packets += talk.packets
    return packets, 14 + 20 + 32 + 10


@pytest.mark.slow
def test_the_last_spans_have_room() -> None:
    """Per stored block: a hole, what was captured, what was clipped. Bounds are checked in plain Python."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", HOSTILE_STORE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) == 3 * HELD


def test_written_captures_give_the_same_spans(tmp_path: Path) -> None:
    """The trace builder's files and its frames are the same capture."""
    from analyzer import analyze

    talk = opened().resp(b"one").resp_drop(7).resp(b"two").orig_ack().orig_ack(at="1s")
    path = tmp_path / "hole.pcap"
    path.write_bytes(write_pcap(talk.packets, nano=True))
    assert analyze(path).flows.missing_bytes_s.tolist() == [7]


def test_clipped_segments_take_no_room_in_the_store() -> None:
    """Headers-only captures of offloaded segments: nothing is held, so nothing may be given up, however many swap."""
    talk = opened()
    for _ in range(300):
        talk.resp(b"x" * 60_000, whole=True).resp(b"y" * 60_000, whole=True).orig_ack()
    packets = list(talk.packets)
    for k in range(3, len(packets) - 1, 3):
        packets[k], packets[k + 1] = (packets[k][0], packets[k + 1][1]), (packets[k + 1][0], packets[k][1])
    result = run(packets, snaplen=66)
    assert result.flow["payload_bytes_s"] == 300 * 120_000
    assert result.flow["missing_bytes_s"] == 0
    assert "stream.reorder_cap" not in {row["code"] for row in result.rows("anomalies")}
