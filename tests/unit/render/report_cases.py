"""Tables for a report without a capture: any number of connections, and texts that want to break out of the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from analyzer.render.flowrows import FlowRows
from analyzer.render.html.gather import Gathered
from analyzer.render.html.page import page
from analyzer.render.spool import Spool
from analyzer.tables.build import to_arrow
from analyzer.tables.tcp import CLOSE_KINDS

HOSTILE = (
    "</script><script>window.pwned='script'</script>",
    "<img src=x onerror=\"window.pwned='img'\">",
    "\"'><svg onload=window.pwned='svg'>",
    "{{ 7*7 }}{% raw %}",
    "javascript:window.pwned='link'",
    "--><script>window.pwned='comment'</script><!--",
    "\u2028\u2029\x00\x1b[2J\u202egpj.exe",
    '=HYPERLINK("http://evil.example")',
)

S = 10**9
T0 = 1_700_000_000 * S


def tables(count: int, texts: tuple[str, ...] = ("www.example.net",)) -> dict[str, pa.Table]:
    """Return the tables of `count` connections that take turns in how they end; `texts` stand wherever text may."""
    ids = np.arange(count)
    word = [texts[n % len(texts)] for n in range(count)]
    kinds = [CLOSE_KINDS[n % len(CLOSE_KINDS)] for n in range(count)]
    who = [("client", "server", "middlebox", "unknown")[n % 4] for n in range(count)]
    start = T0 + ids * 10_000_000
    life = (1 + ids % 90) * S
    quiet = (ids % 90).astype(float) + 0.5
    flows: dict[str, Any] = {
        "flow_id": ids, "client_ip": [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)],
        "client_port": 1024 + ids % 60_000,
        "server_ip": ["2001:db8::1" if n % 5 else "192.0.2.7" for n in range(count)],
        "server_port": 8000 + ids % 20, "first_ts": start, "last_ts": start + life, "duration_s": life / 1e9,
        "close_kind": kinds, "close_initiator": who, "close_confidence": np.full(count, 0.9), "sni": word,
        "http_host": word, "max_payload_gap_s": quiet, "max_wire_gap_s": quiet, "max_app_gap_s": quiet,
        "keepalive_probes_c": ids % 3, "keepalive_unanswered_c": ids % 2, "keepidle_s": quiet,
        "keepalive_profile": word,
        "heartbeat_kinds": [None if n % 4 else text for n, text in enumerate(word)], "app_protocol": word,
        "frames_c": ids, "frames_s": ids, "completeness": np.full(count, 31), "start_seen": np.ones(count, bool),
    }  # fmt: skip
    closes = {
        "flow_id": ids, "ts": start + life, "close_kind": kinds, "initiator": who, "explanation": word,
        "trigger": word, "confidence": np.full(count, 0.9), "evidence_frames": [[n + 1] for n in range(count)],
        "race": ["race" if n % 7 == 0 else "none" for n in range(count)], "basis": word,
    }  # fmt: skip
    gaps = {
        "flow_id": ids, "start_ts": start + 1000, "end_ts": start + (quiet * S).astype(np.int64), "duration_s": quiet,
        "class": word, "filled_by": word, "survived": ids % 3 == 0, "start_frame": ids, "end_frame": ids,
        "ended_by": [("fin_server", "rst_server", "data_client", "fin_client")[n % 4] for n in range(count)],
    }  # fmt: skip
    few = min(count, 20)
    beats = {"flow_id": ids[:few], "protocol": word[:few], "method": word[:few], "dir": ["c2s"] * few,
             "series_id": [0] * few, "beats": [5] * few, "period_s": [20.0] * few, "known_as": word[:few]}  # fmt: skip
    finding = {"finding_id": np.arange(few), "flow_ids": [str(n) for n in range(few)], "severity": ["error"] * few}
    for name in ("code", "endpoint", "title", "explanation", "recommendation", "reference"):
        finding[name] = word[:few]  # type: ignore[assignment]
    return {
        "flows": _table("flows", flows), "closes": _table("closes", closes), "idle_gaps": _table("idle_gaps", gaps),
        "heartbeat_series": _table("heartbeat_series", beats), "findings": _table("findings", finding),
        "timeouts": _table("timeouts", {"endpoint": word[:few], "known_as": word[:few], "flow_ids": word[:few]}),
        "endpoints": _table("endpoints", {"endpoint": word, "flows": [1] * count}),
        "captures": _table("captures", {"file": word[:few], "format": word[:few], "packets": [9] * few,
                                        "error": word[:few], "first_ts": [T0] * few, "last_ts": [T0 + S] * few}),
        "anomalies": _table("anomalies", {"code": word[:few], "count": [1] * few, "detail": word[:few]}),
    }  # fmt: skip


def _table(name: str, columns: dict[str, Any]) -> pa.Table:
    """Return a table in which an enum may hold any word, as a damaged or later producer might send."""
    return to_arrow(name, columns)


def made_page(given: dict[str, pa.Table], texts: tuple[str, ...] = (), lanes: int = 10_000, cards: int = 20) -> str:
    """Return the page about these tables; cards get protocol rows with `texts` in them."""
    with Spool() as spool:
        for name, rows in given.items():
            spool.write(name, rows)
        gathered = Gathered(spool, lanes, cards)
        followed = [_with_protocols(_flow_rows(given, flow_id), texts) for flow_id in gathered.cards]
        about = {
            "title": texts[0] if texts else "a capture",
            "version": "1",
            "settings": {"a": 1},
            "note": "".join(texts),
        }
        return page(gathered, spool, followed, about)


def _flow_rows(given: dict[str, pa.Table], flow_id: int) -> FlowRows:
    rows = FlowRows(flow_id)
    for name, table in given.items():
        rows.add(name, table)
    return rows


def _with_protocols(rows: FlowRows, texts: tuple[str, ...]) -> FlowRows:
    """Add a request, a WebSocket close and a TLS session with each text, on segments of their own."""
    flow = rows.flow
    for at, text in enumerate(texts):
        segment = {"flow_id": [rows.flow_id], "frame": [at + 1],
                   "ts": [flow["first_ts"] + at], "dir": ["c2s"], "seq": [1], "seq_rel": [1], "len": [9],
                   "flags": ["PA"], "ttl": [64], "analysis": [None]}  # fmt: skip
        rows.add("segments", to_arrow("segments", segment))
        here = {"flow_id": [rows.flow_id], "frame": [at + 1], "ts": [flow["first_ts"] + at], "dir": ["c2s"]}
        request = {"flow_id": [rows.flow_id], "method": [text], "target": [text], "request_frame": [at + 1],
                   "request_ts": [flow["first_ts"] + at]}  # fmt: skip
        rows.add("http_requests", to_arrow("http_requests", request))
        close = {**here, "opcode": ["close"], "close_code": [1000], "close_reason": [text], "error": [text]}
        rows.add("websocket_frames", to_arrow("websocket_frames", close))
        session = {"flow_id": [rows.flow_id], "sni": [text], "alpn": [text], "version": [text], "cipher": [text]}
        rows.add("tls_sessions", to_arrow("tls_sessions", session))
        beat = {**here, "protocol": [text], "method": ["explicit"]}
        rows.add("heartbeats", to_arrow("heartbeats", beat))
    return rows
