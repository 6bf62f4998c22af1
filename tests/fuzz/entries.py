"""Where hostile input comes in. An entry makes a capture of many inputs, and says which part of longwire reads it.

A new protocol joins by its name in `PROTOCOLS` (as `channel.READERS` has it) and its words in `mutate.TOKENS`.
Every reading is checked: spans follow on each other, tables obey the schema, flows are numbered without a gap.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import NOTHING
from analyzer.engine import Engine
from analyzer.errors import AnalyzerError
from analyzer.flows.tracker import FlowTracker
from analyzer.kernel import U8
from analyzer.settings import Settings
from analyzer.streams.inorder import IN_STORE, PAGE, SPAN_DATA, SPAN_FIN
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES, problems
from tests.fuzz.mutate import mangle, mangle_file, mangle_packet, mangle_talk, mangle_trace
from tests.fuzz.seeds import Packet, Seeds, Talk, write_packets
from tests.talk import Talk as Trace

PROTOCOLS = ("http1", "http2", "websocket", "tls", "messages", "other")


@dataclass(frozen=True)
class Entry:
    """make(random, seeds, n) returns a capture of `n` inputs; `at_once` of them are a good number."""

    at_once: int
    make: Callable[[Random, Seeds, int], bytes]
    read: Callable[[Path], None]


# ------------------------------------------------------------------------------------------------ what reads
def chosen(path: Path) -> Random:
    """Return choices that depend on the file alone: cuts and caps are then the same whenever it is read.

    A crasher that was shrunk has the number of the file that it was, as the last word of its name.
    """
    number = path.stem.rpartition("-")[2]
    return Random(int(number) if number.isdigit() else zlib.crc32(path.read_bytes()))


def settings_for(random: Random) -> Settings:
    """Return settings: mostly the usual ones, else caps that are reached at once."""
    if random.random() < 0.7:
        return Settings()
    linger_ns = random.choice((0, 10**8, 60 * 10**9))
    return Settings(max_flows=random.choice((1, 8, 64)), linger_ns=linger_ns, max_fragment_bytes=4096)


def buffer_for(path: Path, random: Random) -> int:
    """Return a size of the reader's buffer, often a small one; a file is cut into a dozen batches at most."""
    return max(random.choice((1, 64, 1000, 5000, 1 << 16, 2 << 20)), path.stat().st_size // 12)


def read_file(path: Path) -> None:
    """Read the packets of a file, which may be refused."""
    try:
        for batch in open_captures([path], Ledger(), buffer_bytes=buffer_for(path, chosen(path))):
            p = batch.packets
            assert np.all(p["caplen"] >= 0) and np.all(p["off"] >= 0)
            assert np.all(p["off"] + p["caplen"] <= batch.data.size)
    except AnalyzerError:
        return


def decode(path: Path) -> None:
    """Decode every packet of a file; what the segments point at lies within the bytes."""
    try:
        random = chosen(path)
        decoder = Decoder(settings_for(random), Ledger())
        for batch in open_captures([path], Ledger(), buffer_bytes=buffer_for(path, random)):
            segments, data = decoder.decode(batch)
            segments = segments[segments["kind"] != NOTHING]
            off, captured = segments["payload_off"], segments["payload_cap"]
            assert np.all(captured >= 0) and np.all(captured <= segments["payload_len"])
            assert np.all((captured == 0) | ((off >= 0) & (off + captured <= data.size)))
        decoder.finish()
    except AnalyzerError:
        return


def reassemble(path: Path) -> None:
    """Follow the connections of a file and put their streams together."""
    try:
        random = chosen(path)
        how = settings_for(random)
        decoder, tracker = Decoder(how, Ledger()), FlowTracker(how)
        ends: dict[tuple[int, int], int] = {}
        for batch in open_captures([path], Ledger(), buffer_bytes=buffer_for(path, random)):
            segments, data = decoder.decode(batch)
            _check_spans(tracker.feed(segments, data)[1], data, tracker, ends)
            if tracker.full():
                done, spans = tracker.collect()
                _check_spans(spans, data, tracker, ends)
                tracker.release(done.slots)
        for slots in tracker.remaining():
            spans = tracker.flush(slots)
            _check_spans(spans, np.zeros(0, np.uint8), tracker, ends)
    except AnalyzerError:
        return


def _check_spans(spans: np.ndarray, data: U8, tracker: FlowTracker, ends: dict[tuple[int, int], int]) -> None:
    for flow_id, direction, offset, length, at, kind, source in spans[
        ["flow_id", "dir", "offset", "length", "at", "kind", "source"]
    ].tolist():
        expected = ends.get((flow_id, direction), offset)
        # Where a second SYN-ACK is believed, the stream begins anew
        assert offset in (expected, 1), f"a span at {offset} follows one that ends at {expected}"
        ends[flow_id, direction] = offset + length + (kind == SPAN_FIN)  # which takes a sequence number
        assert length >= 0
        if kind == SPAN_DATA:
            there = tracker.pages if source == IN_STORE else data
            assert length > 0 and at >= 0 and at + length <= there.size
            assert source != IN_STORE or at % PAGE + length <= PAGE


def analyse(path: Path) -> None:
    """Make every table of a file, with every option on, and hold the tables to the schema."""
    try:
        random = chosen(path)
        how, ledger = settings_for(random), Ledger()
        reader = open_captures([path], ledger, buffer_bytes=buffer_for(path, random))
        engine = Engine(how, ledger, reader.files, segments=True, records=True, payload=True)
        parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        for batch in reader:
            for name, rows in engine.feed(batch):
                parts[name].append(rows)
            for name, rows in engine.advance(engine.end_ns, 10**9):
                parts[name].append(rows)
        for name, rows in engine.finish():
            parts[name].append(rows)
    except AnalyzerError:
        return
    for name, chunks in parts.items():
        found = [text for text in problems(name, in_order(name, chunks)) if not text.startswith("segments.window")]
        assert not found, "; ".join(found)
    flows, closes = (in_order(name, parts[name])["flow_id"].to_pylist() for name in ("flows", "closes"))
    assert flows == closes == list(range(len(flows)))


# ------------------------------------------------------------------------------------------------ what makes
def _file(random: Random, seeds: Seeds, n: int) -> bytes:
    return mangle_file(random, random.choice(seeds.files))


def _packets(random: Random, seeds: Seeds, n: int) -> bytes:
    traces = [random.choice(seeds.traces) for _ in range(4)]
    return write_packets([mangle_packet(random, random.choice(random.choice(traces))) for _ in range(n)])


def _traces(random: Random, seeds: Seeds, n: int) -> bytes:
    out: list[Packet] = []
    for _ in range(n):
        out += mangle_trace(random, random.choice(seeds.traces))
    return write_packets(out)


def _keyed(random: Random, seeds: Seeds, n: int) -> bytes:
    packets, keys = random.choice(seeds.keyed)
    if random.random() < 0.3:
        keys = mangle(random, keys)
    return write_packets(mangle_trace(random, packets, most=400), keys)


def _talks(kind: str) -> Callable[[Random, Seeds, int], bytes]:
    def make(random: Random, seeds: Seeds, n: int) -> bytes:
        talks = seeds.talks[kind]
        spoken = []
        for k in range(n):
            talk = mangle_talk(random, random.choice(talks), kind, random.choice(talks))
            spoken.append(say(random, talk, k).packets)
        packets = sorted((packet for packets in spoken for packet in packets), key=lambda packet: packet[0])
        return write_packets([Packet(ts_ns, frame, len(frame), 1) for ts_ns, frame in packets])

    return make


def say(random: Random, talk: Talk, number: int) -> Trace:
    """Say a conversation in segments cut anywhere, sometimes with a loss, a long silence, or without a beginning."""
    trace = Trace(("10.0.0.1", 1024 + number))
    if random.random() < 0.9:
        trace.handshake()
    size = random.choice((1, 7, 100, 1460, 1460, 9000))
    for direction, data in talk:
        send, drop = (trace.resp, trace.resp_drop) if direction else (trace.orig, trace.orig_drop)
        step = max(size, len(data) // 40)
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            if random.random() < 0.02:
                drop(len(piece))
            else:
                send(piece, whole=True)
        if random.random() < 0.1:
            trace.wait(random.choice(("10ms", "1s", "61s")))
    return trace.orig_fin().resp_fin().orig_ack() if random.random() < 0.5 else trace


ENTRIES: dict[str, Entry] = {
    "files": Entry(1, _file, read_file),
    "decode": Entry(512, _packets, decode),
    "streams": Entry(32, _traces, reassemble),
    **{kind: Entry(48, _talks(kind), analyse) for kind in PROTOCOLS},
    "tls_keys": Entry(1, _keyed, analyse),
    "analyze": Entry(4, _traces, analyse),
    "whole_files": Entry(1, _file, analyse),
}
READINGS = (read_file, decode, reassemble, analyse)
