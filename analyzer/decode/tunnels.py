"""Tunnels on IP and on UDP: step over the tunnel's header, name what is inside."""

from __future__ import annotations

from analyzer.decode.link import by_ethertype
from analyzer.decode.walk import (
    BAD_LINK,
    DONE,
    ERSPAN2,
    ERSPAN3,
    ETHERNET,
    GENEVE,
    GTP,
    IN_ERSPAN,
    IN_GENEVE,
    IN_GRE,
    IN_GTP,
    IN_L2TP,
    IN_TEREDO,
    IN_VXLAN,
    IPV6,
    L2TP,
    PPP,
    RAW_IP,
    TEREDO,
    VXLAN,
    VXLAN_GPE,
    enter,
    note,
)
from analyzer.decode.wire import be16, u8
from analyzer.kernel import U8, Records, helper


@helper
def udp(w: Records, s: Records, data: U8) -> int:
    """RFC 768, and the tunnels known by their UDP port. The length is not looked at: the inner headers have theirs."""
    at = w.at
    if w.end - at < 8:
        return DONE  # UDP is not ours to complain about
    w.at = at + 8
    kind = _by_port(be16(data, at + 2))
    if kind == DONE:
        kind = _by_port(be16(data, at))
    return TEREDO if kind == DONE and _is_teredo(w, data, be16(data, at + 4) - 8) else kind


@helper
def _is_teredo(w: Records, data: U8, length: int) -> bool:
    """RFC 4380 section 5.4: clients and relays use any port. IPv6 fills the datagram, and one end is Teredo's."""
    at = w.at
    if length < 40 or w.end - at < 40 or u8(data, at) >> 4 != 6 or be16(data, at + 4) != length - 40:
        return False
    from_teredo = be16(data, at + 8) == 0x2001 and be16(data, at + 10) == 0  # 2001::/32, section 2.6
    return from_teredo or (be16(data, at + 24) == 0x2001 and be16(data, at + 26) == 0)


@helper
def _by_port(port: int) -> int:
    if port in (4789, 8472):  # RFC 7348 section 5; 8472 is the Linux kernel's from before the assignment
        return VXLAN
    if port == 4790:
        return VXLAN_GPE
    if port == 6081:  # RFC 8926 section 3.3
        return GENEVE
    if port == 2152:
        return GTP
    if port == 3544:  # RFC 4380 section 2.7
        return TEREDO
    if port == 1701:
        return L2TP
    return DONE


@helper
def gre(w: Records, s: Records, data: U8) -> int:
    """RFC 2784 section 2.1, RFC 2890 section 2, routing of RFC 1701, and version 1 (RFC 2637 section 4.1)."""
    at = w.at
    if w.end - at < 4:
        return note(w, BAD_LINK)
    bits = be16(data, at)
    kind = be16(data, at + 2)
    version = bits & 7
    at += 4
    if bits & 0xC000:  # checksum and offset are there if either the checksum or the routing bit is set
        at += 4
    if bits & 0x2000:  # key; in version 1 payload length and call number
        at += 4
    if bits & 0x1000:  # sequence number
        at += 4
    if version == 1 and bits & 0x0080:  # acknowledgment number
        at += 4
    if bits & 0x4000 and version == 0:
        at = _routing_end(w, data, at)
    if at < 0 or at > w.end or version > 1:
        return note(w, BAD_LINK)
    w.at = at
    if version == 1:
        return enter(w, s, IN_GRE, PPP) if kind == 0x880B and at < w.end else DONE
    if kind == 0x88BE:  # ERSPAN type I has no header of its own, type II comes with a sequence number
        return enter(w, s, IN_ERSPAN, ERSPAN2 if bits & 0x1000 else ETHERNET)
    if kind == 0x22EB:
        return enter(w, s, IN_ERSPAN, ERSPAN3)
    return _inside_gre(w, s, data, kind)


@helper
def _inside_gre(w: Records, s: Records, data: U8, kind: int) -> int:
    if kind == 0x883E:  # WCCP: version 2 puts 4 bytes before the IP header
        if w.end - w.at < 5:
            return DONE
        if u8(data, w.at) >> 4 != 4:
            w.at += 4
        kind = 0x0800
    return _around_ethertype(w, s, IN_GRE, kind)


@helper
def _around_ethertype(w: Records, s: Records, digit: int, ethertype: int) -> int:
    """Enter a tunnel whose content is named by an EtherType (it may be a tunnel, too: hence in this order)."""
    return by_ethertype(ethertype, w, s) if enter(w, s, digit, ETHERNET) != DONE else DONE


@helper
def _routing_end(w: Records, data: U8, at: int) -> int:
    """Step over source route entries (family, offset, length, routing) to the all-zero last; -1 if that is missing."""
    while w.end - at >= 4:
        length = u8(data, at + 3)
        last = be16(data, at) == 0 and length == 0
        at += 4 + length
        if last:
            return at
    return -1


@helper
def erspan2(w: Records, s: Records, data: U8) -> int:
    """draft-foschiano-erspan-03 section 4.2: 8 bytes, then the mirrored Ethernet frame."""
    w.at += 8
    return ETHERNET if w.at <= w.end else note(w, BAD_LINK)


@helper
def erspan3(w: Records, s: Records, data: U8) -> int:
    """draft-foschiano-erspan-03 section 4.3: 12 bytes, 8 more if the O bit is set; frame type 0 Ethernet, 2 IP."""
    at = w.at
    if w.end - at < 12:
        return note(w, BAD_LINK)
    bits = be16(data, at + 10)
    w.at = at + 12 + (bits & 1) * 8
    if w.at > w.end:
        return note(w, BAD_LINK)
    frame_type = bits >> 10 & 0x1F
    if frame_type == 0:
        return ETHERNET
    return RAW_IP if frame_type == 2 else DONE


@helper
def vxlan(w: Records, s: Records, data: U8) -> int:
    """RFC 7348 section 5: the I flag must be set; anything else on this port is not VXLAN."""
    at = w.at
    if w.end - at < 8 or u8(data, at) & 0x08 == 0:
        return DONE
    w.at = at + 8
    return enter(w, s, IN_VXLAN, ETHERNET)


@helper
def vxlan_gpe(w: Records, s: Records, data: U8) -> int:
    """draft-ietf-nvo3-vxlan-gpe-12 section 3: the P flag says that the fourth byte names the payload."""
    at = w.at
    if w.end - at < 8 or u8(data, at) & 0x08 == 0:
        return DONE
    w.at = at + 8
    number = u8(data, at + 3) if u8(data, at) & 0x04 else 3
    return _around_ethertype(w, s, IN_VXLAN, _next_protocol(number))


@helper
def nsh(w: Records, s: Records, data: U8) -> int:
    """RFC 8300 section 2.2: length in 4 bytes, then (fourth byte) what is inside."""
    at = w.at
    if w.end - at < 8:
        return note(w, BAD_LINK)
    length = (be16(data, at) & 0x3F) * 4
    w.at = at + length
    if length < 8 or w.at > w.end:
        return note(w, BAD_LINK)
    return by_ethertype(_next_protocol(u8(data, at + 3)), w, s)


@helper
def _next_protocol(number: int) -> int:
    """RFC 8300 section 9.1.2.4, shared by VXLAN-GPE: return the EtherType for a next protocol number, 0 = none."""
    if number == 1:
        return 0x0800
    if number == 2:
        return 0x86DD
    if number == 3:
        return 0x6558
    if number == 4:
        return 0x894F
    return 0x8847 if number == 5 else 0


@helper
def geneve(w: Records, s: Records, data: U8) -> int:
    """RFC 8926 section 3.4: version 0, options in 4 bytes, an EtherType."""
    at = w.at
    if w.end - at < 8 or u8(data, at) >> 6 != 0:
        return DONE
    w.at = at + 8 + (u8(data, at) & 0x3F) * 4
    if w.at > w.end:
        return note(w, BAD_LINK)
    return _around_ethertype(w, s, IN_GENEVE, be16(data, at + 2))


@helper
def gtp(w: Records, s: Records, data: U8) -> int:
    """3GPP TS 29.281 section 5.1: version 1, protocol type 1; only a T-PDU (255) carries a packet."""
    at = w.at
    if w.end - at < 8 or u8(data, at) & 0xF0 != 0x30 or u8(data, at + 1) != 255:
        return DONE
    bits = u8(data, at) & 0x07
    at += 8
    if bits:  # sequence number (2), N-PDU number, next extension: all four if any flag is set
        if w.end - at < 4:
            return note(w, BAD_LINK)
        more = u8(data, at + 3) if bits & 0x04 else 0
        at += 4
        while more != 0:  # section 5.2.1: length in 4 bytes, content, next extension
            if w.end - at < 4:
                return note(w, BAD_LINK)
            length = u8(data, at) * 4
            if length == 0 or w.end - at < length:
                return note(w, BAD_LINK)
            at += length
            more = u8(data, at - 1)
    w.at = at
    nibble = u8(data, at) >> 4 if at < w.end else 0
    return enter(w, s, IN_GTP, RAW_IP) if nibble in (4, 6) else DONE


@helper
def teredo(w: Records, s: Records, data: U8) -> int:
    """RFC 4380 section 5.1.1: an authentication header (type 1), an origin indication (type 0), then IPv6."""
    at = w.at
    if w.end - at >= 13 and be16(data, at) == 1:
        at += 13 + u8(data, at + 2) + u8(data, at + 3)
    if w.end - at >= 8 and be16(data, at) == 0:
        at += 8
    if w.end - at < 40 or u8(data, at) >> 4 != 6:  # a bubble, or another use of the port
        return DONE
    w.at = at
    return enter(w, s, IN_TEREDO, IPV6)


@helper
def l2tp(w: Records, s: Records, data: U8) -> int:
    """RFC 2661 section 3.1: version 2 data messages; optional length, sequence numbers, offset; then PPP."""
    at = w.at
    if w.end - at < 6:
        return DONE
    bits = be16(data, at)
    if bits & 0x800F != 2:  # a control message, or another version
        return DONE
    at += 6
    if bits & 0x4000:
        at += 2
    if bits & 0x0800:
        at += 4
    if bits & 0x0200:
        if w.end - at < 2:
            return note(w, BAD_LINK)
        at += 2 + be16(data, at)
    if at >= w.end:
        return DONE
    w.at = at
    return enter(w, s, IN_L2TP, PPP)


@helper
def etherip(w: Records, s: Records, data: U8) -> int:
    """RFC 3378 section 2: version 3 and 12 reserved bits."""
    w.at += 2
    return ETHERNET if w.at <= w.end else note(w, BAD_LINK)
