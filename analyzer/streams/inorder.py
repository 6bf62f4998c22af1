"""In-order bytes of each direction, as a table of spans (the input of every protocol).

What    First copy wins; late segments wait in a bounded store; what never comes is announced as a hole.
Source  RFC 9293 section 3.10.7.4. Overlap policy "first", as RFC 5722 reasons for fragments: what was delivered stays.
Gives   SPAN rows, in stream order per direction: bytes in the batch or in the store, holes, clipped bytes, the FIN.
Limits  Keep-alive garbage never enters. A byte of a zero-window probe enters only once it is acknowledged.
"""

from __future__ import annotations

import numpy as np

from analyzer.flows.state import SEEN_SYN, SEEN_SYN_ACK, TOLD
from analyzer.kernel import U8, Records, helper, kernel, records

# ------------------------------------------------------------------------------------------------ the span table
SPAN_DATA, SPAN_HOLE, SPAN_CLIPPED, SPAN_FIN = 0, 1, 2, 3
IN_BATCH, IN_STORE, IN_ASIDE = 0, 1, 2  # the last: bytes that a protocol put aside or decrypted

SPAN = np.dtype(
    [
        ("flow_id", np.int64),
        ("offset", np.int64),  # stream position; the first byte after the SYN is 1
        ("length", np.int64),
        ("at", np.int64),  # where the bytes are: in the batch's bytes, or in the store's (see `source`)
        ("frame", np.int64),
        ("ts_ns", np.int64),
        ("handshake_ts", np.int64),  # of the flow, as it stood then; 0 = not seen
        ("handshake_rtt", np.int64),
        ("slot", np.int32),
        ("channel", np.int32),  # written by the protocol stage: whose bytes these are (see protocols.channel)
        ("dir", np.int8),
        ("kind", np.int8),
        ("source", np.int8),
        ("midstream", np.int8),  # no SYN of the flow was seen before
    ],
    align=True,
)

# ------------------------------------------------------------------------------------------------ the store
PAGE = 2048  # one Ethernet segment; larger (offloaded) ones take several pages
HELD = 8192  # pages that may wait, 16 MiB for all flows together: what a 10 Gbit/s link delivers in 13 ms
SPENT = (1 << 15) + 2048  # pages delivered in a batch: one for each of its segments
PAGES = HELD + 3 * SPENT  # they stay readable for three batches: protocols may read one while two more are followed
MAX_BLOCKS = 2048  # per direction: 4 MiB, Linux's default receive buffer limit (tcp_rmem), more cannot be in flight

# A hole is announced this long after the peer acknowledged beyond it. An ACK may be captured a little before the data
# it acknowledges when packets come from several receive queues; a millisecond or two is common, ten is plenty.
HOLE_WAIT_NS = 10_000_000

BLOCK = np.dtype(
    [("start", np.int64), ("length", np.int64), ("captured", np.int64), ("frame", np.int64), ("ts_ns", np.int64),
     ("next", np.int32), ("counted", np.int8)],  # counted: its bytes are in payload_bytes
    align=True,
)  # fmt: skip


def new_store() -> tuple[Records, U8]:
    """Return the block records (block i owns page i), and the pages: not touched, so not resident, until needed."""
    return records(PAGES, BLOCK), np.empty(PAGES * PAGE, np.uint8)


@helper
def _emit(
    spans: Records, m: Records, f: Records, slot: int, direction: int, kind: int, source: int, offset: int, length: int,
    at: int, frame: int, ts_ns: int,
) -> None:  # fmt: skip
    row = spans[m.n_spans]
    row.flow_id, row.slot, row.dir = f.flow_id, slot, direction
    row.kind, row.source = kind, source
    row.offset, row.length, row.at = offset, length, at
    row.frame, row.ts_ns = frame, ts_ns
    row.handshake_ts, row.handshake_rtt = f.handshake_ts, f.handshake_rtt
    row.midstream = 1 if f.completeness & (SEEN_SYN | SEEN_SYN_ACK) == 0 else 0
    m.n_spans += 1


@helper
def _emit_bytes(
    spans: Records, m: Records, f: Records, slot: int, direction: int, source: int, offset: int, length: int,
    captured: int, at: int, frame: int, ts_ns: int,
) -> None:  # fmt: skip
    """Emit `length` bytes of which the first `captured` are there."""
    captured = min(captured, length)
    if captured > 0:
        _emit(spans, m, f, slot, direction, SPAN_DATA, source, offset, captured, at, frame, ts_ns)
    else:
        captured = 0
    if captured < length:
        missing = length - captured
        _emit(spans, m, f, slot, direction, SPAN_CLIPPED, source, offset + captured, missing, at, frame, ts_ns)


@helper
def ends_here(side: Records) -> bool:
    """True if only the FIN is left to deliver."""
    return bool(side.fin_seq != 0 and side.deliver_nxt == side.fin_seq - 1)


@helper
def drain(f: Records, me: Records, slot: int, direction: int, blocks: Records, spans: Records, m: Records) -> None:
    """Deliver the stored blocks that now follow on. Their pages stay readable for three batches."""
    while me.ooo_head >= 0:
        index = me.ooo_head
        b = blocks[index]
        if b.start > me.deliver_nxt:
            break
        skip = me.deliver_nxt - b.start
        if skip < b.length:
            if not b.counted:
                me.payload_bytes += b.length - skip
            _emit_bytes(
                spans, m, f, slot, direction, IN_STORE, me.deliver_nxt, b.length - skip, b.captured - skip,
                index * PAGE + skip, b.frame, b.ts_ns,
            )  # fmt: skip
            me.deliver_nxt = b.start + b.length
        me.ooo_head = b.next
        me.ooo_blocks -= 1
        me.ooo_bytes -= b.length
        m.blocks_held -= 1
        b.next = m.spent_block
        m.spent_block = index
    if me.ooo_head < 0:
        me.ooo_tail = -1
    if ends_here(me):
        _emit(spans, m, f, slot, direction, SPAN_FIN, IN_BATCH, me.deliver_nxt, 0, 0, me.fin_frame, me.fin_ts)
        me.deliver_nxt = me.fin_seq
    if me.hole_acked_ts != 0 and me.deliver_nxt >= me.snd_una:
        me.hole_acked_ts = 0


@helper
def _drop_head(me: Records, blocks: Records, m: Records) -> None:
    index = me.ooo_head
    me.ooo_head = blocks[index].next
    me.ooo_blocks -= 1
    me.ooo_bytes -= blocks[index].length
    blocks[index].next = m.spent_block
    m.spent_block = index
    m.blocks_held -= 1
    if me.ooo_head < 0:
        me.ooo_tail = -1


@helper
def drop_all(me: Records, blocks: Records, m: Records) -> None:
    while me.ooo_head >= 0:
        _drop_head(me, blocks, m)


@helper
def announce_hole(
    f: Records, me: Records, slot: int, direction: int, blocks: Records, spans: Records, m: Records, ts_ns: int,
    frame: int,
) -> None:  # fmt: skip
    """Give up on the bytes up to the next stored block (or the acknowledgement) and go on after them."""
    end = me.snd_una
    if me.ooo_head >= 0 and (blocks[me.ooo_head].start < end or end <= me.deliver_nxt):
        end = blocks[me.ooo_head].start
    if me.fin_seq != 0 and end >= me.fin_seq:
        end = me.fin_seq - 1
    if end > me.deliver_nxt:
        length = end - me.deliver_nxt
        _emit(spans, m, f, slot, direction, SPAN_HOLE, IN_BATCH, me.deliver_nxt, length, 0, frame, ts_ns)
        me.missing_bytes += length
        me.deliver_nxt = end
    elif me.fin_seq != 0 and me.deliver_nxt >= me.fin_seq - 1:
        drop_all(me, blocks, m)  # bytes beyond the FIN belong to no stream
    me.hole_acked_ts = ts_ns if me.snd_una > me.deliver_nxt else 0
    drain(f, me, slot, direction, blocks, spans, m)


@helper
def store_probe(seg: Records, first: int, me: Records, m: Records, blocks: Records, pages: U8, data: U8) -> None:
    """Keep the byte of a zero-window probe: it counts, and enters the stream, once acknowledged or sent again."""
    if first >= me.deliver_nxt and store(seg, first, me, m, blocks, pages, data) > 0:
        blocks[me.ooo_tail].counted = 0


@helper
def skip_to(
    f: Records, me: Records, slot: int, direction: int, blocks: Records, spans: Records, m: Records, first: int,
    seg: Records,
) -> None:  # fmt: skip
    """Announce one hole up to stream position `first`, past everything that waits."""
    drop_all(me, blocks, m)
    length = first - me.deliver_nxt
    _emit(spans, m, f, slot, direction, SPAN_HOLE, IN_BATCH, me.deliver_nxt, length, 0, seg.frame, seg.ts_ns)
    me.missing_bytes += length
    me.deliver_nxt = first


@helper
def is_stored(me: Records, blocks: Records, at: int) -> bool:
    """True if the byte at `at` waits in the store."""
    if me.ooo_tail < 0 or blocks[me.ooo_tail].start + blocks[me.ooo_tail].length <= at:
        return False
    i = me.ooo_head
    while i >= 0:
        b = blocks[i]
        if b.start > at:
            return False
        if at < b.start + b.length:
            return True
        i = b.next
    return False


@helper
def hole_since(me: Records, blocks: Records, end: int) -> int:
    """Return when what waits behind the hole before `end` came; where nothing does, when the newest data came."""
    i = me.ooo_head
    while i >= 0 and blocks[i].start < end:
        i = blocks[i].next
    return int(blocks[i].ts_ns if i >= 0 else me.new_data_ts)


@helper
def _take_block(me: Records, m: Records, blocks: Records) -> int:
    """Return a free block, or -1 if the store or this direction's share of it is full."""
    index = m.free_block
    if (index < 0 and m.n_blocks == PAGES) or me.ooo_blocks >= MAX_BLOCKS or m.blocks_held >= HELD:
        return -1
    if index >= 0:
        m.free_block = blocks[index].next
    else:
        index = m.n_blocks
        m.n_blocks += 1
    m.blocks_held += 1
    return int(index)


@helper
def _fill(
    start: int, end: int, before: int, seg: Records, first: int, me: Records, m: Records, blocks: Records, pages: U8,
    data: U8,
) -> int:  # fmt: skip
    """Store [start, end) of a segment whose payload begins at `first`, after block `before`; return the last, or -2."""
    while start < end:
        index = _take_block(me, m, blocks)
        if index < 0:
            return -2
        captured = first + seg.payload_cap - start
        length = min(end - start, PAGE) if captured > 0 else end - start  # what was clipped takes no room
        b = blocks[index]
        b.start, b.length = start, length
        b.frame, b.ts_ns, b.counted = seg.frame, seg.ts_ns, 1
        b.captured = min(max(captured, 0), length)
        source = seg.payload_off + (start - first)
        for k in range(b.captured):
            pages[index * PAGE + k] = data[source + k]
        if before < 0:
            b.next = me.ooo_head
            me.ooo_head = index
        else:
            b.next = blocks[before].next
            blocks[before].next = index
        if b.next < 0:
            me.ooo_tail = index
        me.ooo_blocks += 1
        me.ooo_bytes += length
        before = index
        start += length
    return before


@helper
def store(seg: Records, first: int, me: Records, m: Records, blocks: Records, pages: U8, data: U8) -> int:
    """Keep the bytes of a late segment that are not stored yet; return how many. `no_room` is set if some were not."""
    held = me.ooo_bytes
    m.no_room = 0
    at, end = max(first, me.deliver_nxt), first + seg.payload_len
    before = -1
    if me.ooo_tail >= 0 and blocks[me.ooo_tail].start <= at:
        before = me.ooo_tail  # the usual case: segments after a loss come in order
    following = me.ooo_head if before < 0 else blocks[before].next
    while following >= 0 and blocks[following].start <= at:
        before = following
        following = blocks[following].next
    if before >= 0:
        at = max(at, blocks[before].start + blocks[before].length)
    while at < end:
        stop = end if following < 0 else min(end, blocks[following].start)
        if at < stop:
            before = _fill(at, stop, before, seg, first, me, m, blocks, pages, data)
            if before == -2:
                m.no_room = 1
                break
        if following < 0:
            break
        at = max(at, blocks[following].start + blocks[following].length)
        before = following
        following = blocks[following].next
    return int(me.ooo_bytes - held)


@helper
def _in_order(
    seg: Records, first: int, f: Records, me: Records, slot: int, direction: int, m: Records, blocks: Records,
    spans: Records,
) -> int:  # fmt: skip
    """Deliver a segment that begins at or before deliver_nxt; what waits in the store came first and wins."""
    end = first + seg.payload_len
    new = 0
    while me.deliver_nxt < end:
        at = me.deliver_nxt
        stop = end
        if me.ooo_head >= 0:
            stop = min(end, max(blocks[me.ooo_head].start, at))
        if at < stop:
            skip = at - first
            _emit_bytes(
                spans, m, f, slot, direction, IN_BATCH, at, stop - at, seg.payload_cap - skip, seg.payload_off + skip,
                seg.frame, seg.ts_ns,
            )  # fmt: skip
            new += stop - at
            me.deliver_nxt = stop
        drain(f, me, slot, direction, blocks, spans, m)
    return new


@helper
def deliver(
    seg: Records, first: int, f: Records, me: Records, slot: int, direction: int, m: Records, blocks: Records,
    pages: U8, data: U8, spans: Records,
) -> int:  # fmt: skip
    """Take a segment's payload, which begins at stream position `first`; return how many of its bytes are new."""
    if first + seg.payload_len <= me.deliver_nxt:
        return 0
    if first <= me.deliver_nxt:
        return _in_order(seg, first, f, me, slot, direction, m, blocks, spans)
    new = store(seg, first, me, m, blocks, pages, data)
    if m.no_room:  # declare the hole now rather than later, and try once more
        m.reorder_cap += 1
        if m.reorder_cap == 1:
            m.reorder_cap_flow, m.reorder_cap_frame = f.flow_id, seg.frame
        announce_hole(f, me, slot, direction, blocks, spans, m, seg.ts_ns, seg.frame)
        if first <= me.deliver_nxt:
            new += _in_order(seg, first, f, me, slot, direction, m, blocks, spans)
        else:
            new += store(seg, first, me, m, blocks, pages, data)
            if m.no_room:
                me.dropped = 1
    return new


@helper
def deliver_byte(
    f: Records, me: Records, slot: int, direction: int, m: Records, blocks: Records, pages: U8, spans: Records
) -> None:  # fmt: skip
    """Deliver the byte that a side began with, now that it turned out to be data (see `keepalive.was_no_garbage`)."""
    index = _take_block(me, m, blocks)
    if index < 0:
        return
    pages[index * PAGE] = me.bare_byte
    _emit_bytes(
        spans, m, f, slot, direction, IN_STORE, me.deliver_nxt, 1, 1, index * PAGE, me.bare_frame, me.bare_ts
    )  # fmt: skip
    m.blocks_held -= 1
    blocks[index].next = m.spent_block
    m.spent_block = index
    me.payload_bytes += 1
    me.deliver_nxt += 1
    me.snd_nxt, me.nxt_known, me.bare_run = me.deliver_nxt, TOLD, -1


@kernel
def flush(
    flows: Records, sides: Records, chosen: Records, blocks: Records, spans: Records, meta: Records
) -> None:  # fmt: skip
    """Deliver everything that still waits for the flows in `chosen` (slots), announcing the holes before it.

    `spans` must have room for three rows per stored block and some per chosen flow.
    """
    m = meta[0]
    for k in range(chosen.size):
        slot = chosen[k]
        for direction in range(2):
            me = sides[2 * slot + direction]
            if me.ooo_head >= 0 and not blocks[me.ooo_head].counted and me.snd_una <= blocks[me.ooo_head].start:
                _drop_head(me, blocks, m)  # the byte of a window probe that was never accepted
            if me.dropped:
                me.snd_una = max(me.snd_una, me.sent_nxt)  # what found no room is missing, acknowledged or not
            while me.ooo_head >= 0:
                announce_hole(
                    flows[slot], me, slot, direction, blocks, spans, m, me.last_ts, me.last_frame
                )  # fmt: skip
            if me.segments > 0 and me.snd_una > me.deliver_nxt:
                announce_hole(flows[slot], me, slot, direction, blocks, spans, m, me.last_ts, me.last_frame)
            if ends_here(me):
                drain(flows[slot], me, slot, direction, blocks, spans, m)
