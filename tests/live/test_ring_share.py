"""Packets dealt out to several processes: both directions of a connection and its ICMP errors to one of them."""

from __future__ import annotations

import ipaddress
import random
import socket
import struct
from collections import Counter
from typing import Any

import pytest

from analyzer.capture.ring_bpf import NOTHING, packed, set_program
from analyzer.capture.ring_share import join, sharing
from analyzer.errors import AnalyzerError
from tests.live.bpf import run
from tests.live.nets import why_not

scapy = pytest.importorskip("scapy.all")
OUTGOING = 4
ETHER = scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # else scapy asks the network
PROGRAM = sharing(251)  # a prime: that two packets meet by chance is rare


def share(packet: Any, program: Any = PROGRAM, **known: int) -> int:
    """Return who gets a packet that came in."""
    frame = ETHER / packet
    return run(program, bytes(frame)[14:], protocol=frame.type, **known)


def share_out(packet: Any, tags: int = 0) -> int:
    """Return who gets a packet that goes out, with VLAN tags in its frame."""
    frame = ETHER
    for vlan in range(tags):
        frame /= scapy.Dot1Q(vlan=1100 + vlan, prio=2)
    frame /= packet
    return run(PROGRAM, bytes(frame), protocol=frame.type, pkttype=OUTGOING, network=14 + 4 * tags)


def address(made: random.Random, version: int) -> str:
    return str(ipaddress.ip_address(made.randbytes(4 if version == 4 else 16)))


def both(made: random.Random, version: int) -> tuple[Any, Any]:
    """Return a segment and one of the other direction."""
    ip = scapy.IP if version == 4 else scapy.IPv6
    ends = [address(made, version) for _ in range(2)]
    ports = [made.randrange(65536) for _ in range(2)]
    there = ip(src=ends[0], dst=ends[1]) / scapy.TCP(sport=ports[0], dport=ports[1]) / b"there"
    back = ip(src=ends[1], dst=ends[0]) / scapy.TCP(sport=ports[1], dport=ports[0]) / b"and back"
    return there, back


@pytest.mark.parametrize("version", [4, 6])
def test_both_directions_come_to_one_process(version: int) -> None:
    made = random.Random(version)
    for _ in range(40):
        there, back = both(made, version)
        assert share(there) == share(back) == share_out(there) == share_out(back)
        # a tag that the card does not add; of two the kernel takes one out of what comes in
        assert share(there) == share_out(back, tags=1) == share_out(there, tags=2)
        assert share(there) == share(scapy.Dot1Q(vlan=5) / back) == share(scapy.Dot1AD(vlan=1100, prio=2) / back)


def test_options_do_not_matter() -> None:
    there, back = both(random.Random(1), 4)
    back.options = [scapy.IPOption(b"\x94\x04\x00\x00")]  # router alert
    assert len(bytes(back)) == len(bytes(there)) + 4 + 3
    assert share(there) == share(back)


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_icmp_errors_follow_the_connection_that_they_quote(kind: int) -> None:
    made = random.Random(kind)
    for _ in range(20):
        there, back = both(made, 4)
        router = scapy.IP(src="203.0.113.9", dst=there.src) / scapy.ICMP(type=kind)
        assert share(router / bytes(there)[:28]) == share(back)
        assert share_out(router / bytes(there)) == share(back)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_icmpv6_errors_follow_the_connection_that_they_quote(kind: int) -> None:
    made = random.Random(kind)
    for _ in range(20):
        there, back = both(made, 6)
        error = bytes([kind, 0, 0, 0, 0, 0, 0, 0]) + bytes(there)[:48]
        router = scapy.IPv6(src="2001:db8::9", dst=there.src, nh=58) / error
        assert share(router) == share(back)


def test_other_icmp_goes_by_its_addresses() -> None:
    for version, question, answer in ((4, 8, 0), (6, 128, 129), (6, 135, 136)):
        ip = scapy.IP if version == 4 else scapy.IPv6
        ends = ("10.0.0.1", "10.0.0.2") if version == 4 else ("fe80::1", "fe80::2")
        number = {"proto": 1} if version == 4 else {"nh": 58}
        there = ip(src=ends[0], dst=ends[1], **number) / (bytes([question]) + bytes(range(40)))
        back = ip(src=ends[1], dst=ends[0], **number) / (bytes([answer]) + bytes(40))
        assert share(there) == share(back) == share(ip(src=ends[0], dst=ends[1]) / scapy.UDP() / b"x")


@pytest.mark.parametrize("inside", ["vxlan", "gre", "ipip", "fragment", "more fragments", "udp"])
def test_tunnels_and_fragments_go_by_their_addresses(inside: str) -> None:
    """Outer UDP ports of VXLAN differ by direction and connection."""
    found = set()
    for port in range(20):
        for ends in (("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")):
            outer = scapy.IP(src=ends[0], dst=ends[1])
            segment = scapy.IP(src="1.1.1.1", dst="2.2.2.2") / scapy.TCP(sport=port, dport=80) / b"x"
            found.add(share({
                "vxlan": outer / scapy.UDP(sport=port, dport=4789) / scapy.VXLAN(vni=5) / ETHER / segment,
                "gre": outer / scapy.GRE() / segment,
                "ipip": outer / segment,
                "fragment": scapy.IP(src=ends[0], dst=ends[1], frag=9, proto=6) / bytes(range(port, port + 40)),
                "more fragments": scapy.IP(src=ends[0], dst=ends[1], flags="MF") / scapy.TCP(sport=port),
                "udp": outer / scapy.UDP(sport=port),
            }[inside]))  # fmt: skip
    assert len(found) == 1
    assert found != {0}


def test_what_is_no_ip_or_cut_off_goes_to_the_first() -> None:
    segment = scapy.IP(src="1.1.1.1", dst="2.2.2.2") / scapy.TCP(sport=1, dport=80) / b"x"
    assert share(segment) != 0
    assert share(scapy.ARP()) == 0
    for protocol in (0x8847, 0x8864, 0x0004):  # MPLS, PPPoE, 802.2
        assert run(PROGRAM, bytes(segment), protocol=protocol) == 0
    for length in range(24):
        assert run(PROGRAM, bytes(segment)[:length]) == 0
    for length in range(44):
        assert run(PROGRAM, bytes(scapy.IPv6(src="::1", dst="::2") / scapy.TCP())[:length], protocol=0x86DD) == 0


@pytest.mark.parametrize("count", [2, 3, 4, 7, 16])
@pytest.mark.parametrize("ports", ["Linux: of one parity", "in a row"])
def test_connections_are_dealt_out_evenly(count: int, ports: str) -> None:
    """From a few clients to one server: what differs is a few bits."""
    program = sharing(count)
    segment = bytes(scapy.IP(dst="10.0.0.9") / scapy.TCP(dport=443))
    found: Counter[int] = Counter()
    for k, port in enumerate(range(32768, 36768, 2) if ports.startswith("Linux") else range(40000, 42000)):
        client = bytes([10, 0, 0, k % 3 + 1])
        found[run(program, segment[:12] + client + segment[16:20] + port.to_bytes(2, "big") + segment[22:])] += 1
    assert sorted(found) == list(range(count))
    expected = 2000 / count
    assert all(abs(n - expected) < 4 * expected**0.5 for n in found.values()), found


def opened_on(interface: str) -> socket.socket:
    """Return a packet socket that nothing passes."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    set_program(opened, socket.SOL_SOCKET, 26, packed(NOTHING))
    opened.bind((interface, 3))
    return opened


@pytest.mark.live
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_the_kernel_finds_a_number_and_takes_the_program() -> None:
    with opened_on("lo") as first, opened_on("lo") as second, opened_on("lo") as other:
        group = join(first, -1, 2)
        assert join(second, group, 2) == group
        assert join(other, -1, 2) != group
    with opened_on("lo") as late, pytest.raises(AnalyzerError, match="does not share packets"):
        late.setsockopt(263, 18, struct.pack("=I", group))  # by now there is another group, of another kind
        join(late, group, 2)
