"""Conversations in protocols that have heartbeats of their own, as bytes out of their specifications.

A conversation is a list of steps, a second apart: who speaks (`C`lient or `S`erver), what, and what the step is:
a `BEAT`, an `ANSWER`, or neither.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from tests.property.harness import Result
from tests.talk import Talk

C, S = "c2s", "s2c"
BEAT, ANSWER, LONE = "beat", "answer", "lone"  # the last: a beat that asks for no answer
Step = tuple[str, bytes] | tuple[str, bytes, str]
Beat = tuple[str, str, int, bool | None]


@dataclass
class Chat:
    """Steps of one protocol; `paired` says whether its beats are answered."""

    protocol: str
    steps: list[Step]
    paired: bool = True
    sizes: dict[int, int] = field(default_factory=dict)  # of beats that are not all of their step

    def talk(self, places: tuple[int, ...] = (), *, midstream: bool = False, port: int = 40000) -> Talk:
        """Return it as a trace; each step is cut at the places named, as far as it has them."""
        talk = Talk(("10.0.0.1", port), rtt="2ms")
        if not midstream:
            talk.handshake()
        for second, (who, said, *_) in enumerate(self.steps, 1):
            talk.wait("1s") if second > 1 or not midstream else None
            say = talk.orig if who == C else talk.resp
            edges = sorted({0, len(said), *(place % len(said) for place in places)})
            for start, end in pairwise(edges):
                say(said[start:end])
        return talk.wait("9s").orig_fin().resp_fin().orig_ack()  # long enough to tell what was never answered

    def spoiled(self, pick: Random) -> Chat:
        """Return it with steps left out, turned round, cut short, or with bytes that are wrong."""
        steps: list[Step] = []
        for who, said, *_ in self.steps:
            way, what, at = who, bytearray(said), pick.randrange(len(said))
            kind = pick.randrange(12)
            if kind == 0:
                what[at] = pick.randrange(256)
            elif kind == 1:
                del what[at + 1 :]
            elif kind == 2:
                what[at:at] = pick.randbytes(pick.randrange(9))
            elif kind == 3:
                what[at] ^= 1 << pick.randrange(8)
            elif kind == 4:
                way = C if who == S else S
            elif kind == 5:
                what *= pick.randrange(2, 20)
            if kind != 6:
                steps.append((way, bytes(what)))
        return Chat(self.protocol, steps or [(C, b"?")])

    def beats(self) -> list[Beat]:
        """Return what `beats` should find: way, protocol, size, answered."""
        out: list[Beat] = []
        waiting: list[int] = []
        for place, (who, said, *what) in enumerate(self.steps):
            if what == [BEAT]:
                waiting.append(len(out))
                out.append((who, self.protocol, self.sizes.get(place, len(said)), False if self.paired else None))
            elif what == [LONE]:
                out.append((who, self.protocol, len(said), None))
            elif what == [ANSWER]:
                first = next(k for k in waiting if out[k][0] != who)
                waiting.remove(first)
                out[first] = (*out[first][:3], True)
        return out


def beats(result: Result) -> list[Beat]:
    """Return the beats that were read, in the order of time: way, protocol, size, answered."""
    rows = sorted(result.rows("heartbeats"), key=lambda row: int(row["ts"]))
    assert {row["method"] for row in rows} <= {"explicit"}
    return [(row["dir"], row["protocol"], row["size"], row["answered"]) for row in rows]


MQTT_CONNECT = b"\x10\x0f\0\4MQTT\4\2\0\x3c\0\3abc"
MQTT = Chat("mqtt", [
    (C, MQTT_CONNECT), (S, b"\x20\2\0\0"), (C, b"\xc0\0", BEAT), (S, b"\xd0\0", ANSWER),
    (S, b"\x30\xac\2\0\1t" + b"\xc0\0" * 148 + b"!"), (C, b"\xc0\0", BEAT), (S, b"\xd0\0", ANSWER),
    (C, b"\xc0\0", BEAT), (C, b"\xe0\0"), (S, b"\x30\5\0\1tok"),
])  # fmt: skip
MQTT_5 = Chat("mqtt", [
    (C, b"\x10\x10\0\4MQTT\5\2\0\x3c\0\0\3abc"),
    (S, b"\x20\x19\0\0\x16\x11\0\0\0\x0a\x1f\0\2ok\x26\0\1k\0\3val\x13\0\x14"),
    (C, b"\xc0\0", BEAT), (S, b"\xd0\0", ANSWER), (C, b"\xc0\0", BEAT), (C, b"\xe0\0"),
])  # fmt: skip


def resp(*words: bytes) -> bytes:
    """Return an array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


REDIS = Chat("redis", [
    (C, resp(b"GET", b"key")), (S, b"$4\r\nPONG\r\n"), (C, resp(b"PING"), BEAT), (S, b"+PONG\r\n", ANSWER),
    (C, resp(b"SET", b"PING", resp(b"PING") * 20)), (S, b"+OK\r\n"), (C, resp(b"ping"), BEAT),
    (S, b"+PONG\r\n", ANSWER), (C, b"PING\r\n", BEAT), (S, b"+PONG\r\n", ANSWER), (C, resp(b"PING", b"hello"), BEAT),
    (S, b"$5\r\nhello\r\n", ANSWER), (C, resp(b"HGETALL", b"h")), (S, b"%1\r\n+a\r\n*2\r\n:1\r\n_\r\n"),
    (C, resp(b"SUBSCRIBE", b"news")), (S, b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"), (C, resp(b"PING"), BEAT),
    (S, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\npong\r\n"), (S, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", ANSWER),
    (S, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$-1\r\n"), (C, resp(b"PING"), BEAT),
])  # fmt: skip


REDIS_ACK = resp(b"REPLCONF", b"ACK", b"1234567")
REDIS_REPLICA = Chat("redis", [
    (C, resp(b"PING"), BEAT), (S, b"+PONG\r\n", ANSWER), (C, resp(b"REPLCONF", b"listening-port", b"6399")),
    (S, b"+OK\r\n"), (C, resp(b"PSYNC", b"?", b"-1")), (S, b"+CONTINUE\r\n"), (S, resp(b"PING"), LONE),
    (C, REDIS_ACK, LONE), (S, resp(b"SET", b"PING", b"PING")), (S, resp(b"REPLCONF", b"GETACK", b"*")),
    (C, REDIS_ACK, LONE), (S, resp(b"PING"), LONE), (C, REDIS_ACK, LONE),
])  # fmt: skip


# ------------------------------------------------------------------------------------------------ brokers
def amqp_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return a frame of AMQP 0-9-1."""
    return struct.pack("!BHI", kind, channel, len(payload)) + payload + b"\xce"


def performative(payload: bytes, kind: int = 0) -> bytes:
    """Return a frame of AMQP 1.0."""
    return struct.pack("!IBBH", 8 + len(payload), 2, kind, 0) + payload


AMQP_BEAT, AMQP1_BEAT = amqp_frame(8, 0, b""), performative(b"")
AMQP_0 = Chat("amqp", [
    (C, b"AMQP\0\0\x09\1"), (S, amqp_frame(1, 0, b"\0\x0a\0\x0a\0\x09" + b"x" * 300)),
    (C, amqp_frame(1, 0, b"\0\x0a\0\x0b")), (S, amqp_frame(1, 0, b"\0\x0a\0\x1e\0\xff\0\1\0\0\0\x3c")),
    (C, amqp_frame(1, 0, b"\0\x0a\0\x1f\0\xff\0\1\0\0\0\x14")),
    (C, AMQP_BEAT, BEAT), (S, AMQP_BEAT, BEAT), (S, amqp_frame(3, 1, AMQP_BEAT * 20)), (C, AMQP_BEAT, BEAT),
    (C, amqp_frame(1, 1, b"\0\x3c\0\x50")), (S, AMQP_BEAT, BEAT),
], paired=False)  # fmt: skip
AMQP_1 = Chat("amqp", [
    (C, b"AMQP\3\1\0\0"), (S, b"AMQP\3\1\0\0"), (S, performative(b"\0\x53\x40\xc0", 1)), (C, b"AMQP\0\1\0\0"),
    (S, b"AMQP\0\1\0\0"), (C, performative(b"\0\x53\x10\xc0" + b"open" * 20)), (C, AMQP1_BEAT, BEAT),
    (S, AMQP1_BEAT, BEAT), (S, performative(b"\0\x53\x14\xc0" + AMQP1_BEAT * 9)), (S, AMQP1_BEAT, BEAT),
], paired=False)  # fmt: skip
NATS = Chat("nats", [
    (S, b'INFO {"server_id":"' + b"N" * 120 + b'","max_payload":1048576}\r\n'),
    (C, b'CONNECT {"verbose":false}\r\nSUB news.* 1\r\n'), (C, b"PING\r\n", BEAT), (S, b"PONG\r\n", ANSWER),
    (S, b"MSG news." + b"long" * 40 + b" 1 18\r\nPING\r\nPONG\r\nPING\r\n\r\n"), (S, b"ping\r\n", BEAT),
    (C, b"PONG\r\n", ANSWER), (C, b"PUB a.b 0\r\n\r\n"), (C, b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    (S, b"PING\r\n", BEAT), (C, b"PING\r\n", BEAT), (C, b"PONG\r\n", ANSWER), (S, b"PONG\r\n", ANSWER),
    (S, b"-ERR 'Stale Connection'\r\n"),
])  # fmt: skip


# ------------------------------------------------------------------------------------------------ databases
def pg(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message of PostgreSQL."""
    return kind + struct.pack("!I", 4 + len(body)) + body


PG_START = struct.pack("!II", 41, 196608) + b"user\0postgres\0database\0postgres\0\0"
PG_READY = pg(b"Z", b"I")
PG_ONE = pg(b"T", b"\0\1?column?\0" + bytes(18)) + pg(b"D", b"\0\1\0\0\0\0011") + pg(b"C", b"SELECT 1\0") + PG_READY
POSTGRESQL = Chat("postgresql", [
    (C, struct.pack("!II", 8, 80877103)), (S, b"N"), (C, PG_START),
    (S, pg(b"R", bytes(4)) + pg(b"S", b"a\0b\0") + PG_READY),
    (C, pg(b"Q", b"\0"), BEAT), (S, pg(b"I") + PG_READY, ANSWER), (C, pg(b"Q", b"select 1;\0"), BEAT),
    (S, PG_ONE, ANSWER),
    (C, pg(b"Q", b"SELECT 2\0")), (S, PG_ONE), (C, pg(b"Q", b"SELECT 'SELECT 1' FROM some_table_or_other\0")),
    (S, PG_ONE),
    (C, pg(b"P", b"\0\0\0\0") + pg(b"B", bytes(8)) + pg(b"E", bytes(5)) + pg(b"S"), BEAT),
    (S, pg(b"1") + pg(b"2") + pg(b"I") + PG_READY, ANSWER), (C, pg(b"P", b"s1\0UPDATE t\0\0\0") + pg(b"S")),
    (S, pg(b"1") + PG_READY),
    (C, pg(b"Q", b"\0"), BEAT), (C, pg(b"X")),
], sizes={12: 8 + 1})  # fmt: skip


def pg_keepalive(asks: int) -> bytes:
    """Return a primary's keep-alive message; 1 asks for an answer."""
    return pg(b"d", b"k" + bytes(16) + bytes([asks]))


PG_STATUS = pg(b"d", b"r" + bytes(33))
PG_REPLICA = Chat("postgresql", [
    (C, PG_START), (S, pg(b"R", bytes(4)) + PG_READY), (C, pg(b"Q", b"START_REPLICATION SLOT s LOGICAL 0/0 (a 'b')\0")),
    (S, pg(b"W", bytes(3))), (S, pg_keepalive(1), BEAT), (C, PG_STATUS, ANSWER), (C, PG_STATUS, LONE),
    (S, pg_keepalive(0)), (C, PG_STATUS, LONE), (S, pg(b"d", b"w" + PG_STATUS * 3)), (C, PG_STATUS, LONE),
    (S, pg(b"d", b"k" + bytes(16) + b"\n")), (S, pg_keepalive(1), BEAT),
    (C, pg(b"d", b"h" + bytes(24))), (C, PG_STATUS, ANSWER), (S, pg_keepalive(1), BEAT),
])  # fmt: skip


def mysql(sequence: int, payload: bytes) -> bytes:
    """Return a packet of MySQL."""
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


MYSQL_GREETING = mysql(0, b"\x0a8.0.36-log\0" + bytes(20) + b"caching_sha2_password\0" + b"." * 20)
MYSQL_LOGIN = mysql(1, b"\x85\xa6\xff\x19\0\0\0\1" + b"!" + bytes(23) + b"root\0")
MYSQL_OK, MYSQL_PING = mysql(1, b"\0\0\0\2\0\0\0"), mysql(0, b"\x0e")
MYSQL = Chat("mysql", [
    (S, MYSQL_GREETING), (C, MYSQL_LOGIN), (S, mysql(2, b"\0\0\0\2\0\0\0")), (C, MYSQL_PING, BEAT),
    (S, MYSQL_OK, ANSWER),
    (C, mysql(0, b"\3" + b"SELECT '" + MYSQL_PING * 30 + b"'")),
    (S, mysql(1, b"\1") + mysql(2, b"x" * 50) + mysql(3, b"\xfe\0\0\2\0")),
    (C, MYSQL_PING, BEAT), (S, MYSQL_OK, ANSWER), (C, mysql(0, b"\3select 1"), BEAT),
    (S, mysql(1, b"\1"), ANSWER), (S, mysql(2, b"x" * 50) + mysql(3, b"\x011") + mysql(4, b"\xfe\0\0\2\0")),
    (C, MYSQL_PING, BEAT), (C, mysql(0, b"\1")),
])  # fmt: skip


def binlog(sequence: int, kind: int, ts: int = 0, *, semi_sync: bytes = b"") -> bytes:
    """Return an event of MySQL's binary log in a packet."""
    event = struct.pack("<IBIIIH", ts, kind, 1, 36, 0x145, 0) + b"binlog.000001" + bytes(4)
    return mysql(sequence, b"\0" + semi_sync + event)


MYSQL_REPLICA = Chat("mysql", [
    (S, MYSQL_GREETING), (C, MYSQL_LOGIN), (S, mysql(2, b"\0\0\0\2\0\0\0")),
    (C, mysql(0, b"\x15" + bytes(17))), (S, MYSQL_OK),
    (C, mysql(0, b"\x12" + bytes(10))), (S, binlog(1, 4) + binlog(2, 15, 1_700_000_000)), (S, binlog(3, 27), LONE),
    (S, binlog(4, 27, 1)), (S, binlog(5, 41), LONE), (S, binlog(6, 27, semi_sync=b"\xef\0"), LONE),
    (S, binlog(7, 2, 1_700_000_239, semi_sync=b"\xef\1")), (C, mysql(0, b"\xef" + bytes(8) + b"binlog.000001")),
    (S, binlog(8, 27, semi_sync=b"\xef\0"), LONE), (S, mysql(9, b"\xfe\0\0\2\0")), (C, MYSQL_PING, BEAT),
    (S, MYSQL_OK, ANSWER), (C, mysql(0, b"\x1e" + bytes(20))), (S, binlog(1, 27), LONE),
])  # fmt: skip


def zk(*fields: int) -> bytes:
    """Return a packet of ZooKeeper of four-byte fields."""
    body = struct.pack(f"!{len(fields)}i", *fields)
    return struct.pack("!I", len(body)) + body


ZK_CONNECT = struct.pack("!IIQIQI", 45, 0, 0, 30000, 0, 16) + bytes(17)
ZK_CONNECTED = struct.pack("!IIIQI", 37, 0, 30000, 0x1234, 16) + bytes(17)
ZK_PING, ZK_PONG = zk(-2, 11), struct.pack("!IiQi", 16, -2, 77, 0)
ZOOKEEPER = Chat("zookeeper", [
    (C, ZK_CONNECT), (S, ZK_CONNECTED), (C, ZK_PING, BEAT), (S, ZK_PONG, ANSWER), (C, zk(1, 4, 1, 2, 0)),
    (S, struct.pack("!IiQi", 16 + 240, 1, 78, 0) + ZK_PING * 20),
    (S, struct.pack("!IiQiIII", 28, -1, -1 & (1 << 64) - 1, 0, 1, 3, 0)),
    (C, ZK_PING, BEAT), (S, ZK_PONG, ANSWER), (C, ZK_PING, BEAT), (C, zk(2, -11)),
])  # fmt: skip


def kafka(key: int, correlation: int, body: bytes = b"", version: int = 1, client: bytes = b"rdkafka") -> bytes:
    """Return a request of Kafka."""
    head = struct.pack("!hhih", key, version, correlation, len(client)) + client + body
    return struct.pack("!I", len(head)) + head


def kafka_reply(correlation: int, body: bytes = b"") -> bytes:
    """Return a response of Kafka."""
    return struct.pack("!Ii", 4 + len(body), correlation) + body


KAFKA_BEAT = b"\0\5group\0\0\0\1\0\x0aconsumer-1" + b"-" * 60
KAFKA = Chat("kafka", [
    (C, kafka(18, 1, b"\0")), (S, kafka_reply(1, b"\0" * 200)), (C, kafka(3, 2, bytes(4))),
    (S, kafka_reply(2, kafka_reply(9) * 30)),
    (C, kafka(12, 3, KAFKA_BEAT), BEAT), (S, kafka_reply(3, bytes(6)), ANSWER), (C, kafka(1, 4, kafka(12, 99) * 9)),
    (S, kafka_reply(4, b"x" * 500)), (C, kafka(12, 5, KAFKA_BEAT), BEAT), (S, kafka_reply(5, bytes(6)), ANSWER),
    (C, kafka(18, 6, b"\0"), BEAT), (S, kafka_reply(6, bytes(40)), ANSWER), (C, kafka(12, 7, KAFKA_BEAT), BEAT),
])  # fmt: skip

# ------------------------------------------------------------------------------------------------ talk and routes
IRC = Chat("irc", [
    (C, b"CAP LS 302\r\nNICK ann\r\nUSER ann 0 * :Ann\r\n"), (S, b":irc.example NOTICE * :*** Looking up\r\n"),
    (S, b"PING :4711\r\n", BEAT), (C, b"PONG :4711\r\n", ANSWER), (S, b":irc.example 001 ann :Welcome\r\n"),
    (C, b"PRIVMSG #a :PING me\r\n"), (S, b":bob!b@h PRIVMSG #a :" + b"PING " * 60 + b"\r\n"),
    (C, b"PING irc.example\r\n", BEAT),
    (S, b":irc.example PONG irc.example :irc.example\r\n", ANSWER),
    (S, b"@time=2026-01-01T00:00:00.000Z PING :x\r\n", BEAT),
    (C, b"PONG x\r\n", ANSWER), (S, b"PING :y\r\n", BEAT), (C, b"QUIT\r\n"),
])  # fmt: skip
XMPP_OPEN = b"<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' version='1.0'>"
XMPP = Chat("xmpp", [
    (C, XMPP_OPEN),
    (S, XMPP_OPEN + b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"),
    (C, b" ", LONE), (S, b"\n", LONE), (C, b"<iq type='get' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>", BEAT),
    (S, b"<iq type='result' id='p1' to='a@b/c'/>", ANSWER),
    (C, b"<message to='x'><body>  <b> \n </b>" + b"hi " * 90 + b"</body></message>"),
    (S, b"<iq from='b' type=\"get\" id=\"p2\"><ping xmlns='urn:xmpp:ping'></ping></iq>", BEAT),
    (C, b"<iq type='result' id='other'/>"), (C, b"<iq type='error' id='p2'><error type='cancel'/></iq>", ANSWER),
    (C, b"<iq type='get' id='p3'><query xmlns='jabber:iq:roster'/></iq>\n"),
    (S, b"<iq type='result' id='p3'><query/></iq>"),
    (C, b"\n", LONE), (C, b"<iq id='p4' type='get'><ping xmlns='urn:xmpp:ping'/></iq>", BEAT), (S, b"</stream:stream>"),
])  # fmt: skip
STOMP = Chat("stomp", [
    (C, b"CONNECT\naccept-version:1.2\nheart-beat:1000,1000\nhost:h\n\n\0"),
    (S, b"CONNECTED\r\nversion:1.2\r\nheart-beat:0,2000\r\n\r\n\0\n"),
    (C, b"\n", BEAT), (S, b"\n", BEAT), (C, b"SEND\ndestination:/q\ncontent-length:9\n\n\n\0\n\n\0\n\n\n.\0\n"),
    (C, b"\r\n", BEAT),
    (S, b"MESSAGE\n" + b"long:" + b"x" * 200 + b"\n\nbody\n\n\n\0"), (S, b"\n", BEAT),
], paired=False)  # fmt: skip
SIP_ASK = b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;keep\r\nContent-Length: 0\r\n\r\n"
SIP = Chat("sip", [
    (C, SIP_ASK), (S, b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;keep\r\nl:0\r\n\r\n"), (C, b"\r\n\r\n", BEAT),
    (S, b"\r\n", ANSWER),
    (S, b"MESSAGE sip:ann@h SIP/2.0\r\nContent-Length:12\r\n\r\n\r\n\r\n\r\n\r\nhi\r\n"),
    (C, b"SIP/2.0 200 OK\r\n\r\n"),
    (C, b"\r\n\r\n", BEAT), (S, b"\r\n", ANSWER), (C, b"\r\n"), (S, b"\r\n"), (C, b"\r\n"), (C, b"\r\n\r\n", BEAT),
])  # fmt: skip


def fix(kind: bytes, *fields: bytes) -> bytes:
    """Return a FIX message."""
    body = b"\1".join([b"35=" + kind, b"49=A", b"56=B", b"34=1", b"52=20260101-00:00:00", *fields, b""])
    return b"8=FIX.4.4\x019=%d\1%s10=123\1" % (len(body), body)


FIX = Chat("fix", [
    (C, fix(b"A", b"98=0", b"108=30")), (S, fix(b"A", b"98=0", b"108=30")), (C, fix(b"0"), LONE), (S, fix(b"0"), LONE),
    (S, fix(b"1", b"112=are you there"), BEAT), (C, fix(b"0", b"112=are you there"), ANSWER),
    (C, fix(b"D", b"58=" + b"35=0 " * 40)), (S, fix(b"8", b"58=35=1")), (C, fix(b"1", b"112=x"), BEAT), (S, fix(b"5")),
])  # fmt: skip


def bgp(kind: int, body: bytes = b"") -> bytes:
    """Return a BGP message."""
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body


BGP = Chat("bgp", [
    (C, bgp(1, b"\4\xfd\xe8\0\xb4\x0a\0\0\1\0")), (S, bgp(1, b"\4\xfd\xe9\0\xb4\x0a\0\0\2\0")), (C, bgp(4), BEAT),
    (S, bgp(4), BEAT),
    (C, bgp(2, b"\0\0\0\0" + bgp(4) * 9)), (S, bgp(4), BEAT), (C, bgp(3, b"\6\2")),
], paired=False)  # fmt: skip

CHATS = [
    MQTT, MQTT_5, REDIS, REDIS_REPLICA, AMQP_0, AMQP_1, NATS, POSTGRESQL, PG_REPLICA, MYSQL, MYSQL_REPLICA, ZOOKEEPER,
    KAFKA, IRC, XMPP, STOMP, SIP, FIX, BGP,
]  # fmt: skip
