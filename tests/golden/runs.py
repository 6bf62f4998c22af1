"""One analysis per capture of the shared corpus, kept for every test that compares it with somebody's opinion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from analyzer import Analysis, AnalyzerError, analyze
from tests.corpus import CORPUS, catalogue, truth

Endpoint = tuple[str, int]


class Segment(NamedTuple):
    """What the comparisons read of a row of `segments`."""

    flow_id: int
    frame: int
    ts_ns: int
    client_to_server: bool
    len: int
    flags: str
    tsval: int | None
    ip_id: int | None
    ttl: int | None
    labels: frozenset[str]


@dataclass(frozen=True)
class Run:
    """Our flows and segments of a capture; `error` instead if it is no capture."""

    flows: list[dict[str, Any]]
    segments: list[Segment]
    packets: int
    damage: str
    error: str

    def of_flow(self, flow_id: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.flow_id == flow_id]


@cache
def run(file: str) -> Run:
    """Analyse a capture of the corpus, once."""
    try:
        result = analyze(CORPUS / file, segments=True)
    except AnalyzerError as error:
        return Run([], [], 0, "", str(error))
    captures = result.arrow("captures").to_pylist()
    return Run(
        _flows(result),
        _segments(result),
        sum(row["packets"] or 0 for row in captures),
        "; ".join(row["error"] for row in captures if row["error"]),
        "",
    )


def _flows(result: Analysis) -> list[dict[str, Any]]:
    """Flows with the closing counts of `closes` and what the segments add up to, by flow_id."""
    closes = {row["flow_id"]: row for row in result.arrow("closes").to_pylist()}
    flows = sorted(result.arrow("flows").to_pylist(), key=lambda row: row["flow_id"])
    return [{**closes[row["flow_id"]], **row} for row in flows]


def _segments(result: Analysis) -> list[Segment]:
    table = result.arrow("segments")
    columns = [table[name].to_pylist() for name in ("flow_id", "frame", "dir", "len", "flags", "tsval", "ip_id", "ttl")]
    stamps = table["ts"].cast("int64").to_pylist()
    words = table["analysis"].to_pylist()
    labels = {word: frozenset((word or "").split(",")) - {""} for word in set(words)}
    rows = zip(*columns, stamps, words, strict=True)
    return [
        Segment(flow, frame, ts, way == "c2s", length, flags or "", tsval, ip_id, ttl, labels[word])
        for flow, frame, way, length, flags, tsval, ip_id, ttl, ts, word in rows
    ]


def endpoints(flow: dict[str, Any]) -> tuple[Endpoint, Endpoint]:
    """Return (client, server) of a flow."""
    return (flow["client_ip"], flow["client_port"]), (flow["server_ip"], flow["server_port"])


def captures_with_truth() -> list[str]:
    """Return the captures that tshark found TCP in, by name; empty where the corpus is absent."""
    if not CORPUS.is_dir():
        return []
    return [row["file"] for row in catalogue() if truth(row["file"], "streams")]
