"""IP, and what stands between an IP header and its TCP segment."""

from __future__ import annotations

from analyzer.decode.walk import (
    AH,
    BAD_IP,
    DONE,
    ETHERIP,
    EXTENSION,
    FRAGMENT,
    GRE,
    ICMP,
    ICMPV6,
    IN_AH,
    IN_IPIP,
    IN_MPLS,
    IN_OTHER,
    IPV4,
    IPV6,
    MPLS,
    REASSEMBLE,
    ROUTING,
    TCP,
    UDP,
    enter,
    note,
)
from analyzer.decode.wire import be16, be32, be64, u8
from analyzer.kernel import U8, Records, helper

MAPPED = 0xFFFF << 32
"""RFC 4291 section 2.5.5.2: an IPv4 address as the last 32 bits of ::ffff:0:0/96."""


@helper
def ipv4(w: Records, s: Records, data: U8) -> int:
    """RFC 791 section 3.1. The checksum is not verified: with offload the card fills it in after the capture."""
    at = w.at
    if w.end - at < 20:
        return note(w, BAD_IP)
    first = u8(data, at)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or at + header > w.end:
        return note(w, BAD_IP)
    total = be16(data, at + 2)
    if total == 0:  # TCP segmentation offload of more than 64 kB: the card will write the lengths
        total = w.wire - at
    if total < header:
        return note(w, BAD_IP)
    if at + total > w.wire and w.quote == 0:  # read on, as far as the frame goes
        note(w, BAD_IP)
    w.wire = min(w.wire, at + total)
    w.end = min(w.end, w.wire)
    w.ip = at
    w.at = at + header

    s.ip_version = 4
    s.src_hi = 0
    s.src_lo = MAPPED | be32(data, at + 12)
    s.dst_hi = 0
    s.dst_lo = MAPPED | be32(data, at + 16)
    s.ip_id = be16(data, at + 4)
    if w.quote == 0:
        s.ttl = u8(data, at + 8)
        s.dscp = u8(data, at + 1) >> 2

    position = be16(data, at + 6)
    protocol = u8(data, at + 9)
    if position & 0x3FFF == 0:  # neither more fragments nor an offset
        return TCP if protocol == 6 else by_protocol(protocol, w, s)
    if w.quote == 0:
        return REASSEMBLE
    return DONE if position & 0x1FFF else by_protocol(protocol, w, s)


@helper
def ipv6(w: Records, s: Records, data: U8) -> int:
    """RFC 8200 section 3. A payload length of 0 is a jumbogram (RFC 2675) or offload: then the frame's end counts."""
    at = w.at
    if w.end - at < 40:
        return note(w, BAD_IP)
    first = be16(data, at)
    if first >> 12 != 6:
        return note(w, BAD_IP)
    length = be16(data, at + 4)
    if length > 0:
        if at + 40 + length > w.wire and w.quote == 0:
            note(w, BAD_IP)
        w.wire = min(w.wire, at + 40 + length)
        w.end = min(w.end, w.wire)
    w.ip = at
    w.at = at + 40

    s.ip_version = 6
    s.src_hi = be64(data, at + 8)
    s.src_lo = be64(data, at + 16)
    s.dst_hi = be64(data, at + 24)
    s.dst_lo = be64(data, at + 32)
    s.ip_id = -1
    if w.quote == 0:
        s.ttl = u8(data, at + 7)
        s.dscp = first >> 6 & 0x3F
    return by_protocol(u8(data, at + 6), w, s)


@helper
def by_protocol(protocol: int, w: Records, s: Records) -> int:
    """Return the header that an IP protocol number announces, DONE if TCP cannot be inside (or is encrypted)."""
    if protocol == 6:
        return TCP
    if protocol == 17:
        return UDP
    if protocol == 1:
        return ICMP
    if protocol == 58:
        return ICMPV6
    if protocol == 47:
        return GRE
    if protocol in (4, 94):  # RFC 2003; the older IPIP
        return enter(w, s, IN_IPIP, IPV4)
    if protocol == 41:  # RFC 2473, RFC 4213
        return enter(w, s, IN_IPIP, IPV6)
    if protocol == 51:
        return enter(w, s, IN_AH, AH)
    if s.ip_version == 6:  # RFC 7045 section 3, without ESP and the experimental ones
        if protocol == 44:
            return FRAGMENT
        if protocol == 43:
            return ROUTING
        if protocol in (0, 60, 135, 139, 140):
            return EXTENSION
    if protocol == 137:  # RFC 4023
        return enter(w, s, IN_MPLS, MPLS)
    if protocol == 97:
        return enter(w, s, IN_OTHER, ETHERIP)
    return DONE


@helper
def extension(w: Records, s: Records, data: U8) -> int:
    """RFC 8200 sections 4.3, 4.6 and RFC 6564: next header, then length in 8 bytes without the first 8."""
    at = w.at
    if w.end - at < 8:
        return note(w, BAD_IP)
    w.at = at + 8 + u8(data, at + 1) * 8
    if w.at > w.end:
        return note(w, BAD_IP)
    return by_protocol(u8(data, at), w, s)


@helper
def routing(w: Records, s: Records, data: U8) -> int:
    """RFC 8200 section 4.4. The connection is with the final destination (section 8.1), wherever the packet is.

    Type 4 (RFC 8754) lists it first, type 0 (RFC 5095) last. Type 2 (RFC 6275) goes one way only: the other way names a
    mobile node's home in an option, so both are taken for what the IPv6 header says.
    """
    at = w.at
    following = extension(w, s, data)
    if w.at <= w.end and w.at - at >= 24 and u8(data, at + 3) > 0 and u8(data, at + 2) in (0, 4):
        final = at + 8 if u8(data, at + 2) == 4 else w.at - 16
        s.dst_hi, s.dst_lo = be64(data, final), be64(data, final + 8)
    return following


@helper
def fragment(w: Records, s: Records, data: U8) -> int:
    """RFC 8200 section 4.5; an "atomic" fragment (RFC 6946: offset 0, no more to come) is a whole packet."""
    at = w.at
    if w.end - at < 8:
        return note(w, BAD_IP)
    w.at = at + 8
    s.ip_id = be32(data, at + 4) & 0x7FFFFFFF
    position = be16(data, at + 2)
    if position & 0xFFF9 == 0 or (w.quote != 0 and position >> 3 == 0):
        return by_protocol(u8(data, at), w, s)
    return DONE if w.quote != 0 else REASSEMBLE


@helper
def authentication(w: Records, s: Records, data: U8) -> int:
    """RFC 4302 section 2: next header, length in 4 bytes without the first two. The payload is not encrypted."""
    at = w.at
    if w.end - at < 12:
        return note(w, BAD_IP)
    w.at = at + 8 + u8(data, at + 1) * 4
    if w.at > w.end or w.at < at + 12:
        return note(w, BAD_IP)
    return by_protocol(u8(data, at), w, s)
