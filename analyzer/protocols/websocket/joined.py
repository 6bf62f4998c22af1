"""Is it WebSocket? Asked of a connection whose beginning was not captured, so that no handshake says so.

What    Each direction is followed from a segment on that begins like a frame, as long as frames follow on each other.
        What they say is weighed in bits of evidence, until both directions together leave no doubt. Meanwhile the bytes
        since the last whole frames are held, so that pings that convinced us have their rows, too.
Source  RFC 6455 sections 5.1 (only a client masks), 5.2, 5.4, 5.5; 8.1 (text is UTF-8).
Limits  Unmasked binary and compressed frames prove nothing: MQTT's SUBSCRIBE looks like one. Who only pings without
        payload, and is not seen to be answered, is not recognised.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.websocket.control import may_be_sent
from analyzer.protocols.websocket.resync import header_size, is_plausible
from analyzer.protocols.websocket.state import CLOSE, CONTINUATION, CONTROL_MAX, PING, PONG, TEXT

I8, I4, I2, I1 = np.int64, np.int32, np.int16, np.int8

# Bytes of a direction that are held until it is known, and the spans that they came in: a few minutes of pings, or two
# or three short messages. Of more only what comes from the next frame on is held. 2 kB for such a connection.
HELD_BYTES, HELD_PIECES = 512, 16

WATCH = np.dtype(
    [
        ("next", I4),  # of the free list, + 1
        ("active", I1),  # frames follow on each other since the last segment that began like one
        ("masked", I1),  # all of them
        ("open", I1),  # in the middle of a fragmented message, -1 = not known
        ("held", I1),  # `bytes` reach from the beginning of a frame to where the direction stands
        ("head_len", I1), ("head", np.uint8, (14,)),  # of the header being read
        ("left", I8),  # payload to come
        ("begin", I8), ("mark", I8),  # stream positions of the last frame, of the first one in this span (-1 = none)
        ("bits", I4), ("pending", I4),  # of evidence: so far, and once the frame ends where it says
        ("last", I8),  # hash of the last frame: what is only repeated says nothing new
        ("ping", I8), ("close", I8),  # hashes of payloads that wait for their like from the other side, + 1
        ("offset", I8), ("n", I2), ("pieces", I1),
        ("frame", I8, (HELD_PIECES,)), ("ts_ns", I8, (HELD_PIECES,)), ("length", I2, (HELD_PIECES,)),
        ("bytes", np.uint8, (HELD_BYTES,)),
    ],
    align=True,
)  # fmt: skip

# A header that random bytes would have once in 4,000, its length being right; text: a bit for each byte of it. Of
# an unmasked frame little of that counts: other protocols say a type and a length, too, and then text.
_HEADER, _TEXT_MASKED, _TEXT_PLAIN = 12, 16, 2
_ANSWER = 16  # the payload of the other side's ping, or the code of its close frame
# Enough: a ping and its pong, two masked messages, one of each side, or three unmasked ones. Each segment that was none
# asks for more, up to as much again.
ENOUGH, _DOUBT, STRANGE_MOST = 40, 8, 5
_VETO = 3  # strange segments of a side that never looked like it: then the other side alone does not convince

_LONGEST = 1 << 31
_HASH_MASK = (1 << 52) - 1  # times 131 it still fits


@helper
def may_begin(source: U8, at: int, n: int) -> bool:
    """True if `n` bytes may be the beginning of a frame that is no continuation."""
    first = np.int64(source[at])
    kind = first & 15
    if kind == CONTINUATION or first & 0x30:
        return False
    return bool(n < 2 or is_plausible(first, np.int64(source[at + 1]), source[at + 1] >= 128, True))


@routine
def _start(w: Records) -> None:
    w.active, w.masked, w.open, w.held, w.head_len = 1, -1, -1, 1, 0
    w.left, w.bits, w.pending, w.last, w.ping, w.close, w.n, w.pieces = 0, 0, 0, -1, 0, 0, 0, 0


@routine
def stop(w: Records) -> None:
    """What seemed to be frames was something else, or bytes of it are missing."""
    w.active, w.held, w.n, w.pieces, w.bits = 0, 0, 0, 0, 0


@routine
def _hash(source: U8, at: int, n: int, key: int) -> int:
    h = int(n)
    for k in range(n):
        h = ((h * 131) ^ (int(source[at + k]) ^ ((key >> ((k & 3) * 8)) & 255))) & _HASH_MASK
    return h


@routine
def _text_bits(source: U8, at: int, n: int, key: int, most: int) -> int:
    """Return the evidence in the first `n` bytes of a text, -1 if they are not UTF-8 (RFC 3629 section 4)."""
    left, controls = 0, 0
    for k in range(n):
        b = np.int64(source[at + k]) ^ ((key >> ((k & 3) * 8)) & 255)
        if left > 0:
            if b & 0xC0 != 0x80:
                return -1
            left -= 1
        elif b >= 0x80:
            if not 0xC2 <= b <= 0xF4:
                return -1
            left = 1 if b < 0xE0 else 2 if b < 0xF0 else 3
        elif b < 32 and b != 9 and b != 10 and b != 13:
            controls += 1
    return min(n, most) if 8 * controls <= n else 0


@routine
def _judge_control(
    source: U8, at: int, n: int, key: int, kind: int, length: int, w: Records, peer: Records
) -> int:  # fmt: skip
    """Return the evidence of a control frame, -1 if nobody would send it."""
    if n < length:
        return 0
    payload = _hash(source, at, n, key) + 1
    if kind == PING:
        w.ping = payload
    elif kind == PONG:
        if peer.active and peer.ping == payload and peer.masked != w.masked:
            peer.ping = 0
            return _ANSWER
    elif length == 1:
        return -1
    elif length >= 2:
        code = (int(source[at]) ^ (key & 255)) << 8 | (int(source[at + 1]) ^ ((key >> 8) & 255))
        if not may_be_sent(code):
            return -1
        w.close = payload
        if peer.active and peer.close == payload and peer.masked != w.masked:
            return _ANSWER
    return 0


@routine
def _take_header(source: U8, at: int, end: int, w: Records, peer: Records) -> bool:
    """The header is whole, its payload begins at `at`: False if no sender would send it here."""
    first, second = np.int64(w.head[0]), np.int64(w.head[1])
    kind, fin, masked = int(first & 15), int(first >> 7), int(second >> 7)
    if not is_plausible(first, second, masked == 1, True) or (w.masked >= 0 and masked != w.masked):
        return False
    w.masked = masked
    length, size = int(second & 127), w.head_len - 4 * masked
    if length >= 126:
        shortest = 126 if length == 126 else 65536
        length = 0
        for k in range(2, size):
            length = min(length << 8 | int(np.int64(w.head[k])), _LONGEST)
        if not shortest <= length < _LONGEST:
            return False
    if (length == 0 and not fin) or (kind < CLOSE and w.open == (0 if kind == CONTINUATION else 1)):
        return False
    key = 0
    if masked:
        for j in range(4):
            key |= int(np.int64(w.head[size + j])) << (8 * j)
    here = min(length, end - at)
    same = _hash(source, at, min(here, CONTROL_MAX), 0) ^ _hash(w.head, 0, w.head_len, 0)
    w.left, w.head_len, w.pending = length, 0, 0
    if same != w.last and (masked or kind >= CLOSE or (kind == TEXT and first & 0x40 == 0)):
        w.pending = _HEADER
    w.last = same
    if kind >= CLOSE:
        more = _judge_control(source, at, here, key, kind, length, w, peer)
    else:
        w.open = 1 - fin
        more = 0
        if kind == TEXT and first & 0x40 == 0:
            more = _text_bits(source, at, here, key, _TEXT_MASKED if masked else _TEXT_PLAIN)
            more = more if w.pending > 0 or more < 0 else 0
    w.pending += more
    return more >= 0


@routine
def _follow(source: U8, span: Records, w: Records, peer: Records) -> bool:
    """Go through a span; False if frames do not follow on each other in it."""
    at, end = int(span.at), int(span.at + span.length)
    w.mark = -1
    while at < end:
        if w.left > 0:
            n = min(int(w.left), end - at)
            w.left -= n
            at += n
        else:
            if w.head_len == 0:
                w.begin = span.offset + at - span.at
                w.mark = w.begin if w.mark < 0 else w.mark
            w.head[w.head_len] = source[at]
            w.head_len += 1
            at += 1
            if w.head_len < 2 or w.head_len < header_size(w.head, w.head_len):
                continue
            if not _take_header(source, at, end, w, peer):
                return False
        if w.left == 0:
            w.bits += w.pending
            w.pending = 0
    return True


@routine
def _hold(source: U8, span: Records, w: Records) -> None:
    """Keep a span; where it does not fit, what came since its first or its last frame, if that does."""
    end = int(span.offset + span.length)
    start = int(span.offset)
    if not w.held or w.n + span.length > HELD_BYTES or w.pieces == HELD_PIECES:
        w.n, w.pieces, w.held = 0, 0, 0
        start = int(w.mark if w.mark >= 0 and end - w.mark <= HELD_BYTES else w.begin)
        if w.left == 0 and w.head_len == 0 and (start < span.offset or end - start > HELD_BYTES):
            start = end  # between two frames
        if start < span.offset or end - start > HELD_BYTES:
            return
        w.held = 1
        if start == end:
            return
    if w.pieces == 0:
        w.offset = start
    skip = start - int(span.offset)
    for k in range(skip, span.length):
        w.bytes[w.n + k - skip] = source[span.at + k]
    w.frame[w.pieces], w.ts_ns[w.pieces], w.length[w.pieces] = span.frame, span.ts_ns, end - start
    w.n += end - start
    w.pieces += 1


@routine
def _is_enough(w: Records, peer: Records, strange: int, strange_peer: int) -> bool:
    """Do both directions leave no doubt?"""
    if w.head_len > 0 or w.masked < 0:
        return False
    bits = w.bits
    if peer.active and peer.masked >= 0:
        if peer.masked == w.masked:
            return False
        bits += peer.bits
    elif strange_peer >= _VETO:
        return False
    return bool(bits >= ENOUGH + _DOUBT * min(strange + strange_peer, STRANGE_MOST))


@routine
def watch_span(source: U8, span: Records, c: Records, w: Records, peer: Records) -> bool:
    """Look at the next span of a direction; True if its connection speaks WebSocket beyond doubt.

    Then nothing of this span is held: it may have to be read from `w.mark` on (see `keeps_from`).
    """
    began = w.active == 0
    if began:
        _start(w)
    if not _follow(source, span, w, peer):
        stop(w)
        if span.dir == 0:
            c.strange_c = min(c.strange_c + 1, STRANGE_MOST)
        else:
            c.strange_s = min(c.strange_s + 1, STRANGE_MOST)
        return False
    strange, strange_peer = (c.strange_c, c.strange_s) if span.dir == 0 else (c.strange_s, c.strange_c)
    if _is_enough(w, peer, strange, strange_peer):
        return True
    _hold(source, span, w)
    return False


@routine
def keeps_from(span: Records, w: Records) -> int:
    """Return from which stream position on the span that decided can be read, -1 if from nowhere in particular."""
    if w.held and (w.n > 0 or w.mark == span.offset):
        return int(span.offset)
    if w.mark >= 0:
        return int(w.mark)
    return int(span.offset + span.length) if w.left == 0 else -1
