"""Flow control: how long a body waits because the other side has not widened its window.

Source  RFC 9113 sections 5.2 (what it is for), 6.9 (WINDOW_UPDATE), 6.9.1 (a sender must not pass either window),
        6.9.2 (the first windows, and what a change of SETTINGS_INITIAL_WINDOW_SIZE does).
Sees    DATA that uses a window up and is not the end of its stream; what comes after it tells whether it had to wait.
Limits  Windows are counted from the connection's beginning: where that, or frames later, were not captured they are
        not known, and nothing is said. Only the stream whose DATA used the window up is seen to wait; others may too.
"""

from __future__ import annotations

from analyzer.kernel import Records, routine
from analyzer.protocols.http2.state import WINDOW


@routine
def _is_open(h: Records, e: Records, by_client: bool) -> bool:
    """True if the side that sends may go on."""
    if by_client:
        return bool(h.room_c > -WINDOW and e.room_c > -WINDOW)
    return bool(h.room_s > -WINDOW and e.room_s > -WINDOW)


@routine
def spend(s: Records, h: Records, e: Records, by_client: bool, goes_on: bool) -> None:
    """A DATA frame has passed; with it a body may have to wait. What did send was not waiting."""
    full = False
    if by_client:
        e.room_c -= s.length
        full = not _is_open(h, e, True)
        e.wait_c_ts, e.wait_c_frame = (s.ts, s.frame) if full and goes_on else (0, 0)
    else:
        e.room_s -= s.length
        full = not _is_open(h, e, False)
        e.wait_s_ts, e.wait_s_frame = (s.ts, s.frame) if full and goes_on else (0, 0)


@routine
def spend_connection(s: Records, h: Records, by_client: bool) -> None:
    """A DATA frame counts for the connection, whatever became of its stream."""
    if by_client:
        h.room_c -= s.length
    else:
        h.room_s -= s.length


@routine
def end_wait(h: Records, app: Records, e: Records, by_client: bool, ts: int, frame: int) -> int:
    """A body waits no longer, or will wait for ever: return for how long it did, -1 if it did not wait."""
    since = int(e.wait_c_ts if by_client else e.wait_s_ts)
    if since == 0 or h.unsure:
        return -1
    waited = max(ts - since, 0)
    began = int(e.wait_c_frame if by_client else e.wait_s_frame)
    if by_client:
        e.waited_c += waited
        e.wait_c_ts = 0
    else:
        e.waited_s += waited
        e.wait_s_ts = 0
    if waited > app.window_wait:
        app.window_wait, app.window_wait_frame, app.window_open_frame = waited, began, frame
    return waited


@routine
def _widened(s: Records, h: Records, app: Records, exchanges: Records, by_client: bool, only: int) -> int:
    """Return the longest wait that ends because a window became wider; `only` this stream's, 0 = all."""
    longest, place = -1, int(h.newest)
    while place > 0:
        e = exchanges[place - 1]
        place = int(e.older)
        if (only == 0 or e.stream_id == only) and _is_open(h, e, by_client):
            longest = max(longest, end_wait(h, app, e, by_client, s.ts, s.frame))
    return longest


@routine
def widen(
    s: Records, h: Records, app: Records, exchanges: Records, from_client: bool, increment: int
) -> int:  # fmt: skip
    """WINDOW_UPDATE: its sender reads, so the other side may send more. Return the wait that it ended, -1 = none."""
    if s.stream_id == 0 and from_client:
        h.room_s += increment
    elif s.stream_id == 0:
        h.room_c += increment
    else:
        place = int(h.newest)
        while place > 0:
            e = exchanges[place - 1]
            place = int(e.older)
            if e.stream_id == s.stream_id and from_client:
                e.room_s += increment
            elif e.stream_id == s.stream_id:
                e.room_c += increment
    return _widened(s, h, app, exchanges, not from_client, s.stream_id)


@routine
def resize(s: Records, h: Records, app: Records, exchanges: Records, from_client: bool, size: int) -> int:
    """SETTINGS_INITIAL_WINDOW_SIZE: streams that are open change by the difference. Returns as `widen`."""
    change = size - WINDOW - (h.first_s if from_client else h.first_c)
    if from_client:
        h.first_s += change
    else:
        h.first_c += change
    place = int(h.newest)
    while place > 0:
        e = exchanges[place - 1]
        place = int(e.older)
        if from_client:
            e.room_s += change
        else:
            e.room_c += change
    return _widened(s, h, app, exchanges, not from_client, 0)
