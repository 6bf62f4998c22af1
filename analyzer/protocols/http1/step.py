"""A whole line, in whatever state of its message: the steps of the framing.

Source  RFC 9112 sections 2 (messages), 5 (fields), 7.1 (chunks).
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, routine
from analyzer.protocols.channel import OPAQUE
from analyzer.protocols.http1.detect import looks_like_http1
from analyzer.protocols.http1.head import (
    is_asked_for,
    is_status_line,
    method_end,
    simple_target,
    take_field,
    take_value,
)
from analyzer.protocols.http1.line import (
    CR,
    LINE_MAX,
    SEMICOLON,
    SLASH,
    SPACE,
    drop_carry,
    hexadecimal,
    line_end,
    skip_blank,
    take_name,
    trim_blank,
)
from analyzer.protocols.http1.message import (
    begin_request,
    begin_response,
    end_message,
    end_request_head,
    end_response_head,
    take_simple_request,
)
from analyzer.protocols.http1.state import CHUNK_DATA, CHUNK_END, CHUNK_SIZE, FIELDS, LOST, START, TRAILERS
from analyzer.protocols.oddities import BAD_CHUNK, BAD_HEAD, BARE_LF, OVERSIZED_HEAD, note_odd
from analyzer.protocols.verdict import YES

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
def take_cut_start(
    carry: U8, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records,
    heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A snap length cut a request line: tell its request as far as it goes."""
    if s.carry_len == 0 or s.line_lost or (s.state != START and s.state != LOST) or h.requester == 2 - span.dir:
        return
    start = (s.carry - 1) * LINE_MAX
    end = start + s.carry_len
    stop = method_end(carry, start, end, True)
    if stop < 0 or looks_like_http1(carry, start, s.carry_len) != YES:
        return
    target = skip_blank(carry, stop, end)
    if target < end and carry[target] == SLASH:
        s.line_long = 1
        begin_request(carry, start, end, span, s, c, h, app, exchanges, done, heap, m, oddities)


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
    line: U8, start: int, end: int, span: Records, s: Records, c: Records, h: Records, app: Records,
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
        take_simple_request(line, start, end, span, s, c, h, app, exchanges, done, heap, m, oddities)
    elif not h.seen:
        c.reader = OPAQUE
    elif s.state != LOST:
        note_odd(oddities, BAD_HEAD, span)
        s.state, s.resync = LOST, 1


@helper
def take_fields(
    source: U8, at: int, end: int, span: Records, s: Records, e: Records, heap: U8, m: Records, oddities: Records
) -> int:  # fmt: skip
    """Read the field lines of which all is there and nothing is odd; return where the first other line begins.

    Most lines of most heads are such. `take_whole_line` reads them to the same effect, in half as much time again.
    """
    while at < end:
        colon = take_name(source, at, min(end, at + LINE_MAX), s)
        stop = line_end(source, colon, end) if colon >= 0 else end
        if stop == end or source[stop - 1] != CR:
            break
        length = stop - 1 - at
        if length >= LINE_MAX or s.head_bytes + length > HEAD_MAX:
            break
        s.head_bytes += length
        if is_asked_for(s.field):
            take_value(source, colon + 1, stop - 1, s, e, heap, m, span, oddities)
        at = stop + 1
    return at


@helper
def _take_head_line(
    line: U8, start: int, end: int, span: Records, s: Records, c: Records, h: Records, app: Records,
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
        end_message(span, s, h, app, exchanges, done, m)


@routine
def _take_chunk_line(
    line: U8, start: int, end: int, span: Records, s: Records, h: Records, app: Records,
    exchanges: Records, done: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A chunk's size, the end of its data, or a trailer field (RFC 9112 section 7.1)."""
    if s.state == TRAILERS:
        if start == end:
            end_message(span, s, h, app, exchanges, done, m)
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


@helper
def take_whole_line(
    line: U8, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records,
    heap: U8, m: Records, carry_free: I32, oddities: Records,
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
        _take_start(line, start, end, span, s, c, h, app, exchanges, done, heap, m, carry_free, oddities)
    elif state == FIELDS:
        _take_head_line(line, start, end, span, s, c, h, app, exchanges, done, heap, m, oddities)
    else:
        _take_chunk_line(line, start, end, span, s, h, app, exchanges, done, m, oddities)
