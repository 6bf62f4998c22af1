"""WebSocket frames out of in-order bytes: the framing kernel.

Source  RFC 6455 section 5. Payload bytes are in `payload`, messages in `message`, pings and closes in `control`.
Sees    every header; of payloads what control frames say, the first bytes of messages, whether text is UTF-8.
        Compressed messages are handed to `inflate` as pieces.
Limits  Bytes that are missing inside a payload are counted. Where a header is missing framing is lost, until segments
        that hold nothing but whole frames show where it begins anew. How a connection is recognised whose handshake
        was not captured is in `joined`; how its compressed messages would inflate is not known then.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import (
    PHASE_PAUSE,
    PHASE_WEBSOCKET,
    WEBSOCKET,
    note_app,
    note_span,
)
from analyzer.protocols.oddities import WS_FIRST, WS_LOST, note_odd
from analyzer.protocols.websocket.control import excuse_pong, note_ping, note_pong, take_close
from analyzer.protocols.websocket.message import begin_message, end_message, fault
from analyzer.protocols.websocket.payload import take_payload
from analyzer.protocols.websocket.resync import TRUSTED, count_frames, header_size
from analyzer.protocols.websocket.state import (
    AFTER_CLOSE,
    BAD_UTF8,
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_MAX,
    CUT_SHORT,
    DEFLATE_NO,
    DEFLATE_UNKNOWN,
    FINE,
    FRAGMENTED,
    HEADER,
    IMPOSSIBLE,
    INSIDE,
    KIND_BINARY,
    KIND_TEXT,
    KIND_UNKNOWN,
    LOST,
    MASKED,
    NO_START,
    NOT_SHORTEST,
    PAYLOAD,
    PING,
    PONG,
    RESERVED_BITS,
    RESERVED_OPCODE,
    TEXT,
    TOO_LONG,
    UNMASKED,
)
from analyzer.protocols.websocket.words import NOTHING
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN


@routine
def _read_header(s: Records) -> None:
    """Section 5.2: FIN, RSV1-3, opcode; MASK, length of 7, 16 or 64 bits; masking key."""
    first, second = np.int64(s.head[0]), np.int64(s.head[1])
    s.fin, s.rsv, s.opcode = first >> 7, (first >> 4) & 7, first & 15
    s.apart = 1 if s.opcode > BINARY else 0
    s.masked = second >> 7
    s.error, s.missing, s.kept = FINE, 0, 0
    at, length = 2, second & 127
    if length == 126:
        length = np.int64(s.head[2]) << 8 | np.int64(s.head[3])
        at = 4
        if length < 126:
            fault(s, NOT_SHORTEST)
    elif length == 127:
        length = np.int64(0)
        for k in range(2, 10):
            length = ((length & 0x7FFFFFFFFFFFFF) << 8) | np.int64(s.head[k])
        at = 10
        if s.head[2] >= 128:
            fault(s, IMPOSSIBLE)
            length = length & 0x7FFFFFFFFFFFFFFF
        elif length < 65536:
            fault(s, NOT_SHORTEST)
    s.mask = 0
    if s.masked:
        for k in range(4):
            s.mask |= np.int64(s.head[at + k]) << (8 * k)
    s.length, s.left = length, length


@routine
def _judge_header(s: Records, w: Records, from_client: bool) -> None:
    """What a receiver would have refused (sections 5.1, 5.2, 5.5)."""
    if from_client and not s.masked:
        fault(s, UNMASKED)
    elif not from_client and s.masked:
        fault(s, MASKED)
    if 3 <= s.opcode <= 7 or s.opcode > PONG:
        fault(s, RESERVED_OPCODE)
    first_data = s.opcode == TEXT or s.opcode == BINARY
    compresses = (s.rsv & 4) != 0 and first_data and w.deflate != DEFLATE_NO
    if not w.foreign and w.deflate != DEFLATE_UNKNOWN and (s.rsv & 3 or (s.rsv & 4 and not compresses)):
        fault(s, RESERVED_BITS)
    if s.opcode >= CLOSE and s.length > CONTROL_MAX:
        fault(s, TOO_LONG)
    if s.opcode >= CLOSE and not s.fin:
        fault(s, FRAGMENTED)
    if s.closed and not s.apart:
        fault(s, AFTER_CLOSE)


@routine
def _begin_frame(
    s: Records, w: Records, c: Records, app: Records, direction: int, stream: int, messages: Records, pieces: Records,
    heap: U8, m: Records,
) -> None:  # fmt: skip
    """The header is whole."""
    _read_header(s)
    _judge_header(s, w, direction == c.client)
    s.state, s.head_len = PAYLOAD, 0
    if s.opcode == CONTINUATION:
        if not s.open:
            if not s.unsure:
                fault(s, NO_START)
            begin_message(s, w, KIND_UNKNOWN, direction)
    elif s.opcode == TEXT or s.opcode == BINARY:
        if s.open:
            fault(s, INSIDE)
            end_message(s, w, c, app, direction, stream, 0, -1, messages, pieces, heap, m)
        begin_message(s, w, KIND_TEXT if s.opcode == TEXT else KIND_BINARY, direction)
        s.unsure = 0


@routine
def _put_frame(s: Records, w: Records, c: Records, direction: int, frames: Records, m: Records) -> int:
    """Append the frame being read to the rows; return its place there."""
    index = int(m.n_frames)
    row = frames[index]
    row.flow_id, row.stream_id, row.decrypted, row.dir = c.flow_id, c.stream_id, c.decrypted, direction
    row.index, row.frame, row.ts, row.payload_len = w.index, s.frame, s.ts, s.length
    row.message_id, row.pong_of, row.rtt = -1, -1, -1
    row.reason_at, row.reason_len, row.close_code = -1, 0, 0
    row.opcode, row.fin, row.rsv, row.masked = s.opcode, s.fin, s.rsv, s.masked
    row.missing = 1 if s.missing > 0 or s.left > 0 else 0
    w.index += 1
    m.n_frames += 1
    return index


@routine
def _say(c: Records, app: Records, ts_ns: int) -> None:
    """The application said something; HTTP/2 has noted what it carries."""
    if c.stream_id < 0:
        note_app(app, ts_ns)


@routine
def _join_message(s: Records, w: Records, row: Records) -> None:
    """Count the frame as one of the message being read, which has its number from its first one."""
    s.frames += 1
    if s.id < 0:
        s.id = w.messages
        w.messages += 1
    row.message_id = s.id


@routine
def _end_frame(
    s: Records, w: Records, c: Records, app: Records, direction: int, stream: int, frames: Records, messages: Records,
    pings: Records, pieces: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """The payload has passed."""
    index = _put_frame(s, w, c, direction, frames, m)
    row = frames[index]
    s.state = HEADER
    if s.opcode == PING:
        note_ping(s, w, row, direction, stream >> 1, pings)
    elif s.opcode == PONG:
        note_pong(s, w, row, direction, stream >> 1, pings, c.handshake_rtt)
        excuse_pong(w, row, direction)
    elif s.opcode == CLOSE:
        _say(c, app, s.ts)
        take_close(s, app, row, direction, heap, m)
    else:
        said = NOTHING
        if not s.apart:
            _join_message(s, w, row)
            if s.bad_utf8 or (s.fin and s.utf8_left > 0 and not s.partial):
                s.bad_utf8 = 1
                fault(s, BAD_UTF8)
            if s.fin:
                said = end_message(s, w, c, app, direction, stream, 1, index, messages, pieces, heap, m)
                s.unsure = 0
        if said == NOTHING:
            _say(c, app, s.ts)
    row.error = s.error
    if s.error != FINE:
        note_odd(oddities, WS_FIRST + s.error - 1, row)


@routine
def _lose(
    span: Records, s: Records, w: Records, c: Records, app: Records, direction: int, stream: int, messages: Records,
    pieces: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """Where the next frame begins is not known any more."""
    if s.state != LOST:
        note_odd(oddities, WS_LOST, span)
        if s.open:
            s.partial = 1
            end_message(s, w, c, app, direction, stream, 0, -1, messages, pieces, heap, m)
    s.state, s.head_len, s.unsure, s.trust = LOST, 0, 1, 0


@routine
def _skip_missing(
    span: Records, s: Records, w: Records, c: Records, app: Records, stream: int, frames: Records, messages: Records,
    pings: Records, pieces: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """Bytes that the capture does not have: inside a payload they are only counted."""
    n = int(span.length)
    if s.state == PAYLOAD:
        inside = min(n, int(s.left))
        s.left -= inside
        s.missing += inside
        s.ts, s.frame = span.ts_ns, span.frame
        if not s.apart:
            s.partial = 1
            s.wire += inside
        if s.left == 0:
            _end_frame(s, w, c, app, span.dir, stream, frames, messages, pings, pieces, heap, m, oddities)
        n -= inside
    if n > 0:
        _lose(span, s, w, c, app, span.dir, stream, messages, pieces, heap, m, oddities)


@routine
def _find_again(source: U8, span: Records, s: Records, w: Records, from_client: bool) -> None:
    """After a loss: believe that a segment begins a frame once enough that would be whole frames were seen in a row."""
    n = count_frames(source, span.at, span.at + span.length, from_client, w.deflate != DEFLATE_NO)
    s.trust = min(s.trust + n, TRUSTED) if n > 0 else 0
    if s.trust >= TRUSTED:
        s.state, s.trust = HEADER, 0


@helper
def _read(
    source: U8, span: Records, s: Records, w: Records, c: Records, app: Records, stream: int, frames: Records,
    messages: Records, pings: Records, pieces: Records, heap: U8, arena: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """Read a span to its end."""
    at, end = int(span.at), int(span.at + span.length)
    if s.state == LOST:
        _find_again(source, span, s, w, span.dir == c.client)
    while at < end and s.state != LOST:
        if s.state == HEADER:
            if s.head_len == 0:
                s.first_ts, s.first_frame = span.ts_ns, span.frame
            size = header_size(s.head, s.head_len)
            while at < end and s.head_len < size:
                s.head[s.head_len] = source[at]
                s.head_len += 1
                at += 1
                if s.head_len == 2:
                    size = header_size(s.head, s.head_len)
            if s.head_len < size:
                break
            _begin_frame(s, w, c, app, span.dir, stream, messages, pieces, heap, m)
        s.ts, s.frame = span.ts_ns, span.frame
        n = min(end - at, int(s.left))
        if n > 0:
            take_payload(source, at, n, s, stream, arena, pieces, m)
            s.left -= n
            if not s.apart:
                s.wire += n
            at += n
        if s.error == IMPOSSIBLE:
            row = frames[_put_frame(s, w, c, span.dir, frames, m)]
            row.error = IMPOSSIBLE
            note_odd(oddities, WS_FIRST + IMPOSSIBLE - 1, row)
            _lose(span, s, w, c, app, span.dir, stream, messages, pieces, heap, m, oddities)
        elif s.left == 0:
            _end_frame(s, w, c, app, span.dir, stream, frames, messages, pings, pieces, heap, m, oddities)


@routine
def _join(c: Records, streams: Records, w: Records, place: int) -> None:
    """The connection was joined in its middle: what comes may be the middle of a message, or answer what was before.

    Directions of which no frame's beginning is known have to find one.
    """
    for direction in range(2):
        s = streams[2 * place + direction]
        s.unsure = 1
        if c.lost & (1 << direction):
            strange = c.strange_c if direction == 0 else c.strange_s
            s.state = LOST
            s.trust = 0 if strange > 0 else TRUSTED - 1  # it said nothing yet: most begin with a frame then
    w.joined, w.asked_c, w.asked_s, c.lost = 1, 1, 1, 0


@helper
def _is_inside(s: Records) -> bool:
    """In the middle of a frame or of a fragmented message."""
    return bool(s.state != LOST and (s.open != 0 or s.state == PAYLOAD or s.head_len > 0))


@kernel
def frame_websocket(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    places: I32, streams: Records, connections: Records, pings: Records, frames: Records, messages: Records,
    pieces: Records, heap: U8, arena: U8, oddities: Records, silences: Records, queue: I32, stage: Records,
    meta: Records,
) -> None:  # fmt: skip
    """Read the spans of WebSocket channels.

    index  (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    places (channels,) where the state of a channel is    streams (2 * places,) STREAM    connections (places,)
    pings (2 * MAX_PINGS * places,) PINGS    frames, messages, pieces  written here, as are `heap` and `arena`
    queue  rows of `spans` whose channel something else reads by now
    """
    m, sm = meta[0], stage[0]
    for k in range(index.size):
        span = spans[index[k]]
        c = channels[span.channel]
        if c.reader != WEBSOCKET:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        place = int(places[span.channel])
        stream = 2 * place + int(span.dir)
        s, w, app = streams[stream], connections[place], apps[c.slot]
        if c.lost > 0:
            _join(c, streams, w, place)
        if c.stream_id < 0:  # else silences are those of the connection that carries it
            note_span(span, c, app, silences, sm)
        app.reader = WEBSOCKET
        if span.kind == SPAN_DATA:
            source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
            _read(source, span, s, w, c, app, stream, frames, messages, pings, pieces, heap, arena, m, oddities)
        elif span.kind == SPAN_FIN:
            s.ended = 1
        else:
            _skip_missing(span, s, w, c, app, stream, frames, messages, pings, pieces, heap, m, oddities)
        if c.stream_id >= 0:
            continue
        inside = _is_inside(s) or _is_inside(streams[stream ^ 1])
        app.open_message = 1 if inside else 0
        app.phase = PHASE_PAUSE if inside else PHASE_WEBSOCKET


@kernel
def close_websocket(
    chosen: I32, channels: Records, apps: Records, places: I32, streams: Records, connections: Records,
    frames: Records, messages: Records, pieces: Records, heap: U8, oddities: Records, meta: Records,
) -> None:  # fmt: skip
    """The flows of the channels in `chosen` are over: hand over what never ended."""
    m = meta[0]
    for k in range(chosen.size):
        place = int(places[chosen[k]])
        if place < 0:
            continue
        c, w = channels[chosen[k]], connections[place]
        app = apps[c.slot]
        for direction in range(2):
            s = streams[2 * place + direction]
            if s.state == PAYLOAD:
                row = frames[_put_frame(s, w, c, direction, frames, m)]
                if not s.apart:
                    _join_message(s, w, row)
                if s.ended:
                    fault(s, CUT_SHORT)
                row.error = s.error
                if s.error != FINE:
                    note_odd(oddities, WS_FIRST + s.error - 1, row)
            if s.open:
                s.partial = 1
                end_message(s, w, c, app, direction, 2 * place + direction, 0, -1, messages, pieces, heap, m)
