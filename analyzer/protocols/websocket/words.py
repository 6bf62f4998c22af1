"""Messages that are a heartbeat by what they say: recognised from their first bytes, uncompressed.

Source  engine.io protocol 3 and 4 ("2" ping, "3" pong); SignalR hub protocol ({"type":6}; in MessagePack 02 91 06);
        Phoenix channels (topic phoenix, event heartbeat, answered by phx_reply); STOMP 1.2 (a bare EOL); SockJS 0.3
        ("o" opens, "h" beats); MQTT 5 sections 3.12, 3.13 and 6; NATS client protocol; AMQP 1.0 section 2.4.5 (an empty
        frame). What programs made up for themselves says ping, heartbeat, pong in JSON, where it says what kind of
        message it is, or nothing but the word, or IRC's line: graphql-transport-ws, Pusher, Action Cable, exchanges.
Limits  A number that stands for a word (Discord's {"op":1}) says nothing here. Beats of engine.io, SockJS and STOMP say
        too little: they count where the connection's first message opened that protocol.
"""

from __future__ import annotations

from analyzer.kernel import U8, routine
from analyzer.protocols.letters import HB, HEARTBEAT, KA, PING, PONG, coded, is_heartbeat, letters, number
from analyzer.protocols.websocket.state import HEAD_MAX, KIND_BINARY, KIND_TEXT

# What a message says, as MESSAGE.said; `heartbeats` knows which protocol's beat or answer each is.
(
    NOTHING, ENGINEIO_PING, ENGINEIO_PONG, SIGNALR_PING, PHOENIX_BEAT, PHOENIX_REPLY, STOMP_EOL, SOCKJS_BEAT,
    MQTT_PING, MQTT_PONG, NATS_PING, NATS_PONG, AMQP_EMPTY, APP_PING, APP_PONG,
) = range(15)  # fmt: skip

_LF, _QUOTE, _BACKSLASH, _COLON = 10, 34, 92, 58
_SIGNALR = coded(b'{"type"'), coded(b":6}\x1e")
_MSGPACK = coded(b"\x02\x91\x06")
_MQTT_PING, _MQTT_PONG = coded(b"\xc0\0"), coded(b"\xd0\0")
_NATS_PING, _NATS_PONG = coded(b"PING\r\n"), coded(b"PONG\r\n")
_AMQP_SIZE, _AMQP_REST = coded(b"\0\0\0\x08"), coded(b"\x02\0\0\0")
_COLON_AFTER = coded(b" :")  # IRC in WebSocket: PING :tmi.twitch.tv
_PHOENIX, _PHX_REPLY = coded(b"PHOENIX"), coded(b"PHX_REP")

# What a connection's first message opened
SOCKJS, ENGINEIO, STOMP = 1, 2, 3
_OPEN_ENGINEIO, _PROBE = coded(b"0{"), coded(b"2probe")
_EVENT = coded(b'42["')
_CONNECT, _STOMP_FRAME = coded(b"CONNECT"), coded(b"STOMP")

# Names of members that say what kind of message it is; those of seven letters and more by the first seven
_KINDS_SHORT = tuple(coded(name) for name in (b"T", b"OP", b"CMD", b"MSG", b"TYPE", b"KIND", b"EVENT", b"TOPIC"))
_KINDS_LONG = tuple(coded(name) for name in (b"ACTION", b"METHOD", b"COMMAND", b"CHANNEL", b"MSGTYPE"))
_REPLIES = tuple(coded(name) for name in (b"RESULT", b"RET_MSG"))
_MESSAGE, _SUBSCRIBE = coded(b"MESSAGE"), coded(b"SUBSCRI")

# What a word in quotes is
_OTHER, _IS_PING, _IS_PONG, _IS_HEARTBEAT, _IS_PHOENIX, _IS_REPLY, _IS_SHORT = range(7)


@routine
def said_by(word: U8, n: int, kind: int) -> int:
    """Return what the `n` bytes of a message say, NOTHING of most. See `opened_by` for the shortest."""
    if n == 0 or n > HEAD_MAX:
        return NOTHING
    if kind == KIND_BINARY:
        return _json(word, n) if n > 8 and word[0] == 123 else _binary(word, n)
    if kind != KIND_TEXT:
        return NOTHING
    first = word[0]
    if n == 1:
        if first == 50:
            return ENGINEIO_PING
        if first == 51:
            return ENGINEIO_PONG
        return STOMP_EOL if first == _LF else SOCKJS_BEAT if first == 104 else NOTHING
    if first == 123 or first == 91:  # { [
        if n == 11 and number(word, 0, 7) == _SIGNALR[0] and number(word, 7, 4) == _SIGNALR[1]:
            return SIGNALR_PING
        return _json(word, n)
    irc = n > 6 and number(word, 4, 2) == _COLON_AFTER
    if n == 4 or irc:
        only = letters(word, 0, 4)
        return APP_PING if only == PING else APP_PONG if only == PONG else NOTHING
    return NOTHING


@routine
def opened_by(word: U8, n: int, by_client: bool) -> int:
    """Return what a connection's first message opens: SOCKJS, ENGINEIO, STOMP, or 0."""
    if by_client:
        if n >= 6 and number(word, 0, 6) == _PROBE:  # it had begun by long polling
            return ENGINEIO
        connects = n >= 7 and number(word, 0, 7) == _CONNECT
        return STOMP if connects or (n >= 5 and number(word, 0, 5) == _STOMP_FRAME) else 0
    if n == 1 and word[0] == 111:
        return SOCKJS
    return ENGINEIO if n >= 2 and number(word, 0, 2) == _OPEN_ENGINEIO else 0


@routine
def is_event(word: U8, n: int) -> bool:
    """True for an event of Socket.IO in a message of engine.io: 42["name", ...]."""
    return n >= 4 and number(word, 0, 4) == _EVENT


@routine
def needs(said: int) -> int:
    """Return what has to have been opened for a message to be what it seems, 0 = nothing."""
    if said in (ENGINEIO_PING, ENGINEIO_PONG):
        return ENGINEIO
    return STOMP if said == STOMP_EOL else SOCKJS if said == SOCKJS_BEAT else 0


@routine
def _binary(word: U8, n: int) -> int:
    if n == 2:
        two = number(word, 0, 2)
        return MQTT_PING if two == _MQTT_PING else MQTT_PONG if two == _MQTT_PONG else NOTHING
    if n == 3:
        return SIGNALR_PING if number(word, 0, 3) == _MSGPACK else NOTHING
    if n == 6:
        six = number(word, 0, 6)
        return NATS_PING if six == _NATS_PING else NATS_PONG if six == _NATS_PONG else NOTHING
    if n == 8 and number(word, 0, 4) == _AMQP_SIZE and number(word, 4, 4) == _AMQP_REST:
        return AMQP_EMPTY
    return NOTHING


@routine
def _meaning(code: int, size: int) -> int:
    """Return what a word is: `code` its first seven letters, in capitals, `size` how many it has."""
    if size == 4:
        return _IS_PING if code == PING else _IS_PONG if code == PONG else _OTHER
    if size == 2:
        return _IS_SHORT if code in (HB, KA) else _OTHER
    if is_heartbeat(code, size):
        return _IS_HEARTBEAT
    if size > 9 and code == HEARTBEAT:  # heartbeat_ack, heartbeatResponse
        return _IS_PONG
    if size == 9 and code == _PHX_REPLY:
        return _IS_REPLY
    return _IS_PHOENIX if size == 7 and code == _PHOENIX else _OTHER


@routine
def _tells_kind(code: int, size: int, meaning: int) -> bool:
    """Is this the name of a member whose value says what kind of message it is (of a pong also: what came of it)?"""
    if size < 6:
        return code in _KINDS_SHORT
    long = code in _KINDS_LONG or (size in (11, 12) and code == _MESSAGE)  # messageType, message_type
    return long or (meaning == _IS_PONG and code in _REPLIES)


@routine
def _json(word: U8, n: int) -> int:
    """Look at the words in quotes: values, and the name of a member if it is the only one ({"ping":1700000000})."""
    at, names, named, name, name_size = 1, 0, NOTHING, 0, 0
    ping, pong, beat, phoenix, reply = False, False, False, False, False
    listed = word[0] == 91
    while at < n:
        if word[at] != _QUOTE:
            at += 1
            continue
        code, size = 0, 0
        at += 1
        while at < n and word[at] != _QUOTE:
            b = int(word[at])
            if b == _BACKSLASH:
                at += 1
                b = 0
            if b == _COLON or b == 46 or b == 47:  # : . / end a name space: pusher:ping, spot.ping
                code, size = 0, 0
            else:
                if size < 7:
                    code = code * 256 + (b - 32 if 97 <= b <= 122 else b)
                size += 1
            at += 1
        if at >= n:
            break  # no quote ends it
        at += 1
        after = at
        while after < n and word[after] == 32:
            after += 1
        meaning = _meaning(code, size)
        if after < n and word[after] == _COLON:
            names += 1
            name, name_size = code, size
            named = APP_PING if meaning == _IS_PING else APP_PONG if meaning == _IS_PONG else named
            continue
        if code == _SUBSCRIBE:
            return NOTHING  # to a channel of that name
        told = _tells_kind(name, name_size, meaning)
        ping = ping or (told and meaning == _IS_PING) or (meaning == _IS_SHORT and n <= 32)
        pong = pong or (told and meaning == _IS_PONG)
        beat = beat or ((told or listed) and meaning == _IS_HEARTBEAT)
        phoenix = phoenix or meaning == _IS_PHOENIX
        reply = reply or meaning == _IS_REPLY
    if phoenix and (beat or reply):
        return PHOENIX_BEAT if beat else PHOENIX_REPLY
    if pong:
        return APP_PONG
    if ping or beat:
        return APP_PING
    return named if names == 1 else NOTHING
