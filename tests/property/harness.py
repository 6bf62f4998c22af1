"""From a trace to tables, without files: what the tests of flows, streams and verdicts stand on.

result = run(Talk().handshake().orig(b"hi", at="1s").orig_rst())
assert result.close["close_kind"] == "rst_abort"
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, PacketBatch
from analyzer.decode.decoder import Decoder
from analyzer.engine import Engine
from analyzer.flows.tracker import FlowTracker
from analyzer.kernel import Records, records
from analyzer.settings import Settings
from analyzer.streams.inorder import IN_STORE, PAGE, SPAN_CLIPPED, SPAN_DATA, SPAN_FIN, SPAN_HOLE
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES
from tests.talk import Packet, Talk

Trace = Talk | Sequence[Packet]
Row = dict[str, Any]
Cuts = Iterable[int]


def packets_of(trace: Trace) -> list[Packet]:
    """Return the packets of a conversation, or of a list of them."""
    return list(trace.packets) if isinstance(trace, Talk) else list(trace)


def batches(
    trace: Trace, cuts: Cuts = (), *, link: int = 1, snaplen: int = 1 << 18, iface: Sequence[int] = ()
) -> Iterator[PacketBatch]:
    """Cut a trace into packet batches at the places named; frames are numbered from 1."""
    packets = packets_of(trace)
    edges = sorted({0, len(packets), *(cut for cut in cuts if 0 < cut < len(packets))})
    for start, end in pairwise(edges):
        rows = records(end - start, PACKET)
        data = bytearray()
        for row, (ts_ns, frame) in enumerate(packets[start:end]):
            kept = frame[:snaplen]
            number = start + row
            card = iface[number] if number < len(iface) else 0
            rows[row] = (ts_ns, number + 1, len(data), len(kept), len(frame), link, card, 0)
            data += kept
        yield PacketBatch(rows, np.frombuffer(bytes(data), np.uint8).copy())


class Result:
    """The tables of one run, with short names for what a trace's test asks about."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self.tables = tables

    def rows(self, name: str) -> list[Row]:
        """Return a table as dicts; times are integer nanoseconds."""
        rows = self.tables[name]
        plain = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in rows.columns]
        found: list[Row] = pa.Table.from_arrays(plain, names=rows.column_names).to_pylist()
        return found

    def _only(self, name: str) -> Row:
        (row,) = self.rows(name)
        return row

    @cached_property
    def flow(self) -> Row:
        """The row of the only flow."""
        return self._only("flows")

    @cached_property
    def close(self) -> Row:
        """The close of the only flow."""
        return self._only("closes")

    @property
    def kinds(self) -> list[str]:
        """Close kinds by flow."""
        return [row["close_kind"] for row in self.rows("closes")]

    @property
    def gaps(self) -> list[Row]:
        return self.rows("idle_gaps")

    @property
    def probes(self) -> list[Row]:
        return self.rows("keepalives")

    @property
    def answers(self) -> list[str]:
        """What answered each probe."""
        return [row["answered"] for row in self.probes]

    @cached_property
    def segments(self) -> list[Row]:
        """Segments in the order of the capture."""
        return sorted(self.rows("segments"), key=lambda row: int(row["frame"]))

    @property
    def labels(self) -> list[str]:
        """The analysis of each frame in order, "" where there is none."""
        return [row["analysis"] or "" for row in self.segments]

    @property
    def anomalies(self) -> dict[str, int]:
        return {row["code"]: row["count"] for row in self.rows("anomalies")}

    def fingerprints(self) -> dict[str, str]:
        """Return one hash per table over its Arrow IPC bytes: equal if and only if the tables are, bit for bit."""
        return {name: fingerprint(rows) for name, rows in self.tables.items()}


def fingerprint(rows: pa.Table) -> str:
    """Return the hash of a table's Arrow IPC bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def run(
    trace: Trace, cuts: Cuts = (), *, settings: Settings | None = None, records_too: bool = False, **how: Any
) -> Result:
    """Analyse a trace, in one batch or in several; `how` goes to `batches`."""
    return run_batches(batches(trace, cuts, **how), settings, records_too=records_too)


def run_batches(
    given: Iterable[PacketBatch], settings: Settings | None = None, *, records_too: bool = False,
    ahead: bool = False,
) -> Result:  # fmt: skip
    """Feed batches to an engine and return everything it says, segments included, sorted."""
    engine = Engine(settings or Settings(), Ledger(), segments=True, records=records_too)
    parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    for name, rows in chain(engine.read(given, ahead=ahead), engine.finish()):
        parts[name].append(rows)
    return Result({name: in_order(name, rows) for name, rows in parts.items()})


# ------------------------------------------------------------------------------------------------ streams
class Stream:
    """What came out of one direction, in stream order: ("data", bytes), ("hole", n), ("clipped", n) or ("fin",)."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Any, ...]] = []
        self.end = 1  # stream position; the first byte is 1

    @property
    def data(self) -> bytes:
        """The bytes, holes left out."""
        return b"".join(piece[1] for piece in self.pieces if piece[0] == "data")

    @property
    def shape(self) -> list[tuple[Any, ...]]:
        """The pieces with neighbouring data joined."""
        joined: list[tuple[Any, ...]] = []
        for piece in self.pieces:
            if piece[0] == "data" and joined and joined[-1][0] == "data":
                joined[-1] = ("data", joined[-1][1] + piece[1])
            else:
                joined.append(piece)
        return joined


def spans_of(
    trace: Trace, cuts: Cuts = (), *, settings: Settings | None = None, **how: Any
) -> dict[tuple[int, str], Stream]:
    """Reassemble a trace: {(flow_id, "c2s" or "s2c"): Stream}. Checks that spans follow on each other."""
    chosen = settings or Settings()
    decoder, tracker = Decoder(chosen, Ledger()), FlowTracker(chosen)
    out: dict[tuple[int, str], Stream] = {}
    for batch in batches(trace, cuts, **how):
        segments, data = decoder.decode(batch)
        _, spans = tracker.feed(segments, data)
        _take(spans, data, tracker, out)
    for slots in tracker.remaining():
        spans = tracker.flush(slots)
        _take(spans, np.empty(0, np.uint8), tracker, out)
    return out


def _take(spans: Records, data: Any, tracker: FlowTracker, out: dict[tuple[int, str], Stream]) -> None:
    for span in spans:
        stream = out.setdefault((int(span["flow_id"]), ("c2s", "s2c")[int(span["dir"])]), Stream())
        offset, length, at, kind = (int(span[name]) for name in ("offset", "length", "at", "kind"))
        if not stream.pieces and stream.end == 1:
            stream.end = offset
        assert offset == stream.end, f"a span at {offset} follows one that ends at {stream.end}"
        stream.end += length
        if kind == SPAN_DATA:
            source = tracker.pages if int(span["source"]) == IN_STORE else data
            assert length > 0 and at + length <= source.size
            assert int(span["source"]) != IN_STORE or at % PAGE + length <= PAGE
            stream.pieces.append(("data", source[at : at + length].tobytes()))
        else:
            assert length > 0 or kind == SPAN_FIN
            name = {SPAN_HOLE: "hole", SPAN_CLIPPED: "clipped", SPAN_FIN: "fin"}[kind]
            stream.pieces.append((name,) if kind == SPAN_FIN else (name, length))
            stream.end += kind == SPAN_FIN  # it takes a sequence number
