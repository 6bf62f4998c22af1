"""The trace builder itself: what it writes is read back by dpkt, and every checksum is right."""

from __future__ import annotations

import io
import struct
from typing import Any

import dpkt
import pytest

from tests.talk import Packet, Talk, checksum, merge, ns, write_pcap, write_pcapng


def read(frame: bytes) -> tuple[Any, Any]:
    """Return dpkt's IP and TCP of an Ethernet frame."""
    ip = dpkt.ethernet.Ethernet(frame).data
    return ip, ip.data


def numbers(packets: list[Packet], isn: tuple[int, int] = (1_000_000, 2_000_000)) -> list[tuple[int, int, int]]:
    """Return (relative seq, relative ack, payload length) of each packet; the client is port 40000."""
    rows = []
    for _, frame in packets:
        _, tcp = read(frame)
        mine, other = isn if tcp.sport == 40000 else isn[::-1]
        rows.append(((tcp.seq - mine) % 2**32, (tcp.ack - other) % 2**32 if tcp.flags & 16 else -1, len(tcp.data)))
    return rows


def sums_to_nothing(frame: bytes) -> bool:
    """Return whether the checksums of IP and TCP verify (RFC 1071: the whole sums to zero)."""
    ip, _ = read(frame)
    size = len(ip.data)
    raw = bytes(ip)
    header, segment = raw[:-size], raw[-size:]
    pseudo = ip.src + ip.dst + struct.pack("!IHBB", size, 0, 0, 6)
    return checksum(pseudo + segment) == 0 and (ip.v == 6 or checksum(header) == 0)


def test_a_whole_conversation_has_the_numbers_two_kernels_would_use() -> None:
    talk = Talk().handshake().orig(b"hi").resp(b"hello").orig_ack()
    talk.orig_probe(at="61s").resp_ack().orig_fin().resp_fin().orig_ack()
    assert numbers(talk.packets) == [
        (0, -1, 0),
        (0, 1, 0),
        (1, 1, 0),
        (1, 1, 2),
        (1, 3, 5),
        (3, 6, 0),
        (2, 6, 0),  # the probe goes one back
        (6, 3, 0),
        (3, 6, 0),
        (6, 4, 0),
        (4, 7, 0),
    ]


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("vlan", [None, 7])
def test_checksums_and_lengths_are_right(ipv6: bool, timestamps: bool, vlan: int | None) -> None:
    talk = Talk(ipv6=ipv6, timestamps=timestamps, vlan=vlan).handshake().orig(bytes(range(256)) * 30).resp(b"odd")
    talk.orig_ack(sack=[(1, 2)]).resp_rst(bare=True)
    assert len(talk.packets) == 3 + 6 + 1 + 1 + 1
    assert all(sums_to_nothing(frame) for _, frame in talk.packets)
    assert b"".join(read(frame)[1].data for _, frame in talk.packets[3:9]) == bytes(range(256)) * 30


def test_bad_checksum_and_trailer_are_on_request() -> None:
    talk = Talk().orig(b"x", bad_checksum=True).orig(b"y", trailer=b"padding")
    assert not sums_to_nothing(talk.packets[0][1])
    assert talk.packets[1][1].endswith(b"ypadding")


def test_time_is_capture_time() -> None:
    talk = Talk(t0=100, rtt="20ms").handshake().orig(b"a", at="1s").wait("60s").resp(b"b")
    assert [ts - 100 * 10**9 for ts, _ in talk.packets] == [
        0,
        ns("20ms"),
        ns("20ms") + 50_000,
        ns("1s"),
        ns("61s") + ns("20ms"),
    ]
    at_server = Talk(t0=0, rtt="20ms", capture="server").handshake().packets
    assert [ts for ts, _ in at_server] == [0, 50_000, 50_000 + ns("20ms")]
    assert [read(frame)[0].ttl for _, frame in at_server] == [58, 64, 58]


def test_a_lost_segment_is_acknowledged_only_after_its_retransmission() -> None:
    talk = Talk().handshake().orig(b"a" * 10, lost=True).orig(b"b" * 10).resp_ack(sack=[(11, 21)])
    talk.orig_retransmit(skip=1).resp_ack()
    assert numbers(talk.packets)[3:] == [(1, 1, 10), (11, 1, 10), (1, 1, 0), (1, 1, 10), (1, 21, 0)]


def test_an_unseen_segment_was_received() -> None:
    talk = Talk().handshake().orig_drop(1000).resp(b"ok").orig(b"more")
    assert numbers(talk.packets)[3:] == [(1, 1001, 2), (1001, 3, 4)]


def test_sequence_numbers_wrap() -> None:
    isn = (2**32 - 3, 2**32 - 1)
    talk = Talk(isn=isn).handshake().orig(b"12345").resp(b"1").orig_ack()
    assert numbers(talk.packets, isn)[3:] == [(1, 1, 5), (1, 6, 1), (6, 2, 0)]


def test_resets_look_like_their_kernels() -> None:
    refused = read(Talk().syn().resp_rst().packets[-1][1])[1]
    assert (refused.flags, refused.seq, refused.ack, refused.win) == (4 | 16, 0, 1_000_001, 0)
    bare = read(Talk().handshake().orig(b"x").resp_rst(bare=True).packets[-1][1])[1]
    assert (bare.flags, bare.seq, bare.ack, bare.win, bare.opts) == (4, 2_000_001, 0, 0, b"")
    live = read(Talk().handshake().resp_rst().packets[-1][1])[1]
    assert (live.flags, live.seq, live.ack) == (4 | 16, 2_000_001, 1_000_001)


def test_overrides_reach_the_wire() -> None:
    talk = Talk().handshake().orig(b"x", seq=50, ack=60, win=0, flags="AFPU", ttl=9, ip_id=77, tsval=5, tsecr=6)
    ip, tcp = read(talk.packets[-1][1])
    assert (ip.ttl, ip.id, tcp.win, tcp.flags) == (9, 77, 0, 16 | 1 | 8 | 32)
    assert (tcp.seq - 1_000_000, tcp.ack - 2_000_000) == (50, 60)
    assert tcp.opts == b"\1\1\x08\x0a" + struct.pack("!II", 5, 6)


def test_files_hold_the_packets_given() -> None:
    packets = merge(Talk(t0=10).handshake(), Talk(("10.0.0.3", 5), t0=10, rtt="1ms").handshake())
    assert packets == sorted(packets, key=lambda packet: packet[0])
    assert len(packets) == 6
    for nano in (False, True):
        rows = list(dpkt.pcap.Reader(io.BytesIO(write_pcap(packets, nano=nano))))
        assert [frame for _, frame in rows] == [frame for _, frame in packets]
        assert [round(float(ts) * 1e6) for ts, _ in rows] == [ts // 1000 for ts, _ in packets]
    rows = list(dpkt.pcapng.Reader(io.BytesIO(write_pcapng(packets))))
    assert [frame for _, frame in rows] == [frame for _, frame in packets]
    assert [round(ts * 1e6) for ts, _ in rows] == [ts // 1000 for ts, _ in packets]


def test_a_wrong_duration_says_so() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        ns("20 parsecs")
