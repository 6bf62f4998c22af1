"""HTTP/2 conversations for property tests: exchanges that overlap, written by an encoder that is not ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.http2 import PREFACE, Side, data, ping, request, settings

METHODS = ("GET", "POST", "DELETE")


@dataclass(frozen=True)
class Turn:
    """An exchange: what it says, and how its header blocks and bodies are cut into frames."""

    method: str
    path: str
    asked: tuple[bytes, ...]
    status: int
    answered: tuple[bytes, ...]
    cut: int
    pad: int | None
    pinged: bool


@dataclass
class Conversation:
    """The frames of both sides in the order in which they are sent; `frames[k]` is (who, bytes)."""

    turns: list[Turn]
    frames: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        client, server = Side(), Side()
        self.say("orig", PREFACE, settings((3, 100)))
        self.say("resp", settings(), settings(ack=True))
        self.say("orig", settings(ack=True))
        for k, turn in enumerate(self.turns):
            stream = 2 * k + 1
            fields = request(turn.path, turn.method, ("x-more", turn.path))
            self.say("orig", client.headers(stream, fields, end=not turn.asked, cut=turn.cut))
            self.bodies("orig", stream, turn.asked, turn.pad)
            if turn.pinged:
                self.say("orig", ping(bytes([k] * 8)))
                self.say("resp", ping(bytes([k] * 8), ack=True))
        for k, turn in reversed(list(enumerate(self.turns))):
            stream = 2 * k + 1
            fields = [(":status", str(turn.status)), ("server", "made"), ("x-path", turn.path)]
            self.say("resp", server.headers(stream, fields, end=not turn.answered, cut=turn.cut))
            self.bodies("resp", stream, turn.answered, turn.pad)

    def say(self, who: str, *frames: bytes) -> None:
        self.frames += [(who, one) for one in frames]

    def bodies(self, who: str, stream: int, parts: tuple[bytes, ...], pad: int | None) -> None:
        for k, part in enumerate(parts):
            self.say(who, data(stream, part, end=k == len(parts) - 1, pad=pad))

    @property
    def truth(self) -> list[dict[str, object]]:
        """What `http_requests` has to say, in the order of the streams."""
        return [
            {
                "stream_id": 2 * k + 1, "index": k, "method": turn.method, "target": turn.path, "host": "example.com",
                "status": turn.status, "request_bytes": sum(map(len, turn.asked)),
                "response_bytes": sum(map(len, turn.answered)), "complete": True,
            }
            for k, turn in enumerate(self.turns)
        ]  # fmt: skip


def conversations(most: int = 5) -> st.SearchStrategy[Conversation]:
    """Some exchanges."""
    parts = st.lists(st.binary(max_size=40), max_size=3).map(tuple)
    turn = st.builds(
        Turn,
        method=st.sampled_from(METHODS),
        path=st.text("abc/-%", min_size=1, max_size=30).map(lambda word: "/" + word),
        asked=parts,
        status=st.sampled_from((200, 204, 301, 404, 500)),
        answered=parts,
        cut=st.sampled_from((0, 0, 1, 7, 30)),
        pad=st.sampled_from((None, None, 0, 3, 255)),
        pinged=st.booleans(),
    )
    return st.lists(turn, min_size=1, max_size=most).map(Conversation)
