"""A message from its start line to the end of its body: which state follows which, and what each end means.

Source  RFC 9112 section 6.3 (how long a body is), 7.1 (chunks), 9.3 and 9.6 (persistence, close);
        RFC 9110 sections 15.2 (1xx), 9.3.6 (CONNECT), 7.8 (Upgrade); RFC 1945 section 4.1 (Simple-Request, HTTP/0.9).
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.channel import HTTP1, HTTP2, OPAQUE, PHASE_TUNNEL, UNDECIDED, WEBSOCKET
from analyzer.protocols.http1.exchange import adopt_orphan, count_outstanding, finish_ended, finish_first, open_exchange
from analyzer.protocols.http1.head import begin_head, take_request_line, take_simple_line, version_at
from analyzer.protocols.http1.line import decimal
from analyzer.protocols.http1.state import (
    BODY_CLOSE,
    BODY_LENGTH,
    BY_CHUNKS,
    BY_CLOSE,
    BY_LENGTH,
    CHUNK_SIZE,
    CONNECT,
    FIELDS,
    HEAD,
    LOST,
    NO_BODY,
    SIMPLE_MINOR,
    START,
    UPGRADE_CONNECT,
    UPGRADE_H2C,
    UPGRADE_OTHER,
    UPGRADE_WEBSOCKET,
)
from analyzer.protocols.oddities import LENGTH_AND_CHUNKED, ORPHAN_RESPONSE, note_odd

GATEWAY_TIMEOUT = 504  # RFC 9110 section 15.6.5
REQUEST_TIMEOUT = 408  # section 15.5.9
MAX_SWITCHES = 16  # tunnels in tunnels of one connection: each costs a look at all that is inside
HOST_MAX = 262  # a DNS name has 253 characters at most, and a port may follow


@routine
def _open_request(
    span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records, m: Records,
    oddities: Records,
) -> None:  # fmt: skip
    begin_head(s)
    behind = False  # the request before waits for its response: this one is pipelined
    if h.last > 0:
        before = exchanges[h.last - 1]
        behind = before.request_done and not before.response_done and not before.upgrade and not before.damaged
    s.row = open_exchange(span, c, h, app, exchanges, done, m, oddities)
    h.gone = 0
    e = exchanges[s.row]
    s.is_request, s.state = 1, FIELDS
    h.seen, h.requester = 1, span.dir + 1
    app.reader = HTTP1
    e.request_seen, e.pipelined = 1, behind
    e.request_ts, e.request_frame, e.idle_before = s.line_ts, s.line_frame, s.line_idle
    app.requests += 1
    app.requester = span.dir
    app.request_ts, app.request_frame, app.request_idle = s.line_ts, s.line_frame, s.line_idle
    app.request_offset = s.line_offset


@routine
def begin_request(
    line: U8, start: int, end: int, span: Records, s: Records, c: Records, h: Records, app: Records,
    exchanges: Records, done: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A request line was read: open its exchange."""
    _open_request(span, s, c, h, app, exchanges, done, m, oddities)
    take_request_line(line, start, end, s, exchanges[s.row], heap, m)


@routine
def take_simple_request(
    line: U8, start: int, end: int, span: Records, s: Records, c: Records, h: Records, app: Records,
    exchanges: Records, done: Records, heap: U8, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A request of HTTP/0.9 is its line, and asks for an answer without a head that ends with the connection."""
    _open_request(span, s, c, h, app, exchanges, done, m, oddities)
    e = exchanges[s.row]
    take_simple_line(line, start, end, s, e, heap, m)
    e.framing_c, h.simple = NO_BODY, 1
    h.said_close, app.close_said, app.close_implied = 1, 1, 1
    end_message(span, s, h, app, exchanges, done, m)


@routine
def begin_simple_response(span: Records, s: Records, h: Records, app: Records, exchanges: Records) -> None:
    """Bytes that are no status line answer a request of HTTP/0.9: all of them are the body."""
    begin_head(s)
    if s.carry_len == 0:
        s.line_ts, s.line_frame = span.ts_ns, span.frame
    s.row = max(h.first - 1, 0)  # nobody's, if no exchange could be opened
    e = exchanges[s.row]
    s.is_request, s.state, s.minor, h.simple = 0, BODY_CLOSE, SIMPLE_MINOR, 0
    s.body = s.carry_len
    e.minor_s, e.framing_s = s.minor, BY_CLOSE
    e.response_seen, e.response_ts, e.response_frame = 1, s.line_ts, s.line_frame
    app.answering = 1


@helper
def _is_answered(e: Records) -> bool:
    """An interim response whose end a snap length or a loss cut off is not the answer."""
    return bool(e.response_seen and not (100 <= e.status < 200 and e.status != 101))


@routine
def begin_response(
    line: U8, start: int, span: Records, s: Records, c: Records, h: Records, app: Records, exchanges: Records,
    done: Records, m: Records, oddities: Records,
) -> None:  # fmt: skip
    """A status line was read: find the exchange that it answers."""
    begin_head(s)
    h.simple = 0
    if s.resync:  # responses were lost; of a client that does not pipeline only the newest request can be meant
        while h.waiting > 1 and exchanges[exchanges[h.first - 1].next - 1].request_ts <= span.ts_ns:
            finish_first(h, app, exchanges, done, m)
            exchanges[h.first - 1].pipelined = 0
        s.resync = 0
    if h.first > 0 and (exchanges[h.first - 1].response_done or _is_answered(exchanges[h.first - 1])):
        finish_first(h, app, exchanges, done, m)  # its response is over, whatever became of the request
    if h.first == 0:
        if not c.midstream:
            note_odd(oddities, ORPHAN_RESPONSE, span)
        open_exchange(span, c, h, app, exchanges, done, m, oddities)
    s.row = max(h.first - 1, 0)  # nobody's, if no exchange could be opened
    e = exchanges[s.row]
    s.is_request, s.state = 0, FIELDS
    h.seen, h.requester = 1, 2 - span.dir
    app.reader = HTTP1
    s.minor, s.status = version_at(line, start, start + 8), decimal(line, start + 9, start + 12)
    e.minor_s, e.status = s.minor, s.status
    e.response_seen, e.response_ts, e.response_frame = 1, s.line_ts, s.line_frame
    if e.pipelined and e.request_end_ts != 0:
        e.hol_wait = max(h.response_end_ts - e.request_end_ts, 0)
    app.answering = 1


@routine
def end_request_head(span: Records, s: Records, h: Records, app: Records, e: Records, oddities: Records) -> None:
    """The empty line after a request's fields: what body follows?"""
    if app.host_len == 0 and e.host_at >= 0:
        app.host_at, app.host_len = e.host_at, min(e.host_len, HOST_MAX)
    if s.upgrade and s.websocket:
        e.upgrade = UPGRADE_WEBSOCKET
    elif s.upgrade and s.h2c:
        e.upgrade = UPGRADE_H2C
    elif s.upgrade and e.upgrade_c_at >= 0:
        e.upgrade = UPGRADE_OTHER
    elif s.method == CONNECT:
        e.upgrade = UPGRADE_CONNECT
    if (s.close or (s.minor == 0 and not s.keep)) and h.said_close == 0:
        h.said_close, app.close_said, app.close_implied = 1, 1, 0 if s.close else 1
    if s.coding != 0 and s.length != -1:
        note_odd(oddities, LENGTH_AND_CHUNKED, span)
    if s.coding == 1:
        s.state, e.framing_c = CHUNK_SIZE, BY_CHUNKS
    elif s.coding == 2 or s.length == -2:  # a server cannot know where it ends, and has to refuse it
        s.state, e.damaged = LOST, 1
    elif s.length > 0:
        s.state, s.left, e.framing_c = BODY_LENGTH, s.length, BY_LENGTH
    else:
        e.framing_c = BY_LENGTH if s.length == 0 else NO_BODY
        s.state = START


@routine
def end_response_head(
    span: Records, s: Records, c: Records, h: Records, app: Records, e: Records, oddities: Records
) -> None:  # fmt: skip
    """The empty line after a response's fields: what body follows? An interim response (1xx) is not the answer."""
    if 100 <= s.status < 200 and s.status != 101:
        e.response_seen, e.response_ts, e.response_frame, e.status = 0, 0, 0, 0
        s.state, app.answering = START, 0
        return
    if not e.request_seen and c.midstream and s.upgrade:
        _take_grant(s, e)
    e.settled = 1
    if e.upgrade and _is_switch(s, e):
        e.framing_s, s.state = NO_BODY, START
        c.reader = UNDECIDED
        if e.upgrade == UPGRADE_WEBSOCKET:
            c.reader = WEBSOCKET
        elif e.upgrade == UPGRADE_H2C:
            c.reader = HTTP2
        elif e.upgrade == UPGRADE_OTHER or c.switched == MAX_SWITCHES:
            c.reader = OPAQUE
        c.switched += 1
        app.phase = PHASE_TUNNEL  # unless the next protocol says more
        c.client = h.requester - 1
        return
    if (s.close or (s.minor == 0 and not s.keep)) and h.said_close == 0:
        h.said_close, app.close_said, app.close_implied = 2, 2, 0 if s.close else 1
    elif s.close and app.close_implied:
        app.close_implied = 0
    if s.status == GATEWAY_TIMEOUT and e.request_end_ts != 0 and e.response_ts - e.request_end_ts > app.gateway_wait:
        app.gateway_wait = e.response_ts - e.request_end_ts
        app.gateway_request_frame, app.gateway_frame = e.request_frame, e.response_frame
    if e.keepalive_max >= 0:
        app.keepalive_max = e.keepalive_max + 1
    if e.keepalive_timeout >= 0:
        app.keepalive_timeout = e.keepalive_timeout + 1
    if s.encoded:
        s.sse = 0
    app.sse = s.sse
    if s.coding != 0 and s.length != -1:
        note_odd(oddities, LENGTH_AND_CHUNKED, span)
    if e.kind == HEAD or s.status == 101 or s.status == 204 or s.status == 304:
        s.state, e.framing_s = START, NO_BODY
    elif s.coding == 1:
        s.state, e.framing_s = CHUNK_SIZE, BY_CHUNKS
    elif s.coding == 2 or s.length < 0:
        s.state, e.framing_s = BODY_CLOSE, BY_CLOSE
    else:
        e.framing_s = BY_LENGTH
        s.left = s.length
        s.state = BODY_LENGTH if s.length > 0 else START


@helper
def _take_grant(s: Records, e: Records) -> None:
    """The request came before the capture: what the answer grants (RFC 9110 section 7.8) is what it asked for."""
    if s.websocket:
        e.upgrade = UPGRADE_WEBSOCKET
    elif s.h2c:
        e.upgrade = UPGRADE_H2C
    elif e.upgrade_s_at >= 0:
        e.upgrade = UPGRADE_OTHER


@helper
def _is_switch(s: Records, e: Records) -> bool:
    """RFC 9110: 101 switches to what was asked for, 2xx opens the tunnel of CONNECT."""
    if e.upgrade == UPGRADE_CONNECT:
        return bool(200 <= s.status < 300)
    return bool(s.status == 101)


@routine
def end_message(
    span: Records, s: Records, h: Records, app: Records, exchanges: Records, done: Records, m: Records
) -> None:  # fmt: skip
    """The message being read is whole."""
    e = exchanges[s.row]
    s.state = START
    if s.is_request:
        e.request_done, e.request_end_ts, e.request_bytes = 1, span.ts_ns, s.body
        if h.orphans > 0 and h.first == s.row + 1:
            adopt_orphan(h, app, exchanges, done, m)
    else:
        e.response_done, e.response_end_ts, e.response_bytes = 1, span.ts_ns, s.body
        h.response_end_ts, app.response_end_ts = span.ts_ns, span.ts_ns
        app.responses += 1
        app.answering = 0
        if e.next > 0 and exchanges[e.next - 1].request_ts >= span.ts_ns:
            exchanges[e.next - 1].pipelined = 0  # it was read ahead, while a loss held the response back
    finish_ended(h, app, exchanges, done, m)
    count_outstanding(h, app, exchanges)
