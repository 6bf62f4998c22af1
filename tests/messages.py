"""Conversations in protocols that have heartbeats of their own, as bytes out of their specifications.

A conversation is a list of steps, a second apart: who speaks (`C`lient or `S`erver), what, and what the step is:
a `BEAT`, an `ANSWER`, or neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from tests.property.harness import Result
from tests.talk import Talk

C, S = "c2s", "s2c"
BEAT, ANSWER = "beat", "answer"
Step = tuple[str, bytes] | tuple[str, bytes, str]
Beat = tuple[str, str, int, bool | None]


@dataclass
class Chat:
    """Steps of one protocol; `paired` says whether its beats are answered."""

    protocol: str
    steps: list[Step]
    paired: bool = True
    sizes: dict[int, int] = field(default_factory=dict)  # of beats that are not all of their step

    def talk(self, places: tuple[int, ...] = (), *, midstream: bool = False) -> Talk:
        """Return it as a trace; each step is cut at the places named, as far as it has them."""
        talk = Talk(rtt="2ms") if midstream else Talk(rtt="2ms").handshake()
        for second, (who, said, *_) in enumerate(self.steps, 1):
            talk.wait("1s") if second > 1 or not midstream else None
            say = talk.orig if who == C else talk.resp
            edges = sorted({0, len(said), *(place % len(said) for place in places)})
            for start, end in pairwise(edges):
                say(said[start:end])
        return talk.wait("9s").orig_fin().resp_fin().orig_ack()  # long enough to tell what was never answered

    def beats(self) -> list[Beat]:
        """Return what `beats` should find: way, protocol, size, answered."""
        out: list[Beat] = []
        waiting: list[int] = []
        for place, (who, said, *what) in enumerate(self.steps):
            if what == [BEAT]:
                waiting.append(len(out))
                out.append((who, self.protocol, self.sizes.get(place, len(said)), False if self.paired else None))
            elif what == [ANSWER]:
                first = next(k for k in waiting if out[k][0] != who)
                waiting.remove(first)
                out[first] = (*out[first][:3], True)
        return out


def beats(result: Result) -> list[Beat]:
    """Return the beats that were read, in the order of time: way, protocol, size, answered."""
    rows = sorted(result.rows("heartbeats"), key=lambda row: int(row["ts"]))
    assert {row["method"] for row in rows} <= {"explicit"}
    return [(row["dir"], row["protocol"], row["size"], row["answered"]) for row in rows]


MQTT_CONNECT = b"\x10\x0f\0\4MQTT\4\2\0\x3c\0\3abc"
MQTT = Chat("mqtt", [
    (C, MQTT_CONNECT), (S, b"\x20\2\0\0"), (C, b"\xc0\0", BEAT), (S, b"\xd0\0", ANSWER),
    (S, b"\x30\xac\2\0\1t" + b"\xc0\0" * 148 + b"!"), (C, b"\xc0\0", BEAT), (S, b"\xd0\0", ANSWER),
    (C, b"\xc0\0", BEAT), (C, b"\xe0\0"), (S, b"\x30\5\0\1tok"),
])  # fmt: skip


def resp(*words: bytes) -> bytes:
    """Return an array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


REDIS = Chat("redis", [
    (C, resp(b"GET", b"key")), (S, b"$4\r\nPONG\r\n"), (C, resp(b"PING"), BEAT), (S, b"+PONG\r\n", ANSWER),
    (C, resp(b"SET", b"PING", resp(b"PING") * 20)), (S, b"+OK\r\n"), (C, resp(b"ping"), BEAT),
    (S, b"+PONG\r\n", ANSWER), (C, b"PING\r\n", BEAT), (S, b"+PONG\r\n", ANSWER), (C, resp(b"PING", b"hello"), BEAT),
    (S, b"$5\r\nhello\r\n", ANSWER), (C, resp(b"HGETALL", b"h")), (S, b"%1\r\n+a\r\n*2\r\n:1\r\n_\r\n"),
    (C, resp(b"SUBSCRIBE", b"news")), (S, b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"), (C, resp(b"PING"), BEAT),
    (S, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\npong\r\n"), (S, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", ANSWER),
    (S, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$-1\r\n"), (C, resp(b"PING"), BEAT),
])  # fmt: skip

CHATS = [MQTT, REDIS]
