"""The segments of one connection, kept in bounded memory however long it is.

Kept whole are the first and the last segments, those with flags or labels that tell something, and both ends of every
silence. Of the others only their number and bytes are known, and a histogram over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.render.plain import plain_rows

FIRST = 40
"""Segments kept from the start: handshakes of TCP and TLS and the first exchange."""
LAST = 60
"""Segments kept from the end: what led to the close, with retries."""
TELLING = 400
"""Telling segments kept between them, half of them the earliest and half the latest."""
SILENCE_NS = 1_000_000_000
"""Both ends of a silence this long are kept."""
BINS = 256
"""Bins of the histogram; when time outgrows them, their width doubles."""

_COLUMNS = ("frame", "ts", "dir", "seq_rel", "ack_rel", "len", "flags", "window", "ttl", "analysis", "answers_frame")


@dataclass(frozen=True, slots=True)
class Segment:
    """One kept segment, with what came before it in the connection.

    n  place in the connection, from 0    bytes_c, bytes_s  payload of both directions before it
    """

    n: int
    bytes_c: int
    bytes_s: int
    frame: int
    ts_ns: int
    from_client: bool
    seq: int
    ack: int | None
    length: int
    flags: str
    window: int | None
    ttl: int
    labels: tuple[str, ...]
    answers: int | None


class Tape:
    """Takes the `segments` rows of one flow in capture order."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes = [0, 0]  # payload so far: from the client, from the server
        self._parts: dict[str, list[pa.Table]] = {"first": [], "telling": [], "last": []}
        self._latest = 0
        self._start: int | None = None
        self._width_ns = 1_000_000
        self._made: list[Segment] | None = None
        self._bins: NDArray[np.int64] = np.zeros((2, BINS), np.int64)

    def add(self, rows: pa.Table) -> None:
        """Take more rows."""
        if not rows.num_rows:
            return
        self._made = None
        ts = rows["ts"].cast(pa.int64()).to_numpy()
        client = pc.equal(rows["dir"], "c2s").to_numpy(zero_copy_only=False)
        length = rows["len"].to_numpy()
        before = [total + np.cumsum(np.where(mine, length, 0)) - np.where(mine, length, 0)
                  for total, mine in zip(self.bytes, (client, ~client), strict=True)]  # fmt: skip
        n = np.arange(self.count, self.count + rows.num_rows)
        kept = rows.select(_COLUMNS)
        for name, values in (("n", n), ("bytes_c", before[0]), ("bytes_s", before[1])):
            kept = kept.append_column(name, pa.array(values))
        self._sort_out(kept, ts, n)
        self._count_up(ts, client, length)
        self.count += rows.num_rows
        self.bytes = [self.bytes[0] + int(length[client].sum()), self.bytes[1] + int(length[~client].sum())]
        self._latest = int(ts[-1])

    def segments(self) -> list[Segment]:
        """Return the kept segments in order, each once."""
        if self._made is None:
            parts = [rows for part in self._parts.values() for rows in part]
            rows = pa.concat_tables(parts) if parts else pa.table({"n": pa.array([], pa.int64())})
            found = {row["n"]: row for row in plain_rows(rows)}
            self._made = [_segment(found[n]) for n in sorted(found)]
        return self._made

    def histogram(self, bins: int, first_ns: int, last_ns: int) -> list[list[int]]:
        """Return payload bytes over time, [from the client, from the server], in `bins` equal parts of the span."""
        out = np.zeros((2, bins), np.int64)
        if self._start is None:
            return [side.tolist() for side in out]
        middle = self._start + (np.arange(BINS) + 0.5) * self._width_ns
        place = np.clip((middle - first_ns) * bins // max(1, last_ns - first_ns), 0, bins - 1).astype(np.int64)
        for side in range(2):
            np.add.at(out[side], place, self._bins[side])
        return [side.tolist() for side in out]

    # -------------------------------------------------------------------------------------- inside

    def _sort_out(self, rows: pa.Table, ts: NDArray[np.int64], n: NDArray[np.int64]) -> None:
        quiet_before = np.diff(ts, prepend=self._latest if self.count else ts[0]) >= SILENCE_NS
        quiet_after = np.append(quiet_before[1:], False)
        flagged = pc.match_substring_regex(pc.fill_null(rows["flags"], ""), "[SFR]").to_numpy(zero_copy_only=False)
        labelled = pc.is_valid(rows["analysis"]).to_numpy(zero_copy_only=False)
        telling = quiet_before | quiet_after | flagged | labelled
        if quiet_before[0] and self._parts["last"]:  # the row before this chunk is the other end of the silence
            previous = pa.concat_tables(self._parts["last"])
            self._parts["telling"].append(previous.slice(previous.num_rows - 1))
        self._keep("first", rows.filter(pa.array(n < FIRST)))
        self._keep("telling", rows.filter(pa.array(telling & (n >= FIRST))))
        self._keep("last", rows.slice(max(0, rows.num_rows - LAST)))
        self._parts["last"] = _trim(self._parts["last"], 0, LAST, slack=8 * LAST)
        self._parts["telling"] = _trim(self._parts["telling"], TELLING // 2, TELLING // 2, slack=4 * TELLING)

    def _keep(self, part: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self._parts[part].append(rows)

    def _count_up(self, ts: NDArray[np.int64], client: NDArray[np.bool_], length: NDArray[np.int64]) -> None:
        if self._start is None:
            self._start = int(ts[0])
        at = np.maximum(ts - self._start, 0)
        while int(at.max()) >= BINS * self._width_ns:
            halves = self._bins.reshape(2, BINS // 2, 2).sum(axis=2)
            self._bins = np.concatenate([halves, np.zeros_like(halves)], axis=1)
            self._width_ns *= 2
        for side, mine in enumerate((client, ~client)):
            np.add.at(self._bins[side], at[mine] // self._width_ns, length[mine])


def _trim(parts: list[pa.Table], first: int, last: int, slack: int) -> list[pa.Table]:
    """Return the first and last rows only, once there are many more than that."""
    count = sum(rows.num_rows for rows in parts)
    if count <= first + last + slack:
        return parts
    rows = pa.concat_tables(parts)
    tail = rows.slice(count - last)
    return [rows.slice(0, first).combine_chunks(), tail.combine_chunks()] if first else [tail.combine_chunks()]


def _segment(row: dict[str, Any]) -> Segment:
    return Segment(
        row["n"], row["bytes_c"], row["bytes_s"], row["frame"], row["ts"], row["dir"] == "c2s", row["seq_rel"],
        row["ack_rel"], row["len"], row["flags"] or "", row["window"], row["ttl"],
        tuple((row["analysis"] or "").split(",")) if row["analysis"] else (), row["answers_frame"],
    )  # fmt: skip
