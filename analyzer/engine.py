"""The one engine for files and interfaces: `feed` packets, `advance` the time, `finish`; tables come as they are ready.

capture -> decode -> flows -> streams -> classify -> tables. Time is packet time: the engine knows no clock and no
source, and the same packets give the same tables however they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.ahead import Ahead
from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.classify.heartbeat_units import Units
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import TCP
from analyzer.flows.clock import move_clock, new_clock
from analyzer.flows.state import DUPLICATE_FRAME
from analyzer.flows.tracker import Finished, FlowTracker, untold
from analyzer.kernel import I32, U8, Records
from analyzer.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.classify.endpoints import Endpoints
    from analyzer.classify.findings import Findings
    from analyzer.classify.segments import ChosenSegments
    from analyzer.classify.timeouts import Timeouts
    from analyzer.knowledge.load import Knowledge
    from analyzer.protocols.stage import Applications, ProtocolStage
    from analyzer.protocols.tls.plaintext import Plaintext

Chunk = tuple[str, "pa.Table"]


class Followed(NamedTuple):
    """A batch whose segments found their flows.

    segments, data  as decoded    labels  one per segment
    spans   the bytes in order    latest  how late it is (see `flows.clock`)
    secrets  TLS secrets that the capture brought
    full    some flows have to be handed over before the next batch is followed
    """

    segments: Records
    labels: Records
    data: U8
    spans: Records
    latest: int
    secrets: list[bytes]
    full: bool


# Connections whose rows are made before they are final: a tenth of a second's work beside that for packets.
MOST_STANDING = 8192


# Tables by when they have all their rows: once protocols are done, and once the last connections are judged.
READ = (
    "segments", "http_requests", "websocket_frames", "websocket_messages", "http2_frames", "tls_records",
    "tls_sessions",
)  # fmt: skip
JUDGED = ("flows", "closes", "idle_gaps", "keepalives", "heartbeats", "heartbeat_series")


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
        records: bool = False,
        payload: bool = False,
        knowledge: Knowledge | None = None,
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
        self.units = Units(self.tracker.flows.shape[0])
        self._records_too, self._payload = records, payload
        self._secrets_taken = 0
        self._plaintext: Plaintext | None = None
        self.end_ns = 0
        self._clock = new_clock()
        self.knowledge = knowledge  # None = the shipped one, read when it is needed
        self._endpoints: Endpoints | None = None
        self._timeouts: Timeouts | None = None
        self._findings: Findings | None = None
        self.on_close: Callable[[pa.Table], None] | None = None
        self.on_complete: Callable[[Sequence[str]], None] | None = None  # told which tables will get no more rows

    def learn(self, secrets: bytes, *, grows: bool = False) -> None:
        """Take whole lines of a TLS key log; they hold for what is fed from now on.

        Before the first ones TLS only steps over what is encrypted. grows: more will come, also of connections that
        have begun, so their first records wait for them (see `protocols.tls.late`).
        """
        if self._plaintext is None:
            from analyzer.protocols.tls.plaintext import Plaintext

            self._plaintext = Plaintext()
            self.protocols.tls.use(self._plaintext)
        self._plaintext.grows = self._plaintext.grows or grows
        self._plaintext.log.add(secrets)

    def feed(self, batch: PacketBatch) -> Iterator[Chunk]:
        """Take a batch of packets in capture order; yield the (table, rows) that are ready."""
        yield from self.take(self.follow(batch))

    @cached_property
    def protocols(self) -> ProtocolStage:
        """The protocols, for the thread that takes."""
        from analyzer.protocols.stage import ProtocolStage

        room = self.tracker.flows.shape[0]
        return ProtocolStage(self.settings, room, records_too=self._records_too, payload=self._payload)

    def read(self, batches: Iterable[PacketBatch], *, ahead: bool) -> Iterator[Chunk]:
        """Feed all of `batches`; ahead: another thread reads and follows the next ones meanwhile, the first at once."""
        followed: Iterable[Followed] = map(self.follow, batches)
        if ahead:
            followed = Ahead(followed, alone=lambda batch: batch.full)
        if not self._only_segments:
            _ = self.protocols  # loaded meanwhile, and so is Arrow
            import_module("analyzer.tables.build")
        return self._take_all(followed)

    def _take_all(self, batches: Iterable[Followed]) -> Iterator[Chunk]:
        for batch in batches:
            yield from self.take(batch)

    def follow(self, batch: PacketBatch) -> Followed:
        """The first half of `feed`, which knows no protocol.

        It may run some batches ahead of the second half in another thread, but not past one that is `full`.
        """
        segments, data = self.decoder.decode(batch)
        move_clock(batch.packets, self._clock)
        latest = int(self._clock[0]["latest"])
        secrets = self._new_secrets()
        labels, spans = self.tracker.feed(segments, data)
        self.tracker.age()
        self._count_by_file(segments, labels)
        self._note_units(spans, data)
        return Followed(segments, labels, data, spans, latest, secrets, self.tracker.full())

    def take(self, batch: Followed) -> Iterator[Chunk]:
        """The second half of `feed`: read what the flows carry and yield the (table, rows) that are ready."""
        for text in batch.secrets:
            self.learn(text, grows=True)
        self.end_ns = batch.latest
        if self.want_segments:
            from analyzer.classify.segments import segment_rows

            if self._chosen is None:
                yield "segments", segment_rows(batch.segments, batch.labels)
            elif self._chosen.add(batch.segments, batch.labels):
                yield "segments", self._chosen.rows()
        yield from self._read(batch.spans, batch.data)
        if batch.full:
            done, last = self.tracker.collect()
            yield from self._rows(done, last, batch.data)
            self.tracker.release(done.slots)

    def advance(self, now_ns: int, settle_ns: int) -> Iterator[Chunk]:
        """Packets before `now_ns` were all fed: hand over what closed and stayed quiet for `settings.linger_ns`.

        Closes whose last segment is `settle_ns` old are given to `on_close`, each once: early, with what is known now.
        Their rows come when they are final. Called at any times, or never, the tables are the same.
        """
        if self.on_close is not None:
            slots = self.tracker.over(now_ns - settle_ns)
            slots = slots[self.tracker.flows["told"][slots] == 0]
            if slots.size:
                self._tell_early(self.tracker.look_at(slots))
                self.tracker.flows["told"][slots] = 1
        if self.settings.linger_ns:
            self.tracker.let_go(now_ns)
            if int(self.tracker.meta[0]["n_ended"]):
                done, last = self.tracker.collect()
                yield from self._rows(done, last, np.zeros(1, np.uint8))  # what is delivered is in the store
                self.tracker.release(done.slots)

    def finish(self) -> Iterator[Chunk]:
        """The capture is over: yield everything that was still open, and the tables about the whole."""
        self.decoder.finish()
        yield from self.waiting_segments()
        nothing = np.zeros(1, np.uint8)  # what is delivered last is in the store
        # First what protocols read, then the verdicts: tables of the first can be written meanwhile.
        remaining = self.tracker.remaining()
        known = []
        for slots in remaining:
            known.append((yield from self._end(slots, self.tracker.flush(slots), nothing)))
        yield from self.protocols.finish(self.ledger)
        self._tell_complete(READ)
        bursts = self._bursts()
        for slots, (applications, units) in zip(remaining, known, strict=True):
            yield from self._judge(self.tracker.finished(slots), applications, units, bursts)
        self._tell_complete(JUDGED)
        if self._plaintext is not None:
            self._plaintext.tell(self.ledger)
        self._note_anomalies()
        yield from self.whole()

    def so_far(self) -> Iterator[Chunk]:
        """Yield rows that wait for company."""
        yield from self.protocols.so_far()

    def standing(self) -> Iterator[Chunk]:
        """Return the rows that connections which were not handed over would have if they ended as they stand now.

        They are copied at once. Their rows are made when they are asked for, by any thread, while packets go on.
        """
        done, ticks = self.tracker.standing(MOST_STANDING)
        if done.flows.shape[0] == 0:
            return iter(())
        from analyzer.classify.standing import rows_of

        applications = self.protocols.look_at(done.slots, done.flows["flow_id"])
        return rows_of(done, ticks, applications, self._bursts(), self.end_ns, self.settings)

    def findings(self) -> pa.Table:
        """Return the findings about the connections that were handed over so far."""
        from analyzer.tables.build import to_arrow

        if self._findings is None or self._timeouts is None:
            return to_arrow("findings", {})
        inferred = self._timeouts.columns()
        return to_arrow("findings", self._findings.columns(inferred, self._timeouts.peers))

    def whole(self) -> Iterator[Chunk]:
        """Yield the tables about the whole, as they stand now."""
        from analyzer.classify.whole import whole_tables

        if len(self.files) == 1:
            self._count_the_only_file()
        yield from whole_tables(self._endpoints, self._timeouts, self._findings, self.files, self.ledger)

    def waiting_segments(self) -> Iterator[Chunk]:
        """Yield the segments of chosen flows that were not yielded yet; `finish` does so by itself."""
        if self._chosen is not None and self._chosen.waiting:
            yield "segments", self._chosen.rows()

    # -------------------------------------------------------------------------------------- inside
    def _tell_complete(self, names: Sequence[str]) -> None:
        if self.on_complete is not None:
            self.on_complete(names)

    def _new_secrets(self) -> list[bytes]:
        """Return the secrets that files brought since the last batch: they hold for that batch and all after it."""
        if not self.files:
            return []
        new = self.files[0].secrets[self._secrets_taken :]  # the list of all files
        self._secrets_taken += len(new)
        return new

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

    def _note_units(self, spans: Records, data: U8) -> None:
        if spans.shape[0] and not self._only_segments:
            self.units.feed(spans, spans.shape[0], data, self.tracker.pages, self.tracker.flows.shape[0])

    def _read(self, spans: Records, data: U8) -> Iterator[Chunk]:
        """Give spans to the protocols; yield the tables that are ready."""
        if spans.shape[0] and not self._only_segments:
            yield from self.protocols.feed(spans, data, self.tracker.pages, self.tracker.flows)

    def _rows(self, done: Finished, last: Records, data: U8) -> Iterator[Chunk]:
        """Let protocols read the last spans of finished flows, classify these, and yield their tables."""
        applications, units = yield from self._end(done.slots, last, data)
        yield from self._judge(done, applications, units, self._bursts())

    def _end(self, slots: I32, last: Records, data: U8) -> Generator[Chunk, None, tuple[Applications, Records]]:
        """Let protocols read the last spans of finished flows; return what they and the units know of these."""
        flow_ids = self.tracker.flows["flow_id"][slots]
        self._note_units(last, data)
        yield from self._read(last, data)
        yield from self.protocols.close(slots, self.tracker.flows)
        applications = self.protocols.applications(slots, flow_ids)
        self.protocols.release(slots)
        return applications, self.units.close(slots, flow_ids)

    def _bursts(self) -> Records:
        """Return when servers ended many connections at once so far (`bursts.BURST`)."""
        from analyzer.classify.bursts import CLOSE, closes_of, recent_bursts
        from analyzer.classify.grouped import Latest

        known = Latest(CLOSE) if self._findings is None else self._findings.closes  # of those that were handed over
        here = self.tracker.flows[: self.tracker.meta[0]["n_slots"]]
        return recent_bursts(known, closes_of(here, self.tracker.sides))

    def _judge(self, done: Finished, applications: Applications, units: Records, bursts: Records) -> Iterator[Chunk]:
        """Classify finished flows and yield their tables."""
        if done.flows.shape[0] == 0 and done.probes.shape[0] == 0 and done.gaps.shape[0] == 0:
            return
        from analyzer.classify.beats import inferred, kinds
        from analyzer.classify.bursts import in_burst
        from analyzer.classify.closing import closes
        from analyzer.classify.endpoints import Endpoints
        from analyzer.classify.explicit_beats import answered_in_other_words, explicit
        from analyzer.classify.facts import Facts
        from analyzer.classify.findings import Findings
        from analyzer.classify.flow import flows
        from analyzer.classify.grouped import LIVE_FLOWS
        from analyzer.classify.idle_gap import idle_gaps
        from analyzer.classify.keepalive import keepalives
        from analyzer.classify.timeouts import Timeouts
        from analyzer.classify.verdict import judge
        from analyzer.knowledge.load import Knowledge
        from analyzer.tables.build import to_arrow

        facts = Facts(done, applications, self.end_ns, self.settings)
        facts.together = in_burst(facts, bursts)
        verdict = judge(facts)
        limit = LIVE_FLOWS if self.settings.linger_ns else 0
        if self._endpoints is None:
            self._endpoints = Endpoints(limit)
        if self._timeouts is None:
            self.knowledge = self.knowledge or Knowledge.shipped()
            self._timeouts = Timeouts(self.knowledge, self.settings.idle_min_ns, limit)
        close_columns = closes(facts, verdict)
        self._endpoints.add(facts, verdict, close_columns["race"].codes)
        self._timeouts.add(facts, verdict, close_columns["idle_app_s"])
        if self._findings is None:
            self._findings = Findings(limit)
        self._findings.add(facts, verdict, close_columns)
        facts.beats = answered_in_other_words(facts.beats, units)
        beats_read, series_read = explicit(facts, self._timeouts.knowledge)
        yield "heartbeats", to_arrow("heartbeats", beats_read)
        yield "heartbeat_series", to_arrow("heartbeat_series", series_read)
        heartbeats, series = inferred(units, facts, series_read, self._timeouts.knowledge)
        yield "heartbeats", to_arrow("heartbeats", heartbeats)
        yield "heartbeat_series", to_arrow("heartbeat_series", series)
        for beats, of_these in ((beats_read, series_read), (heartbeats, series)):
            self._findings.add_beats(facts, verdict, close_columns, beats, of_these)
        flow_columns = flows(facts, verdict, close_columns) | {"heartbeat_kinds": kinds(facts, series_read, series)}
        yield "flows", to_arrow("flows", flow_columns)
        yield "keepalives", to_arrow("keepalives", keepalives(facts))
        yield "idle_gaps", to_arrow("idle_gaps", idle_gaps(facts))
        close_rows = to_arrow("closes", close_columns)
        yield "closes", close_rows
        self._tell(done, close_rows)

    def _tell_early(self, done: Finished) -> None:
        """Give the closes of flows that linger to `on_close`."""
        from analyzer.classify.bursts import in_burst
        from analyzer.classify.closing import closes
        from analyzer.classify.facts import Facts
        from analyzer.classify.verdict import judge
        from analyzer.tables.build import to_arrow

        applications = self.protocols.look_at(done.slots, done.flows["flow_id"])
        facts = Facts(done, applications, self.end_ns, self.settings)
        facts.together = in_burst(facts, self._bursts())
        self._tell(done, to_arrow("closes", closes(facts, judge(facts))))

    def _tell(self, done: Finished, rows: pa.Table) -> None:
        """Give the closes among `done` that were not told yet to `on_close`. rows: `closes`, one for each flow."""
        if self.on_close is None:
            return
        here = untold(done)
        if here.size:
            import pyarrow as pa

            from analyzer.classify.watching import ends_of

            chosen = rows.take(pa.array(here))
            for side in ("client", "server"):
                chosen = chosen.append_column(side, pa.array(ends_of(done.flows[here], side), pa.string()))
            self.on_close(chosen)

    def _count_the_only_file(self) -> None:
        m = self.tracker.meta[0]
        self.files[0].tcp_segments = int(m["tcp_segments"])
        self.files[0].duplicates = int(m["duplicates"])

    def _note_anomalies(self) -> None:
        m = self.tracker.meta[0]
        for code, name in (
            ("flow.ack_unseen", "ack_unseen"), ("stream.reorder_cap", "reorder_cap"), ("tcp.bad_flags", "bad_flags"),
        ):  # fmt: skip
            if m[name]:
                self.ledger.note(code, int(m[name]), flow_id=int(m[name + "_flow"]), frame=int(m[name + "_frame"]))
        u = self.units.noted[0]
        if u["lost"]:
            self.ledger.note(
                "heartbeat.units_cap", int(u["lost"]), flow_id=int(u["lost_flow"]), frame=int(u["lost_frame"])
            )
        self.ledger.note("flow.evicted", self.tracker.evicted)
