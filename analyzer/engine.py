"""The one engine for files and interfaces: `feed` packets, `finish`; finished tables come out as they are ready.

capture -> decode -> flows -> streams -> classify -> tables. Time is packet time: the engine knows no clock and no
source, and the same packets give the same tables however they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import TCP
from analyzer.flows.state import DUPLICATE_FRAME
from analyzer.flows.tracker import Finished, FlowTracker
from analyzer.kernel import U8, Records
from analyzer.protocols.stage import SPANS_PER_SPAN, ProtocolStage
from analyzer.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.classify.endpoints import Endpoints
    from analyzer.classify.segments import ChosenSegments

Chunk = tuple[str, "pa.Table"]
Decoded = tuple[Records, U8, int]  # segments, the bytes they point into, time of the latest packet


class Engine:
    """Owns all state of one analysis."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        files: Sequence[FileInfo] = (),
        *,
        segments: bool | Sequence[int] = False,
        only_segments: bool = False,
    ) -> None:
        """Make an engine; `segments` asks for the rows of all segments, or of those of these flows.

        only_segments  True if no other table will be looked at: no protocol is read, and they are not complete
        """
        self.settings = settings
        self.ledger = ledger
        self.files = files
        self.want_segments = segments is not False
        self._only_segments = only_segments
        self._chosen: ChosenSegments | None = None
        if not isinstance(segments, bool):
            from analyzer.classify.segments import ChosenSegments

            self._chosen = ChosenSegments(segments)
        self.decoder = Decoder(settings, ledger)
        self.tracker = FlowTracker(settings)
        self.protocols = ProtocolStage(settings, self.tracker.flows.shape[0])
        self.end_ns = 0
        self._endpoints: Endpoints | None = None

    def feed(self, batch: PacketBatch) -> Iterator[Chunk]:
        """Take a batch of packets in capture order; yield the (table, rows) that are ready."""
        yield from self.take(self.decode(batch))

    def decode(self, batch: PacketBatch) -> Decoded:
        """The first half of `feed`, which knows no flow: it may run one batch ahead of the second in another thread."""
        segments, data = self.decoder.decode(batch)
        latest = int(batch.packets["ts_ns"].max()) if batch.packets.shape[0] else 0
        return segments, data, latest

    def take(self, decoded: Decoded) -> Iterator[Chunk]:
        """The second half of `feed`: find the flows and yield the (table, rows) that are ready."""
        segments, data, latest = decoded
        labels, spans = self.tracker.feed(segments, data)
        self.end_ns = max(self.end_ns, latest)
        self._count_by_file(segments, labels)
        if self.want_segments:
            from analyzer.classify.segments import segment_rows

            if self._chosen is None:
                yield "segments", segment_rows(segments, labels)
            elif self._chosen.add(segments, labels):
                yield "segments", self._chosen.rows()
        yield from self._read(spans.shape[0], data)
        if self.tracker.full():
            done, last = self.tracker.collect()
            yield from self._rows(done, last.shape[0], data)
            self.tracker.release(done.slots)

    def finish(self) -> Iterator[Chunk]:
        """The capture is over: yield everything that was still open, and the tables about the whole."""
        self.decoder.finish()
        yield from self.waiting_segments()
        nothing = np.zeros(1, np.uint8)  # what is delivered last is in the store
        for done, last in self.tracker.finish():
            yield from self._rows(done, last.shape[0], nothing)
        yield from self.protocols.finish(self.ledger)
        self._note_anomalies()
        from analyzer.classify.whole import whole_tables

        yield from whole_tables(self._endpoints, self.files, self.ledger)

    def waiting_segments(self) -> Iterator[Chunk]:
        """Yield the segments of chosen flows that were not yielded yet; `finish` does so by itself."""
        if self._chosen is not None and self._chosen.waiting:
            yield "segments", self._chosen.rows()

    # -------------------------------------------------------------------------------------- inside
    def _count_by_file(self, segments: Records, labels: Records) -> None:
        if len(self.files) == 1:
            return  # the tracker's totals are that file's
        is_tcp = segments["kind"] == TCP
        twice = is_tcp & ((labels["analysis"] & DUPLICATE_FRAME) != 0)
        for number, rows in (("tcp_segments", is_tcp), ("duplicates", twice)):
            for index in np.flatnonzero(counts := np.bincount(segments["file"][rows], minlength=1)).tolist():
                if index < len(self.files):
                    info = self.files[index]
                    setattr(info, number, getattr(info, number) + int(counts[index]))

    def _read(self, n: int, data: U8) -> Iterator[Chunk]:
        """Give the first `n` rows of the span table to the protocols; yield the tables that are ready."""
        if n and not self._only_segments:
            spans = self.tracker.spans_with_room((1 + SPANS_PER_SPAN) * n)
            yield from self.protocols.feed(spans, n, data, self.tracker.pages, self.tracker.flows)

    def _rows(self, done: Finished, n_spans: int, data: U8) -> Iterator[Chunk]:
        """Let protocols read the last spans of finished flows, classify these, and yield their tables."""
        yield from self._read(n_spans, data)
        yield from self.protocols.close(done.slots)
        applications = self.protocols.applications(done.slots, done.flows["flow_id"])
        self.protocols.release(done.slots)
        if done.flows.shape[0] == 0 and done.probes.shape[0] == 0 and done.gaps.shape[0] == 0:
            return
        from analyzer.classify.closing import closes, judge
        from analyzer.classify.endpoints import Endpoints
        from analyzer.classify.facts import Facts
        from analyzer.classify.flow import flows
        from analyzer.classify.idle_gap import idle_gaps
        from analyzer.classify.keepalive import keepalives
        from analyzer.tables.build import to_arrow

        facts = Facts(done, applications, self.end_ns, self.settings)
        verdict = judge(facts)
        if self._endpoints is None:
            self._endpoints = Endpoints()
        self._endpoints.add(facts, verdict)
        close_columns = closes(facts, verdict)
        yield "flows", to_arrow("flows", flows(facts, verdict, close_columns))
        yield "keepalives", to_arrow("keepalives", keepalives(facts))
        yield "idle_gaps", to_arrow("idle_gaps", idle_gaps(facts))
        yield "closes", to_arrow("closes", close_columns)

    def _note_anomalies(self) -> None:
        m = self.tracker.meta[0]
        if len(self.files) == 1:
            self.files[0].tcp_segments = int(m["tcp_segments"])
            self.files[0].duplicates = int(m["duplicates"])
        for code, name in (
            ("flow.ack_unseen", "ack_unseen"), ("stream.reorder_cap", "reorder_cap"), ("tcp.bad_flags", "bad_flags"),
        ):  # fmt: skip
            if m[name]:
                self.ledger.note(code, int(m[name]), flow_id=int(m[name + "_flow"]), frame=int(m[name + "_frame"]))
        self.ledger.note("flow.evicted", self.tracker.evicted)
