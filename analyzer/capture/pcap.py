"""The pcap file format: a file header, then records of a header and a packet.

Source  www.tcpdump.org/manpages/pcap-savefile.5.html; Wireshark's wiretap/libpcap.c and libpcap's sf-pcap.c for the
        dialects that no specification lists.
Sees    both byte orders, micro- and nanoseconds, Kuznetzov's modified records (three sizes), IXIA's file header,
        records of before version 2.4 with their two lengths swapped, AIX's link types.
Limits  Kuznetzov's extra fields (interface index, protocol, packet type) are stepped over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analyzer.capture import linktypes
from analyzer.capture.source import PCAP_MAGICS, Source
from analyzer.capture.walk import (
    DAMAGED,
    FULL,
    MAX_CAPLEN,
    MAX_HELD,
    MORE,
    NS,
    Int,
    RecordReader,
    Truth,
    put_packet,
    u32,
)
from analyzer.errors import AnalyzerError
from analyzer.kernel import U8, Records, helper, kernel, records

FORM = np.dtype(
    [
        ("big", np.int64),  # 1: most significant byte first
        ("header_len", np.int64),  # bytes of a record header
        ("tick_ns", np.int64),  # 1000 or 1
        ("lengths", np.int64),  # IN_ORDER, SWAPPED or MAYBE_SWAPPED
        ("snaplen", np.int64),  # 0: the file does not say
        ("max_caplen", np.int64),
        ("link", np.int64),
        ("iface", np.int64),
        ("anchor_ts", np.int64),  # a time that is surely about right: where to look after damage
    ],
    align=True,
)
IN_ORDER, SWAPPED, MAYBE_SWAPPED = 0, 1, 2

# A length on the wire beyond this is a guess of Wireshark's for "corrupt": the largest D-Bus message.
MAX_WIRELEN = 128 << 20
# After damage a candidate's time lies from a day before the last good packet (clock steps, time zones set late) to 30
# days after it (the longest silence a capture may have): 31 of the 49,710 days that 32 bits of seconds can say.
RESYNC_BEFORE_NS = 86_400 * NS
RESYNC_AFTER_NS = 30 * 86_400 * NS

_MICRO, _NANO, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_IXIA = (0x1C0001AC, 0x1C0001AB)


@helper
def lengths(data: U8, at: Int, f: Records) -> tuple[Int, Int]:
    """Read captured length and length on the wire of the record header at `at`, swapped where the writer swapped."""
    caplen, wirelen = u32(data, at + 8, f.big), u32(data, at + 12, f.big)
    if f.lengths == SWAPPED or (f.lengths == MAYBE_SWAPPED and caplen > wirelen):
        return wirelen, caplen
    return caplen, wirelen


@helper
def is_near(ts: Int, anchor: Int) -> Truth:
    """Tell whether a packet at `ts` may follow one at `anchor`."""
    return anchor - RESYNC_BEFORE_NS <= ts <= anchor + RESYNC_AFTER_NS


@helper
def ts_of(data: U8, at: Int, f: Records) -> Int:
    """Read the time of the record header at `at`; seconds are unsigned (until 2106)."""
    tick_ns: Int = f.tick_ns
    return u32(data, at, f.big) * NS + u32(data, at + 4, f.big) * tick_ns


@helper
def may_follow(data: U8, at: Int, f: Records) -> Truth:
    """Tell whether the bytes at `at` can be a record header at all. Its time may be any: some writers err in it."""
    caplen, wirelen = lengths(data, at, f)
    return caplen <= f.max_caplen and wirelen <= MAX_WIRELEN


@kernel
def walk_pcap(data: U8, state: Records, form: Records, out: Records) -> None:
    """Write a PACKET for each whole record of data[at:end].

    state (1,) WALK    form (1,) FORM    out (n,) PACKET, written from state.out on

    An odd record (see below) does occur in sound files, so it is taken if what follows can be a record, and is damage
    otherwise. With DAMAGED, state.need tells whether the record merely runs past the end of the file.
    """
    w, f = state[0], form[0]
    at, end, n = w.at, w.end, w.out
    w.stop = FULL
    while n < out.size:
        if end - at < f.header_len:
            w.stop, w.need = MORE, f.header_len
            break
        caplen, wirelen = lengths(data, at, f)
        fraction = u32(data, at + 4, f.big) * f.tick_ns
        ts = u32(data, at, f.big) * NS + fraction
        near = w.known == 0 or is_near(ts, f.anchor_ts)
        # An empty packet of another year is a hole of zeros, as a crash leaves it in a file.
        if caplen > f.max_caplen or (wirelen == 0 and caplen == 0 and not near):
            w.stop, w.need = DAMAGED, 0
            break
        after = at + f.header_len + caplen
        # Odd: of another time, a whole second and more beside the seconds, lengths that contradict each other.
        odd = (
            not near
            or fraction >= NS
            or caplen > wirelen
            or wirelen > MAX_WIRELEN
            or (f.snaplen > 0 and caplen > f.snaplen)
        )
        if after > end:
            w.stop, w.need = (DAMAGED if odd and w.eof else MORE), after - at
            break
        if odd:
            if end - after >= f.header_len:
                if not may_follow(data, after, f):
                    w.stop, w.need = DAMAGED, 0
                    break
            elif w.eof == 0:
                w.stop, w.need = MORE, after + f.header_len - at
                break
        # One packet with a wrong time must not mislead the search after damage; two in a row are believed.
        if near or is_near(ts, w.last_ts):
            f.anchor_ts = ts
        put_packet(out, n, w, ts, at + f.header_len, caplen, wirelen, f.link, f.iface)
        n += 1
        at = after
    w.at, w.out = at, n


@helper
def is_sound(data: U8, at: Int, f: Records) -> Truth:
    """Tell whether the bytes at `at` look like the header of an ordinary record: nothing odd is forgiven here."""
    caplen, wirelen = lengths(data, at, f)
    return (
        0 < caplen <= wirelen
        and caplen <= f.max_caplen
        and wirelen <= max(f.max_caplen, 4 * MAX_CAPLEN)
        and u32(data, at + 4, f.big) * f.tick_ns < NS
    )


@kernel
def find_record(data: U8, state: Records, form: Records) -> None:
    """Move state.at to the next ordinary record that another one, or the end of the file, follows.

    state (1,) WALK    form (1,) FORM. Stops with MORE where the bytes at hand do not decide; each offset is judged
    by two headers only, so the search is linear.
    """
    w, f = state[0], form[0]
    at, end = w.at, w.end
    header_len, top = f.header_len, 8 if f.big else 11
    while True:
        # A cheap test comes first, ten times as fast: both lengths are below 2**24, and the first is not zero.
        while end - at >= header_len and (
            (data[at + top] | data[at + top + 4]) != 0
            or (data[at + 8] | data[at + 9] | data[at + 10] | data[at + 11]) == 0
        ):
            at += 1
        if end - at < f.header_len:
            w.stop, w.need = MORE, f.header_len
            break
        if is_sound(data, at, f) and (w.known == 0 or is_near(ts_of(data, at, f), f.anchor_ts)):
            caplen, _ = lengths(data, at, f)
            after = at + f.header_len + caplen
            if end - after >= f.header_len:
                if is_sound(data, after, f) and is_near(ts_of(data, after, f), ts_of(data, at, f)):
                    w.stop = FULL
                    break
            elif w.eof == 0:
                w.stop, w.need = MORE, after + f.header_len - at
                break
            elif after <= end:
                w.stop = FULL
                break
        at += 1
    w.at = at


@dataclass(slots=True)
class PcapHeader:
    """The file header, read. `header_lens` are the record headers that the magic allows, the usual one first."""

    length: int
    big: bool
    nano: bool
    lengths: int
    snaplen: int
    link: int
    header_lens: list[int] = field(default_factory=list)


def read_header(head: bytes, name: str) -> PcapHeader:
    """Read the 24 bytes (28 of IXIA) that start the file. Raises AnalyzerError if they are not all there."""
    big = head[:1] in (b"\xa1", b"\x1c")
    order = "big" if big else "little"
    magic = int.from_bytes(head[:4], order)  # type: ignore[arg-type]
    length = 28 if magic in _IXIA else 24
    if len(head) < length or head[:4] not in PCAP_MAGICS:
        hint = "the capturing program may not have written it yet (tcpdump -U writes packet by packet)"
        raise AnalyzerError(f"`{name}` ends inside the pcap file header", hint)

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], order)  # type: ignore[arg-type]

    major, minor, snaplen = number(4, 2), number(6, 2), number(16, 4)
    # The upper six bits say how long a frame check sequence is (pcap-savefile(5)); libpcap takes 26 bits as the type.
    link = number(20, 4) & 0x03FF_FFFF
    aix = {6: 1, 9: 6, 15: 10, 24: 0}.get(link) if (major, minor) == (2, 2) else None
    header = PcapHeader(length, big, magic == _NANO, _order_of_lengths(major, minor), snaplen, link)
    if aix is not None:  # AIX writes RFC 1573 ifTypes and nanoseconds under version 2.2 (Wireshark, libpcap.c)
        header.link, header.nano, header.header_lens = aix, True, [16]
    elif magic == _MODIFIED:
        header.header_lens = [24, 28]  # ss991029, ss990915
    elif magic == _MICRO:
        header.header_lens = [16, 24, 20]  # the standard; ss990417 (Red Hat 6.1); Nokia
    else:
        header.header_lens = [16]
    header.link = linktypes.normalised(header.link)
    return header


def _order_of_lengths(major: int, minor: int) -> int:
    """Before 2.3 the length on the wire came first; 2.3 did both, and DG/UX (543.0) still does (libpcap.c)."""
    if major == 543 or (major == 2 and minor < 3):
        return SWAPPED
    return MAYBE_SWAPPED if (major, minor) == (2, 3) else IN_ORDER


class PcapReader(RecordReader):
    """A pcap file as PacketBatches."""

    def _start(self) -> None:
        """Step over the file header and settle which dialect the records are in."""
        header = peek_header(self.source)
        self._form_array = records(1, FORM)
        form = self._form = self._form_array[0]
        form["big"], form["tick_ns"], form["lengths"] = header.big, 1 if header.nano else 1000, header.lengths
        form["link"], form["iface"], form["snaplen"] = header.link, self._first_iface, header.snaplen
        # A larger snap length is believed up to what we hold; beyond, it is a writer's way to say "no limit".
        form["max_caplen"] = header.snaplen if MAX_CAPLEN < header.snaplen <= MAX_HELD else MAX_CAPLEN
        form["header_len"] = header.header_lens[0]
        self.info.link_types.append(header.link)
        self.window.ensure(header.length)
        self.window.start += header.length
        # On a pipe the second packet may be far off: no guessing then (Wireshark does the same).
        if self.source.size is not None:
            form["header_len"] = next(filter(self._fits, header.header_lens), header.header_lens[0])

    def _fits(self, header_len: int) -> bool:
        """Tell whether the first two records are ordinary ones if their headers are so long (Wireshark's heuristic)."""
        form, window, at, before = self._form, self.window, 0, None
        usual = header_len == int(form["header_len"])
        for _ in range(2):
            if not window.ensure(at + header_len):
                return usual or (at > 0 and window.end - window.start == at)
            begin = window.start + at
            words = window.data[begin : begin + 16].view(">u4" if form["big"] else "<u4").tolist()
            second, fraction, caplen, wirelen = words
            before = second if before is None else before
            if int(form["lengths"]) == SWAPPED or (int(form["lengths"]) == MAYBE_SWAPPED and caplen > wirelen):
                caplen, wirelen = wirelen, caplen
            if not caplen <= wirelen <= MAX_WIRELEN or caplen > form["max_caplen"]:
                return False
            if fraction * int(form["tick_ns"]) >= NS or abs(second - before) * NS > RESYNC_AFTER_NS:
                return False
            at += header_len + caplen
        return True

    def _walk(self) -> None:
        walk_pcap(self.window.data, self.state, self._form_array, self.out)

    def _find(self) -> None:
        find_record(self.window.data, self.state, self._form_array)


def peek_header(source: Source) -> PcapHeader:
    """Read the file header and leave it there. Raises AnalyzerError if it is cut."""
    head = source.peek(24)
    ixia = head[:1] == b"\x1c" or head[3:4] == b"\x1c"
    return read_header(source.peek(28) if ixia else head, source.name)
