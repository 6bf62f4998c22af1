"""Payload silence while it runs (definitions B7).

What    The time between two segments that moved the conversation: handshake end, new payload, FIN or RST. Keep-alives,
        window probes, ACKs and retransmissions do not end it; they are counted inside it.
Gives   one `gaps` row for each silence of at least `idle_min`, closed when the data that ended it is acknowledged.
Limits  Without a protocol's help, whose turn it was is read from who sent last: the client waits for an answer
        (server_wait) or thinks (think_time).
"""

from __future__ import annotations

from analyzer.flows.state import (
    AFTER_HALF_CLOSE,
    END_DATA,
    END_RST,
    GAP_KEPT,
    GAP_OPEN,
    GAP_VOID,
    SERVER_WAIT,
    STALLED_UNACKED,
    STALLED_ZERO_WINDOW,
    THINK_TIME,
)
from analyzer.kernel import Records, helper

# Silences of one flow whose data is not acknowledged yet. Where only one side was captured none ever is.
MOST_WAITING = 8


@helper
def gap_class(f: Records, stalled: bool, now: int) -> int:
    """Return the class of the silence that is running, from the state just before the segment that ends it."""
    if f.gap_half_closed:
        return AFTER_HALF_CLOSE
    closed = f.gap_closed_ns + (now - f.gap_zero_ts if f.gap_zero_ts != 0 else 0)
    if closed > 0 and 2 * closed >= now - f.active_ts:
        return STALLED_ZERO_WINDOW  # closed for most of it; a window that opened early does not explain the rest
    if stalled or (f.gap_stall_ts != 0 and 2 * (f.gap_stall_ts - f.active_ts) >= now - f.active_ts):
        return STALLED_UNACKED
    return SERVER_WAIT if f.gap_dir == 0 else THINK_TIME


@helper
def note_wire(f: Records, now: int) -> None:
    """Any segment: it ends a silence of the wire, though not one of the payload."""
    if f.last_ts != 0:
        silence = now - f.last_ts
        f.max_wire_gap = max(f.max_wire_gap, silence)
        if f.active_ts != 0:
            f.gap_wire = max(f.gap_wire, silence)


@helper
def _forget_waiting(f: Records, gaps: Records) -> None:
    """The rows that wait for an answer get none any more."""
    while f.gap_row >= 0:
        row = gaps[f.gap_row]
        row.open = 0
        f.gap_row = row.before
    f.gaps_waiting = 0


@helper
def note_active(
    f: Records, seg: Records, slot: int, direction: int, how: int, end: int, client: Records, server: Records,
    gaps: Records, m: Records, idle_min: int, stalled: bool,
) -> None:  # fmt: skip
    """A segment that ends the silence: write its row if it was long enough, and begin the next.

    how   END_DATA, END_FIN or END_RST    end   sequence number whose acknowledgement proves the path still worked
    stalled  something was being retransmitted when it came
    """
    now = seg.ts_ns
    if how == END_RST:
        if f.kept_by != 0 and f.kept_by == f.active_frame:
            return  # the other side's RST ended it already
        keep(f, seg, gaps)
    if f.active_ts != 0:
        silence = now - f.active_ts
        f.max_payload_gap = max(f.max_payload_gap, silence)
        if silence >= idle_min:
            row = gaps[m.n_gaps]
            row.flow_id, row.slot = f.flow_id, slot
            row.start_ts, row.end_ts = f.active_ts, now
            row.start_frame, row.end_frame = f.active_frame, seg.frame
            row.longest_wire, row.fills = min(f.gap_wire, silence), f.gap_fills
            row.gap_class = gap_class(f, stalled, now)
            row.ended_by = how + direction
            row.survived, row.open = 0, 0
            if how == END_DATA:
                if f.gaps_waiting == MOST_WAITING:
                    _forget_waiting(f, gaps)
                row.open, row.answered_at, row.before = GAP_OPEN, end, f.gap_row
                f.gap_row = m.n_gaps
                f.gaps_waiting += 1
            elif how == END_RST:
                row.open, f.kept_row = GAP_KEPT, m.n_gaps
            m.n_gaps += 1
    begin(f, seg, direction, client, server)


@helper
def begin(f: Records, seg: Records, direction: int, client: Records, server: Records) -> None:
    """Start counting a new silence after this segment."""
    f.active_ts, f.active_frame = seg.ts_ns, seg.frame
    f.gap_wire, f.gap_fills = 0, 0
    f.gap_dir = direction
    f.gap_half_closed = 1 if client.fin_seq != 0 or server.fin_seq != 0 else 0
    f.gap_stall_ts, f.gap_closed_ns = 0, 0
    f.gap_zero_ts = seg.ts_ns if client.rwnd == 0 or server.rwnd == 0 else 0


@helper
def keep(f: Records, seg: Records, gaps: Records) -> None:
    """A RST ends the silence that runs, unless it is ignored: remember how things stood, so that it can go on."""
    if f.kept_row >= 0:
        gaps[f.kept_row].open = 0
    f.kept_row, f.kept_by = -1, seg.frame
    f.kept_ts, f.kept_frame, f.kept_dir, f.kept_half_closed = f.active_ts, f.active_frame, f.gap_dir, f.gap_half_closed
    f.kept_wire, f.kept_fills, f.kept_stall_ts = f.gap_wire, f.gap_fills, f.gap_stall_ts
    f.kept_closed_ns = f.gap_closed_ns + (seg.ts_ns - f.gap_zero_ts if f.gap_zero_ts != 0 else 0)


@helper
def resume(f: Records, gaps: Records) -> None:
    """The RST was ignored (RFC 5961): if nothing else moved the conversation since, the silence before it goes on."""
    if f.kept_by == 0 or f.kept_by != f.active_frame:
        return
    if f.kept_row >= 0:
        gaps[f.kept_row].open = GAP_VOID
        f.kept_row = -1
    f.kept_by = 0
    f.active_ts, f.active_frame, f.gap_dir, f.gap_half_closed = f.kept_ts, f.kept_frame, f.kept_dir, f.kept_half_closed
    f.gap_wire, f.gap_fills = max(f.gap_wire, f.kept_wire), f.gap_fills + f.kept_fills
    f.gap_stall_ts = max(f.gap_stall_ts, f.kept_stall_ts)
    f.gap_closed_ns += f.kept_closed_ns


@helper
def note_window(f: Records, now: int, closed: bool) -> None:
    """A window was offered: `closed` if that of either side is closed now."""
    if closed and f.gap_zero_ts == 0:
        f.gap_zero_ts = now
    elif not closed and f.gap_zero_ts != 0:
        f.gap_closed_ns += now - f.gap_zero_ts
        f.gap_zero_ts = 0


@helper
def note_answered(f: Records, acker: int, ack_rel: int, gaps: Records) -> None:
    """An acknowledgement: if it covers the data that ended a silence, the path survived that silence."""
    at, later = f.gap_row, -1
    while at >= 0:
        row = gaps[at]
        before = row.before
        if row.ended_by != END_DATA + acker and ack_rel >= row.answered_at:
            row.survived, row.open = 1, 0
            f.gaps_waiting -= 1
            if later >= 0:
                gaps[later].before = before
            else:
                f.gap_row = before
        else:
            later = at
        at = before
