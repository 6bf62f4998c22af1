"""FRAME records and ended streams as the tables `http2_frames` and `http_requests`, and pings as heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.kernel import U8, Records
from analyzer.protocols.beats import BUSY, CONTROL, PROTOCOLS
from analyzer.protocols.heap import texts
from analyzer.protocols.http2.headers import Said
from analyzer.protocols.http2.state import (
    ACK,
    ALTSVC,
    CONTINUATION,
    GOAWAY,
    HEAD_BYTES,
    ORIGIN,
    PING,
    PRIORITY_UPDATE,
    SETTINGS,
)
from analyzer.tables.build import MISSING, Coded, to_arrow
from analyzer.tables.kinds import DIRECTIONS
from analyzer.tables.protocols import HTTP2_TYPES

if TYPE_CHECKING:
    import pyarrow as pa

# RFC 9113 section 7
ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
# RFC 9113 section 6.5.2, RFC 8441, RFC 9218
SETTING_NAMES = {
    1: "HEADER_TABLE_SIZE", 2: "ENABLE_PUSH", 3: "MAX_CONCURRENT_STREAMS", 4: "INITIAL_WINDOW_SIZE",
    5: "MAX_FRAME_SIZE", 6: "MAX_HEADER_LIST_SIZE", 8: "ENABLE_CONNECT_PROTOCOL", 9: "NO_RFC7540_PRIORITIES",
}  # fmt: skip
_FLAGS = {
    0: {1: "END_STREAM", 8: "PADDED"},
    1: {1: "END_STREAM", 4: "END_HEADERS", 8: "PADDED", 32: "PRIORITY"},
    4: {1: "ACK"}, 5: {4: "END_HEADERS", 8: "PADDED"}, 6: {1: "ACK"}, 9: {4: "END_HEADERS"},
}  # fmt: skip
_WORD_OF = np.full(256, len(HTTP2_TYPES) - 1, np.int8)  # type -> place in HTTP2_TYPES
_WORD_OF[: CONTINUATION + 1] = range(CONTINUATION + 1)
_WORD_OF[[ALTSVC, ORIGIN, PRIORITY_UPDATE]] = [HTTP2_TYPES.index(w) for w in ("ALTSVC", "ORIGIN", "PRIORITY_UPDATE")]


def error_name(code: int) -> str:
    """Return the name of an error code; one that has none is hexadecimal."""
    return ERRORS[code] if code < len(ERRORS) else f"0x{code:x}"


def _flags(key: int) -> str:
    known, flags = _FLAGS.get(key >> 8, {}), key & 255
    rest = flags & ~sum(known)
    return ",".join([name for bit, name in known.items() if flags & bit] + ([f"0x{rest:x}"] if rest else []))


def _settings(data: bytes) -> str:
    pairs = [
        (int.from_bytes(data[k : k + 2], "big"), int.from_bytes(data[k + 2 : k + 6], "big"))
        for k in range(0, len(data) - 5, 6)
    ]
    return ",".join(f"{SETTING_NAMES.get(key, f'0x{key:x}')}={value}" for key, value in pairs)


def _named(numbers: Any, name: Any, where: Any) -> Coded:
    """Return numbers as words, each distinct one named once; null where `where` is false."""
    distinct, index = np.unique(numbers[where].astype(np.int64), return_inverse=True)
    codes = np.full(numbers.shape[0], -1, np.int64)
    codes[where] = index
    return Coded(codes, [name(int(number)) for number in distinct])


def _known(values: Any, known: Any) -> Any:
    return np.where(known, values.astype(np.int64), MISSING)


def frame_rows(frames: Records, heap: U8) -> pa.Table:
    """Return FRAME records as rows of `http2_frames`."""
    kind, flags = frames["type"], frames["flags"]
    settings: list[str | None] = [None] * frames.shape[0]
    for k in np.flatnonzero((kind == SETTINGS) & (frames["text_at"] >= 0)).tolist():
        at, length = int(frames["text_at"][k]), int(frames["text_len"][k])
        settings[k] = _settings(heap[at : at + length].tobytes())
    acks = (kind == SETTINGS) | (kind == PING)
    return to_arrow(
        "http2_frames",
        {
            "flow_id": frames["flow_id"],
            "frame": frames["frame"],
            "ts": frames["ts"],
            "dir": Coded(frames["dir"], DIRECTIONS),
            "type": Coded(_WORD_OF[kind], HTTP2_TYPES),
            "stream_id": frames["stream_id"],
            "length": frames["length"],
            "flags": _named(kind.astype(np.int64) << 8 | flags, _flags, flags != 0),
            "ack": np.where(acks, flags & ACK, -1).astype(np.int8),
            "settings": settings,
            "error_code": _named(frames["error"], error_name, frames["error"] >= 0),
            "last_stream_id": _known(frames["last_stream"], frames["last_stream"] >= 0),
            "debug": texts(np.where(kind == GOAWAY, frames["text_at"], -1), frames["text_len"], heap),
            "increment": _known(frames["increment"], frames["increment"] >= 0),
            "window_wait_s": np.where(frames["waited"] >= 0, frames["waited"] / 1e9, np.nan),
            "ping_of": _known(frames["ping_of"], frames["ping_of"] >= 0),
            "rtt_s": np.where(frames["rtt"] >= 0, frames["rtt"] / 1e9, np.nan),
            "decrypted": frames["decrypted"] == 1,
        },
    )


def heartbeats(frames: Records) -> Records:
    """Return CONTROL rows of the pings and their answers among FRAME records."""
    asked, answered = frames["index"] >= 0, frames["answers"] >= 0
    chosen = frames[(frames["type"] == PING) & (asked | answered)]
    out = np.zeros(chosen.shape[0], CONTROL)
    for name in ("flow_id", "ts", "frame", "index", "answers", "dir"):
        out[name] = chosen[name]
    out["size"] = chosen["length"] + HEAD_BYTES
    out["protocol"] = np.where(chosen["busy"] == 1, PROTOCOLS.index(BUSY), PROTOCOLS.index("http2"))
    out["answer"] = chosen["answers"] >= 0
    return out


def request_rows(done: Records, said: Sequence[Said]) -> pa.Table:
    """Return ended streams, with what their header blocks said, as rows of `http_requests`."""
    asked, answered = done["request_seen"] == 1, done["response_seen"] == 1
    final = answered & np.array([not one.interim or one.response_ts > 0 for one in said], np.bool_)
    later = np.array([one.response_ts for one in said], np.int64)
    later_frame = np.array([one.response_frame for one in said], np.int64)
    response_ts = np.where(later > 0, later, done["response_ts"])
    response_frame = np.where(later > 0, later_frame, done["response_frame"])
    whole = asked & final & (done["request_end_ts"] != 0) & (response_ts >= done["request_end_ts"])
    request_done, response_done = asked & (done["request_done"] == 1), done["response_done"] == 1
    return to_arrow(
        "http_requests",
        {
            "flow_id": done["flow_id"],
            "index": done["index"],
            "stream_id": done["stream_id"],
            "method": [one.method for one in said],
            "target": [one.target for one in said],
            "host": [one.host for one in said],
            "version": Coded(np.zeros(done.shape[0], np.int8), ("2",)),
            "status": [one.status for one in said],
            "request_ts": _known(done["request_ts"], asked),
            "request_end_ts": _known(done["request_end_ts"], request_done),
            "response_ts": _known(response_ts, final),
            "response_end_ts": _known(done["response_end_ts"], response_done),
            "ttfb_s": np.where(whole, (response_ts - done["request_end_ts"]) / 1e9, np.nan),
            "request_bytes": _known(done["request_bytes"], request_done),
            "response_bytes": _known(done["response_bytes"], response_done),
            "idle_before_s": np.where(done["idle_before"] >= 0, done["idle_before"] / 1e9, np.nan),
            "reused": done["reused"] == 1,
            "window_wait_c_s": np.where(done["unsure"] == 0, done["waited_c"] / 1e9, np.nan),
            "window_wait_s_s": np.where(done["unsure"] == 0, done["waited_s"] / 1e9, np.nan),
            "pipelined": np.zeros(done.shape[0], np.bool_),
            "body_framing_c": Coded(np.where(asked, 0, -1), ("h2",)),
            "body_framing_s": Coded(np.where(final, 0, -1), ("h2",)),
            "upgrade": [one.switched for one in said],
            "complete": request_done & response_done,
            "request_frame": _known(done["request_frame"], asked),
            "response_frame": _known(response_frame, final),
            "decrypted": done["decrypted"] == 1,
            "grpc_status": [one.grpc_status for one in said],
            "websocket_protocol": [one.websocket_protocol for one in said],
            "websocket_extensions": [one.websocket_extensions for one in said],
        },
    )
