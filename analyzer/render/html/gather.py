"""What the page is made of: aggregates over all connections, and columns of those that matter, as plain JSON values.

Everything is read out of a `Spool` table by table; what is held per connection is a few dozen bytes, whatever their
number. Times are seconds since the first packet: a page with 10,000 of them should not repeat the date 10,000 times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.anomalies import CODES
from analyzer.render.html.choose import Scores
from analyzer.render.html.survival import Curve, Silences
from analyzer.render.plain import Row, places, plain_rows
from analyzer.render.summary import Collector, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.render.spool import Spool

FINDINGS = 200
TIMEOUTS = 200
ENDPOINTS = 300
"""Rows of the small tables on a page: more is for `longwire findings`, `timeouts` and `endpoints`."""

GAPS = 60_000
MARKS = 60_000
"""Silences, and probes with beats, drawn on lanes: the longest and the first. About 1 MB of page each."""

BUCKETS = 120
"""Columns of "closes over time"."""

FAMILIES = ("closed in order", "reset", "gave up or went silent", "never established", "open at the end")
_NEVER = ("refused", "handshake_aborted", "syn_timeout", "synack_timeout")
_GAVE_UP = ("abort_retransmit", "abort_keepalive", "abort_zero_window", "silent_death", "icmp_abort", "fin_unanswered")


def family(kind: str) -> int:
    """Return which of FAMILIES a close kind belongs to."""
    if kind.startswith("open_") or kind in ("capture_gap", "half_closed_open", "implicit_port_reuse"):
        return 4
    if kind in _NEVER:
        return 3
    if kind in _GAVE_UP:
        return 2
    return 1 if kind.startswith("rst_") else 0


class Gathered:
    """All that a page needs but the cards. `lanes` and `cards` are the flow_ids chosen, most telling first."""

    def __init__(self, spool: Spool, lanes: int, cards: int) -> None:
        self.summary, scores, self._silences = _overview(spool)
        self.findings, findings_total = _top(spool, "findings", FINDINGS)
        self.timeouts, timeouts_total = _top(spool, "timeouts", TIMEOUTS)
        named = {
            int(word)
            for row in (*self.findings, *self.timeouts)
            for word in (row["flow_ids"] or "").split()
            if word.isdecimal()
        }
        self.lanes, self.cards = scores.chosen(named, lanes, cards)
        self.curves: list[Curve] = self._silences.curves()
        self.start_ns = self._start(spool)
        self.captures = [row for rows in spool.read("captures") for row in plain_rows(rows)]
        self.anomalies = [
            {**row, "meaning": CODES.get(row["code"], "")}
            for rows in spool.read("anomalies")
            for row in plain_rows(rows)
        ]
        self.endpoints, endpoints_total = _endpoints(spool)
        self.beats = _beats(spool)
        self.totals = {"findings": findings_total, "timeouts": timeouts_total, "endpoints": endpoints_total}
        self.over_time = self._over_time(spool)

    def _start(self, spool: Spool) -> int:
        """Return the time of the first packet, UTC nanoseconds."""
        times = [
            pc.min(rows["first_ts"].cast(pa.int64())).as_py()
            for name in ("captures", "flows")
            for rows in spool.read(name)
        ]
        return min((time for time in times if time is not None), default=0)

    def _over_time(self, spool: Spool) -> dict[str, Any]:
        """Return closes per bucket of time and family."""
        times: list[NDArray[np.int64]] = []
        kinds: list[NDArray[np.int64]] = []
        for rows in spool.read("closes"):
            words = pc.fill_null(rows["close_kind"], "capture_gap").combine_chunks().dictionary_encode()
            lookup = np.array([family(word) for word in words.dictionary.to_pylist()], np.int64)
            times.append(pc.fill_null(rows["ts"].cast(pa.int64()), self.start_ns).to_numpy())
            kinds.append(lookup[words.indices.to_numpy()])
        if not times:
            return {"at": [], "counts": []}
        at = (np.concatenate(times) - self.start_ns) / 1e9
        width = max(float(at.max()), 1e-3) / BUCKETS
        place = np.minimum((at / width).astype(np.int64), BUCKETS - 1)
        counts = np.zeros((len(FAMILIES), BUCKETS), np.int64)
        np.add.at(counts, (np.concatenate(kinds), place), 1)
        return {
            "at": np.round(np.arange(BUCKETS) * width, 6).tolist(), "width": width,
            "counts": [
                {"name": name, "values": row.tolist()} for name, row in zip(FAMILIES, counts, strict=True) if row.any()
            ],
        }  # fmt: skip

    # -------------------------------------------------------------------------------------- columns of lanes

    def flow_columns(self, spool: Spool) -> dict[str, Any]:
        """Return columns of the chosen connections, in the order of `lanes`."""
        kept = _mask(self.lanes)
        flows = _whole(spool, "flows", kept)
        closes = _whole(spool, "closes", kept)
        place = {flow_id: at for at, flow_id in enumerate(self.lanes)}
        flows = _in_order_of(flows, place)
        closes = _in_order_of(closes, place)
        columns: dict[str, Any] = {
            "flow_id": flows["flow_id"].to_pylist(),
            "client": _coded(places(flows["client_ip"], flows["client_port"])),
            "server": _coded(places(flows["server_ip"], flows["server_port"])),
            "start_s": self._seconds_since(flows["first_ts"]),
            "end_s": self._seconds_since(flows["last_ts"]),
            "close_s": self._seconds_since(closes["ts"]),
        }
        for name in (
            "app_protocol",
            "close_kind",
            "close_initiator",
            "close_trigger",
            "sni",
            "http_host",
            "heartbeat_kinds",
        ):
            columns[name] = _coded(flows[name])
        for name in ("duration_s", "max_wire_gap_s", "max_payload_gap_s", "rtt_p50_s", "close_confidence"):
            columns[name] = _rounded(flows[name])
        for name in (
            "payload_bytes_c", "payload_bytes_s", "retransmits_c", "retransmits_s", "keepalive_probes_c",
            "keepalive_probes_s", "keepalive_unanswered_c", "keepalive_unanswered_s", "requests", "websocket_messages",
        ):  # fmt: skip
            columns[name] = flows[name].to_pylist()
        columns["explanation"] = _coded(closes["explanation"])
        columns["basis"] = _coded(closes["basis"])
        columns["frames"] = closes["evidence_frames"].to_pylist()
        return columns

    def gap_columns(self, spool: Spool) -> dict[str, Any]:
        """Return the longest silences of the chosen connections: lane, begin, end and what ended and filled them."""
        rows = _whole(spool, "idle_gaps", _mask(self.lanes))
        total = rows.num_rows
        if total > GAPS:
            rows = rows.take(pc.select_k_unstable(rows, GAPS, sort_keys=[("duration_s", "descending")]))
        return {
            "total": total, "lane": self._lane(rows), "begin_s": self._seconds_since(rows["start_ts"]),
            "end_s": self._seconds_since(rows["end_ts"]), "class": _coded(rows["class"]),
            "ended_by": _coded(rows["ended_by"]), "filled_by": _coded(rows["filled_by"]),
        }  # fmt: skip

    def mark_columns(self, spool: Spool) -> dict[str, Any]:
        """Return probes and beats of the chosen connections: lane, time, side, kind, answered."""
        kept = _mask(self.lanes)
        parts: list[pa.Table] = []
        total = 0
        for name, kind in (("keepalives", "probe"), ("heartbeats", "beat")):
            for rows in spool.read(name, kept):
                total += rows.num_rows
                lost = pc.equal(rows["answered"], "no") if name == "keepalives" else rows["missed"]
                if sum(part.num_rows for part in parts) < MARKS:
                    parts.append(
                        pa.table({
                            "flow_id": rows["flow_id"], "ts": rows["ts"], "dir": rows["dir"],
                            "kind": pa.array([kind] * rows.num_rows), "lost": pc.fill_null(lost, False),
                        })
                    )  # fmt: skip
        if not parts:
            return {
                "total": 0,
                "lane": [],
                "at_s": [],
                "dir": _coded(pa.array([], pa.string())),
                "kind": _coded(pa.array([], pa.string())),
                "lost": [],
            }
        rows = pa.concat_tables(parts).slice(0, MARKS)
        return {
            "total": total, "lane": self._lane(rows), "at_s": self._seconds_since(rows["ts"]),
            "dir": _coded(rows["dir"]),
            "kind": _coded(rows["kind"]), "lost": [int(value) for value in rows["lost"].to_pylist()],
        }  # fmt: skip

    def _lane(self, rows: pa.Table) -> list[int]:
        place = np.zeros(max(self.lanes, default=0) + 1, np.int64)
        place[np.array(self.lanes, np.int64)] = np.arange(len(self.lanes))
        lanes: list[int] = place[rows["flow_id"].to_numpy()].tolist()
        return lanes

    def _seconds_since(self, times: pa.ChunkedArray) -> list[float | None]:
        whole = times.cast(pa.int64())
        seconds = np.round((pc.fill_null(whole, self.start_ns).to_numpy() - self.start_ns) / 1e9, 6).tolist()
        return [value if there else None for value, there in zip(seconds, pc.is_valid(whole).to_pylist(), strict=True)]


# ------------------------------------------------------------------------------------------ small parts


def _overview(spool: Spool) -> tuple[Summary, Scores, Silences]:
    collector, scores, silences = Collector(), Scores(), Silences()
    for name, chunks in spool.tables():
        for rows in chunks:
            collector.add(name, rows)
            if name == "flows":
                scores.add(rows)
                silences.add_flows(rows["flow_id"].to_numpy(), places(rows["server_ip"], rows["server_port"]))
            elif name == "idle_gaps":
                silences.add_gaps(rows)
    return collector.result(), scores, silences


def _top(spool: Spool, name: str, limit: int) -> tuple[list[Row], int]:
    """Return the first rows of a table, which is sorted by importance, and how many there are."""
    rows = [row for chunk in spool.read(name) for row in plain_rows(chunk.slice(0, limit))]
    return rows[:limit], sum(chunk.num_rows for chunk in spool.read(name))


def _endpoints(spool: Spool) -> tuple[list[Row], int]:
    rows = [row for chunk in spool.read("endpoints") for row in plain_rows(chunk)]
    rows.sort(key=lambda row: (-(row["flows"] or 0), row["endpoint"] or ""))
    return rows[:ENDPOINTS], len(rows)


def _beats(spool: Spool) -> list[Row]:
    """Return heartbeats by protocol, method, sender and default they match, keep-alive probes among them."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for chunk in spool.read("heartbeat_series"):
        for row in plain_rows(chunk):
            key = (row["protocol"] or "unknown", row["method"] or "", row["dir"] or "", row["known_as"] or "")
            groups.setdefault(key, []).append(row)
    out = []
    for (protocol, method, direction, known), rows in groups.items():
        shares = [row["answered_share"] for row in rows if row["answered_share"] is not None]
        out.append({
            "protocol": protocol, "method": method, "by": "client" if direction == "c2s" else "server",
            "flows": len({row["flow_id"] for row in rows}), "beats": sum(row["beats"] or 0 for row in rows),
            "period_s": _median(row["period_s"] for row in rows),
            "answered": sum(shares) / len(shares) if shares else None,
            "missed_run": max((row["longest_missed_run"] or 0 for row in rows), default=0), "known_as": known,
        })  # fmt: skip
    out += _probers(spool)
    return sorted(out, key=lambda row: (-row["beats"], row["protocol"]))


def _probers(spool: Spool) -> list[Row]:
    made: dict[tuple[str, str], Row] = {}
    for chunk in spool.read("flows"):
        probing = chunk.filter(
            pc.greater(
                pc.add(pc.fill_null(chunk["keepalive_probes_c"], 0), pc.fill_null(chunk["keepalive_probes_s"], 0)), 0
            )
        )
        names = [
            "keepalive_probes_c",
            "keepalive_probes_s",
            "keepalive_unanswered_c",
            "keepalive_unanswered_s",
            "keepidle_s",
            "keepalive_profile",
        ]
        for row in probing.select(names).to_pylist():
            for side, who in (("c", "client"), ("s", "server")):
                if row[f"keepalive_probes_{side}"]:
                    known = row["keepalive_profile"] or ""
                    one = made.setdefault((who, known), {
                        "protocol": "TCP keep-alive", "method": "explicit", "by": who, "flows": 0, "beats": 0,
                        "lost": 0, "periods": [], "known_as": known, "missed_run": 0,
                    })  # fmt: skip
                    one["flows"] += 1
                    one["beats"] += row[f"keepalive_probes_{side}"]
                    one["lost"] += row[f"keepalive_unanswered_{side}"] or 0
                    one["periods"].append(row["keepidle_s"])
    for one in made.values():
        one["answered"] = 1 - one["lost"] / one["beats"]
        one["period_s"] = _median(one.pop("periods"))
    return list(made.values())


def _median(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _mask(flow_ids: list[int]) -> NDArray[np.bool_]:
    kept = np.zeros(max(flow_ids, default=-1) + 1, np.bool_)
    kept[np.array(flow_ids, np.int64)] = True
    return kept


def _whole(spool: Spool, name: str, kept: NDArray[np.bool_]) -> pa.Table:
    from analyzer.tables.schema import empty_table

    return pa.concat_tables([empty_table(name), *spool.read(name, kept)]).combine_chunks()


def _in_order_of(rows: pa.Table, place: dict[int, int]) -> pa.Table:
    order = np.argsort(np.array([place[flow_id] for flow_id in rows["flow_id"].to_pylist()], np.int64), kind="stable")
    return rows.take(pa.array(order))


def _coded(texts: pa.Array | pa.ChunkedArray) -> dict[str, Any]:
    """Return texts as {"words": [...], "at": [...]}: each word once; -1 is null."""
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    coded = array.dictionary_encode()
    return {"words": coded.dictionary.to_pylist(), "at": pc.fill_null(coded.indices, -1).to_pylist()}


def _rounded(values: pa.ChunkedArray) -> list[float | None]:
    rounded: list[float | None] = pc.round(values, 6).to_pylist()
    return rounded
