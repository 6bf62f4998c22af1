"""Redis: PING, also inline and with a message, and its answers: +PONG, the message, or what subscribers get.

Source  Redis serialization protocol (RESP 2 and 3); the commands PING and SUBSCRIBE; replication: a replica says
        REPLCONF ACK each second, its master PING every ten, and neither is answered.
Sees    types, lengths, and the first word of each command.
Limits  The data set that a new replica is sent has no frame: what comes after it is read from the next segment on that
        begins with a command.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, decimal, digits_end, letters, number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, LONE, PART, SAID
from analyzer.protocols.verdict import MORE, NO, YES

_PING, _PONG = coded(b"PING"), coded(b"PONG")
_REPLCONF, _ACK = coded(b"REPLCON"), coded(b"ACK")
_CRLF, _CRLF_BULK = coded(b"\r\n"), coded(b"\r\n$")
_PING_LINE, _PONG_LINE = coded(b"PING\r\n"), coded(b"+PONG\r\n")
_ARRAY, _BULK, _SIMPLE, _PUSH = 42, 36, 43, 62  # * $ + >
_LONGEST = 64  # bulk strings that may be the word PING or PONG

# STREAM.phase: what the next piece is
TOP, ELEMENT, CONTENT = 0, 1, 2
# CONNECTION.a  length of the message of a PING whose answer is to come, + 1    CONNECTION.b  the client is a replica
# STREAM.a elements still to come, STREAM.b what the message is so far, STREAM.c length of the bulk string
_FIRST, _OTHER, _IS_PING, _IS_PONG, _IS_REPLCONF, _IS_ACK = range(6)


@routine
def looks_like_redis(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a command as an array of bulk strings, or PING; in mid-stream for a PONG alone, too."""
    if n == 0:
        return MORE
    if midstream and first[at] != _ARRAY:  # an inline PING may as well be of NATS
        return YES if n == 7 and number(first, at, 7) == _PONG_LINE else NO
    if first[at] != _ARRAY:
        if n < 6:
            return MORE if letters(first, at, n) == _PING_LINE >> 8 * (6 - n) else NO
        return YES if letters(first, at, 6) == _PING_LINE else NO
    k = digits_end(first, at + 1, at + n)
    if k == at + n:
        return MORE if n < 8 else NO
    if k == at + 1 or first[at + 1] == 48:  # no command is empty
        return NO
    answer = begins(first, k, at + n - k, _CRLF_BULK, 3)
    if answer != YES:
        return answer
    after = digits_end(first, k + 3, at + n)
    if after == at + n:
        return MORE
    return begins(first, after, at + n - after, _CRLF, 2) if after > k + 3 else NO


@routine
def _is_type(b: int) -> bool:
    """True for the first byte of a value: + - : $ * of RESP 2, _ # , ( ! = % ~ > | of RESP 3."""
    return b in (43, 45, 58, 36, 42, 95, 35, 44, 40, 33, 61, 37, 126, 62, 124)


@routine
def _has_length(kind: int) -> bool:
    """True for strings and collections, whose first line is a number: $ ! = * ~ > % |."""
    return kind in (36, 33, 61, 42, 126, 62, 37, 124)


@routine
def _ended(s: Records, p: Records, from_client: bool) -> int:
    """A message is whole."""
    what = s.b
    s.phase, s.b = TOP, _FIRST
    if from_client and what == _IS_PING:
        p.a = s.c + 1 if s.many else 0  # the last bulk string, if PING was not the only one
        return BEAT
    if not from_client and what == _IS_PONG:
        return ANSWER
    if from_client and what == _IS_REPLCONF:
        p.b = 1
    return LONE if what == _IS_ACK or (what == _IS_PING and p.b) else SAID


@routine
def _next_element(s: Records, p: Records, from_client: bool) -> int:
    s.a -= 1
    s.phase = ELEMENT
    if s.b == _FIRST:
        s.b = _OTHER
    return PART if s.a > 0 else _ended(s, p, from_client)


@routine
def _take_content(s: Records, p: Records, from_client: bool) -> int:
    """A short bulk string with its end of line."""
    size = int(s.c)
    s.want = 0
    if s.head[size] != 13 or s.head[size + 1] != 10:
        return BROKEN
    if s.b == _FIRST and size == 4:
        word = letters(s.head, 0, 4)
        s.b = _IS_PING if word == _PING else _IS_PONG if word == _PONG else _OTHER
    elif s.b == _FIRST and size == 8 and from_client:
        s.b = _IS_REPLCONF if letters(s.head, 0, 7) == _REPLCONF else _OTHER
    elif s.b == _IS_REPLCONF and size == 3 and letters(s.head, 0, 3) == _ACK:
        s.b = _IS_ACK
    return _next_element(s, p, from_client)


@routine
def _take_inline(s: Records, p: Records, direction: int) -> int:
    """A command without RESP: words on a line."""
    alone = s.head_len >= 5 and letters(s.head, 0, 4) == _PING and (s.head[4] == 13 or s.head[4] == 10)
    if p.asker == 0 and not alone:
        return BROKEN
    if p.asker == 0:
        p.asker = direction + 1
    s.proof = 1
    return BEAT if alone else SAID


@routine
def _take_value(s: Records, p: Records, from_client: bool, size: int, kind: int) -> int:
    """The line that begins a value: `size` is the number in it, -1 = none."""
    if kind == _BULK or kind == 33 or kind == 61:  # also RESP 3's long errors and verbatim strings
        if s.phase == TOP:  # the value of a key, or the message of a PING
            s.b = _IS_PONG if size >= 0 and p.a == size + 1 else _OTHER
            p.a = 0 if s.b == _IS_PONG else p.a
        if size < 0:  # null
            return _next_element(s, p, from_client)
        s.c = size
        if size <= _LONGEST:
            s.phase, s.want = CONTENT, size + 2
            return PART
        s.left = size + 2
        return _next_element(s, p, from_client)
    if kind in (_ARRAY, 126, _PUSH, 37, 124) and size > 0:
        if s.phase == TOP:
            s.many = 1 if size > 1 else 0
        s.a += size * (2 if kind == 37 or kind == 124 else 1)  # maps and attributes have keys and values
        if kind == 124:
            s.a += 1  # attributes come before the value that they are about
    elif kind == _SIMPLE and s.phase == TOP and s.head_len == 7 and letters(s.head, 1, 4) == _PONG:
        s.b = _IS_PONG
    s.a -= 1
    if s.phase == ELEMENT and s.b == _FIRST:
        s.b = _OTHER
    s.phase = ELEMENT
    return PART if s.a > 0 else _ended(s, p, from_client)


@routine
def take_redis(s: Records, p: Records, direction: int) -> int:
    """A line, or the bytes of a short bulk string."""
    from_client = p.asker == direction + 1
    if s.phase == CONTENT:
        return _take_content(s, p, from_client)
    kind = int(s.head[0])
    if s.length > s.head_len:  # a long line: an error or a simple string, or an inline command
        return SAID if s.phase == TOP and (kind in (43, 45) or from_client) else BROKEN
    if s.phase == TOP:
        if p.asker == 0 and kind == _ARRAY:
            p.asker = direction + 1
            from_client = True
        if (p.asker == 0 and kind != _SIMPLE) or (from_client and kind != _ARRAY):
            return _take_inline(s, p, direction)
        s.a, s.b = 1, _FIRST
    if not _is_type(kind) or s.head_len < 3 or s.head[s.head_len - 2] != 13:
        return BROKEN
    end = digits_end(s.head, 1, s.head_len)
    size = decimal(s.head, 1, end) if end > 1 and end == s.head_len - 2 else -1
    if size < 0 and _has_length(kind) and s.head[1] != 45:  # -1 is null
        return BROKEN
    s.proof = 1
    return _take_value(s, p, from_client, size, kind)
