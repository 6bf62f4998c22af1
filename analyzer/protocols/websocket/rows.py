"""FRAME and MESSAGE records as the tables `websocket_frames` and `websocket_messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.kernel import U8, Records
from analyzer.protocols.heap import texts
from analyzer.protocols.websocket.state import (
    BINARY,
    CLOSE,
    ERRORS,
    HEAD_MAX,
    KIND_TEXT,
    KINDS,
    OPCODES,
    PONG,
    UNSEEN_PING,
)
from analyzer.tables.build import MISSING, Coded, to_arrow
from analyzer.tables.kinds import DIRECTIONS

if TYPE_CHECKING:
    import pyarrow as pa

_RESERVED = len(OPCODES) - 1
_WORD_OF = np.full(16, _RESERVED, np.int8)  # opcode -> place in OPCODES
_WORD_OF[: BINARY + 1] = range(BINARY + 1)
_WORD_OF[CLOSE : PONG + 1] = range(BINARY + 1, _RESERVED)

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def _known(values: Any, known: Any) -> Any:
    return np.where(known, values.astype(np.int64), MISSING)


def frame_rows(frames: Records, heap: U8) -> pa.Table:
    """Return FRAME records as rows of `websocket_frames`."""
    pong = frames["opcode"] == PONG
    answered = frames["pong_of"] >= 0
    return to_arrow(
        "websocket_frames",
        {
            "flow_id": frames["flow_id"],
            "stream_id": _known(frames["stream_id"], frames["stream_id"] >= 0),
            "index": frames["index"],
            "frame": frames["frame"],
            "ts": frames["ts"],
            "dir": Coded(frames["dir"], DIRECTIONS),
            "opcode": Coded(_WORD_OF[frames["opcode"]], OPCODES),
            "fin": frames["fin"] == 1,
            "rsv1": (frames["rsv"] & 4) != 0,
            "masked": frames["masked"] == 1,
            "payload_len": frames["payload_len"],
            "message_id": _known(frames["message_id"], frames["message_id"] >= 0),
            "close_code": _known(frames["close_code"], frames["close_code"] > 0),
            "close_reason": texts(frames["reason_at"], frames["reason_len"], heap),
            "pong_of": _known(frames["pong_of"], answered),
            "rtt_s": np.where(answered, frames["rtt"] / 1e9, np.nan),
            "unsolicited": np.where(pong & (frames["pong_of"] != UNSEEN_PING), ~answered, -1).astype(np.int8),
            "error": Coded(frames["error"] - 1, [words for words, _ in ERRORS[1:]]),
            "decrypted": frames["decrypted"] == 1,
        },
    )


def message_rows(messages: Records, heap: U8, *, payload: bool) -> pa.Table:
    """Return MESSAGE records as rows of `websocket_messages`; `payload` fills the preview."""
    columns = {
        "flow_id": messages["flow_id"],
        "stream_id": _known(messages["stream_id"], messages["stream_id"] >= 0),
        "message_id": messages["message_id"],
        "first_ts": messages["first_ts"],
        "last_ts": messages["last_ts"],
        "dir": Coded(messages["dir"], DIRECTIONS),
        "kind": Coded(messages["kind"] - 1, KINDS),
        "frames": messages["frames"],
        "wire_len": messages["wire_len"],
        "len": _known(messages["len"], messages["len"] >= 0),
        "compressed": messages["compressed"] == 1,
        "utf8_ok": messages["utf8_ok"],
        "complete": messages["complete"] == 1,
    }
    if payload:
        columns["payload"] = [_preview(row, heap) for row in messages]
    return to_arrow("websocket_messages", columns)


def _preview(row: Any, heap: U8) -> str | None:
    """Return the first bytes of a message with everything that is not printable escaped."""
    at, length = int(row["head_at"]), int(row["head_len"])
    if at < 0:
        return None
    head = heap[at : at + length].tobytes()
    more = int(row["len"]) > length
    if int(row["kind"]) == KIND_TEXT:
        if more and length == HEAD_MAX:
            head = _whole_characters(head)
        shown = head.decode("utf-8", "backslashreplace")
    else:
        shown = head.decode("latin-1") if head.isascii() else head.decode("ascii", "backslashreplace")
    return shown.translate(_CONTROLS) + ("…" if more else "")


def _whole_characters(head: bytes) -> bytes:
    """Leave out the character that the cut went through."""
    for back in range(1, min(4, len(head)) + 1):
        byte = head[-back]
        if byte & 0xC0 != 0x80:
            size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return head[:-back] if size > back else head
    return head
