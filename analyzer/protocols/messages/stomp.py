"""STOMP: an end of line between frames, DISCONNECT, and ERROR, after which a server closes.

Source  STOMP 1.2: augmented BNF, "Heart-beating", DISCONNECT, ERROR. Beats are one way: each side sends its own.
Sees    commands, content-length, heart-beat; bodies are stepped over.
Limits  An end of line that comes along with a frame is none of its own.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, decimal, digits_end, letters, number
from analyzer.protocols.messages.promise import promise
from analyzer.protocols.messages.state import ASIDE, BEAT, BROKEN, FAILED, GOODBYE, MORE, PART, QUIET_NS, SAID
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 1
_CONNECT, _STOMP, _DISCONNECT, _ERROR = coded(b"CONNECT"), coded(b"STOMP"), coded(b"DISCONN"), coded(b"ERROR")
_CONTENT, _LENGTH = coded(b"CONTENT"), coded(b"LENGTH:")
_HEART, _BEAT = coded(b"HEART"), coded(b"BEAT:")
_LF, _CR, _COMMA, _DASH, _LONGEST_COMMAND = 10, 13, 44, 45, 12

# STREAM.phase    STREAM.many  what the frame is for: OPENS, LEAVES, COMPLAINS, 0 = anything else    STREAM.c
# content-length, -1 = none    STREAM.a, b  ms after which this side says it will send and wants to receive, 0 = cannot,
# does not care
BETWEEN, HEADERS, BODY, END = 0, 1, 2, 3
OPENS, LEAVES, COMPLAINS = 1, 2, 3


@routine
def looks_like_stomp(first: U8, at: int, n: int) -> int:
    """Answer YES for the client's first command on a line of its own."""
    size = 7 if n > 0 and first[at] == 67 else 5
    answer = begins(first, at, n, _CONNECT if size == 7 else _STOMP, size)
    if answer != YES:
        return answer
    if n == size or (n == size + 1 and first[at + size] == _CR):
        return MORE_BYTES
    end = first[at + size] == _LF or (first[at + size] == _CR and first[at + size + 1] == _LF)
    return YES if end else NO


@routine
def _take_command(s: Records) -> int:
    end = 0
    while end < s.head_len and 65 <= s.head[end] <= 90:
        end += 1
    if end < 3 or end > _LONGEST_COMMAND or s.head[end] not in (_LF, _CR):
        return BROKEN
    word = number(s.head, 0, min(end, 7))
    if (end in (7, 9) and word == _CONNECT) or (end == 5 and word == _STOMP):  # CONNECT, CONNECTED, STOMP
        s.proof, s.many = 1, OPENS
    else:
        s.many = LEAVES if end == 10 and word == _DISCONNECT else COMPLAINS if end == 5 and word == _ERROR else 0
    s.phase, s.c = HEADERS, -1
    return PART


@routine
def _take_heart_beat(s: Records, o: Records, p: Records, direction: int) -> None:
    """Read `heart-beat:4000,10000`. Once both have said theirs, each sends as often as it can and the other wants."""
    end = digits_end(s.head, 11, s.head_len)
    last = digits_end(s.head, end + 1, s.head_len)
    if end == 11 or s.head[end] != _COMMA or last == end + 1:
        return
    s.a, s.b = decimal(s.head, 11, end), decimal(s.head, end + 1, last)
    if o.proof:
        promise(p, direction, max(s.a, o.b) if s.a > 0 and o.b > 0 else 0)
        promise(p, 1 - direction, max(o.a, s.b) if o.a > 0 and s.b > 0 else 0)


@routine
def _take_header(s: Records, o: Records, p: Records, direction: int) -> int:
    if s.head[0] == _LF or (s.head_len == 2 and s.head[0] == _CR):
        if s.c >= 0:
            s.phase, s.left, s.want = END, s.c, 1
        else:
            s.phase, s.until = BODY, 0
        return PART
    if s.head_len > 15 and letters(s.head, 0, 7) == _CONTENT and letters(s.head, 8, 7) == _LENGTH and s.c < 0:
        end = digits_end(s.head, 15, s.head_len)
        s.c = decimal(s.head, 15, end) if end > 15 else -1
    elif s.many == OPENS and letters(s.head, 0, 5) == _HEART and s.head[5] == _DASH and letters(s.head, 6, 5) == _BEAT:
        _take_heart_beat(s, o, p, direction)
    return PART


@routine
def take_stomp(s: Records, o: Records, p: Records, direction: int) -> int:
    """A byte between frames, a line of a frame, a body up to its NUL, or the NUL alone."""
    if s.phase == BETWEEN:
        if s.head_len > 1:
            return _take_command(s)
        if s.head[0] == _LF:
            return BEAT if s.quiet >= QUIET_NS else ASIDE
        if s.head[0] == _CR:
            return PART
        s.want = 0
        return MORE
    if s.phase == HEADERS:
        return _take_header(s, o, p, direction)
    whole = s.phase == BODY or s.head[0] == 0
    s.phase, s.want, s.until = BETWEEN, 1, _LF
    if not whole:
        return BROKEN
    return GOODBYE if s.many == LEAVES else FAILED if s.many == COMPLAINS else SAID
