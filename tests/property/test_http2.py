"""HTTP/2: whatever the cuts, the same rows; what is not known is null, never wrong; bytes of any kind are survived."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.harness import Result, Row, run
from tests.property.http2_streams import Conversation, conversations
from tests.property.test_http1 import pieces
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

WHEN = ("request_ts", "request_end_ts", "response_ts", "response_end_ts", "request_frame", "response_frame", "ttfb_s",
        "idle_before_s")  # fmt: skip
OF_FRAMES = ("frame", "ts", "ping_of", "rtt_s")


def spoken(made: Conversation, cuts: list[int] = [], *, opened: bool = True) -> Talk:  # noqa: B006
    """Say the conversation in segments cut anywhere."""
    talk = Talk().handshake() if opened else Talk()
    for who, run_of in groupby(made.frames, key=lambda one: one[0]):
        for piece in pieces(b"".join(data for _, data in run_of), cuts):
            getattr(talk, who)(piece)
    return talk.resp_fin().orig_ack().orig_fin().resp_ack()


def rows(result: Result, *leave_out: str) -> list[Row]:
    found = sorted(result.rows("http_requests"), key=lambda row: int(row["index"]))
    return [{k: v for k, v in row.items() if k not in leave_out} for row in found]


def frames(result: Result) -> list[list[Row]]:
    """Return the frames of each side in order, without when they came."""
    found = result.rows("http2_frames")
    return [
        [{k: v for k, v in row.items() if k not in OF_FRAMES} for row in found if row["dir"] == side]
        for side in ("c2s", "s2c")
    ]


@given(conversations())
def test_what_was_said_is_read(made: Conversation) -> None:
    result = run(spoken(made))
    truth = made.truth
    assert [{key: row[key] for key in truth[0]} for row in rows(result)] == truth
    assert result.anomalies == {}
    pings = [row for row in result.rows("http2_frames") if row["type"] == "PING" and row["ack"]]
    assert len(pings) == sum(turn.pinged for turn in made.turns)
    assert all(row["ping_of"] is not None for row in pings)


@given(conversations(), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_segmentation_does_not_matter(made: Conversation, cuts: list[int]) -> None:
    ours, whole = run(spoken(made, cuts), records_too=True), run(spoken(made), records_too=True)
    assert rows(ours, *WHEN) == rows(whole, *WHEN)
    assert frames(ours) == frames(whole)


@given(conversations(), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.lists(st.integers(0, 300), max_size=9))
def test_batches_do_not_matter(made: Conversation, cuts: list[int], where: list[int]) -> None:
    talk = spoken(made, cuts)
    assert run(talk, where).fingerprints() == run(talk).fingerprints()


@given(conversations(3))
def test_one_byte_a_segment(made: Conversation) -> None:
    assert rows(run(spoken(made, [1])), *WHEN) == rows(run(spoken(made)), *WHEN)


def fits(row: Row, made: Conversation) -> bool:
    """True if every text of a row is the one of its stream, or null."""
    turn = made.turns[int(row["stream_id"]) // 2]
    said = {"method": turn.method, "target": turn.path, "host": "example.com", "status": turn.status}
    return all(row[key] in (None, value) for key, value in said.items())


@given(conversations(), st.lists(st.integers(20, 200), min_size=1, max_size=4), st.integers(0, 80), st.integers(1, 4))
def test_after_a_loss_nothing_is_made_up(made: Conversation, cuts: list[int], first: int, n: int) -> None:
    talk = spoken(made, cuts)
    kept = [p for k, p in enumerate(talk.packets) if not 3 + first <= k < 3 + first + n]
    for row in rows(run(kept)):
        assert int(row["stream_id"]) // 2 < len(made.turns)
        assert fits(row, made)


@given(conversations(), st.lists(st.integers(20, 200), min_size=1, max_size=4), st.integers(4, 80))
def test_joined_midstream_nothing_is_made_up(made: Conversation, cuts: list[int], first: int) -> None:
    result = run(spoken(made, cuts).packets[first:])
    for row in rows(result):
        assert fits(row, made)


@given(
    conversations(3), st.integers(0, 2000), st.binary(min_size=1, max_size=60), st.lists(st.integers(1, 90), max_size=3)
)
def test_any_bytes_are_survived(made: Conversation, place: int, junk: bytes, cuts: list[int]) -> None:
    """Bytes of the client replaced by others: rows may differ, nothing breaks, and batches do not matter."""
    client = b"".join(data for who, data in made.frames if who == "orig")
    at = 24 + place % max(len(client) - 24, 1)
    talk = Talk().handshake()
    for piece in pieces(client[:at] + junk + client[at + len(junk) :], cuts):
        talk.orig(piece)
    for who, data in made.frames:
        if who == "resp":
            talk.resp(data)
    assert run(talk, [5, 9, 20]).fingerprints() == run(talk).fingerprints()
