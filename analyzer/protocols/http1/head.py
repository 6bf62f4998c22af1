"""Start lines and the fields that decide how a message ends and how long its connection lives.

Source  RFC 9112 sections 3 (request line), 4 (status line), 5 (field syntax); RFC 9110 sections 7.2 (Host), 7.6.1
        (Connection), 7.8 (Upgrade), 8.6 (Content-Length), 10.1.1 (Expect); RFC 6455 section 4 (WebSocket handshake);
        RFC 2068 section 19.7.1 (Keep-Alive); RFC 1945 section 4.1 (HTTP/0.9).
Sees    the fields below; all others are stepped over.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.events import begin_events
from analyzer.protocols.heap import put_text
from analyzer.protocols.http1.line import (
    COMMA,
    EQUALS,
    SEMICOLON,
    SPACE,
    TAB,
    decimal,
    hash_of,
    is_token,
    list_item_end,
    lower_hash,
    skip_blank,
    take_name,
    trim_blank,
)
from analyzer.protocols.http1.state import CONNECT, HEAD, OTHER_METHOD, SIMPLE_MINOR
from analyzer.protocols.oddities import BAD_FRAMING, BAD_HEAD, OBS_FOLD, TWO_LENGTHS, note_odd

_HOST, _CONNECTION, _KEEP_ALIVE = hash_of(b"host"), hash_of(b"connection"), hash_of(b"keep-alive")
_CONTENT_LENGTH, _TRANSFER_ENCODING = hash_of(b"content-length"), hash_of(b"transfer-encoding")
_UPGRADE, _EXPECT, _CONTENT_TYPE = hash_of(b"upgrade"), hash_of(b"expect"), hash_of(b"content-type")
_WS_KEY, _WS_ACCEPT = hash_of(b"sec-websocket-key"), hash_of(b"sec-websocket-accept")
_WS_EXTENSIONS, _WS_PROTOCOL = hash_of(b"sec-websocket-extensions"), hash_of(b"sec-websocket-protocol")
_CLOSE, _CHUNKED, _WEBSOCKET, _H2C = hash_of(b"close"), hash_of(b"chunked"), hash_of(b"websocket"), hash_of(b"h2c")
_CONTENT_ENCODING, _IDENTITY = hash_of(b"content-encoding"), hash_of(b"identity")
_CONTINUE, _EVENT_STREAM = hash_of(b"100-continue"), hash_of(b"text/event-stream")
_TIMEOUT, _MAX = hash_of(b"timeout"), hash_of(b"max")
_METHOD_HEAD, _METHOD_CONNECT = hash_of(b"head"), hash_of(b"connect")

_ASKED_FOR = (
    _HOST, _CONNECTION, _KEEP_ALIVE, _CONTENT_LENGTH, _TRANSFER_ENCODING, _UPGRADE, _EXPECT, _CONTENT_TYPE,
    _CONTENT_ENCODING, _WS_KEY, _WS_ACCEPT, _WS_EXTENSIONS, _WS_PROTOCOL,
)  # fmt: skip
_SIEVE = sum(1 << bit for bit in {name >> 5 & 31 for name in _ASKED_FOR})  # a bit for each

METHOD_MAX = 32  # the longest registered method, UPDATEREDIRECTREF, has 17 letters


@helper
def version_at(line: U8, at: int, end: int) -> int:
    """Return x of HTTP/1.x at `at`, or -1."""
    if end - at < 8:
        return -1
    name = line[at] == 72 and line[at + 1] == 84 and line[at + 2] == 84 and line[at + 3] == 80 and line[at + 4] == 47
    if name and line[at + 5] == 49 and line[at + 6] == 46 and 48 <= line[at + 7] <= 57:
        return int(line[at + 7]) - 48
    return -1


@routine
def is_status_line(line: U8, start: int, end: int) -> bool:
    """HTTP/1.x SP 3DIGIT, then a blank or the end."""
    if end - start < 12 or version_at(line, start, end) < 0 or line[start + 8] != SPACE:
        return False
    code = decimal(line, start + 9, start + 12)
    return code >= 100 and (end - start == 12 or line[start + 12] == SPACE)


@routine
def method_end(line: U8, start: int, end: int, is_cut: bool) -> int:
    """Return where the method of a request line ends, or -1 if it is no request line of HTTP/1.

    Of a line that is longer than what is kept (`is_cut`) the version is not there to be checked. Blanks may stand
    between the words and after them, as RFC 9112 section 3 allows a lenient reader.
    """
    if not is_cut:
        end = trim_blank(line, start, end)
    last = end if is_cut else end - 9
    if not is_cut and (end - start < 12 or version_at(line, end - 8, end) < 0 or line[end - 9] != SPACE):
        return -1
    at = start
    while at < last and at - start <= METHOD_MAX and line[at] != SPACE:
        at += 1
    if at - start > METHOD_MAX or at >= last or not is_token(line, start, at):
        return -1
    return at


@routine
def simple_target(line: U8, start: int, end: int) -> int:
    """Return where the target of a Simple-Request begins (RFC 1945 section 5: GET SP path), or -1."""
    end = trim_blank(line, start, end)
    if end - start < 5 or line[start] != 71 or line[start + 1] != 69 or line[start + 2] != 84:
        return -1
    at = skip_blank(line, start + 3, end)
    if at == start + 3 or at == end or line[at] != 47:
        return -1
    for k in range(at, end):
        if line[k] <= SPACE or line[k] >= 127:
            return -1
    return at


@helper
def begin_head(s: Records) -> None:
    """Forget the fields of the head before."""
    s.length, s.coding, s.body, s.head_bytes, s.field = -1, 0, 0, 0, 0
    s.keep, s.close, s.upgrade, s.websocket, s.h2c, s.sse, s.expect = 0, 0, 0, 0, 0, 0, 0
    s.encoded = 0
    begin_events(s)


@routine
def take_request_line(line: U8, start: int, end: int, s: Records, e: Records, heap: U8, m: Records) -> None:
    """Keep method and target of a line that `method_end` accepted."""
    stop = method_end(line, start, end, s.line_long != 0)
    if not s.line_long:
        end = trim_blank(line, start, end)
    word = lower_hash(line, start, stop)
    s.method = HEAD if word == _METHOD_HEAD else CONNECT if word == _METHOD_CONNECT else OTHER_METHOD
    s.minor = 1 if s.line_long else version_at(line, end - 8, end)
    e.kind, e.minor_c = s.method, -1 if s.line_long else s.minor
    e.method_at, e.method_len = put_text(line, start, stop, heap, m), stop - start
    first = skip_blank(line, stop, end)
    last = first if s.line_long else trim_blank(line, first, end - 8)
    while s.line_long and last < end and line[last] != SPACE:
        last += 1
    e.target_at, e.target_len = put_text(line, first, last, heap, m), last - first


@routine
def take_simple_line(line: U8, start: int, end: int, s: Records, e: Records, heap: U8, m: Records) -> None:
    """Keep method and target of a line that `simple_target` accepted."""
    s.method, s.minor = OTHER_METHOD, SIMPLE_MINOR
    e.kind, e.minor_c = s.method, s.minor
    e.method_at, e.method_len = put_text(line, start, start + 3, heap, m), 3
    first = simple_target(line, start, end)
    last = trim_blank(line, first, end)
    e.target_at, e.target_len = put_text(line, first, last, heap, m), last - first


@helper
def take_field(
    line: U8, start: int, end: int, s: Records, e: Records, heap: U8, m: Records, span: Records, oddities: Records
) -> None:  # fmt: skip
    """Read one field line into the head's state and the exchange."""
    if line[start] == SPACE or line[start] == TAB:  # RFC 9112 section 5.2: the value before it goes on
        note_odd(oddities, OBS_FOLD, span)
        take_value(line, start, end, s, e, heap, m, span, oddities)
        return
    colon = take_name(line, start, end, s)
    if colon < 0:
        note_odd(oddities, BAD_HEAD, span)  # RFC 9112 section 5.1: no space before the colon; the line is left out
        return
    take_value(line, colon + 1, end, s, e, heap, m, span, oddities)


@helper
def is_asked_for(name: int) -> bool:
    """False for most names that `take_value` would do nothing for."""
    return bool(_SIEVE >> (name >> 5 & 31) & 1)


@helper
def take_value(
    line: U8, start: int, end: int, s: Records, e: Records, heap: U8, m: Records, span: Records, oddities: Records
) -> None:  # fmt: skip
    """Read what stands behind the colon of a field whose name was just taken."""
    at = skip_blank(line, start, end)
    _take_value(s.field, line, at, trim_blank(line, at, end), s, e, heap, m, span, oddities)


@routine
def _take_value(
    name: int, line: U8, at: int, stop: int, s: Records, e: Records, heap: U8, m: Records, span: Records,
    oddities: Records,
) -> None:  # fmt: skip
    if name == _CONTENT_LENGTH:
        _take_length(line, at, stop, s, span, oddities)
    elif name == _TRANSFER_ENCODING:
        _take_coding(line, at, stop, s)
    elif name == _CONNECTION:
        _take_connection(line, at, stop, s)
        if s.is_request and e.connection_c_at < 0:
            e.connection_c_at, e.connection_c_len = put_text(line, at, stop, heap, m), stop - at
        elif not s.is_request and e.connection_s_at < 0:
            e.connection_s_at, e.connection_s_len = put_text(line, at, stop, heap, m), stop - at
    elif name == _KEEP_ALIVE and not s.is_request:
        _take_keep_alive(line, at, stop, e)
    elif name == _UPGRADE:
        item = trim_blank(line, at, list_item_end(line, at, stop))
        word = lower_hash(line, at, item)
        s.websocket = 1 if word == _WEBSOCKET else s.websocket
        s.h2c = 1 if word == _H2C else s.h2c
        if s.is_request and e.upgrade_c_at < 0:
            e.upgrade_c_at, e.upgrade_c_len = put_text(line, at, item, heap, m), item - at
        elif not s.is_request and e.upgrade_s_at < 0:
            e.upgrade_s_at, e.upgrade_s_len = put_text(line, at, item, heap, m), item - at
    elif name == _HOST and s.is_request and e.host_at < 0:
        e.host_at, e.host_len = put_text(line, at, stop, heap, m), stop - at
    elif name == _EXPECT and s.is_request:
        s.expect = 1 if lower_hash(line, at, stop) == _CONTINUE else s.expect
    elif name == _CONTENT_TYPE and not s.is_request:
        item = at
        while item < stop and line[item] != SEMICOLON:
            item += 1
        if lower_hash(line, at, trim_blank(line, at, item)) == _EVENT_STREAM:
            s.sse, e.sse = 1, 1
    elif name == _CONTENT_ENCODING and not s.is_request:
        s.encoded = 0 if lower_hash(line, at, stop) == _IDENTITY else 1
    else:
        _take_websocket_field(name, line, at, stop, s, e, heap, m)


@routine
def _take_websocket_field(
    name: int, line: U8, at: int, stop: int, s: Records, e: Records, heap: U8, m: Records
) -> None:  # fmt: skip
    if name == _WS_KEY and s.is_request:
        e.ws_key_at, e.ws_key_len = put_text(line, at, stop, heap, m), stop - at
    elif name == _WS_ACCEPT and not s.is_request:
        e.ws_accept_at, e.ws_accept_len = put_text(line, at, stop, heap, m), stop - at
    elif name == _WS_EXTENSIONS and not s.is_request:
        e.ws_extensions_at, e.ws_extensions_len = put_text(line, at, stop, heap, m), stop - at
    elif name == _WS_PROTOCOL and not s.is_request:
        e.ws_protocol_at, e.ws_protocol_len = put_text(line, at, stop, heap, m), stop - at


@routine
def _take_length(line: U8, at: int, stop: int, s: Records, span: Records, oddities: Records) -> None:
    """RFC 9110 section 8.6: one number, or the same one several times; anything else cannot be believed."""
    item = at
    first = True
    while first or item < stop:
        first = False
        comma = list_item_end(line, item, stop)
        value = decimal(line, item, trim_blank(line, item, comma))
        if value < 0:
            note_odd(oddities, BAD_FRAMING, span)
            s.length = -2
            return
        if s.length >= 0 or item > at:
            note_odd(oddities, TWO_LENGTHS, span)
        s.length = value if s.length == -1 or s.length == value else -2
        item = skip_blank(line, comma + 1, stop)


@routine
def _take_coding(line: U8, at: int, stop: int, s: Records) -> None:
    """RFC 9112 section 6.1: only the last coding says where the body ends."""
    while at < stop:
        comma = list_item_end(line, at, stop)
        if comma > at:
            s.coding = 1 if lower_hash(line, at, trim_blank(line, at, comma)) == _CHUNKED else 2
        at = skip_blank(line, comma + 1, stop)


@routine
def _take_connection(line: U8, at: int, stop: int, s: Records) -> None:
    while at < stop:
        comma = list_item_end(line, at, stop)
        word = lower_hash(line, at, trim_blank(line, at, comma))
        if word == _CLOSE:
            s.close = 1
        elif word == _KEEP_ALIVE:
            s.keep = 1
        elif word == _UPGRADE:
            s.upgrade = 1
        at = skip_blank(line, comma + 1, stop)


@routine
def _take_keep_alive(line: U8, at: int, stop: int, e: Records) -> None:
    """timeout=5, max=100"""
    while at < stop:
        comma = at
        while comma < stop and line[comma] != COMMA and line[comma] != SEMICOLON:
            comma += 1
        equals = at
        while equals < comma and line[equals] != EQUALS:
            equals += 1
        word = lower_hash(line, at, trim_blank(line, at, equals))
        value = decimal(line, skip_blank(line, equals + 1, comma), trim_blank(line, equals, comma))
        if word == _TIMEOUT and value >= 0:
            e.keepalive_timeout = value
        elif word == _MAX and value >= 0:
            e.keepalive_max = value
        at = skip_blank(line, comma + 1, stop)
