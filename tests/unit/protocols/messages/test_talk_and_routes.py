"""IRC, XMPP, STOMP, SIP, FIX and BGP as traces: what is a heartbeat, and what only looks like one."""

from __future__ import annotations

import pytest

from tests.messages import BGP, FIX, IRC, SIP, SIP_ASK, STOMP, XMPP, XMPP_OPEN, C, Chat, S, beats, bgp, fix
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

CONNECT, CONNECTED = b"CONNECT\nhost:h\n\n\0", b"CONNECTED\nversion:1.2\n\n\0"
LOGON = fix(b"A", b"98=0", b"108=30")


@pytest.mark.parametrize("chat", [IRC, XMPP, STOMP, SIP, FIX, BGP], ids=lambda chat: chat.protocol)
def test_beats_of_both_sides(chat: Chat) -> None:
    result = run(chat.talk())
    assert beats(result) == chat.beats()
    assert (result.flow["app_protocol"], result.flow["heartbeat_kinds"]) == (chat.protocol,) * 2


# ------------------------------------------------------------------------------------------------ IRC
@pytest.mark.parametrize("greeting", [b"220 ready\r\n", b"+OK hello\r\n", b"* OK IMAP\r\n", b"<xml>\r\n"])
def test_a_server_that_does_not_speak_irc_proves_nothing(greeting: bytes) -> None:
    result = run(Talk().handshake().orig(b"NICK a\r\nUSER a 0 * :a\r\n").resp(greeting).orig(b"PING :1\r\n", at="9s"))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


def test_irc_joined_in_midstream_by_ping_and_pong() -> None:
    talk = Talk().resp(b"PING :irc.example\r\n").orig(b"PONG :irc.example\r\n")
    talk.resp(b"PING :irc.example\r\n", at="90s").orig(b"PONG :irc.example\r\n")
    assert beats(run(talk)) == [(S, "irc", 19, True)] * 2


# ------------------------------------------------------------------------------------------------ XMPP
def test_xml_that_is_no_stream_is_nothing() -> None:
    document = b"<?xml version='1.0'?><iq type='get' id='1'><ping/></iq> "
    result = run(Talk().handshake().orig(document).resp(document).orig(b" ", at="9s"))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


def test_blanks_inside_stanzas_and_right_after_them_are_none() -> None:
    talk = Talk().handshake().orig(XMPP_OPEN).resp(XMPP_OPEN).orig(b"<message><body>", at="2s").orig(b" ", at="4s")
    talk.orig(b"</body></message>\n", at="6s").orig(b"<presence/>\r\n", at="8s")
    assert beats(run(talk)) == []
    assert beats(run(talk.orig(b" ", at="9s"))) == [(C, "xmpp", 1, None)]


def test_an_iq_that_asks_for_something_else_is_no_ping() -> None:
    ask = b"<iq type='get' id='1'><pingback/></iq><iq type='set' id='2'><ping/></iq><iq type='get'><ping/></iq>"
    nested = b"<iq type='get' id='3'><query><ping/></query></iq>"
    talk = Talk().handshake().orig(XMPP_OPEN).resp(XMPP_OPEN).orig(ask, at="2s").orig(nested, at="3s")
    assert beats(run(talk)) == []


# ------------------------------------------------------------------------------------------------ STOMP
def test_ends_of_line_in_a_body_and_right_after_a_frame_are_none() -> None:
    talk = Talk().handshake().orig(CONNECT + b"\n").resp(CONNECTED + b"\n").orig(b"SEND\ndestination:a\n\n", at="2s")
    talk.orig(b"\n", at="4s").orig(b"\0\n\n", at="6s")
    assert beats(run(talk)) == []
    assert beats(run(talk.orig(b"\n", at="9s"))) == [(C, "stomp", 1, None)]


def test_a_connect_without_its_answer_proves_nothing() -> None:
    result = run(Talk().handshake().orig(CONNECT).resp(b"ERROR\n\nno\0").orig(b"\n", at="9s").orig(b"\n", at="19s"))
    assert (beats(result), result.flow["app_protocol"]) == ([], "unknown")


# ------------------------------------------------------------------------------------------------ SIP
def test_empty_lines_around_messages_are_none() -> None:
    talk = Talk().handshake().orig(SIP_ASK + b"\r\n").resp(b"SIP/2.0 200 OK\r\n\r\n").orig(b"\r\n", at="5s")
    assert beats(run(talk.orig(b"\r\n", at="9s").orig(SIP_ASK, at="12s"))) == []


def test_http_with_the_same_method_is_not_sip() -> None:
    talk = (
        Talk()
        .handshake()
        .orig(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        .resp(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    )
    result = run(talk)
    assert (beats(result), result.flow["app_protocol"]) == ([], "http1")


# ------------------------------------------------------------------------------------------------ FIX
def test_a_heartbeat_that_answers_is_paired_and_others_are_one_way() -> None:
    talk = Talk().handshake().orig(LOGON).resp(LOGON).resp(fix(b"1", b"112=7"), at="5s").orig(fix(b"0", b"112=7"))
    result = run(talk.orig(fix(b"0"), at="35s"))
    assert [(way, answered) for way, _, _, answered in beats(result)] == [(S, True), (C, None)]


@pytest.mark.parametrize(
    "message", [b"8=FIX.4.4\x019=5\x0135=0\x01", b"8=FIX.4.4\x019=0\x0135=0\x01", b"8=FIXED\x01x\x01"]
)
def test_messages_that_do_not_add_up(message: bytes) -> None:
    result = run(Talk().handshake().orig(LOGON).resp(LOGON).orig(message * 3, at="5s").resp(fix(b"0"), at="9s"))
    assert beats(result) in ([(S, "fix", len(fix(b"0")), None)], [])


# ------------------------------------------------------------------------------------------------ BGP
def test_bgp_joined_in_midstream_by_a_keepalive() -> None:
    talk = Talk().orig(bgp(4)).resp(bgp(4), at="1s").orig(bgp(4), at="60s").resp(bgp(4), at="61s")
    result = run(talk)
    assert [way for way, *_ in beats(result)] == [C, S, C, S]
    assert {row["period_s"] for row in result.rows("heartbeat_series")} == {60.0}


@pytest.mark.parametrize("message", [bgp(4, b"x"), bgp(0), bgp(9), b"\xff" * 15 + b"\0\0\x13\4"])
def test_messages_that_bgp_does_not_have(message: bytes) -> None:
    opened = bgp(1, b"\4\xfd\xe8\0\xb4\x0a\0\0\1\0")
    assert beats(run(Talk().handshake().orig(opened).resp(opened).orig(message, at="5s"))) == []
