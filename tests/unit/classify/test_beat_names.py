"""Definition B8, step 7: what a beat inside TLS may be. OpenSSL encrypts; with its keys the protocol is read."""

from __future__ import annotations

import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.knowledge.load import Knowledge
from analyzer.protocols.tls.suites import added_bytes
from analyzer.settings import Settings
from tests import http2, tlswire
from tests import messages as m
from tests.messages import C, S
from tests.property.harness import Row, batches, run
from tests.talk import Talk
from tests.unit.protocols.test_websocket_heartbeats import OPEN, PHOENIX_1, PHOENIX_2, SIGNALR
from tests.unit.protocols.tls.wire import CLIENT, SERVER, contexts
from tests.unit.protocols.tls.wire import Talk as Tls
from tests.websocket import PING, PONG, TEXT, frame, of_client, request, response

Steps = Sequence[m.Step]
UPGRADE: Steps = [(C, request()), (S, response())]
PREFACE: Steps = [(C, http2.PREFACE + http2.settings()), (S, http2.settings())]
_13, _12 = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2


@dataclass(frozen=True)
class Beating:
    """A conversation that begins with `before`, and then beats."""

    protocol: str
    said: str  # what the name by size is to contain
    before: Steps
    beat: tuple[str, bytes]
    answer: bytes | None = None


BEATINGS = {
    "empty ping of a client": Beating("websocket", "WebSocket ping", UPGRADE, (C, of_client(PING)), frame(PONG)),
    "empty ping of a server": Beating("websocket", "WebSocket ping", UPGRADE, (S, frame(PING)), of_client(PONG)),
    "python websockets, client": Beating(
        "websocket", "WebSocket ping with 4 bytes", UPGRADE, (C, of_client(PING, b"ping")), frame(PONG, b"ping")
    ),
    "python websockets, server": Beating(
        "websocket", "WebSocket ping with 4 bytes", UPGRADE, (S, frame(PING, b"ping")), of_client(PONG, b"ping")
    ),
    "engine.io 4": Beating("engineio", "engine.io", [*UPGRADE, OPEN], (S, frame(TEXT, b"2")), of_client(TEXT, b"3")),
    "engine.io 3": Beating("engineio", "engine.io", [*UPGRADE, OPEN], (C, of_client(TEXT, b"2")), frame(TEXT, b"3")),
    "SignalR, client": Beating("signalr", "SignalR", UPGRADE, (C, of_client(TEXT, SIGNALR))),
    "SignalR, server": Beating("signalr", "SignalR", UPGRADE, (S, frame(TEXT, SIGNALR))),
    "STOMP on a WebSocket": Beating(
        "stomp", "STOMP", [*UPGRADE, (C, of_client(TEXT, b"CONNECT\n\n\0"))], (C, of_client(TEXT, b"\n"))
    ),
    "HTTP/2 ping": Beating("http2", "HTTP/2 PING", PREFACE, (C, http2.ping()), http2.ping(ack=True)),
    "MQTT": Beating("mqtt", "MQTT", m.MQTT.steps[:2], (C, b"\xc0\0"), b"\xd0\0"),
    "Redis": Beating("redis", "Redis", m.REDIS.steps[:4], (C, m.resp(b"PING")), b"+PONG\r\n"),
    "Redis, inline": Beating("redis", "Redis", m.REDIS.steps[:4], (C, b"PING\r\n"), b"+PONG\r\n"),
    "NATS, client": Beating("nats", "NATS", m.NATS.steps[:2], (C, b"PING\r\n"), b"PONG\r\n"),
    "NATS, server": Beating("nats", "NATS", m.NATS.steps[:2], (S, b"PING\r\n"), b"PONG\r\n"),
    "AMQP": Beating("amqp", "AMQP", m.AMQP_0.steps[:3], (C, m.AMQP_BEAT)),
    "AMQP, both": Beating("amqp", "AMQP", m.AMQP_0.steps[:3], (C, m.AMQP_BEAT), m.AMQP_BEAT),
    "AMQP 1.0": Beating("amqp", "AMQP", m.AMQP_1.steps[:6], (S, m.AMQP1_BEAT)),
    "PostgreSQL, empty": Beating(
        "postgresql", "PostgreSQL empty query", m.POSTGRESQL.steps[2:4], (C, m.pg(b"Q", b"\0")), m.pg(b"I") + m.PG_READY
    ),
    "PostgreSQL, SELECT 1": Beating(
        "postgresql", "PostgreSQL SELECT 1", m.POSTGRESQL.steps[2:4], (C, m.pg(b"Q", b"SELECT 1\0")), m.PG_ONE
    ),
    "SockJS": Beating("sockjs", "SockJS", [*UPGRADE, (S, frame(TEXT, b"o"))], (S, frame(TEXT, b"h"))),
    "PostgreSQL, replication": Beating(
        "postgresql", "PostgreSQL replication", m.PG_REPLICA.steps[:4], (S, m.pg_keepalive(1)), m.PG_STATUS
    ),
    "ZooKeeper": Beating("zookeeper", "ZooKeeper", m.ZOOKEEPER.steps[:2], (C, m.ZK_PING), m.ZK_PONG),
    "SIP": Beating("sip", "SIP", m.SIP.steps[:2], (C, b"\r\n\r\n"), b"\r\n"),
    "XMPP": Beating("xmpp", "XMPP", m.XMPP.steps[:2], (C, b" ")),
}  # fmt: skip


def encrypted(
    folder: Path,
    what: Beating,
    version: ssl.TLSVersion,
    *,
    cipher: str | None = None,
    period: float = 11.0,
    beats: Sequence[bytes] = (),
) -> tuple[Talk, bytes]:
    """Return the packets of a conversation inside TLS with ten beats (`beats`, if any), and its key log."""
    client, server, log = contexts(folder, version, cipher)
    tls, talk, told = Tls(client, server), Talk().handshake(), 0

    def carry(at: float) -> None:
        nonlocal told
        for number, (direction, chunk) in enumerate(tls.chunks[told:]):
            (talk.orig if direction == CLIENT else talk.resp)(chunk, at=at + number / 1000)
            (talk.resp_ack if direction == CLIENT else talk.orig_ack)()
        told = len(tls.chunks)

    def say(way: str, what: bytes, at: float) -> None:
        tls.say(CLIENT if way == C else SERVER, what)
        carry(at)

    carry(0.1)
    for second, (way, said, *_) in enumerate(what.before, 1):
        say(way, said, second / 4)
    way, beat = what.beat
    for k in range(1, 11):
        say(way, beats[k - 1] if beats else beat, 4 + k * period)
        if what.answer is not None:
            say(S if way == C else C, what.answer, 4.02 + k * period)
    return talk, log.read_bytes()


def series(talk: Talk, keys: bytes = b"") -> list[Row]:
    engine = Engine(Settings(), Ledger())
    if keys:
        engine.learn(keys)
    chunks = chain.from_iterable(engine.feed(batch) for batch in batches(talk.packets))
    return [
        row for name, rows in chain(chunks, engine.finish()) if name == "heartbeat_series" for row in rows.to_pylist()
    ]


@pytest.mark.parametrize("version", [_12, _13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", BEATINGS)
def test_names_without_keys_agree_with_what_the_keys_show(tmp_path: Path, name: str, version: ssl.TLSVersion) -> None:
    what = BEATINGS[name]
    talk, keys = encrypted(tmp_path, what, version)
    read = series(talk, keys)
    assert {(row["protocol"], row["method"]) for row in read} == {(what.protocol, "explicit")}
    (row,) = series(talk)
    assert (row["protocol"], row["method"]) == ("unknown", "inferred")
    assert row["beats"] >= 10  # a greeting may be as long as a beat
    assert what.said in (row["known_as"] or ""), row["known_as"]


CIPHERS = {
    "ECDHE-RSA-AES128-GCM-SHA256": 24, "AES128-CCM": 24, "AES128-CCM8": 16, "ECDHE-RSA-CHACHA20-POLY1305": 16,
    "AES128-SHA": 0, "NULL-SHA256": 32,
}  # fmt: skip


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_kind_of_cipher(tmp_path: Path, cipher: str) -> None:
    talk, keys = encrypted(tmp_path, BEATINGS["python websockets, client"], _12, cipher=cipher, period=20)
    (read,) = series(talk, keys)
    assert read["protocol"] == "websocket"
    (row,) = series(talk)
    assert row["known_as"] == "python websockets ping_interval 20 s; uvicorn, daphne ws_ping_interval 20 s"
    talk, _ = encrypted(tmp_path, BEATINGS["python websockets, client"], _12, cipher=cipher)
    (row,) = series(talk)
    assert row["known_as"] == ("WebSocket ping with 4 bytes (by its size)" if CIPHERS[cipher] else None)


@pytest.mark.parametrize(
    ("name", "tls13", "adds"),
    [
        ("TLS_AES_128_GCM_SHA256", True, 17),
        ("TLS_CHACHA20_POLY1305_SHA256", True, 17),
        ("TLS_AES_128_CCM_8_SHA256", True, 9),
        ("TLS_AES_128_CCM_SHA256", True, 17),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", False, 24),
        ("TLS_RSA_WITH_AES_128_CCM_8", False, 16),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", False, 16),
        ("TLS_RSA_WITH_RC4_128_SHA", False, 20),
        ("TLS_RSA_WITH_AES_128_CBC_SHA", False, 0),
        ("TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256", False, 0),  # not known here
        ("0x1234", False, 0),
    ],
)
def test_what_encryption_adds(name: str, tls13: bool, adds: int) -> None:
    assert added_bytes(name, tls13=tls13) == adds


# ------------------------------------------------------------------------------------------------ period and sizes
ON_TIME = (0.0,) * 13


def hidden(
    size: int, answer: int, *, period: float = 11.0, way: str = C, more: bytes = b"",
    late: Sequence[float] = ON_TIME, answer_late: Sequence[float] = ON_TIME,
) -> str | None:  # fmt: skip
    """Return what beats of these sizes inside TLS 1.3 are known as; answer 0 = there is none; late  in seconds."""
    hello, reply, end = tlswire.full13()
    talk = Talk().handshake().orig(hello).resp(reply).orig(end)
    say, back = (talk.orig, talk.resp) if way == C else (talk.resp, talk.orig)
    for k in range(1, 13):
        say(tlswire.data(size + 17) + more, at=1 + period * k + late[k])
        if answer:
            back(tlswire.data(answer + 17), at=1.01 + period * k + late[k] + answer_late[k])
    (row,) = run(talk).rows("heartbeat_series")
    known: str | None = row["known_as"]
    return known


def test_a_default_of_other_sizes_is_left_out() -> None:
    assert hidden(6, 2, period=30) == "WebSocket ping (by its size)"  # also Phoenix and RabbitMQ beat every 30 s
    assert hidden(8, 0, period=30) == "RabbitMQ heartbeat (a frame each half of 60 s) 30 s"
    for said in (PHOENIX_1, PHOENIX_2):  # the longer one is also as long as a message of FIX
        assert (hidden(6 + len(said), 70, period=30) or "").startswith("Phoenix channels heartbeatIntervalMs 30 s")
    assert hidden(17, 17, period=7200) == "gRPC server keepalive_time 7200 s; HTTP/2 PING (by its size)"


def test_all_ties_are_named() -> None:
    ping, stomp = "WebSocket ping with 1 bytes (by its size)", "STOMP heart-beat on a WebSocket (by its size)"
    assert hidden(3, 7, way=S) == f"{ping}; engine.io ping on a WebSocket (by its size); {stomp}"
    assert hidden(3, 7, way=S, period=25) == f"engine.io, socket.io 4 pingInterval 25 s; {ping}; {stomp}"
    assert hidden(1, 1) == "STOMP heart-beat (by its size); XMPP whitespace (by its size)"


@pytest.mark.parametrize(("size", "answer"), [(6, 3), (6, 0), (8, 200), (17, 18), (200, 196), (9, 9)])
def test_other_sizes_have_no_name(size: int, answer: int) -> None:
    assert hidden(size, answer) is None


def test_a_server_does_not_beat_like_a_client() -> None:
    assert hidden(6, 2, way=S) is None
    assert hidden(2, 6, way=S) == "WebSocket ping (by its size)"


def test_two_records_at_once_have_no_size() -> None:
    assert hidden(6, 2, more=tlswire.data(40)) is None
    assert "Phoenix" in (hidden(6, 2, more=tlswire.data(40), period=30) or "")  # by its period alone


def test_a_name_does_not_contradict_the_series() -> None:
    """RabbitMQ's and stompjs' beats are not answered, Phoenix' are; CBC, or two records, hide all sizes."""
    two = tlswire.data(40)
    assert "Phoenix" in (hidden(6, 2, more=two, period=30) or "")
    assert "RabbitMQ" not in (hidden(6, 2, more=two, period=30) or "")
    assert "RabbitMQ" in (hidden(6, 0, more=two, period=30) or "")
    assert "Phoenix" not in (hidden(6, 0, more=two, period=30) or "")
    assert hidden(6, 2, more=two, period=10) is None  # stompjs


def test_who_keeps_closer_to_the_beats_than_they_to_their_time_answers_them() -> None:
    """Two peers of AMQP may beat at once. Their timers are late independently of each other."""
    pick = random.Random(5)
    late = [pick.uniform(0, 0.02) for _ in range(13)]
    assert hidden(8, 8, period=30, late=late, answer_late=[x / 10 for x in late]) is None
    own = [pick.uniform(0, 0.02) for _ in range(13)]
    both = [0.05 + mine - theirs for mine, theirs in zip(own, late, strict=True)]  # after the beat
    assert (hidden(8, 8, period=30, late=late, answer_late=both) or "").startswith("RabbitMQ")


def test_every_default_has_a_shape() -> None:
    known = Knowledge.shipped()
    assert {shape.protocol for shape in known.shapes} >= {beat.protocol for beat in known.heartbeats}


# ------------------------------------------------------------------------------------------------ plain text
def plain(*, begins: bool, beat: bytes, answer: bytes) -> str | None:
    talk = Talk()
    talk = talk.handshake() if begins else talk
    talk.orig(b"\x00hello" * 9, at=1).resp(b"\x01welcome" * 90).orig_ack()
    for k in range(1, 13):
        talk.orig(beat, at=1 + 11 * k).resp(answer).orig_ack()
    (row,) = run(talk).rows("heartbeat_series")
    assert row["method"] == "inferred"
    known: str | None = row["known_as"]
    return known


def test_a_websocket_that_was_joined_midstream() -> None:
    """Its frames say nothing that is beyond doubt: no answer has the payload of what it answers."""
    beat, answer = of_client(PING, b"ping"), frame(PONG, b"pong")
    assert plain(begins=False, beat=beat, answer=answer) == "WebSocket ping with 4 bytes (by its size)"
    assert plain(begins=True, beat=beat, answer=answer) is None  # it would have been read
