"""Link types that are too rare for the kernel: find where the packet inside starts, and what it is.

Source: www.tcpdump.org/linktypes.html and the standard named at each reader. A reader gets the frame's bytes and
returns an `Inside`, or None for a frame without a packet (a beacon, say). One that reads past the end raises
IndexError or struct.error; `rebase` counts that as a header cut short.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture import linktypes
from analyzer.decode.link import FIRST_HEADER
from analyzer.decode.walk import BY_ETHERTYPE, ETHERNET, IPV4, IPV6, LLC, PPP, RAW_IP, REBASE
from analyzer.kernel import U8, Records


class Inside(NamedTuple):
    """The packet in a frame: where, which kind of header, its EtherType if the kind asks for one."""

    at: int
    kind: int
    ethertype: int = 0
    way: bytes = b""  # addresses and direction, for SEGMENT.l2
    others: bool = False  # the frame has more packets, which are not read


Reader = Callable[[bytes, int], Inside | None]


def rebase(jobs: Records, segments: Records, data: U8, ledger: Ledger) -> list[int]:
    """Move the walks that wait for it past their link headers; return the places in `jobs` of those that can go on."""
    view = data.data
    waiting = [k for k, kind in enumerate(jobs["next"].tolist()) if kind == REBASE]
    if not waiting:
        return []
    packets = jobs["packet"][waiting]
    links, frames = segments["link"][packets].tolist(), segments["frame"][packets].tolist()
    moved: list[tuple[int, int, int, int, int]] = []
    for k, packet, link, frame in zip(waiting, packets.tolist(), links, frames, strict=True):
        start = int(jobs["at"][k])
        content = bytes(view[start : int(jobs["end"][k])])
        inside = _read_or_note(content, link, frame, ledger)
        if inside is not None:
            moved.append((k, packet, start + inside.at, inside.kind, inside.ethertype))
            if inside.others:
                ledger.note("decode.unassembled", frame=frame)
            if inside.way:
                segments["l2"][packet] ^= zlib.crc32(inside.way) << 16
    going = [row[0] for row in moved]
    if going:
        _, _, jobs["at"][going], jobs["next"][going], jobs["proto"][going] = np.array(moved, np.int64).T
    return going


def _read_or_note(content: bytes, link: int, frame: int, ledger: Ledger) -> Inside | None:
    try:
        inside = read(content, 0, link)
    except KeyError as unknown:
        ledger.note("capture.unknown_link_type", frame=frame, detail=linktypes.name(unknown.args[0]))
        return None
    except (IndexError, struct.error):
        inside = Inside(len(content) + 1, RAW_IP)
    if inside is not None and inside.at > len(content):
        ledger.note("decode.bad_link", frame=frame)
        return None
    return inside


def read(frame: bytes, at: int, linktype: int) -> Inside | None:
    """Return what a frame of `linktype` carries. Raises KeyError with the number of an unknown one."""
    if linktype in FIRST_HEADER:
        return Inside(at, FIRST_HEADER[linktype])
    return READERS[linktype](frame, at)


def _be16(frame: bytes, at: int) -> int:
    return frame[at] << 8 | frame[at + 1]


def ieee80211(frame: bytes, at: int, padded: bool = False) -> Inside | None:
    """IEEE 802.11-2020 section 9.2.3: data frames that are not encrypted; of an A-MSDU the first subframe."""
    control, flags = frame[at], frame[at + 1]
    if control & 0x0C != 0x08 or control & 0x40 or flags & 0x40:  # not data, no data in it, protected
        return None
    length = 30 if flags & 3 == 3 else 24  # to and from the distribution system: a fourth address
    way = frame[at + 1 : at + 2] + frame[at + 4 : at + 22]
    aggregated = False
    if control & 0x80:
        aggregated = bool(frame[at + length] & 0x80)
        length += 2
        if flags & 0x80:
            length += 4  # HT control
    if int.from_bytes(frame[at + 22 : at + 24], "little") & 15:
        return None  # a later fragment of the frame
    at += (length + 3 & ~3) if padded else length
    if not aggregated:
        return Inside(at, LLC, way=way)
    following = at + (14 + _be16(frame, at + 12) + 3 & ~3)  # section 9.3.2.2.2: each but the last is padded
    return Inside(at + 14, LLC, way=way, others=following + 22 <= len(frame))


def radiotap(frame: bytes, at: int) -> Inside | None:
    """www.radiotap.org: a little-endian length in bytes 2 and 3. Of the fields only the flags matter."""
    length, present = struct.unpack_from("<HI", frame, at + 2)
    if length < 8:
        raise IndexError
    field, word = at + 8, present
    while word & 0x80000000:  # more words of present bits
        (word,) = struct.unpack_from("<I", frame, field)
        field += 4
    if present & 1:  # TSFT, aligned to 8 bytes
        field = at + (field - at + 7 & ~7) + 8
    padded = bool(present & 2 and frame[field] & 0x20)
    return ieee80211(frame, at + length, padded)


def prism(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_IEEE802_11_PRISM: 144 bytes, or an AVS header with its length in bytes 4 to 7."""
    (magic, length) = struct.unpack_from(">II", frame, at)
    return ieee80211(frame, at + length if magic >> 12 == 0x80211 else at + 144)


def ppi(frame: bytes, at: int) -> Inside | None:
    """CACE PPI 1.0.10 section 3.1: version, flags, length, LINKTYPE, all little-endian."""
    length, linktype = struct.unpack_from("<HI", frame, at + 2)
    if length < 8 or linktype in (149, 192, 258):
        raise IndexError
    return read(frame, at + length, linktype)


def pktap(frame: bytes, at: int) -> Inside | None:
    """Apple's bsd/net/pktap.h: header length, record type (1 = packet), DLT, interface name (24), flags (direction)."""
    length, record, linktype = struct.unpack_from("<III", frame, at)
    if length < 12 or linktype in (149, 258):
        raise IndexError
    inside = read(frame, at + length, linktype) if record == 1 else None
    return Inside(inside.at, inside.kind, inside.ethertype, inside.way + frame[at + 12 : at + 40]) if inside else None


def nflog(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_NFLOG: family, version, resource; then TLVs in host order, padded to 4 bytes; 9 is the packet."""
    kind = {2: IPV4, 10: IPV6}.get(frame[at], RAW_IP)
    at += 4
    little = int.from_bytes(frame[at : at + 2], "little") <= int.from_bytes(frame[at : at + 2], "big")
    layout = "<HH" if little else ">HH"
    while True:
        length, tag = struct.unpack_from(layout, frame, at)
        if tag == 9:
            return Inside(at + 4, kind)
        if length < 4:
            raise IndexError
        at += length + 3 & ~3


def cisco_hdlc(frame: bytes, at: int) -> Inside | None:
    """RFC 1547 section 4.3.1: address, control, EtherType."""
    return Inside(at + 4, BY_ETHERTYPE, _be16(frame, at + 2))


def frame_relay(frame: bytes, at: int) -> Inside | None:
    """RFC 2427 section 3: a Q.922 address of 2 to 4 bytes, control 3, padding, NLPID; or Cisco's: an EtherType."""
    start = at
    while not frame[at] & 1:
        at += 1
    at += 1
    way = frame[start:at]
    if frame[at] != 0x03:
        return Inside(at + 2, BY_ETHERTYPE, _be16(frame, at), way)
    at += 1
    if frame[at] == 0:
        at += 1
    nlpid = frame[at]
    if nlpid == 0x80:  # SNAP: organisation (3), protocol
        organisation, kind = frame[at + 1 : at + 4], _be16(frame, at + 4)
        if organisation == b"\x00\x80\xc2":
            return Inside(at + 6, ETHERNET, way=way) if kind in (1, 7) else None
        return Inside(at + 6, BY_ETHERTYPE, kind, way)
    kind_by_nlpid = {0xCC: IPV4, 0x8E: IPV6, 0xCF: PPP}
    return Inside(at + 1, kind_by_nlpid[nlpid], way=way) if nlpid in kind_by_nlpid else None


def token_ring(frame: bytes, at: int) -> Inside | None:
    """IEEE 802.5 section 3.2: access and frame control, addresses, source routing if the source's first bit is set."""
    if frame[at + 1] & 0xC0 != 0x40:  # not LLC
        return None
    way = frame[at + 2 : at + 14]
    at += 14
    if way[6] & 0x80:
        at += frame[at] & 0x1F
    return Inside(at, LLC, way=way)


def fddi(frame: bytes, at: int) -> Inside | None:
    """ISO 9314-2: frame control (0101xxxx is LLC), addresses."""
    return Inside(at + 13, LLC, way=frame[at + 1 : at + 13]) if frame[at] & 0xF0 == 0x50 else None


def rfc1483(frame: bytes, at: int) -> Inside | None:
    """RFC 2684 section 5 (LLC) or 6 (nothing: the circuit says what it carries)."""
    return Inside(at, LLC if frame[at] in (0xAA, 0xFE, 0x42) else RAW_IP)


def sun_atm(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_SUNATM: traffic type in the low nibble (2 = LLC), circuit (3)."""
    return Inside(at + 4, LLC, way=frame[at : at + 4]) if frame[at] & 15 == 2 else None


def ieee1394(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_APPLE_IP_OVER_IEEE1394: addresses (8 each), EtherType."""
    return Inside(at + 18, BY_ETHERTYPE, _be16(frame, at + 16), frame[at : at + 16])


def fibre_channel(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_IP_OVER_FC, RFC 2625 section 3: addresses (8 each), then LLC."""
    return Inside(at + 16, LLC, way=frame[at : at + 16])


def enc(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_ENC: family, SPI, flags, in the byte order of the machine; decrypted IPsec."""
    return Inside(at + 12, RAW_IP, way=frame[at : at + 12])


def netanalyzer(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_NETANALYZER: 4 bytes, an Ethernet frame."""
    return Inside(at + 4, ETHERNET)


def netanalyzer_transparent(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_NETANALYZER_TRANSPARENT: the same with preamble and start delimiter."""
    return Inside(at + 12, ETHERNET)


def infiniband(frame: bytes, at: int) -> Inside | None:
    """LINKTYPE_IPOIB: addresses (20 each), then RFC 4391 section 6: EtherType, reserved."""
    return Inside(at + 44, BY_ETHERTYPE, _be16(frame, at + 40), frame[at : at + 40])


def tagged(length: int) -> Reader:
    """Return a reader for Ethernet with a switch's tag of `length` bytes between source address and EtherType."""

    def dsa(frame: bytes, at: int) -> Inside | None:
        behind = at + 12 + length
        return Inside(behind + 2, BY_ETHERTYPE, _be16(frame, behind), frame[at : at + 12])

    return dsa


def behind_juniper(reader: Reader) -> Reader:
    """Return a reader for what Junos captures: "MGC", flags, extensions if bit 7 is set; with bit 1 no link header.

    As tcpdump's print-juniper.c reads it; the link types whose PIC adds a cookie are not among READERS.
    """

    def juniper(frame: bytes, at: int) -> Inside | None:
        if frame[at : at + 3] != b"MGC":
            return Inside(len(frame) + 1, RAW_IP)
        flags = frame[at + 3]
        inside = at + (6 + _be16(frame, at + 4) if flags & 0x80 else 4)
        return Inside(inside + 4, RAW_IP) if flags & 2 else reader(frame, inside)

    return juniper


def behind_direction(reader: Reader) -> Reader:
    """Return a reader for the link types that put one byte, sent or received, before the frame."""

    def directed(frame: bytes, at: int) -> Inside | None:
        inside = reader(frame, at + 1)
        return inside._replace(way=inside.way + frame[at : at + 1]) if inside else None

    return directed


def point_to_point(frame: bytes, at: int) -> Inside | None:
    """PPP, for use behind something else."""
    return Inside(at, PPP)


def ethernet(frame: bytes, at: int) -> Inside | None:
    """Ethernet, for use behind something else."""
    return Inside(at, ETHERNET)


READERS: Final[dict[int, Reader]] = {
    6: token_ring,
    10: fddi,
    100: rfc1483,
    104: cisco_hdlc,
    105: ieee80211,
    106: rfc1483,  # Linux classical IP over ATM
    107: frame_relay,
    109: enc,
    119: prism,
    122: fibre_channel,
    123: sun_atm,
    127: radiotap,
    138: ieee1394,
    149: pktap,  # DLT_USER2: what old macOS wrote for PKTAP
    163: prism,  # AVS
    178: behind_juniper(ethernet),
    179: behind_juniper(point_to_point),
    180: behind_juniper(frame_relay),
    181: behind_juniper(cisco_hdlc),
    192: ppi,
    204: behind_direction(point_to_point),
    205: behind_direction(cisco_hdlc),
    206: behind_direction(frame_relay),
    239: nflog,
    240: netanalyzer,
    241: netanalyzer_transparent,
    242: infiniband,
    258: pktap,
    281: tagged(4),  # Broadcom
    282: netanalyzer,  # Broadcom's tag before the frame: 4 bytes, too
    283: tagged(4),  # Marvell DSA
    284: tagged(8),  # Marvell EDSA: an EtherType and a reserved word before the tag
}
"""By LINKTYPE. Python for each packet: 2 to 3 microseconds instead of the kernel's 0.03."""
