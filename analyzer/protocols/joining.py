"""Connections that the capture joined in their middle: what is followed until it is known what they speak.

What    A pair of WATCH for each that may be WebSocket, and what its bytes become once it is: those that are held get
        spans of their own, in the order in which they came, and the span that decided is read from a frame on.
Limits  Not for what a protocol carries inside: its beginning is known.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, helper, routine
from analyzer.protocols.channel import JOINED
from analyzer.protocols.held import release_held
from analyzer.protocols.websocket.joined import STRANGE_MOST, WATCH, keeps_from, may_begin, stop, watch_span

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
    release_held(span.channel, span.slot, span.flow_id, watches[first], watches[first + 1], spans, aside, m)
    if keeps > span.offset:
        span.at, span.length = span.at + (keeps - span.offset), end - keeps
        span.offset = keeps
    return bool(span.length > 0)
