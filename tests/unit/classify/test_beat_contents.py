"""What comes by a timer and can be read: a heartbeat if it says nothing new, else data that ticks."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.protocols.said import HEAD, LONGEST, listen
from tests.messages import C, S
from tests.property.harness import run
from tests.talk import Talk
from tests.unit.classify.test_beat_names import (
    CLIENT,
    SERVER,
    UPGRADE,
    Beating,
    Steps,
    Tls,
    contexts,
    encrypted,
    series,
)
from tests.websocket import BINARY, TEXT, Deflater, frame, upgraded

pytestmark = pytest.mark.usefixtures("compiled")

N = 12  # beats
Say = Callable[[int], bytes]
R = random.Random(17)
NOISE = [R.randbytes(48) for _ in range(2 * N)]
PRICES = [f"{R.uniform(20, 90):.3f}".encode() for _ in range(N)]


def ticking(beat: Say, answer: Say | None = None, *, before: Talk | None = None, way: str = S) -> Talk:
    """Return a conversation in which `way` says beat(0), beat(1), ... by the clock, and the other side its answers."""
    talk = Talk().handshake().orig(b"\x01hello", at=0.5).resp(b"\x02welcome").orig_ack() if before is None else before
    for k in range(N):
        first, second = (talk.orig, talk.resp) if way == C else (talk.resp, talk.orig)
        first(beat(k), at=2 + 1.5 * k)
        if answer is None:
            (talk.resp_ack if way == C else talk.orig_ack)()
        else:
            second(answer(k), at=2.02 + 1.5 * k)
            (talk.orig_ack if way == C else talk.resp_ack)()
    return talk


def inferred(talk: Talk) -> int:
    result = run(talk, range(0, 90, 4))
    assert result.fingerprints() == run(talk).fingerprints()
    return len([row for row in result.rows("heartbeat_series") if row["method"] == "inferred"])


# ------------------------------------------------------------------------------------------------ of no known protocol
def be(k: int) -> bytes:
    return k.to_bytes(4, "big")


BEATS: dict[str, tuple[Say, Say | None]] = {
    "the same, one way": (lambda k: b"STATUS OK\n", None),
    "the same, binary, one way": (lambda k: b"\x00\x02\x07\x07", None),
    "the same, answered": (lambda k: b"\xff\x00KEEP", lambda k: b"\xff\x01"),
    "a command and its answer": (lambda k: b"NOOP\r\n", lambda k: b"250 2.0.0 Ok\r\n"),
    "a counter in network order": (lambda k: b"\x00\x04HB" + be(k), lambda k: b"\x00\x04HA" + be(k)),
    "a counter in the other order": (lambda k: k.to_bytes(4, "little") + b"\x00\x11", lambda k: b"\x00\x12"),
    "a counter that gets a digit more": (lambda k: b"seq %d\n" % (k + 4), lambda k: b"got %d\n" % (k + 4)),
    "a number that counts, one way": (lambda k: b"tick %d\n" % (k + 5), None),
    "a counter in binary, one way": (lambda k: b"\x00\x04HB" + be(k), None),
    "a counter in a byte that looks like text, one way": (lambda k: b"HB" + bytes([60 + k]), None),
    "a counter that begins anew, one way": (lambda k: b"HB\x01" + bytes([(250 + k) & 255]), None),
    "a counter and the time, one way": (
        lambda k: b"\x00\x0cHB" + be(k) + int(1795837852084 + 1500 * k + k % 7).to_bytes(8, "big"), None,
    ),
    "a counter and the time in text, one way": (lambda k: b"HB %d %.3f\n" % (k, 1795837852 + 1.5 * k), None),
    "the time": (lambda k: b"at %d\n" % (1795837852084 + 1500 * k + k % 7), lambda k: b"ok\n"),
    "random bytes that come back": (lambda k: b"\x09" + NOISE[k][:4], lambda k: b"\x0a" + NOISE[k][:4]),
    "a word that says so, one way": (lambda k: b"HEARTBEAT load=%s\n" % PRICES[k], None),
    "a word that says so": (lambda k: b"ping %s\n" % PRICES[k], lambda k: b"pong %s\n" % PRICES[-k]),
    "ciphertext, one way": (lambda k: b"\x00\x20" + NOISE[k][:32], None),
    "ciphertext, answered": (lambda k: b"\x07\x14" + NOISE[k][:20], lambda k: b"\x07\x18" + NOISE[k + N][:24]),
    "ciphertext behind a long header": (lambda k: b"\x01" * 30 + NOISE[k][:24], None),
    "a counter that looks like letters": (lambda k: b"HB\0\0\0" + bytes([66 + k]), lambda k: b"HA\0\0\0\x01"),
    "a few bytes of ciphertext": (lambda k: NOISE[k][:9], lambda k: NOISE[k + N][:11]),
}  # fmt: skip

TICKS: dict[str, tuple[Say, Say | None]] = {
    "a number that grows by what was measured": (lambda k: b"sent %d\n" % (1000 * k + int(PRICES[k][:2]) * 90), None),
    "a counter and a reading in binary": (lambda k: b"\x01" + be(k) + b"\x02" + NOISE[k][:2], None),
    "prices": (lambda k: b"EURUSD %s %s %d\n" % (PRICES[k], PRICES[-k], 1700000000 + k), None),
    "readings that are acknowledged": (lambda k: b"temp %s\n" % PRICES[k], lambda k: b"OK\n"),
    "readings that only rise, unevenly": (
        lambda k: b"get bytes\n", lambda k: b"bytes %d\n" % (100_000 + k * 1000 + int(PRICES[k][:2]) * 37),
    ),
    "readings that are asked for": (lambda k: b"get temp\n", lambda k: PRICES[k] + b"\n"),
    "JSON, a counter and a price": (
        lambda k: b'{"t":%d,"px":%s}' % (1000 + k, PRICES[k]), lambda k: b'{"ok":true}',
    ),
    "a reading in binary": (lambda k: b"\x00\x04\x01\x01" + NOISE[k][:2], None),
    "shipping is no ping": (lambda k: b"shipping %s\n" % PRICES[k], None),
    "long lines that differ at their end, acknowledged": (
        lambda k: b"a sensor in the kitchen tells us: " + PRICES[k], lambda k: b"thank you\n",
    ),
    "long lines that differ at their end": (lambda k: b"a sensor in the kitchen tells us: " + PRICES[k], None),
}  # fmt: skip


@pytest.mark.parametrize("way", [C, S])
@pytest.mark.parametrize("name", BEATS)
def test_beats_of_no_known_protocol(name: str, way: str) -> None:
    assert inferred(ticking(*BEATS[name], way=way)) == 1


@pytest.mark.parametrize("way", [C, S])
@pytest.mark.parametrize("name", TICKS)
def test_ticks_of_no_known_protocol(name: str, way: str) -> None:
    assert inferred(ticking(*TICKS[name], way=way)) == 0


def test_a_reading_that_stays_for_a_while_is_none() -> None:
    assert inferred(ticking(lambda k: b"temp 20.1\n" if k < N // 2 else b"temp 20.2\n")) == 0


def test_other_messages_of_the_same_size_may_come_between() -> None:
    assert inferred(ticking(lambda k: b"\x05work" if k in (4, 9) else b"\x07beat")) == 1


# ------------------------------------------------------------------------------------------------ HTTP/1
def asked(head: bytes = b"") -> Talk:
    talk = Talk().handshake().orig(b"GET /all HTTP/1.1\r\nHost: a\r\n\r\n", at=1)
    return talk.resp(b"HTTP/1.1 200 OK\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n").orig_ack()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_chunks_of_a_body_are_data() -> None:
    upload = (
        Talk().handshake().orig(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", at=1).resp_ack()
    )
    assert inferred(ticking(lambda k: chunk(NOISE[k][:32]), before=upload, way=C)) == 0
    assert inferred(ticking(lambda k: chunk(b"line %s\n" % PRICES[k]), before=asked())) == 0


def test_events_that_bring_something_are_data() -> None:
    events = asked(b"Content-Type: text/event-stream\r\n")
    assert inferred(ticking(lambda k: chunk(b'data: {"temp":%s}\n\n' % PRICES[k]), before=events)) == 0


def test_a_blank_now_and_then_keeps_an_answer_alive() -> None:
    assert inferred(ticking(lambda k: chunk(b" "), before=asked())) == 1
    said = ticking(lambda k: chunk(b'{"type":"HEARTBEAT","time":"%s"}\n' % PRICES[k]), before=asked())
    assert inferred(said) == 1


def reply(body: bytes, when: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 03:51:%02d GMT\r\nContent-Length: %d\r\n\r\n%s" % (
        when, len(body), body,
    )  # fmt: skip


@pytest.mark.parametrize(("body", "found"), [(lambda k: b"ok", 1), (lambda k: PRICES[k], 0)])
def test_what_is_asked_for_is_a_heartbeat_only_if_the_answer_is_no_news(body: Say, found: int) -> None:
    before = Talk().handshake()
    assert inferred(ticking(
        lambda k: b"GET /it HTTP/1.1\r\nHost: a\r\n\r\n", lambda k: reply(body(k), k), before=before, way=C,
    )) == found  # fmt: skip


# ------------------------------------------------------------------------------------------------ WebSocket
def masked(opcode: int, payload: bytes, k: int) -> bytes:
    return frame(opcode, payload, mask=NOISE[-k][:4])


def test_messages_that_bring_something_are_data() -> None:
    assert inferred(ticking(lambda k: frame(TEXT, b'{"price":%s}' % PRICES[k]), before=upgraded())) == 0
    assert inferred(ticking(lambda k: masked(TEXT, b'{"price":%s}' % PRICES[k], k), before=upgraded(), way=C)) == 0


def test_messages_that_repeat_themselves_are_beats_whatever_masks_them() -> None:
    say = {C: lambda k: masked(TEXT, b'{"op":1}', k), S: lambda k: frame(TEXT, b'{"op":11}')}
    assert inferred(ticking(say[C], say[S], before=upgraded(), way=C)) == 1
    assert inferred(ticking(say[S], say[C], before=upgraded())) == 1
    assert inferred(ticking(lambda k: b"\x82\xfe\x00\x80" + _long(NOISE[-k][:4]), before=upgraded(), way=C)) == 1


def _long(key: bytes) -> bytes:
    """Return a masking key and 128 bytes behind it."""
    return key + bytes(b"z"[0] ^ key[k % 4] for k in range(128))


def test_a_sequence_number_that_is_answered() -> None:
    """Discord's heartbeat carries the number of the last event."""
    asks = lambda k: masked(TEXT, b'{"op":1,"d":%d}' % (250 + 3 * k), k)  # noqa: E731
    assert inferred(ticking(asks, lambda k: frame(TEXT, b'{"op":11}'), before=upgraded(), way=C)) == 1


def test_compressed_messages_that_differ_are_data() -> None:
    deflater = Deflater()
    wire = [deflater.message(b'{"symbol":"EURUSD","price":%s}' % price) for price in PRICES]
    ticks = ticking(lambda k: frame(TEXT, wire[k], rsv=4), before=upgraded(b"permessage-deflate"))
    assert inferred(ticks) == 0


def test_ciphertext_in_binary_messages_is_judged_by_timing() -> None:
    assert inferred(ticking(lambda k: frame(BINARY, NOISE[k][:28]), before=upgraded())) == 1


# ------------------------------------------------------------------------------------------------ TLS
OPEN: Steps = [(C, b"\x01hello"), (S, b"\x02welcome")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("before", "beat", "found"),
    [
        (OPEN, lambda k: b"tick %s\n" % PRICES[k], 0),
        (OPEN, lambda k: b"\x07\x07\x01", 1),
        (UPGRADE, lambda k: frame(TEXT, b'{"price":%s}' % PRICES[k]), 0),
        (UPGRADE, lambda k: frame(TEXT, b'{"op":11}'), 1),
    ],
    ids=["ticks", "the same", "messages that differ", "messages that do not"],
)
def test_with_keys_the_content_counts(
    tmp_path: Path, before: Steps, beat: Say, found: int, version: ssl.TLSVersion
) -> None:  # fmt: skip
    talk, keys = encrypted(
        tmp_path, Beating("", "", before, (S, b"")), version, period=1.5, beats=[beat(k) for k in range(10)]
    )
    assert len(series(talk, keys)) == found
    assert len(series(talk)) == 1


@pytest.mark.parametrize(("body", "found"), [(lambda k: PRICES[k], 0), (lambda k: b"all ok", 1)])
def test_a_message_in_two_records_is_one(tmp_path: Path, body: Say, found: int) -> None:
    """As many servers write head and body."""
    client, server, log = contexts(tmp_path, ssl.TLSVersion.TLSv1_3, None)
    tls, talk, told = Tls(client, server), Talk().handshake(), 0

    def carry(at: float) -> None:
        nonlocal told
        for number, (direction, chunk) in enumerate(tls.chunks[told:]):
            (talk.orig if direction == CLIENT else talk.resp)(chunk, at=at + number / 1000)
        told = len(tls.chunks)

    carry(0.1)
    for k in range(N):
        tls.say(CLIENT, b"price?\r\n")
        carry(4 + 1.5 * k)
        tls.say(SERVER, b"reading of the thermometer: \r\n")
        tls.say(SERVER, body(k))
        carry(4.02 + 1.5 * k)
        talk.orig_ack()
    assert len(series(talk, log.read_bytes())) == found


# ------------------------------------------------------------------------------------------------ what is kept
def heard(pieces: list[bytes]) -> tuple[bytes, int, int]:
    row = SimpleNamespace(head=np.zeros(HEAD, np.uint8), rest=0, heard=0)
    for piece in pieces:
        listen(np.frombuffer(piece + b"\0", np.uint8), 0, len(piece), row)
    return row.head.tobytes(), int(row.rest), int(row.heard)


@given(st.binary(max_size=2 * LONGEST), st.lists(st.integers(0, 2 * LONGEST), max_size=4))
def test_pieces_do_not_matter(content: bytes, cuts: list[int]) -> None:
    content = bytes(b & 0x7F for b in content).replace(b"\n", b" ")  # no masked frame, and no line that may be a date
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    assert heard([content[a:b] for a, b in pairwise(places)]) == heard([content])


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_masks_do_not_matter(payload: bytes, one: bytes, two: bytes) -> None:
    assert heard([frame(BINARY, payload, mask=one)]) == heard([frame(BINARY, payload, mask=two)])


@given(st.binary(min_size=1, max_size=LONGEST), st.integers(0, LONGEST), st.integers(1, 255))
def test_one_other_byte_is_another_message(content: bytes, at: int, change: int) -> None:
    content = bytes(b & 0x7F for b in content).replace(b"\n", b" ")
    at %= len(content)
    other = content[:at] + bytes([content[at] ^ change & 0x7F or 1]) + content[at + 1 :]
    other = other.replace(b"\n", b"\t")
    assert (heard([content]) == heard([other])) == (content == other)


def test_the_date_is_left_out() -> None:
    before, after = b"HTTP/1.1 200 OK\r\n", b"Server: a\r\n\r\nok"
    said = {heard([before + b"Date: %s\r\n" % when + after]) for when in (b"Sat, 28 Nov", b"Sun, 29 November")}
    assert said == {heard([before + after])}
    assert len(before) < HEAD
