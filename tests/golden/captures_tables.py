"""Comparisons of the protocol tables with the truths of `captures/`: each returns what disagrees, in words.

`READ` says which of them are in force. A protocol that the analyzer learns to read is added here; until it is, a test
holds its tables to be empty, so that the day cannot be missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd

Truth = dict[str, Any]
Rows = dict[str, pd.DataFrame]

# "http", "ws", "tls", "h2", "heartbeats" are tables; "race" and "trigger" columns of closes; "keys": TLS is decrypted
READ: frozenset[str] = frozenset({"h2", "heartbeats", "http", "keys", "race", "tls", "trigger", "ws"})

TABLES = {
    "http": ("http_requests",),
    "ws": ("websocket_frames", "websocket_messages"),
    "tls": ("tls_records", "tls_sessions"),
    "h2": ("http2_frames",),
    "heartbeats": ("heartbeats", "heartbeat_series"),
}
# for a trigger, both its own protocol and that of the connection have to be read
NEEDS = {"goaway": "h2", "ws_close": "ws"}
APPS = {"http/1.0": "http", "http/1.1": "http", "websocket": "ws"}
DIRS = {"client": "c2s", "server": "s2c"}
TOLERANCE_S = 0.3
WS_OPCODES = {"cont": "continuation"}
HTTP2_ERRORS = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 8: "CANCEL", 11: "ENHANCE_YOUR_CALM"}
KINDS = {
    "app": {"unknown", "tls"},
    "ws_ping": {"websocket"},
    "engineio_ping": {"engineio"},
    "sse_comment": {"sse"},
    "sse_ping": {"sse"},
    "h2_ping": {"http2", "grpc"},
    "redis_ping": {"redis"},
    "mqtt_pingreq": {"mqtt"},
    "tls_heartbeat": {"tls"},
}


class Wrong(list[str]):
    """What disagrees."""

    def unless(self, what: str, ours: object, theirs: object) -> None:
        """Note a difference."""
        if ours != theirs:
            self.append(f"{what}: {ours!r}, truth is {theirs!r}")


def unsure(truth: Truth, path: str) -> bool:
    """Return whether the truth does not claim to be exact here."""
    return any(path.startswith(known) for known in truth.get("uncertain", []))


def http(truth: Truth, rows: Rows) -> Wrong:
    """Requests, statuses, framing, pipelining and persistence headers of one connection."""
    wrong, want, ours = Wrong(), truth["http"], rows["http_requests"]
    if want.get("tunnel"):  # what is inside belongs to somebody else
        wrong.unless("first method", ours.method.tolist()[:1], [want["methods_first"]])
        wrong.unless("upgraded", bool(ours.upgrade.notna().any()), True)
        return wrong
    wrong.unless("methods", ours.method.tolist(), want["methods"])
    wrong.unless("statuses", ours.status.dropna().astype(int).tolist(), want["statuses"])
    unanswered = want.get("unanswered", 0)
    wrong.unless("unanswered", int(ours.status.isna().sum()), unanswered)
    wrong.unless("incomplete", int((~ours.complete.astype(bool)).sum()), unanswered + want.get("incomplete", 0))
    wrong.unless("pipelined", int(ours.pipelined.astype(bool).sum()), want.get("pipelined_max", 1) - 1)
    wrong.unless("reused", ours.reused.astype(bool).tolist(), [n > 0 for n in range(len(want["methods"]))])
    if "advertised_timeout_s" in want:
        wrong.unless("keep-alive timeout", set(ours.keepalive_timeout_s), {want["advertised_timeout_s"]})
    if "chunked" in want:
        wrong.unless("chunked", (ours.body_framing_s == "chunked").tolist(), want["chunked"])
    if "framing" in want:
        wrong.unless("framing", ours.body_framing_s.tolist(), want["framing"])
    if "request_bytes" in want:
        wrong.unless("request body", ours.request_bytes.tolist(), want["request_bytes"])
    if want.get("close_header_by") == "server":
        wrong.unless("Connection", str(ours.connection_s.iloc[-1]).lower(), "close")
    if "ttfb_s" in want:
        near = zip(ours.ttfb_s, want["ttfb_s"], strict=True)
        wrong.unless("waits for answers", all(abs(a - b) < TOLERANCE_S for a, b in near), True)
    if "hol_wait_s" in want:
        near = zip(ours.hol_wait_s.fillna(0), want["hol_wait_s"], strict=False)
        wrong.unless("waits behind others", all(abs(a - b) < TOLERANCE_S for a, b in near), True)
    return wrong


def ws(truth: Truth, rows: Rows) -> Wrong:
    """Frames of each kind and side, Close codes in order, compression and fragments of one WebSocket."""
    wrong, want, frames = Wrong(), truth["ws"], rows["websocket_frames"]
    sides = {direction: side for side, direction in DIRS.items()}
    count = Counter(zip(frames.dir.map(sides), frames.opcode, strict=True))
    for side, kinds in want.get("messages", {}).items():
        for kind, n in kinds.items():
            wrong.unless(f"{kind} by {side}", count[side, WS_OPCODES.get(kind, kind)], n)
    closes = frames[frames.opcode == "close"]
    codes = [None if pd.isna(code) else int(code) for code in closes.close_code]
    ours = [list(pair) for pair in zip(closes.dir.map(sides), codes, strict=True)]
    wrong.unless("Close frames", ours, want["close_frames"])
    wrong.unless("compressed", bool(frames.rsv1.any()), want.get("permessage_deflate", False))
    wrong.unless("fragments", bool((frames.opcode == "continuation").any()), want.get("fragmented", False))
    if "messages" in want:
        messages = rows["websocket_messages"]
        sent = sum(kinds["text"] + kinds["binary"] for kinds in want["messages"].values())
        wrong.unless("messages", len(messages), sent)
        wrong.unless("complete", bool(messages.complete.all()), True)
    wrong.unless("unmasked client frames", bool(frames[frames.dir == "c2s"].masked.all()), True)
    wrong.unless("errors", frames.error.dropna().tolist(), [])
    return wrong


def tls(truth: Truth, rows: Rows) -> Wrong:
    """Version, resumption, early data, updates, alerts and goodbyes of one TLS connection."""
    wrong, want = Wrong(), truth["tls"]
    if len(rows["tls_sessions"]) != 1:
        return Wrong([f"{len(rows['tls_sessions'])} sessions"])
    ours = rows["tls_sessions"].iloc[0]
    failed = want.get("handshake") == "failed"
    wrong.unless("handshake complete", bool(ours.handshake_complete), not failed)
    decrypted = "keys" in READ and bool(ours.decrypted)
    if not failed:
        old = want["version"] != "1.3"
        wrong.unless("version", ours.version, f"TLS {want['version']}")
        wrong.unless("resumption", ours.resumption, want["resumed"] or "none")
        wrong.unless("hello retry", bool(ours.hello_retry), want.get("hello_retry", False))
        wrong.unless("renegotiations", int(ours.renegotiations), want.get("renegotiations", 0))
        if "early_data" in want:
            unknown = set() if decrypted else {"unknown", "offered"} if want["early_data"] == "accepted" else set()
            wrong.unless("early data", ours.early_data in unknown | {want["early_data"]}, True)
        for side, said in want.get("close_notify", {}).items():
            allowed = {"yes", "inferred"} if said else {"no"}
            if not (old or decrypted):
                allowed |= {"unknown"}
            if unsure(truth, f"tls.close_notify.{side}"):
                continue
            wrong.unless(f"close_notify by {side}", ours[f"close_notify_{side[0]}"] in allowed, True)
        if decrypted:
            for side, n in want.get("key_updates", {}).items():
                wrong.unless(f"key updates by {side}", int(ours[f"key_updates_{side[0]}"]), n)
        if "cipher" in want and not old:
            wrong.unless("cipher", ours.cipher, want["cipher"])
    for key in ("sni", "alpn", "cert_expired"):
        if key in want:
            wrong.unless(key, ours[key], want[key])
    if "alert" in want and (failed or decrypted):
        wrong.unless("alert", ours.alert, want["alert"])
    return wrong


def h2(truth: Truth, rows: Rows) -> Wrong:
    """PINGs, GOAWAYs, cancelled streams and requests of one HTTP/2 connection."""
    wrong, want, frames = Wrong(), truth["h2"], rows["http2_frames"]
    if truth["app"] == "h2" and "tls" in truth and "keys" not in READ:
        return wrong  # nothing can be read, and nothing is claimed
    asked = frames[(frames.type == "PING") & ~frames.ack.fillna(False).astype(bool)]
    for side, n in want["pings"].items():
        if n is not None:
            wrong.unless(f"PINGs by {side}", int((asked.dir == DIRS[side]).sum()), n)
    for kind, key in (("GOAWAY", "goaway"), ("RST_STREAM", "rst_stream")):
        mine = frames[frames.type == kind]
        ours = Counter(zip(mine.dir, mine.error_code, strict=True))
        theirs = Counter((DIRS[side], HTTP2_ERRORS[code]) for side, code in want.get(key) or [])
        if unsure(truth, f"h2.{key}"):
            wrong.unless(f"{kind} missing", dict(theirs - ours), {})
        else:
            wrong.unless(kind, dict(ours), dict(theirs))
    wrong.unless("requests", int(rows["http_requests"].stream_id.notna().sum()), want["requests"])
    return wrong


def heartbeats(truth: Truth, rows: Rows) -> Wrong:
    """Series of heartbeats of one connection: each that there is, and none that there is not."""
    wrong, series = Wrong(), rows["heartbeat_series"]
    found: set[int] = set()
    for want in truth["heartbeats"]:
        mine = series[(series.dir == DIRS[want["by"]]) & series.protocol.isin(KINDS[want["kind"]])]
        if want["count"] != 1:  # one beat has no period
            mine = mine[(mine.period_s - want["interval_s"]).abs() <= 0.1 * want["interval_s"] + 0.1]
        found |= set(mine.series_id)
        if mine.empty:
            if "heartbeats" not in truth.get("optional", []):
                wrong.append(f"no series like {want}")
            continue
        best = mine.iloc[0]
        inferred = want["kind"] == "app"
        wrong.unless("method", best.method, "inferred" if inferred else "explicit")
        if want["count"] is not None:
            wrong.unless(f"beats of {want}", abs(int(best.beats) - want["count"]) <= (1 if inferred else 0), True)
        if want["count"] and want["answered"] is not None:
            share = want["answered"] / want["count"]
            wrong.unless("answered", abs(best.answered_share - share) <= (0.15 if inferred else 0.01), True)
    others = series[~series.series_id.isin(found)]
    wrong.unless("series that are none", others.protocol.tolist(), [])
    return wrong


COMPARE: dict[str, Callable[[Truth, Rows], Wrong]] = {
    "http": http, "ws": ws, "tls": tls, "h2": h2, "heartbeats": heartbeats,
}  # fmt: skip
