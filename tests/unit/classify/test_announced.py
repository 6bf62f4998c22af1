"""Close frames and GOAWAY in words: who announced the end, and with which reason."""

from __future__ import annotations

import pytest

from tests.http2 import H2, goaway
from tests.property.harness import run
from tests.talk import Talk
from tests.websocket import CLOSE, TEXT, code, frame, of_client, upgraded

pytestmark = pytest.mark.usefixtures("compiled")


def told(talk: Talk) -> str:
    """Return what stands behind the first sentence of the explanation."""
    explanation: str = run(talk).close["explanation"]
    return explanation.partition(". ")[2]


def ended(talk: Talk) -> Talk:
    return talk.resp_fin().orig_ack().orig_fin().resp_ack()


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (code(1000), "1000 (normal closure)"),
        (code(1001, "bye"), "1001 (going away)"),
        (code(1011), "1011 (internal error)"),
        (code(3000), "3000 (a library's own)"),
        (code(4001), "4001 (an application's own)"),
        (code(999), "999 (reserved)"),
        (code(5000), "5000 (reserved)"),
        (b"", "1005 (no code)"),
    ],
)
def test_the_first_close_frame_is_told_by_its_name(payload: bytes, words: str) -> None:
    talk = upgraded().resp(frame(CLOSE, payload), at="5s").orig(of_client(CLOSE, payload))
    assert told(ended(talk)) == f"The server sent the first close frame, {words}."


def test_another_code_in_the_answer() -> None:
    talk = upgraded().orig(of_client(CLOSE, code(1000)), at="5s").resp(frame(CLOSE, code(1002)))
    first = "The client sent the first close frame, 1000 (normal closure)"
    assert told(ended(talk)) == f"{first}; the server answered 1002 (protocol error)."


def test_a_close_frame_without_an_answer() -> None:
    talk = upgraded().orig(of_client(CLOSE, code(4001)), at="2s")
    first = "The client sent the first close frame, 4001 (an application's own)"
    assert told(talk) == f"{first}."  # the server may still answer
    assert told(talk.resp_rst(at="3s")) == f"{first}; the server sent none."


def test_an_end_without_a_close_frame() -> None:
    none = "Neither side sent a close frame: 1006 (abnormal closure)."
    assert told(ended(upgraded())) == none and told(upgraded().resp_rst(at="5s")) == none


def test_where_something_is_missing_no_close_frame_is_denied() -> None:
    assert told(upgraded()) == ""  # still open
    lost = upgraded().resp(frame(TEXT, b"lost"), unseen=True).orig_ack().resp(frame(TEXT, b"x")).orig_ack()
    assert told(ended(lost)) == ""
    last = upgraded().resp(frame(CLOSE, code(1000)), unseen=True).orig_ack().orig_fin().resp_ack()
    assert told(last.resp_fin().orig_ack()) == ""


@pytest.mark.parametrize(("error", "name"), [(0, "NO_ERROR"), (11, "ENHANCE_YOUR_CALM"), (0x99, "0x99")])
def test_goaway(error: int, name: str) -> None:
    assert told(H2().begin().ask(1).answer(1).resp(goaway(1, error)).finish()) == f"The server said GOAWAY ({name})."


def test_goaway_of_both_sides() -> None:
    """Where one of them was in error its reason is told, whoever closed."""
    talk = H2().begin().ask(1).answer(1).resp(goaway(1)).orig(goaway(0)).finish()
    assert told(talk) == "Both sides said GOAWAY (NO_ERROR)."
    talk = H2().begin().ask(1).answer(1).resp(goaway(1)).orig(goaway(0, 1)).finish()
    assert told(talk) == "The client said GOAWAY (PROTOCOL_ERROR)."
