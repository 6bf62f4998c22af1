"""WebSocket against wsproto on generated connections; what must not matter; and bytes that are nothing at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.tables.schema import problems
from tests.property.harness import Result, run
from tests.property.traces import cuts, plain, shuffled
from tests.property.websocket_streams import Conversation, broken_bytes, conversations
from tests.talk import Talk
from tests.websocket import frame, frames, messages, upgraded

pytestmark = pytest.mark.usefixtures("compiled")

WHEN = ("ts", "frame", "rtt_s", "first_ts", "last_ts")  # what segmentation does change
TABLES = ("websocket_frames", "websocket_messages")


def said(result: Result) -> list[list[dict[str, object]]]:
    """Return all rows without their times."""
    return [sorted(plain(result.rows(name), *WHEN), key=str) for name in TABLES]


@given(conversations())
def test_we_read_what_wsproto_reads(made: Conversation) -> None:
    result = run(made.talk())
    assert sorted(messages(result, "dir", "kind", "len")) == sorted(made.messages)
    assert all(utf8 for kind, utf8 in messages(result, "kind", "utf8_ok") if kind == "text")
    assert all(messages(result, "complete"))
    assert frames(result, "error") == [None] * len(frames(result, "error"))
    control = [row for row in result.rows("websocket_frames") if row["opcode"] in ("ping", "pong", "close")]
    ours = [(row["dir"], row["opcode"], row["close_code"] or row["payload_len"]) for row in control]
    theirs = [(way, what, len(value) if isinstance(value, bytes) else value) for way, what, value in made.controls]
    assert ours == theirs
    pongs = sum(what == "pong" for _, what, _ in made.controls)
    assert [row["unsolicited"] for row in control if row["opcode"] == "pong"] == [False] * pongs
    assert [row["websocket_accepted"] for row in result.rows("http_requests")] == [True]


@given(conversations(), st.lists(st.integers(0, 10_000), max_size=6), st.booleans(), cuts())
def test_segments_copies_and_batches_do_not_matter(
    made: Conversation, places: list[int], again: bool, where: list[int]
) -> None:
    once = run(made.talk())
    talk = made.talk(tuple(places), again=again)
    cut = run(talk)
    assert said(cut) == said(once)
    assert run(talk, where).fingerprints() == cut.fingerprints()


@given(conversations(), st.lists(st.integers(0, 10_000), max_size=6), st.randoms(use_true_random=False))
def test_reordering_does_not_matter(made: Conversation, places: list[int], rng: random.Random) -> None:
    assert said(run(shuffled(made.talk(tuple(places)), rng))) == said(run(made.talk()))


@given(broken_bytes(), broken_bytes(), st.sampled_from([b"", b"permessage-deflate", b"x-unknown"]), cuts())
def test_broken_frames_never_raise(client: bytes, server: bytes, extensions: bytes, where: list[int]) -> None:
    talk = upgraded(extensions)
    if client:
        talk.orig(client)
    if server:
        talk.resp(server)
    talk.orig_drop(3).resp(frame(1, b"after") * 3).orig(server or b"x").resp_ack().orig_fin().resp_fin()
    result = run(talk)
    for name in TABLES:
        assert problems(name, result.tables[name]) == []
    rows = result.rows("websocket_frames")
    assert sorted(row["index"] for row in rows) == list(range(len(rows)))
    ids = [row["message_id"] for row in result.rows("websocket_messages")]
    assert sorted(ids) == list(range(len(ids)))
    known = {row["index"]: row for row in rows}
    for row in rows:
        if row["pong_of"] is not None:
            ping = known[row["pong_of"]]
            assert (ping["opcode"], ping["payload_len"]) == ("ping", row["payload_len"])
            assert ping["dir"] != row["dir"] and ping["index"] < row["index"]
    assert run(talk, where).fingerprints() == result.fingerprints()


@given(conversations(), st.integers(0, 10_000), st.integers(1, 300))
def test_bytes_that_are_missing_only_cost_what_they_touch(made: Conversation, where: int, size: int) -> None:
    """A hole anywhere: what was read before it stays, nothing is invented, later whole segments count again."""
    client = b"".join(data for from_client, data in made.chunks[2:] if from_client)
    talk = Talk().handshake().orig(made.chunks[0][1]).resp(made.chunks[1][1])
    at = where % (len(client) + 1)
    if client[:at]:
        talk.orig(client[:at])
    talk.orig_drop(size).resp_ack()
    if client[at + size :]:
        talk.orig(client[at + size :]).resp_ack()
    result = run(talk)
    whole = run(Talk().handshake().orig(made.chunks[0][1]).resp(made.chunks[1][1]).orig(client or b"\x89\x80mask"))
    before = frames(whole, "opcode", "payload_len")
    ours = frames(result, "opcode", "payload_len")
    reached = 0
    while reached < min(len(before), len(ours)) and before[reached] == ours[reached]:
        reached += 1
    seen = sum(length for _, length in before[:reached])
    assert seen <= len(client)
    assert len(ours) <= len(before) + 1
