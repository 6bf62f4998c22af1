"""Servers by address and port, over all flows: the one table that only whole captures can give.

Gives   endpoints
Limits  Lifetimes are quantiles over flows whose end was seen or cut off alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.classify.community import address_text
from analyzer.classify.facts import Facts
from analyzer.classify.grouped import Latest
from analyzer.classify.verdict import KIND, Verdict
from analyzer.kernel import I64
from analyzer.tables.build import MISSING
from analyzer.tables.tcp import RACES

_RST = tuple(code for name, code in KIND.items() if name.startswith(("rst_", "refused", "handshake_aborted")))

_ROW = np.dtype(
    [("hi", np.int64), ("lo", np.int64), ("port", np.int32), ("version", np.int8), ("rst", np.int8), ("idle", np.int8),
     ("client_hi", np.int64), ("client_lo", np.int64), ("lifetime_s", np.float64), ("bytes", np.int64),
     ("requests", np.int32), ("race", np.int8)]  # as in closes.race: -1 = no HTTP was read
)  # fmt: skip


class Endpoints:
    """Collects 60 bytes per flow while flows finish; one table at the end. With a `limit`, of the last flows only."""

    def __init__(self, limit: int = 0) -> None:
        self._kept = Latest(_ROW, limit)

    def add(self, facts: Facts, verdict: Verdict, races: I64) -> None:
        """Take finished flows; races: codes of `exchange.RACES`, -1 where no HTTP was read."""
        flow = facts.flow
        rows = np.zeros(facts.n, _ROW)
        rows["hi"], rows["lo"], rows["port"] = flow["server_hi"], flow["server_lo"], flow["server_port"]
        rows["version"] = flow["ip_version"]
        rows["client_hi"], rows["client_lo"] = flow["client_hi"], flow["client_lo"]
        rows["lifetime_s"] = (flow["last_ts"] - flow["first_ts"]) / 1e9
        rows["bytes"] = facts.both("wire_bytes").sum(axis=0)
        rows["rst"] = np.isin(verdict.kind, _RST)
        closed = (flow["close_ts"] != 0) & (flow["close_idle_payload"] >= facts.settings.idle_min_ns)
        rows["idle"] = closed
        rows["requests"], rows["race"] = facts.app["requests"], races
        self._kept.add(rows)

    def columns(self) -> dict[str, Any]:
        """Return the columns of `endpoints`, most flows first."""
        rows = self._kept.rows()
        order = np.lexsort((rows["lifetime_s"], rows["port"], rows["lo"], rows["hi"], rows["version"]))
        rows = rows[order]
        key = rows[["version", "hi", "lo", "port"]]
        start = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if rows.size else np.zeros(0, np.int64)
        count = np.diff(np.r_[start, rows.size])
        group = np.repeat(np.arange(start.size), count)
        head = rows[start]
        total = {name: np.bincount(group, rows[name], start.size) for name in ("rst", "idle", "bytes")}
        spoke = np.bincount(group, rows["race"] >= 0, start.size) > 0
        met = np.bincount(group, rows["race"] > RACES.index("none"), start.size)
        columns: dict[str, Any] = {
            "endpoint": endpoint_names(head),
            "flows": count,
            "clients": _distinct_clients(rows, group, start.size),
            "lifetime_p50_s": rows["lifetime_s"][start + (count - 1) // 2],
            "lifetime_p95_s": rows["lifetime_s"][start + (95 * count + 99) // 100 - 1],
            "requests_per_flow_p50": _median_requests(rows, group, start.size),
            "rst_share": total["rst"] / count,
            "idle_close_share": total["idle"] / count,
            "races": np.where(spoke, met, MISSING).astype(np.int64),
            "bytes": total["bytes"].astype(np.int64),
        }
        return {name: _reordered(values, np.argsort(-count, kind="stable")) for name, values in columns.items()}


def endpoint_names(heads: NDArray[Any]) -> pa.Array:
    """Return ip:port, [ip]:port for IPv6, of rows with hi, lo, port and version."""
    host = address_text(heads["hi"], heads["lo"], heads["version"])
    bracketed = pc.binary_join_element_wise("[", host, "]", "")
    host = pc.if_else(pa.array(heads["version"] == 4), host, bracketed)
    return pc.binary_join_element_wise(host, pa.array(heads["port"]).cast(pa.string()), ":")


def _median_requests(rows: NDArray[Any], group: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Return the median over each server's connections with HTTP, NaN where there is none."""
    asked = rows["race"] >= 0
    requests, of = rows["requests"][asked], group[asked]
    order = np.lexsort((requests, of))
    count = np.bincount(of, minlength=n)
    middle = np.cumsum(count) - count + (np.maximum(count, 1) - 1) // 2
    found = requests[order][np.minimum(middle, max(requests.size - 1, 0))] if requests.size else np.zeros(n)
    return np.where(count > 0, found, np.nan)


def _distinct_clients(rows: NDArray[Any], group: NDArray[Any], n: int) -> NDArray[Any]:
    order = np.lexsort((rows["client_lo"], rows["client_hi"], group))
    g, hi, lo = group[order], rows["client_hi"][order], rows["client_lo"][order]
    fresh = np.r_[True, (g[1:] != g[:-1]) | (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])] if g.size else np.zeros(0, bool)
    return np.bincount(g[fresh], minlength=n)


def _reordered(values: Any, order: NDArray[Any]) -> Any:
    return values.take(pa.array(order)) if isinstance(values, pa.Array) else values[order]
