"""What a capture amounts to, gathered chunk by chunk in bounded memory.

`summarize` takes the chunks of all tables in any order and any split, and gives the same `Summary`. It holds counters,
a few examples per kind of trouble, and the addresses of flows until it is known which ones are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analyzer.tables.kinds import place

SILENCES = 5
"""Longest silences kept."""

EXAMPLES = 5
"""Flows named per kind of trouble: enough to open one in Wireshark, few enough for a line."""

ADDRESS_ROWS = 500_000
"""Flows whose addresses are held until it is known which are named: about 30 MB. Beyond it, only an eighth is kept, the
flows with the longest silences: no other can be named."""

TOLD_TOO = "timeout.idle"
"""A finding that is no trouble, but says why connections ended: it is told by its title."""

DAMAGE = ("capture.truncated", "capture.damaged", "capture.bad_block")
"""Anomalies that mean the input was not whole: the exit code of the command says so."""

_ADDRESSES = ("flow_id", "client_ip", "client_port", "server_ip", "server_port", "max_payload_gap_s")
_FILE_COLUMNS = ("file", "format", "packets", "tcp_segments", "truncated", "error")
_FILE_COUNTS = ("snaplen_clipped", "dropped_reported", "duplicates")
_SILENCE_COLUMNS = (
    "flow_id", "duration_s", "class", "filled_by", "ended_by", "censored", "start_frame", "end_frame",
)  # fmt: skip
# Only these columns become Python objects. A time never does: pyarrow would need pandas for its nanoseconds.


@dataclass(frozen=True, slots=True)
class Silence:
    """One row of idle_gaps, with the flow's ends."""

    flow_id: int
    duration_s: float
    kind: str
    filled_by: str
    ended_by: str
    censored: bool
    start_frame: int | None
    end_frame: int | None
    client: str = ""
    server: str = ""
    process: int | None = None  # whose flow_id it is, if there are several


@dataclass(slots=True)
class Beating:
    """The heartbeats of one protocol: series, beats, of these missed, and the shortest and longest period."""

    series: int = 0
    beats: int = 0
    missed: int = 0
    shortest_s: float | None = None
    longest_s: float | None = None


@dataclass(slots=True)
class Trouble:
    """Flows with the same trouble: how many, the first of them, and what the first one's verdict says.

    kind   a close_kind, `race.<kind>`, `finding.<code>` (each finding apart), or stalled_zero_window (counted in
           silences, not flows)
    process  whose flow_ids they are, if there are several
    """

    kind: str
    count: int = 0
    flow_ids: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    text: str = ""
    process: int | None = None


@dataclass(slots=True)
class Summary:
    """The counts and examples that a screen of text, or summary.json, is made of."""

    files: list[dict[str, Any]] = field(default_factory=list)
    packets: int = 0
    tcp_segments: int = 0
    first_ts: str | None = None
    last_ts: str | None = None
    duration_s: float | None = None
    snaplen_clipped: int = 0
    dropped_reported: int | None = None
    duplicates: int = 0
    damaged: bool = False
    anomalies: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    closes: dict[str, dict[str, int]] = field(default_factory=dict)  # close_kind -> initiator -> flows
    silences: list[Silence] = field(default_factory=list)
    probing_flows: int = 0
    probes: int = 0
    unanswered_flows: int = 0
    unanswered: int = 0
    heartbeats: dict[str, Beating] = field(default_factory=dict)  # by protocol
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def flows(self) -> int:
        """Return how many connections there are."""
        return self.rows.get("flows", 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for summary.json."""
        return asdict(self)


def merged(summaries: Mapping[int, Summary]) -> Summary:
    """Return the summary of what several processes captured of the same interfaces, by the processes' numbers.

    Flows are named of one process for each kind of trouble, the first that has any.
    """
    made = Summary()
    files: dict[str, dict[str, Any]] = {}
    troubles: dict[str, Trouble] = {}
    for process, one in summaries.items():
        for name in _SUMS:
            setattr(made, name, getattr(made, name) + getattr(one, name))
        for mine, theirs in ((made.anomalies, one.anomalies), (made.rows, one.rows)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for kind, by in one.closes.items():
            mine = made.closes.setdefault(kind, {})
            for initiator, flows in by.items():
                mine[initiator] = mine.get(initiator, 0) + flows
        if one.dropped_reported is not None:
            made.dropped_reported = (made.dropped_reported or 0) + one.dropped_reported
        made.damaged |= one.damaged
        made.silences += [replace(silence, process=process) for silence in one.silences]
        for protocol, beating in one.heartbeats.items():
            _add_beating(made.heartbeats.setdefault(protocol, Beating()), beating)
        for trouble in one.troubles:
            of_one = f"{trouble.kind}: {trouble.text}" if trouble.kind.startswith("finding.") else trouble.kind
            same = troubles.setdefault(of_one, replace(trouble, count=0, process=process))
            same.count += trouble.count
        for row in one.files:
            _add_file(files.setdefault(row["file"], {**row, "packets": 0, "tcp_segments": 0}), row)
    made.closes = dict(sorted(made.closes.items()))
    made.silences = sorted(made.silences, key=lambda silence: -silence.duration_s)[:SILENCES]
    made.files, made.troubles = list(files.values()), list(troubles.values())
    made.first_ts = min((one.first_ts for one in summaries.values() if one.first_ts is not None), default=None)
    made.last_ts = max((one.last_ts for one in summaries.values() if one.last_ts is not None), default=None)
    if made.first_ts is not None and made.last_ts is not None:
        made.duration_s = (_ns(made.last_ts) - _ns(made.first_ts)) / 1e9
    return made


_SUMS = (
    "packets", "tcp_segments", "snaplen_clipped", "duplicates", "probing_flows", "probes", "unanswered_flows",
    "unanswered",
)  # fmt: skip


def _add_beating(made: Beating, other: Beating) -> None:
    made.series, made.beats, made.missed = (
        made.series + other.series, made.beats + other.beats, made.missed + other.missed,
    )  # fmt: skip
    periods = [s for s in (made.shortest_s, made.longest_s, other.shortest_s, other.longest_s) if s is not None]
    made.shortest_s, made.longest_s = min(periods, default=None), max(periods, default=None)


def _add_file(made: dict[str, Any], row: Mapping[str, Any]) -> None:
    for name in ("packets", "tcp_segments"):
        made[name] += row[name] or 0
    made["truncated"] = made["truncated"] or row["truncated"]
    said = [*(made["error"] or "").split("; "), *(row["error"] or "").split("; ")]
    made["error"] = "; ".join(dict.fromkeys(filter(None, said))) or None


def summarize(tables: Iterable[tuple[str, pa.Table]]) -> Summary:
    """Return the summary of (table name, chunk) pairs."""
    collector = Collector()
    for name, rows in tables:
        collector.add(name, rows)
    return collector.result()


class Collector:
    """Gathers a `Summary`: `add` every chunk, then ask for the `result`."""

    def __init__(self) -> None:
        self._made = Summary()
        self._closes: Counter[tuple[str, str]] = Counter()
        self._silences: list[Silence] = []
        self._troubles: dict[str, Trouble] = {}
        self._addresses: list[pa.Table] = []
        self._span: list[Any] = []

    def add(self, name: str, rows: pa.Table) -> None:
        """Take in one chunk of table `name`."""
        self._made.rows[name] = self._made.rows.get(name, 0) + rows.num_rows
        take = getattr(self, f"_add_{name}", None)
        if take is not None and rows.num_rows:
            take(rows)

    def result(self) -> Summary:
        """Return what was gathered so far."""
        made = self._made
        made.closes = {}
        for (kind, initiator), flows in sorted(self._closes.items()):
            made.closes.setdefault(kind, {})[initiator] = flows
        ends = self._ends_of({silence.flow_id for silence in self._silences})
        made.silences = [_with_ends(silence, *ends.get(silence.flow_id, ("", ""))) for silence in self._silences]
        made.troubles = list(self._troubles.values())
        if self._span:
            first, last = min(self._span), max(self._span)
            made.first_ts, made.last_ts = _iso(first), _iso(last)
            made.duration_s = (last - first) / 1e9
        return made

    # -------------------------------------------------------------------------------------- one per table

    def _add_flows(self, rows: pa.Table) -> None:
        probes = pc.add(pc.fill_null(rows["keepalive_probes_c"], 0), pc.fill_null(rows["keepalive_probes_s"], 0))
        lost = pc.add(pc.fill_null(rows["keepalive_unanswered_c"], 0), pc.fill_null(rows["keepalive_unanswered_s"], 0))
        self._made.probing_flows += pc.sum(pc.greater(probes, 0)).as_py()
        self._made.probes += pc.sum(probes).as_py()
        self._made.unanswered_flows += pc.sum(pc.greater(lost, 0)).as_py()
        self._made.unanswered += pc.sum(lost).as_py()
        self._addresses.append(rows.select(_ADDRESSES).combine_chunks())
        if sum(chunk.num_rows for chunk in self._addresses) > ADDRESS_ROWS:
            rows = pa.concat_tables(self._addresses)
            quietest = pc.select_k_unstable(rows, ADDRESS_ROWS // 8, sort_keys=[("max_payload_gap_s", "descending")])
            named = pa.array(sorted({silence.flow_id for silence in self._silences}), pa.int64())
            already = pc.indices_nonzero(pc.is_in(rows["flow_id"], value_set=named))
            keep = pc.unique(pa.concat_arrays([quietest, already]))
            self._addresses = [rows.take(keep).combine_chunks()]

    def _add_heartbeat_series(self, rows: pa.Table) -> None:
        protocols = pc.fill_null(rows["protocol"], "unknown")
        for protocol in pc.unique(protocols).to_pylist():
            mine = rows.filter(pc.equal(protocols, protocol))
            made = self._made.heartbeats.setdefault(protocol, Beating())
            made.series += mine.num_rows
            made.beats += pc.sum(mine["beats"]).as_py() or 0
            seen = pc.min_max(mine["period_s"]).as_py()
            periods = [s for s in (made.shortest_s, made.longest_s, *seen.values()) if s]
            made.shortest_s, made.longest_s = min(periods, default=None), max(periods, default=None)

    def _add_heartbeats(self, rows: pa.Table) -> None:
        missed = rows.filter(pc.fill_null(rows["missed"], False))
        for protocol, count in _counts(missed["protocol"]):
            self._made.heartbeats.setdefault(protocol, Beating()).missed += count

    def _add_idle_gaps(self, rows: pa.Table) -> None:
        order = [("duration_s", "descending"), ("flow_id", "ascending"), ("start_frame", "ascending")]
        top = rows.select(_SILENCE_COLUMNS).take(pc.sort_indices(rows, sort_keys=order)[:SILENCES])
        self._silences += [
            Silence(
                row["flow_id"], row["duration_s"] or 0.0, row["class"] or "unknown", row["filled_by"] or "none",
                row["ended_by"] or "unknown", bool(row["censored"]), row["start_frame"], row["end_frame"],
            )
            for row in top.to_pylist()
        ]  # fmt: skip
        self._silences.sort(key=lambda silence: (-silence.duration_s, silence.flow_id, silence.start_frame or 0))
        del self._silences[SILENCES:]
        stalled = rows.filter(pc.fill_null(pc.equal(rows["class"], "stalled_zero_window"), False))
        if stalled.num_rows:
            text = "the receiver closed its window and the connection stood still"
            self._note("stalled_zero_window", stalled, text)

    def _add_closes(self, rows: pa.Table) -> None:
        kinds = pc.fill_null(rows["close_kind"], "unknown")
        for kind in pc.unique(kinds).to_pylist():
            chosen = rows.filter(pc.equal(kinds, kind))
            for initiator, count in _counts(chosen["initiator"]):
                self._closes[kind, initiator] += count
            self._note(kind, chosen)
        races = rows.filter(pc.fill_null(pc.not_equal(rows["race"], "none"), False))
        for race in pc.unique(races["race"]).to_pylist():
            chosen = races.filter(pc.equal(races["race"], race))
            self._note(f"race.{race}", chosen)

    def _add_findings(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            worth = row["severity"] in ("error", "warning")
            if worth or row["code"] == TOLD_TOO:
                flow_ids = [int(word) for word in (row["flow_ids"] or "").replace(",", " ").split() if word.isdecimal()]
                text = ". ".join(filter(None, (row["title"], row["recommendation"] if worth else None)))
                self._troubles[f"finding.{row['finding_id']}"] = Trouble(
                    f"finding.{row['code']}", len(flow_ids), flow_ids[:EXAMPLES], list(row["evidence_frames"] or []),
                    text,
                )  # fmt: skip

    def _add_captures(self, rows: pa.Table) -> None:
        made = self._made
        for row in rows.select(_FILE_COLUMNS + _FILE_COUNTS).to_pylist():
            made.files.append({name: row[name] for name in _FILE_COLUMNS})
            made.packets += row["packets"] or 0
            made.tcp_segments += row["tcp_segments"] or 0
            made.snaplen_clipped += row["snaplen_clipped"] or 0
            made.duplicates += row["duplicates"] or 0
            made.damaged |= bool(row["truncated"])
            if row["dropped_reported"] is not None:
                made.dropped_reported = (made.dropped_reported or 0) + row["dropped_reported"]
        for name in ("first_ts", "last_ts"):
            self._span += pc.drop_null(rows[name]).cast(pa.int64()).to_pylist()

    def _add_anomalies(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            code, count = row["code"], row["count"] or 0
            self._made.anomalies[code] = self._made.anomalies.get(code, 0) + count
            self._made.damaged |= code in DAMAGE and count > 0

    # -------------------------------------------------------------------------------------- small parts

    def _note(self, kind: str, rows: pa.Table, text: str = "") -> None:
        """Count `rows` for `kind`; the flows with the lowest ids are named, the lowest is the example."""
        trouble = self._troubles.setdefault(kind, Trouble(kind))
        trouble.count += rows.num_rows
        example = trouble.flow_ids[:1]
        ids = pc.unique(rows["flow_id"])
        lowest = ids.take(pc.sort_indices(ids)[:EXAMPLES]).to_pylist()
        trouble.flow_ids = sorted({*trouble.flow_ids, *lowest})[:EXAMPLES]
        if trouble.flow_ids[:1] != example:
            named = [
                name
                for name in ("evidence_frames", "start_frame", "end_frame", "explanation")
                if name in rows.column_names
            ]
            row = rows.filter(pc.equal(rows["flow_id"], trouble.flow_ids[0])).slice(0, 1).select(named).to_pylist()[0]
            trouble.frames = list(row.get("evidence_frames") or [])
            trouble.frames = trouble.frames or [row[key] for key in ("start_frame", "end_frame") if row.get(key)]
            trouble.text = text or row.get("explanation") or ""

    def _ends_of(self, flow_ids: set[int]) -> dict[int, tuple[str, str]]:
        wanted = pa.array(sorted(flow_ids), pa.int64())
        found = {}
        for chunk in self._addresses:
            for row in chunk.filter(pc.is_in(chunk["flow_id"], value_set=wanted)).to_pylist():
                client = place(row["client_ip"], row["client_port"])
                found[row["flow_id"]] = (client, place(row["server_ip"], row["server_port"]))
        return found


def _counts(words: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Return each word and how often it is there. `group_by` would do, but loads all that reads datasets."""
    return [(row["values"], row["counts"]) for row in pc.value_counts(pc.fill_null(words, "unknown")).to_pylist()]


def _with_ends(silence: Silence, client: str, server: str) -> Silence:
    return Silence(**{**asdict(silence), "client": client, "server": server})


def _iso(ts_ns: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ts_ns % 10**9:09d}Z"


def _ns(iso: str) -> int:
    """Return the nanoseconds of what `_iso` made."""
    from datetime import datetime

    return int(datetime.fromisoformat(iso[:19] + "+00:00").timestamp()) * 10**9 + int(iso[20:29])
