"""What WebSocket carries of heartbeats: control frames by opcode, messages by their words."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.protocols.websocket import words
from analyzer.protocols.websocket.state import KIND_TEXT
from analyzer.protocols.websocket.words import said_by
from tests.messages import C, S, beats
from tests.property.harness import run
from tests.talk import Talk
from tests.websocket import BINARY, CONTINUATION, PING, PONG, TEXT, Deflater, frame, of_client, upgraded

pytestmark = pytest.mark.usefixtures("compiled")

PHOENIX_1 = b'{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"7"}'
PHOENIX_2 = b'[null,"7","phoenix","heartbeat",{}]'
REPLY_1 = b'{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"7","topic":"phoenix"}'
REPLY_2 = b'[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]'
OPENING = b'0{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
OPEN = (S, frame(TEXT, OPENING))
SIGNALR = b'{"type":6}\x1e'


def found(*said: tuple[str, bytes]) -> list[tuple[str, str, int, Any]]:
    """Return the beats of a WebSocket on which these frames came, a second apart, and nothing for ten more."""
    talk = upgraded()
    for second, (way, what) in enumerate(said, 2):
        (talk.orig if way == C else talk.resp)(what, at=second)
    return beats(run(talk.wait("10s").orig_fin().resp_fin().orig_ack()))


def test_pings_are_paired_by_what_they_carry() -> None:
    said = [(S, frame(PING, b"1")), (S, frame(PING, b"2")), (C, of_client(PONG, b"2")), (S, frame(PING, b"3"))]
    assert found(*said) == [(S, "websocket", 3, False), (S, "websocket", 3, True), (S, "websocket", 3, False)]


def test_a_pong_that_answers_nothing_is_a_beat_of_its_own() -> None:
    assert found((C, of_client(PONG)), (C, of_client(PONG))) == [(C, "websocket", 6, None)] * 2


def test_both_sides_ping() -> None:
    said = [(C, of_client(PING)), (S, frame(PONG)), (S, frame(PING)), (C, of_client(PONG))]
    assert found(*said) == [(C, "websocket", 6, True), (S, "websocket", 2, True)]


@pytest.mark.parametrize("opening", [OPEN, (C, of_client(TEXT, b"2probe"))])
def test_engine_io_4_server_pings_and_3_client_pings(opening: tuple[str, bytes]) -> None:
    assert found(opening, (S, frame(TEXT, b"2")), (C, of_client(TEXT, b"3"))) == [(S, "engineio", 1, True)]
    assert found(opening, (C, of_client(TEXT, b"2")), (S, frame(TEXT, b"3"))) == [(C, "engineio", 1, True)]
    assert found(opening, (S, frame(TEXT, b"2")), (S, frame(TEXT, b"2"))) == [(S, "engineio", 1, False)] * 2


def test_what_says_too_little_counts_only_where_it_was_opened() -> None:
    """Ratings, digits of a counter, keys typed into a terminal."""
    for text in (b"2", b"3", b"\n"):
        said = [(C, of_client(TEXT, text)), (S, frame(TEXT, text))]
        assert found(*said, *said) == []
        assert found((S, frame(TEXT, b"hello")), *said, *said) == []


@pytest.mark.parametrize("text", [b"2probe", b"23", b"4", b'42["2"]', b"0{}", b"", b" 2", b"\x32\x0a"])
def test_texts_that_only_begin_like_engine_io(text: bytes) -> None:
    assert found(OPEN, (S, frame(TEXT, text)), (C, of_client(TEXT, text))) == []


def test_signalr_and_phoenix_and_stomp() -> None:
    assert found((S, frame(TEXT, SIGNALR)), (C, of_client(TEXT, SIGNALR))) == [
        (S, "signalr", len(SIGNALR), None), (C, "signalr", len(SIGNALR), None)
    ]  # fmt: skip
    for text, reply in ((PHOENIX_1, REPLY_1), (PHOENIX_2, REPLY_2)):
        assert found((C, of_client(TEXT, text))) == [(C, "phoenix", len(text), False)]
        assert found((C, of_client(TEXT, text)), (S, frame(TEXT, reply))) == [(C, "phoenix", len(text), True)]
        elsewhere = reply.replace(b'"phoenix"', b'"rooms:1"')
        assert found((C, of_client(TEXT, text)), (S, frame(TEXT, elsewhere))) == [(C, "phoenix", len(text), False)]
    connect = (C, of_client(TEXT, b"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\0" + b" " * 200))
    assert found(connect, (C, of_client(TEXT, b"\n")), (S, frame(TEXT, b"\n"))) == [
        (C, "stomp", 1, None), (S, "stomp", 1, None)
    ]  # fmt: skip


@pytest.mark.parametrize("text", [
    b'{"type":6}', b'{"type":1}\x1e', b'{"type":6}\x1e{"type":6}\x1e', b'"heartbeat"', b"\n\n", b"\r", b"heartbeat",
])  # fmt: skip
def test_texts_that_only_look_like_them(text: bytes) -> None:
    assert found((S, frame(TEXT, text))) == []


APP_PINGS = [
    (b'{"type":"ping"}', b'{"type":"pong"}'),  # graphql-transport-ws
    (b'{"event":"pusher:ping","data":{}}', b'{"event":"pusher:pong","data":{}}'),
    (b'{"time":1700000000,"channel":"spot.ping"}', b'{"time":1700000000,"channel":"spot.pong","result":null}'),
    (b'{"op":"ping"}', b'{"success":true,"ret_msg":"pong","conn_id":"5a","op":"ping"}'),
    (b'{"ping":1492420473027}', b'{"pong":1492420473027}'),
    (b'{ "id" : 7, "method" : "PING" }', b'{"id":7,"result":"Pong"}'),
    (b'{"action":"heartbeat","seq":3}', b'{"action":"heartbeat_ack","seq":3}'),
    (b'{"type":"keep-alive"}', b'{"type":"pong"}'),
    (b"ping", b"pong"),
    (b"PING", b"PONG"),
    (b"PING :tmi.twitch.tv\r\n", b"PONG :tmi.twitch.tv\r\n"),
    (b"PING :tmi.twitch.tv\r\n", b"PONG"),
]


@pytest.mark.parametrize(("ping", "pong"), APP_PINGS)
def test_what_programs_made_up_for_themselves(ping: bytes, pong: bytes) -> None:
    asked, answered = (C, of_client(TEXT, ping)), (S, frame(TEXT, pong))
    assert found(asked, answered) == [(C, "app", len(ping), True)]
    assert found(asked, answered, asked) == [(C, "app", len(ping), True), (C, "app", len(ping), False)]
    assert found(asked, (S, frame(TEXT, b'{"news":1}')), asked) == [(C, "app", len(ping), None)] * 2
    assert found(asked) == [], "a word said once that nobody answered is no habit"
    assert found(answered, answered) == [], "answers to nothing"


def test_a_server_that_pings_and_hears_nothing_misses_nothing() -> None:
    ticks = [(S, frame(TEXT, b'{"type":"ping","message":%d}' % (1_700_000_000 + 3 * k))) for k in range(4)]
    assert found(*ticks) == [(S, "app", 36, None)] * 4  # Action Cable
    assert found(*[(S, frame(TEXT, b'[1,"hb"]'))] * 3) == [(S, "app", 8, None)] * 3
    assert found(*[(S, frame(TEXT, b'{"type":"ka"}'))] * 3) == [(S, "app", 13, None)] * 3


def asking(answers: int, answer: bytes, *, after: float = 0.02, ask: bytes = b'[2,"7","Heartbeat",{}]') -> Talk:
    """Six beats of a charge point (OCPP), some of them answered."""
    talk = upgraded()
    for k in range(6):
        talk.orig(of_client(TEXT, ask), at=2 + 2 * k).resp_ack()
        if k < answers:
            talk.resp(frame(TEXT, answer), at=2 + 2 * k + after).orig_ack()
    return talk.wait("10s").orig_fin().resp_fin().orig_ack()


OCPP = b'[3,"7",{"currentTime":"2026-11-27T17:00:00Z"}]'


def test_an_answer_that_no_word_tells() -> None:
    assert [row[3] for row in beats(run(asking(6, OCPP)))] == [True] * 6
    assert [row[3] for row in beats(run(asking(4, OCPP)))] == [True] * 4 + [False] * 2
    assert [row[3] for row in beats(run(asking(4, b'{"type":"ack"}', ask=b'{"type":"heartbeat"}')))][4:] == [False] * 2


def test_what_comes_some_time_after_a_beat_is_no_answer() -> None:
    assert [row[3] for row in beats(run(asking(6, OCPP, after=0.9)))] == [None] * 6, "the server's own ticks"
    assert [row[3] for row in beats(run(asking(2, OCPP)))] == [None] * 6, "two may be by chance"


def test_data_of_all_sizes_after_beats_is_no_answer() -> None:
    talk = upgraded()
    for k in range(6):
        talk.orig(of_client(TEXT, b'{"type":"heartbeat"}'), at=2 + 2 * k).resp(frame(TEXT, b"x" * (20 + 30 * k)))
    assert [row[3] for row in beats(run(talk.wait("10s").orig_fin().resp_fin().orig_ack()))] == [None] * 6


def test_an_echo_is_an_answer_and_a_timer_of_ones_own_is_none() -> None:
    talk = upgraded()
    for second in (2, 4, 6):
        talk.orig(of_client(TEXT, b'{"t":"heartbeat"}'), at=second).resp(frame(TEXT, b'{"t":"heartbeat"}'))
    assert beats(run(talk.wait("10s").orig_fin().resp_fin().orig_ack())) == [(C, "app", 17, True)] * 3
    talk = upgraded()
    for second in (2, 5, 8):
        talk.orig(of_client(TEXT, b'{"t":"heartbeat"}'), at=second)
        talk.resp(frame(TEXT, b'{"t":"heartbeat"}'), at=second + 1)
    own = beats(run(talk.wait("10s").orig_fin().resp_fin().orig_ack()))
    assert sorted(own) == [(C, "app", 17, None)] * 3 + [(S, "app", 17, None)] * 3


def test_who_says_pong_does_not_answer_with_pings() -> None:
    """Both sides ping by timers that began together; each answer takes 80 ms, the other's ping comes before it."""
    ping, pong, talk = b'{"type":"ping"}', b'{"type":"pong"}', upgraded()
    for second in (2, 4, 6):
        talk.orig(of_client(TEXT, ping), at=second).resp(frame(TEXT, ping), at=second + 0.04)
        talk.orig(of_client(TEXT, pong), at=second + 0.041).resp(frame(TEXT, pong), at=second + 0.08)
    result = run(talk.wait("10s").orig_fin().resp_fin().orig_ack())
    assert sorted(beats(result)) == [(C, "app", 15, True)] * 3 + [(S, "app", 15, True)] * 3
    rtts = {row["dir"]: row["rtt_s"] for row in result.rows("heartbeats")}
    assert rtts == {C: pytest.approx(0.08), S: pytest.approx(0.001)}


@pytest.mark.parametrize("text", [
    b'{"text":"ping"}', b'["stdin","ping"]', b'{"game":"pong"}', b'{"op":"subscribe","channel":"heartbeat"}',
    b'{"text":"pinging"}', b'{"ping":34,"loss":0}', b'{"heartbeat":72}', b'{"name":"ka","pulse":72,"bpm":72,"x":0}',
    b'{"t":"\\"ping\\""}', b'{"t":"ping', b'"ping"', b"pings", b"[1,2]", b'{"a":"x"}' + b" " * 120 + b'"ping"',
])  # fmt: skip
def test_texts_that_are_no_ping(text: bytes) -> None:
    said = [(S, frame(TEXT, text)), (S, frame(TEXT, text))]
    assert found(*said) == []


def test_protocols_inside() -> None:
    for ping, pong, protocol in ((b"\xc0\0", b"\xd0\0", "mqtt"), (b"PING\r\n", b"PONG\r\n", "nats")):
        asked, answered = (C, of_client(BINARY, ping)), (S, frame(BINARY, pong))
        assert found(asked, answered, asked) == [(C, protocol, len(ping), True), (C, protocol, len(ping), False)]
        assert found(asked) == []
    empty = b"\0\0\0\x08\x02\0\0\0"
    assert found((C, of_client(BINARY, empty)), (S, frame(BINARY, empty))) == [
        (C, "amqp", 8, None), (S, "amqp", 8, None)
    ]  # fmt: skip
    assert found((C, of_client(BINARY, b"\x02\x91\x06"))) == [(C, "signalr", 3, None)]


def test_sockjs_beats_once_its_server_opened_it() -> None:
    beat = (S, frame(TEXT, b"h"))
    assert found((S, frame(TEXT, b"o")), beat, beat) == [(S, "sockjs", 1, None)] * 2
    assert found(beat, beat) == []
    assert found((S, frame(TEXT, b"hi")), (S, frame(TEXT, b"o")), beat) == []
    assert found((S, frame(TEXT, b"o")), (C, of_client(TEXT, b"h"))) == []
    deflater = Deflater()
    talk = upgraded(b"permessage-deflate")
    for second, text in enumerate((b"o", b"h", b"h"), 3):
        talk.resp(frame(TEXT, deflater.message(text), rsv=4), at=second)
    assert [kind for _, kind, *_ in beats(run(talk))] == ["sockjs"] * 2


def test_a_message_that_is_a_heartbeat_is_not_the_application_speaking() -> None:
    talk = upgraded().resp(frame(TEXT, OPENING), at="1s").orig(of_client(TEXT, b"hi"), at="2s")
    for second in (12, 22, 32):
        talk.resp(frame(TEXT, b"2"), at=second).orig(of_client(TEXT, b"3"))
    result = run(talk.orig(of_client(TEXT, b"bye"), at="42s"))
    assert result.flow["max_app_gap_s"] == pytest.approx(40, abs=0.1)


def test_binary_messages_are_none() -> None:
    assert found(OPEN, (S, frame(BINARY, b"2")), (C, of_client(BINARY, b"\n"))) == []


def test_a_message_in_fragments_and_a_compressed_one() -> None:
    parts = [(S, frame(TEXT, b'{"type"', fin=False)), (S, frame(CONTINUATION, b":6}\x1e"))]
    assert found(*parts) == [(S, "signalr", len(SIGNALR), None)]
    deflater = Deflater()
    talk = upgraded(b"permessage-deflate").resp(frame(TEXT, deflater.message(OPENING), rsv=4), at="2s")
    talk.resp(frame(TEXT, deflater.message(b"2"), rsv=4), at="3s")
    assert [(way, kind) for way, kind, *_ in beats(run(talk))] == [(S, "engineio")]


def test_the_silence_of_the_application_leaves_control_frames_out() -> None:
    talk = upgraded().orig(of_client(TEXT, b"hi"), at="2s")
    for second in (12, 22, 32):
        talk.resp(frame(PING), at=second).orig(of_client(PONG))
    result = run(talk.orig(of_client(TEXT, b"bye"), at="42s"))
    assert result.flow["max_app_gap_s"] == pytest.approx(40, abs=0.1)


VALUES = (
    "ping", "Pong", "heartbeat", "heartbeat_ack", "hb", "ka", "keep_alive", "phoenix", "phx_reply", "spot.ping", "x:hb",
    "pings", 'a"ping', "", "a b", 12, None, True, [], {"type": "ping"}, ["pong"],
)  # fmt: skip
NAMES = ("type", "op", "event", "result", "text", "ping", "pong", "heartbeat", "spot.ping")


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3), st.sampled_from((",", ", ")))
def test_json_is_read_as_a_parser_of_json_reads_it(said: dict[str, Any], comma: str) -> None:
    text = json.dumps(said, separators=(comma, ": " if comma == ", " else ":")).encode()
    assert said_by(np.frombuffer(text, np.uint8), len(text), KIND_TEXT) == by_parser(said, len(text))


def by_parser(said: dict[str, Any], size: int) -> int:
    """Return what `words.said_by` should."""
    values, names = [], []

    def last(word: str) -> str:
        return re.split("[:./]", word)[-1].lower()

    def look(what: Any, name: str = "") -> None:
        if isinstance(what, str):
            values.append((name, last(what)))
        for inner, value in what.items() if isinstance(what, dict) else ():
            names.append(last(inner))
            look(value, last(inner))
        for value in what if isinstance(what, list) else ():
            look(value, name)

    look(said)
    told = {value for name, value in values if name in ("type", "op", "event")}
    answers = told | {value for name, value in values if name == "result"}
    all_values = {value for _, value in values}
    beat = bool({"heartbeat", "keep_alive"} & told)
    if "phoenix" in all_values and (beat or "phx_reply" in all_values):
        return words.PHOENIX_BEAT if beat else words.PHOENIX_REPLY
    if {"pong", "heartbeat_ack"} & answers:
        return words.APP_PONG
    if beat or "ping" in told or (size <= 32 and {"hb", "ka"} & all_values):
        return words.APP_PING
    only = names[0] if len(names) == 1 else ""
    return {"ping": words.APP_PING, "pong": words.APP_PONG}.get(only, words.NOTHING)
