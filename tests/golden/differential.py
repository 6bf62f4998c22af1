"""Our decoding beside dpkt's and scapy's, packet by packet: two libraries that share no line with us.

python -m tests.golden.differential            every packet of every capture, both libraries
python -m tests.golden.differential --step 50  every 50th

Compared: addresses, ports, sequence and acknowledgment numbers, flags, and the bytes of payload captured. A packet
about which we disagree must fall into one of the classes of `WHY_MORE`, `WHY_LESS` and `WHY_OTHER`, each a reason in
words and a condition on the packet; what falls into none is a failure.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dpkt

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import TCP, tunnel_name
from analyzer.errors import AnalyzerError
from analyzer.settings import Settings
from tests.corpus import CORPUS, catalogue

OWN = Path(__file__).parents[2] / "captures"
NULL, ETHERNET, RAW, LOOP, SLL, RAW4, RAW6, SLL2 = 0, 1, 101, 108, 113, 228, 229, 276
READ = (NULL, ETHERNET, RAW, LOOP, SLL, RAW4, RAW6, SLL2)  # link types that both libraries know


class Header(NamedTuple):
    """What is compared of a TCP segment; addresses as bytes."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    payload: int  # bytes of it that were captured


@dataclass(frozen=True, slots=True)
class Case:
    """A packet, and what we and another library say of it: None = no TCP."""

    link: int
    data: bytes
    tunnel: str
    ours: Header | None
    theirs: Header | None


Library = Callable[[int, bytes], Header | None]


# ------------------------------------------------------------------------------------------------ ours
def packets(path: Path, step: int = 1) -> Iterator[tuple[int, bytes, str, Header | None]]:
    """Yield (link, bytes, tunnels, our header) of every `step`-th packet."""
    decoder = Decoder(Settings(), Ledger())
    for batch in open_captures([path], Ledger()):
        segments, data = decoder.decode(batch)
        for p, s in zip(batch.packets, segments, strict=True):
            if int(p["frame"]) % step:
                continue
            off = int(p["off"])
            found = _header(s) if s["kind"] == TCP else None
            raw = data[off : off + int(p["caplen"])].tobytes()
            yield int(p["link"]), raw, tunnel_name(int(s["tunnel"])) or "", found


def _header(s: Any) -> Header:
    src, dst = (
        b"".join((int(s[f"{end}_{half}"]) % 2**64).to_bytes(8, "big") for half in ("hi", "lo"))
        for end in ("src", "dst")
    )
    if s["ip_version"] == 4:
        src, dst = src[-4:], dst[-4:]
    numbers = (int(s[name]) for name in ("sport", "dport", "seq", "ack", "flags", "payload_cap"))
    return Header(src, dst, *numbers)


# ------------------------------------------------------------------------------------------------ theirs
def by_dpkt(link: int, data: bytes) -> Header | None:
    """Return what dpkt finds: the innermost TCP, not looked for in ICMP."""
    try:
        if link == ETHERNET:
            layer: Any = dpkt.ethernet.Ethernet(data)
        elif link in (RAW, RAW4, RAW6):
            layer = dpkt.ip.IP(data) if data[0] >> 4 == 4 else dpkt.ip6.IP6(data)
        elif link in (NULL, LOOP):
            layer = dpkt.loopback.Loopback(data)
        elif link == SLL:
            layer = dpkt.sll.SLL(data)
        elif link == SLL2:
            layer = dpkt.sll2.SLL2(data)
        else:
            return None
        return _innermost(layer)
    except (dpkt.Error, IndexError, KeyError, ValueError, AttributeError, TypeError):
        return None  # dpkt's own bugs among them: its answer is that it cannot read this


def _innermost(layer: Any) -> Header | None:
    ip: Any = None
    while layer is not None and not isinstance(layer, bytes | dpkt.icmp.ICMP | dpkt.icmp6.ICMP6):
        if isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
            ip = layer
        if isinstance(layer, dpkt.tcp.TCP) and ip is not None:
            t = layer
            return Header(ip.src, ip.dst, t.sport, t.dport, t.seq, t.ack, t.flags & 0x1FF, len(t.data))
        layer = getattr(layer, "data", None)
    return None


def by_scapy(link: int, data: bytes) -> Header | None:
    """Return what scapy finds: the innermost TCP, not looked for in ICMP."""
    from scapy.config import conf
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.packet import NoPayload, Padding

    if link not in READ:
        return None
    kind = (IP if data[:1] and data[0] >> 4 == 4 else IPv6) if link in (RAW, RAW4, RAW6) else conf.l2types[link]
    try:
        layer: Any = kind(data)
    except Exception:
        return None  # scapy's dissectors raise many things at damaged packets
    ip: Any = None
    found: Header | None = None
    while layer and "ICMP" not in type(layer).__name__:
        if isinstance(layer, IP | IPv6):
            ip = layer
        elif isinstance(layer, TCP) and ip is not None:
            family = socket.AF_INET if isinstance(ip, IP) else socket.AF_INET6
            ends = (socket.inet_pton(family, end) for end in (ip.src, ip.dst))
            inside = layer.payload  # what pads the frame is no payload
            size = 0 if isinstance(inside, Padding | NoPayload) else len(inside.original or inside.load)
            found = Header(*ends, layer.sport, layer.dport, layer.seq, layer.ack, int(layer.flags) & 0x1FF, size)
        layer = layer.payload
    return found


LIBRARIES: dict[str, Library] = {"dpkt": by_dpkt, "scapy": by_scapy}


# ------------------------------------------------------------------------------------------------ why
def _network(case: Case) -> bytes:
    """Return a packet from its outermost IP header on, behind VLAN tags; empty if there is none."""
    if case.link in (RAW, RAW4, RAW6):
        return case.data
    start = {ETHERNET: 12, SLL: 14}.get(case.link)
    if start is None:
        return b""
    while case.data[start : start + 2] in (b"\x81\x00", b"\x88\xa8"):
        start += 4
    return case.data[start + 2 :] if case.data[start : start + 2] in (b"\x08\x00", b"\x86\xdd") else b""


def _is_fragment(case: Case) -> bool:
    ip = _network(case)
    if ip[:1] and ip[0] >> 4 == 6:
        return len(ip) > 44 and ip[6] == 44 and int.from_bytes(ip[42:44], "big") & 0xFFF9 != 0
    return len(ip) > 20 and ip[0] >> 4 == 4 and int.from_bytes(ip[6:8], "big") & 0x3FFF != 0


def _impossible_header(case: Case) -> bool:
    """Return whether the TCP header that they read says a length below 20, or more than there is."""
    assert case.theirs is not None
    t = case.theirs
    at = case.data.find(struct.pack(">HHII", t.sport, t.dport, t.seq, t.ack))
    size = (case.data[at + 12] >> 4) * 4
    return at > 0 and (size < 20 or at + size > len(case.data))


def _wrong_version(case: Case) -> bool:
    ip = _network(case)
    return len(ip) > 0 and ip[0] >> 4 not in (4, 6)


def _pppoe_ends_first(case: Case) -> bool:
    """Return whether a PPPoE header counts fewer bytes than the IP header after it, and only the payload differs."""
    assert case.ours is not None and case.theirs is not None
    at = case.data.find(b"\x88\x64\x11\x00")
    shorter = int.from_bytes(case.data[at + 6 : at + 8], "big") < 2 + int.from_bytes(
        case.data[at + 12 : at + 14], "big"
    )
    return at > 0 and shorter and case.ours._replace(payload=0) == case.theirs._replace(payload=0)


# We read TCP there, they do not
WHY_MORE: dict[str, Callable[[Case], bool]] = {
    "in a tunnel that they do not open": lambda case: case.tunnel != "",
    "a link type that they do not read": lambda case: case.link not in READ,
    "fragments, which we put together": _is_fragment,
    "IPv6 on a loopback of macOS, which scapy takes for something else": lambda case: (
        case.link == NULL and case.data[:1] == b"\x1e"
    ),
    "behind a Cisco VN-Tag": lambda case: b"\x89\x26" in case.data[12:18],
}
# They read TCP there, we do not
WHY_LESS: dict[str, Callable[[Case], bool]] = {
    "the first fragment of a datagram whose rest never came, or comes later": _is_fragment,
    "a TCP header of less than 20 bytes, or longer than its packet": _impossible_header,
    "an IP header of neither version 4 nor 6": _wrong_version,
}
# Both do, with other fields
WHY_OTHER: dict[str, Callable[[Case], bool]] = {
    "a PPPoE frame ends before its IP packet says it does; we believe the shorter": _pppoe_ends_first,
}


def why(case: Case) -> str | None:
    """Return the class of a disagreement, None if it has no explanation."""
    classes = WHY_MORE if case.theirs is None else WHY_LESS if case.ours is None else WHY_OTHER
    return next((words for words, holds in classes.items() if holds(case)), None)


def compare(paths: list[Path], step: int, libraries: dict[str, Library]) -> tuple[Counter[str], list[str]]:
    """Return how many packets fell into each class ("agree" among them), and those that fell into none."""
    classes: Counter[str] = Counter()
    unexplained = []
    for path in paths:
        try:
            for link, data, tunnel, ours in packets(path, step):
                for name, library in libraries.items():
                    theirs = library(link, data)
                    if ours == theirs:
                        classes[f"{name}: agree" if ours else f"{name}: agree that it is no TCP"] += 1
                        continue
                    case = Case(link, data, tunnel, ours, theirs)
                    reason = why(case)
                    classes[f"{name}: {reason or 'UNEXPLAINED'}"] += 1
                    if reason is None:
                        unexplained.append(f"{path.name}, {name}: {ours} {theirs} {data[:80].hex()}")
        except AnalyzerError:
            continue  # no capture at all: damaged files are in the corpus on purpose
    return classes, unexplained


def captures() -> list[Path]:
    """Return every capture of ours, and of the corpus where it is."""
    corpus = [CORPUS / row["file"] for row in catalogue()] if CORPUS.is_dir() else []
    return sorted(OWN.glob("*.pcap*")) + corpus


def main() -> int:
    """Compare and print the classes."""
    line = argparse.ArgumentParser(prog="python -m tests.golden.differential")
    line.add_argument("--step", type=int, default=1)
    classes, unexplained = compare(captures(), line.parse_args().step, LIBRARIES)
    for words, count in sorted(classes.items()):
        print(f"{count:8} {words}")
    print(*unexplained[:20], sep="\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
