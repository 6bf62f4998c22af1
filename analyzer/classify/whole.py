"""Tables about the whole input: timeouts, findings, endpoints, captures, anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from analyzer.anomalies import Ledger
from analyzer.capture import linktypes
from analyzer.capture.batch import FileInfo
from analyzer.classify.endpoints import Endpoints
from analyzer.classify.findings import Findings
from analyzer.classify.timeouts import Timeouts
from analyzer.tables.build import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa


def whole_tables(
    endpoints: Endpoints | None,
    timeouts: Timeouts | None,
    findings: Findings | None,
    files: Sequence[FileInfo],
    ledger: Ledger,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the tables that need all flows, or none."""
    inferred = timeouts.columns() if timeouts is not None else {}
    peers = timeouts.peers if timeouts is not None else []
    yield "timeouts", to_arrow("timeouts", inferred)
    yield "findings", to_arrow("findings", findings.columns(inferred, peers) if findings is not None else {})
    yield "endpoints", to_arrow("endpoints", (endpoints or Endpoints()).columns())
    yield "captures", captures(files)
    yield "anomalies", anomalies(ledger)


def captures(files: Sequence[FileInfo]) -> pa.Table:
    """Return one row per input file, in the order they were named."""
    return to_arrow(
        "captures",
        {
            "file": [info.file for info in files],
            "format": [info.format for info in files],
            "link_types": [",".join(linktypes.name(number) for number in info.link_types) for info in files],
            "packets": [info.packets for info in files],
            "tcp_segments": [info.tcp_segments for info in files],
            "first_ts": [info.first_ts_ns for info in files],
            "last_ts": [info.last_ts_ns for info in files],
            "snaplen_clipped": [info.snaplen_clipped for info in files],
            "dropped_reported": [info.dropped_reported for info in files],
            "duplicates": [info.duplicates for info in files],
            "truncated": [info.truncated for info in files],
            "error": [info.error or None for info in files],
        },
    )


def anomalies(ledger: Ledger) -> pa.Table:
    """Return one row per code that occurred, by code."""
    rows = sorted(ledger.by_code.items())
    return to_arrow(
        "anomalies",
        {
            "code": [code for code, _ in rows],
            "count": [tally.count for _, tally in rows],
            "first_flow_id": [tally.first_flow_id for _, tally in rows],
            "first_frame": [tally.first_frame for _, tally in rows],
            "detail": [tally.detail or None for _, tally in rows],
        },
    )
