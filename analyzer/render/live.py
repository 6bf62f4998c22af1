"""What a running capture says: JSON lines, plain lines, or a screen that is kept up to date.

Addresses and explanations may hold what the wire chose, so all of it goes through `escape`.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from analyzer.classify.finding_codes import SEVERITIES
from analyzer.classify.watching import OpenFlow, Snapshot
from analyzer.render.escape import visible
from analyzer.render.rows import json_lines
from analyzer.tables.kinds import Column, Table, number, text
from analyzer.tables.schema import TABLES

RECENT = 12
"""Closes that the screen shows."""

_ENDS = (text("client", "ip:port of the client"), text("server", "ip:port of the server"))
_EVENT: dict[str, Column] = {
    "event": text("event", "what the line is about"),
    "process": number("process", "whose flow_id it is"),
}


@dataclass(slots=True)
class Now:
    """The numbers of one moment, for the screen and the metrics."""

    interfaces: str = ""
    running_s: float = 0.0
    packets: int = 0
    packets_per_s: float = 0.0
    dropped: int = 0
    segments: int = 0
    recorded: str = ""
    problem: str = ""
    snapshot: Snapshot = field(default_factory=Snapshot)
    findings: list[str] = field(default_factory=list)

    @staticmethod
    def merged(numbers: Sequence[Now]) -> Now:
        """Return the numbers of several processes that share their interfaces; findings are not among them."""
        return Now(
            numbers[0].interfaces if numbers else "",
            max((one.running_s for one in numbers), default=0.0),
            sum(one.packets for one in numbers),
            sum(one.packets_per_s for one in numbers),
            sum(one.dropped for one in numbers),
            sum(one.segments for one in numbers),
            ", ".join(one.recorded for one in numbers if one.recorded).replace(", recording ", ", "),
            next((one.problem for one in numbers if one.problem), ""),
            Snapshot.merged([one.snapshot for one in numbers]),
        )


def close_json(rows: pa.Table, process: int = 0) -> bytes:
    """Return closes as JSON objects, one a line: {"event":"close", ..., "client":"ip:port", "server":"ip:port"}.

    process  whose flow_ids they have, 0 = there is but one
    """
    return _json("close", TABLES["closes"], rows, _ENDS, process)


def finding_json(rows: pa.Table, process: int = 0) -> bytes:
    """Return findings as JSON objects, one a line."""
    return _json("finding", TABLES["findings"], rows, (), process)


def _json(event: str, declared: Table, rows: pa.Table, more: tuple[Column, ...], process: int) -> bytes:
    columns = (_EVENT["event"], *declared.columns, *more)
    named = rows.append_column("event", pa.array([event] * rows.num_rows, pa.string()))
    if process:
        columns = (columns[0], _EVENT["process"], *columns[1:])
        named = named.append_column("process", pa.array([process] * rows.num_rows, pa.int64()))
    return bytes(json_lines(Table(event, declared.row, declared.doc, (), columns), named))


class Firm:
    """Findings as they firm up: each is told when it is first there, and again when it became more severe."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str | None], int] = {}
        self._lines: dict[int, list[str]] = {}  # by process

    @property
    def all(self) -> list[str]:
        """Return every finding that is there now, as a line; what several processes say in one."""
        made: list[str] = []
        for lines in self._lines.values():
            made += [line for line in lines if line not in made]
        return made

    def new(self, rows: pa.Table, process: int = 0) -> pa.Table:
        """Take the findings of this moment, of one process; return those to tell."""
        chosen = []
        codes, endpoints, severities = (rows[name].to_pylist() for name in ("code", "endpoint", "severity"))
        for k, (code, endpoint, severity) in enumerate(zip(codes, endpoints, severities, strict=True)):
            weight = len(SEVERITIES) - SEVERITIES.index(severity)
            if weight > self._told.get((code, endpoint), 0):
                self._told[code, endpoint] = weight
                chosen.append(k)
        self._lines[process] = finding_lines(rows)
        return rows.take(pa.array(chosen, pa.int64()))


def finding_lines(rows: pa.Table) -> list[str]:
    """Return findings as lines for people, without line ends."""
    columns = (rows[name].to_pylist() for name in ("severity", "title", "endpoint"))
    return [
        f"{severity}: {visible(title)}{' at ' + visible(endpoint) if endpoint else ''}"
        for severity, title, endpoint in zip(*columns, strict=True)
    ]


def close_lines(rows: pa.Table) -> list[str]:
    """Return closes as lines for people, without line ends."""
    chosen = rows.select(["ts", "close_kind", "initiator", "client", "server", "age_s", "explanation"])
    plain = chosen.set_column(0, "ts", chosen["ts"].cast(pa.int64())).to_pylist()  # a time would need pandas
    return [
        f"{clock(row['ts'])} {row['close_kind']} by {row['initiator']}  {visible(row['client'])} -> "
        f"{visible(row['server'])} after {seconds(row['age_s'] or 0.0)}. {visible(row['explanation'] or '')}"
        for row in plain
    ]


def status_line(now: Now) -> str:
    """Return one line about the capture as a whole."""
    states = ", ".join(f"{count:,} {state}" for state, count in now.snapshot.states.items() if count)
    dropped = f"{now.dropped:,} dropped" if now.dropped else "none dropped"
    return (
        f"{now.packets:,} packets ({now.packets_per_s:,.0f}/s), {dropped}; connections: {states or 'none'}"
        f"{'; ' + visible(now.recorded) if now.recorded else ''}{'; ' + visible(now.problem) if now.problem else ''}"
    )


class Screen:
    """A live screen on a terminal. Use it as a context manager; `show` draws."""

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        plain = bool(os.environ.get("NO_COLOR"))
        console = Console(file=file, markup=False, highlight=False, emoji=False, no_color=plain)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._closes: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()  # by protocol, of connections that ended

    def beaten(self, rows: pa.Table) -> None:
        """Take rows of `heartbeats`: how many were missed is shown."""
        self._missed.update(rows.filter(pc.fill_null(rows["missed"], False))["protocol"].to_pylist())

    def closed(self, rows: pa.Table) -> None:
        """Take closes to be shown."""
        self._closes.update(rows["close_kind"].to_pylist())
        last = rows.slice(max(0, rows.num_rows - RECENT))
        self._recent.extend(close_lines(last))

    def show(self, now: Now) -> None:
        """Draw."""
        self._live.update(self._page(now), refresh=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _page(self, now: Now) -> Any:
        from rich.console import Group
        from rich.text import Text

        def line(words: str, style: str = "") -> Text:
            return Text(words, style=style, no_wrap=True, overflow="ellipsis")

        parts = [
            line(f"longwire live {visible(now.interfaces)}, {seconds(now.running_s)}", "bold"),
            line(status_line(now)),
        ]
        if now.dropped:
            parts.append(line("packets were dropped: some verdicts will say capture_gap", "yellow"))
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self._closes.most_common(8))
        parts += [line(""), line("Closed", "bold"), line(f"  {kinds or 'none yet'}")]
        parts += [line(f"  {words}") for words in self._recent]
        if now.findings:
            parts += [line(""), line("Findings", "bold"), *(line(f"  {words}") for words in now.findings[:RECENT])]
        if self._missed:
            missed = ", ".join(f"{protocol} {count:,}" for protocol, count in self._missed.most_common(8))
            parts += [line(""), line("Heartbeats missed", "bold"), line(f"  {missed}")]
        parts += [line(""), line("Silent now", "bold")]
        parts += [line(f"  {seconds(flow.for_ns / 1e9):>10}  {_ends(flow)}") for flow in now.snapshot.silent]
        if now.snapshot.probing:
            parts += [line(""), line("Keep-alive probes without answer", "bold")]
            parts += [line(f"  {flow.unanswered:>3}  {_ends(flow)}") for flow in now.snapshot.probing]
        parts.append(line("Ctrl-C ends with a summary", "dim"))
        return Group(*parts)


def _ends(flow: OpenFlow) -> str:
    of = f" of process {flow.process}" if flow.process else ""
    return f"flow {flow.flow_id}{of}  {visible(flow.client)} -> {visible(flow.server)}"


def clock(ts_ns: int) -> str:
    """Return a time of day in UTC with milliseconds."""
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%H:%M:%S}.{ts_ns // 10**6 % 1000:03d}Z"


def seconds(value: float) -> str:
    """Return a span of time, short."""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.3f} s"
