"""What WebSocket carries of heartbeats: pings and pongs, and messages that are one by their words (see `words`).

Source  RFC 6455 section 5.5.2 (ping, pong; an unsolicited pong is a one-way heartbeat)
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import Records
from analyzer.protocols.beats import CONTROL, MQTT_INSIDE, NATS_INSIDE, PROTOCOLS
from analyzer.protocols.websocket import words
from analyzer.protocols.websocket.state import PING, PONG, UNSEEN_PING

# Protocol of what a message says, and whether it is an answer
_SAID = {
    words.ENGINEIO_PING: ("engineio", 0),
    words.ENGINEIO_PONG: ("engineio", 1),
    words.SIGNALR_PING: ("signalr", 0),
    words.PHOENIX_BEAT: ("phoenix", 0),
    words.PHOENIX_REPLY: ("phoenix", 1),
    words.STOMP_EOL: ("stomp", 0),
    words.SOCKJS_BEAT: ("sockjs", 0),
    words.MQTT_PING: (MQTT_INSIDE, 0),
    words.MQTT_PONG: (MQTT_INSIDE, 1),
    words.NATS_PING: (NATS_INSIDE, 0),
    words.NATS_PONG: (NATS_INSIDE, 1),
    words.AMQP_EMPTY: ("amqp", 0),
    words.APP_PING: ("app", 0),
    words.APP_PONG: ("app", 1),
}
_PROTOCOL = np.array([-1, *(PROTOCOLS.index(_SAID[code][0]) for code in sorted(_SAID))], np.int8)
_ANSWER = np.array([0, *(_SAID[code][1] for code in sorted(_SAID))], np.int8)


def heartbeats(frames: Records, messages: Records) -> Records:
    """Return CONTROL rows of FRAME and MESSAGE records."""
    return np.concatenate([_controls(frames), _words(messages[messages["said"] != words.NOTHING])])


def _controls(frames: Records) -> Records:
    chosen = frames[np.isin(frames["opcode"], (PING, PONG)) & (frames["pong_of"] != UNSEEN_PING)]
    out = np.zeros(chosen.shape[0], CONTROL)
    for name in ("flow_id", "ts", "frame", "index", "dir"):
        out[name] = chosen[name]
    out["size"] = chosen["payload_len"] + 2 + 4 * chosen["masked"]
    out["protocol"] = PROTOCOLS.index("websocket")
    out["answers"], out["answer"] = chosen["pong_of"], chosen["opcode"] == PONG
    return out


def _words(messages: Records) -> Records:
    out = np.zeros(messages.shape[0], CONTROL)
    out["flow_id"], out["dir"] = messages["flow_id"], messages["dir"]
    out["ts"], out["frame"], out["size"] = messages["last_ts"], messages["last_frame"], messages["wire_len"]
    out["protocol"], out["answer"] = _PROTOCOL[messages["said"]], _ANSWER[messages["said"]]
    return out
