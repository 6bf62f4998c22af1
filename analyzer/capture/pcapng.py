"""The pcapng file format: blocks of sections, interfaces, packets and remarks.

Source  draft-ietf-opsawg-pcapng (section numbers below are its).
Sees    both byte orders, any number of sections and interfaces, enhanced, simple and obsolete packet blocks,
        interface statistics, TLS secrets. Any other block is stepped over.
Limits  Sections of a major version other than 1 are skipped. A simple packet has no time: it gets that of the packet
        before it in the file, 0 if there is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.capture import linktypes
from analyzer.capture.pcapng_walk import (
    DAY_NS,
    DSB,
    IDB,
    IFACE,
    ISB,
    MIN_BLOCK,
    SECTION,
    SHB,
    find_block,
    walk_pcapng,
)
from analyzer.capture.source import Source
from analyzer.capture.walk import TS_LIMIT, RecordReader
from analyzer.errors import AnalyzerError
from analyzer.kernel import grown, records

# Interfaces of one file that are told apart; `iface` is 32 bits and shares them with the file number.
MAX_IFACES = 1 << 16
# Key logs grow by about 200 bytes per TLS connection: enough for 80,000 of them.
MAX_SECRETS_BYTES = 16 << 20
MAX_OPTIONS = 4096  # of one block; no writer comes near, and a block of empty options must not cost seconds
TLS_KEY_LOG = 0x544C534B  # section 4.7

_OPT_END, _IF_TSRESOL, _IF_TSOFFSET, _ISB_IFDROP, _ISB_OSDROP = 0, 9, 14, 5, 7


class PcapngReader(RecordReader):
    """A pcapng file as PacketBatches."""

    damage_code = "capture.bad_block"

    def _start(self) -> None:
        self._ifaces_seen = 0
        self._links: set[int] = set()
        self._collected = 0  # the last packet whose interface was looked at for its link type
        self._section_array = records(1, SECTION)
        self._section = self._section_array[0]
        self._section["ignored"] = 1  # nothing has a meaning before the first section header
        self._ifaces = records(8, IFACE)
        self._drops: dict[int, int] = {}  # interface number -> packets lost, by its last statistics block
        self._secrets_bytes = 0

    def _walk(self) -> None:
        walk_pcapng(self.window.data, self.state, self._section_array, self._ifaces, self.out)

    def _find(self) -> None:
        find_block(self.window.data, self.state, self._section_array)

    def _skip(self, length: int) -> None:
        """Stream over a block and look at its trailing length, before it if the input allows that."""
        window = self.window
        offset = window.offset + window.start
        last = self.source.bytes_at(offset + length - 4, 4)
        if last is not None and self._number(last) != length:
            self.walk["need"] = length
            return self._resynchronise()
        kind = self._number(window.data[window.start : window.start + 4].tobytes())
        if kind == DSB:
            self.say(f"secrets beyond {MAX_SECRETS_BYTES >> 20} MiB ignored")
        if not (window.skip(length - 4) and window.ensure(4)):
            window.start = window.end
            self.cut_short(offset)
            return
        trailer = self._number(window.data[window.start : window.start + 4].tobytes())
        window.start += 4
        if trailer != length:
            self._note_bad(f"offset {offset}")

    def _block(self) -> None:
        """Read the section, interface, statistics or secrets block at the window's start."""
        window = self.window
        length = int(self.walk["need"])
        block = window.data[window.start : window.start + length].tobytes()
        window.start += length
        kind = self._number(block[:4])
        if kind == SHB:
            self._begin_section(block)
        elif kind == IDB:
            self._add_interface(block[8:-4])
        elif kind == ISB:
            self._read_statistics(block[8:-4])
        elif kind == DSB:
            self._keep_secrets(block[8:-4])

    def _begin_section(self, block: bytes) -> None:
        """Section 4.1. Interface numbers start anew and the byte order may change."""
        self._collect_link_types()
        section = self._section
        section["big"] = int(block[8:12] == bytes.fromhex("1a2b3c4d"))
        section["ifaces"] = 0
        major, minor = self._number(block[12:14]), self._number(block[14:16])
        section["ignored"] = len(block) < 28 or major != 1
        if len(block) < 28:
            self._note_bad("section header too short")
        elif major != 1:
            self._note_bad(f"pcapng version {major}.{minor}")
            skipped = "a section of pcapng version"
            self.say(f"{skipped} {major}.{minor} was skipped", replaces=skipped)

    def _add_interface(self, body: bytes) -> None:
        """Section 4.2."""
        section = self._section
        index = int(section["ifaces"])
        if len(body) < 8 or index >= MAX_IFACES:
            self._note_bad("interface description")
            return
        self._ifaces = grown(self._ifaces, index + 1)
        iface = self._ifaces[index]
        iface["link"] = linktypes.normalised(self._number(body[:2]))
        iface["iface"] = self._first_iface + min(self._ifaces_seen, MAX_IFACES - 1)
        iface["snaplen"] = self._number(body[4:8])
        iface["offset_ns"] = iface["first_use"] = 0
        _set_resolution(iface, 6)
        for code, value in self._options(body[8:]):
            if code == _IF_TSRESOL and len(value) == 1:
                _set_resolution(iface, value[0])
            elif code == _IF_TSOFFSET and len(value) == 8:
                seconds = self._number(value, signed=True)
                iface["offset_ns"] = max(-TS_LIMIT, min(TS_LIMIT, seconds * 10**9))
        section["ifaces"] = index + 1
        self._ifaces_seen += 1

    def _read_statistics(self, body: bytes) -> None:
        """Section 4.6. The counters run from the start of the capture, so an interface's last block counts."""
        if len(body) < 12:
            self._note_bad("interface statistics")
            return
        index = self._number(body[:4])
        if index >= self._section["ifaces"]:
            self.ledger.note("capture.unknown_interface", detail=f"{self.info.file}: statistics of interface {index}")
            return
        lost = [
            self._number(value)
            for code, value in self._options(body[12:])
            if code in (_ISB_IFDROP, _ISB_OSDROP) and len(value) == 8
        ]
        if lost:
            self._drops[int(self._ifaces[index]["iface"])] = sum(lost)

    def _keep_secrets(self, body: bytes) -> None:
        """Section 4.7; only NSS key logs are of use to us."""
        if len(body) < 8 or self._number(body[4:8]) > len(body) - 8:
            self._note_bad("decryption secrets")
            return
        if self._number(body[:4]) != TLS_KEY_LOG:
            return
        secrets = body[8 : 8 + self._number(body[4:8])]
        if self._secrets_bytes + len(secrets) > MAX_SECRETS_BYTES:
            self.say(f"secrets beyond {MAX_SECRETS_BYTES >> 20} MiB ignored")
            return
        self._secrets_bytes += len(secrets)
        self.info.secrets.append(secrets)

    def _options(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield code and value of each option (section 3.5) until they end or lie."""
        at = 0
        for _ in range(MAX_OPTIONS):
            if len(data) - at < 4:
                return
            code, length = self._number(data[at : at + 2]), self._number(data[at + 2 : at + 4])
            at += 4
            if code == _OPT_END:
                return
            if length > len(data) - at:
                break
            yield code, data[at : at + length]
            at += (length + 3) & ~3
        self._note_bad("options")

    def _number(self, data: bytes, *, signed: bool = False) -> int:
        return int.from_bytes(data, "big" if self._section["big"] else "little", signed=signed)

    def _note_bad(self, what: str) -> None:
        self.ledger.note("capture.bad_block", frame=self._last_frame(), detail=f"{self.info.file}: {what}")

    def _after_batch(self) -> None:
        self._collect_link_types()
        if self._section["shift_ns"]:
            self.say(f"times before 1970 were moved by {int(self._section['shift_ns']) // DAY_NS} days")

    def _collect_link_types(self) -> None:
        """Add the link types of interfaces that packets began to use, in order of first use."""
        described = np.asarray(self._ifaces[: int(self._section["ifaces"])])
        new = described[described["first_use"] > self._collected]
        self._collected = int(self.walk["packets"]) + int(self.walk["out"])
        for link in new["link"][np.argsort(new["first_use"], kind="stable")].tolist():
            if link not in self._links:
                self._links.add(link)
                self.info.link_types.append(link)

    def _finish(self) -> None:
        """Statistics say what was lost in all; without them, what the packet blocks said by themselves."""
        walk, info = self.walk, self.info
        if self._drops:
            info.dropped_reported = sum(self._drops.values())
        elif walk["drops_known"]:
            info.dropped_reported = int(walk["drops"])
        self.ledger.note("capture.dropped", info.dropped_reported or 0, detail=info.file)
        super()._finish()


def _set_resolution(iface: np.void, tsresol: int) -> None:
    """Turn if_tsresol (section 4.2) into factors: 10**-n seconds, or 2**-n with the top bit set."""
    n = tsresol & 0x7F
    iface["bits"], iface["mul"], iface["div"], iface["fast_hi"] = -1, 1, 1, 0
    if tsresol & 0x80:
        iface["bits"] = n
    elif n <= 9:
        iface["mul"] = 10 ** (9 - n)
        iface["fast_hi"] = (TS_LIMIT // 10 ** (9 - n)) >> 32
    else:
        iface["div"] = min(10 ** (n - 9), TS_LIMIT)  # 64 bits of ticks that fine are less than 20 nanoseconds


def check_header(source: Source) -> None:
    """Raise AnalyzerError if the file ends before its byte order is known, or does not say it."""
    head = source.peek(MIN_BLOCK)
    if len(head) < MIN_BLOCK:
        hint = "the capturing program may not have written it yet"
        raise AnalyzerError(f"`{source.name}` ends inside its pcapng section header", hint)
    if head[8:12] not in (bytes.fromhex("1a2b3c4d"), bytes.fromhex("4d3c2b1a")):
        raise AnalyzerError(f"`{source.name}` is not a capture file: its pcapng header has no byte order", "")
