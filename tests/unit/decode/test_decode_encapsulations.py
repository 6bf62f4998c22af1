"""Every encapsulation: what is found inside, and through which tunnels."""

from __future__ import annotations

import struct

import pytest
from decode_cases import AMSDU, CASES, SNAP_IP, TEXT, V4, V6, ether, ip4, ip6, over4, over6, with_type
from decode_frames import Frame, decode
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.erspan import ERSPAN_II
from scapy.contrib.geneve import GENEVE
from scapy.contrib.gtp import GTP_U_Header
from scapy.layers.dot11 import Dot11
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import GRE, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw


@pytest.mark.parametrize(("link", "packet", "tunnel"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_segment_inside_is_found(link: int, packet: Packet | bytes, tunnel: str | None) -> None:
    got = decode(Frame(bytes(packet), link))
    slot = got.only
    assert got.codes == {}
    assert {"src": slot["src"], "dst": slot["dst"]} in (V4, V6)
    assert (slot["sport"], slot["dport"], slot["seq"], slot["ack"]) == (40000, 443, 2**32 - 2, 77)
    assert (slot["flags"], slot["window"], slot["tsval"], slot["tsecr"]) == (0x18, 500, 7, 8)
    assert (slot["payload"], slot["payload_len"], slot["tunnel"]) == (TEXT, len(TEXT), tunnel)
    assert (slot["ttl"], slot["dscp"], slot["clipped"], slot["kind"]) == (61, 46, 0, 1)
    assert slot["ip_id"] == (5 if slot["ip_version"] == 4 or bytes(packet)[6:7] == b"\x2c" else -1)
    assert (slot["wire_len"], slot["link"], slot["frame"]) == (len(bytes(packet)), link, 1)


@pytest.mark.parametrize(
    ("packet", "outer", "inner"),
    [
        (ether(ip4()), -1, -1),
        (ether(Dot1Q(vlan=7, prio=5) / ip4()), 7, -1),
        (ether(Dot1AD(vlan=4095) / Dot1Q(vlan=8) / ip6()), 4095, 8),
        (ether(Dot1Q(vlan=7, type=0x8100) / Dot1Q(vlan=8) / ip4(), type=0x9100), 7, 8),
        (ether(Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / ip4()), 1, 2),
    ],
)
def test_vlan_tags(packet: Packet, outer: int, inner: int) -> None:
    slot = decode(Frame(bytes(packet))).only
    assert (slot["vlan"], slot["vlan_inner"], slot["payload"]) == (outer, inner, TEXT)


def nested(depth: int) -> Packet:
    packet = ip4()
    for _ in range(depth):
        packet = over4(packet)
    return packet


def test_seven_tunnels_are_followed_and_no_more() -> None:
    assert decode(Frame(bytes(nested(7)), 101)).only["tunnel"] == "/".join(["ipip"] * 7)
    got = decode(Frame(bytes(nested(8)), 101))
    assert (got.slots[0]["kind"], got.codes) == (0, {"decode.too_deep": 1})


def test_what_is_not_put_together_is_counted() -> None:
    two = AMSDU + struct.pack(">H", len(SNAP_IP)) + bytes(SNAP_IP) + bytes(-(14 + len(SNAP_IP)) % 4) + AMSDU[-12:]
    got = decode(Frame(two + struct.pack(">H", len(SNAP_IP)) + bytes(SNAP_IP), 105))
    assert (got.only["sport"], got.codes) == (40000, {"decode.unassembled": 1})
    piece = b"\xff\3\0\x3d\x80\0\0\1\0\x21" + bytes(ip4())
    assert decode(Frame(piece, 9), Frame(piece, 9)).codes == {"decode.unassembled": 2}


def test_link_headers_that_wrap_each_other_end_somewhere() -> None:
    pair = struct.pack("<BBHI", 0, 0, 8, 258) + struct.pack("<III", 12, 1, 192)
    assert decode(Frame(pair * 600 + bytes(ip4()), 192)).codes == {"decode.bad_link": 1}


def test_a_stack_of_tags_ends_somewhere() -> None:
    assert decode(Frame(bytes(12) + b"\x81\0\0\1" * 300 + b"\x08\0" + bytes(ip4()))).codes == {"decode.too_deep": 1}


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (1, ether(IP() / UDP(dport=53) / Raw(b"x" * 60))),
        (1, ether(IP() / UDP(dport=4789) / Raw(bytes(60)))),  # not VXLAN: its flag is missing
        (1, ether(IP() / UDP(dport=3544) / Raw(bytes(8)))),  # a Teredo bubble's place, without IPv6
        (1, ether(IP(proto=50) / Raw(bytes(60)))),  # encrypted
        (1, with_type(0x0806, bytes(28), Raw(b""))),
        (105, b"\x80" + bytes(60)),  # a beacon
        (105, b"\x08\x42" + bytes(60)),  # protected
        (239, b"\x02\0\0\0" + struct.pack("<HH", 4, 9)),
    ],
)
def test_what_carries_no_tcp_is_no_anomaly(link: int, data: Packet | bytes) -> None:
    got = decode(Frame(bytes(data), link))
    assert got.slots[0]["kind"] == 0
    assert got.codes.keys() <= {"decode.bad_ip"}  # an NFLOG record without a packet
    assert link == 239 or got.codes == {}


def test_an_unknown_link_type_is_counted_by_packet() -> None:
    got = decode(*[Frame(b"whatever", 147)] * 3)
    assert got.codes == {"capture.unknown_link_type": 3}
    assert got.ledger.by_code["capture.unknown_link_type"].detail == "user0"
    assert got.ledger.by_code["capture.unknown_link_type"].first_frame == 1


def way(packet: Packet | bytes, link: int = 1, iface: int = 0) -> int:
    fingerprint: int = decode(Frame(bytes(packet), link, iface=iface)).only["l2"]
    return fingerprint


def test_the_link_layer_fingerprint_tells_ways_apart() -> None:
    a, b = "02:00:00:00:00:01", "02:00:00:00:00:02"
    mine, other = TCP(sport=1, dport=2), TCP(sport=9, dport=2, seq=5)
    ways = [
        way(Ether(src=a, dst=b) / IP() / mine),
        way(Ether(src=b, dst=a) / IP() / mine),
        way(Ether(src=a, dst=b) / IP() / mine, iface=1),
        way(Ether(src=a, dst=b) / IP() / mine, iface=65536),
        way(Ether(src=a, dst=b) / Dot1Q(vlan=1) / IP() / mine),
        way(Ether(src=a, dst=b) / Dot1Q(vlan=2) / IP() / mine),
        way(CookedLinux(pkttype=0) / IP() / mine, 113),
        way(CookedLinux(pkttype=4) / IP() / mine, 113),
        way(CookedLinuxV2(ifindex=1) / IP() / mine, 276),
        way(CookedLinuxV2(ifindex=2) / IP() / mine, 276),
        way(Dot11(type=2, FCfield=1, addr2=a) / SNAP_IP, 105),
        way(Dot11(type=2, FCfield=1, addr2=b) / SNAP_IP, 105),
    ]
    assert len(set(ways)) == len(ways)
    assert way(Ether(src=a, dst=b) / IP() / other) == ways[0]  # it is the way's, not the packet's
    tunnelled = IP() / UDP(dport=4789) / VXLAN() / Ether(src=b, dst=a) / IP() / mine
    assert way(Ether(src=a, dst=b) / tunnelled) == ways[0]  # of the outermost frame


def around(v6: bool, payload: Packet) -> Packet:
    return over6(payload) if v6 else over4(payload)


def carried(v6: bool, port: int, payload: Packet) -> Packet:
    return around(v6, UDP(sport=9, dport=port) / payload)


ERSPAN_GRE = GRE(proto=0x88BE, seqnum_present=1) / ERSPAN_II()
LAYERS = {
    "gre": lambda inner, v6: around(v6, GRE() / inner),
    "ipip": lambda inner, v6: over6(inner) if v6 else over4(inner, proto=4 if inner.version == 4 else 41),
    "vxlan": lambda inner, v6: carried(v6, 4789, VXLAN() / ether(inner)),
    "gtp": lambda inner, v6: carried(v6, 2152, GTP_U_Header() / inner),
    "geneve": lambda inner, v6: carried(v6, 6081, GENEVE(proto=0x6558) / ether(inner)),
    "erspan": lambda inner, v6: around(v6, ERSPAN_GRE / ether(inner)),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.booleans()), max_size=7), st.booleans())
def test_any_nesting(layers: list[tuple[str, bool]], v6: bool) -> None:
    packet = ip6() if v6 else ip4()
    for name, outer_v6 in reversed(layers):
        packet = LAYERS[name](packet, outer_v6)
    got = decode(Frame(bytes(ether(packet))))
    assert got.codes == {}
    assert (got.only["tunnel"] or "") == "/".join(name for name, _ in layers)
    assert (got.only["payload"], got.only["sport"]) == (TEXT, 40000)
