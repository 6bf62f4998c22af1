"""Whose bytes are these? Spans are sorted by the protocol that reads their channel, by content and on any port.

What    The first bytes of each direction are shown to every protocol's `looks_like`. Until one says yes they are held.
        What is of no protocol that is read is watched for a ClientHello at a segment's start: SMTP, IMAP, POP3, FTP,
        XMPP, IRC, LDAP, PostgreSQL, MySQL turn to TLS in mid-connection, and behind SOCKS it begins there.
Limits  24 bytes decide. What begins later, within the first 4 kB of a direction or in a channel joined midstream, is
        found only if it begins with a segment. Of WebSocket joined midstream no single segment decides (`joining`).
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import I32, I64, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import HTTP1, HTTP2, MESSAGES, OPAQUE, TLS, UNDECIDED, WEBSOCKET, new_channel
from analyzer.protocols.held import release_held
from analyzer.protocols.http1.detect import looks_like_http1
from analyzer.protocols.http2.detect import joins_http2, looks_like_http2
from analyzer.protocols.joining import drop_watch, joins, lose_watched, release_watched
from analyzer.protocols.messages.kinds import kind_of
from analyzer.protocols.tls.detect import is_client_hello, looks_like_tls
from analyzer.protocols.verdict import MORE, NO, YES
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN

FIRST_BYTES = 24  # longer than any protocol's opening: the HTTP/2 preface has 24

# What may come before a protocol begins (a SOCKS handshake, a PROXY header, a greeting): so far each segment is tried.
PREAMBLE = 4096

# A direction's first bytes, and the spans they came in (one byte each at worst)
FIRST = np.dtype(
    [("frame", np.int64, (FIRST_BYTES,)), ("ts_ns", np.int64, (FIRST_BYTES,)), ("offset", np.int64),
     ("length", np.int8, (FIRST_BYTES,)), ("bytes", np.uint8, (FIRST_BYTES,)), ("n", np.int8), ("pieces", np.int8)],
    align=True,
)  # fmt: skip


@routine
def _reader_of(first: U8, at: int, n: int, midstream: int) -> int:
    """Return who reads these bytes (MESSAGES + kind for those), UNDECIDED if more are needed, OPAQUE if nobody."""
    more = False
    answer = looks_like_http2(first, at, n, midstream)
    if answer == YES:
        return HTTP2
    if answer == MORE:
        more = True
    else:  # "PRI * HTTP/2.0" looks like a request
        answer = looks_like_http1(first, at, n)
        if answer == YES:
            return HTTP1
        more = answer == MORE
    answer = looks_like_tls(first, at, n, midstream)
    if answer == YES:
        return TLS
    more = more or answer == MORE
    kind = kind_of(first, at, n, midstream)
    if kind > 0:
        return MESSAGES + kind
    more = more or kind < 0
    return UNDECIDED if more and n < FIRST_BYTES else OPAQUE


@helper
def _route_to(reader: int, first: int, routed: I32, readers: U8, m: Records) -> None:
    """Give the spans that were made, in rows `first` and on, to a reader."""
    for k in range(first, m.n_spans):
        routed[m.n_routed], readers[m.n_routed] = k, reader
        m.n_routed += 1


@routine
def _put_aside(held: Records, aside: U8, at: int) -> None:
    """Copy the held bytes to where nothing is put aside yet: every `looks_like` then sees one kind of array."""
    for k in range(held.n):
        aside[at + k] = held.bytes[k]


@routine
def _look(span: Records, c: Records, held: Records, source: U8, aside: U8, m: Records) -> int:
    """Return who knows the held bytes and this span's. Nothing is kept for a span that says enough by itself."""
    if held.pieces == 0:
        if c.midstream and joins_http2(source, span.at, span.at + span.length):
            return HTTP2
        return _reader_of(source, span.at, min(span.length, FIRST_BYTES), c.midstream)
    _put_aside(held, aside, m.n_aside)
    n = min(FIRST_BYTES - held.n, span.length)
    for k in range(n):
        aside[m.n_aside + held.n + k] = source[span.at + k]
    return _reader_of(aside, m.n_aside, held.n + n, c.midstream)


@routine
def _hold(span: Records, held: Records, source: U8) -> None:
    """Keep a span that says too little: its bytes all fit, or they would have decided."""
    if held.pieces == 0:
        held.offset = span.offset
    for k in range(span.length):
        held.bytes[held.n + k] = source[span.at + k]
    held.frame[held.pieces], held.ts_ns[held.pieces] = span.frame, span.ts_ns
    held.length[held.pieces] = span.length
    held.pieces += 1
    held.n += span.length


@routine
def _decide(span: Records, c: Records, held: Records, source: U8, aside: U8, m: Records) -> int:
    """Show the first bytes around; return who reads the channel, UNDECIDED if the span is held or left out."""
    reader = _look(span, c, held, source, aside, m)
    if reader == OPAQUE and held.pieces > 0:
        held.n, held.pieces = 0, 0
        if c.midstream or span.offset <= PREAMBLE:  # what was held is no beginning; perhaps this is
            reader = _look(span, c, held, source, aside, m)
    if reader == UNDECIDED:
        _hold(span, held, source)
        return UNDECIDED
    if reader != OPAQUE:
        return reader
    if not c.midstream and span.offset > PREAMBLE:
        if span.dir == 0:
            c.opaque_c = 1
        else:
            c.opaque_s = 1
        if c.opaque_c and c.opaque_s:
            c.reader = OPAQUE
    return UNDECIDED


@routine
def _drop_plain(held: Records, c: Records, aside: U8, m: Records) -> None:
    """Where one side begins TLS, what the other said before it was no record: PostgreSQL's one byte of consent."""
    if held.pieces > 0:
        _put_aside(held, aside, m.n_aside)
        if looks_like_tls(aside, m.n_aside, held.n, c.midstream) == NO:
            held.n, held.pieces = 0, 0


@routine
def _join(
    row: int, span: Records, c: Records, firsts: Records, watches: Records, spans: Records, aside: U8, routed: I32,
    readers: U8, m: Records,
) -> None:  # fmt: skip
    """A connection that was joined in its middle turned out to be WebSocket."""
    for direction in range(2):
        held = firsts[2 * span.channel + direction]
        held.n, held.pieces = 0, 0
    first = int(m.n_spans)
    goes_on = release_watched(span, c, spans, aside, watches, m)
    drop_watch(c, watches, m)
    c.reader = WEBSOCKET
    _route_to(WEBSOCKET, first, routed, readers, m)
    if goes_on:
        routed[m.n_routed], readers[m.n_routed] = row, WEBSOCKET
        m.n_routed += 1


@helper
def _channel_of(span: Records, slot_channel: I32, channels: Records, m: Records) -> int:
    """Return the channel of a flow's own bytes; opened by the first of them."""
    channel = slot_channel[span.slot]
    if channel < 0:
        channel = new_channel(span.slot, span.flow_id, -1, slot_channel, channels, m)
        c = channels[channel]
        c.midstream, c.handshake_ts, c.handshake_rtt = span.midstream, span.handshake_ts, span.handshake_rtt
    return int(channel)


@kernel
def route(
    index: I32, fresh: int, spans: Records, data: U8, pages: U8, aside: U8, slot_channel: I32, channels: Records,
    firsts: Records, watches: Records, routed: I32, readers: U8, order: I32, count: I64, volume: I64, stage: Records,
) -> None:  # fmt: skip
    """Sort spans by who reads them.

    index  (n,) rows of `spans`    fresh  1: they are as the streams delivered them, their channel not known yet
    order  rows by reader, each reader's in order; count, volume (readers,) how many rows and bytes each has
    """
    m = stage[0]
    m.n_routed = 0
    for k in range(index.size):
        span = spans[index[k]]
        if fresh:
            if span.kind == SPAN_FIN and slot_channel[span.slot] < 0:
                continue  # it never said anything
            span.channel = _channel_of(span, slot_channel, channels, m)
        c = channels[span.channel]
        reader = c.reader
        source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
        if reader == OPAQUE:
            if span.kind != SPAN_DATA or not is_client_hello(source, span.at, span.length):
                continue
            c.reader, reader = TLS, TLS  # STARTTLS and its like, or behind SOCKS
        if reader == UNDECIDED:
            held = firsts[2 * span.channel + span.dir]
            if span.kind != SPAN_DATA:
                if span.kind != SPAN_FIN:
                    c.midstream = 1  # the beginning is lost
                    if held.pieces > 0:
                        held.n, held.pieces = 0, 0
                    lose_watched(span, c, watches)
                continue
            if not c.midstream and (c.opaque_c if span.dir == 0 else c.opaque_s):
                if not is_client_hello(source, span.at, span.length):
                    continue
                reader = TLS
            else:
                reader = _decide(span, c, held, source, aside, m)
            if reader == UNDECIDED and fresh and span.midstream and joins(source, span, c, watches, m):
                _join(index[k], span, c, firsts, watches, spans, aside, routed, readers, m)
                continue
            if reader == UNDECIDED:
                continue
            drop_watch(c, watches, m)
            if reader == TLS:
                _drop_plain(firsts[2 * span.channel + 1 - span.dir], c, aside, m)
            if reader > MESSAGES:
                c.kind, reader = reader - MESSAGES, MESSAGES
            c.reader, c.opaque_c, c.opaque_s = reader, 0, 0
            if firsts[2 * span.channel].pieces > 0 or firsts[2 * span.channel + 1].pieces > 0:
                first = int(m.n_spans)
                release_held(
                    span.channel, span.slot, span.flow_id, firsts[2 * span.channel], firsts[2 * span.channel + 1],
                    spans, aside, m,
                )  # fmt: skip
                _route_to(reader, first, routed, readers, m)
        routed[m.n_routed], readers[m.n_routed] = index[k], reader
        m.n_routed += 1
    _sort(spans, routed, readers, order, count, volume, m)


@helper
def _sort(
    spans: Records, routed: I32, readers: U8, order: I32, count: I64, volume: I64, m: Records
) -> None:  # fmt: skip
    for r in range(count.size):
        count[r], volume[r] = 0, 0
    for k in range(m.n_routed):
        count[readers[k]] += 1
        if spans[routed[k]].kind == SPAN_DATA:
            volume[readers[k]] += spans[routed[k]].length
    place = 0
    for r in range(count.size):
        place += count[r]
        count[r] = place - count[r]  # where its rows begin
    for k in range(m.n_routed):
        r = readers[k]
        order[count[r]] = routed[k]
        count[r] += 1  # in the end: where its rows end, which is where the next one's begin
    for r in range(count.size - 1, 0, -1):
        count[r] -= count[r - 1]
