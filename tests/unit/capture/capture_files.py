"""Capture files built byte by byte, and what a reader makes of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.capture.reader import reader_for
from analyzer.capture.source import Source, open_source
from analyzer.capture.walk import Numbering

START = 1_700_000_000  # seconds, November 2023


@dataclass(frozen=True)
class Packet:
    """What a test writes and what it expects back; `wirelen` None is the packet's own length."""

    ts_ns: int
    data: bytes
    wirelen: int | None = None
    link: int = 1

    @property
    def length(self) -> int:
        return len(self.data) if self.wirelen is None else self.wirelen


def packets(n: int, size: int = 60, step_ns: int = 1_000_000) -> list[Packet]:
    """Return `n` packets a millisecond apart, each with bytes of its own."""
    return [Packet(START * 10**9 + i * step_ns, bytes((i + j) % 251 for j in range(size))) for i in range(n)]


def pcap(
    content: Iterable[Packet],
    order: str = "<",
    *,
    magic: int = 0xA1B2C3D4,
    tick_ns: int = 1000,
    version: tuple[int, int] = (2, 4),
    snaplen: int = 262144,
    network: int = 1,
    extra: bytes = b"",
    after_header: bytes = b"",
    swap: bool = False,
) -> bytes:
    """Write a pcap file; `extra` follows each record header, `after_header` the file header."""
    out = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, network), after_header]
    for packet in content:
        sizes = (len(packet.data), packet.length)
        second, ns = divmod(packet.ts_ns, 10**9)
        out.append(struct.pack(order + "IIII", second, ns // tick_ns, *(reversed(sizes) if swap else sizes)))
        out.append(extra + packet.data)
    return b"".join(out)


@dataclass
class Pcapng:
    """Writes pcapng blocks one after the other."""

    order: str = "<"
    out: list[bytes] = field(default_factory=list)

    def bytes(self) -> bytes:
        return b"".join(self.out)

    def block(self, kind: int, body: bytes) -> Pcapng:
        body += b"\0" * (-len(body) % 4)
        length = struct.pack(self.order + "I", len(body) + 12)
        self.out.append(struct.pack(self.order + "I", kind) + length + body + length)
        return self

    def option(self, code: int, value: bytes) -> bytes:
        return struct.pack(self.order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)

    def section(self, order: str = "<", version: tuple[int, int] = (1, 0)) -> Pcapng:
        self.order = order
        return self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, -1))

    def interface(self, link: int = 1, snaplen: int = 0, options: bytes = b"") -> Pcapng:
        return self.block(1, struct.pack(self.order + "HHI", link, 0, snaplen) + options)

    def packet(self, packet: Packet, iface: int = 0, ticks: int | None = None, options: bytes = b"") -> Pcapng:
        """Write an enhanced packet; the time is in microseconds unless `ticks` says it."""
        ticks = packet.ts_ns // 1000 if ticks is None else ticks
        head = struct.pack(
            self.order + "IIIII", iface, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), packet.length
        )
        pad = b"\0" * (-len(packet.data) % 4)
        return self.block(6, head + packet.data + pad + options)

    def simple(self, data: bytes, wirelen: int | None = None) -> Pcapng:
        return self.block(3, struct.pack(self.order + "I", len(data) if wirelen is None else wirelen) + data)

    def obsolete(self, packet: Packet, iface: int = 0, drops: int = 0xFFFF) -> Pcapng:
        ticks = packet.ts_ns // 1000
        head = struct.pack(
            self.order + "HHIIII", iface, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), packet.length
        )
        return self.block(2, head + packet.data)

    def statistics(self, iface: int, **drops: int) -> Pcapng:
        codes = {"ifdrop": 5, "osdrop": 7, "ifrecv": 4}
        options = b"".join(
            self.option(codes[name], struct.pack(self.order + "Q", count)) for name, count in drops.items()
        )
        return self.block(5, struct.pack(self.order + "III", iface, 0, 0) + options)


def pcapng(content: Iterable[Packet], order: str = "<") -> bytes:
    """Write a plain pcapng file: one section, one Ethernet interface, enhanced packets."""
    file = Pcapng().section(order).interface()
    for packet in content:
        file.packet(packet)
    return file.bytes()


class Trickle:
    """A raw reader that gives at most `chunk` bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, chunk: int) -> None:
        self._file = io.BytesIO(data)
        self._chunk = chunk

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer[: self._chunk])

    def fileno(self) -> int:
        raise io.UnsupportedOperation("no file")

    def close(self) -> None:
        return


@dataclass
class Outcome:
    """Everything a reader gave."""

    packets: list[Packet]
    rows: list[tuple[int, ...]]  # frame, iface, file
    info: FileInfo
    ledger: Ledger

    @property
    def counts(self) -> dict[str, int]:
        return {code: anomaly.count for code, anomaly in self.ledger.by_code.items()}

    def count(self, code: str) -> int:
        return self.counts.get(code, 0)


def unbatched(batches: Iterable[PacketBatch]) -> tuple[list[Packet], list[tuple[int, ...]]]:
    """Copy the packets out of their batches; beside them frame, interface and file of each."""
    found, rows = [], []
    for batch in batches:
        for p in batch.packets:
            data = batch.data[p["off"] : p["off"] + p["caplen"]].tobytes()
            assert len(data) == p["caplen"]
            found.append(Packet(int(p["ts_ns"]), data, int(p["wirelen"]), int(p["link"])))
            rows.append((int(p["frame"]), int(p["iface"]), int(p["file"])))
    return found, rows


def read(data: bytes, buffer_bytes: int = 1 << 20, chunk: int = 1 << 30) -> Outcome:
    """Read one capture from memory, in reads of `chunk` bytes."""
    return _outcome(Source("capture", Trickle(data, chunk), len(data)), buffer_bytes)


def read_from(path: Path, buffer_bytes: int = 1 << 20) -> Outcome:
    """Read one capture from the disk."""
    source = open_source(path)
    try:
        return _outcome(source, buffer_bytes)
    finally:
        source.close()


def _outcome(source: Source, buffer_bytes: int) -> Outcome:
    info, ledger, numbering = FileInfo("capture"), Ledger(), Numbering()

    def numbered() -> Iterable[PacketBatch]:
        for batch in reader_for(source, info, 0, ledger, numbering, buffer_bytes).batches():
            yield batch
            numbering.next += len(batch.packets)

    return Outcome(*unbatched(numbered()), info, ledger)


def whole(content: Iterable[Packet]) -> list[Packet]:
    """Return the packets as a reader shows them: the length on the wire filled in."""
    return [Packet(p.ts_ns, p.data, max(p.length, len(p.data)), p.link) for p in content]
