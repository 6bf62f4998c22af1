"""Heartbeats that protocols read as such: one row for each beat, with its answer, until its flow is over.

What    WebSocket pings and unsolicited pongs; in WebSocket messages engine.io, SignalR, Phoenix and STOMP.
Source  RFC 6455 section 5.5.2 (ping, pong; an unsolicited pong is a one-way heartbeat); engine.io protocol 3 and 4
        ("2" ping, "3" pong); SignalR hub protocol ({"type":6}); Phoenix channels (topic phoenix, event heartbeat);
        STOMP 1.2 (a bare EOL).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, U8, Mask, Records
from analyzer.protocols.websocket.state import KIND_TEXT, PING, PONG

PROTOCOLS = ("websocket", "engineio", "signalr", "phoenix", "stomp")
WEBSOCKET_BEAT, ENGINEIO, SIGNALR, PHOENIX, STOMP = range(len(PROTOCOLS))

BEAT = np.dtype(
    [("flow_id", np.int64), ("ts", np.int64), ("frame", np.int64), ("answer_ts", np.int64), ("answer_frame", np.int64),
     ("size", np.int64), ("protocol", np.int8), ("dir", np.int8), ("paired", np.int8)]  # paired: an answer is due
)  # fmt: skip

# Control frames that wait for their flow's end: a ping and a pong a second on 500 connections for ten minutes.
# Past it (56 MiB) the oldest half is forgotten, and series begin later than they did.
MAX_HELD = 1 << 19

_CONTROL = np.dtype(
    [("flow_id", np.int64), ("ts", np.int64), ("frame", np.int64), ("index", np.int64), ("answers", np.int64),
     ("size", np.int64), ("protocol", np.int8), ("dir", np.int8), ("answer", np.int8)]  # answer: it is one, of either
)  # fmt: skip


class Beats:
    """Collects what may be a beat or its answer while messages become rows, and pairs them when a flow is over."""

    def __init__(self) -> None:
        self._held: list[Records] = []
        self._rows = 0

    def take(self, frames: Records, messages: Records, heap: U8) -> None:
        """Take FRAME and MESSAGE records of WebSocket, each once."""
        parts = [_controls(frames), *_words(messages, heap)]
        for part in parts:
            if part.size:
                self._held.append(part)
                self._rows += part.size
        if self._rows > MAX_HELD:
            kept = np.concatenate(self._held)[self._rows // 2 :]
            self._held, self._rows = [kept], kept.size

    def of(self, flow_ids: I64) -> Records:
        """Return the BEAT rows of these flows, and forget them."""
        if not self._held:
            return np.zeros(0, BEAT)
        held = np.concatenate(self._held)
        mine = np.isin(held["flow_id"], flow_ids)
        self._held = [held[~mine]]
        self._rows = self._held[0].size
        rows = held[mine]
        parts = [_by_index(rows[rows["protocol"] == WEBSOCKET_BEAT])]
        parts += [
            _by_order(rows[rows["protocol"] == code], paired=code == ENGINEIO) for code in range(1, len(PROTOCOLS))
        ]
        return np.concatenate(parts)


def _controls(frames: Records) -> Records:
    chosen = frames[np.isin(frames["opcode"], (PING, PONG))]
    out = np.zeros(chosen.shape[0], _CONTROL)
    for name in ("flow_id", "ts", "frame", "index", "dir"):
        out[name] = chosen[name]
    out["size"] = chosen["payload_len"] + 2 + 4 * chosen["masked"]
    out["answers"], out["answer"] = chosen["pong_of"], chosen["opcode"] == PONG
    return out


def _words(messages: Records, heap: U8) -> list[Records]:
    """Return the messages that are a heartbeat by their words."""
    short = messages[(messages["kind"] == KIND_TEXT) & (messages["head_at"] >= 0) & (messages["len"] > 0)]
    if short.shape[0] == 0:
        return []
    first = heap[short["head_at"]]
    one = short["len"] == 1
    made = [
        _made(short[one & (first == ord("2"))], ENGINEIO, 0), _made(short[one & (first == ord("3"))], ENGINEIO, 1),
        _made(short[one & (first == ord("\n"))], STOMP, 0),
    ]  # fmt: skip
    brace = (first == ord("{")) | (first == ord("["))
    for code, words, longest in ((SIGNALR, b'{"type":6}\x1e', 11), (PHOENIX, b'"heartbeat"', 64)):
        some = short[brace & (short["len"] <= longest) & (short["len"] >= len(words))]
        here = [words in heap[at : at + n].tobytes() for at, n in zip(some["head_at"], some["head_len"], strict=True)]
        made.append(_made(some[np.array(here, np.bool_)], code, 0))
    return made


def _made(messages: Records, protocol: int, answer: int) -> Records:
    out = np.zeros(messages.shape[0], _CONTROL)
    out["flow_id"], out["dir"] = messages["flow_id"], messages["dir"]
    out["ts"], out["frame"], out["size"] = messages["last_ts"], messages["last_frame"], messages["wire_len"]
    out["protocol"], out["answer"] = protocol, answer
    return out


def _beats(rows: Records, answer: NDArray[Any], has: Mask, paired: Mask) -> Records:
    out = np.zeros(rows.shape[0], BEAT)
    for name in ("flow_id", "ts", "frame", "size", "protocol", "dir"):
        out[name] = rows[name]
    out["paired"] = paired
    out["answer_ts"][has], out["answer_frame"][has] = answer["ts"][has], answer["frame"][has]
    return out


def _by_index(rows: Records) -> Records:
    """Pings with the pongs that name them, and pongs that name none."""
    pings = rows[rows["answer"] == 0]
    pongs = rows[(rows["answer"] == 1) & (rows["answers"] >= 0)]
    alone = rows[(rows["answer"] == 1) & (rows["answers"] < 0)]
    _, number = np.unique(np.concatenate([pings["flow_id"], pongs["flow_id"]]), return_inverse=True)
    key = number[: pings.size].astype(np.int64) << 40 | pings["index"]
    named = number[pings.size :].astype(np.int64) << 40 | pongs["answers"]
    order = np.argsort(named, kind="stable")
    place = np.searchsorted(named[order], key)
    there = place < named.size
    found = order[np.minimum(place, max(named.size - 1, 0))] if named.size else np.zeros(key.size, np.int64)
    has = there & (named[found] == key) if named.size else np.zeros(key.size, np.bool_)
    answer = pongs[found] if named.size else pings
    return np.concatenate(
        [
            _beats(pings, answer, has, np.ones(pings.size, np.bool_)),
            _beats(alone, alone, np.zeros(alone.size, np.bool_), np.zeros(alone.size, np.bool_)),
        ]
    )


def _by_order(rows: Records, *, paired: bool) -> Records:
    """Beats with the first answer of the other side before the next beat."""
    rows = rows[np.lexsort((rows["frame"], rows["ts"], rows["flow_id"]))]
    beats = np.flatnonzero(rows["answer"] == 0)
    if not paired:
        none = np.zeros(beats.size, np.bool_)
        return _beats(rows[beats], rows[beats], none, none)
    following = np.minimum(beats + 1, max(rows.size - 1, 0))
    answer = rows[following] if rows.size else rows[beats]
    mine = rows[beats]
    has = (answer["answer"] == 1) & (answer["flow_id"] == mine["flow_id"]) & (answer["dir"] != mine["dir"])
    return _beats(mine, answer, has, np.ones(beats.size, np.bool_))
