"""SIP over TCP: two empty lines ask, one answers.

Source  RFC 3261 sections 7 (messages), 18.3 (framing); RFC 5626 section 3.5.1 (CRLF keep-alives).
Sees    start lines and Content-Length; bodies are stepped over.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, decimal, digits_end, letters, number
from analyzer.protocols.messages.state import ANSWER, ASIDE, BEAT, BROKEN, PART, QUIET_NS, SAID
from analyzer.protocols.verdict import MORE, NO, YES

_VERSION, _SCHEMES = coded(b"SIP/2.0"), (coded(b"sip"), coded(b"tel"))
_CONTENT, _LENGTH = coded(b"CONTENT"), coded(b"-LENGTH")
_LF, _CR, _SPACE, _TAB, _COLON, _L = 10, 13, 32, 9, 58, 108

# STREAM.phase    STREAM.b  an empty line stands alone so far    STREAM.c  content-length
BETWEEN, HEADERS = 0, 1


@routine
def looks_like_sip(first: U8, at: int, n: int) -> int:
    """Answer YES for a status line, or METHOD SP and a URI that SIP has."""
    answer = begins(first, at, n, _VERSION, 7)
    if answer != NO:
        return answer
    k = 0
    while k < n and k < 10 and 65 <= first[at + k] <= 90:
        k += 1
    if k == n:
        return MORE if 0 < n < 10 else NO
    if k < 3 or k == 10 or first[at + k] != _SPACE:
        return NO
    if n < k + 4:
        return MORE
    return YES if number(first, at + k + 1, 3) in _SCHEMES else NO


@routine
def _take_empty(s: Records, o: Records) -> int:
    """An empty line between messages answers the ping that waits; two at once ask."""
    if o.asked > o.answered:
        s.b = 0
        return ANSWER
    if s.b == 1 and s.ts - s.begun < QUIET_NS:
        s.b = 0
        return BEAT
    if s.b == 1:  # the one before it stood alone
        s.b = 0
        return ASIDE
    s.b = 1
    return PART


@routine
def _take_start(s: Records) -> int:
    s.b = 0
    if number(s.head, 0, 7) != _VERSION:
        end = 0
        while end < s.head_len and 65 <= s.head[end] <= 90:
            end += 1
        if end < 3 or end > 20 or s.head[end] != _SPACE:
            return BROKEN
        if number(s.head, end + 1, 3) not in _SCHEMES and s.length <= s.head_len:
            return BROKEN
    s.proof = 1
    s.phase, s.c = HEADERS, 0
    return PART


@routine
def _take_header(s: Records) -> int:
    if s.head[0] == _LF or (s.head[0] == _CR and s.head_len == 2):
        s.phase, s.left = BETWEEN, s.c
        return SAID
    at = 0
    if s.head_len > 14 and letters(s.head, 0, 7) == _CONTENT and letters(s.head, 7, 7) == _LENGTH:
        at = 14
    elif (s.head[0] | 32) == _L:
        at = 1
    if at == 0:
        return PART
    while at < s.head_len and s.head[at] in (_SPACE, _TAB):
        at += 1
    if at < s.head_len and s.head[at] == _COLON:
        at += 1
        while at < s.head_len and s.head[at] in (_SPACE, _TAB):
            at += 1
        end = digits_end(s.head, at, s.head_len)
        s.c = decimal(s.head, at, end)
    return PART


@routine
def take_sip(s: Records, o: Records) -> int:
    """A line."""
    if s.phase == HEADERS:
        return _take_header(s)
    if s.head[0] == _LF or (s.head[0] == _CR and s.head_len == 2):
        return _take_empty(s, o)
    return _take_start(s)
