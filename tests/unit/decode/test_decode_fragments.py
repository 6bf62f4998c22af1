"""IP fragments: any order and overlap gives the datagram, and memory stays bounded."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from decode_cases import ether
from decode_frames import Frame, decode
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from analyzer.anomalies import Ledger
from analyzer.decode.fragments import Fragment, Fragments
from analyzer.settings import NS, Settings

VXLAN_UDP = UDP(sport=9, dport=4789)
PAYLOAD = bytes(i % 251 for i in range(500))
DATAGRAM = bytes(TCP(sport=1000, dport=80, seq=5, flags="A") / Raw(PAYLOAD))
ADDRESSES = {"src": "10.0.0.1", "dst": "10.0.0.2"}


def piece(start: int, end: int, number: int = 7, datagram: bytes = DATAGRAM, **fields: Any) -> Frame:
    """The IPv4 fragment with bytes [start, end) of `datagram`."""
    more = "MF" if end < len(datagram) else 0
    head = IP(**ADDRESSES, id=number, proto=6, frag=start // 8, flags=more)
    return Frame(bytes(head / Raw(datagram[start:end])), 101, **fields)


def piece6(start: int, end: int, number: int = 7) -> Frame:
    head = IPv6ExtHdrFragment(nh=6, offset=start // 8, m=int(end < len(DATAGRAM)), id=number)
    return Frame(bytes(IPv6() / head / Raw(DATAGRAM[start:end])), 101)


@st.composite
def cut(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Pieces that together make the datagram, in any order."""
    inner = draw(st.sets(st.integers(1, (len(DATAGRAM) - 1) // 8), max_size=8))
    edges = [0, *(8 * edge for edge in sorted(inner)), len(DATAGRAM)]
    return draw(st.permutations(list(itertools.pairwise(edges))))


@settings(max_examples=80, deadline=None)
@given(cut(), st.sampled_from([piece, piece6]), st.integers(1, 3))
def test_any_order_gives_the_datagram(pieces: list[tuple[int, int]], make: Any, batch: int) -> None:
    got = decode(*(make(*at) for at in pieces), batch=batch)
    assert [slot["kind"] for slot in got.slots] == [0] * (len(pieces) - 1) + [1]
    assert (got.only["payload"], got.only["payload_len"], got.codes) == (PAYLOAD, len(PAYLOAD), {})
    assert (got.only["seq"], got.only["frame"]) == (5, len(pieces))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 6), st.integers(1, 255)), min_size=1, max_size=14))
def test_the_first_copy_of_each_byte_wins(parts: list[tuple[int, int, int]]) -> None:
    """Against a model: a byte array that is written once."""
    total = 8 * 12
    model: dict[int, int] = {}
    fragments = Fragments(Settings(), Ledger())
    for block, blocks, fill in [*parts, (0, 12, 0)]:
        start, end = 8 * block, min(8 * (block + blocks), total)
        size = end - start
        datagram = fragments.add(Fragment((0,) * 6, start, size, end < total, bytes([fill]) * size, 6))
        for at in range(start, end):
            model.setdefault(at, fill)
        if datagram is not None:
            break
    assert datagram is not None
    assert datagram.payload == bytes(model[at] for at in range(total))


def test_overlaps_are_counted_and_copies_are_not() -> None:
    got = decode(piece(0, 104), piece(0, 104), piece(96, len(DATAGRAM)))
    assert (got.only["payload"], got.codes) == (PAYLOAD, {"decode.fragment_overlap": 1})


def test_datagrams_do_not_mix() -> None:
    got = decode(piece(0, 200, 1), piece(0, 200, 2), piece(200, 520, 2), piece(200, 520, 1))
    assert [slot["kind"] for slot in got.slots] == [0, 0, 1, 1]
    assert got.codes == {}


def test_fragments_in_a_tunnel_and_a_tunnel_in_fragments() -> None:
    inside = [ether(IP(piece(start, end).data)) for start, end in [(0, 200), (200, len(DATAGRAM))]]
    got = decode(*(Frame(bytes(ether(IP() / VXLAN_UDP / VXLAN() / frame))) for frame in inside))
    assert (got.only["payload"], got.only["tunnel"], got.codes) == (PAYLOAD, "vxlan", {})

    outer = bytes(VXLAN_UDP / VXLAN() / ether(IP(**ADDRESSES, proto=6) / Raw(DATAGRAM)))
    first = IP(src="1.1.1.1", dst="2.2.2.2", id=3, proto=17, flags="MF") / Raw(outer[:304])
    last = IP(src="1.1.1.1", dst="2.2.2.2", id=3, proto=17, frag=38) / Raw(outer[304:])
    got = decode(Frame(bytes(last), 101), Frame(bytes(first), 101))
    assert (got.only["payload"], got.only["tunnel"], got.only["src"]) == (PAYLOAD, "vxlan", "10.0.0.1")


def test_a_frame_captured_twice_gives_one_segment() -> None:
    frames = [piece(0, 200, iface=0), piece(0, 200, iface=1), piece(200, 520, iface=0), piece(200, 520, iface=1)]
    got = decode(*frames)
    assert [slot["kind"] for slot in got.slots] == [0, 0, 1, 0]
    assert got.codes == {}


def test_a_number_used_again_makes_a_new_datagram() -> None:
    got = decode(piece(0, 200), piece(200, 520), piece(0, 200), piece(200, 520))
    assert [slot["kind"] for slot in got.slots] == [0, 1, 0, 1]


def test_what_never_completes_is_counted() -> None:
    got = decode(piece(0, 200, 1), piece(200, 400, 1), piece(0, 200, 2))
    assert got.codes == {"decode.fragment_missing": 3}
    assert got.ledger.by_code["decode.fragment_missing"].first_frame == 1


def test_a_minute_later_the_number_means_another_datagram() -> None:
    got = decode(piece(0, 200, ts_ns=0), piece(200, 520, ts_ns=61 * NS))
    assert got.codes == {"decode.fragment_missing": 2}


def test_the_oldest_are_given_up_when_memory_is_full() -> None:
    small = dataclasses.replace(Settings(), max_fragment_bytes=10_000)
    got = decode(*(piece(0, 496, number) for number in range(30)), settings=small)
    assert got.codes["decode.fragment_cap"] == 30 - 10_000 // (496 + 400)
    assert got.codes["decode.fragment_missing"] == 10_000 // (496 + 400)


@pytest.mark.parametrize(
    "frames",
    [
        [piece(0, 200), Frame(bytes(IP(**ADDRESSES, id=7, proto=6, frag=8189) / Raw(bytes(100))), 101)],
        [Frame(bytes(IP(**ADDRESSES, id=7, proto=6, flags="MF") / Raw(bytes(13))), 101)],
        [piece(0, 200), Frame(bytes(IP(**ADDRESSES, id=7, proto=6, frag=2) / Raw(bytes(8))), 101)],
        [Frame(bytes(IP(**ADDRESSES, id=7, proto=6, frag=2)), 101)],
    ],
    ids=["ends past 65535", "not a multiple of 8", "ends before what was seen", "empty"],
)
def test_impossible_fragments_are_counted(frames: list[Frame]) -> None:
    assert decode(*frames).codes["decode.bad_ip"] == 1


def test_a_clipped_fragment_keeps_the_lengths_right() -> None:
    clipped = piece(0, 200)
    got = decode(dataclasses.replace(clipped, data=clipped.data[:100], wire=220), piece(200, 520))
    assert (got.only["payload_len"], got.only["payload"]) == (len(PAYLOAD), PAYLOAD[:60])


def test_an_atomic_fragment_is_whole() -> None:
    frame = Frame(bytes(IPv6() / IPv6ExtHdrFragment(nh=6, id=9) / Raw(DATAGRAM)), 101)
    assert (decode(frame).only["payload"], decode(frame).only["ip_id"]) == (PAYLOAD, 9)


def test_a_datagram_in_too_many_pieces_is_given_up() -> None:
    """8,192 pieces under a fragment that covers them all would cost a millisecond for each such fragment."""
    big = bytes(40_000)
    comb = [piece(start, start + 8, datagram=big) for start in range(0, 16 * 300, 16)]
    got = decode(*comb, piece(0, 8), piece(8, len(DATAGRAM)))
    assert got.codes["decode.fragment_cap"] == 1
    largest = [
        piece(start, min(start + 272, 65_000), number=9, datagram=bytes(65_000)) for start in range(0, 65_000, 272)
    ]
    assert "decode.fragment_cap" not in decode(*largest).codes  # SLIP's MTU
