"""Streams as exchanges: opened by HEADERS or a promise, ended by both END_STREAM flags or a reset.

Source  RFC 9113 sections 5.1 (states), 5.1.1 (identifiers only grow), 6.8 (GOAWAY: streams above its last are not
        served), 8.1 (what a request and a response are made of), 8.4 (push).
"""

from __future__ import annotations

from analyzer.kernel import I32, Records, kernel, routine
from analyzer.protocols.channel import app_of
from analyzer.protocols.events import begin_events
from analyzer.protocols.http2.state import MAX_EXCHANGES, MAX_STREAMS, NO_SOCKET, OPEN, TUNNEL, UNTOLD
from analyzer.protocols.http2.window import end_wait
from analyzer.protocols.oddities import H2_STREAM_CAP, note_odd


@routine
def _weigh(h: Records, e: Records, sign: int) -> None:
    """Count an exchange among those that are open, or take it out, as it stands."""
    if e.pushed or e.refused or e.socket >= OPEN:
        return
    h.open += sign
    if e.request_seen and not e.request_done:
        h.asking += sign
    if e.response_seen and not e.response_done:
        h.answering += sign


@routine
def find(h: Records, exchanges: Records, stream_id: int) -> int:
    """Return the place of an open stream in the pool, 0 if it is not open."""
    place = int(h.newest)
    while place > 0 and exchanges[place - 1].stream_id != stream_id:
        place = int(exchanges[place - 1].older)
    return place - 1 if place > 0 else 0


@routine
def is_new(h: Records, stream_id: int, by_client: bool) -> bool:
    """True if the stream has not been open before, as far as the capture tells."""
    top = h.top_c if by_client else h.top_s
    return stream_id > top or bool(h.unsure and h.first_id > 0 and stream_id < h.first_id)


@routine
def open_stream(
    row: Records, h: Records, c: Records, stream_id: int, pushed: bool, peer: Records, exchanges: Records, m: Records,
    oddities: Records,
) -> int:  # fmt: skip
    """Open a stream; return its place in the pool, 0 if there is no room. `peer` may have said GOAWAY."""
    if h.streams >= MAX_STREAMS or (m.free_exchange == 0 and m.n_exchanges >= MAX_EXCHANGES):
        note_odd(oddities, H2_STREAM_CAP, row)
        return 0
    if m.free_exchange > 0:
        index = m.free_exchange - 1
        m.free_exchange = exchanges[index].older
    else:
        index = m.n_exchanges
        m.n_exchanges += 1
    m.serial += 1
    e = exchanges[index]
    e.flow_id, e.stream_id, e.decrypted, e.serial = c.flow_id, stream_id, c.decrypted, m.serial
    e.index, e.open, e.pushed = h.opened, 1, pushed
    e.reused = 1 if h.opened > 0 else 0
    e.request_ts, e.request_end_ts, e.response_ts, e.response_end_ts = 0, 0, 0, 0
    e.request_frame, e.response_frame, e.request_bytes, e.response_bytes = 0, 0, 0, 0
    e.idle_before = -1
    e.request_seen, e.request_done, e.response_seen, e.response_done = 0, 0, 0, 0
    e.refused = 1 if peer.refused_from > 0 and stream_id >= peer.refused_from else 0
    e.socket, e.child, e.offset_c, e.offset_s = NO_SOCKET, 0, 1, 1
    e.room_c, e.room_s, e.wait_c_ts, e.wait_s_ts, e.waited_c, e.waited_s = h.first_c, h.first_s, 0, 0, 0, 0
    e.events = UNTOLD
    begin_events(e)
    e.newer, e.older = 0, h.newest
    if h.newest > 0:
        exchanges[h.newest - 1].newer = index + 1
    h.newest = index + 1
    h.streams += 1
    h.opened += 1
    if stream_id % 2 == 1:
        h.top_c = max(h.top_c, stream_id)
    else:
        h.top_s = max(h.top_s, stream_id)
    if h.first_id == 0:
        h.first_id = stream_id
    _weigh(h, e, 1)
    return int(index)


@routine
def open_upgraded(
    row: Records, h: Records, c: Records, peer: Records, exchanges: Records, m: Records, oddities: Records
) -> None:  # fmt: skip
    """Stream 1 of a connection that HTTP/1 upgraded: its request was HTTP/1, and is counted there."""
    index = open_stream(row, h, c, 1, False, peer, exchanges, m, oddities)
    if index == 0:
        return
    e = exchanges[index]
    _weigh(h, e, -1)
    e.serial, e.reused = h.upgrade_serial, h.upgrade_reused
    e.request_seen = 1 if h.upgrade_ts != 0 else 0  # it may have come before the capture
    e.request_done, e.request_bytes = 1, h.upgrade_bytes
    e.request_ts, e.request_end_ts, e.request_frame = h.upgrade_ts, h.upgrade_end_ts, h.upgrade_frame
    e.idle_before = h.upgrade_idle
    _weigh(h, e, 1)


@routine
def begin_request(s: Records, h: Records, app: Records, e: Records, direction: int) -> None:
    """The request of an exchange begins with the frame being read."""
    _weigh(h, e, -1)
    e.request_seen, e.request_ts, e.request_frame, e.idle_before = 1, s.first_ts, s.first_frame, s.first_idle
    _weigh(h, e, 1)
    if e.pushed:
        return
    app.requests += 1
    app.requester = direction
    app.request_ts, app.request_frame, app.request_idle = s.first_ts, s.first_frame, s.first_idle
    app.request_offset = s.first_offset


@routine
def begin_response(s: Records, h: Records, e: Records) -> None:
    """The response, or an interim one, begins with the frame being read."""
    _weigh(h, e, -1)
    e.response_seen, e.response_ts, e.response_frame = 1, s.first_ts, s.first_frame
    _weigh(h, e, 1)


@routine
def end_side(s: Records, h: Records, app: Records, e: Records, of_request: bool) -> None:
    """END_STREAM: one side of the stream has said everything."""
    _weigh(h, e, -1)
    if of_request:
        e.request_done, e.request_end_ts, e.wait_c_ts = 1, s.ts, 0
    else:
        e.response_done, e.response_end_ts, e.wait_s_ts = 1, s.ts, 0
        if not e.pushed:
            app.responses += 1
            app.response_end_ts = s.ts
    _weigh(h, e, 1)


@routine
def leave(index: int, h: Records, app: Records, exchanges: Records, done: Records, m: Records) -> None:
    """Take a stream out of the connection and hand it to the table, ended or not."""
    e = exchanges[index]
    _weigh(h, e, -1)
    if e.refused and e.request_seen and not e.response_seen and not e.pushed:
        app.unserved += 1
        app.unserved_frame = max(app.unserved_frame, e.request_frame)
    if e.newer > 0:
        exchanges[e.newer - 1].older = e.older
    else:
        h.newest = e.older
    if e.older > 0:
        exchanges[e.older - 1].newer = e.newer
    h.streams -= 1
    e.unsure = h.unsure
    if e.socket >= OPEN:
        h.sockets -= 1
    if e.socket == TUNNEL:
        h.tunnels -= 1
    done[m.n_done] = e
    m.n_done += 1
    e.open = 0
    e.older = m.free_exchange
    m.free_exchange = index + 1


@routine
def _find_serial(h: Records, serial: int, exchanges: Records) -> int:
    place = int(h.newest)
    while place > 0 and exchanges[place - 1].serial != serial:
        place = int(exchanges[place - 1].older)
    return place - 1


@kernel
def find_exchange(place: int, serial: int, connections: Records, exchanges: Records) -> int:
    """Return the place of an exchange in the pool, -1 if it is not open any more."""
    return _find_serial(connections[place], serial, exchanges)


@kernel
def set_socket(
    place: int, serial: int, what: int, child: int, connections: Records, exchanges: Records
) -> int:  # fmt: skip
    """HPACK told that a stream is asked to be a WebSocket or a tunnel, or is one: return 1 if it is still open."""
    h = connections[place]
    at = _find_serial(h, serial, exchanges)
    if at < 0:
        return 0
    e = exchanges[at]
    _weigh(h, e, -1)
    e.socket, e.child = what, child
    _weigh(h, e, 1)
    if what >= OPEN:
        h.sockets += 1
        h.sockets_ever += 1
    if what == TUNNEL:
        h.tunnels += 1
        h.tunnels_ever += 1
    return 1


@routine
def refuse(h: Records, exchanges: Records, above: int, odd: int) -> None:
    """GOAWAY: streams above the last one that its sender still serves, of those that its peer opened."""
    place = int(h.newest)
    while place > 0:
        e = exchanges[place - 1]
        place = int(e.older)
        if e.stream_id > above and e.stream_id % 2 == odd and not e.refused:
            _weigh(h, e, -1)
            e.refused = 1


@kernel
def close_http2(
    chosen: I32, places: I32, channels: Records, flows: Records, apps: Records, connections: Records,
    exchanges: Records, done: Records, meta: Records,
) -> None:  # fmt: skip
    """The flows of the channels in `chosen` are over: hand over the streams that never ended."""
    m = meta[0]
    for k in range(chosen.size):
        h, c = connections[places[chosen[k]]], channels[chosen[k]]
        app, last_ts = app_of(c, apps), flows[c.slot].last_ts
        while h.newest > 0:
            for by_client in (True, False):  # a window that never opened again held it back to the end
                end_wait(h, app, exchanges[h.newest - 1], by_client, last_ts, 0)
            leave(int(h.newest) - 1, h, app, exchanges, done, m)
