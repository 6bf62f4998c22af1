"""permessage-deflate (RFC 7692): messages inflated, counted where they cannot be, and bombs left alone."""

from __future__ import annotations

import zlib

import pytest

from analyzer import analyze
from analyzer.protocols.websocket import inflate
from analyzer.protocols.websocket.handshake import Deflate, read_extensions
from analyzer.protocols.websocket.inflate import BombError, Inflater
from tests.property.harness import Result, run
from tests.websocket import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Deflater,
    frame,
    frames,
    messages,
    of_client,
    upgraded,
)

pytestmark = pytest.mark.usefixtures("compiled")

DEFLATE = b"permessage-deflate"
JSON = b'{"type": "update", "values": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}'


def told(result: Result) -> list[tuple[object, ...]]:
    return messages(result, "compressed", "len", "utf8_ok", "complete")


@pytest.mark.parametrize(
    ("extensions", "how"),
    [
        (DEFLATE, {}),
        (DEFLATE + b"; server_no_context_takeover; client_no_context_takeover", {"takeover": False}),
        (DEFLATE + b"; server_max_window_bits=10;client_max_window_bits = 10", {"bits": 10}),
        (DEFLATE + b'; server_max_window_bits="9"; client_max_window_bits=8', {"bits": 9}),
    ],
)
def test_messages_are_inflated_both_ways(extensions: bytes, how: dict[str, int]) -> None:
    client, server = Deflater(**how), Deflater(**how)  # type: ignore[arg-type]
    talk = upgraded(extensions).wait("1s")
    for _ in range(3):
        talk.orig(of_client(TEXT, client.message(JSON), rsv=4)).resp(frame(TEXT, server.message(JSON * 50), rsv=4))
    result = run(talk)
    assert told(result) == [(True, len(JSON), True, True), (True, 50 * len(JSON), True, True)] * 3
    wire = messages(result, "wire_len")
    assert (wire[2] < wire[0]) == ("takeover" not in how), "the second message refers to the first"


def test_uncompressed_messages_may_come_between() -> None:
    server = Deflater()
    talk = upgraded(DEFLATE).resp(frame(TEXT, server.message(JSON), rsv=4), at="2s").resp(frame(TEXT, b"plain"))
    result = run(talk.resp(frame(BINARY, server.message(JSON), rsv=4)))
    assert told(result) == [(True, 61, True, True), (False, 5, True, True), (True, 61, None, True)]


def test_a_compressed_message_in_pieces() -> None:
    whole = Deflater().message("grüße ".encode() * 40)
    talk = upgraded(DEFLATE).orig(of_client(TEXT, whole[:3], rsv=4, fin=False), at="2s").orig(of_client(PING))
    for byte in whole[3:]:
        talk.orig(of_client(CONTINUATION, bytes([byte]), fin=False))
    result = run(talk.orig(of_client(CONTINUATION, b"")))
    assert told(result) == [(True, 40 * 8, True, True)]


def test_text_that_inflates_to_no_utf8() -> None:
    result = run(upgraded(DEFLATE).orig(of_client(TEXT, Deflater().message(b"a\xffb"), rsv=4), at="2s"))
    assert told(result) == [(True, 3, False, True)]
    assert frames(result, "error") == ["invalid UTF-8"]


def test_what_is_no_deflate() -> None:
    talk = upgraded(DEFLATE).orig(of_client(TEXT, b"\xff" * 20, rsv=4), at="2s")
    result = run(talk.orig(of_client(TEXT, Deflater().message(JSON), rsv=4)))
    assert told(result) == [(True, None, None, True)] * 2, "without its window the second cannot be inflated either"
    assert result.anomalies["websocket.bad_deflate"] == 1


def test_a_hole_takes_the_window_with_it() -> None:
    server = Deflater()
    one, two = (frame(TEXT, server.message(JSON * 40), rsv=4) for _ in range(2))
    talk = upgraded(DEFLATE).resp(one[:20], at="2s").resp_drop(20).resp(one[40:]).orig_ack().resp(two).orig_ack()
    result = run(talk.resp(frame(TEXT, b"plain"), at="4s"))
    assert told(result) == [(True, None, None, False), (True, None, None, True), (False, 5, True, True)]


def test_without_a_window_to_keep_only_the_torn_message_is_lost() -> None:
    server = Deflater(takeover=False)
    one, two = (frame(TEXT, server.message(JSON * 40), rsv=4) for _ in range(2))
    talk = upgraded(DEFLATE + b"; server_no_context_takeover").resp(one[:20], at="2s").resp_drop(20).resp(one[40:])
    result = run(talk.orig_ack().resp(two).orig_ack(at="4s"))
    assert told(result) == [(True, None, None, False), (True, 40 * 61, True, True)]


def test_a_bomb_is_counted_not_inflated() -> None:
    bomb = Deflater().message(bytes(32 << 20))
    talk = upgraded(DEFLATE).orig(of_client(BINARY, bomb, rsv=4), at="2s").orig(of_client(BINARY, b"after", rsv=4))
    result = run(talk)
    assert told(result) == [(True, None, None, True)] * 2
    assert result.anomalies["websocket.inflate_bomb"] == 1
    assert messages(result, "wire_len") == [len(bomb), 5]


def test_an_inflater_keeps_next_to_nothing() -> None:
    engine = Inflater(Deflate())
    with pytest.raises(BombError):
        engine.take(Deflater().message(bytes(64 << 20)), text=True)
    assert engine.made <= inflate.FREE_BYTES + inflate.RATIO * engine.taken + (64 << 10)
    assert len(engine.head) == 128


def test_a_last_block_in_the_middle() -> None:
    """RFC 7692 section 7.2.3.5: a block with BFINAL, then an empty one."""
    final = zlib.compressobj(wbits=-15)
    payload = final.compress(b"Hello") + final.flush() + b"\0"
    result = run(upgraded(DEFLATE).orig(of_client(TEXT, payload, rsv=4), at="2s"))
    assert told(result) == [(True, 5, True, True)]


def test_output_of_exactly_one_step() -> None:
    for n in (65535, 65536, 65537, 131072):
        result = run(upgraded(DEFLATE).orig(of_client(TEXT, Deflater().message(b"z" * n), rsv=4), at="2s"))
        assert told(result) == [(True, n, True, True)]


def test_extensions_as_they_are_written() -> None:
    assert read_extensions(None) == (None, None, False)
    assert read_extensions(b"x-other; a=b") == (None, None, True)
    told = read_extensions(
        b"Permessage-Deflate; CLIENT_max_window_bits=12 ;server_no_context_takeover, bbf-usp-protocol"
    )
    assert told == (Deflate(12, True), Deflate(15, False), True)
    assert read_extensions(b"permessage-deflate; client_max_window_bits=99999")[0] == Deflate(15)


def test_a_preview_only_on_request(tmp_path: object) -> None:
    path = tmp_path / "a.pcap"  # type: ignore[operator]
    server = Deflater()
    talk = upgraded(DEFLATE).resp(frame(TEXT, server.message(b"\x1b[2Jhi"), rsv=4), at="2s")
    talk.resp(frame(BINARY, b"\x00\xffA")).resp(frame(TEXT, "ä".encode() * 100)).resp(frame(TEXT, b""))
    path.write_bytes(talk.pcap())
    assert analyze(path).websocket_messages.payload.isna().all()
    shown = list(analyze(path, payload=True).websocket_messages.payload)
    assert shown == ["\\x1b[2Jhi", "\\x00\\xffA", "ä" * 64 + "…", ""]
