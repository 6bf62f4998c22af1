"""Header blocks, which HPACK reads later: their bytes are put aside as pieces, and what they begin and end is noted.

Source  RFC 9113 sections 4.3 (a block and its CONTINUATIONs stand together), 6.2 (HEADERS), 6.6 (PUSH_PROMISE), 6.10,
        8.1 (HEADERS, DATA, trailers).
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.http2.control import number
from analyzer.protocols.http2.state import (
    ANY_METHOD,
    ASKED,
    BLOCK_MAX,
    END_STREAM,
    MAYBE_CONNECT,
    NO_CONNECT,
    PADDED,
    PIECE_BROKEN,
    PIECE_BYTES,
    PIECE_END,
    PUSH_PROMISE,
)
from analyzer.protocols.http2.streams import begin_request, begin_response, end_side, find, is_new, leave, open_stream
from analyzer.protocols.oddities import H2_BLOCK_CAP, note_odd


@routine
def put_piece(
    s: Records, stream: int, what: int, at: int, length: int, pieces: Records, m: Records
) -> None:  # fmt: skip
    """Leave a piece for HPACK."""
    piece = pieces[m.n_pieces]
    piece.stream, piece.what, piece.at, piece.length = stream, what, at, length
    piece.serial, piece.request = s.block_serial, s.block_request
    piece.ts, piece.frame = s.block_ts, s.block_frame
    m.n_pieces += 1


@routine
def _method(byte: int) -> int:
    """Look for :method among the whole fields that a block begins with (RFC 7541 section 6.1 and appendix A).

    GET and POST are lines of the static table, CONNECT is none: it is spelt out, or a line of the dynamic table.
    """
    if byte == 0x82 or byte == 0x83:
        return NO_CONNECT
    one_byte = 0x80 <= byte < 0xFF or 0x20 <= byte < 0x3F  # any line of a table; a new size of it
    return ANY_METHOD if one_byte else MAYBE_CONNECT


@routine
def keep_block(
    source: U8, at: int, n: int, s: Records, stream: int, arena: U8, pieces: Records, m: Records, oddities: Records,
    span: Records,
) -> None:  # fmt: skip
    """Put bytes of the open block aside; those of one that is too long or has a hole are not needed."""
    s.block_bytes += n
    if s.block_bytes > BLOCK_MAX and not s.broken:
        s.broken = 1
        note_odd(oddities, H2_BLOCK_CAP, span)
    if s.broken or n == 0:
        return
    for k in range(n):
        arena[m.arena + k] = source[at + k]
        if s.method == ANY_METHOD:
            s.method = _method(int(source[at + k]))
    put_piece(s, stream, PIECE_BYTES, m.arena, n, pieces, m)
    m.arena += n


@routine
def begin_block(s: Records, from_client: bool) -> None:
    """A HEADERS or PUSH_PROMISE frame begins; whose block it is turns out at the frame's end."""
    s.block, s.broken, s.block_bytes, s.block_serial, s.block_ends = 1, 0, 0, 0, 0
    s.method = ANY_METHOD
    s.block_id, s.block_stream, s.block_ts, s.block_frame = s.stream_id, s.stream_id, s.first_ts, s.first_frame
    s.block_request = 1 if from_client or s.type == PUSH_PROMISE else 0


@routine
def end_block(
    s: Records, h: Records, app: Records, stream: int, from_client: bool, exchanges: Records, done: Records,
    pieces: Records, m: Records,
) -> None:  # fmt: skip
    """END_HEADERS: the block can be read; with it the stream may end."""
    put_piece(s, stream, PIECE_BROKEN if s.broken else PIECE_END, 0, 0, pieces, m)
    s.block = 0
    if not s.broken:
        _wait(s, h, exchanges, m)
    if not s.block_ends:
        return
    index = find(h, exchanges, s.block_stream)
    if index > 0 and exchanges[index].serial == s.block_serial:
        end_stream(index, s, h, app, from_client, exchanges, done, m)


@routine
def _wait(s: Records, h: Records, exchanges: Records, m: Records) -> None:
    """What follows may be a tunnel's, or a WebSocket's, which only HPACK can tell: let it read this block first.

    The answer comes in another span than the request, so for a request the end of the span is soon enough.
    """
    waits = 0
    if s.block_request:
        waits = 0 if s.block_ends or s.method == NO_CONNECT else 1
    else:
        index = find(h, exchanges, s.block_stream)
        waits = 2 if index > 0 and exchanges[index].socket == ASKED else 0
    hold_up(h, waits, m)


@routine
def hold_up(h: Records, waits: int, m: Records) -> None:
    """Let HPACK read first what was put aside, before the next span (1) or the rest of this one (2); 0 = no need."""
    if waits > 0 and h.waits == 0:
        m.n_waiting += 1
    h.waits = max(h.waits, waits)


@routine
def end_stream(
    index: int, s: Records, h: Records, app: Records, from_client: bool, exchanges: Records, done: Records, m: Records
) -> None:  # fmt: skip
    """END_STREAM of one side; the exchange leaves when both have ended."""
    e = exchanges[index]
    end_side(s, h, app, e, from_client)
    if e.request_done and e.response_done:
        leave(index, h, app, exchanges, done, m)


@routine
def take_headers(
    s: Records, peer: Records, h: Records, c: Records, app: Records, direction: int, exchanges: Records, m: Records,
    oddities: Records, span: Records,
) -> None:  # fmt: skip
    """A HEADERS frame is whole: a request or a response begins, or trailers come."""
    from_client = direction == h.client
    index = find(h, exchanges, s.stream_id)
    if index == 0:
        by_client = s.stream_id % 2 == 1
        if from_client != by_client and not h.unsure:
            return  # a response on a stream that was reset, or one that nobody opened
        if is_new(h, s.stream_id, by_client):
            index = open_stream(span, h, c, s.stream_id, not by_client, peer, exchanges, m, oddities)
    if index == 0:
        return
    e = exchanges[index]
    s.block_serial = e.serial
    if from_client and not e.request_seen and not e.response_seen:
        begin_request(s, h, app, e, direction)
    elif not from_client and not e.response_seen:
        begin_response(s, h, e)
    if s.flags & END_STREAM:
        s.block_ends = 1


@routine
def take_promise(
    s: Records, peer: Records, h: Records, c: Records, app: Records, direction: int, exchanges: Records, m: Records,
    oddities: Records, span: Records,
) -> None:  # fmt: skip
    """A PUSH_PROMISE is whole: the request that the server expects, which has no body."""
    if s.missing or s.kept_n < s.need or direction == h.client:
        return
    promised = number(s.kept, 1 if s.flags & PADDED else 0, 4) & 0x7FFFFFFF
    if promised % 2 == 1 or promised == 0 or not is_new(h, promised, False):
        return
    index = open_stream(span, h, c, promised, True, peer, exchanges, m, oddities)
    if index > 0:
        e = exchanges[index]
        begin_request(s, h, app, e, direction)
        e.request_done, e.request_end_ts = 1, s.ts
        s.block_stream, s.block_serial = promised, e.serial
