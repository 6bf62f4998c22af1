"""A WebSocket or a tunnel on a stream: its DATA becomes spans of a channel of its own, which are routed like others.

Source  RFC 9113 section 8.5 (CONNECT), RFC 8441 (extended CONNECT).
Limits  Silences, and the clock of the application, are HTTP/2's: they are of the connection, not of a stream, and there
        a WebSocket's pings are DATA like any other.
"""

from __future__ import annotations

from analyzer.kernel import I32, Records, kernel, routine
from analyzer.protocols.channel import new_channel
from analyzer.protocols.http2.state import OPEN
from analyzer.protocols.oddities import H2_WEBSOCKET_CAP, note_odd


@kernel
def open_tunnel(
    parent: int, stream_id: int, client: int, reader: int, slot_channel: I32, channels: Records, stage: Records
) -> int:  # fmt: skip
    """Open the channel of a stream and return its number; there is room for it."""
    p = channels[parent]
    index = new_channel(p.slot, p.flow_id, parent, slot_channel, channels, stage[0])
    c = channels[index]
    c.decrypted, c.stream_id, c.reader, c.client = channels[parent].decrypted, stream_id, reader, client
    return index


@routine
def hand_in(
    span: Records, e: Records, kind: int, at: int, length: int, spans: Records, queue: I32, sm: Records,
    oddities: Records,
) -> None:  # fmt: skip
    """Queue bytes of `span` from `at` on, missing ones or the end, for what a stream carries."""
    if sm.n_spans + sm.spare >= spans.size or sm.n_queue + sm.spare >= queue.size:
        note_odd(oddities, H2_WEBSOCKET_CAP, span)
        return
    row = spans[sm.n_spans]
    row.flow_id, row.slot, row.channel, row.dir = span.flow_id, span.slot, e.child, span.dir
    row.kind, row.source, row.frame, row.ts_ns = kind, span.source, span.frame, span.ts_ns
    row.length, row.at = length, at
    if span.dir == 0:
        row.offset = e.offset_c
        e.offset_c += length
    else:
        row.offset = e.offset_s
        e.offset_s += length
    queue[sm.n_queue] = sm.n_spans
    sm.n_queue += 1
    sm.n_spans += 1


@routine
def is_socket(e: Records, s: Records, c: Records) -> bool:
    """True if the pool's place still is the WebSocket or tunnel whose frame is being read."""
    return bool(e.open and e.socket >= OPEN and e.stream_id == s.stream_id and e.flow_id == c.flow_id)
