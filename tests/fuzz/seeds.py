"""What mutation begins with: small real captures, their packets, and what was said in them.

Seeds come from `captures/` (always there) and from the shared corpus (if it is). Their order is that of their paths, so
that an input is known by seed and number alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.decode.decoder import Decoder
from analyzer.errors import AnalyzerError
from analyzer.flows.tracker import FlowTracker
from analyzer.kernel import U8
from analyzer.protocols.channel import HTTP1, MESSAGES, OPAQUE, READERS, UNDECIDED
from analyzer.protocols.route import FIRST_BYTES, _reader_of
from analyzer.settings import Settings
from analyzer.streams.inorder import IN_STORE, SPAN_DATA
from tests.corpus import CORPUS

OWN = Path(__file__).parents[2] / "captures"
MAX_FILE = 64 << 10  # bytes of a seed: an input has to be read in milliseconds
MAX_TALK = 16 << 10  # bytes of what was said in a conversation
_SUFFIXES = {".pcap", ".pcapng", ".cap", ".ntar", ".gz", ".zst", ".lz4", ".dmp", ".trc"}


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a capture, with the link type of its interface."""

    ts_ns: int
    data: bytes
    wirelen: int
    link: int


Turn = tuple[int, bytes]  # direction (0 = the client's), bytes
Talk = list[Turn]


def read_packets(path: Path) -> list[Packet]:
    """Return the packets of a capture."""
    found = []
    for batch in open_captures([path], Ledger()):
        for p in batch.packets:
            off, size = int(p["off"]), int(p["caplen"])
            data = batch.data[off : off + size].tobytes()
            found.append(Packet(int(p["ts_ns"]), data, int(p["wirelen"]), int(p["link"])))
    return found


def write_packets(packets: list[Packet], secrets: bytes = b"") -> bytes:
    """Return packets of any link types as pcapng with nanoseconds; `secrets` as a Decryption Secrets Block."""
    out = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
    ifaces: dict[int, int] = {}
    for packet in packets:
        if packet.link not in ifaces:
            ifaces[packet.link] = len(ifaces)
            out.append(_block(1, struct.pack("<HHIHHIHH", packet.link & 0xFFFF, 0, 0, 9, 1, 9, 0, 0)))
    if secrets:
        out.append(_block(10, struct.pack("<II", 0x544C534B, len(secrets)) + secrets))
    for packet in packets:
        stamp = packet.ts_ns % 2**64
        head = (ifaces[packet.link], stamp >> 32, stamp & 0xFFFFFFFF, len(packet.data), packet.wirelen % 2**32)
        out.append(_block(6, struct.pack("<IIIII", *head) + packet.data))
    return b"".join(out)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))


class Seeds:
    """All seeds, read when they are first asked for."""

    def __init__(self, *, corpus: bool = True) -> None:
        folders = [OWN, CORPUS] if corpus and CORPUS.is_dir() else [OWN]
        self.paths = [
            path
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.suffix in _SUFFIXES and "truth" not in path.parts and 24 < path.stat().st_size <= MAX_FILE
        ]

    @cached_property
    def files(self) -> list[bytes]:
        """Whole capture files."""
        return [path.read_bytes() for path in self.paths]

    @cached_property
    def traces(self) -> list[list[Packet]]:
        """The packets of each capture that has any."""
        found = []
        for path in self.paths:
            try:
                packets = read_packets(path)
            except AnalyzerError:
                continue
            if packets:
                found.append(packets)
        return found

    @cached_property
    def keyed(self) -> list[tuple[list[Packet], bytes]]:
        """Captures with the key log that opens them."""
        keys = [path.with_suffix(".keys") for path in self.paths]
        return [(read_packets(k.with_suffix(".pcap")), k.read_bytes()) for k in keys if k.exists()]

    @cached_property
    def talks(self) -> dict[str, list[Talk]]:
        """What was said in each small conversation, by the protocol that it begins with."""
        found: dict[str, list[Talk]] = {}
        for path in self.paths:
            try:
                spoken = _talks_of(path)
            except AnalyzerError:
                continue
            for talk in spoken:
                if 16 < sum(len(data) for _, data in talk) <= MAX_TALK:
                    found.setdefault(_kind_of(talk), []).append(talk)
        return found


@cache
def seeds(corpus: bool = True) -> Seeds:
    """Return the seeds; they are read once."""
    return Seeds(corpus=corpus)


def _talks_of(path: Path) -> list[Talk]:
    decoder, tracker = Decoder(Settings(), Ledger()), FlowTracker(Settings())
    found: dict[int, Talk] = {}

    def take(spans: np.ndarray, data: U8) -> None:
        for span in spans[spans["kind"] == SPAN_DATA]:
            source = tracker.pages if span["source"] == IN_STORE else data
            at, length = int(span["at"]), int(span["length"])
            found.setdefault(int(span["flow_id"]), []).append((int(span["dir"]), source[at : at + length].tobytes()))

    for batch in open_captures([path], Ledger()):
        segments, data = decoder.decode(batch)
        take(tracker.feed(segments, data)[1], data)
    for slots in tracker.remaining():
        spans = tracker.flush(slots)
        take(spans, np.zeros(1, np.uint8))
    return list(found.values())


def _kind_of(talk: Talk) -> str:
    """Return who reads a conversation (a name of `READERS`), "other" if nobody does."""
    first = np.frombuffer(talk[0][1], np.uint8)
    reader = _reader_of(first, 0, min(first.size, FIRST_BYTES), 1)
    if reader == HTTP1 and any(b"sec-websocket-" in data.lower() for _, data in talk[:4]):
        return "websocket"
    return "other" if reader in (UNDECIDED, OPAQUE) else READERS[min(reader, MESSAGES)]  # which has kinds beyond it
