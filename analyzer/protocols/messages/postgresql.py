"""PostgreSQL: queries that ask for nothing (an empty one, SELECT 1), what keeps replication alive, and last words.

Source  PostgreSQL documentation, chapter "Frontend/Backend Protocol" (version 3): message formats, start-up, simple and
        extended query, streaming replication, termination; appendix "PostgreSQL Error Codes".
Sees    type and length of each message, and short queries, whose answer is ReadyForQuery. In CopyData: keep-alives of
        the primary, and the status that its standby sends when asked, or every ten seconds.
        The client's Terminate, and the SQLSTATE of an error that is FATAL.
Limits  An application may mean a SELECT 1; nothing tells it from a heartbeat.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import coded, number
from analyzer.protocols.messages.queries import asks_nothing
from analyzer.protocols.messages.state import (
    ANSWER,
    ASIDE,
    BEAT,
    BROKEN,
    FAILED,
    GOODBYE,
    IDLED,
    LONE,
    MORE,
    ORDERED,
    QUIET_NS,
    SAID,
)
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 1
_VERSION_3_0, _VERSION_3_9 = 196608, 196617
_SSL, _GSS = 80877103, 80877104
_STARTUP_MAX = 10000  # as the server's MAX_STARTUP_PACKET_LENGTH
_MOST = 1 << 30
_QUERY, _PARSE, _BIND, _CLOSE, _SYNC, _READY, _AUTHENTICATION = 81, 80, 66, 67, 83, 90, 82  # Q P B C S Z R
_TERMINATE, _ERROR, _FATAL, _AND_FATAL = 88, 69, coded(b"SFATAL\0"), coded(b"VFATAL\0")  # X, E, and how E begins
_CODED = 1 + 4 + 7 + 7 + 6  # an E up to its SQLSTATE
# SQLSTATEs: idle in a transaction, or not; shutdown by an administrator, by a crash, not yet up
_IDLE, _ORDERS = (coded(b"C25P03"), coded(b"C57P05")), (coded(b"C57P01"), coded(b"C57P02"), coded(b"C57P03"))
_CLIENT_SAYS = tuple(b"QPBEDSCHFXcfp")
_SERVER_SAYS = tuple(b"RKSZTDC123nstNAEGHWIVvc")
_SHORT = 48  # a Query, Parse or Bind that may be a heartbeat, in bytes
_COPY, _KEEPALIVE, _STATUS, _FEEDBACK = 100, 107, 114, 104  # d; k, r and h in it
_KEEPALIVE_LENGTH, _STATUS_LENGTH, _FEEDBACK_LENGTH = 22, 38, 29  # of their CopyData

# CONNECTION.a  who asked for encryption, + 1, until it is answered with one byte    CONNECTION.b  a beat is under way
# STREAM.a  messages have types: the start-up is over    STREAM.b  what follows belongs to a beat, until Sync
# STREAM.c  name (see `_name`) of the prepared statement that is SELECT 1, 0 = none: pools prepare it once


@routine
def looks_like_postgresql(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a start-up, or a request to encrypt; in mid-stream for what may be a beat by itself, too."""
    if midstream and n >= 6 and first[at] == _COPY:
        length, letter = number(first, at + 1, 4), first[at + 5]
        keepalive = length == _KEEPALIVE_LENGTH and letter == _KEEPALIVE
        return YES if keepalive or (length == _STATUS_LENGTH and letter == _STATUS) else NO
    if midstream and n >= 6 and first[at] == _QUERY and number(first, at + 1, 4) == n - 1:
        return YES if first[at + n - 1] == 0 and asks_nothing(first, at + 5, at + n - 1) else NO
    if n == 0:
        return MORE_BYTES
    if first[at] != 0 or (n > 1 and first[at + 1] != 0):
        return NO
    if n < 9:
        wrong = n > 4 and first[at + 4] not in (0, 4)
        ask = n == 8 and number(first, at, 4) == 8 and number(first, at + 4, 4) in (_SSL, _GSS)
        return YES if ask else NO if wrong else MORE_BYTES
    length, code = number(first, at, 4), number(first, at + 4, 4)
    if length == 8 and code in (_SSL, _GSS):
        return YES
    named = 97 <= first[at + 8] <= 122  # the first parameter's name: user, database, ...
    return YES if _VERSION_3_0 <= code <= _VERSION_3_9 and 8 < length <= _STARTUP_MAX and named else NO


@routine
def _take_opening(s: Records, p: Records, direction: int) -> int:
    """A message without a type: it opens the conversation."""
    if s.head_len < 8:
        s.want = 8
        return MORE
    s.want = WANT
    length, code = number(s.head, 0, 4), number(s.head, 4, 4)
    if code in (_SSL, _GSS) and length == 8:
        p.a = direction + 1
        return SAID
    if code < _VERSION_3_0 or code > _VERSION_3_9 or length < 9 or length > _STARTUP_MAX:
        return BROKEN
    s.a, s.proof, s.left, p.asker = 1, 1, length - 8, direction + 1
    return SAID


@routine
def _end(b: U8, at: int, limit: int) -> int:
    """Return where the string that begins at `at` ends."""
    while at < limit and b[at] != 0:
        at += 1
    return at


@routine
def _name(b: U8, at: int, end: int) -> int:
    """Return a number for a statement's name; 0 for the nameless one, which the next Parse replaces."""
    value = 0
    for k in range(at, end):
        value = (value * 257 + int(b[k])) & 0xFFFFFFFFFFFF
    return value


@routine
def _asks_nothing(s: Records, kind: int, length: int) -> bool:
    """Is this Query, Parse, Bind or Close, `length` of it in s.head, a query that asks for nothing?

    A Parse that names its statement only prepares it: the Bind that uses it asks. So s.c follows who has which name.
    """
    if kind == _QUERY:
        return asks_nothing(s.head, 5, _end(s.head, 5, length))
    first = _end(s.head, 5, length)
    second = _end(s.head, first + 1, length)
    if kind == _CLOSE:  # S or P, and the name
        s.c = 0 if s.head[5] == 83 and _name(s.head, 6, _end(s.head, 6, length)) == s.c else s.c
        return False
    if kind == _BIND:  # portal, statement
        return bool(s.c != 0 and _name(s.head, first + 1, second) == s.c)
    nothing = second <= length and asks_nothing(s.head, first + 1, second)
    name = _name(s.head, 5, first)
    if nothing and name != 0:
        s.c = name
    elif s.c == name:
        s.c = 0
    return nothing and name == 0


@routine
def _take_client(s: Records, p: Records, kind: int, length: int) -> int:
    """What a client says; a query that asks for nothing is a beat, with all messages up to Sync."""
    if kind not in _CLIENT_SAYS:
        return BROKEN
    if kind == _TERMINATE:
        return GOODBYE if length == 4 else BROKEN
    short = length <= _SHORT
    named = s.c != 0 and ((kind == _BIND and s.b == 0 and short) or (kind == _CLOSE and short) or kind == _PARSE)
    if named or (kind in (_QUERY, _PARSE) and short):
        size = min(length, _SHORT)  # a longer Parse may give the name to another query
        if s.head_len < 1 + size:
            s.want, s.left = 1 + size, 0
            return MORE
        s.want, s.left = WANT, length - size
        nothing = _asks_nothing(s, kind, size)
        if kind == _CLOSE:
            return ASIDE if s.b else SAID
        p.b = 1 if nothing and short else 0
        if p.b:
            p.unsure = 1 if s.asked == 0 else 0  # one SELECT 1 is a query, two are a habit
        s.b = 0 if kind == _QUERY else p.b
        return BEAT if p.b else SAID
    aside = s.b == 1 and kind in (_BIND, 68, 69, 72, _SYNC)  # Bind, Describe, Execute, Flush, Sync
    if not aside or kind == _SYNC:
        s.b = 0
    if not aside:
        p.b = 0
    return ASIDE if aside else SAID


@routine
def _take_server(s: Records, p: Records, kind: int, length: int) -> int:
    """What a server says; ReadyForQuery ends the answer to anything."""
    if kind not in _SERVER_SAYS:
        return BROKEN
    if kind == _READY:
        if length != 5:
            return BROKEN
        if s.head_len < 6:
            s.want, s.left = 6, 0
            return MORE
        s.want, s.left = WANT, 0
        if s.head[5] not in (73, 84, 69):  # I T E: idle, in a transaction, in a failed one
            return BROKEN
        s.proof = 1
        what = ANSWER if p.b else SAID
        p.b = 0
        return what
    if kind == _ERROR and length >= _CODED:
        if s.head_len < _CODED:
            s.want, s.left = _CODED, 0
            return MORE
        s.want, s.left = WANT, 1 + length - _CODED
        if number(s.head, 5, 7) == _FATAL:  # before 9.6 the severity came once
            code = number(s.head, 19 if number(s.head, 12, 7) == _AND_FATAL else 12, 6)
            return IDLED if code in _IDLE else ORDERED if code in _ORDERS else FAILED
    if kind == _AUTHENTICATION and length >= 8:
        s.proof = 1
    return ASIDE if p.b and kind not in (78, 65, 83) else SAID  # notices and notifications are nobody's answer


@routine
def _take_copy(s: Records, p: Records, length: int) -> int:
    """A CopyData as long as what keeps replication alive: the last byte of a keep-alive is 1 if it wants an answer.

    A standby says how far it got after data, too; that is no beat.
    """
    letter, asks = int(s.head[5]), int(s.head[length])
    if length == _FEEDBACK_LENGTH and letter == _FEEDBACK:
        return ASIDE
    if asks > 1 or letter != (_KEEPALIVE if length == _KEEPALIVE_LENGTH else _STATUS):
        return SAID
    s.proof = 1
    if letter == _KEEPALIVE:
        p.b = max(p.b, asks)
        return BEAT if asks else ASIDE
    if p.b:
        p.b = 0
        return ANSWER
    return LONE if s.quiet >= QUIET_NS else ASIDE


@routine
def take_postgresql(s: Records, p: Records, direction: int) -> int:
    """Type (one byte) and length, which counts itself; a start-up has no type."""
    if s.a == 0 and s.head[0] == 0:
        return _take_opening(s, p, direction)
    kind = int(s.head[0])
    if p.a == 2 - direction and s.a == 0:  # yes or no to encryption: S, N, G
        p.a = 0
        return SAID if kind in (83, 78, 71) else BROKEN
    if s.head_len < 5:
        s.want = 5
        return MORE
    s.a = 1
    length = number(s.head, 1, 4)
    if length < 4 or length > _MOST:
        return BROKEN
    if p.asker == 0:
        standby = kind == _COPY and length == _STATUS_LENGTH
        p.asker = direction + 1 if kind in (_QUERY, _PARSE) or standby else 2 - direction
    from_client = p.asker == direction + 1
    telling = length in (_STATUS_LENGTH, _FEEDBACK_LENGTH) if from_client else length == _KEEPALIVE_LENGTH
    if kind == _COPY and telling:
        if s.head_len < 1 + length:
            s.want, s.left = 1 + length, 0
            return MORE
        s.want, s.left = WANT, 0
        return _take_copy(s, p, length)
    s.want, s.left = WANT, length - 4
    if kind == _COPY:
        return SAID
    if from_client:
        if kind == _QUERY:
            s.proof = 1
        return _take_client(s, p, kind, length)
    return _take_server(s, p, kind, length)
