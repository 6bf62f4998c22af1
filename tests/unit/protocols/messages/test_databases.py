"""PostgreSQL, MySQL, ZooKeeper and Kafka as traces: what is a ping, and what only looks like one."""

from __future__ import annotations

import struct

import pytest

from tests.messages import (
    KAFKA,
    KAFKA_BEAT,
    MYSQL,
    MYSQL_GREETING,
    MYSQL_LOGIN,
    MYSQL_OK,
    MYSQL_PING,
    MYSQL_REPLICA,
    PG_READY,
    PG_START,
    POSTGRESQL,
    ZK_CONNECT,
    ZK_PING,
    ZK_PONG,
    ZOOKEEPER,
    C,
    Chat,
    beats,
    kafka,
    kafka_reply,
    mysql,
    pg,
)
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

PG_AUTH = pg(b"R", bytes(4)) + PG_READY


@pytest.mark.parametrize("chat", [POSTGRESQL, MYSQL, MYSQL_REPLICA, ZOOKEEPER, KAFKA], ids=lambda chat: chat.protocol)
def test_pings_with_their_answers(chat: Chat) -> None:
    result = run(chat.talk())
    assert beats(result) == chat.beats()
    assert (result.flow["app_protocol"], result.flow["heartbeat_kinds"]) == (chat.protocol, chat.protocol)


# ------------------------------------------------------------------------------------------------ PostgreSQL
def test_one_select_1_is_a_query_and_two_are_a_habit() -> None:
    talk = Talk().handshake().orig(PG_START).resp(PG_AUTH).orig(pg(b"Q", b"SELECT 1\0"), at="5s").resp(PG_READY)
    once = run(talk)
    assert (beats(once), once.flow["app_protocol"]) == ([], "postgresql")
    twice = run(talk.orig(pg(b"Q", b"SELECT 1\0"), at="9s").resp(PG_READY))
    assert beats(twice) == [(C, "postgresql", 14, True)] * 2


@pytest.mark.parametrize("query", [b"SELECT 11\0", b"SELECT 1, 2\0", b"SELECT 10;\0", b"BEGIN\0", b"SELECT\0"])
def test_queries_that_ask_for_something(query: bytes) -> None:
    talk = Talk().handshake().orig(PG_START).resp(PG_AUTH)
    for second in (2, 4, 6):
        talk.orig(pg(b"Q", query), at=second).resp(PG_READY)
    assert beats(run(talk)) == []


def prepare(name: bytes, query: bytes) -> bytes:
    return pg(b"P", name + b"\0" + query + b"\0\0\0") + pg(b"D", b"S" + name + b"\0") + pg(b"H")


def execute(name: bytes) -> bytes:
    return pg(b"B", b"\0" + name + b"\0" + b"\0\1\0\1\0\0\0\1\0\1") + pg(b"E", b"\0\0\0\0\1") + pg(b"S")


def pool(*said: bytes) -> Talk:
    """Return a client that says this, a second apart."""
    talk = Talk().handshake().orig(PG_START).resp(PG_AUTH)
    for second, one in enumerate(said, 2):
        talk.orig(one, at=second).resp(pg(b"1") if one.endswith(pg(b"H")) else pg(b"2") + PG_READY)
    return talk.wait("10s").orig_fin().resp_fin().orig_ack()


@pytest.mark.parametrize("name", [b"__asyncpg_stmt_1__", b"_pg3_0", b"S_1"])
def test_select_1_in_a_prepared_statement(name: bytes) -> None:
    """Prepared once, executed by its name: asyncpg at once, psycopg 3 and pgjdbc after five times."""
    ask = execute(name)
    size = 1 + 4 + 1 + len(name) + 1 + 10
    assert beats(run(pool(prepare(name, b"SELECT 1"), ask, ask, ask))) == [(C, "postgresql", size, True)] * 3
    other = prepare(b"b", b"SELECT now()") + execute(b"b")
    mixed = pool(prepare(name, b"SELECT 1"), ask, other, ask, execute(b"b"), ask)
    assert beats(run(mixed)) == [(C, "postgresql", size, True)] * 3
    renamed = prepare(name, b"UPDATE t") + execute(name)
    assert len(beats(run(pool(prepare(name, b"SELECT 1"), ask, ask, renamed, ask)))) == 2


@pytest.mark.parametrize("query", [b"UPDATE t", b"SELECT * FROM orders WHERE id = $1 AND customer = $2"])
def test_a_name_that_is_given_away(query: bytes) -> None:
    ask, closed = execute(b"S_1"), pg(b"C", b"SS_1\0")
    again = closed + prepare(b"S_1", query)
    assert len(beats(run(pool(prepare(b"S_1", b"SELECT 1"), ask, ask, again, ask, ask)))) == 2
    kept = prepare(b"S_9", query) + execute(b"S_9")
    assert len(beats(run(pool(prepare(b"S_1", b"SELECT 1"), ask, kept, ask, kept, ask)))) == 3
    other = pg(b"C", b"SS_2\0") + ask
    assert len(beats(run(pool(prepare(b"S_1", b"SELECT 1"), ask, other, ask)))) == 3


def test_a_parse_whose_name_does_not_end() -> None:
    assert beats(run(pool(*[pg(b"P", b"x" * 30) + pg(b"S")] * 3))) == []


def test_postgresql_that_turns_to_tls_is_left_to_it() -> None:
    hello = bytes.fromhex("16030100d8010000d40303") + bytes(0xD8 - 6)
    result = run(Talk().handshake().orig(struct.pack("!II", 8, 80877103)).resp(b"S").orig(hello))
    assert result.flow["app_protocol"] == "tls"


def test_postgresql_joined_in_midstream() -> None:
    talk = (
        Talk().orig(pg(b"Q", b"\0")).resp(pg(b"I") + PG_READY).orig(pg(b"Q", b"\0"), at="5s").resp(pg(b"I") + PG_READY)
    )
    assert beats(run(talk)) == [(C, "postgresql", 6, True)] * 2


# ------------------------------------------------------------------------------------------------ MySQL
def test_a_sequence_that_does_not_go_on_ends_the_reading() -> None:
    talk = Talk().handshake().resp(MYSQL_GREETING).orig(MYSQL_LOGIN).resp(mysql(2, b"\0\0\0\2\0\0\0"))
    talk.orig(mysql(7, b"\x0e") + MYSQL_PING, at="3s").resp(MYSQL_OK)
    result = run(talk)
    assert (beats(result), result.flow["app_protocol"]) == ([], "mysql")


def test_a_compressed_connection_is_not_read() -> None:
    login = bytearray(MYSQL_LOGIN)
    login[4] |= 0x20
    talk = Talk().handshake().resp(MYSQL_GREETING).orig(bytes(login)).resp(mysql(2, b"\0\0\0\2\0\0\0"))
    result = run(talk.orig(MYSQL_PING, at="3s").resp(MYSQL_OK))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


def test_mysql_joined_in_midstream_by_a_ping() -> None:
    talk = Talk().orig(MYSQL_PING).resp(MYSQL_OK).orig(MYSQL_PING, at="60s").resp(MYSQL_OK)
    assert beats(run(talk)) == [(C, "mysql", 5, True)] * 2


ONE_COLUMN = b"\x01\0\0\x01\x01" + mysql(2, b"x" * 20) + mysql(3, b"\xfe\0\0\2\0")
MYSQL_ONE = ONE_COLUMN + mysql(4, b"\x011") + mysql(5, b"\xfe\0\0\2\0")  # what SELECT 1 selects


def asking(*queries: bytes) -> Talk:
    """Return a client of MySQL that has logged in and asks this, two seconds apart."""
    talk = Talk().handshake().resp(MYSQL_GREETING).orig(MYSQL_LOGIN).resp(mysql(2, b"\0\0\0\2\0\0\0"))
    for k, query in enumerate(queries, 1):
        talk.orig(query, at=2 * k).resp(MYSQL_OK if query == MYSQL_PING else MYSQL_ONE)
    return talk.wait("10s").orig(mysql(0, b"\1")).orig_fin().resp_fin().orig_ack()


@pytest.mark.parametrize("query", [b"\3SELECT 1", b"\3select 1;", b"\3\0\1SELECT 1", b"\3\0\1Select 1 ;"])
def test_select_1_is_a_habit_in_mysql_too(query: bytes) -> None:
    ask = mysql(0, query)
    assert beats(run(asking(ask))) == []
    result = run(asking(ask, ask, MYSQL_PING, ask))
    assert [row[2:] for row in beats(result)] == [(len(ask), True), (len(ask), True), (5, True), (len(ask), True)]
    assert result.flow["max_app_gap_s"] > 15  # what it selects is nothing that the application says


@pytest.mark.parametrize("query", [b"\3SELECT 11", b"\3SELECT 1, 2", b"\3COMMIT", b"\3\0\2SELECT 1", b"\x16SELECT 1"])
def test_queries_of_mysql_that_ask_for_something(query: bytes) -> None:
    assert beats(run(asking(*[mysql(0, query)] * 3))) == []


def test_a_ping_of_mysql_counts_at_once() -> None:
    assert len(beats(run(asking(mysql(0, b"\3SELECT 1"), MYSQL_PING)))) == 2
    assert len(beats(run(asking(MYSQL_PING)))) == 1


def test_mysql_joined_in_midstream_by_select_1() -> None:
    ask = mysql(0, b"\3SELECT 1")
    talk = Talk().orig(ask).resp(MYSQL_ONE).orig(ask, at="60s").resp(MYSQL_ONE)
    assert beats(run(talk)) == [(C, "mysql", 13, True)] * 2


# ------------------------------------------------------------------------------------------------ ZooKeeper
def test_zookeeper_joined_in_midstream_by_a_ping() -> None:
    talk = Talk().orig(ZK_PING).resp(ZK_PONG).orig(ZK_PING, at="10s").resp(ZK_PONG)
    assert beats(run(talk)) == [(C, "zookeeper", 12, True)] * 2


def test_a_session_that_is_not_taken_up_proves_nothing() -> None:
    result = run(Talk().handshake().orig(ZK_CONNECT).resp(b"\0\0\0\2no").orig(ZK_PING, at="9s").resp(b"\0\0\0\2no"))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


# ------------------------------------------------------------------------------------------------ Kafka
def test_the_first_api_versions_is_no_beat() -> None:
    result = run(
        Talk().handshake().orig(kafka(18, 1)).resp(kafka_reply(1)).orig(kafka(3, 2), at="2s").resp(kafka_reply(2))
    )
    assert (beats(result), result.flow["app_protocol"]) == ([], "kafka")


def test_a_response_to_something_else_proves_nothing() -> None:
    talk = Talk().handshake().orig(kafka(18, 1)).resp(kafka_reply(2)).orig(kafka(12, 2, KAFKA_BEAT), at="2s")
    result = run(talk.resp(kafka_reply(2)))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


def test_kafka_joined_in_midstream() -> None:
    talk = Talk().orig(kafka(12, 70, KAFKA_BEAT)).resp(kafka_reply(70, bytes(6)))
    talk.orig(kafka(12, 71, KAFKA_BEAT), at="3s").resp(kafka_reply(71, bytes(6)))
    assert [answered for *_, answered in beats(run(talk))] == [True, True]
