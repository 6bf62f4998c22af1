"""The end of the walk: a TCP segment, or one quoted by an ICMP error."""

from __future__ import annotations

from analyzer.decode.segment import ICMP_QUOTE
from analyzer.decode.segment import TCP as TCP_SEGMENT
from analyzer.decode.walk import BAD_OPTION, BAD_TCP, DONE, IPV4, IPV6, note
from analyzer.decode.wire import be16, be32, u8
from analyzer.kernel import U8, Records, helper


@helper
def tcp(w: Records, s: Records, data: U8) -> int:
    """RFC 9293 section 3.1. The 20 bytes that every header has must be captured; of the options, what is there."""
    at = w.at
    if w.quote != 0:
        return quoted(w, s, data)
    if w.end - at < 20:
        return note(w, BAD_TCP)
    offset_and_flags = be16(data, at + 12)
    payload = at + (offset_and_flags >> 12) * 4
    if payload < at + 20 or payload > w.wire:
        return note(w, BAD_TCP)
    s.sport = be16(data, at)
    s.dport = be16(data, at + 2)
    s.seq = be32(data, at + 4)
    s.ack = be32(data, at + 8)
    s.flags = offset_and_flags & 0x1FF
    s.window = be16(data, at + 14)
    s.payload_off = min(payload, w.end)
    s.payload_len = w.wire - payload
    s.payload_cap = max(0, w.end - payload)
    no_options(s)
    if payload - at == 32 and w.end >= payload and be32(data, at + 20) == 0x0101080A:
        s.tsval = be32(data, at + 24)  # RFC 7323 appendix A: what nearly every data segment looks like
        s.tsecr = be32(data, at + 28)
    elif payload > at + 20:
        options(w, s, data, at + 20, payload)
    s.kind = TCP_SEGMENT
    return DONE


@helper
def no_options(s: Records) -> None:
    """Set the fields that options would fill."""
    s.tsval = -1
    s.tsecr = -1
    s.sack_left = -1
    s.sack_right = -1
    s.mss = -1
    s.wscale = -1
    s.sack_ok = 0


@helper
def options(w: Records, s: Records, data: U8, at: int, payload: int) -> None:
    """RFC 9293 section 3.2: each option has kind and length, but for End (0) and No-Operation (1)."""
    end = min(payload, w.end)
    while at < end:
        kind = u8(data, at)
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        length = u8(data, at + 1) if at + 1 < end else 0
        if length < 2 or at + length > end or not _option(s, data, at, kind, length):
            if payload <= w.end:  # else the capture cut it, not the sender
                note(w, BAD_OPTION)
            return
        at += length


@helper
def _option(s: Records, data: U8, at: int, kind: int, length: int) -> bool:
    """Read one option; False if its length is not what its kind asks for."""
    if kind == 8:  # RFC 7323 section 3.2
        if length != 10:
            return False
        s.tsval = be32(data, at + 2)
        s.tsecr = be32(data, at + 6)
    elif kind == 2:  # RFC 9293 section 3.7.1
        if length != 4:
            return False
        s.mss = be16(data, at + 2)
    elif kind == 3:  # RFC 7323 section 2.2
        if length != 3:
            return False
        s.wscale = u8(data, at + 2)
    elif kind == 4:  # RFC 2018 section 2
        s.sack_ok = 1
        return length == 2
    elif kind == 5:  # RFC 2018 section 3
        if length < 10 or length & 7 != 2:
            return False
        s.sack_left = be32(data, at + 2)
        s.sack_right = be32(data, at + 6)
    return True


@helper
def icmp(w: Records, s: Records, data: U8) -> int:
    """RFC 792: unreachable, source quench, time exceeded and parameter problem quote the packet after 8 bytes."""
    at = w.at
    if w.quote != 0 or w.end - at < 28 or u8(data, at) not in (3, 4, 11, 12):
        return DONE
    w.quote = be16(data, at)
    w.at = at + 8
    return IPV4


@helper
def icmpv6(w: Records, s: Records, data: U8) -> int:
    """RFC 4443 section 3: error types 1 to 4 quote the packet after 8 bytes."""
    at = w.at
    if w.quote != 0 or w.end - at < 48 or u8(data, at) not in (1, 2, 3, 4):
        return DONE
    w.quote = be16(data, at)
    w.at = at + 8
    return IPV6


@helper
def quoted(w: Records, s: Records, data: U8) -> int:
    """The first 8 bytes are promised (RFC 792): ports and sequence number. RFC 1812 section 4.3.2.3 asks for more."""
    at = w.at
    room = w.end - at
    if room < 8:
        return note(w, BAD_TCP)
    no_options(s)
    s.sport = be16(data, at)
    s.dport = be16(data, at + 2)
    s.seq = be32(data, at + 4)
    s.ack = be32(data, at + 8) if room >= 12 else -1
    s.flags = be16(data, at + 12) & 0x1FF if room >= 14 else 0
    s.window = w.quote
    s.payload_off = w.end
    s.payload_len = 0
    s.payload_cap = 0
    s.kind = ICMP_QUOTE
    return DONE
