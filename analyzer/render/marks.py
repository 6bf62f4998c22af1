"""What the protocol tables know about single frames, in a few words each: the notes of a ladder and a lifeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.render.flowrows import FlowRows
from analyzer.render.plain import Row

WORDS = 60
"""Characters of a note; a request target may be thousands."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A note on one frame.

    kind  request, response, websocket, beat, tls, http2 or probe: how a picture draws it
    """

    frame: int
    ts_ns: int | None
    from_client: bool
    kind: str
    text: str


def marks_of(rows: FlowRows) -> list[Mark]:
    """Return the notes on all frames of a connection, by frame."""
    found = [
        *_http(rows.rows["http_requests"]),
        *_websocket(rows.rows["websocket_frames"]),
        *_tls(rows.rows["tls_records"]),
        *_http2(rows.rows["http2_frames"]),
        *_beats(rows.rows["heartbeats"]),
        *_probes(rows.rows["keepalives"]),
    ]
    return sorted((mark for mark in found if mark.frame is not None), key=lambda mark: mark.frame)


def _mark(row: Row, kind: str, text: str) -> Mark:
    return Mark(row["frame"], row["ts"], row["dir"] == "c2s", kind, _short(text))


def _http(rows: list[Row]) -> list[Mark]:
    out = []
    for row in rows:
        asked = " ".join(filter(None, (row["method"], row["target"])))
        stream = f" (stream {row['stream_id']})" if row["stream_id"] is not None else ""
        if row["request_frame"] is not None:
            out.append(
                Mark(row["request_frame"], row["request_ts"], True, "request", _short(asked or "request") + stream)
            )
        if row["response_frame"] is not None:
            text = f"{row['status'] if row['status'] is not None else 'response'}{stream}"
            out.append(Mark(row["response_frame"], row["response_ts"], False, "response", text))
    return out


def _websocket(rows: list[Row]) -> list[Mark]:
    out = []
    for row in rows:
        words: list[Any] = ["WebSocket", row["opcode"]]
        if row["close_code"] is not None:
            words.append(row["close_code"])
        if row["close_reason"]:
            words.append(f'"{row["close_reason"]}"')
        if row["error"]:
            words.append(f"({row['error']})")
        kind = "beat" if row["opcode"] in ("ping", "pong") else "websocket"
        out.append(_mark(row, kind, " ".join(map(str, words))))
    return out


def _tls(rows: list[Row]) -> list[Mark]:
    out = []
    for row in rows:
        if row["content_type"] == "application_data" and not row["handshake_types"]:
            continue  # bulk
        words = [row["handshake_types"] or row["content_type"]]
        words += [word for word in (row["alert_level"], row["alert_description"]) if word]
        out.append(_mark(row, "tls", "TLS " + " ".join(words)))
    return out


def _http2(rows: list[Row]) -> list[Mark]:
    out = []
    for row in rows:
        if row["type"] in ("DATA", "HEADERS", "CONTINUATION", "WINDOW_UPDATE"):
            continue
        words = ["HTTP/2", row["type"], "ACK" if row["ack"] else "", row["error_code"] or ""]
        out.append(_mark(row, "beat" if row["type"] == "PING" else "http2", " ".join(filter(None, words))))
    return out


def _beats(rows: list[Row]) -> list[Mark]:
    out = []
    for row in rows:
        if row["protocol"] in ("websocket", "http2") and row["method"] == "explicit":
            continue  # the frame's own row says more
        how = "" if row["method"] == "explicit" else ", inferred"
        missed = ", never answered" if row["missed"] else ""
        out.append(_mark(row, "beat", f"heartbeat ({row['protocol']}{how}{missed})"))
    return out


def _probes(rows: list[Row]) -> list[Mark]:
    words = {"ack": "answered", "data": "answered by data", "rst": "answered by RST", "no": "unanswered",
             "pending": "no answer yet"}  # fmt: skip
    return [
        _mark(row, "probe", f"keep-alive probe, {words.get(row['answered'] or 'no', 'unanswered')}") for row in rows
    ]


def _short(text: str) -> str:
    return text if len(text) <= WORDS else text[: WORDS - 3] + "..."
