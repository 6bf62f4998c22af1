"""One frame captured twice is one segment; a segment sent twice is a retransmission."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.property.harness import Result, run
from tests.talk import Packet, Talk

Copy = Callable[[bytes], bytes]

# Columns that count frames as captured, duplicates included
FRAME_COUNTS = ("frames_c", "frames_s", "wire_bytes_c", "wire_bytes_s")
# The copy of the last frame is the last frame
TIME_OF_LAST_FRAME = ("last_ts", "duration_s")
WIRE_SILENCES = ("max_wire_gap_s", "idle_wire_s", "longest_wire_silence_s")


def conversation(**make: object) -> Talk:
    """Return one of everything: data, loss, a probe, a half-close, an end."""
    talk = Talk(**make).handshake().orig(b"request", at="1s").resp(b"r" * 4000).orig_ack()  # type: ignore[arg-type]
    talk.orig(b"lost", at="2s", lost=True).orig_retransmit(at="2.3s").resp_ack()
    talk.orig_probe(at="63s").resp_ack().orig_fin(at="64s").resp(b"rest", at="64.5s").orig_ack()
    return talk.resp_fin(at="65s").orig_ack()


def doubled(packets: Sequence[Packet], copy: Copy, after_ns: int) -> list[Packet]:
    """Return the packets, each followed by its copy."""
    return sorted(
        [packet for at, frame in packets for packet in ((at, frame), (at + after_ns, copy(frame)))],
        key=lambda packet: packet[0],
    )


def mirrored(frame: bytes) -> bytes:
    return frame


def other_mac(frame: bytes) -> bytes:
    return b"\x02\xff\0\0\0\1\x02\xff\0\0\0\2" + frame[12:]


def tagged(frame: bytes) -> bytes:
    return frame[:12] + b"\x81\x00\x00\x2a" + frame[12:]


def routed(frame: bytes) -> bytes:
    """One hop further: other addresses, TTL one less (checksums are not looked at)."""
    at = 22 if frame[12:14] == b"\x08\x00" else 21
    return other_mac(frame[:at] + bytes([frame[at] - 1]) + frame[at + 1 :])


def told(result: Result, *without: str) -> list[object]:
    """Return what the tables say apart from frame numbers and frame counts."""
    skip = {"frame", "answer_frame", "start_frame", "end_frame", "evidence_frames", *FRAME_COUNTS, *without}
    names = ("flows", "closes", "keepalives", "idle_gaps")
    return [{k: v for k, v in row.items() if k not in skip} for name in names for row in result.rows(name)]


@pytest.mark.parametrize("copy", [mirrored, other_mac, tagged, routed])
@pytest.mark.parametrize("after_ns", [0, 900, 4000])
def test_a_copy_changes_nothing_but_the_count_of_frames(copy: Copy, after_ns: int) -> None:
    once = run(conversation())
    twice = run(doubled(conversation().packets, copy, after_ns))
    apart = (*TIME_OF_LAST_FRAME, *WIRE_SILENCES)
    assert told(twice, *apart) == told(once, *apart)
    assert twice.flow["frames_c"] == 2 * once.flow["frames_c"]
    assert twice.labels.count("duplicate_frame") == len(once.segments)


@pytest.mark.parametrize("copy", [other_mac, tagged, routed])
def test_copies_of_ipv6_frames_differ_in_their_way(copy: Copy) -> None:
    """There is no IP-ID in IPv6, so the way decides."""
    once, twice = conversation(ipv6=True), doubled(conversation(ipv6=True).packets, copy, 900)
    apart = (*TIME_OF_LAST_FRAME, *WIRE_SILENCES)
    assert told(run(twice), *apart) == told(run(once), *apart)


def test_a_copy_does_not_shorten_the_silence_after_it() -> None:
    once, twice = run(conversation()), run(doubled(conversation().packets, routed, 900_000))
    assert [twice.flow["max_wire_gap_s"], twice.close["idle_wire_s"]] == [
        once.flow["max_wire_gap_s"],
        once.close["idle_wire_s"],
    ]


def test_copies_on_two_interfaces() -> None:
    """`-i any`: the same bytes, another interface."""
    packets = doubled(conversation(ipv6=True).packets, mirrored, 500)
    result = run(packets, iface=[k % 2 for k in range(len(packets))])
    assert result.labels.count("duplicate_frame") == len(packets) // 2


def test_a_retransmission_a_millisecond_and_a_half_later_is_none() -> None:
    talk = Talk().handshake().orig(b"x", at="1s", lost=True).orig_retransmit(at="1.0015s", tsval=101_001)
    result = run(talk)
    assert "duplicate_frame" not in result.labels
    assert result.flow["retransmits_c"] == 1


def test_a_retransmission_within_a_millisecond_has_its_own_ip_id() -> None:
    """A data centre's round trip is shorter than a millisecond; the kernel gives each packet a new IP-ID."""
    talk = Talk(rtt="100us").handshake().orig(b"x", at="1s", lost=True).orig_retransmit(at="1.0004s").resp_ack()
    result = run(talk)
    assert result.labels[4].startswith("retransmission")


def test_the_same_segment_on_the_same_way_without_ip_id_is_sent_again() -> None:
    talk = Talk(ipv6=True).handshake().orig(b"x", at="1s", lost=True).orig_retransmit(at="1.0004s").resp_ack()
    assert run(talk).labels[4] == "retransmission"


def test_copies_that_come_a_burst_later() -> None:
    """The other interface's queue is read in turn: four frames, then their four copies."""
    talk = Talk().handshake().orig(b"1", at="1s").orig(b"2").orig(b"3").orig(b"4")
    burst = talk.packets[3:]
    packets = [*talk.packets, *((at + 50_000, other_mac(frame)) for at, frame in burst)]
    assert run(packets).labels[7:] == ["duplicate_frame"] * 4


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("n", [5, 8, 64])
def test_copies_that_come_after_all_that_a_router_took_at_once(n: int, ipv6: bool) -> None:
    """Receive offload gathers eight frames, a poll of the card 64: then all are sent on (`tcpdump -i any`)."""
    talk = Talk(ipv6=ipv6, capture="client").handshake().resp(b"0" * 100 * n, at="1s", whole=True).orig_ack()
    for k in range(n):
        talk.resp(bytes([k]) * 100, at=2 + k / 1e6)
    for k in range(n):
        talk.orig_ack(ack=100 * n + 1 + 100 * (k + 1), at=2.0005 + k / 1e6)
    there, back = talk.packets[5 : 5 + n], talk.packets[5 + n :]
    copied = [*talk.packets[: 5 + n], *((at + 100_000, routed(frame)) for at, frame in there)]
    copied += [*back, *((at + 100_000, routed(frame)) for at, frame in back)]
    result = run(copied)
    assert result.labels[5:] == ([""] * n + ["duplicate_frame"] * n) * 2
    assert [result.flow[k] for k in ("retransmits_s", "duplicate_acks_c")] == [0, 0]
    for cuts in ([5 + n], [5 + n + 2, 7 + n], range(len(copied))):
        assert run(copied, cuts).fingerprints() == result.fingerprints()


def test_a_burst_sent_again_within_a_millisecond_is_no_copy() -> None:
    """A data centre's round trip is shorter; every packet has its own IP-ID, or took the same way."""
    for ipv6 in (False, True):
        talk = Talk(ipv6=ipv6, rtt="50us").handshake()
        for k in range(8):
            talk.orig(bytes([k]) * 100, at=1 + k / 1e6, lost=True)
        assert "duplicate_frame" not in run(talk.orig_retransmit(8, at="1.0005s")).labels


def test_three_copies() -> None:
    talk = Talk().handshake().orig(b"x", at="1s")
    at, frame = talk.packets[3]
    packets = [*talk.packets, (at + 1000, other_mac(frame)), (at + 2000, tagged(frame)), (at + 3000, routed(frame))]
    assert run(packets).labels[4:] == ["duplicate_frame"] * 3


def test_copies_of_copies() -> None:
    """A mirror that sees a frame four times, 0.4 ms apart (corpus: `arkime/wireshark-retrans.pcap`)."""
    talk = Talk().handshake().orig(b"x", at="1s")
    at, frame = talk.packets[3]
    packets = [*talk.packets, *((at + k * 400_000, routed(frame) if k % 2 else frame) for k in (1, 2, 3, 4))]
    assert run(packets).labels[4:] == ["duplicate_frame"] * 4


def test_duplicate_acks_of_one_instant_are_no_copies() -> None:
    """Equal numbers, but each has its own IP-ID: three duplicate ACKs, not one."""
    talk = Talk(capture="client").handshake().resp(b"0" * 9, at="1s").orig_ack().resp_drop(9)
    for _ in range(3):
        talk.resp(b"1" * 9).orig_ack(ack=10)
    assert run(talk).flow["duplicate_acks_c"] == 3


def test_a_copy_of_a_reset_counts_once() -> None:
    packets = doubled(Talk().handshake().orig(b"x", at="1s").resp_rst().packets, routed, 2000)
    result = run(packets)
    assert result.close["rst_s"] == 1
