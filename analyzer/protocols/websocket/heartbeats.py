"""What WebSocket carries of heartbeats: pings and pongs, and messages that are one by their words.

Source  RFC 6455 section 5.5.2 (ping, pong; an unsolicited pong is a one-way heartbeat); engine.io protocol 3 and 4
        ("2" ping, "3" pong); SignalR hub protocol ({"type":6}); Phoenix channels (topic phoenix, event heartbeat,
        answered by phx_reply); STOMP 1.2 (a bare EOL).
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Mask, Records
from analyzer.protocols.beats import CONTROL, PROTOCOLS
from analyzer.protocols.websocket.state import HEAD_MAX, KIND_TEXT, PING, PONG

WEBSOCKET, ENGINEIO, SIGNALR, PHOENIX, STOMP = (
    PROTOCOLS.index(name) for name in ("websocket", "engineio", "signalr", "phoenix", "stomp")
)
_LONGEST = 64  # bytes of a message that is a heartbeat by its words: Phoenix names topic, event and payload
_BY_WORDS = (
    (SIGNALR, 0, (b'{"type":6}\x1e',), 11),
    (PHOENIX, 0, (b'"heartbeat"',), _LONGEST),
    (PHOENIX, 1, (b'"phx_reply"', b'"phoenix"'), HEAD_MAX),
)
"""Protocol, whether it is an answer, all the words that are in it, its most bytes."""


def heartbeats(frames: Records, messages: Records, heap: U8) -> Records:
    """Return CONTROL rows of FRAME and MESSAGE records, whose words are in `heap`."""
    return np.concatenate([_controls(frames), *_words(messages, heap)])


def _controls(frames: Records) -> Records:
    chosen = frames[np.isin(frames["opcode"], (PING, PONG))]
    out = np.zeros(chosen.shape[0], CONTROL)
    for name in ("flow_id", "ts", "frame", "index", "dir"):
        out[name] = chosen[name]
    out["size"] = chosen["payload_len"] + 2 + 4 * chosen["masked"]
    out["protocol"] = WEBSOCKET
    out["answers"], out["answer"] = chosen["pong_of"], chosen["opcode"] == PONG
    return out


def _words(messages: Records, heap: U8) -> list[Records]:
    """Return the messages that are a heartbeat by their words."""
    length = messages["len"]
    is_short = (messages["kind"] == KIND_TEXT) & (messages["head_at"] >= 0) & (length > 0) & (length <= HEAD_MAX)
    short = messages[is_short]
    if short.shape[0] == 0:
        return []
    first = heap[short["head_at"]]
    one = short["len"] == 1
    made = [
        _made(short[one & (first == ord("2"))], ENGINEIO, 0), _made(short[one & (first == ord("3"))], ENGINEIO, 1),
        _made(short[one & (first == ord("\n"))], STOMP, 0),
    ]  # fmt: skip
    brace = (first == ord("{")) | (first == ord("["))
    for code, answer, words, longest in _BY_WORDS:
        like = brace if not answer else (first == ord("[")) | _names_reply(short, heap)
        some = short[like & (short["len"] <= longest) & (short["len"] >= len(words[0]))]
        texts = [heap[at : at + n].tobytes() for at, n in zip(some["head_at"], some["head_len"], strict=True)]
        here = [all(word in text for word in words) for text in texts]
        made.append(_made(some[np.array(here, np.bool_)], code, answer))
    return made


def _names_reply(messages: Records, heap: U8) -> Mask:
    """True where a text begins as Phoenix writes a reply as an object: {"event":"phx_reply". Keys are in order."""
    long = messages["len"] >= 20
    at = np.where(long, messages["head_at"], 0)
    last = heap.size - 1
    same: Mask = long.copy()
    for k, letter in enumerate(b"phx", 10):
        same &= heap[np.minimum(at + k, last)] == letter
    return same


def _made(messages: Records, protocol: int, answer: int) -> Records:
    out = np.zeros(messages.shape[0], CONTROL)
    out["flow_id"], out["dir"] = messages["flow_id"], messages["dir"]
    out["ts"], out["frame"], out["size"] = messages["last_ts"], messages["last_frame"], messages["wire_len"]
    out["protocol"], out["answer"] = protocol, answer
    return out
