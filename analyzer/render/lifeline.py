"""The life of one connection on a time axis: payload of each side, silences, probes, beats, and the close."""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.render.flowrows import FlowRows
from analyzer.render.marks import marks_of

BINS = 96
"""Columns of a lifeline: it fits a terminal, and a picture of it a phone."""

SPOTS = 600
"""Marks kept: more than fit into the columns several times over."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A mark: when, by whom and what (probe, beat, retry, syn, fin, rst, request, response, tls, websocket, http2)."""

    at_s: float
    from_client: bool
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Lifeline:
    """Seconds count from the connection's first segment.

    bytes_c, bytes_s  payload in BINS equal parts of the span
    silences  the longest: (begin, end, ended by, filled by)    silence_count  how many there were in all
    """

    start_ns: int
    span_s: float
    bytes_c: tuple[int, ...]
    bytes_s: tuple[int, ...]
    silences: tuple[tuple[float, float, str, str], ...]
    silence_count: int
    spots: tuple[Spot, ...]


def lifeline(rows: FlowRows) -> Lifeline:
    """Return the lifeline of a connection."""
    flow = rows.flow
    start, end = flow["first_ts"], flow["last_ts"]
    gaps = [
        (row["start_ts"], row["end_ts"], row["ended_by"] or "", row["filled_by"] or "")
        for row in rows.rows["idle_gaps"]
    ]
    gaps = [gap for gap in gaps if gap[0] is not None]
    end = max([end, *(gap[1] for gap in gaps if gap[1] is not None)])
    client, server = rows.tape.histogram(BINS, start, end)
    silences = [((a - start) / 1e9, ((b or end) - start) / 1e9, by, filled) for a, b, by, filled in gaps]
    longest = sorted(silences, key=lambda gap: gap[0] - gap[1])[:SPOTS]
    return Lifeline(
        start, (end - start) / 1e9, tuple(client), tuple(server), tuple(sorted(longest)), rows.counts["idle_gaps"],
        tuple(_spots(rows, start)),
    )  # fmt: skip


def _spots(rows: FlowRows, start: int) -> list[Spot]:
    spots = [
        Spot((mark.ts_ns - start) / 1e9, mark.from_client, mark.kind, mark.text)
        for mark in marks_of(rows)
        if mark.ts_ns is not None
    ]
    for segment in rows.tape.segments():
        at_s = (segment.ts_ns - start) / 1e9
        for letter, kind in (("S", "syn"), ("F", "fin"), ("R", "rst")):
            if letter in segment.flags:
                spots.append(Spot(at_s, segment.from_client, kind, kind.upper()))
        if any("retransmission" in label for label in segment.labels):
            spots.append(Spot(at_s, segment.from_client, "retry", "retransmission"))
    spots.sort(key=lambda spot: spot.at_s)
    return spots if len(spots) <= SPOTS else [*spots[: SPOTS // 2], *spots[-SPOTS // 2 :]]
