"""One segment in every encapsulation, most of them built by scapy."""

from __future__ import annotations

import socket
import struct
from typing import Any

from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III
from scapy.contrib.geneve import GENEVE
from scapy.contrib.gtp import GTP_U_Header
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.dot11 import Dot11, RadioTap
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import GRE, LLC, SNAP, CookedLinux, CookedLinuxV2, Ether
from scapy.layers.ppp import HDLC, PPP, PPPoE
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

TEXT = b"hello"
V4 = {"src": "10.1.2.3", "dst": "192.0.2.9"}
V6 = {"src": "2001:db8::1", "dst": "fe80::ff:fe00:1"}
OUTER4 = {"src": "172.16.0.1", "dst": "172.16.0.2"}
OUTER6 = {"src": "2001:db8:ffff::1", "dst": "2001:db8:ffff::2"}
TIMES = [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))]


def tcp() -> Packet:
    return TCP(sport=40000, dport=443, seq=2**32 - 2, ack=77, flags="PA", window=500, options=TIMES) / Raw(TEXT)


def ip4(payload: Packet | None = None, **fields: Any) -> Packet:
    return IP(**{**V4, "ttl": 61, "id": 5, "tos": 0xB8, **fields}) / (payload or tcp())


def ip6(payload: Packet | None = None, **fields: Any) -> Packet:
    return IPv6(**{**V6, "hlim": 61, "tc": 0xB8, **fields}) / (payload or tcp())


def over4(payload: Packet, **fields: Any) -> Packet:
    return IP(**OUTER4, **fields) / payload


def over6(payload: Packet, **fields: Any) -> Packet:
    return IPv6(**OUTER6, **fields) / payload


def on_its_way(routing: Packet) -> Packet:
    """Return a packet whose IPv6 header has the next place to go to, not the last."""
    return IPv6(**{**V6, "dst": "2001:db8::77", "nh": 43, "hlim": 61, "tc": 0xB8}) / routing / tcp()


def ether(payload: Packet, **fields: Any) -> Packet:
    """Return a frame with both addresses given: for a missing one, scapy would ask the network."""
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", **fields) / payload


def udp(port: int, inner: bytes) -> Packet:
    return over4(UDP(sport=9, dport=port) / Raw(inner))


def with_type(kind: int, head: bytes, payload: Packet) -> bytes:
    """An Ethernet frame of a type that scapy does not know."""
    return bytes(12) + struct.pack(">H", kind) + head + bytes(payload)


SNAP_IP = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x800) / ip4()

ROUTED = b"\x40\0\x08\0" + bytes(4) + b"\0\1\0\4abcd" + bytes(4)
O_BIT = bytes(11) + b"\1" + bytes(8)
QOS = b"\x88\x02" + bytes(22)
LAST, NEXT = socket.inet_pton(socket.AF_INET6, V6["dst"]), socket.inet_pton(socket.AF_INET6, "2001:db8::77")
SRV6 = b"\6\4\4\1\1\0\0\0" + LAST + NEXT
AMSDU = b"\x88\x01" + bytes(22) + b"\x80\0" + bytes(12)

CASES: list[tuple[str, int, Any, str | None]] = [
    # below IP
    ("ethernet", 1, ether(ip4()), None),
    ("ethernet, IPv6", 1, ether(ip6()), None),
    ("802.3 with SNAP", 1, with_type(len(SNAP_IP), b"", SNAP_IP), None),
    ("jumbo LLC", 1, ether(SNAP_IP, type=0x8870), None),
    ("802.3 with LLC for IP", 1, with_type(len(ip4()) + 3, b"\6\6\3", ip4()) + b"PAD", None),
    ("raw", 101, ip4(), None),
    ("raw, as old files have it", 12, ip6(), None),
    ("ipv4", 228, ip4(), None),
    ("ipv6", 229, ip6(), None),
    ("null, little-endian", 0, struct.pack("<I", 2) + bytes(ip4()), None),
    ("null, big-endian, macOS", 0, struct.pack(">I", 30) + bytes(ip6()), None),
    ("loop, FreeBSD", 108, struct.pack(">I", 28) + bytes(ip6()), None),
    ("cooked", 113, CookedLinux(proto=0x800) / ip4(), None),
    ("cooked with LLC", 113, CookedLinux(proto=4) / SNAP_IP, None),
    ("cooked 2", 276, CookedLinuxV2(proto=0x86DD) / ip6(), None),
    ("ppp", 9, PPP() / ip4(), None),
    ("ppp, compressed protocol field", 9, b"\x21" + bytes(ip4()), None),
    ("ppp multilink, a whole packet", 9, b"\xff\3\0\x3d\xc0\0\0\1\0\x21" + bytes(ip4()), None),
    ("ppp in hdlc", 50, HDLC() / PPP() / ip6(), None),
    ("ppp in hdlc, Cisco", 50, b"\x0f\0\x08\0" + bytes(ip4()), None),
    ("pppoe", 1, ether(PPPoE(sessionid=9) / PPP() / ip4(), type=0x8864), "pppoe"),
    ("pppoe as link type", 51, PPPoE(sessionid=9) / PPP() / ip4(), None),
    ("mpls", 1, ether(MPLS(label=16, s=0) / MPLS(label=17, s=1) / ip4()), "mpls"),
    ("mpls, IPv6", 1, ether(MPLS(label=17, s=1) / ip6(), type=0x8847), "mpls"),
    ("ethernet on mpls", 1, ether(MPLS(s=1) / Raw(bytes(ether(ip4())))), "mpls"),
    ("ethernet on mpls, control word", 1, ether(MPLS(s=1) / Raw(bytes(4) + bytes(ether(ip4())))), "mpls"),
    ("mac in mac", 1, with_type(0x88E7, bytes(4), ether(ip4())), "other"),
    ("fabric path", 1, with_type(0x8903, bytes(2), ether(ip4())), "other"),
    ("vn-tag", 1, with_type(0x8926, b"\1\2\3\4\x08\0", ip4()), None),
    ("e-tag", 1, with_type(0x893F, b"\1\2\3\4\5\6\x08\0", ip4()), None),
    ("nsh", 1, ether(NSH(mdtype=1, nextproto=1) / ip4(), type=0x894F), "other"),
    # on IP
    ("ip in ip", 101, over4(ip4()), "ipip"),
    ("6 in 4", 101, over4(ip6(), proto=41), "ipip"),
    ("4 in 6", 101, over6(ip4()), "ipip"),
    ("6 in 6", 101, over6(ip6()), "ipip"),
    ("twice", 101, over4(over4(ip4())), "ipip/ipip"),
    ("hop-by-hop and destination options", 101, ip6(IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / tcp()), None),
    ("routing header on its way", 101, on_its_way(IPv6ExtHdrRouting(addresses=["::8", V6["dst"]], segleft=2)), None),
    ("routing header on its way, SRv6", 101, on_its_way(Raw(SRV6)), None),
    ("routing header", 101, ip6(IPv6ExtHdrRouting(addresses=["::9"], segleft=0) / tcp()), None),
    ("atomic fragment", 101, ip6(IPv6ExtHdrFragment(id=5) / tcp()), None),
    ("ah", 101, ip4(AH(nh=6, icv=bytes(12), payloadlen=4) / tcp(), proto=51), "ah"),
    ("ah, IPv6", 101, ip6(AH(nh=6, icv=bytes(12), payloadlen=4) / tcp(), nh=51), "ah"),
    ("gre", 101, over4(GRE() / ip4()), "gre"),
    ("gre with all options", 101, over6(GRE(chksum_present=1, key_present=1, seqnum_present=1) / ip6()), "gre"),
    ("gre with routing", 101, over4(Raw(ROUTED + bytes(ip4())), proto=47), "gre"),
    ("gre with mpls", 101, over4(GRE(proto=0x8847) / MPLS(s=1) / ip4()), "gre/mpls"),
    ("gre with ethernet", 101, over4(GRE(proto=0x6558) / ether(ip4())), "gre"),
    ("gre with wccp 2", 101, over4(GRE(proto=0x883E) / Raw(bytes(4) + bytes(ip4()))), "gre"),
    ("pptp", 101, over4(Raw(b"\x30\x81\x88\x0b" + bytes(12) + b"\xff\x03\0\x21" + bytes(ip4())), proto=47), "gre"),
    ("erspan I", 101, over4(GRE(proto=0x88BE) / Raw(bytes(ether(ip4())))), "erspan"),
    ("erspan II", 101, over4(GRE(proto=0x88BE, seqnum_present=1) / ERSPAN_II() / ether(ip4())), "erspan"),
    ("erspan III", 101, over4(GRE(proto=0x22EB, seqnum_present=1) / ERSPAN_III() / ether(ip4())), "erspan"),
    ("erspan III, subheader", 101, over4(GRE(proto=0x22EB) / Raw(O_BIT + bytes(ether(ip4())))), "erspan"),
    ("ether in ip", 101, over4(Raw(b"\x30\0" + bytes(ether(ip4()))), proto=97), "other"),
    ("mpls in ip", 101, over4(MPLS(s=1) / ip4(), proto=137), "mpls"),
    # on UDP
    ("vxlan", 101, udp(4789, bytes(VXLAN(vni=3) / ether(ip4()))), "vxlan"),
    ("vxlan, Linux port", 101, udp(8472, bytes(VXLAN(vni=3) / ether(ip4()))), "vxlan"),
    ("vxlan-gpe", 101, udp(4790, b"\x0c\0\0\2" + bytes(4) + bytes(ip6())), "vxlan"),
    ("geneve", 101, over6(UDP(sport=5, dport=6081) / GENEVE(vni=3, proto=0x6558) / ether(ip4())), "geneve"),
    ("geneve with options", 101, udp(6081, b"\2\0\x08\0\0\0\3\0" + bytes(8) + bytes(ip4())), "geneve"),
    ("gtp", 101, over4(UDP(sport=2152, dport=2152) / GTP_U_Header(teid=3) / ip4()), "gtp"),
    ("gtp, IPv6", 101, over4(UDP(sport=2152, dport=2152) / GTP_U_Header(teid=3, S=1, seq=4) / ip6()), "gtp"),
    ("gtp, extensions", 101, udp(2152, b"\x34\xff" + bytes(9) + b"\x85\1ab\x40\2abcdef\0" + bytes(ip4())), "gtp"),
    ("teredo", 101, over4(UDP(sport=3544, dport=5) / ip6()), "teredo"),
    ("teredo, all headers", 101, udp(3544, b"\0\1\2\3" + bytes(14) + bytes(8) + bytes(ip6())), "teredo"),
    ("l2tp", 101, udp(1701, b"\0\2\0\1\0\2\xff\3\0\x21" + bytes(ip4())), "l2tp"),
    ("l2tp, all fields", 101, udp(1701, b"\x4a\2\0\x50\0\1\0\2\0\3\0\4\0\2xx\0\x21" + bytes(ip4())), "l2tp"),
    # rare link types
    ("802.11", 105, Dot11(type=2, subtype=0, FCfield=1) / SNAP_IP, None),
    ("802.11, four addresses, QoS, HT control", 105, b"\x88\x83" + bytes(34) + bytes(SNAP_IP), None),
    ("802.11 A-MSDU", 105, AMSDU + struct.pack(">H", len(SNAP_IP)) + bytes(SNAP_IP), None),
    ("radiotap", 127, RadioTap() / Dot11(type=2, subtype=0, FCfield=2) / SNAP_IP, None),
    ("radiotap, padded header", 127, b"\0\0\x12\0\3" + bytes(11) + b"\x20\0" + QOS + bytes(4) + bytes(SNAP_IP), None),
    ("prism", 119, bytes(144) + b"\x08\x02" + bytes(22) + bytes(SNAP_IP), None),
    ("avs", 163, b"\x80\x21\x10\1\0\0\0\x40" + bytes(56) + b"\x08\x02" + bytes(22) + bytes(SNAP_IP), None),
    ("ppi", 192, struct.pack("<BBHI", 0, 0, 8, 1) + bytes(ether(ip4())), None),
    ("pktap", 258, struct.pack("<III", 108, 1, 12) + bytes(96) + bytes(ip4()), None),
    ("pktap, ethernet", 149, struct.pack("<III", 108, 1, 1) + bytes(96) + bytes(ether(ip6())), None),
    ("nflog", 239, b"\2\0\0\0\5\0\x0a\0x\0\0\0\4\0\x09\0" + bytes(ip4()), None),
    ("nflog, big-endian", 239, b"\x0a\0\0\0\0\x08\0\1" + bytes(4) + b"\0\4\0\x09" + bytes(ip6()), None),
    ("cisco hdlc", 104, b"\x0f\0\x08\0" + bytes(ip4()), None),
    ("frame relay", 107, b"\x18\x41\x03\xcc" + bytes(ip4()), None),
    ("frame relay, SNAP", 107, b"\x18\x41\x03\0\x80\0\0\0\x08\0" + bytes(ip4()), None),
    ("frame relay, bridged", 107, b"\x18\x41\x03\0\x80\0\x80\xc2\0\7" + bytes(ether(ip4())), None),
    ("frame relay, Cisco", 107, b"\x18\x41\x08\0" + bytes(ip4()), None),
    ("token ring", 6, b"\x10\x40" + bytes(12) + bytes(SNAP_IP), None),
    ("token ring, source routed", 6, b"\x10\x40" + bytes(6) + b"\x80" + bytes(5) + b"\4\0\1\2" + bytes(SNAP_IP), None),
    ("fddi", 10, b"\x50" + bytes(12) + bytes(SNAP_IP), None),
    ("atm, LLC", 100, SNAP_IP, None),
    ("atm, bridged", 100, b"\xaa\xaa\3\0\x80\xc2\0\7\0\0" + bytes(ether(ip4())), None),
    ("atm, IP at once", 106, ip4(), None),
    ("sun atm", 123, b"\2\0\0\0" + bytes(SNAP_IP), None),
    ("ieee 1394", 138, bytes(16) + b"\x08\0" + bytes(ip4()), None),
    ("fibre channel", 122, bytes(16) + bytes(SNAP_IP), None),
    ("enc", 109, bytes(12) + bytes(ip6()), None),
    ("netanalyzer", 240, bytes(4) + bytes(ether(ip4())), None),
    ("netanalyzer, transparent", 241, bytes(12) + bytes(ether(ip4())), None),
    ("infiniband", 242, bytes(40) + b"\x08\0\0\0" + bytes(ip4()), None),
    ("ppp with direction", 204, b"\0\xff\3\0\x21" + bytes(ip4()), None),
    ("cisco hdlc with direction", 205, b"\1\x0f\0\x08\0" + bytes(ip4()), None),
    ("frame relay with direction", 206, b"\1\x18\x41\x03\xcc" + bytes(ip4()), None),
    ("juniper, ethernet", 178, b"MGC\x80\0\x06\1\1\0\2\1\0" + bytes(ether(ip4())), None),
    ("juniper, no extensions", 179, b"MGC\1\xff\3\0\x21" + bytes(ip4()), None),
    ("juniper, frame relay", 180, b"MGC\0\x18\x41\x03\xcc" + bytes(ip4()), None),
    ("juniper, cisco hdlc", 181, b"MGC\0\x0f\0\x08\0" + bytes(ip4()), None),
    ("juniper, link header stripped", 178, b"MGC\x82\0\x03\1\1\0" + bytes(4) + bytes(ip6()), None),
    ("broadcom tag", 281, bytes(16) + b"\x08\0" + bytes(ip4()), None),
    ("broadcom tag, prepended", 282, bytes(4) + bytes(ether(ip4())), None),
    ("dsa", 283, bytes(12) + b"\xc0\x08\0\0" + b"\x86\xdd" + bytes(ip6()), None),
    ("edsa", 284, bytes(12) + b"\xda\xda\0\0\xc0\x08\0\0" + b"\x08\0" + bytes(ip4()), None),
]  # fmt: skip
