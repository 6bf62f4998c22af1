"""Kernels of the pcapng format: blocks of packets at full speed, everything else left to Python.

Source  draft-ietf-opsawg-pcapng, section 3.1 (blocks), 4.3 (enhanced packet), 4.4 (simple packet), appendix A (the
        obsolete packet block).
"""

from __future__ import annotations

import numpy as np

from analyzer.capture.walk import (
    BLOCK,
    DAMAGED,
    FULL,
    MAX_HELD,
    MORE,
    NS,
    SKIP,
    TS_LIMIT,
    Int,
    Truth,
    put_packet,
    put_untimed,
    u16,
    u32,
)
from analyzer.kernel import U8, Records, helper, kernel

# Block types, section 10.1
SHB, IDB, PB, SPB, NRB, ISB, EPB, DSB = 0x0A0D0D0A, 1, 2, 3, 4, 5, 6, 10
LITTLE_MAGIC, SWAPPED_MAGIC = 0x1A2B3C4D, 0x4D3C2B1A

# A block that we only step over is held whole up to this, so that its trailing length can be checked before we trust
# its leading one; beyond, it is skipped as it streams by.
HOLD_FOR_CHECK = 1 << 20
MIN_BLOCK = 12

IFACE = np.dtype(
    [
        ("link", np.int64),  # LINKTYPE
        ("iface", np.int64),  # number over all files
        ("snaplen", np.int64),  # 0: no limit
        ("mul", np.int64),  # decimal ticks: nanoseconds per tick, or
        ("div", np.int64),  # ticks per nanosecond
        ("bits", np.int64),  # binary ticks: 2**bits of them are a second; -1: the ticks are decimal
        ("fast_hi", np.int64),  # upper halves below this cannot overflow ticks * mul
        ("offset_ns", np.int64),  # if_tsoffset
        ("first_use", np.int64),  # number of the first packet in the file, 0 = none yet
    ],
    align=True,
)
SECTION = np.dtype(
    [
        ("big", np.int64),
        ("ifaces", np.int64),
        ("ignored", np.int64),
        ("shift_ns", np.int64),  # added to all times of the file, 0 unless it begins before 1970
    ],
    align=True,
)
DAY_NS = 86_400 * NS

_FIVE_9 = 5**9  # 10**9 = 5**9 * 2**9: the two are applied apart, so that 64 bits are enough


@helper
def clamped(ns: Int) -> Int:
    """Keep a time within what int64 differences can carry."""
    return max(-TS_LIMIT, min(TS_LIMIT, ns))


@helper
def decimal_ns(hi: Int, lo: Int, mul: Int, div: Int) -> Int:
    """Turn a 64-bit count of decimal ticks into nanoseconds, rounding down, clamped.

    Ticks of a nanosecond or more with the top bit set would be after the year 2262: writers that subtract a boot time
    do store negative counts, and read so the distances between their packets stay right (see SECTION.shift_ns).
    """
    if hi >= 1 << 31 and div == 1:
        signed = ((hi - (1 << 32)) << 32) | lo
        return -TS_LIMIT if signed < -(TS_LIMIT // mul) else signed * mul
    ticks = (np.uint64(hi) << np.uint64(32)) | np.uint64(lo)
    if ticks > np.uint64(TS_LIMIT // mul) and div == 1:
        return TS_LIMIT
    return np.int64(ticks // np.uint64(div)) * mul


@helper
def binary_ns(hi: Int, lo: Int, bits: Int) -> Int:
    """Turn a 64-bit count of ticks of 2**-bits seconds into nanoseconds, rounding down, clamped.

    The fraction is multiplied by 5**9 and shifted right by bits - 9; for long fractions in two halves of 32 bits.
    Rounding down twice rounds down once, so the result is exact.
    """
    if bits <= 32:
        ticks = (np.uint64(hi) << np.uint64(32)) | np.uint64(lo)
        seconds = ticks >> np.uint64(bits)
        if seconds > np.uint64(TS_LIMIT // NS - 1):
            return TS_LIMIT
        fraction = np.int64(ticks & ((np.uint64(1) << np.uint64(bits)) - np.uint64(1)))
        return np.int64(seconds) * NS + ((fraction * NS) >> bits)
    whole = hi >> (bits - 32) if bits < 64 else 0
    upper = hi & ((1 << (bits - 32)) - 1) if bits < 64 else hi
    if bits <= 40:
        return whole * NS + ((((upper << 32) | lo) * _FIVE_9) >> (bits - 9))
    return whole * NS + ((upper * _FIVE_9 + ((lo * _FIVE_9) >> 32)) >> min(bits - 41, 63))


@helper
def ticks_to_ns(hi: Int, lo: Int, i: Records) -> Int:
    """Turn a packet's two 32-bit halves into UTC nanoseconds (section 4.3, Timestamp)."""
    if hi < i.fast_hi:
        return clamped(((hi << 32) | lo) * i.mul + i.offset_ns)
    if i.bits >= 0:
        return clamped(binary_ns(hi, lo, i.bits) + i.offset_ns)
    return clamped(decimal_ns(hi, lo, i.mul, i.div) + i.offset_ns)


@helper
def byte_order(data: U8, at: Int) -> Int:
    """Read the byte-order magic of the section header at `at`: 1 big, 0 little, -1 neither."""
    magic = u32(data, at + 8, 0)
    if magic == LITTLE_MAGIC:
        return 0
    return 1 if magic == SWAPPED_MAGIC else -1


@helper
def is_packet(kind: Int) -> Truth:
    return kind in (EPB, SPB, PB)


@helper
def drop_count(data: U8, at: Int, end: Int, big: Int) -> Int:
    """Find epb_dropcount (section 4.3, option 4) among the options of data[at:end]; -1 if it is not there."""
    while end - at >= 4:
        code, length = u16(data, at, big), u16(data, at + 2, big)
        at += 4
        if code == 0 or length > end - at:
            return -1
        if code == 4 and length == 8:
            hi, lo = (u32(data, at, 1), u32(data, at + 4, 1)) if big else (u32(data, at + 4, 0), u32(data, at, 0))
            return lo if hi == 0 else -1  # 2**32 lost packets between two are a lie
        at += (length + 3) & ~3
    return -1


@helper
def note_bad(w: Records, n: Int) -> None:
    if w.bad == 0:
        w.bad_first = n
    w.bad += 1


@helper
def note_drops(w: Records, drops: Int) -> None:
    if drops >= 0:
        w.drops_known = 1
        w.drops += drops


@helper
def take_packet(
    data: U8, at: Int, length: Int, kind: Int, w: Records, section: Records, ifaces: Records, out: Records, n: Int
) -> Int:
    """Read the whole packet block at `at`; return how many packets came of it, 0 or 1."""
    big = section.big
    body = at + (12 if kind == SPB else 28)
    room = length - (16 if kind == SPB else 32)
    if room < 0:
        note_bad(w, n)
        return 0
    number: Int = 0
    if kind == EPB:
        number = u32(data, at + 8, big)
    elif kind == PB:
        number = u16(data, at + 8, big)
    if number >= section.ifaces:
        if w.unknown_iface == 0:
            w.unknown_first = n
        w.unknown_iface += 1
        return 0
    i = ifaces[number]
    if kind == SPB:  # no time and no captured length of its own: section 4.4
        wirelen = u32(data, at + 8, big)
        caplen = wirelen if i.snaplen == 0 else min(wirelen, i.snaplen)
        caplen = min(caplen, room)
    else:
        caplen, wirelen = u32(data, at + 20, big), u32(data, at + 24, big)
        if caplen > room:
            note_bad(w, n)
            return 0
    if i.first_use == 0:
        i.first_use = w.packets + n + 1
    if kind == SPB:
        put_untimed(out, n, w, w.last_ts, body, caplen, wirelen, i.link, i.iface)
        return 1
    ts = ticks_to_ns(u32(data, at + 12, big), u32(data, at + 16, big), i)
    if ts < 0 and w.known == 0:
        section.shift_ns = DAY_NS - ts // DAY_NS * DAY_NS
    ts = min(ts, TS_LIMIT - section.shift_ns) + section.shift_ns
    if ts < 0:
        ts = 1
    put_packet(out, n, w, ts, body, caplen, wirelen, i.link, i.iface)
    if kind == PB:
        drops = u16(data, at + 10, big)
        note_drops(w, -1 if drops == 0xFFFF else drops)
    elif room - caplen >= 8:
        note_drops(w, drop_count(data, body + ((caplen + 3) & ~3), at + length - 4, big))
    return 1


@helper
def overruns(data: U8, at: Int, end: Int, length: Int, kind: Int, big: Int) -> Truth:
    """Tell whether a block that runs past the end of the file may be damaged rather than cut.

    Of a packet block the captured length then does not explain the block's; 4 kB of options are more than any writer
    adds. Of others nothing tells, so what follows is searched.
    """
    if not is_packet(kind):
        return True  # if no whole block comes after it, the file is cut there all the same
    if kind == SPB:
        return end - at >= 12 and length - 16 - u32(data, at + 8, big) > 3
    if end - at < 24:
        return False
    rest = length - 32 - u32(data, at + 20, big)
    return rest < 0 or rest > 4096


@kernel
def walk_pcapng(data: U8, state: Records, sections: Records, ifaces: Records, out: Records) -> None:
    """Write a PACKET for each packet block of data[at:end]; step over blocks that say nothing to us.

    state (1,) WALK    sections (1,) SECTION    ifaces (m,) IFACE    out (n,) PACKET, written from state.out on

    Stops with BLOCK at a whole block that Python reads (section, interface, statistics, secrets), with SKIP at one
    too long to hold, with DAMAGED where the two lengths of a block differ or cannot be.
    """
    w, section = state[0], sections[0]
    at, end, n = w.at, w.end, w.out
    w.stop = FULL
    while n < out.size:
        if end - at < MIN_BLOCK:
            w.stop, w.need = MORE, MIN_BLOCK
            break
        big = section.big
        kind = u32(data, at, big)
        if kind == SHB:
            big = byte_order(data, at)
        length = u32(data, at + 4, big)
        if big < 0 or length < MIN_BLOCK:
            w.stop, w.need = DAMAGED, 0
            break
        read = kind == SHB or (section.ignored == 0 and (kind in (IDB, ISB, DSB) or is_packet(kind)))
        if length > (MAX_HELD if read else HOLD_FOR_CHECK):
            # Packets, sections and interfaces are never that long; a list of secrets or an unknown block may be.
            sound = length % 4 == 0 and (kind == DSB or not read)
            w.stop, w.need = (SKIP, length) if sound else (DAMAGED, 0)
            break
        if length > end - at:
            w.stop, w.need = (DAMAGED if w.eof and overruns(data, at, end, length, kind, big) else MORE), length
            break
        if u32(data, at + length - 4, big) != length:
            w.stop, w.need = DAMAGED, 0
            break
        if read and not is_packet(kind):
            w.stop, w.need = BLOCK, length
            break
        if read:
            n += take_packet(data, at, length, kind, w, section, ifaces, out, n)
        at += length
    w.at, w.out = at, n


@kernel
def find_block(data: U8, state: Records, sections: Records) -> None:
    """Move state.at to the next known block whose two lengths agree; stop with MORE where the bytes do not decide.

    state (1,) WALK    sections (1,) SECTION. Each offset is judged once, by twelve bytes: the search is linear.
    """
    w, section = state[0], sections[0]
    at, end = w.at, w.end
    while True:
        if end - at < MIN_BLOCK:
            w.stop, w.need = MORE, MIN_BLOCK
            break
        big = section.big
        kind = u32(data, at, big)
        if kind == SHB:
            big = byte_order(data, at)
        if big >= 0 and (kind in (SHB, IDB, ISB, NRB, DSB) or is_packet(kind)):
            length = u32(data, at + 4, big)
            if MIN_BLOCK <= length <= HOLD_FOR_CHECK and length % 4 == 0:
                if length <= end - at:
                    if u32(data, at + length - 4, big) == length:
                        w.stop = FULL
                        break
                elif w.eof == 0:
                    w.stop, w.need = MORE, length
                    break
        at += 1
    w.at = at
