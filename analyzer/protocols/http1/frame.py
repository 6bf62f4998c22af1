"""HTTP/1 messages out of in-order bytes: the framing kernel.

Source  RFC 9112. What a message is made of stands in `step`, `message` and `head`, lines in `line`.
Sees    start lines, the fields that matter, lengths of bodies; body bytes are stepped over, never copied.
        HTTP/0.9 (RFC 1945) where a client begins with its request line, and the answer has no status line.
Limits  After bytes that are missing inside a head or a chunk header, reading goes on at the next start line. Of a
        request line that a snap length cuts, method and target are told as far as they go.
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import (
    HTTP1,
    PHASE_PAUSE,
    PHASE_THINK,
    PHASE_WAIT,
    app_of,
    hand_on,
    note_app,
    note_span,
)
from analyzer.protocols.events import lose_line, read_events
from analyzer.protocols.http1.detect import NAME
from analyzer.protocols.http1.early import drop_bytes, drop_piece, fill_row, give_up, hand_held, hold, waits
from analyzer.protocols.http1.exchange import finish_first
from analyzer.protocols.http1.line import LINE_MAX, drop_carry, take_line
from analyzer.protocols.http1.message import REQUEST_TIMEOUT, begin_simple_response, end_message
from analyzer.protocols.http1.state import (
    BODY_CLOSE,
    BODY_LENGTH,
    CHUNK_DATA,
    CHUNK_END,
    CHUNK_SIZE,
    FIELDS,
    LOST,
    START,
)
from analyzer.protocols.http1.step import lose, take_cut_start, take_fields, take_whole_line
from analyzer.protocols.oddities import LINE_CAP, OVERSIZED_HEAD, note_odd
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_CLIPPED, SPAN_DATA, SPAN_FIN


@routine
def _skip_missing(length: int, s: Records, exchanges: Records, m: Records, carry_free: I32) -> None:
    """Bytes that the capture does not have: inside a body they are only counted."""
    lose_line(s)
    if s.state == BODY_CLOSE:
        s.body += length
    elif (s.state == BODY_LENGTH or s.state == CHUNK_DATA) and length < s.left:
        s.left -= length
        s.body += length
    else:
        lose(s, exchanges, m, carry_free)


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
def _take_body(source: U8, at: int, end: int, span: Records, s: Records, beats: Records, m: Records) -> None:
    """Body bytes are stepped over, unless they are an event stream."""
    if s.sse:
        read_events(source, at, end, span, s, beats, m)
    else:
        m.said = 1


@helper
def _has_to_wait(span: Records, s: Records, h: Records, exchanges: Records) -> bool:
    """What the client says next is not the next request if the newest one, an upgrade, is granted."""
    ready = s.state == START and s.carry_len == 0 and s.line_lost == 0 and h.requester == span.dir + 1
    return ready and waits(h, exchanges)


@helper
def _is_due(h: Records, exchanges: Records) -> bool:
    """What waited belongs to HTTP."""
    return h.held > 0 and not waits(h, exchanges)


@helper
def _read(
    source: U8, at: int, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records,
    done: Records, heap: U8, m: Records, carry: U8, carry_free: I32, beats: Records, oddities: Records,
) -> int:  # fmt: skip
    """Read a span from `at` on; return how far.

    It stops early where another protocol takes over, before what has to wait, and where what waited is to be read.
    """
    end = span.at + span.length
    while at < end and c.reader == HTTP1 and not _is_due(h, exchanges) and not _has_to_wait(span, s, h, exchanges):
        if s.state == BODY_LENGTH or s.state == CHUNK_DATA:
            n = min(end - at, s.left)
            _take_body(source, at, at + n, span, s, beats, m)
            s.left -= n
            s.body += n
            at += n
            if s.left == 0 and s.state == CHUNK_DATA:
                s.state = CHUNK_END
            elif s.left == 0:
                end_message(span, s, h, app, exchanges, done, m)
        elif s.state == BODY_CLOSE:
            _take_body(source, at, end, span, s, beats, m)
            s.body += end - at
            at = end
        elif h.simple and h.requester == 2 - span.dir and _is_bare(source, at, end, s):
            begin_simple_response(span, s, h, app, exchanges)
            drop_carry(s, m, carry_free)
        else:
            m.said = 1 if s.sse == 0 or s.state < CHUNK_SIZE else m.said  # chunk sizes come along with what is in them
            if s.carry_len == 0 and s.line_lost == 0:
                if s.state == FIELDS:
                    at = take_fields(source, at, end, span, s, exchanges[s.row], heap, m, oddities)
                    if at == end:
                        break
                s.line_idle = app.silence if at == span.at else 0
            short, kept = s.line_long == 0, s.line_lost == 0
            whole = take_line(source, at, end, span, s, m, carry, carry_free)
            at = m.line_after
            if short and s.line_long and s.state != LOST:  # told at once: the line may never end
                note_odd(oddities, OVERSIZED_HEAD, span)
            if kept and s.line_lost:
                note_odd(oddities, LINE_CAP, span)
            if whole:
                line = carry if m.line_kept else source
                take_whole_line(line, span, s, c, h, app, exchanges, done, heap, m, carry_free, oddities)
                drop_carry(s, m, carry_free)
    return int(at)


@helper
def _set_phase(app: Records, h: Records, requests: Records, responses: Records, exchanges: Records) -> None:
    """Whose turn is it now?"""
    answered = h.gone or requests.row == 0 or exchanges[requests.row].response_done
    begun = requests.state != START and requests.state != LOST
    waits = requests.expect and requests.body == 0  # for 100 (Continue)
    refused = answered and responses.status != REQUEST_TIMEOUT
    app.asking = 1 if (begun and not waits and not refused) or requests.carry_len > 1 else 0  # 1: perhaps of CR LF
    asking = begun and not answered
    answering = responses.state != START and responses.state != LOST
    app.open_message = 1 if asking or answering or requests.carry_len > 0 or responses.carry_len > 0 else 0
    app.unsure = 1 if requests.state == LOST or responses.state == LOST else 0
    if asking or answering:
        app.phase = PHASE_PAUSE
    else:
        app.phase = PHASE_WAIT if app.outstanding > 0 else PHASE_THINK


@routine
def _take_span(
    source: U8, at: int, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records,
    done: Records, heap: U8, m: Records, carry: U8, carry_free: I32, beats: Records, oddities: Records,
) -> int:  # fmt: skip
    """Read a span from `at` on: bytes, missing ones, or the end. Return how far (see `_read`)."""
    if h.gone and h.requester == span.dir + 1:
        s.row, h.gone = 0, 0
    if span.kind == SPAN_DATA:
        m.said = 0
        at = _read(source, at, span, s, c, h, app, exchanges, done, heap, m, carry, carry_free, beats, oddities)
        if m.said:
            note_app(app, span.ts_ns)
        return at
    if span.kind == SPAN_FIN:
        s.fin = 1
        if h.requester == span.dir + 1 and app.outstanding > 0 and not app.answering:
            app.gave_up = 1
        if (
            h.simple and h.requester == 2 - span.dir and 0 < s.carry_len < len(NAME)
        ):  # all of an answer that began like one
            begin_simple_response(span, s, h, app, exchanges)
            drop_carry(s, m, carry_free)
        if s.state == BODY_CLOSE:
            end_message(span, s, h, app, exchanges, done, m)
    else:
        if span.kind == SPAN_CLIPPED:  # a hole is told later than what answers it
            take_cut_start(carry, span, s, c, h, app, exchanges, done, heap, m, oddities)
        _skip_missing(span.length, s, exchanges, m, carry_free)
    return int(span.at + span.length)


@routine
def _read_held(
    row: Records, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records,
    heap: U8, m: Records, carry: U8, carry_free: I32, beats: Records, oddities: Records, pieces: Records,
) -> None:  # fmt: skip
    """Read what waited as HTTP, up to the next request for an upgrade. `row` is a free one of the span table."""
    held, start, silence = h.held, (h.held_slot - 1) * LINE_MAX, app.silence
    used = 0
    while held > 0 and not _has_to_wait(row, s, h, exchanges):
        p = pieces[h.held_first - 1]
        fill_row(row, p, start + used, span, h.requester - 1)
        app.silence, h.held = p.silence, 0  # nothing is due while it is read
        at = _take_span(
            carry, row.at, row, s, c, h, app, exchanges, done, heap, m, carry, carry_free, beats, oddities
        )  # fmt: skip
        h.held = held
        read = at - row.at
        used += read if p.kind == SPAN_DATA else 0
        p.offset, p.length, p.silence = p.offset + read, p.length - read, 0
        if p.length == 0:
            drop_piece(h, pieces, m)
            held -= 1
    app.silence = silence
    drop_bytes(used, h, m, carry, carry_free)


@kernel
def frame_http1(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    streams: Records, connections: Records, exchanges: Records, done: Records, heap: U8, carry: U8, carry_free: I32,
    pieces: Records, beats: Records, oddities: Records, silences: Records, queue: I32, stage: Records, meta: Records,
) -> None:  # fmt: skip
    """Read the spans of HTTP/1 channels.

    index  (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    streams (2 * channels,) STREAM    connections (channels,) CONNECTION    exchanges  the pool    done  written here
    beats  EVENT_BEAT rows of event streams, written here    pieces  PIECE, the pool
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
        source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
        at, end, begun = span.at, span.at + span.length, False
        while c.reader == HTTP1 and (not begun or at < end or _is_due(h, exchanges)):
            if _is_due(h, exchanges):
                _read_held(
                    spans[sm.n_spans], span, streams[2 * span.channel + h.requester - 1], c, h, app, exchanges, done,
                    heap, m, carry, carry_free, beats, oddities, pieces,
                )  # fmt: skip
                if begun and at == end:
                    break
            if h.requester == span.dir + 1 and (h.held > 0 or _has_to_wait(span, s, h, exchanges)):
                silence = app.silence if at == span.at else 0
                if not hold(source, at, span, silence, h, pieces, m, carry, carry_free):
                    give_up(span, h, exchanges, oddities)
                    continue
                if span.kind == SPAN_DATA:
                    note_app(app, span.ts_ns)
                at = end
            else:
                at = _take_span(
                    source, at, span, s, c, h, app, exchanges, done, heap, m, carry, carry_free, beats, oddities
                )  # fmt: skip
            begun = True
        if c.reader != HTTP1:
            if h.held > 0:
                hand_held(span, h, pieces, spans, aside, queue, sm, m, carry, carry_free, oddities)
            hand_on(span, at, spans, queue, sm)
            continue
        client = h.requester - 1 if h.requester > 0 else 0
        _set_phase(app, h, streams[2 * span.channel + client], streams[2 * span.channel + 1 - client], exchanges)


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
