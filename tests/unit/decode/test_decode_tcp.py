"""TCP and IP headers: lengths, options, clipping, and segments quoted by ICMP."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from decode_frames import Frame, decode
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.packet import Packet, Raw

ADDRESSES = {"src": "10.0.0.1", "dst": "10.0.0.2"}


def segment(options: bytes = b"", payload: bytes = b"", offset: int | None = None, flags: int = 0x10) -> bytes:
    words = 5 + len(options) // 4 if offset is None else offset
    return struct.pack(">HHIIHHHH", 1, 2, 3, 4, words << 12 | flags, 5, 0, 0) + options + payload


def ip(payload: bytes, total: int | None = None, **fields: Any) -> bytes:
    return bytes(IP(**ADDRESSES, proto=6, len=20 + len(payload) if total is None else total, **fields)) + payload


def raw(data: bytes, wire: int | None = None) -> Frame:
    return Frame(data, 101, wire)


ABSENT = {"mss": -1, "wscale": -1, "sack_ok": 0, "sack_left": -1, "sack_right": -1, "tsval": -1, "tsecr": -1}


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (b"", {}),
        (b"\2\4\x05\xb4", {"mss": 1460}),
        (b"\3\3\x0e\1", {"wscale": 14}),
        (b"\4\2\1\1", {"sack_ok": 1}),
        (b"\1\1\5\x0a" + struct.pack(">II", 7, 2**32 - 1), {"sack_left": 7, "sack_right": 2**32 - 1}),
        (b"\1\1\5\x12" + struct.pack(">IIII", 7, 8, 9, 10), {"sack_left": 7, "sack_right": 8}),
        (b"\1\1\x08\x0a" + struct.pack(">II", 2**31, 9), {"tsval": 2**31, "tsecr": 9}),
        (b"\x08\x0a" + struct.pack(">II", 6, 9) + b"\0\0", {"tsval": 6, "tsecr": 9}),
        (b"\2\4\x05\xb4\4\2\x08\x0a" + struct.pack(">II", 1, 0) + b"\1\3\3\7",
         {"mss": 1460, "sack_ok": 1, "tsval": 1, "tsecr": 0, "wscale": 7}),
        (b"\0\2\4\1", {}),  # nothing counts after the end of options
        (b"\x1e\4\0\0\2\4\0\1", {"mss": 1}),  # multipath TCP is stepped over
    ],
)  # fmt: skip
def test_options(options: bytes, given: dict[str, int]) -> None:
    got = decode(raw(ip(segment(options, b"xy"))))
    assert {name: got.only[name] for name in ABSENT} == ABSENT | given
    assert (got.only["payload"], got.codes) == (b"xy", {})


@pytest.mark.parametrize(
    "options", [b"\1\1\1\2", b"\2\0\5\xb4", b"\2\1\5\xb4", b"\2\5\5\xb4", b"\5\4\0\0", b"\3\4\0\0"]
)
def test_bad_options_are_counted_and_the_segment_stands(options: bytes) -> None:
    got = decode(raw(ip(segment(b"\4\2\1\1" + options, b"xy"))))
    assert got.codes == {"decode.bad_option": 1}
    assert (got.only["sack_ok"], got.only["mss"], got.only["payload"]) == (1, -1, b"xy")


def test_all_nine_flags() -> None:
    assert decode(raw(ip(segment(flags=0xFFF)))).only["flags"] == 0x1FF


def test_ethernet_padding_is_not_payload() -> None:
    frame = bytes(12) + b"\x08\0" + ip(segment())
    got = decode(Frame(frame + bytes(60 - len(frame))))
    assert (got.only["payload_len"], got.only["wire_len"], got.codes) == (0, 60, {})


def test_offload_leaves_the_length_to_the_card() -> None:
    assert decode(raw(ip(segment(payload=b"x" * 70000), total=0))).only["payload_len"] == 70000
    v6 = bytes(IPv6(nh=6, plen=0)) + segment(payload=b"x" * 70000)
    assert decode(raw(v6)).only["payload_len"] == 70000


def test_ip_options_are_stepped_over() -> None:
    packet = bytes(IP(**ADDRESSES, proto=6, ihl=6, len=46)) + b"\1\1\1\0" + segment(payload=b"xy")
    assert decode(raw(packet)).only["payload"] == b"xy"


def test_a_clipped_payload() -> None:
    whole = ip(segment(payload=b"0123456789"))
    slot = decode(raw(whole[:45], len(whole))).only
    assert (slot["payload"], slot["payload_len"], slot["clipped"], slot["wire_len"]) == (b"01234", 10, 1, 50)


def test_clipped_options_are_left_out_without_complaint() -> None:
    whole = ip(segment(b"\2\4\5\xb4\1\1\x08\x0a" + bytes(8), b"0123456789"))
    got = decode(raw(whole[:47], len(whole)))
    assert (got.only["mss"], got.only["tsval"], got.only["payload_len"], got.only["payload_cap"]) == (1460, -1, 10, 0)
    assert got.codes == {}


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (ip(segment(offset=4)), "decode.bad_tcp"),
        (ip(segment(offset=6)), "decode.bad_tcp"),  # reaches past the end of the packet
        (ip(segment()[:19]), "decode.bad_tcp"),
        (ip(segment())[:19], "decode.bad_ip"),
        (ip(segment(), total=19), "decode.bad_ip"),
        (b"\x44" + ip(segment())[1:], "decode.bad_ip"),
        (b"\x4f" + ip(segment())[1:], "decode.bad_ip"),
        (b"\x55" + ip(segment())[1:], "decode.bad_link"),
        (b"", "decode.bad_link"),
        (b"\x60" + bytes(30), "decode.bad_ip"),
        (bytes(IPv6(nh=0)) + b"\6\1" + bytes(8), "decode.bad_ip"),
    ],
)
def test_what_contradicts_itself_is_counted(packet: bytes, code: str) -> None:
    got = decode(Frame(b"fine", 147), raw(packet))
    assert (got.slots[1]["kind"], got.codes[code]) == (0, 1)
    assert got.ledger.by_code[code].first_frame == 2


def test_an_ip_length_past_the_end_is_counted_and_read_as_far_as_it_goes() -> None:
    got = decode(raw(ip(segment(payload=b"xy"), total=1000)))
    assert (got.only["payload"], got.only["payload_len"], got.codes) == (b"xy", 2, {"decode.bad_ip": 1})


def quote(error: Packet, quoted: bytes, **outer: Any) -> bytes:
    return bytes(IP(src="10.9.9.9", dst="10.0.0.1", ttl=200, **outer) / error / Raw(quoted))


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (3, 4), (4, 0), (11, 0), (12, 0)])
def test_icmp_errors_quote_a_segment(kind: int, code: int) -> None:
    quoted = ip(segment(payload=b"x" * 1000), id=55, ttl=1)[:28]
    slot = decode(raw(quote(ICMP(type=kind, code=code), quoted))).only
    assert (slot["kind"], slot["window"], slot["ttl"], slot["ip_id"]) == (2, kind * 256 + code, 200, 55)
    assert (slot["src"], slot["dst"], slot["sport"], slot["dport"]) == ("10.0.0.1", "10.0.0.2", 1, 2)
    assert (slot["seq"], slot["ack"], slot["flags"], slot["payload_len"]) == (3, -1, 0, 0)


def test_a_longer_quote_tells_more() -> None:
    slot = decode(raw(quote(ICMP(type=3, code=3), ip(segment(payload=b"xyz"))))).only
    assert (slot["ack"], slot["flags"], slot["payload_len"], slot["payload"]) == (4, 0x10, 0, b"")


@pytest.mark.parametrize("error", [ICMPv6DestUnreach(code=1), ICMPv6PacketTooBig(mtu=1280)])
def test_icmpv6_errors_quote_a_segment(error: Packet) -> None:
    quoted = IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=1, dport=2, seq=3)
    slot = decode(raw(bytes(IPv6(src="2001:db8::9", hlim=9) / error / quoted))).only
    assert (slot["kind"], slot["window"], slot["ttl"]) == (2, error.type * 256 + error.code, 9)
    assert (slot["src"], slot["dst"], slot["seq"]) == ("2001:db8::1", "2001:db8::2", 3)


@pytest.mark.parametrize(
    "packet",
    [
        quote(ICMP(type=8), ip(segment())),  # an echo request may carry anything
        quote(ICMP(type=5), ip(segment())),  # a redirect is advice, not an error
        quote(ICMP(type=3, code=1), bytes(IP() / UDP() / Raw(bytes(30)))),
        quote(ICMP(type=3, code=1), ip(segment(), frag=9)),  # a later fragment has no TCP header
        quote(ICMP(type=3, code=1), quote(ICMP(type=3, code=1), ip(segment()))),
    ],
)
def test_other_icmp_quotes_nothing(packet: bytes) -> None:
    got = decode(raw(packet))
    assert (got.slots[0]["kind"], got.codes) == (0, {})


def test_a_quoted_first_fragment_has_the_ports() -> None:
    slot = decode(raw(quote(ICMP(type=11, code=0), ip(segment(), flags="MF")))).only
    assert (slot["kind"], slot["sport"]) == (2, 1)


def test_a_quote_cut_below_eight_bytes() -> None:
    got = decode(raw(quote(ICMP(type=3, code=1), ip(segment())[:27])))
    assert got.slots[0]["kind"] == 0
