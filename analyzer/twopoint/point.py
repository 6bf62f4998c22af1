"""One of two captures, as the comparison needs it: its connections, their segments, and when it ran.

Needs   tables flows, segments, keepalives and captures, as they come
Gives   Point
Memory  56 bytes per segment, and as many again while they are sorted; a row of `flows` per connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.errors import AnalyzerError
from analyzer.kernel import I64, Records

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_SEGMENTS = 20_000_000  # of one capture: a gigabyte

SEGMENT = np.dtype(
    [("flow", np.int64), ("frame", np.int64), ("ts", np.int64), ("seq", np.int64), ("ack", np.int64), ("len", np.int32),
     ("side", np.int8), ("bits", np.uint8), ("ttl", np.uint8)],
    align=True,
)  # fmt: skip
# Of SEGMENT.bits; probes as `segments.analysis` labels them
SYN, FIN, RST, PROBE, WINDOW_PROBE = 1, 2, 4, 8, 16

_BITS = (("flags", "S", SYN), ("flags", "F", FIN), ("flags", "R", RST),
         ("analysis", "keepalive_probe", PROBE), ("analysis", "zero_window_probe", WINDOW_PROBE))  # fmt: skip
FLOWS = (
    "flow_id", "client_ip", "client_port", "server_ip", "server_port", "first_ts", "start_seen", "mss_c", "mss_s",
    "wscale_c", "wscale_s", "sack_ok", "timestamps_ok", "close_kind",
)  # fmt: skip


class Point(NamedTuple):
    """One capture.

    segments  SEGMENT rows by connection and frame, `seq` and `ack` unwrapped
    wire      the same two as on the wire, `seq` in the upper half
    flows     rows of `flows` by flow_id; connection k has the segments begin[k] to begin[k + 1]
    answered  frames of keep-alive probes that something answered with an ACK
    """

    name: str
    flows: dict[int, dict[str, Any]]
    segments: Records
    wire: NDArray[np.uint64]
    begin: I64
    answered: frozenset[int]
    first_ns: int
    last_ns: int

    def of(self, flow: int) -> slice:
        """Return where the segments of a connection lie."""
        return slice(int(self.begin[flow]), int(self.begin[flow + 1]))


def make_point(name: str, tables: Iterable[tuple[str, pa.Table]]) -> Point:
    """Return what is needed of the tables of one capture. Raises AnalyzerError if that is too much."""
    kept: dict[str, list[pa.Table]] = {"flows": [], "keepalives": [], "captures": []}
    chunks: list[tuple[Records, NDArray[np.uint64]]] = []
    held = 0
    for table, rows in tables:
        if table == "segments":
            held += rows.num_rows
            if held > MOST_SEGMENTS:
                wrong = f"{name}: more than {MOST_SEGMENTS:,} segments are too many to compare"
                raise AnalyzerError(wrong, "cut both captures to the hosts or the minutes in question")
            chunks.append(_segments(rows))
        elif table in kept:
            kept[table].append(rows)
    segments = np.concatenate([rows for rows, _ in chunks]) if chunks else np.zeros(0, SEGMENT)
    wire = np.concatenate([numbers for _, numbers in chunks]) if chunks else np.zeros(0, np.uint64)
    order = np.lexsort((segments["frame"], segments["flow"]))
    segments, wire = segments[order], wire[order]
    flows = _plain(pa.concat_tables(kept["flows"]).select(FLOWS)) if kept["flows"] else {}
    probes = pa.concat_tables(kept["keepalives"]) if kept["keepalives"] else None
    ran = pa.concat_tables(kept["captures"])
    return Point(
        name=name,
        flows=flows,
        segments=segments,
        wire=wire,
        begin=np.searchsorted(segments["flow"], np.arange(max(flows, default=-1) + 2)),
        answered=frozenset() if probes is None else _answered(probes),
        first_ns=pc.min(ran["first_ts"].cast(pa.int64())).as_py() or 0,
        last_ns=pc.max(ran["last_ts"].cast(pa.int64())).as_py() or 0,
    )


def _plain(flows: pa.Table) -> dict[int, dict[str, Any]]:
    flows = flows.set_column(flows.schema.get_field_index("first_ts"), "first_ts", flows["first_ts"].cast(pa.int64()))
    return {row["flow_id"]: row for row in flows.sort_by("flow_id").to_pylist()}


def _answered(probes: pa.Table) -> frozenset[int]:
    return frozenset(probes.filter(pc.equal(probes["answered"], "ack"))["frame"].to_pylist())


def _segments(rows: pa.Table) -> tuple[Records, NDArray[np.uint64]]:
    """Return SEGMENT rows and what is `Point.wire` of each; copies of a frame are left out."""
    copies = pc.fill_null(pc.match_substring(rows["analysis"], "duplicate_frame"), fill_value=False)
    rows = rows.filter(pc.invert(copies))
    made = np.zeros(rows.num_rows, SEGMENT)
    for field, column in (("flow", "flow_id"), ("frame", "frame"), ("seq", "seq_rel"), ("len", "len"), ("ttl", "ttl")):
        made[field] = rows[column].to_numpy()
    made["ts"] = rows["ts"].cast(pa.int64()).to_numpy()
    made["ack"] = pc.fill_null(rows["ack_rel"], -1).to_numpy()
    made["side"] = pc.equal(rows["dir"], "s2c").to_numpy()
    for column, word, bit in _BITS:
        has = pc.fill_null(pc.match_substring(rows[column], word), fill_value=False).to_numpy()
        made["bits"] |= has.astype(np.uint8) * np.uint8(bit)
    seq, ack = rows["seq"].to_numpy(), pc.fill_null(rows["ack"], 0).to_numpy()
    return made, (seq.astype(np.uint64) << np.uint64(32)) | ack.astype(np.uint64)
