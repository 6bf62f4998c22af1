"""Control frames: pings and the pongs that answer them, and the two close frames.

Source  RFC 6455 sections 5.5 (control frames), 7.4 (status codes).
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.channel import NO_CODE, UNSEEN_CODE
from analyzer.protocols.heap import put_text
from analyzer.protocols.websocket.message import fault
from analyzer.protocols.websocket.payload import is_utf8
from analyzer.protocols.websocket.state import (
    BAD_CODE,
    BAD_UTF8,
    MAX_PINGS,
    SHORT_CLOSE,
    UNSEEN_PING,
)

_MASK = (1 << 52) - 1  # times 131 it still fits
_BLUR_NS = 50_000_000  # what a scheduler adds to a short round trip


@routine
def _hash_of_payload(s: Records) -> int:
    h = int(s.length)
    for k in range(s.kept):
        h = ((h * 131) ^ int(np.int64(s.payload[k]))) & _MASK
    return h


@routine
def note_ping(s: Records, w: Records, row: Records, direction: int, place: int, pings: Records) -> None:
    """A ping waits for its pong."""
    n = int(w.pings_c if direction == 0 else w.pings_s)
    first = (2 * place + int(direction)) * MAX_PINGS
    if n == MAX_PINGS:
        for k in range(n - 1):
            pings[first + k] = pings[first + k + 1]
        n -= 1
    ping = pings[first + n]
    ping.hash, ping.length, ping.index = _hash_of_payload(s), s.length, row.index
    ping.ts, ping.frame = row.ts, row.frame
    if direction == 0:
        w.pings_c, w.asked_c = n + 1, 0
    else:
        w.pings_s, w.asked_s = n + 1, 0


@routine
def note_pong(
    s: Records, w: Records, row: Records, direction: int, place: int, pings: Records, path_ns: int
) -> None:  # fmt: skip
    """Find the ping of the peer with the same payload; `row.pong_of` stays -1 if there is none.

    Of several alike it is the one that was under way for about as long as the last that was answered, or as the path
    takes (path_ns); if none was, the oldest: a peer that was stuck answers them in turn. An endpoint may answer only
    the newest of several (section 5.5.3): so those before the one found will have no answer any more, unless they were
    under way at the same time.
    """
    peer = 1 - int(direction)
    n = int(w.pings_c if peer == 0 else w.pings_s)
    first = (2 * place + peer) * MAX_PINGS
    wanted = _hash_of_payload(s)
    usual = int(w.ping_rtt_c if peer == 0 else w.ping_rtt_s)
    usual = usual if usual > 0 else path_ns
    found, off = -1, 0
    for k in range(n):
        ping = pings[first + k]
        if ping.hash == wanted and ping.length == s.length:
            age = int(row.ts - ping.ts)
            fits = usual > 0 and usual <= 2 * age and age <= 2 * usual + _BLUR_NS
            if found < 0 or (fits and abs(age - usual) < off):
                found, off = k, abs(age - usual) if fits else 1 << 62
    if found < 0:
        return
    ping = pings[first + found]
    row.pong_of, row.rtt = ping.index, max(row.ts - ping.ts, 0)
    sent = int(ping.ts)
    kept = 0
    for k in range(n):
        if k == found:
            continue
        if k < found and sent - pings[first + k].ts > row.rtt:
            continue
        if kept != k:
            pings[first + kept] = pings[first + k]
        kept += 1
    if peer == 0:
        w.pings_c, w.ping_rtt_c = kept, max(row.rtt, 1)
    else:
        w.pings_s, w.ping_rtt_s = kept, max(row.rtt, 1)


@routine
def excuse_pong(w: Records, row: Records, direction: int) -> None:
    """The first pong after a connection was joined in its middle may answer a ping from before."""
    if row.pong_of == -1 and (w.asked_s if direction == 0 else w.asked_c):
        row.pong_of = UNSEEN_PING
    if direction == 0:
        w.asked_s = 0
    else:
        w.asked_c = 0


@routine
def may_be_sent(code: int) -> bool:
    """Section 7.4.2: registered codes that may stand in a frame, libraries (3000), applications (4000)."""
    registered = 1000 <= code <= 1003 or 1007 <= code <= 1014
    return registered or 3000 <= code <= 4999


@routine
def take_close(s: Records, app: Records, row: Records, direction: int, heap: U8, m: Records) -> None:
    """Read code and reason of a close frame."""
    code = NO_CODE
    if s.length == 1:
        fault(s, SHORT_CLOSE)
    elif s.length >= 2 and s.kept >= 2:
        code = int(np.int64(s.payload[0]) << 8 | np.int64(s.payload[1]))
        row.close_code = code
        if not may_be_sent(code):
            fault(s, BAD_CODE)
        if s.kept > 2:
            row.reason_at, row.reason_len = put_text(s.payload, 2, s.kept, heap, m), s.kept - 2
        if s.missing == 0 and not is_utf8(s, 2):
            fault(s, BAD_UTF8)
    elif s.length >= 2:
        code = UNSEEN_CODE
    s.closed = 1
    if direction == 0 and app.ws_close_c == 0:
        app.ws_close_c, app.bye_ts_c = code, row.ts
        app.ws_close_first = 1 if app.ws_close_first == 0 else app.ws_close_first
    elif direction == 1 and app.ws_close_s == 0:
        app.ws_close_s, app.bye_ts_s = code, row.ts
        app.ws_close_first = 2 if app.ws_close_first == 0 else app.ws_close_first
