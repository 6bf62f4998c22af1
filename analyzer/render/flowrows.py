"""All that the tables say about one connection, gathered from a stream of chunks in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from analyzer.render.plain import Row, plain_rows
from analyzer.render.tape import Tape
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 1_000
"""Rows of one table kept for one connection: of silences the longest, else of more the first half and the latest half.
How many there were is known, and what `TALLIED` says of them."""

TALLIED: dict[str, Callable[[Row], str | None]] = {
    "idle_gaps": lambda row: "survived" if row["survived"] else None,
    "http_requests": lambda row: None if row["complete"] else "not complete",
    "http2_frames": lambda row: None if row["ack"] else row["type"],
    "websocket_frames": lambda row: row["opcode"],
}
"""What every row counts as, also those that are not kept."""

ABOUT_FLOWS = ("timeouts", "findings")
"""Tables over several connections that name them in `flow_ids`."""

_SKIPPED = ("segments", "captures", "anomalies", "endpoints")


@dataclass(slots=True)
class FlowRows:
    """What is known of one connection: its rows by table (times in UTC nanoseconds), and its segments."""

    flow_id: int
    tape: Tape = field(default_factory=Tape)
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    tallies: dict[str, Counter[str | None]] = field(default_factory=lambda: {name: Counter() for name in TALLIED})
    longest_pause_s: float = 0.0  # before a request

    @property
    def found(self) -> bool:
        """Return whether the capture has such a connection."""
        return bool(self.rows["flows"])

    @property
    def flow(self) -> Row:
        """Return its row of `flows`."""
        return self.rows["flows"][0]

    @property
    def close(self) -> Row:
        """Return its row of `closes`; empty if there is none."""
        return self.rows["closes"][0] if self.rows["closes"] else {}

    def add(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`; those of other flows are ignored."""
        if name in ABOUT_FLOWS:
            named = [row for row in plain_rows(rows) if str(self.flow_id) in (row["flow_ids"] or "").split()]
            self.keep(name, named)
        elif name not in _SKIPPED or name == "segments":
            own = rows.filter(pc.equal(rows["flow_id"], self.flow_id))
            if name == "segments":
                self.tape.add(own)
            elif own.num_rows:
                self.keep(name, plain_rows(own))

    def keep(self, name: str, rows: list[Any]) -> None:
        """Take plain rows of table `name`, all of them of this connection."""
        self.counts[name] += len(rows)
        if name in TALLIED:
            self.tallies[name].update(map(TALLIED[name], rows))
        if name == "http_requests":
            self.longest_pause_s = max([self.longest_pause_s, *(row["idle_before_s"] or 0.0 for row in rows)])
        held = self.rows[name] + rows
        if len(held) > 2 * MAX_ROWS:
            held = _longest(held) if name == "idle_gaps" else held[: MAX_ROWS // 2] + held[-MAX_ROWS // 2 :]
        self.rows[name] = held


def _longest(silences: list[Row]) -> list[Row]:
    """Return the longest, in their order."""
    by_length = sorted(range(len(silences)), key=lambda at: -(silences[at]["duration_s"] or 0.0))
    return [silences[at] for at in sorted(by_length[:MAX_ROWS])]
