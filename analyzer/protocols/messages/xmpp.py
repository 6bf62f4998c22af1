"""XMPP: a blank between stanzas, and pings with their results.

Source  RFC 6120 sections 4.2 (streams), 4.6.1 (whitespace keepalives), 8.2.3 (iq); XEP-0199 (ping).
Sees    tags: how deep they are, the name, type and id of stanzas, the name of what is in them.
Limits  A `>` inside an attribute ends its tag. A blank that comes along with a stanza is none of its own.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, number
from analyzer.protocols.messages.state import ANSWER, ASIDE, BEAT, BROKEN, LONE, PART, QUIET_NS, SAID
from analyzer.protocols.verdict import NO

WANT = 1
_XML, _STREAM, _STREAM_TAG = coded(b"<?xml "), coded(b"<stream"), coded(b"stream:")
_IQ, _PING = coded(b"iq "), coded(b"ping")
_TYPE, _ID = coded(b" type="), coded(b" id=")
_GET, _RESULT, _ERROR = coded(b"get"), coded(b"result"), coded(b"error")
_DEEPEST = 64
_OPEN, _CLOSE, _SLASH, _QUESTION, _BANG = 60, 62, 47, 63, 33  # < > / ? !
_HASH_MASK = (1 << 48) - 1

# STREAM.phase
BLANK, TAG, TEXT = 0, 1, 2
# STREAM.a  how deep: 1 = between stanzas    STREAM.b  what the stanza is    STREAM.c  hash of its id
_OTHER, _IS_GET, _IS_RESULT, _IS_PING = 0, 1, 2, 3
# CONNECTION.a, b  hash of the id of the last ping of client and server, 0 = it was answered


@routine
def looks_like_xmpp(first: U8, at: int, n: int) -> int:
    """Answer YES for an XML declaration or the stream's tag; what follows has to be a stream's tag."""
    answer = begins(first, at, n, _XML, 6)
    return answer if answer != NO else begins(first, at, n, _STREAM, 7)


@routine
def _value_at(s: Records, name: int, size: int) -> int:
    """Return where the value of an attribute begins, 0 if the tag has none of this name (with the blank before it)."""
    for k in range(1, s.head_len - size - 1):
        if number(s.head, k, size) == name:
            return k + size + 1
    return 0


@routine
def _hash_of_id(s: Records) -> int:
    at = _value_at(s, _ID, 4)
    h = 0
    if at > 0:
        quote = s.head[at - 1]
        h = 1
        while at < s.head_len and s.head[at] != quote:
            h = ((h * 131) ^ int(s.head[at])) & _HASH_MASK
            at += 1
    return h


@routine
def _open_stanza(s: Records) -> None:
    s.b, s.c = _OTHER, 0
    if number(s.head, 0, 3) != _IQ:
        return
    at = _value_at(s, _TYPE, 6)
    if at == 0:
        return
    s.c = _hash_of_id(s)
    if number(s.head, at, 3) == _GET:
        s.b = _IS_GET
    elif number(s.head, at, 5) == _ERROR or number(s.head, at, 6) == _RESULT:
        s.b = _IS_RESULT


@routine
def _end_stanza(s: Records, p: Records, direction: int) -> int:
    """A stanza is whole: a ping is told by what is in it, its answer by its id."""
    what, s.b = s.b, _OTHER
    if what == _IS_PING and s.c != 0:
        if direction == 0:
            p.a = s.c
        else:
            p.b = s.c
        return BEAT
    asked = p.b if direction == 0 else p.a
    if what != _IS_RESULT or s.c == 0 or s.c != asked:
        return SAID
    if direction == 0:
        p.b = 0
    else:
        p.a = 0
    return ANSWER


@routine
def _between(s: Records) -> int:
    """The next piece: between stanzas byte by byte, in them up to a tag."""
    if s.a <= 1:
        s.phase, s.want = BLANK, 1
    else:
        s.phase, s.want, s.until = TEXT, 0, _OPEN
    return PART


@routine
def _take_tag(s: Records, p: Records, direction: int) -> int:
    """What stands between < and >, the latter with it."""
    first = s.head[0]
    if first in (_QUESTION, _BANG):  # a declaration; CDATA
        _between(s)
        return PART if s.a > 1 else SAID
    if first == _SLASH:
        if s.a == 0:
            return BROKEN
        s.a -= 1
        _between(s)
        if s.a == 0:  # </stream:stream>
            return SAID
        return _end_stanza(s, p, direction) if s.a == 1 else PART
    if number(s.head, 0, 7) == _STREAM_TAG and s.a <= 1 and s.head_len > 13 and s.head[7] == 115:  # stream:stream
        s.a, s.proof = 1, 1
        _between(s)
        return SAID
    if s.a == 0 or s.a >= _DEEPEST:
        return BROKEN
    if s.a == 1:
        _open_stanza(s)
    elif s.a == 2 and s.b == _IS_GET and s.head_len > 5 and number(s.head, 0, 4) == _PING and s.head[4] <= _CLOSE:
        s.b = _IS_PING
    if s.before != _SLASH:
        s.a += 1
        _between(s)
        return PART
    _between(s)
    return _end_stanza(s, p, direction) if s.a == 1 else PART


@routine
def take_xmpp(s: Records, p: Records, direction: int) -> int:
    """A byte between stanzas, a tag, or text up to a tag."""
    if s.phase == TAG:
        return _take_tag(s, p, direction)
    b = s.head[0]
    if s.phase == TEXT or b == _OPEN:
        s.phase, s.want, s.until = TAG, 0, _CLOSE
        return PART
    if b not in (32, 9, 10, 13):
        return BROKEN
    return LONE if s.a == 1 and s.quiet >= QUIET_NS else ASIDE
