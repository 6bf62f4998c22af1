"""HTTP/1: whatever the cuts, the same rows; what h11 reads, we read; bytes of any kind are survived."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.property.harness import Result, Row, run
from tests.property.http_streams import Conversation, Turn, by_h11, conversations
from tests.property.traces import shuffled
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

WHEN = ("request_ts", "request_end_ts", "response_ts", "response_end_ts", "request_frame", "response_frame", "ttfb_s",
        "idle_before_s", "hol_wait_s")  # fmt: skip


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes into pieces of these lengths, over and over."""
    out, k = [], 0
    while data:
        size = cuts[k % len(cuts)] if cuts else len(data)
        out.append(data[:size])
        data = data[size:]
        k += 1
    return out


def spoken(made: Conversation, cuts: list[int] = [], *, pipelined: bool = False, twice: bool = False) -> Talk:  # noqa: B006
    """Say the conversation in segments cut anywhere; `twice` sends each segment again."""
    talk = Talk().handshake()

    def say(who: str, data: bytes) -> None:
        for piece in pieces(data, cuts):
            getattr(talk, who)(piece)
            if twice:
                getattr(talk, f"{who}_retransmit")(at=(talk.packets[-1][0] - talk._t0) / 1e9 + 0.3)

    if pipelined:
        say("orig", b"".join(turn.request for turn in made.turns))
        say("resp", b"".join(turn.response for turn in made.turns))
    else:
        for turn in made.turns:
            say("orig", turn.request)
            say("resp", turn.response)
    talk.resp_fin().orig_ack().orig_fin().resp_ack()
    return talk


def rows(result: Result, *leave_out: str) -> list[Row]:
    found = sorted(result.rows("http_requests"), key=lambda row: int(row["index"]))
    return [{k: v for k, v in row.items() if k not in leave_out} for row in found]


@given(conversations())
def test_h11_reads_the_same(made: Conversation) -> None:
    ours = rows(run(spoken(made)))
    theirs = by_h11(made)
    assert [{key: row[key] for key in theirs[0]} for row in ours] == theirs
    assert all(row["complete"] for row in ours)


@given(conversations(), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_segmentation_does_not_matter(made: Conversation, cuts: list[int]) -> None:
    assert rows(run(spoken(made, cuts)), *WHEN) == rows(run(spoken(made)), *WHEN)


@given(conversations(), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.lists(st.integers(0, 300), max_size=9))
def test_batches_do_not_matter(made: Conversation, cuts: list[int], where: list[int]) -> None:
    talk = spoken(made, cuts)
    assert run(talk, where).fingerprints() == run(talk).fingerprints()


@given(conversations())
def test_one_byte_a_segment(made: Conversation) -> None:
    assert rows(run(spoken(made, [1])), *WHEN) == rows(run(spoken(made)), *WHEN)


@given(conversations(), st.lists(st.integers(20, 200), min_size=1, max_size=4))
def test_duplicates_do_not_matter(made: Conversation, cuts: list[int]) -> None:
    assert rows(run(spoken(made, cuts, twice=True)), *WHEN) == rows(run(spoken(made)), *WHEN)


@given(conversations(), st.lists(st.integers(20, 200), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_reordering_does_not_matter(made: Conversation, cuts: list[int], rng: random.Random) -> None:
    assert rows(run(shuffled(spoken(made, cuts), rng)), *WHEN) == rows(run(spoken(made)), *WHEN)


@given(st.sampled_from([b"", b"H", b"HTTP/", b"<p>"]), st.binary(min_size=1, max_size=60), st.lists(st.integers(1, 9)))
def test_an_answer_of_http_0_9_is_all_of_its_bytes(first: bytes, more: bytes, cuts: list[int]) -> None:
    body = first + more
    assume(not body.startswith(b"HTTP/1."))
    talk = spoken(Conversation([Turn(b"GET /x\r\n", body)]), cuts)
    (row,) = rows(run(talk))
    assert (row["version"], row["target"], row["response_bytes"], row["complete"]) == ("0.9", "/x", len(body), True)
    assert run(talk, [5, 6, 8]).fingerprints() == run(talk).fingerprints()


@given(conversations())
def test_pipelining_changes_only_who_waits(made: Conversation) -> None:
    plain, piped = rows(run(spoken(made)), *WHEN, "pipelined"), run(spoken(made, pipelined=True))
    assert rows(piped, *WHEN, "pipelined") == plain
    assert [row["pipelined"] for row in rows(piped)] == [k > 0 for k in range(len(plain))]


@given(conversations(), st.integers(0, 2000), st.integers(1, 400))
def test_a_hole_is_survived_and_told(made: Conversation, at: int, size: int) -> None:
    answers = b"".join(turn.response for turn in made.turns)
    talk = Talk().handshake().orig(b"".join(turn.request for turn in made.turns))
    at %= len(answers)
    talk.resp(answers[:at]) if at else talk
    talk.resp(answers[at : at + size], unseen=True)
    if answers[at + size :]:
        talk.resp(answers[at + size :])
    found = run(talk.orig_ack().resp_fin().orig_ack().orig_fin().resp_ack())
    assert [row["method"] for row in rows(found)][: len(made.turns)] == [row["method"] for row in by_h11(made)]
    assert len(rows(found)) <= 2 * len(made.turns) + 1


_LINES = """GET / HTTP/1.1|HTTP/1.1 200 OK|HTTP/1.1 101 S|CONNECT a:1 HTTP/1.1|PRI * HTTP/2.0|Content-Length: 5
Content-Length: -1|Transfer-Encoding: chunked|ffffffffffffffffff|0| fold|Connection: ,,close,|Connection: upgrade
Keep-Alive: timeout=99999999999999999999, max=|Upgrade: websocket|:|Host|"""
LINES = [line.encode() + b"\r\n" for line in _LINES.replace("\n", "|").split("|")]
ODD = st.one_of(st.binary(max_size=200), st.sampled_from([*LINES, b"\n", b"0\r\n\r\n", b"a" * 9000]))


@given(st.lists(st.tuples(st.booleans(), ODD), max_size=24), st.lists(st.integers(1, 90), max_size=4))
def test_any_bytes_are_survived(said: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    talk = Talk().handshake()
    for client, data in [(True, b"GET / HTTP/1.1\r\n"), *said]:
        for piece in pieces(data, cuts):
            (talk.orig if client else talk.resp)(piece)
    whole = run(talk)
    assert run(talk, [5, 9]).fingerprints() == whole.fingerprints()
    for row in rows(whole):
        assert row["request_bytes"] is None or row["request_bytes"] >= 0
        assert row["response_bytes"] is None or row["response_bytes"] >= 0
