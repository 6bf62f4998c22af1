"""Messages: begun by a text or binary frame, gone on with by continuations, ended by FIN (RFC 6455 section 5.4)."""

from __future__ import annotations

from analyzer.kernel import I64, U8, Records, kernel, routine
from analyzer.protocols.heap import put_text
from analyzer.protocols.websocket.state import (
    DEFLATE_NO,
    FINE,
    KIND_TEXT,
    KIND_UNKNOWN,
    PIECE_BROKEN,
    PIECE_END,
)
from analyzer.protocols.websocket.words import (
    ENGINEIO,
    ENGINEIO_PING,
    ENGINEIO_PONG,
    NOTHING,
    SOCKJS_BEAT,
    is_event,
    needs,
    opened_by,
    said_by,
)

_HABIT = 2  # "2" that the other side answered with "3": once it may be two who talk


@routine
def fault(s: Records, error: int) -> None:
    """Keep the first thing that is wrong with the frame being read."""
    if s.error == FINE:
        s.error = error


@routine
def begin_message(s: Records, w: Records, kind: int, direction: int) -> None:
    """A frame's header was read that begins a message; of KIND_UNKNOWN if its beginning was not seen."""
    s.open, s.kind, s.id, s.frames, s.wire = 1, kind, -1, 0, 0
    s.message_ts, s.message_frame = s.first_ts, s.first_frame
    s.partial = 1 if kind == KIND_UNKNOWN else 0
    s.bad_utf8, s.utf8_left, s.utf8_low, s.utf8_high, s.words = 0, 0, 0x80, 0xBF, 0
    s.compressed = 1 if (s.rsv & 4) != 0 and w.deflate != DEFLATE_NO else 0
    s.inflate = w.inflate_c if direction == 0 else w.inflate_s


@routine
def end_message(
    s: Records, w: Records, c: Records, app: Records, direction: int, stream: int, whole: int, row: int,
    messages: Records, pieces: Records, heap: U8, m: Records,
) -> int:  # fmt: skip
    """The message ended with the frame in `row`, or (not `whole`) will never be seen to end: hand it to the table.

    Returns what it says, if it is not compressed (see `words`).
    """
    e = messages[m.n_messages]
    if s.id < 0:
        s.id = w.messages
        w.messages += 1
    e.flow_id, e.stream_id, e.decrypted, e.dir = c.flow_id, c.stream_id, c.decrypted, direction
    e.message_id, e.kind, e.frames, e.wire_len = s.id, s.kind, s.frames, s.wire
    e.first_ts, e.last_ts, e.first_frame, e.last_frame = s.message_ts, s.ts, s.message_frame, s.frame
    e.compressed, e.utf8_ok, e.len, e.head_at, e.head_len = s.compressed, -1, -1, -1, 0
    e.complete, e.said = 1 if whole and not s.partial else 0, NOTHING
    if not s.compressed:
        e.len = s.wire
        e.head_at, e.head_len = put_text(s.word, 0, s.words, heap, m), s.words
        if e.complete:
            e.said = _said(e, w, direction == c.client, s.word, s.words)
        if s.kind == KIND_TEXT and s.bad_utf8:
            e.utf8_ok = 0
        elif s.kind == KIND_TEXT and e.complete:
            e.utf8_ok = 1 if s.utf8_left == 0 else 0
    elif s.inflate:
        piece = pieces[m.n_pieces]
        piece.stream, piece.at, piece.length = stream, 0, 0
        piece.what = PIECE_END if e.complete else PIECE_BROKEN
        piece.text = 1 if s.kind == KIND_TEXT else 0
        piece.message, piece.row, piece.frame = m.n_messages, row, s.frame
        m.n_pieces += 1
    s.open, s.id = 0, -1
    m.n_messages += 1
    app.websocket_messages += 1
    return int(e.said)


@routine
def _note_habit(e: Records, w: Records, word: U8, n: int, said: int) -> None:
    """What opened a connection that was joined in its middle is not known: an event of Socket.IO says it, or habit."""
    if said == ENGINEIO_PING:
        w.pinged = e.dir + 1
    elif said == ENGINEIO_PONG and w.pinged == 2 - e.dir:
        w.pinged, w.habit = 0, w.habit + 1
    if w.habit >= _HABIT or is_event(word, n):
        w.opened = ENGINEIO


@routine
def _said(e: Records, w: Records, by_client: bool, word: U8, n: int) -> int:
    """Return what a message says whose first bytes, all if it is short, are `n` of `word`."""
    if e.message_id == 0 and e.kind == KIND_TEXT:
        w.opened = opened_by(word, n, by_client)
    said = said_by(word, n, e.kind) if n == e.len else NOTHING
    if w.joined and w.opened == 0 and e.kind == KIND_TEXT:
        _note_habit(e, w, word, n, said)
    needed = needs(said)
    wrong = needed > 0 and (w.opened != needed or (said == SOCKJS_BEAT and by_client))
    return NOTHING if wrong else said


@kernel
def read_inflated(
    rows: I64, places: I64, messages: Records, connections: Records, channels: Records, heap: U8
) -> None:  # fmt: skip
    """Of messages that were inflated, put down what they say.

    rows (n,) of `messages`, in order    places (n,) of their connections    heap  where their first bytes are
    """
    for k in range(rows.size):
        e, w = messages[rows[k]], connections[places[k]]
        if e.complete and e.head_at >= 0:
            word = heap[e.head_at : e.head_at + e.head_len]
            e.said = _said(e, w, e.dir == channels[w.channel].client, word, int(e.head_len))
