"""Headers below IP. Source: www.tcpdump.org/linktypes.html and the standard named at each reader."""

from __future__ import annotations

from typing import Final

import numpy as np

from analyzer.decode.walk import (
    BAD_LINK,
    DONE,
    ETHERNET,
    IN_MPLS,
    IN_OTHER,
    IN_PPPOE,
    IPV4,
    IPV6,
    LLC,
    MPLS,
    NSH,
    NULL,
    PPP,
    PPPOE,
    RAW_IP,
    REBASE,
    SLL,
    SLL2,
    TAG,
    UNASSEMBLED,
    VLAN,
    enter,
    note,
)
from analyzer.decode.wire import be16, be32, be48, u8
from analyzer.kernel import U8, Records, helper

FIRST_HEADER: Final = {
    0: NULL,  # BSD loopback
    108: NULL,  # OpenBSD loopback: the same in network byte order
    1: ETHERNET,
    9: PPP,
    50: PPP,  # PPP in HDLC-like framing
    51: PPPOE,
    12: RAW_IP,  # DLT_RAW, as some writers put it in the file
    14: RAW_IP,
    101: RAW_IP,
    113: SLL,
    228: IPV4,
    229: IPV6,
    276: SLL2,
}
"""The first header's kind by LINKTYPE; rebase.py knows more."""

_FIRST = np.full(300, REBASE, np.int64)
for _link, _kind in FIRST_HEADER.items():
    _FIRST[_link] = _kind


@helper
def first_header(link: int) -> int:
    """Return the kind of a frame's first header, REBASE for those left to Python."""
    return _FIRST[link] if 0 <= link < 300 else REBASE


@helper
def mix(s: Records, value: int) -> None:
    """Stir a number below 2**49 into the fingerprint of the link layer, unless an IP header was already seen."""
    if s.ip_version == 0:
        s.l2 = s.l2 >> 3 ^ value * 0x3D4D


@helper
def ethernet(w: Records, s: Records, data: U8) -> int:
    """IEEE 802.3 section 3.2: destination, source, then a type (1536 and up) or a length before an LLC header."""
    at = w.at
    if w.end - at < 14:
        return note(w, BAD_LINK)
    mix(s, be48(data, at))
    mix(s, be48(data, at + 6))
    w.at = at + 14
    kind = be16(data, at + 12)
    if kind >= 0x600:
        return by_ethertype(kind, w, s)
    w.wire = min(w.wire, w.at + kind)  # what follows is padding to the 64 byte minimum
    w.end = min(w.end, w.wire)
    return LLC


@helper
def by_ethertype(ethertype: int, w: Records, s: Records) -> int:
    """Return the header that an EtherType announces, DONE if TCP cannot be inside."""
    if ethertype == 0x0800:
        return IPV4
    if ethertype == 0x86DD:
        return IPV6
    if ethertype in (0x8100, 0x88A8, 0x9100, 0x9200):
        return VLAN
    if ethertype in (0x8847, 0x8848):
        return enter(w, s, IN_MPLS, MPLS)
    if ethertype == 0x8870:  # draft-ietf-isis-ext-eth-01: LLC in a frame too long for its length field
        return LLC
    if ethertype == 0x8864:
        return enter(w, s, IN_PPPOE, PPPOE)
    if ethertype == 0x880B:
        return PPP
    if ethertype == 0x6558:  # transparent Ethernet bridging, inside GRE and Geneve
        return ETHERNET
    if ethertype == 0x894F:
        return enter(w, s, IN_OTHER, NSH)
    if ethertype in (0x88E7, 0x8903, 0x8926, 0x893F):
        w.proto = ethertype
        return TAG
    return DONE


@helper
def vlan(w: Records, s: Records, data: U8) -> int:
    """IEEE 802.1Q section 9: priority and VLAN number, then the next EtherType. The two outermost tags are kept."""
    at = w.at
    if w.end - at < 4:
        return note(w, BAD_LINK)
    vid = be16(data, at) & 0xFFF
    if s.vlan < 0:
        s.vlan = vid
    elif s.vlan_inner < 0:
        s.vlan_inner = vid
    mix(s, vid + 1)
    w.at = at + 4
    kind = be16(data, at + 2)
    return by_ethertype(kind, w, s) if kind >= 0x600 else LLC


@helper
def tag(w: Records, s: Records, data: U8) -> int:
    """Step over a tag that says nothing to us; `proto` tells which.

    IEEE 802.1ah I-TAG (4 bytes) and Cisco FabricPath (2) are followed by a whole Ethernet frame; Cisco VN-tag (4)
    and IEEE 802.1BR E-TAG (6) by an EtherType.
    """
    at = w.at
    if w.end - at < 8:
        return note(w, BAD_LINK)
    if w.proto == 0x88E7 or w.proto == 0x8903:
        w.at = at + (4 if w.proto == 0x88E7 else 2)
        return enter(w, s, IN_OTHER, ETHERNET)
    at += 4 if w.proto == 0x8926 else 6
    w.at = at + 2
    return by_ethertype(be16(data, at), w, s)


@helper
def llc(w: Records, s: Records, data: U8) -> int:
    """IEEE 802.2 section 3, and the SNAP of RFC 1042: unnumbered information (control 3) only."""
    at = w.at
    if w.end - at < 3:
        return note(w, BAD_LINK)
    if u8(data, at + 2) & 0xEF != 0x03:
        return DONE
    service = be16(data, at)
    if service == 0x0606:
        w.at = at + 3
        return IPV4
    if service != 0xAAAA:
        return DONE
    if w.end - at < 8:
        return note(w, BAD_LINK)
    organisation = be16(data, at + 3) << 8 | u8(data, at + 5)
    kind = be16(data, at + 6)
    w.at = at + 8
    if organisation in (0x000000, 0x0000F8):  # RFC 1042; 802.1H bridge tunnel
        return by_ethertype(kind, w, s)
    if organisation == 0x0080C2 and kind in (1, 7):  # RFC 2684 section 5.2: bridged Ethernet, with and without FCS
        w.at = at + 10
        return ETHERNET
    return DONE


@helper
def sll(w: Records, s: Records, data: U8) -> int:
    """LINKTYPE_LINUX_SLL: packet type, ARPHRD type, address length, address (8), protocol."""
    at = w.at
    if w.end - at < 16:
        return note(w, BAD_LINK)
    mix(s, be16(data, at))
    mix(s, be48(data, at + 6))
    w.at = at + 16
    return _sll_protocol(be16(data, at + 14), w, s)


@helper
def sll2(w: Records, s: Records, data: U8) -> int:
    """LINKTYPE_LINUX_SLL2: protocol, reserved, interface index (4), ARPHRD type, packet type, length, address (8)."""
    at = w.at
    if w.end - at < 20:
        return note(w, BAD_LINK)
    mix(s, be32(data, at + 4))
    mix(s, u8(data, at + 10))
    mix(s, be48(data, at + 12))
    w.at = at + 20
    return _sll_protocol(be16(data, at), w, s)


@helper
def _sll_protocol(protocol: int, w: Records, s: Records) -> int:
    return LLC if protocol == 4 else by_ethertype(protocol, w, s)  # 4: ETH_P_802_2


@helper
def null(w: Records, s: Records, data: U8) -> int:
    """LINKTYPE_NULL and LINKTYPE_LOOP: the address family, in the byte order of the machine that captured."""
    at = w.at
    if w.end - at < 4:
        return note(w, BAD_LINK)
    family = be32(data, at)
    if family & 0xFFFF == 0:  # families are small: this one is little-endian
        family = u8(data, at + 1) << 8 | u8(data, at)
    w.at = at + 4
    if family == 2:
        return IPV4
    if family in (24, 28, 30, 10):  # AF_INET6 of NetBSD and OpenBSD, FreeBSD, macOS, Linux
        return IPV6
    return DONE


@helper
def ppp(w: Records, s: Records, data: U8) -> int:
    """RFC 1661 section 2, RFC 1662 section 3.1: address and control may be left out, the protocol be one byte."""
    at = w.at
    if w.end - at < 4:
        return note(w, BAD_LINK)
    if be16(data, at) in (0x0F00, 0x8F00):  # RFC 1547 section 4.3.1, Cisco HDLC: an EtherType follows
        w.at = at + 4
        return by_ethertype(be16(data, at + 2), w, s)
    if be16(data, at) == 0xFF03:
        at += 2
    protocol = u8(data, at)
    if protocol & 1:  # RFC 1661 section 6.5
        w.at = at + 1
    else:
        protocol = be16(data, at)
        w.at = at + 2
    if protocol == 0x0021:
        return IPV4
    if protocol == 0x0057:
        return IPV6
    if protocol in (0x0281, 0x0283):
        return enter(w, s, IN_MPLS, MPLS)
    if protocol == 0x003D:  # RFC 1990 section 3: begin, end, a sequence number
        w.at += 4
        whole = w.at < w.end and u8(data, w.at - 4) & 0xC0 == 0xC0
        return PPP if whole else note(w, UNASSEMBLED)
    return DONE


@helper
def pppoe(w: Records, s: Records, data: U8) -> int:
    """RFC 2516 section 4: version and type, code (0 = session data), session, length."""
    at = w.at
    if w.end - at < 6:
        return note(w, BAD_LINK)
    if u8(data, at) != 0x11:
        return note(w, BAD_LINK)
    if u8(data, at + 1) != 0:
        return DONE
    w.at = at + 6
    w.wire = min(w.wire, w.at + be16(data, at + 4))
    w.end = min(w.end, w.wire)
    return PPP


@helper
def mpls(w: Records, s: Records, data: U8) -> int:
    """RFC 3032 section 2.1: labels up to the bottom of the stack. What follows is not told, so it is guessed."""
    at = w.at
    while w.end - at >= 4:
        at += 4
        if u8(data, at - 2) & 1:
            w.at = at
            return _after_labels(w, s, data)
    return note(w, BAD_LINK)


@helper
def _after_labels(w: Records, s: Records, data: U8) -> int:
    """RFC 4928 section 3: IP shows its version in the first nibble. Else Ethernet over MPLS, RFC 4448 section 4.6.

    The control word is optional; an EtherType we know at the right place tells whether it is there.
    """
    at = w.at
    if w.end - at < 1:
        return note(w, BAD_LINK)
    nibble = u8(data, at) >> 4
    if nibble == 4:
        return IPV4
    if nibble == 6:
        return IPV6
    if w.end - at < 18:
        return DONE
    if nibble == 0 and be16(data, at + 16) in (0x0800, 0x86DD, 0x8100, 0x88A8, 0x8847):
        w.at = at + 4
    return ETHERNET


@helper
def raw_ip(w: Records, s: Records, data: U8) -> int:
    """LINKTYPE_RAW: IP at once, the version in its first nibble."""
    if w.end - w.at < 1:
        return note(w, BAD_LINK)
    nibble = u8(data, w.at) >> 4
    if nibble == 4:
        return IPV4
    if nibble == 6:
        return IPV6
    return note(w, BAD_LINK)
