"""HTTP/2 frames out of in-order bytes: the framing kernel.

Source  RFC 9113 sections 3.4 (preface), 4 (frames), 6 (types). Control frames are in `control`, header blocks in
        `block`, streams in `streams`.
Sees    every frame header; payloads of control frames and header blocks. Body bytes are counted, never copied; those of
        event streams are read (`events`).
Limits  Where a header is missing framing is lost, until a segment that holds nothing but frames shows where it begins
        anew. A connection joined midstream begins like that (`detect.joins_http2`). What HPACK cannot know is null.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import (
    HTTP2,
    PHASE_PAUSE,
    PHASE_THINK,
    PHASE_TUNNEL,
    PHASE_UNKNOWN,
    PHASE_WAIT,
    PHASE_WEBSOCKET,
    WEBSOCKET,
    app_of,
    note_app,
    note_span,
)
from analyzer.protocols.http2.block import (
    begin_block,
    end_block,
    end_stream,
    keep_block,
    put_piece,
    take_headers,
    take_promise,
)
from analyzer.protocols.http2.control import number, put_frame, take_control
from analyzer.protocols.http2.detect import PREFACE as PREFACE_WORDS
from analyzer.protocols.http2.detect import begins_frames, looks_like_http2
from analyzer.protocols.http2.events import has_to_ask, lose_events, skip_events, take_events
from analyzer.protocols.http2.state import (
    CONTINUATION,
    DATA,
    DEFAULT_MAX_FRAME,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD_BYTES,
    HEADER,
    HEADERS,
    KEPT_MAX,
    LOST,
    OPEN,
    PADDED,
    PAYLOAD,
    PIECE_BROKEN,
    PING,
    PREFACE,
    PREFACE_BYTES,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from analyzer.protocols.http2.streams import find, open_upgraded
from analyzer.protocols.http2.tunnel import hand_in, is_socket
from analyzer.protocols.http2.window import spend, spend_connection
from analyzer.protocols.oddities import (
    H2_BAD_CONTINUATION,
    H2_BAD_LENGTH,
    H2_BAD_PADDING,
    H2_BAD_STREAM,
    H2_FRAME_SIZE,
    H2_LOST,
    note_odd,
)
from analyzer.protocols.verdict import YES
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN, SPAN_HOLE


@routine
def _is_preface(s: Records) -> bool:
    """True if the nine bytes are "PRI * HTT"; as a frame they would have an impossible type and stream."""
    same = 0
    while same < HEAD_BYTES and s.head[same] == PREFACE_WORDS[same]:
        same += 1
    return same == HEAD_BYTES


@routine
def _needed(s: Records) -> int:
    """Return how many bytes of the payload are kept: a control frame's, or what stands before a block or a body."""
    padded = 1 if s.flags & PADDED else 0
    if s.type == DATA:
        return padded
    if s.type == HEADERS:
        return padded + (5 if s.flags & PRIORITISED else 0)
    if s.type == PUSH_PROMISE:
        return padded + 4
    return 0 if s.type == CONTINUATION else int(min(s.length, KEPT_MAX))


@routine
def _judge(s: Records, peer: Records, span: Records, oddities: Records) -> None:
    """What a receiver would have refused: lengths and streams that the type does not allow, frames too large."""
    n, kind = s.length, s.type
    if n > max(peer.max_frame, DEFAULT_MAX_FRAME):
        note_odd(oddities, H2_FRAME_SIZE, span)
    fixed = 8 if kind == PING else 5 if kind == PRIORITY else 4 if kind in (RST_STREAM, WINDOW_UPDATE) else n
    settings = kind == SETTINGS and (n % 6 != 0 or (s.flags & 1 and n > 0))
    if n != fixed or settings or (kind == GOAWAY and n < 8) or n < s.need:
        note_odd(oddities, H2_BAD_LENGTH, span)
    of_connection = kind in (SETTINGS, PING, GOAWAY)
    if kind <= CONTINUATION and kind != WINDOW_UPDATE and (s.stream_id == 0) != of_connection:
        note_odd(oddities, H2_BAD_STREAM, span)


@routine
def _begin_frame(
    span: Records, s: Records, peer: Records, h: Records, app: Records, stream: int, exchanges: Records, done: Records,
    pieces: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """The header is whole (section 4.1); or it was the beginning of the preface."""
    s.head_len = 0
    if _is_preface(s):
        s.state, s.left, h.client = PREFACE, PREFACE_BYTES - HEAD_BYTES, span.dir
        return
    s.state, s.missing, s.pad, s.kept_n, s.socket = PAYLOAD, 0, 0, 0, 0
    s.events, s.spoke = 0, 1
    s.length, s.type, s.flags = number(s.head, 0, 3), np.int64(s.head[3]), np.int64(s.head[4])
    s.stream_id, s.left = number(s.head, 5, 4) & 0x7FFFFFFF, s.length
    s.need = _needed(s)
    _judge(s, peer, span, oddities)
    s.need = min(s.need, s.length)
    goes_on = s.block and s.type == CONTINUATION and s.stream_id == s.block_id
    if (s.block or s.type == CONTINUATION) and not goes_on:
        note_odd(oddities, H2_BAD_CONTINUATION, span)
        s.broken = 1
        if s.block:
            end_block(s, h, app, stream, span.dir == h.client, exchanges, done, pieces, m)
    if s.type == DATA and h.sockets > 0:
        index = find(h, exchanges, s.stream_id)
        s.socket = index + 1 if index > 0 and exchanges[index].socket >= OPEN else 0
    if s.type == HEADERS or s.type == PUSH_PROMISE:
        begin_block(s, span.dir == h.client)
    elif s.type == CONTINUATION and not s.block:
        begin_block(s, span.dir == h.client)
        s.broken = 1


@routine
def _take_payload(
    source: U8, at: int, n: int, span: Records, s: Records, h: Records, c: Records, stream: int, arena: U8,
    pieces: Records, exchanges: Records, beats: Records, spans: Records, queue: I32, sm: Records, m: Records,
    oddities: Records,
) -> int:  # fmt: skip
    """Take `n` bytes of the payload: fixed fields are kept, those of a block put aside, padding and body passed by.

    Return where what was not taken begins: a body may have to wait for HPACK.
    """
    while n > 0 and s.kept_n < s.need:
        s.kept[s.kept_n] = source[at]
        s.kept_n += 1
        s.left -= 1
        at += 1
        n -= 1
        if s.kept_n == 1 and s.flags & PADDED and s.type in (DATA, HEADERS, PUSH_PROMISE):
            s.pad = np.int64(s.kept[0])
            if s.pad > s.length - s.need:  # section 6.1: padding that is longer than the frame
                note_odd(oddities, H2_BAD_PADDING, span)
                s.pad, s.broken = s.length - s.need, 1
    if n > 0 and s.block:
        fragment = min(n, max(s.left - s.pad, 0))
        keep_block(source, at, fragment, s, stream, arena, pieces, m, oddities, span)
    elif n > 0 and s.socket > 0 and is_socket(exchanges[s.socket - 1], s, c):
        body = min(n, max(s.left - s.pad, 0))
        if body > 0:
            hand_in(span, exchanges[s.socket - 1], SPAN_DATA, at, body, spans, queue, sm, oddities)
    elif n > 0 and s.type == DATA and span.dir != h.client:
        body = min(n, max(s.left - s.pad, 0))
        begins = body > 0 and s.left == s.length - s.need
        if begins and has_to_ask(int(source[at]), s, h, stream, exchanges, pieces, m, oddities, span):
            return at
        if s.events > 0:
            take_events(source, at, at + body, span, s, c, exchanges, beats, m)
    s.left -= n
    return at + n


@routine
def _end_frame(
    span: Records, s: Records, peer: Records, h: Records, c: Records, app: Records, stream: int, frames: Records,
    exchanges: Records, done: Records, pieces: Records, pings: Records, heap: U8, spans: Records, queue: I32,
    sm: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """The payload has passed."""
    s.state = HEADER
    direction, kind = int(span.dir), int(s.type)
    if kind not in (DATA, HEADERS, PUSH_PROMISE, CONTINUATION):
        take_control(s, h, c, app, direction, stream >> 1, frames, pings, exchanges, done, heap, m)
        return
    if s.spoke or s.missing:
        note_app(app, s.ts)
    if m.list_all or kind == PUSH_PROMISE:
        put_frame(s, c, direction, frames, m)
    from_client = direction == h.client
    if kind == DATA:
        h.data_ts = s.ts
        spend_connection(s, h, from_client)
        index = find(h, exchanges, s.stream_id)
        if index > 0:
            e = exchanges[index]
            spend(s, h, e, from_client, s.flags & END_STREAM == 0)
            size = max(s.length - s.need - s.pad, 0)
            if from_client:
                e.request_bytes += size
            else:
                e.response_bytes += size
            if s.flags & END_STREAM and e.socket >= OPEN:
                hand_in(span, e, SPAN_FIN, 0, 0, spans, queue, sm, oddities)
            if s.flags & END_STREAM:
                end_stream(index, s, h, app, from_client, exchanges, done, m)
        return
    if kind == HEADERS:
        take_headers(s, peer, h, c, app, direction, exchanges, m, oddities, span)
    elif kind == PUSH_PROMISE:
        take_promise(s, peer, h, c, app, direction, exchanges, m, oddities, span)
    if s.flags & END_HEADERS:
        end_block(s, h, app, stream, from_client, exchanges, done, pieces, m)


@routine
def _lose(
    span: Records, s: Records, h: Records, app: Records, stream: int, exchanges: Records, done: Records,
    pieces: Records, spans: Records, queue: I32, sm: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """Where the next frame begins is not known any more, nor what the lost header blocks did to HPACK's table."""
    if s.state != LOST:
        note_odd(oddities, H2_LOST, span)
        s.block_serial, s.broken = s.block_serial if s.block else 0, 1
        if s.block:
            end_block(s, h, app, stream, span.dir == h.client, exchanges, done, pieces, m)
        else:
            put_piece(s, stream, PIECE_BROKEN, 0, 0, pieces, m)
        place = int(h.newest) if h.sockets > 0 else 0
        while place > 0:  # how much of it was a tunnel's cannot be known: a byte stands for it
            e = exchanges[place - 1]
            if e.socket >= OPEN:
                hand_in(span, e, SPAN_HOLE, 0, 1, spans, queue, sm, oddities)
            place = int(e.older)
        if span.dir != h.client:
            lose_events(h, exchanges)
    s.state, s.head_len, h.unsure = LOST, 0, 1


@routine
def _skip_missing(
    span: Records, s: Records, peer: Records, h: Records, c: Records, app: Records, stream: int, frames: Records,
    exchanges: Records, done: Records, pieces: Records, pings: Records, heap: U8, spans: Records, queue: I32,
    sm: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """Bytes that the capture does not have: inside a payload they are only counted."""
    n = int(span.length)
    if s.state == PAYLOAD:
        inside = min(n, int(s.left))
        if s.type == DATA and span.dir != h.client:
            skip_events(s, h, exchanges)
        s.left -= inside
        s.missing, s.broken = 1, 1
        s.ts, s.frame = span.ts_ns, span.frame
        if s.socket > 0 and inside > 0 and is_socket(exchanges[s.socket - 1], s, c):
            hand_in(span, exchanges[s.socket - 1], SPAN_HOLE, 0, inside, spans, queue, sm, oddities)
        if s.left == 0:
            _end_frame(
                span, s, peer, h, c, app, stream, frames, exchanges, done, pieces, pings, heap, spans, queue, sm, m,
                oddities,
            )  # fmt: skip
        n -= inside
    if n > 0:
        _lose(span, s, h, app, stream, exchanges, done, pieces, spans, queue, sm, m, oddities)


@helper
def _read(
    source: U8, span: Records, s: Records, peer: Records, h: Records, c: Records, app: Records, stream: int,
    frames: Records, exchanges: Records, done: Records, beats: Records, pieces: Records, pings: Records, heap: U8,
    arena: U8, spans: Records, queue: I32, sm: Records, m: Records, oddities: Records,
) -> int:  # fmt: skip
    """Read a span and return how far: to its end, or to where HPACK has to read first."""
    at, end = int(span.at), int(span.at + span.length)
    if s.state == LOST and begins_frames(source, at, end, max(peer.max_frame, DEFAULT_MAX_FRAME)):
        s.state = HEADER
    while at < end and s.state != LOST and h.waits < 2:
        if s.state == HEADER:
            if s.head_len == 0:
                s.first_ts, s.first_frame, s.first_offset = span.ts_ns, span.frame, span.offset + at - span.at
                s.first_idle = app.silence if at == span.at else 0
            while at < end and s.head_len < HEAD_BYTES:
                s.head[s.head_len] = source[at]
                s.head_len += 1
                at += 1
            if s.head_len < HEAD_BYTES:
                break
            _begin_frame(span, s, peer, h, app, stream, exchanges, done, pieces, m, oddities)
        s.ts, s.frame = span.ts_ns, span.frame
        n = min(end - at, int(s.left))
        if s.state == PREFACE:
            s.left -= n
            at += n
        elif n > 0:
            at = _take_payload(
                source, at, n, span, s, h, c, stream, arena, pieces, exchanges, beats, spans, queue, sm, m, oddities
            )  # fmt: skip
        if s.left == 0 and s.state == PREFACE:
            s.state = HEADER
        elif s.left == 0:
            _end_frame(
                span, s, peer, h, c, app, stream, frames, exchanges, done, pieces, pings, heap, spans, queue, sm, m,
                oddities,
            )  # fmt: skip
    return at if s.state != LOST else end


@routine
def _is_inside(s: Records) -> bool:
    """In the middle of a frame or of a header block."""
    return bool(s.state != LOST and (s.state != HEADER or s.block != 0 or s.head_len > 0))


@routine
def _set_phase(app: Records, h: Records, s: Records, peer: Records) -> None:
    """Whose turn is it now?"""
    inside = _is_inside(s) or _is_inside(peer)
    app.open_message = 1 if inside else 0
    app.outstanding, app.answering = h.open, 1 if h.answering > 0 else 0
    app.unsure = 1 if s.state == LOST or peer.state == LOST else 0
    if inside or h.asking > 0 or h.answering > 0:
        app.phase = PHASE_PAUSE
    elif h.open > 0:
        app.phase = PHASE_WAIT
    elif h.sockets > 0:
        app.phase = PHASE_WEBSOCKET if h.sockets > h.tunnels else PHASE_TUNNEL
    else:
        app.phase = PHASE_UNKNOWN if h.unsure and h.opened == 0 else PHASE_THINK


@routine
def _begins(source: U8, span: Records) -> bool:
    """True if the span is the beginning of the connection, though its SYN was not captured."""
    n = min(int(span.length), PREFACE_BYTES)
    return bool(span.kind == SPAN_DATA and looks_like_http2(source, int(span.at), n, 0) == YES)


@kernel
def frame_http2(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    places: I32, streams: Records, connections: Records, pings: Records, frames: Records, exchanges: Records,
    done: Records, beats: Records, pieces: Records, heap: U8, arena: U8, oddities: Records, silences: Records,
    queue: I32, stage: Records, meta: Records,
) -> None:  # fmt: skip
    """Read the spans of HTTP/2 channels.

    index  (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    places (channels,) where the state of a channel is    streams (2 * places,) STREAM    connections (places,)
    pings (2 * MAX_PINGS * places,) PINGS    exchanges  the pool    frames, done, beats, pieces  written here, as
    are `heap` and `arena`    queue  rows of `spans` whose channel something else reads by now
    """
    m, sm = meta[0], stage[0]
    for k in range(index.size):
        span = spans[index[k]]
        c = channels[span.channel]
        if c.reader != HTTP2:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        place = int(places[span.channel])
        stream = 2 * place + int(span.dir)
        s, peer, h, app = streams[stream], streams[stream ^ 1], connections[place], app_of(c, apps)
        if h.waits > 0:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        if c.stream_id < 0:
            note_span(span, c, app, silences, sm)
        app.reader = WEBSOCKET if h.sockets_ever > h.tunnels_ever else HTTP2
        source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
        if h.seen == 0:
            h.seen, h.client = 1, c.client
            if h.upgrade_serial > 0:
                open_upgraded(span, h, c, peer, exchanges, m, oddities)
            elif c.midstream and not _begins(source, span):
                h.joined, h.unsure, s.state, peer.state = 1, 1, LOST, LOST
        if span.kind == SPAN_DATA:
            at = _read(
                source, span, s, peer, h, c, app, stream, frames, exchanges, done, beats, pieces, pings, heap, arena,
                spans, queue, sm, m, oddities,
            )  # fmt: skip
            left = span.at + span.length - at
            if left > 0:  # the rest has to wait
                span.offset, span.at, span.length = span.offset + span.length - left, at, left
                queue[sm.n_queue] = index[k]
                sm.n_queue += 1
        elif span.kind == SPAN_FIN:
            s.ended = 1
        else:
            _skip_missing(
                span, s, peer, h, c, app, stream, frames, exchanges, done, pieces, pings, heap, spans, queue, sm, m,
                oddities,
            )  # fmt: skip
        _set_phase(app, h, s, peer)
