"""Which protocol's functions are meant: the two that each has, by its kind."""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.messages import mqtt
from analyzer.protocols.messages.mqtt import looks_like_mqtt, take_mqtt
from analyzer.protocols.messages.redis import looks_like_redis, take_redis
from analyzer.protocols.messages.state import BROKEN, MQTT, REDIS
from analyzer.protocols.verdict import MORE, YES

_NO, _MORE = 0, -1


@routine
def kind_of(first: U8, at: int, n: int, midstream: int) -> int:
    """Return which protocol `n` bytes at `first[at]` begin, 0 if none does, -1 if more bytes may tell."""
    more = False
    answer = looks_like_mqtt(first, at, n, midstream)
    if answer == YES:
        return MQTT
    more = more or answer == MORE
    answer = looks_like_redis(first, at, n, midstream)
    if answer == YES:
        return REDIS
    more = more or answer == MORE
    return _MORE if more else _NO


@routine
def begin(s: Records, kind: int) -> None:
    """A message begins here: say what its first piece is."""
    s.want, s.until = 0, 10
    s.head_len, s.length, s.size, s.number, s.left, s.phase = 0, 0, 0, 0, 0, 0
    if kind == MQTT:
        s.want = mqtt.WANT


@routine
def take(kind: int, s: Records, o: Records, p: Records, direction: int) -> int:
    """Give the piece in `s.head` to its protocol; s, o this direction and the other one, p the connection."""
    if kind == MQTT:
        return take_mqtt(s)
    if kind == REDIS:
        return take_redis(s, p, direction)
    return BROKEN
