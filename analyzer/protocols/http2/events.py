"""Server-sent events in the body of a response: their beats are no word of the application.

Only HPACK can tell that a body is an event stream. A body that begins like one waits until the header block before it
was read: one round more, for few other bodies begin with these bytes.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.events import FIRST_BYTES, lose_line, read_events
from analyzer.protocols.http2.block import hold_up
from analyzer.protocols.http2.state import (
    ASKED_AT_ONCE,
    ASKED_EACH,
    END_STREAM,
    EVENTS,
    NO_EVENTS,
    PIECE_ASK,
    UNTOLD,
)
from analyzer.protocols.http2.streams import find
from analyzer.protocols.oddities import H2_EVENTS_CAP, note_odd


@routine
def _ask(e: Records, s: Records, h: Records, stream: int, pieces: Records, m: Records) -> None:
    """Leave the question for HPACK, behind the blocks that it reads first."""
    piece = pieces[m.n_pieces]
    piece.stream, piece.what, piece.at, piece.length = stream, PIECE_ASK, 0, 0
    piece.serial, piece.request, piece.ts, piece.frame = e.serial, 0, s.ts, s.frame
    m.n_pieces += 1
    h.asked += 1
    hold_up(h, 2, m)


@routine
def has_to_ask(
    first: int, s: Records, h: Records, stream: int, exchanges: Records, pieces: Records, m: Records,
    oddities: Records, span: Records,
) -> bool:  # fmt: skip
    """The body of a server's DATA frame begins: is what it belongs to not known yet? Then it has to wait."""
    index = find(h, exchanges, s.stream_id)
    if index == 0:
        return False
    e = exchanges[index]
    if e.events == UNTOLD:
        e.events = NO_EVENTS
        if first in FIRST_BYTES:
            if h.asked < ASKED_AT_ONCE + s.first_offset // ASKED_EACH:
                _ask(e, s, h, stream, pieces, m)
                return True
            note_odd(oddities, H2_EVENTS_CAP, span)
    if e.events == EVENTS:
        s.events, s.spoke = index + 1, s.flags & END_STREAM
    return False


@routine
def take_events(
    source: U8, at: int, end: int, span: Records, s: Records, c: Records, exchanges: Records, beats: Records, m: Records
) -> None:  # fmt: skip
    """Read body bytes [at, end) of the frame, if its stream still is the one that has events."""
    e = exchanges[s.events - 1]
    m.said = 1
    if e.open and e.stream_id == s.stream_id and e.flow_id == c.flow_id:
        m.said = 0
        read_events(source, at, end, span, e, beats, m)
    s.spoke |= m.said


@routine
def skip_events(s: Records, h: Records, exchanges: Records) -> None:
    """The next bytes of a server's DATA frame are missing: if not only padding is, a line is."""
    if s.kept_n == s.need and s.left <= s.pad:
        return
    index = find(h, exchanges, s.stream_id)
    if index > 0:
        lose_line(exchanges[index])
        s.events = index + 1 if exchanges[index].events == EVENTS else 0


@routine
def lose_events(h: Records, exchanges: Records) -> None:
    """Frames of a server are missing: any of its streams may have gone on."""
    place = int(h.newest)
    while place > 0:
        lose_line(exchanges[place - 1])
        place = int(exchanges[place - 1].older)
