"""What protocols of messages say before a close: who said it, and was the application done?"""

from __future__ import annotations

import pytest

from tests.messages import (
    AMQP_0,
    AMQP_1,
    BGP,
    FIX,
    MQTT,
    MQTT_5,
    MYSQL,
    MYSQL_GREETING,
    MYSQL_LOGIN,
    PG_READY,
    POSTGRESQL,
    REDIS,
    STOMP,
    ZOOKEEPER,
    C,
    Chat,
    S,
    amqp_frame,
    bgp,
    fix,
    mysql,
    performative,
    pg,
    zk,
)
from tests.property.harness import Result, run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def fatal(code: bytes, *, old: bool = False) -> bytes:
    """Return a FATAL error of PostgreSQL with this SQLSTATE; before 9.6 the severity came once."""
    return pg(b"E", b"SFATAL\0" + (b"" if old else b"VFATAL\0") + b"C" + code + b"\0Mterminating connection\0\0")


CLOSE, CLOSE_OK = b"\0\x0a\0\x32", amqp_frame(1, 0, b"\0\x0a\0\x33")
FORCED = amqp_frame(1, 0, CLOSE + b"\1\x40\x11CONNECTION_FORCED\0\0\0\0")
CLOSE_1 = performative(b"\0\x53\x18\x45")
PARTING = {
    (C, b"\xe0\0"), (C, mysql(0, b"\1")), (C, pg(b"X")), (C, zk(2, -11)), (S, fix(b"5")), (C, bgp(3, b"\6\2")),
}  # fmt: skip


def without_goodbye(chat: Chat) -> Chat:
    """Return a conversation up to where it may still go on."""
    steps = [step for step in chat.steps if step[:2] not in PARTING]
    return Chat(chat.protocol, steps)


def ended(chat: Chat, *said: tuple[str, bytes]) -> Result:
    """Return what is told of a conversation that ends with these words."""
    steps = without_goodbye(chat).steps
    return run(Chat(chat.protocol, [*steps, *said]).talk())


GOODBYES = [
    (MQTT, C, b"\xe0\0"), (MQTT_5, C, b"\xe0\0"), (MQTT_5, C, b"\xe0\2\4\0"),
    (MYSQL, C, mysql(0, b"\1")), (POSTGRESQL, C, pg(b"X")),
    (AMQP_0, C, amqp_frame(1, 0, CLOSE + b"\0\xc8\6Normal\0\0\0\0")), (AMQP_0, S, CLOSE_OK),
    (AMQP_1, C, CLOSE_1), (AMQP_1, S, CLOSE_1), (ZOOKEEPER, C, zk(9, -11)), (STOMP, C, b"DISCONNECT\nreceipt:7\n\n\0"),
    (FIX, C, fix(b"5")), (FIX, S, fix(b"5")), (BGP, S, bgp(3, b"\6\2")),
]  # fmt: skip
ERRORS = [
    (MQTT_5, S, b"\xe0\2\x8e\0"), (POSTGRESQL, S, fatal(b"53300")), (MYSQL, S, mysql(0, b"\xff\x10\4#HY000no")),
    (AMQP_0, S, amqp_frame(1, 0, CLOSE + b"\2\x1d\5ERROR\0\0\0\0")),
    (AMQP_1, S, performative(b"\0\x53\x18\xc0\5\1\0\x53\x1d\x45")),
    (STOMP, S, b"ERROR\nmessage:no\ncontent-length:2\n\nno\0"), (BGP, C, bgp(3, b"\4\0")),
]  # fmt: skip
INACTIVE = mysql(0, b"\xff\xbf\x0f#HY000The client was disconnected by the server because of inactivity.")
IDLED = [
    (MQTT_5, b"\xe0\1\x8d"), (MYSQL, INACTIVE), (POSTGRESQL, fatal(b"25P03")), (POSTGRESQL, fatal(b"57P05")),
    (POSTGRESQL, fatal(b"57P05", old=True)),
]  # fmt: skip
ORDERED = [
    (MQTT_5, b"\xe0\1\x8b"), (MYSQL, mysql(0, b"\xff\x1d\4#08S01Server shutdown in progress")), (AMQP_0, FORCED),
    (POSTGRESQL, fatal(b"57P01")), (POSTGRESQL, fatal(b"57P01", old=True)),
]  # fmt: skip
POLITE = [MQTT, MYSQL, POSTGRESQL, AMQP_0, AMQP_1, ZOOKEEPER, STOMP, FIX, BGP]


@pytest.mark.parametrize(("chat", "who", "words"), GOODBYES)
def test_who_says_goodbye_is_done(chat: Chat, who: str, words: bytes) -> None:
    side = "client" if who == C else "server"
    close = ended(chat, (who, words)).close
    assert (close["graceful_app"], close["announced_by"]) == ("yes", side)
    assert close["explanation"].endswith(f"The {side} had said goodbye.")


@pytest.mark.parametrize(("chat", "who", "words"), ERRORS)
def test_an_error_is_no_goodbye(chat: Chat, who: str, words: bytes) -> None:
    side = "client" if who == C else "server"
    close = ended(chat, (who, words)).close
    assert (close["graceful_app"], close["announced_by"]) == ("no", side)
    assert close["explanation"].endswith(f"The {side} had said that something was wrong.")


@pytest.mark.parametrize(("chat", "words"), IDLED)
def test_an_idle_timeout_that_is_said_needs_no_guess(chat: Chat, words: bytes) -> None:
    close = ended(chat, (S, words)).close
    assert (close["trigger"], close["graceful_app"]) == ("idle_timeout", "no")
    assert close["explanation"].endswith("The server had said that the client was silent for too long.")


@pytest.mark.parametrize(("chat", "words"), ORDERED)
def test_a_shutdown_that_is_said_is_told(chat: Chat, words: bytes) -> None:
    close = ended(chat, (S, words)).close
    assert (close["trigger"], close["graceful_app"]) == ("unknown", "no")
    assert close["explanation"].endswith(
        "The server had said that it was told to close: a shutdown, or an administrator."
    )


@pytest.mark.parametrize(("code", "trigger"), [(b"57P01", "unknown"), (b"57P05", "idle_timeout")])
def test_after_a_long_silence_too_the_words_decide(code: bytes, trigger: str) -> None:
    talk = Talk().handshake()
    for who, said, *_ in without_goodbye(POSTGRESQL).steps:
        (talk.orig if who == C else talk.resp)(said)
    talk.resp(pg(b"I") + PG_READY).orig_ack().resp(fatal(code), at="60s").resp_fin().orig_ack().orig_fin().resp_ack()
    close = run(talk).close
    assert (close["trigger"], close["idle_app_s"]) == (trigger, pytest.approx(60, abs=1))


@pytest.mark.parametrize("chat", POLITE, ids=lambda chat: chat.protocol)
def test_who_says_nothing_is_not_done(chat: Chat) -> None:
    close = ended(chat).close
    assert (close["graceful_app"], close["announced_by"]) == ("no", None)
    open_still = run(without_goodbye(chat).talk().packets[:-4])
    assert open_still.close["graceful_app"] == "n/a"


@pytest.mark.parametrize("chat", [MQTT, MYSQL, POSTGRESQL], ids=lambda chat: chat.protocol)
def test_words_that_were_not_captured_are_not_known(chat: Chat) -> None:
    talk = without_goodbye(chat).talk()
    lost = Talk().handshake()
    for who, said, *_ in without_goodbye(chat).steps:
        (lost.orig if who == C else lost.resp)(said)
    result = run(lost.resp_ack().orig_drop(5).orig_fin(at="9s").resp_ack().resp_fin().orig_ack())
    assert (run(talk).close["graceful_app"], result.close["graceful_app"]) == ("no", "unknown")


def test_the_first_words_say_why() -> None:
    answered = ended(AMQP_0, (S, FORCED), (C, CLOSE_OK)).close
    assert (answered["graceful_app"], answered["announced_by"]) == ("no", "server")
    answered = ended(FIX, (C, fix(b"5")), (S, fix(b"5"))).close
    assert (answered["graceful_app"], answered["announced_by"]) == ("yes", "client")


def test_redis_has_no_goodbye() -> None:
    close = ended(REDIS).close
    assert (close["graceful_app"], close["announced_by"]) == ("n/a", None)


def test_a_server_that_closes_first_did_what_it_was_asked() -> None:
    talk = Talk().handshake().resp(MYSQL_GREETING).orig(MYSQL_LOGIN).resp(mysql(2, b"\0\0\0\2\0\0\0"))
    close = run(talk.orig(mysql(0, b"\1"), at="2s").resp_fin().orig_fin().resp_ack()).close
    assert (close["close_kind"], close["announced_by"]) == ("fin_server_first", "client")


def test_an_idle_timeout_that_is_said_is_the_silence_before_it() -> None:
    """Also of a server that spoke by itself before, as databases do: its words have a name."""
    talk = Talk().handshake()
    for who, said, *_ in without_goodbye(POSTGRESQL).steps:
        (talk.orig if who == C else talk.resp)(said)
    notice = pg(b"N", b"SNOTICE\0\0")
    talk.resp(pg(b"I") + PG_READY).orig_ack().resp(notice, at="5s").orig_ack()
    talk.resp(fatal(b"57P05"), at="35s").resp_fin().orig_fin().resp_ack()
    result = run(talk)
    assert (result.close["trigger"], result.close["idle_app_s"]) == ("idle_timeout", pytest.approx(30, abs=0.1))
