"""Bytes that were held until it was known who reads them become spans.

What    Pieces of both directions, in the order in which they came: a span each, whose bytes are put aside.
Needs   a record of held bytes for each direction (FIRST of `route`, WATCH of `websocket.joined`): `offset` in the
        stream, `pieces`, their `length`, `frame` and `ts_ns`, and their `bytes` one after the other
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.streams.inorder import IN_ASIDE, SPAN_DATA


@routine
def release_held(
    channel: int, slot: int, flow_id: int, c2s: Records, s2c: Records, spans: Records, aside: U8, m: Records
) -> None:  # fmt: skip
    """Make spans of all that is held, from `m.n_spans` on; nothing is held then."""
    at_c, at_s, done_c, done_s = 0, 0, 0, 0
    while at_c < c2s.pieces or at_s < s2c.pieces:
        if at_s >= s2c.pieces or (at_c < c2s.pieces and c2s.frame[at_c] <= s2c.frame[at_s]):
            _release_piece(at_c, done_c, c2s, spans, aside, m)
            direction = 0
            done_c += c2s.length[at_c]
            at_c += 1
        else:
            _release_piece(at_s, done_s, s2c, spans, aside, m)
            direction = 1
            done_s += s2c.length[at_s]
            at_s += 1
        row = spans[m.n_spans]
        row.flow_id, row.slot, row.channel, row.dir = flow_id, slot, channel, direction
        row.kind, row.source = SPAN_DATA, IN_ASIDE
        m.n_spans += 1
    c2s.n, c2s.pieces, s2c.n, s2c.pieces = 0, 0, 0, 0


@routine
def _release_piece(piece: int, done: int, held: Records, spans: Records, aside: U8, m: Records) -> None:
    row = spans[m.n_spans]
    row.offset, row.length = held.offset + done, held.length[piece]
    row.at, row.frame, row.ts_ns = m.n_aside, held.frame[piece], held.ts_ns[piece]
    for k in range(held.length[piece]):
        aside[m.n_aside + k] = held.bytes[done + k]
    m.n_aside += held.length[piece]
