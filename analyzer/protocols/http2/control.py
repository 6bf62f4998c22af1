"""Control frames: pings and their answers, settings, resets and goodbyes, as rows and as what they change.

Source  RFC 9113 sections 6.4 (RST_STREAM), 6.5 (SETTINGS), 6.7 (PING), 6.8 (GOAWAY), 6.9 (WINDOW_UPDATE).
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.heap import put_text
from analyzer.protocols.http2.state import (
    ACK,
    BUSY_NS,
    ENABLE_CONNECT_PROTOCOL,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_PINGS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from analyzer.protocols.http2.streams import find, leave, refuse
from analyzer.protocols.http2.window import end_wait, resize, widen

_ENHANCE_YOUR_CALM = 11  # section 7
_PING, _TIM = 0x70696E67, 0x5F74696D  # "ping_timeout" begins so


@routine
def number(b: U8, at: int, n: int) -> int:
    """Return `n` bytes as a number, the first the highest."""
    value = np.int64(0)
    for k in range(n):
        value = value << 8 | np.int64(b[at + k])
    return int(value)


@routine
def put_frame(s: Records, c: Records, direction: int, frames: Records, m: Records) -> int:
    """Append the frame being read to the rows; return its place there."""
    index = int(m.n_frames)
    row = frames[index]
    row.flow_id, row.decrypted, row.dir = c.flow_id, c.decrypted, direction
    row.stream_id, row.frame, row.ts, row.length = s.stream_id, s.frame, s.ts, s.length
    row.type, row.flags = s.type, s.flags
    row.error, row.last_stream, row.increment, row.waited = -1, -1, -1, -1
    row.index, row.answers, row.ping_of, row.rtt = -1, -1, -1, -1
    row.text_at, row.text_len, row.busy = -1, 0, 0
    m.n_frames += 1
    return index


@routine
def _note_ping(s: Records, h: Records, row: Records, direction: int, place: int, pings: Records) -> None:
    """A ping waits for its answer."""
    n = int(h.pings_c if direction == 0 else h.pings_s)
    first = (2 * place + direction) * MAX_PINGS
    if n == MAX_PINGS:
        for k in range(n - 1):
            pings[first + k] = pings[first + k + 1]
        n -= 1
    ping = pings[first + n]
    row.index = h.pings
    row.busy = 1 if h.data_ts != 0 and row.ts - h.data_ts < BUSY_NS else 0
    ping.busy = row.busy
    ping.opaque, ping.index, ping.ts, ping.frame = number(s.kept, 0, 8), h.pings, row.ts, row.frame
    h.pings += 1
    if direction == 0:
        h.pings_c = n + 1
    else:
        h.pings_s = n + 1


@routine
def _note_answer(s: Records, h: Records, row: Records, direction: int, place: int, pings: Records) -> None:
    """Find the oldest ping of the peer with the same eight bytes; `row.answers` stays -1 if there is none."""
    peer = 1 - direction
    n = int(h.pings_c if peer == 0 else h.pings_s)
    first = (2 * place + peer) * MAX_PINGS
    wanted = number(s.kept, 0, 8)
    found = 0
    while found < n and pings[first + found].opaque != wanted:
        found += 1
    if found == n:
        return
    ping = pings[first + found]
    row.answers, row.ping_of, row.rtt, row.busy = ping.index, ping.frame, max(row.ts - ping.ts, 0), ping.busy
    for k in range(found, n - 1):
        pings[first + k] = pings[first + k + 1]
    if peer == 0:
        h.pings_c = n - 1
    else:
        h.pings_s = n - 1


@routine
def _take_settings(
    s: Records, h: Records, app: Records, row: Records, from_client: bool, exchanges: Records, heap: U8, m: Records
) -> None:  # fmt: skip
    if s.flags & ACK:
        return
    row.text_at, row.text_len = put_text(s.kept, 0, s.kept_n, heap, m), s.kept_n
    for at in range(0, s.kept_n - 5, 6):
        if number(s.kept, at, 2) == MAX_FRAME_SIZE:
            s.max_frame = number(s.kept, at + 2, 4)
        elif number(s.kept, at, 2) == INITIAL_WINDOW_SIZE:
            row.waited = resize(s, h, app, exchanges, from_client, number(s.kept, at + 2, 4))
        elif number(s.kept, at, 2) == ENABLE_CONNECT_PROTOCOL and not from_client:
            h.connect = 1 if number(s.kept, at + 2, 4) == 1 else 0


@routine
def _take_goaway(
    s: Records, h: Records, app: Records, row: Records, from_client: bool, exchanges: Records, heap: U8, m: Records
) -> None:  # fmt: skip
    """Section 6.8: what is above the last stream was not served; a first GOAWAY may name 2^31-1, a second the truth."""
    row.last_stream, row.error = number(s.kept, 0, 4) & 0x7FFFFFFF, number(s.kept, 4, 4)
    if s.kept_n > 8:
        row.text_at, row.text_len = put_text(s.kept, 8, s.kept_n, heap, m), s.kept_n - 8
    # gRPC says ENHANCE_YOUR_CALM, with these words, also where its keepalive ping had no answer
    own_ping = s.kept_n >= 16 and number(s.kept, 8, 4) == _PING and number(s.kept, 12, 4) == _TIM
    if row.error == _ENHANCE_YOUR_CALM and not own_ping:
        app.annoyed = 1
    s.refused_from = row.last_stream + 1
    refuse(h, exchanges, row.last_stream, 0 if from_client else 1)
    if from_client:  # Node says NO_ERROR after any error
        app.goaway_c = max(app.goaway_c, row.error + 1)
        app.bye_ts_c = row.ts if app.bye_ts_c == 0 else app.bye_ts_c
    else:
        app.goaway_s, app.goaway_frame = max(app.goaway_s, row.error + 1), row.frame
        app.bye_ts_s = row.ts if app.bye_ts_s == 0 else app.bye_ts_s


@routine
def take_control(
    s: Records, h: Records, c: Records, app: Records, direction: int, place: int, frames: Records, pings: Records,
    exchanges: Records, done: Records, heap: U8, m: Records,
) -> None:  # fmt: skip
    """A control frame is whole: make its row, and do what it says."""
    row = frames[put_frame(s, c, direction, frames, m)]
    if s.missing or s.kept_n < s.need:
        return
    if s.type == PING and s.length == 8:
        if s.flags & ACK:
            _note_answer(s, h, row, direction, place, pings)
        else:
            _note_ping(s, h, row, direction, place, pings)
    elif s.type == SETTINGS:
        _take_settings(s, h, app, row, direction == h.client, exchanges, heap, m)
    elif s.type == GOAWAY and s.length >= 8:
        _take_goaway(s, h, app, row, direction == h.client, exchanges, heap, m)
    elif s.type == RST_STREAM and s.length == 4:
        row.error = number(s.kept, 0, 4)
        index = find(h, exchanges, s.stream_id)
        if index > 0:
            e = exchanges[index]
            end_wait(h, app, e, True, s.ts, s.frame)
            end_wait(h, app, e, False, s.ts, s.frame)
            leave(index, h, app, exchanges, done, m)
    elif s.type == WINDOW_UPDATE and s.length == 4:
        row.increment = number(s.kept, 0, 4) & 0x7FFFFFFF
        row.waited = widen(s, h, app, exchanges, direction == h.client, row.increment)
