"""AMQP: heartbeat frames of 0-9-1, empty frames of 1.0, and how a connection is closed.

Source  AMQP 0-9-1 sections 2.2.4 (protocol header), 4.2.3 (frames), 4.2.7 (heartbeats); OASIS AMQP 1.0 part 2,
        sections 2.2 (header), 2.3 (frames), 2.4.5 (idle time out: an empty frame keeps a connection alive).
        0-9-1 reference: connection.tune-ok, whose heartbeat both sides then keep; connection.close and close-ok.
        1.0 part 2, section 2.7.9 (close): its error is null unless something is wrong.
Sees    the header of each frame, tune-ok, close and its reply code. Beats are one way: each side sends its own.
Limits  What the open performatives of 1.0 say about idle time is not read.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, number
from analyzer.protocols.messages.promise import promise
from analyzer.protocols.messages.state import BEAT, BROKEN, FAILED, GOODBYE, MORE, ORDERED, SAID
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT_0, WANT_1 = 7, 8  # bytes of a frame's header
_NAME = coded(b"AMQP")
_VERSION_0_9_1, _VERSION_0_9 = coded(b"\0\0\x09\1"), coded(b"\1\1\0\x09")
_VERSION_1 = coded(b"\1\0\0")  # after a byte that says what for: 0 AMQP, 2 TLS, 3 SASL
_HEARTBEAT, _EMPTY = coded(b"\x08\0\0\0\0\0\0"), coded(b"\0\0\0\x08\2\0\0")
_METHOD, _HEARTBEAT_TYPE = 1, 8
_CONNECTION_CLASS, _TUNE_OK = 10, coded(b"\0\x0a\0\x1f")
_CLOSE, _CLOSE_OK = coded(b"\0\x0a\0\x32"), coded(b"\0\x0a\0\x33")
_REPLY_SUCCESS, _CONNECTION_FORCED = 200, 320  # an operator closed it
_CLOSE_SIZE = 6  # class, method and reply code, of what is longer
_PERFORMATIVE_CLOSE, _EMPTY_LIST = coded(b"\0\x53\x18"), 0x45
_SHORTEST_CLOSE = 12  # its header, the descriptor, an empty list
_TUNE_SIZE = 12  # class, method, channel-max, frame-max, heartbeat in seconds
_FRAME_END = 0xCE
_MOST = 1 << 31


@routine
def looks_like_amqp0(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a protocol header; in mid-stream for a heartbeat that stands alone, too."""
    if midstream and n == 8 and number(first, at, 7) == _HEARTBEAT and first[at + 7] == _FRAME_END:
        return YES
    answer = begins(first, at, n, _NAME, 4)
    if answer != YES:
        return answer
    if n < 8:
        return MORE_BYTES
    version = number(first, at + 4, 4)
    return YES if version in (_VERSION_0_9_1, _VERSION_0_9) else NO


@routine
def looks_like_amqp1(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a protocol header; in mid-stream for an empty frame that stands alone, too."""
    if midstream and n == 8 and number(first, at, 7) == _EMPTY and first[at + 7] == 0:
        return YES
    answer = begins(first, at, n, _NAME, 4)
    if answer != YES:
        return answer
    if n < 8:
        return MORE_BYTES
    return YES if first[at + 4] in (0, 2, 3) and number(first, at + 5, 3) == _VERSION_1 else NO


@routine
def _take_of_connection(s: Records, p: Records, size: int) -> int:
    """A method on channel 0: all there are of class connection."""
    method = number(s.head, WANT_0, 4)
    if s.proof == 0 and method >> 16 != _CONNECTION_CLASS:
        return BROKEN
    s.proof = 1
    if method == _CLOSE_OK:
        return GOODBYE
    if method == _CLOSE and size > _CLOSE_SIZE:
        why = number(s.head, WANT_0 + 4, 2)
        return GOODBYE if why == _REPLY_SUCCESS else ORDERED if why == _CONNECTION_FORCED else FAILED
    if method == _TUNE_OK and size == _TUNE_SIZE:
        seconds = number(s.head, WANT_0 + _TUNE_SIZE - 2, 2)
        promise(p, 0, 1000 * seconds)
        promise(p, 1, 1000 * seconds)
    return SAID


@routine
def take_amqp0(s: Records, p: Records) -> int:
    """Section 4.2.3: type, channel, size; the payload, and the octet that ends it."""
    if number(s.head, 0, 4) == _NAME:  # the header: eight bytes
        s.left, s.proof = 1, 1
        return SAID
    kind, channel, size = int(s.head[0]), number(s.head, 1, 2), number(s.head, 3, 4)
    if kind == _HEARTBEAT_TYPE:
        if channel != 0 or size != 0:
            return BROKEN
        if s.head_len < 8:
            s.want = 8
            return MORE
        s.want = WANT_0
        if s.head[7] != _FRAME_END:
            return BROKEN
        s.proof = 1
        return BEAT
    if kind < _METHOD or kind > 3 or size >= _MOST:
        return BROKEN
    if kind != _METHOD or channel != 0 or size < 4:
        s.want, s.left = WANT_0, WANT_0 + size + 1 - s.head_len
        return SAID
    needed = _TUNE_SIZE if size == _TUNE_SIZE else min(size, _CLOSE_SIZE)
    if s.head_len < WANT_0 + needed:
        s.want = WANT_0 + needed
        return MORE
    s.want, s.left = WANT_0, WANT_0 + size + 1 - s.head_len
    return _take_of_connection(s, p, size)


@routine
def take_amqp1(s: Records) -> int:
    """Section 2.3.1: size, data offset in words of four bytes, type, channel."""
    if number(s.head, 0, 4) == _NAME:
        s.proof = 1
        return SAID
    size, offset, kind = number(s.head, 0, 4), int(s.head[4]), int(s.head[5])
    if size < 8 or size >= _MOST or offset < 2 or 4 * offset > size or kind > 1:
        return BROKEN
    if size >= _SHORTEST_CLOSE and kind == 0 and offset == 2 and s.head_len < _SHORTEST_CLOSE:
        s.want = _SHORTEST_CLOSE
        return MORE
    s.want, s.left = WANT_1, size - s.head_len
    if s.head_len == _SHORTEST_CLOSE and number(s.head, 8, 3) == _PERFORMATIVE_CLOSE:
        return GOODBYE if s.head[11] == _EMPTY_LIST else FAILED
    if size > 8 or kind != 0:
        return SAID
    s.proof = 1
    return BEAT
