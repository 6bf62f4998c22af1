"""What a client sends behind its request for an upgrade waits for the answer, which says whose bytes these are.

Source  RFC 9110 sections 7.8 (Upgrade) and 9.3.6 (CONNECT). RFC 6455 section 4.1 lets a client send nothing so early.
Gives   after 101 (after 2xx to CONNECT) the bytes to the protocol that was asked for; after any other answer, or where
        none comes, to HTTP.
Limits  What finds no room is read as HTTP at once (`http.early_cap`). Of more than 24 segments the later ones count as
        part of the 24th.
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, routine
from analyzer.protocols.http1.line import LINE_MAX, give_slot, take_slot
from analyzer.protocols.http1.state import MAX_HELD, MAX_PIECES, MAX_PIECES_EACH
from analyzer.protocols.oddities import EARLY_CAP, EARLY_UPGRADE, note_odd
from analyzer.streams.inorder import IN_ASIDE, SPAN_DATA

_SEPARATE = 24  # pieces that keep the time and frame they came with; the others are left for holes and the end


@helper
def waits(h: Records, exchanges: Records) -> bool:
    """True if the newest request asks for an upgrade, and nobody knows yet what its answer is."""
    if h.last == 0:
        return False
    e = exchanges[h.last - 1]
    return bool(e.upgrade and e.request_done and not e.settled)


@helper
def _new_piece(h: Records, pieces: Records, m: Records) -> int:
    """Append a piece to what the connection holds; return its place, or -1 if there is no room."""
    if h.held == MAX_PIECES_EACH or (m.free_piece == 0 and m.n_pieces == MAX_PIECES):
        return -1
    if m.free_piece > 0:
        index = m.free_piece - 1
        m.free_piece = pieces[index].next
    else:
        index = m.n_pieces
        m.n_pieces += 1
    pieces[index].next, pieces[index].length = 0, 0
    if h.held_last > 0:
        pieces[h.held_last - 1].next = index + 1
    else:
        h.held_first = index + 1
    h.held_last = index + 1
    h.held += 1
    return int(index)


@routine
def hold(
    source: U8, at: int, span: Records, silence: int, h: Records, pieces: Records, m: Records, carry: U8,
    carry_free: I32,
) -> bool:  # fmt: skip
    """Keep a span from `at` on until the answer comes; False if there is no room."""
    data = span.kind == SPAN_DATA
    length = span.at + span.length - at
    kept = length if data else 0
    if kept > LINE_MAX - h.held_bytes or kept > MAX_HELD - m.held_bytes:
        return False
    if kept > 0 and h.held_slot == 0:
        h.held_slot = take_slot(m, carry_free)
        if h.held_slot == 0:
            return False
    index = h.held_last - 1
    if not data or h.held < _SEPARATE or pieces[index].kind != SPAN_DATA:
        index = _new_piece(h, pieces, m)
        if index < 0:
            if h.held_bytes == 0 and h.held_slot > 0:
                give_slot(h.held_slot, m, carry_free)
                h.held_slot = 0
            return False
        p = pieces[index]
        p.kind, p.ts_ns, p.frame, p.silence = span.kind, span.ts_ns, span.frame, silence
        p.offset = span.offset + (at - span.at)
    pieces[index].length += length
    start = (h.held_slot - 1) * LINE_MAX + h.held_bytes
    for k in range(kept):
        carry[start + k] = source[at + k]
    h.held_bytes += kept
    m.held_bytes += kept
    return True


@routine
def give_up(span: Records, h: Records, exchanges: Records, oddities: Records) -> None:
    """Wait no longer for the answer."""
    exchanges[h.last - 1].settled = 1
    note_odd(oddities, EARLY_CAP, span)


@helper
def fill_row(row: Records, p: Records, at: int, span: Records, direction: int) -> None:
    """Make a row of the span table out of a piece, whose bytes stand at `at`; `span` is of the same channel."""
    row.flow_id, row.slot, row.channel, row.dir = span.flow_id, span.slot, span.channel, direction
    row.kind, row.source = p.kind, IN_ASIDE
    row.offset, row.length, row.at = p.offset, p.length, at
    row.frame, row.ts_ns = p.frame, p.ts_ns


@helper
def drop_piece(h: Records, pieces: Records, m: Records) -> None:
    """Forget the first piece."""
    index = h.held_first - 1
    h.held_first = pieces[index].next
    if h.held_first == 0:
        h.held_last = 0
    h.held -= 1
    pieces[index].next = m.free_piece
    m.free_piece = index + 1


@routine
def drop_bytes(n: int, h: Records, m: Records, carry: U8, carry_free: I32) -> None:
    """Forget the first `n` bytes that are held; the rest moves to the front."""
    start = (h.held_slot - 1) * LINE_MAX
    h.held_bytes -= n
    m.held_bytes -= n
    for k in range(h.held_bytes):
        carry[start + k] = carry[start + n + k]
    if h.held_bytes == 0 and h.held_slot > 0:
        give_slot(h.held_slot, m, carry_free)
        h.held_slot = 0


@routine
def hand_held(
    span: Records, h: Records, pieces: Records, spans: Records, aside: U8, queue: I32, sm: Records, m: Records,
    carry: U8, carry_free: I32, oddities: Records,
) -> None:  # fmt: skip
    """The upgrade was granted: queue all that is held for the protocol that now reads the channel."""
    room = sm.n_aside + h.held_bytes + queue.size <= aside.size
    told, start = False, (h.held_slot - 1) * LINE_MAX
    while h.held_first > 0:
        p = pieces[h.held_first - 1]
        row = spans[sm.n_spans]
        fill_row(row, p, sm.n_aside, span, h.requester - 1)
        if p.kind == SPAN_DATA and not told:
            note_odd(oddities, EARLY_UPGRADE if room else EARLY_CAP, row)
            told = True
        if p.kind == SPAN_DATA and room:
            for k in range(p.length):
                aside[sm.n_aside + k] = carry[start + k]
            sm.n_aside += p.length
            start += p.length
        if p.kind != SPAN_DATA or room:
            queue[sm.n_queue] = sm.n_spans
            sm.n_queue += 1
            sm.n_spans += 1
        drop_piece(h, pieces, m)
    drop_bytes(h.held_bytes, h, m, carry, carry_free)
