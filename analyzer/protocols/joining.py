"""Connections that the capture joined in their middle: what is followed until it is known what they speak.

What    A pair of WATCH for each that may be WebSocket, and what its bytes become once it is: those that are held get
        spans of their own, in the order in which they came, and the span that decided is read from a frame on.
Limits  Not for what a protocol carries inside: its beginning is known.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.channel import JOINED
from analyzer.protocols.websocket.joined import STRANGE_MOST, WATCH, keeps_from, may_begin, stop, watch_span
from analyzer.streams.inorder import IN_ASIDE, SPAN_DATA

__all__ = ["WATCH", "drop_watch", "joins", "lose_watched", "release_watched"]


@helper
def _claim(c: Records, watches: Records, m: Records) -> None:
    if m.free_watch > 0:
        c.watch = m.free_watch
        m.free_watch = watches[2 * (c.watch - 1)].next
    else:
        m.n_watches += 1
        c.watch = m.n_watches
    for direction in range(2):
        stop(watches[2 * (c.watch - 1) + direction])


@helper
def drop_watch(c: Records, watches: Records, m: Records) -> None:
    """It is known what a connection speaks, or that it is nothing that is watched for."""
    if c.watch > 0:
        watches[2 * (c.watch - 1)].next = m.free_watch
        m.free_watch = c.watch
        c.watch = 0


@helper
def lose_watched(span: Records, c: Records, watches: Records) -> None:
    """Bytes of a direction are missing."""
    if c.watch > 0:
        stop(watches[2 * (c.watch - 1) + span.dir])


@routine
def joins(source: U8, span: Records, c: Records, watches: Records, m: Records) -> bool:
    """Look at a span of a connection of which nothing is known yet; True if it speaks WebSocket beyond doubt."""
    if c.watch == 0 or watches[2 * (c.watch - 1) + span.dir].active == 0:
        if not may_begin(source, span.at, span.length):
            if span.dir == 0:
                c.strange_c = min(c.strange_c + 1, STRANGE_MOST)
            else:
                c.strange_s = min(c.strange_s + 1, STRANGE_MOST)
            return False
        if c.watch == 0:
            _claim(c, watches, m)
    first = 2 * (c.watch - 1)
    w, peer = watches[first + span.dir], watches[first + 1 - span.dir]
    if watch_span(source, span, c, w, peer):
        return True
    if not w.active and not peer.active:
        drop_watch(c, watches, m)
    return False


@helper
def _release_piece(
    piece: int, done: int, w: Records, direction: int, span: Records, spans: Records, aside: U8, m: Records
) -> None:  # fmt: skip
    row = spans[m.n_spans]
    row.flow_id, row.slot, row.channel, row.dir = span.flow_id, span.slot, span.channel, direction
    row.kind, row.source = SPAN_DATA, IN_ASIDE
    row.offset, row.length = w.offset + done, w.length[piece]
    row.at, row.frame, row.ts_ns = m.n_aside, w.frame[piece], w.ts_ns[piece]
    for k in range(w.length[piece]):
        aside[m.n_aside + k] = w.bytes[done + k]
    m.n_aside += w.length[piece]
    m.n_spans += 1


@routine
def release_watched(span: Records, c: Records, spans: Records, aside: U8, watches: Records, m: Records) -> bool:
    """Make spans, from `m.n_spans` on, of what is held of both directions; False if the deciding one is used up."""
    first = 2 * (c.watch - 1)
    own = watches[first + span.dir]
    c.client = span.dir if own.masked else 1 - span.dir
    keeps, end = keeps_from(span, own), int(span.offset + span.length)
    c.lost = JOINED
    if keeps < 0:
        c.lost |= 1 << span.dir
    if keeps != span.offset:
        own.n, own.pieces = 0, 0
    if not watches[first + 1 - span.dir].held:
        c.lost |= 2 >> span.dir
    client, server = watches[first], watches[first + 1]
    at_c, at_s, done_c, done_s = 0, 0, 0, 0
    while at_c < client.pieces or at_s < server.pieces:
        if at_s >= server.pieces or (at_c < client.pieces and client.frame[at_c] <= server.frame[at_s]):
            _release_piece(at_c, done_c, client, 0, span, spans, aside, m)
            done_c += client.length[at_c]
            at_c += 1
        else:
            _release_piece(at_s, done_s, server, 1, span, spans, aside, m)
            done_s += server.length[at_s]
            at_s += 1
    if keeps > span.offset:
        span.at, span.length = span.at + (keeps - span.offset), end - keeps
        span.offset = keeps
    return bool(span.length > 0)
