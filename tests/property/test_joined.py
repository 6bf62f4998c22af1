"""Captures that begin in the middle: what is left says no more than the whole, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analyzer.tables.schema import problems
from tests.messages import CHATS, Chat
from tests.property.harness import Result, run
from tests.property.traces import cuts
from tests.property.websocket_streams import Conversation, conversations
from tests.talk import Packet, Talk
from tests.websocket import frame

pytestmark = pytest.mark.usefixtures("compiled")

PLACES = st.lists(st.integers(0, 10_000), max_size=6).map(tuple)
# Says that something is not known, which is so only where the beginning is missing
UNKNOWN_SAID = {"http2.hpack_unknown", "websocket.lost", "http2.lost", "http.bare_lf"}  # the last: half a line's end


def rows(result: Result, name: str, later: int, *columns: str) -> set[tuple[object, ...]]:
    """Return columns of a table with the frame as the whole capture has it."""
    return {(row["frame"] + later, *(row[column] for column in columns)) for row in result.rows(name)}


def says_no_more(packets: list[Packet], start: int, where: list[int]) -> Result:
    """Compare what follows on `start` packets with the whole; return it."""
    whole, rest = run(packets), run(packets[start:])
    assert rest.flow["app_protocol"] in (whole.flow["app_protocol"], "unknown")
    assert {row["code"] for row in rest.rows("anomalies")} - UNKNOWN_SAID <= set(whole.anomalies)
    told = rows(rest, "websocket_frames", start, "dir", "opcode", "payload_len", "close_code", "error")
    assert told <= rows(whole, "websocket_frames", 0, "dir", "opcode", "payload_len", "close_code", "error")
    beats = [rows(result, "heartbeats", later, "protocol", "method", "dir", "size") for result, later in
             ((rest, start), (whole, 0))]  # fmt: skip
    assert {beat for beat in beats[0] if beat[2] == "explicit"} <= beats[1]
    assert run(packets[start:], where).fingerprints() == rest.fingerprints()
    return rest


@given(st.sampled_from(CHATS), st.integers(1, 40), cuts())
def test_messages(chat: Chat, start: int, where: list[int]) -> None:
    """Messages are not cut: what begins a segment like a beat, inside a text, is one to who has nothing before it."""
    packets = chat.talk().packets
    assume(packets[start:])
    says_no_more(packets, start, where)


@given(conversations(), st.integers(1, 30), cuts())
def test_websocket(made: Conversation, start: int, where: list[int]) -> None:
    """Frames in segments of their own, as programs send them: none is joined in its middle."""
    assume(all(len(chunk) <= 1448 for _, chunk in made.chunks))
    packets = made.talk(()).packets
    assume(packets[start:])
    says_no_more(packets, start, where)


@given(conversations(), st.integers(1, 30), PLACES, cuts())
def test_websocket_joined_anywhere(made: Conversation, start: int, places: tuple[int, ...], where: list[int]) -> None:
    """Bytes inside a frame may look like frames, above all if they repeat themselves: then these are told."""
    packets = made.talk(places).packets
    assume(packets[start:])
    rest = run(packets[start:])
    assert rest.flow["app_protocol"] in (run(packets).flow["app_protocol"], "unknown")
    assert run(packets[start:], where).fingerprints() == rest.fingerprints()


def spoken(steps: list[tuple[bool, bytes]], places: tuple[int, ...]) -> Talk:
    talk = Talk()
    for from_client, said in steps:
        edges = sorted({0, len(said), *(place % (len(said) or 1) for place in places)})
        for start, end in pairwise(edges):
            (talk.orig if from_client else talk.resp)(said[start:end])
        talk.wait("1.5s")
    return talk


NOT_FRAMES = st.binary(min_size=1, max_size=60) | st.builds(
    lambda kind, payload: bytes([kind, len(payload)]) + payload, st.integers(0, 255), st.binary(max_size=120)
)


@given(st.lists(st.tuples(st.booleans(), NOT_FRAMES), max_size=12), PLACES, cuts())
def test_noise_is_no_websocket(noise: list[tuple[bool, bytes]], places: tuple[int, ...], where: list[int]) -> None:
    """Bytes, and records of a type, a length and what is that long, as other protocols have them."""
    talk = spoken(noise, places)
    result = run(talk)
    assert result.rows("websocket_frames") == []
    assert run(talk, where).fingerprints() == result.fingerprints()


ANY_FRAME = st.builds(
    lambda opcode, payload, mask, fin, rsv: frame(opcode, payload, mask=mask, fin=fin, rsv=rsv),
    st.sampled_from([0, 1, 1, 2, 8, 9, 10]), st.binary(max_size=200) | st.just(b"the same"),
    st.none() | st.binary(min_size=4, max_size=4), st.sampled_from([True, True, True, False]),
    st.sampled_from([0, 0, 0, 4]),
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), ANY_FRAME | NOT_FRAMES), max_size=30), PLACES, cuts())
def test_what_is_nearly_websocket_never_raises(
    steps: list[tuple[bool, bytes]], places: tuple[int, ...], where: list[int]
) -> None:
    talk = spoken(steps, places)
    result = run(talk)
    for name in ("websocket_frames", "websocket_messages", "heartbeats"):
        assert problems(name, result.tables[name]) == []
    assert run(talk, where).fingerprints() == result.fingerprints()
