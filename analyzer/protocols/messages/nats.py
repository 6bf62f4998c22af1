"""NATS: PING and PONG, which both sides send.

Source  NATS client protocol: INFO, CONNECT, PUB, HPUB, SUB, UNSUB, MSG, HMSG, PING, PONG, +OK, -ERR.
Sees    the line of each message; payloads are stepped over.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, letters, number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, SAID
from analyzer.protocols.verdict import YES

_PING, _PONG, _PING_LINE, _PONG_LINE = coded(b"PING"), coded(b"PONG"), coded(b"PING\r\n"), coded(b"PONG\r\n")
_INFO, _CONNECT = coded(b"INFO"), coded(b"CONNECT")
_OPENING = coded(b"INFO {")
_PUB, _MSG, _HPUB, _HMSG = coded(b"PUB"), coded(b"MSG"), coded(b"HPUB"), coded(b"HMSG")
_OTHERS = (coded(b"SUB"), coded(b"UNSUB"), coded(b"+OK"), coded(b"-ERR"))


@routine
def looks_like_nats(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for the server's INFO; in mid-stream for a PING or PONG that stands alone, too."""
    if midstream and n == 6 and number(first, at, 6) in (_PING_LINE, _PONG_LINE):
        return YES
    return begins(first, at, n, _OPENING, 6)


@routine
def _word(s: Records) -> int:
    """Return the line's first word, if it has seven letters at most."""
    n = 0
    while n < s.head_len and n < 8 and s.head[n] > 32:
        n += 1
    return letters(s.head, 0, n) if n < 8 else 0


@routine
def take_nats(s: Records) -> int:
    """A line; `s.number` is its last word, the length of the payload where one follows."""
    word = _word(s)
    if word in (_PING, _PONG):
        s.proof = 1
        return BEAT if word == _PING else ANSWER
    if word in (_INFO, _CONNECT):
        s.proof = 1
        return SAID
    if word in (_PUB, _MSG, _HPUB, _HMSG):
        if s.number < 0:
            return BROKEN
        s.left = s.number + 2
        return SAID
    return SAID if word in _OTHERS else BROKEN
