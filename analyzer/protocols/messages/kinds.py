"""Which protocol's functions are meant: the two that each has, by its kind."""

from __future__ import annotations

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.messages import amqp, bgp, fix, kafka, mqtt, mysql, postgresql, stomp, xmpp, zookeeper
from analyzer.protocols.messages.amqp import looks_like_amqp0, looks_like_amqp1, take_amqp0, take_amqp1
from analyzer.protocols.messages.bgp import looks_like_bgp, take_bgp
from analyzer.protocols.messages.fix import looks_like_fix, take_fix
from analyzer.protocols.messages.irc import looks_like_irc, take_irc
from analyzer.protocols.messages.kafka import looks_like_kafka, take_kafka
from analyzer.protocols.messages.mqtt import looks_like_mqtt, take_mqtt
from analyzer.protocols.messages.mysql import looks_like_mysql, take_mysql
from analyzer.protocols.messages.nats import looks_like_nats, take_nats
from analyzer.protocols.messages.postgresql import looks_like_postgresql, take_postgresql
from analyzer.protocols.messages.redis import looks_like_redis, take_redis
from analyzer.protocols.messages.sip import looks_like_sip, take_sip
from analyzer.protocols.messages.ssh import looks_like_ssh, take_ssh
from analyzer.protocols.messages.state import (
    AMQP_0,
    AMQP_1,
    BGP,
    BROKEN,
    FIX,
    IRC,
    KAFKA,
    LAST_KIND,
    MQTT,
    MYSQL,
    NATS,
    POSTGRESQL,
    REDIS,
    SIP,
    SSH,
    STOMP,
    XMPP,
    ZOOKEEPER,
)
from analyzer.protocols.messages.stomp import looks_like_stomp, take_stomp
from analyzer.protocols.messages.xmpp import looks_like_xmpp, take_xmpp
from analyzer.protocols.messages.zookeeper import looks_like_zookeeper, take_zookeeper
from analyzer.protocols.verdict import MORE, NO, YES

_NONE, _MORE = 0, -1


@routine
def _looks_like(kind: int, first: U8, at: int, n: int, midstream: int) -> int:
    """Do `n` bytes at `first[at]` begin a conversation in this protocol?"""
    if kind == MQTT:
        return looks_like_mqtt(first, at, n, midstream)
    if kind == REDIS:
        return looks_like_redis(first, at, n, midstream)
    if kind == AMQP_0:
        return looks_like_amqp0(first, at, n, midstream)
    if kind == AMQP_1:
        return looks_like_amqp1(first, at, n, midstream)
    if kind == NATS:
        return looks_like_nats(first, at, n, midstream)
    if kind == POSTGRESQL:
        return looks_like_postgresql(first, at, n, midstream)
    if kind == MYSQL:
        return looks_like_mysql(first, at, n, midstream)
    if kind == IRC:
        return looks_like_irc(first, at, n, midstream)
    if kind == XMPP:
        return looks_like_xmpp(first, at, n)
    if kind == STOMP:
        return looks_like_stomp(first, at, n)
    if kind == SIP:
        return looks_like_sip(first, at, n)
    if kind == FIX:
        return looks_like_fix(first, at, n)
    if kind == BGP:
        return looks_like_bgp(first, at, n, midstream)
    if kind == ZOOKEEPER:
        return looks_like_zookeeper(first, at, n, midstream)
    if kind == KAFKA:
        return looks_like_kafka(first, at, n, midstream)
    if kind == SSH:
        return looks_like_ssh(first, at, n)
    return NO


@helper
def _may_begin(first: U8, at: int, n: int) -> bool:
    """False for what begins like none of them: asked of every segment of a flow that was joined midstream.

    Words have two capital letters (or are a lower-case `ping`), PostgreSQL's Query a 0 for the second; a length, marker
    or sign comes first elsewhere. MySQL begins with any byte, but its length has three.
    """
    if n == 0:
        return True
    b = first[at]
    if 65 <= b <= 90:
        return n == 1 or first[at + 1] == 0 or 65 <= first[at + 1] <= 90
    if b in (0, 8, 16, 42, 43, 56, 60, 112, 192, 208, 255):
        return True
    return n < 4 or (first[at + 2] == 0 and first[at + 3] <= 1)


@routine
def kind_of(first: U8, at: int, n: int, midstream: int) -> int:
    """Return which protocol `n` bytes at `first[at]` begin, 0 if none does, -1 if more bytes may tell."""
    if not _may_begin(first, at, n):
        return _NONE
    more = False
    for kind in range(1, LAST_KIND + 1):
        answer = _looks_like(kind, first, at, n, midstream)
        if answer == YES:
            return kind
        more = more or answer == MORE
    return _MORE if more else _NONE


@routine
def begin(s: Records, kind: int) -> None:
    """A message begins here: say what its first piece is."""
    s.want, s.until = 0, 10
    for k in range(s.head_len):
        s.head[k] = 0
    s.head_len, s.length, s.size, s.number, s.left, s.phase = 0, 0, 0, 0, 0, 0
    if kind == MQTT:
        s.want = mqtt.WANT
    elif kind == AMQP_0:
        s.want = amqp.WANT_0
    elif kind == AMQP_1:
        s.want = amqp.WANT_1
    elif kind == POSTGRESQL:
        s.want = postgresql.WANT
    elif kind == MYSQL:
        s.want = mysql.WANT
    elif kind == XMPP:
        s.want = xmpp.WANT
    elif kind == STOMP:
        s.want = stomp.WANT
    elif kind == FIX:
        s.until = fix.UNTIL
    elif kind == BGP:
        s.want = bgp.WANT
    elif kind == ZOOKEEPER:
        s.want = zookeeper.WANT
    elif kind == KAFKA:
        s.want = kafka.WANT


@routine
def take(kind: int, s: Records, o: Records, p: Records, direction: int) -> int:
    """Give the piece in `s.head` to its protocol; s, o this direction and the other one, p the connection."""
    if kind == MQTT:
        return take_mqtt(s, p, direction)
    if kind == REDIS:
        return take_redis(s, p, direction)
    if kind == AMQP_0:
        return take_amqp0(s, p)
    if kind == AMQP_1:
        return take_amqp1(s)
    if kind == NATS:
        return take_nats(s)
    if kind == POSTGRESQL:
        return take_postgresql(s, p, direction)
    if kind == MYSQL:
        return take_mysql(s, p, direction)
    if kind == IRC:
        return take_irc(s)
    if kind == XMPP:
        return take_xmpp(s, p, direction)
    if kind == STOMP:
        return take_stomp(s, o, p, direction)
    if kind == SIP:
        return take_sip(s, o)
    if kind == FIX:
        return take_fix(s)
    if kind == BGP:
        return take_bgp(s)
    if kind == ZOOKEEPER:
        return take_zookeeper(s, p, direction)
    if kind == KAFKA:
        return take_kafka(s, p, direction)
    if kind == SSH:
        return take_ssh(s)
    return BROKEN
