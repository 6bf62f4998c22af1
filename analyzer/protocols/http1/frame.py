"""HTTP/1 messages out of in-order bytes: the framing kernel.

Source  RFC 9112. What a message is made of stands in `message` and `head`, lines in `line`.
Sees    start lines, the fields that matter, lengths of bodies; body bytes are stepped over, never copied.
        HTTP/0.9 (RFC 1945) where a client begins with its request line, and the answer has no status line.
Limits  After bytes that are missing inside a head or a chunk header, reading goes on at the next start line. What a
        client sends before the answer to its Upgrade or CONNECT is left out, and told (`http.early_upgrade`).
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import (
    HTTP1,
    OPAQUE,
    PHASE_PAUSE,
    PHASE_THINK,
    PHASE_WAIT,
    app_of,
    hand_on,
    note_app,
    note_span,
)
from analyzer.protocols.http1.detect import NAME
from analyzer.protocols.http1.events import read_events
from analyzer.protocols.http1.exchange import finish_first
from analyzer.protocols.http1.head import is_status_line, method_end, simple_target, take_field
from analyzer.protocols.http1.line import SEMICOLON, SPACE, drop_carry, hexadecimal, skip_blank, take_line, trim_blank
from analyzer.protocols.http1.message import (
    begin_request,
    begin_response,
    begin_simple_response,
    end_message,
    end_request_head,
    end_response_head,
    take_simple_request,
)
from analyzer.protocols.http1.state import (
    BODY_CLOSE,
    BODY_LENGTH,
    CHUNK_DATA,
    CHUNK_END,
    CHUNK_SIZE,
    FIELDS,
    IN_FIELD,
    LOST,
    START,
    TRAILERS,
)
from analyzer.protocols.oddities import (
    BAD_CHUNK,
    BAD_HEAD,
    BARE_LF,
    LINE_CAP,
    OVERSIZED_HEAD,
    note_odd,
)
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN

# Servers refuse heads far smaller than this (8 kB to 64 kB); what is longer is read on, line by line, and told.
HEAD_MAX = 65536


@routine
def lose(s: Records, exchanges: Records, m: Records, carry_free: I32) -> None:
    """Framing is gone: look for the next start line."""
    if s.state != START and s.state != LOST:
        exchanges[s.row].damaged = 1
    drop_carry(s, m, carry_free)
    s.state, s.resync = LOST, 1


@routine
def _skip_missing(length: int, s: Records, exchanges: Records, m: Records, carry_free: I32) -> None:
    """Bytes that the capture does not have: inside a body they are only counted."""
    s.event_line = IN_FIELD  # of an event stream: what line follows is not known
    if s.state == BODY_CLOSE:
        s.body += length
    elif (s.state == BODY_LENGTH or s.state == CHUNK_DATA) and length < s.left:
        s.left -= length
        s.body += length
    else:
        lose(s, exchanges, m, carry_free)


@routine
def _start_in(line: U8, start: int, end: int) -> int:
    """Return where a start line begins inside a line that may have the end of a body before it, or -1."""
    if method_end(line, start, end, False) >= 0:
        return start
    run = 0  # capital letters in a row
    for k in range(start, end):
        if is_status_line(line, k, end):
            return k
        if 65 <= line[k] <= 90:
            run += 1
            continue
        if run >= 3 and line[k] == SPACE and method_end(line, k - run, end, False) >= 0:
            return k - run
        run = 0
    return -1


@routine
def _take_start(
    line: U8, start: int, end: int, offset: int, span: Records, s: Records, c: Records, h: Records, app: Records,
    exchanges: Records, done: Records, heap: U8, m: Records, carry_free: I32, oddities: Records,
) -> None:  # fmt: skip
    """A line where a message should begin."""
    if s.state == LOST:
        found = _start_in(line, start, end)
        if found < 0:
            return
        start = found
    elif start == end:
        return  # RFC 9112 section 2.2: empty lines before a request line are ignored
    as_request = method_end(line, start, end, s.line_long != 0) >= 0
    as_response = is_status_line(line, start, end)
    if as_response and h.requester != span.dir + 1:
        begin_response(line, start, span, s, c, h, app, exchanges, done, m, oddities)
    elif as_request and h.requester != 2 - span.dir:
        begin_request(line, start, end, span, s, c, h, app, exchanges, done, heap, m, oddities)
    elif not h.seen and span.dir == 0 and not c.midstream and s.state == START and simple_target(line, start, end) >= 0:
        take_simple_request(line, start, end, offset, span, s, c, h, app, exchanges, done, heap, m, oddities)
    elif not h.seen:
        c.reader = OPAQUE
    elif s.state != LOST:
        note_odd(oddities, BAD_HEAD, span)
        s.state, s.resync = LOST, 1


@routine
def _take_head_line(
    line: U8, start: int, end: int, offset: int, span: Records, s: Records, c: Records, h: Records, app: Records,
    exchanges: Records, done: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A field line, or the empty line that ends the head."""
    e = exchanges[s.row]
    s.head_bytes += end - start
    if s.head_bytes > HEAD_MAX >= s.head_bytes - (end - start):
        note_odd(oddities, OVERSIZED_HEAD, span)
    if start < end:
        if s.head_bytes <= HEAD_MAX:
            take_field(line, start, end, s, e, heap, m, span, oddities)
        return
    if s.is_request:
        end_request_head(span, s, h, app, e, oddities)
    else:
        end_response_head(span, s, c, h, app, e, oddities)
    if s.state == START and (s.is_request or e.response_seen):
        end_message(span, offset, s, h, app, exchanges, done, m)


@routine
def _take_chunk_line(
    line: U8, start: int, end: int, offset: int, span: Records, s: Records, h: Records, app: Records,
    exchanges: Records, done: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A chunk's size, the end of its data, or a trailer field (RFC 9112 section 7.1)."""
    if s.state == TRAILERS:
        if start == end:
            end_message(span, offset, s, h, app, exchanges, done, m)
        return
    size = 0
    if s.state == CHUNK_SIZE:
        stop = start
        while stop < end and line[stop] != SEMICOLON:
            stop += 1
        size = hexadecimal(line, skip_blank(line, start, stop), trim_blank(line, start, stop))
    bad = start != end if s.state == CHUNK_END else size < 0
    if bad:
        note_odd(oddities, BAD_CHUNK, span)
        exchanges[s.row].damaged = 1
        s.state, s.resync = LOST, 1
    elif s.state == CHUNK_END:
        s.state = CHUNK_SIZE
    elif size == 0:
        s.state = TRAILERS
    else:
        s.state, s.left = CHUNK_DATA, size


@routine
def _take_line(
    line: U8, offset: int, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records,
    done: Records, heap: U8, m: Records, carry_free: I32, oddities: Records,
) -> None:  # fmt: skip
    """A whole line, in whatever state."""
    start, end, state = m.line_start, m.line_end, s.state
    if s.line_lost:
        if state != FIELDS and state != TRAILERS:
            lose(s, exchanges, m, carry_free)
        return
    if not m.line_cr and state != LOST:
        note_odd(oddities, BARE_LF, span)
    if state in (START, LOST):
        _take_start(line, start, end, offset, span, s, c, h, app, exchanges, done, heap, m, carry_free, oddities)
    elif state == FIELDS:
        _take_head_line(line, start, end, offset, span, s, c, h, app, exchanges, done, heap, m, oddities)
    else:
        _take_chunk_line(line, start, end, offset, span, s, h, app, exchanges, done, m, oddities)


@routine
def _is_bare(source: U8, at: int, end: int, s: Records) -> bool:
    """The first bytes of an answer that is due, behind those that are kept, cannot become a status line."""
    for k in range(s.carry_len, len(NAME)):
        if at == end:
            return False
        if source[at] != NAME[k]:
            return True
        at += 1
    return False


@helper
def _take_body(source: U8, at: int, end: int, span: Records, s: Records, comments: Records, m: Records) -> None:
    """Body bytes are stepped over, unless they are an event stream."""
    if s.sse:
        read_events(source, at, end, span, s, comments, m)
    else:
        m.said = 1


@helper
def _read(
    source: U8, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records,
    heap: U8, m: Records, carry: U8, carry_free: I32, comments: Records, oddities: Records,
) -> int:  # fmt: skip
    """Read a span; return how far. It stops early where another protocol takes over."""
    at, end = span.at, span.at + span.length
    shift = span.offset - span.at
    while at < end and c.reader == HTTP1:
        if s.state == BODY_LENGTH or s.state == CHUNK_DATA:
            n = min(end - at, s.left)
            _take_body(source, at, at + n, span, s, comments, m)
            s.left -= n
            s.body += n
            at += n
            if s.left == 0 and s.state == CHUNK_DATA:
                s.state = CHUNK_END
            elif s.left == 0:
                end_message(span, at + shift, s, h, app, exchanges, done, m)
        elif s.state == BODY_CLOSE:
            _take_body(source, at, end, span, s, comments, m)
            s.body += end - at
            at = end
        elif h.simple and h.requester == 2 - span.dir and _is_bare(source, at, end, s):
            begin_simple_response(span, s, h, app, exchanges)
            drop_carry(s, m, carry_free)
        else:
            m.said = 1 if s.sse == 0 or s.state < CHUNK_SIZE else m.said  # chunk sizes come along with what is in them
            if s.carry_len == 0 and s.line_lost == 0:
                s.line_idle = app.silence if at == span.at else 0
            short, kept = s.line_long == 0, s.line_lost == 0
            if s.state == START and h.last > 0 and h.requester == span.dir + 1:
                newest = exchanges[h.last - 1]
                if newest.upgrade and newest.request_done and not newest.response_seen:
                    h.early = 1
            whole = take_line(source, at, end, span, s, m, carry, carry_free)
            at = m.line_after
            if short and s.line_long and s.state != LOST:  # told at once: the line may never end
                note_odd(oddities, OVERSIZED_HEAD, span)
            if kept and s.line_lost:
                note_odd(oddities, LINE_CAP, span)
            if whole:
                line = carry if m.line_kept else source
                _take_line(line, at + shift, span, s, c, h, app, exchanges, done, heap, m, carry_free, oddities)
                drop_carry(s, m, carry_free)
    return int(at)


@helper
def _set_phase(app: Records, h: Records, requests: Records, responses: Records) -> None:
    """Whose turn is it now?"""
    asking = requests.state != START and requests.state != LOST
    answering = responses.state != START and responses.state != LOST
    app.open_message = 1 if asking or answering or requests.carry_len > 0 or responses.carry_len > 0 else 0
    if asking or answering:
        app.phase = PHASE_PAUSE
    else:
        app.phase = PHASE_WAIT if h.waiting > 0 else PHASE_THINK


@kernel
def frame_http1(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    streams: Records, connections: Records, exchanges: Records, done: Records, heap: U8, carry: U8, carry_free: I32,
    comments: Records, oddities: Records, silences: Records, queue: I32, stage: Records, meta: Records,
) -> None:  # fmt: skip
    """Read the spans of HTTP/1 channels.

    index  (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    streams (2 * channels,) STREAM    connections (channels,) CONNECTION    exchanges  the pool    done  written here
    comments  COMMENT rows of event streams, written here
    queue  rows of `spans` that another protocol has to read, the rest of a span appended to `spans` among them
    """
    m, sm = meta[0], stage[0]
    for k in range(index.size):
        span = spans[index[k]]
        c = channels[span.channel]
        if c.reader != HTTP1:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        s, h, app = streams[2 * span.channel + span.dir], connections[span.channel], app_of(c, apps)
        if c.stream_id < 0:
            note_span(span, c, app, silences, sm)
        if span.kind == SPAN_DATA:
            source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
            m.said = 0
            at = _read(source, span, s, c, h, app, exchanges, done, heap, m, carry, carry_free, comments, oddities)
            if m.said:
                note_app(app, span.ts_ns)
            if c.reader != HTTP1:
                hand_on(span, at, spans, queue, sm)
                continue
        elif span.kind == SPAN_FIN:
            s.fin = 1
            if (
                h.simple and h.requester == 2 - span.dir and 0 < s.carry_len < len(NAME)
            ):  # all of an answer that began like one
                begin_simple_response(span, s, h, app, exchanges)
                drop_carry(s, m, carry_free)
            if s.state == BODY_CLOSE:
                end_message(span, span.offset, s, h, app, exchanges, done, m)
        else:
            _skip_missing(span.length, s, exchanges, m, carry_free)
        client = h.requester - 1 if h.requester > 0 else 0
        _set_phase(app, h, streams[2 * span.channel + client], streams[2 * span.channel + 1 - client])


@kernel
def close_http1(
    chosen: I32, channels: Records, apps: Records, streams: Records, connections: Records, exchanges: Records,
    done: Records, carry_free: I32, meta: Records,
) -> None:  # fmt: skip
    """The flows of the channels in `chosen` are over: hand over the exchanges that never ended."""
    m = meta[0]
    for k in range(chosen.size):
        h, app = connections[chosen[k]], app_of(channels[chosen[k]], apps)
        outstanding = app.outstanding
        while h.first > 0:
            finish_first(h, app, exchanges, done, m)
        app.outstanding = outstanding  # as the close found it
        for direction in range(2):
            drop_carry(streams[2 * chosen[k] + direction], m, carry_free)
