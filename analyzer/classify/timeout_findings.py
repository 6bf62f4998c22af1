"""What inferred timeouts say by themselves, against each other, and against heartbeats.

Needs   timeouts, heartbeat_series of all flows
Gives   findings: timeout.idle, timeout.lifetime, timeout.path, timeout.pair_mismatch, timeout.backend_first,
        heartbeat.little_room
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from analyzer.classify.endpoints import endpoint_names
from analyzer.classify.facts import Facts
from analyzer.classify.finding_codes import CODES
from analyzer.classify.grouped import Rows, by_server
from analyzer.classify.wording import worded

_LEAST_MARGIN_S = 1.0  # a request's way, the close's way, and two clocks
_SURE = 0.5  # an inferred timeout less sure than that is a row of `timeouts`, no finding

_COUNTING = {
    "wire": "any segment",
    "payload": "payload",
    "app": "messages without heartbeats",
    "response": "from the end of a response",
    "age": "from the start",
}


def of_timeouts(timeouts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings about inferred timeouts: sure ones, and paths that drop connections."""
    found: list[dict[str, Any]] = []
    if not timeouts:
        return found
    names, sides, clocks = (timeouts[key] for key in ("endpoint", "side", "clock"))
    for k in range(len(timeouts["timeout_id"])):
        side, clock = sides.names[sides.codes[k]], clocks.names[clocks.codes[k]]
        value, confidence = float(timeouts["value_s"][k]), float(timeouts["confidence"][k])
        flows = int(timeouts["closes"][k])
        low, high = float(timeouts["lower_bound_s"][k]), float(timeouts["upper_bound_s"][k])
        if side == "path" and not isnan(low) and confidence >= 0.3:  # bounds on both sides
            one = worded(CODES["timeout.path"], flows, low, (low + high) / 2, high)
        elif not isnan(value) and confidence >= _SURE:
            one = worded(CODES["timeout.lifetime" if clock == "age" else "timeout.idle"], flows, value, value, value)
            one["title"] += f", kept by the {side}, counting {_COUNTING[clock]}"
        else:
            continue
        if known := timeouts["known_as"][k]:
            one["explanation"] += f" The value is consistent with: {known}."
        found.append(
            one | {"endpoint": names[k], "confidence": confidence,
                   "flow_ids": timeouts["flow_ids"][k], "frames": []}
        )  # fmt: skip
    return found


def mismatched(timeouts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the servers whose clients keep idle connections about as long as they do, or longer."""
    if not timeouts:
        return []
    names, sides, clocks = (timeouts[key] for key in ("endpoint", "side", "clock"))
    kept: dict[str, dict[int, int]] = {}
    for k in range(len(timeouts["timeout_id"])):
        sure = not isnan(timeouts["value_s"][k]) and float(timeouts["confidence"][k]) >= _SURE
        if sure and clocks.names[clocks.codes[k]] != "age":
            kept.setdefault(names[k], {}).setdefault(int(sides.codes[k]), k)
    found = []
    for endpoint, rows in kept.items():
        if not {0, 1} <= set(rows):
            continue
        client, server = (float(timeouts["value_s"][rows[side]]) for side in (0, 1))
        if client > server - _LEAST_MARGIN_S:
            flows = int(timeouts["closes"][rows[0]] + timeouts["closes"][rows[1]])
            confidence = min(float(timeouts["confidence"][rows[side]]) for side in (0, 1))
            ids = " ".join(timeouts["flow_ids"][rows[side]] for side in (0, 1))
            one = worded(CODES["timeout.pair_mismatch"], flows, server, client, client)
            found.append(one | {"endpoint": endpoint, "confidence": confidence, "flow_ids": ids, "frames": []})
    return found


def behind(timeouts: dict[str, Any], peers: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return the servers whose only client is a server itself, and keeps idle connections longer than they do."""
    rows = _sure_of_server(timeouts)
    fronts: dict[str, int] = {}
    for k in rows:
        fronts.setdefault(_host(timeouts["endpoint"][k]), k)
    found = []
    for k in rows:
        front = fronts.get(peers[k] or "")
        if front is None or peers[k] == _host(timeouts["endpoint"][k]):  # on one host it may be any program
            continue
        low, high = float(timeouts["value_s"][k]), float(timeouts["value_s"][front])
        if low >= high + _LEAST_MARGIN_S:
            continue
        one = worded(CODES["timeout.backend_first"], int(timeouts["closes"][k]), low, low, high)
        confidence = min(float(timeouts["confidence"][at]) for at in (k, front))
        found.append(
            one | {"endpoint": timeouts["endpoint"][k], "confidence": confidence,
                   "flow_ids": timeouts["flow_ids"][k], "frames": []}
        )  # fmt: skip
    return found


def _sure_of_server(timeouts: dict[str, Any]) -> list[int]:
    """Return the rows of sure timeouts that a server keeps and that count a silence."""
    if not timeouts:
        return []
    sides, clocks = timeouts["side"], timeouts["clock"]
    return [
        k
        for k in range(len(timeouts["timeout_id"]))
        if sides.names[sides.codes[k]] == "server" and clocks.names[clocks.codes[k]] != "age"
        and not isnan(timeouts["value_s"][k]) and float(timeouts["confidence"][k]) >= _SURE
    ]  # fmt: skip


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


# ------------------------------------------------------------------------------------------------ heartbeats
PACE = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("flow_id", np.int64),
     ("period_s", np.float64)]
)  # fmt: skip
_LEAST_BEATS = 3  # of a series whose period is believed


def paces(facts: Facts, series: dict[str, Any]) -> Rows:
    """Return PACE rows: the period of each series of beats; series: columns of `heartbeat_series`."""
    chosen = np.flatnonzero((series["beats"] >= _LEAST_BEATS) & (series["period_s"] == series["period_s"]))
    flow = facts.flow.at(facts.rows_of(series["flow_id"][chosen]))
    rows = np.zeros(chosen.size, PACE)
    rows["version"], rows["port"], rows["hi"], rows["lo"] = (
        flow[name] for name in ("ip_version", "server_port", "server_hi", "server_lo")
    )
    rows["flow_id"], rows["period_s"] = flow["flow_id"], series["period_s"][chosen]
    return rows


def little_room(timeouts: dict[str, Any], rows: Rows) -> list[dict[str, Any]]:
    """Return the servers where a heartbeat comes later than half of the idle timeout, though before it."""
    limits = {timeouts["endpoint"][k]: k for k in reversed(_sure_of_server(timeouts))}
    found = []
    for mine in by_server(rows) if limits else ():
        endpoint = endpoint_names(mine[:1]).to_pylist()[0]
        if endpoint not in limits:
            continue
        k = limits[endpoint]
        value = float(timeouts["value_s"][k])
        near = mine[(2 * mine["period_s"] > value) & (mine["period_s"] < value)]
        fastest = dict(zip(near["flow_id"].tolist(), near["period_s"].tolist(), strict=True))
        for flow, period in zip(mine["flow_id"].tolist(), mine["period_s"].tolist(), strict=True):
            if 2 * period <= value:
                fastest.pop(flow, None)  # another series of the same connection is fast enough
        if fastest:
            one = worded(CODES["heartbeat.little_room"], len(fastest), value, value, max(fastest.values()))
            ids = " ".join(map(str, sorted(fastest)))
            confidence = float(timeouts["confidence"][k])
            found.append(one | {"endpoint": endpoint, "confidence": confidence, "flow_ids": ids, "frames": []})
    return found
