"""The queue of exchanges of a connection: opened by a request, answered in order, handed to the table when both ended.

Source  RFC 9112 section 9.3 (persistence), 9.3.2 (pipelining).
"""

from __future__ import annotations

from analyzer.kernel import Records, helper, routine
from analyzer.protocols.http1.state import MAX_EXCHANGES, MAX_WAITING
from analyzer.protocols.oddities import PIPELINE_CAP, note_odd

_LOOK_BACK = 256  # rows: what a loss holds back is delivered within milliseconds


@helper
def _clear_texts(e: Records) -> None:
    e.method_at, e.target_at, e.host_at, e.connection_c_at, e.connection_s_at = -1, -1, -1, -1, -1
    e.upgrade_c_at, e.upgrade_s_at, e.ws_key_at, e.ws_accept_at, e.ws_extensions_at = -1, -1, -1, -1, -1
    e.ws_protocol_at = -1


@helper
def count_outstanding(h: Records, app: Records, exchanges: Records) -> None:
    """A request that was answered before all of it was sent (413, a refused Expect) waits for nothing any more."""
    answered = h.first > 0 and exchanges[h.first - 1].response_done
    app.outstanding = h.waiting - 1 if answered else h.waiting


@routine
def open_exchange(
    span: Records, c: Records, h: Records, app: Records, exchanges: Records, done: Records, m: Records,
    oddities: Records,
) -> int:  # fmt: skip
    """Append an exchange to the connection's queue; return its place in the pool, 0 if there is no room."""
    if h.waiting >= MAX_WAITING or (m.free_exchange == 0 and m.n_exchanges >= MAX_EXCHANGES):
        note_odd(oddities, PIPELINE_CAP, span)
        if h.first == 0 or exchanges[h.first - 1].response_seen:
            return 0
        finish_first(h, app, exchanges, done, m)
    if m.free_exchange > 0:
        index = m.free_exchange - 1
        m.free_exchange = exchanges[index].next
    else:
        index = m.n_exchanges
        m.n_exchanges += 1
    e = exchanges[index]
    e.flow_id, e.channel, e.stream_id, e.decrypted = span.flow_id, span.channel, c.stream_id, c.decrypted
    e.index, e.next, e.open = h.opened, 0, 1
    e.request_ts, e.request_end_ts, e.response_ts, e.response_end_ts = 0, 0, 0, 0
    e.request_frame, e.response_frame, e.request_bytes, e.response_bytes = 0, 0, 0, 0
    e.idle_before, e.hol_wait, e.keepalive_timeout, e.keepalive_max = -1, -1, -1, -1
    e.status, e.kind, e.minor_c, e.minor_s, e.framing_c, e.framing_s = 0, 0, -1, -1, 0, 0
    e.request_seen, e.request_done, e.response_seen, e.response_done = 0, 0, 0, 0
    e.upgrade, e.settled, e.pipelined, e.sse, e.damaged = 0, 0, 0, 0, 0
    _clear_texts(e)
    h.opened += 1
    if h.last > 0:
        exchanges[h.last - 1].next = index + 1
    else:
        h.first = index + 1
    h.last = index + 1
    h.waiting += 1
    count_outstanding(h, app, exchanges)
    return int(index)


@routine
def finish_first(h: Records, app: Records, exchanges: Records, done: Records, m: Records) -> None:
    """Take the first exchange out of the queue and hand it to the table, ended or not."""
    index = h.first - 1
    e = exchanges[index]
    h.first = e.next
    if h.first == 0:
        h.last = 0
    h.waiting -= 1
    if e.request_seen and not e.request_done:
        h.gone = 1
    if e.response_done and not e.request_seen:
        h.orphans += 1
    count_outstanding(h, app, exchanges)
    done[m.n_done] = e
    m.n_done += 1
    _free(index, exchanges, m)


@helper
def _free(index: int, exchanges: Records, m: Records) -> None:
    e = exchanges[index]
    e.open = 0
    e.next = m.free_exchange
    m.free_exchange = index + 1


@routine
def adopt_orphan(h: Records, app: Records, exchanges: Records, done: Records, m: Records) -> None:
    """A whole request that waits alone: if it was held back by a loss before it, its response may be here already.

    That one came after the request, by the times of their segments, and seemed to be nobody's.
    """
    index = h.first - 1
    e = exchanges[index]
    if h.waiting != 1 or e.response_seen or not e.request_done:
        return
    found = -1
    for k in range(m.n_done - 1, max(m.n_done - _LOOK_BACK, 0) - 1, -1):
        o = done[k]
        if o.channel == e.channel and o.flow_id == e.flow_id:
            if o.request_seen or o.response_ts < e.request_end_ts:
                break
            found = k  # of several the first: the others answer what is still to come
    if found < 0:
        h.orphans = 0  # nor will a later request find one
        return
    o = done[found]
    o.request_ts, o.request_end_ts, o.request_frame, o.request_bytes = (
        e.request_ts, e.request_end_ts, e.request_frame, e.request_bytes
    )  # fmt: skip
    o.request_seen, o.request_done, o.idle_before = 1, 1, e.idle_before
    o.kind, o.minor_c, o.framing_c, o.upgrade = e.kind, e.minor_c, e.framing_c, e.upgrade
    o.method_at, o.method_len, o.target_at, o.target_len = e.method_at, e.method_len, e.target_at, e.target_len
    o.host_at, o.host_len = e.host_at, e.host_len
    o.connection_c_at, o.connection_c_len = e.connection_c_at, e.connection_c_len
    o.upgrade_c_at, o.upgrade_c_len = e.upgrade_c_at, e.upgrade_c_len
    h.first, h.last, h.waiting = 0, 0, 0
    h.opened -= 1
    h.orphans -= 1
    _free(index, exchanges, m)


@routine
def finish_ended(h: Records, app: Records, exchanges: Records, done: Records, m: Records) -> None:
    """Hand over the exchanges at the queue's head that have both their ends."""
    while h.first > 0:
        e = exchanges[h.first - 1]
        if not e.response_done or (e.request_seen and not e.request_done and not e.damaged):
            break
        finish_first(h, app, exchanges, done, m)
