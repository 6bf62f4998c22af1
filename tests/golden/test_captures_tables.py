"""The comparisons themselves: quiet where tables and truth agree, loud where one row or value is different."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.golden import captures_tables
from tests.golden.captures_tables import Rows, h2, heartbeats, http, tls, ws


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def changed(rows: Rows, name: str, column: str, value: object) -> Rows:
    """Return a copy with one value of the last row changed."""
    copy = rows[name].copy().astype({column: object})
    copy.loc[len(copy) - 1, column] = value
    return {**rows, name: copy}


def test_http() -> None:
    truth = {"http": {"methods": ["GET", "HEAD"], "statuses": [200, 204], "requests": 2}}
    same = {"complete": True, "pipelined": False}
    rows = {
        "http_requests": table(
            {"method": "GET", "status": 200, "reused": False, **same},
            {"method": "HEAD", "status": 204, "reused": True, **same},
        )
    }
    assert http(truth, rows) == []
    for column, value in (("method", "GET"), ("status", None), ("complete", False), ("pipelined", True)):
        assert http(truth, changed(rows, "http_requests", column, value)), column


def test_websocket() -> None:
    none = {"text": 0, "binary": 0, "cont": 0, "ping": 0, "pong": 0}
    truth = {
        "ws": {
            "messages": {"client": {**none, "text": 1, "ping": 1}, "server": {**none, "pong": 1}},
            "close_frames": [["client", 1000], ["server", None]],
        }
    }
    kinds = (("c2s", "text"), ("c2s", "ping"), ("s2c", "pong"), ("c2s", "close"), ("s2c", "close"))
    frames = [
        {"dir": way, "opcode": kind, "close_code": None, "rsv1": False, "masked": way == "c2s", "error": None}
        for way, kind in kinds
    ]
    frames[3]["close_code"] = 1000
    rows = {"websocket_frames": table(*frames), "websocket_messages": table({"complete": True})}
    assert ws(truth, rows) == []
    for column, value in (("opcode", "ping"), ("close_code", 1001), ("dir", "c2s"), ("rsv1", True), ("error", "bad")):
        assert ws(truth, changed(rows, "websocket_frames", column, value)), column
    assert ws(truth, changed(rows, "websocket_messages", "complete", False))


def test_tls(monkeypatch: Any) -> None:
    monkeypatch.setattr(captures_tables, "READ", frozenset({"tls", "keys"}))
    truth = {
        "tls": {
            "version": "1.3", "resumed": "psk", "early_data": "accepted", "key_updates": {"client": 2, "server": 1},
            "close_notify": {"client": True, "server": False},
        }
    }  # fmt: skip
    session = {
        "handshake_complete": True, "decrypted": True, "version": "TLS 1.3", "resumption": "psk", "hello_retry": False,
        "renegotiations": 0, "early_data": "accepted", "key_updates_c": 2, "key_updates_s": 1, "close_notify_c": "yes",
        "close_notify_s": "no",
    }  # fmt: skip
    rows = {"tls_sessions": table(session)}
    assert tls(truth, rows) == []
    assert tls(truth, {"tls_sessions": table(session, session)})
    for column, value in (
        ("version", "TLS 1.2"), ("resumption", "none"), ("early_data", "unknown"), ("key_updates_c", 0),
        ("close_notify_s", "yes"), ("handshake_complete", False), ("hello_retry", True), ("renegotiations", 1),
    ):  # fmt: skip
        assert tls(truth, changed(rows, "tls_sessions", column, value)), column


def test_http2() -> None:
    truth = {"app": "h2", "h2": {"requests": 1, "pings": {"client": 1, "server": 0}, "goaway": [["server", 11]]}}
    frames = table(
        {"dir": "c2s", "type": "PING", "ack": False, "error_code": None},
        {"dir": "s2c", "type": "PING", "ack": True, "error_code": None},
        {"dir": "s2c", "type": "GOAWAY", "ack": None, "error_code": "ENHANCE_YOUR_CALM"},
    )
    rows = {"http2_frames": frames, "http_requests": table({"stream_id": 1})}
    assert h2(truth, rows) == []
    assert h2({**truth, "uncertain": ["h2.goaway"]}, {**rows, "http2_frames": frames.drop(index=2)})
    for column, value in (("type", "PING"), ("dir", "c2s"), ("error_code", "NO_ERROR")):
        assert h2(truth, changed(rows, "http2_frames", column, value)), column
    assert h2(truth, changed(rows, "http_requests", "stream_id", None))


def test_heartbeats() -> None:
    beats = {"kind": "app", "by": "client", "interval_s": 1.2, "count": 10, "answered": 10}
    series = {"series_id": 0, "dir": "c2s", "protocol": "unknown", "method": "inferred", "period_s": 1.21, "beats": 10}
    rows = {"heartbeat_series": table({**series, "answered_share": 1.0})}
    nothing = {"heartbeat_series": rows["heartbeat_series"].iloc[:0]}
    assert heartbeats({"heartbeats": [beats]}, rows) == []
    assert heartbeats({"heartbeats": []}, nothing) == []
    assert heartbeats({"heartbeats": []}, rows), "a false alarm"
    assert heartbeats({"heartbeats": [beats]}, nothing), "a series not found"
    assert heartbeats({"heartbeats": [beats], "optional": ["heartbeats"]}, nothing) == []
    for column, value in (
        ("period_s", 2.4),
        ("beats", 5),
        ("dir", "s2c"),
        ("answered_share", 0.5),
        ("method", "explicit"),
    ):
        assert heartbeats({"heartbeats": [beats]}, changed(rows, "heartbeat_series", column, value)), column
