"""Heartbeats of message protocols: what must not matter, and bytes that are nothing at all."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.tables.schema import problems
from tests.messages import CHATS, Chat, beats
from tests.property.harness import run
from tests.property.traces import cuts
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

CHAT = st.sampled_from(CHATS)
PLACES = st.lists(st.integers(0, 10_000), max_size=8).map(tuple)


@given(CHAT, PLACES, cuts())
def test_segments_and_batches_do_not_matter(chat: Chat, places: tuple[int, ...], where: list[int]) -> None:
    talk = chat.talk(places)
    result = run(talk)
    assert beats(result) == chat.beats()
    assert result.flow["app_protocol"] == chat.protocol
    assert run(talk, where).fingerprints() == result.fingerprints()


@pytest.mark.parametrize("chat", CHATS, ids=[f"{chat.protocol}-{len(chat.steps)}" for chat in CHATS])
def test_segments_of_one_byte(chat: Chat) -> None:
    assert beats(run(chat.talk(tuple(range(400))))) == chat.beats()


@given(CHAT, st.integers(0, 40), st.integers(1, 300), cuts())
def test_a_hole_invents_nothing(chat: Chat, place: int, size: int, where: list[int]) -> None:
    """Bytes that are missing may cost beats; there are never more than were sent."""
    whole = chat.talk()
    talk = Talk(rtt="2ms").handshake()
    for second, (who, said, *_) in enumerate(chat.steps):
        talk.wait("1s")
        if second == place % len(chat.steps):
            (talk.orig_drop if who == "c2s" else talk.resp_drop)(size)
            continue
        (talk.orig if who == "c2s" else talk.resp)(said)
    result = run(talk)
    sent = run(whole).rows("heartbeats")
    assert len(result.rows("heartbeats")) <= len(sent)
    assert run(talk, where).fingerprints() == result.fingerprints()


@given(CHAT, st.binary(max_size=400), st.binary(max_size=400), st.booleans(), cuts())
def test_noise_in_place_of_one_side(chat: Chat, noise: bytes, more: bytes, client: bool, where: list[int]) -> None:
    """One side alone proves nothing, however well it speaks."""
    talk = Talk(rtt="2ms").handshake()
    for who, said, *_ in chat.steps:
        talk.wait("1s")
        if (who == "c2s") is client:
            (talk.orig if client else talk.resp)(said)
        elif noise:
            (talk.resp if client else talk.orig)(noise)
            noise = more
    result = run(talk)
    assert not [row for row in result.rows("heartbeats") if row["method"] == "explicit"]
    assert run(talk, where).fingerprints() == result.fingerprints()


@given(CHAT, st.randoms(use_true_random=False), PLACES, st.booleans(), cuts())
def test_broken_messages_never_raise(
    chat: Chat, pick: Random, places: tuple[int, ...], midstream: bool, where: list[int]
) -> None:
    talk = chat.spoiled(pick).talk(places, midstream=midstream)
    result = run(talk)
    assert problems("heartbeats", result.tables["heartbeats"]) == []
    assert problems("heartbeat_series", result.tables["heartbeat_series"]) == []
    assert run(talk, where).fingerprints() == result.fingerprints()


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=60)), max_size=12), st.booleans(), cuts())
def test_noise_is_nothing(noise: list[tuple[bool, bytes]], midstream: bool, where: list[int]) -> None:
    talk = Talk() if midstream else Talk().handshake()
    for from_client, said in noise:
        (talk.orig if from_client else talk.resp)(said).wait("1.5s")
    result = run(talk)
    assert not [row for row in result.rows("heartbeats") if row["method"] == "explicit"]
    assert problems("heartbeats", result.tables["heartbeats"]) == []
    assert run(talk, where).fingerprints() == result.fingerprints()
