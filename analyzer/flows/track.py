"""One pass over decoded segments: flow, direction, sequence space, labels, silences, closes, in-order bytes.

Reads top-down: `track` takes a batch, `_observe` one segment. Each step lives in the file named after it.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, ICMP_QUOTE, NOTHING, RST, SYN
from analyzer.flows.acknowledge import check_hole, take_ack
from analyzer.flows.clock import moved
from analyzer.flows.closing import is_complete, is_over, note_fin, note_life_after_rst, note_rst
from analyzer.flows.duplicates import is_duplicate_frame, keep_recent
from analyzer.flows.history import advance_state, note_packet, scaled_letter
from analyzer.flows.keepalive import (
    answered_probe,
    hear_of_peer,
    is_early_byte,
    note_bare,
    step_over_early,
    take_probe,
    was_no_garbage,
)
from analyzer.flows.labels import count_labels, label_ack, label_sequence
from analyzer.flows.opening import (
    is_unheard,
    new_flow,
    note_icmp,
    reuses_port,
    set_bases,
    take_completeness,
    take_crossed_syns,
    take_syn,
)
from analyzer.flows.sending import remember, take_new_sequence, take_payload, take_window
from analyzer.flows.sequence import unwrapped
from analyzer.flows.silence import begin, note_active, note_wire
from analyzer.flows.state import (
    DUPLICATE_FRAME,
    END_DATA,
    END_FIN,
    END_RST,
    KEEPALIVE_ACK,
    KEEPALIVE_PROBE,
    LIVE,
    OVER,
    PORT_REUSED,
    REUSED,
)
from analyzer.flows.table import find, place_flow, was_used
from analyzer.kernel import I32, I64, U8, Records, helper, kernel
from analyzer.streams.inorder import deliver_byte, drain


@helper
def _observe(
    seg: Records, data: U8, f: Records, me: Records, peer: Records, slot: int, direction: int, m: Records,
    limits: Records, probes: Records, gaps: Records, spans: Records, samples: I32, rtt_free: I32, blocks: Records,
    pages: U8, label: Records,
) -> None:  # fmt: skip
    """Take one segment that is not a duplicate frame."""
    now, flags = seg.ts_ns, seg.flags
    has_ack = flags & ACK != 0
    set_bases(seg, f, me, peer, m, blocks)
    seq_rel = unwrapped(seg.seq, me.isn, me.snd_nxt)
    ack_rel = unwrapped(seg.ack, peer.isn, peer.snd_una) if has_ack and peer.isn >= 0 else -1
    end = seq_rel + seg.payload_len + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)

    early = is_early_byte(seg, seq_rel, me)
    if early:
        me.bare_byte = data[seg.payload_off] if seg.payload_cap > 0 else -1
    elif was_no_garbage(seg, seq_rel, me, limits.probe_quiet):
        deliver_byte(f, me, slot, direction, m, blocks, pages, spans)
    else:
        step_over_early(seg, seq_rel, me, peer)
    bits = label_sequence(seg, seq_rel, end, f, me, peer, blocks, limits)
    label.answers_frame = answered_probe(seg, ack_rel, bits, peer, probes)
    if label.answers_frame != 0 and not flags & RST:
        bits |= KEEPALIVE_ACK
    elif bits == 0:
        bits |= label_ack(seg, seq_rel, ack_rel, f, me, peer, limits)
    if flags & SYN and flags & (FIN | RST):
        m.bad_flags += 1
        if m.bad_flags == 1:
            m.bad_flags_flow, m.bad_flags_frame = f.flow_id, seg.frame

    note_packet(f, me, direction, flags, seg.payload_len, seq_rel)
    first_rst = False
    if flags & RST:
        first_rst = note_rst(f, seg, direction, me, peer, seq_rel)
    else:
        note_life_after_rst(f, seg, direction, me, peer, gaps)
    note_wire(f, now)
    if peer.segments == 0:
        hear_of_peer(seg, ack_rel, me, probes)
    if bits & KEEPALIVE_PROBE:
        take_probe(seg, seq_rel, f, me, peer, slot, direction, probes, m)

    # Everything that must see the state before this segment has now seen it.
    established = f.handshake_ts != 0
    stalled = me.retries > 0 or peer.retries > 0
    if seg.payload_len > 0 and end <= me.snd_nxt and me.segments > 0 and not flags & RST:
        me.hist_retransmits += 1
        scaled_letter(f, direction, 84, me.hist_retransmits)  # T
    if flags & SYN:
        take_syn(seg, f, me)
    bits |= take_window(seg, ack_rel, f, me, peer, direction)
    take_completeness(seg, f, direction)
    advance_state(me, peer, direction, flags, seg.payload_len)
    if has_ack and not flags & RST and peer.isn >= 0:
        bits |= take_ack(
            seg, ack_rel, f, me, peer, slot, direction, m, samples, rtt_free, gaps, blocks, spans
        )  # fmt: skip
    if flags & SYN:
        take_crossed_syns(seg, f, me, peer)
    if not flags & RST:
        count_labels(bits, seg, f, me, peer)
        if not early:
            take_new_sequence(seg, seq_rel, end, bits, me)
    check_hole(seg, f, me, peer, slot, direction, blocks, spans, m)
    check_hole(seg, f, peer, me, slot, 1 - direction, blocks, spans, m)
    first_fin = False
    if flags & FIN and not flags & (SYN | RST):
        first_fin = note_fin(f, seg, direction, me, peer, end, ack_rel)
    new = 0
    if not early:
        new = take_payload(seg, seq_rel, bits, f, me, peer, slot, direction, m, blocks, pages, data, spans)
    if first_fin and not is_unheard(me, peer):
        drain(f, me, slot, direction, blocks, spans, m)

    client = me if direction == 0 else peer
    server = peer if direction == 0 else me
    if new > 0:
        note_active(f, seg, slot, direction, END_DATA, end, client, server, gaps, m, limits.idle_min, stalled)
    elif first_rst and not is_complete(me, peer):
        note_active(f, seg, slot, direction, END_RST, end, client, server, gaps, m, limits.idle_min, stalled)
    elif first_fin:
        note_active(f, seg, slot, direction, END_FIN, end, client, server, gaps, m, limits.idle_min, stalled)
    elif f.handshake_ts == now and not established:
        begin(f, seg, -1, client, server)  # the handshake's end; a flow joined midstream begins with its first payload
    if not me.nxt_known and (early or seg.payload_len == 0) and not flags & (SYN | FIN | RST):
        note_bare(seg, seq_rel, ack_rel, f, me, peer, slot, direction, probes, m, limits.probe_quiet)
    remember(seg, me, peer, seq_rel, ack_rel, bits, new, early, f)
    label.seq_rel, label.ack_rel, label.analysis = seq_rel, ack_rel, bits
    label.window = seg.window if flags & RST or seg.window == 0 else me.rwnd


@helper
def _recycle_pages(blocks: Records, m: Records) -> None:
    """Pages delivered three batches ago may be overwritten from now on."""
    while m.oldest_block >= 0:
        index = m.oldest_block
        m.oldest_block = blocks[index].next
        blocks[index].next = m.free_block
        m.free_block = index
    m.oldest_block, m.older_block, m.spent_block = m.older_block, m.spent_block, -1


@kernel
def track(
    segments: Records, recent: Records, data: U8, flows: Records, sides: Records, slots: I32, pairs: I64, free: I32,
    meta: Records, limits_: Records, probes: Records, gaps: Records, spans: Records, samples: I32, rtt_free: I32,
    blocks: Records, pages: U8, labels: Records,
) -> None:  # fmt: skip
    """Take a batch of decoded segments.

    segments  (n,) SEGMENT    recent  (RECENT,) those before them    data  bytes they point into
    flows, sides, slots, free, meta  the flow table
    pairs  what addresses and ports had a flow (see `was_used`)
    probes, gaps, spans  rows are appended here (counts in META); the caller has made room for the worst case
    samples, rtt_free, blocks, pages  pools    labels  (n,) LABEL, written here
    """
    m, limits = meta[0], limits_[0]
    _recycle_pages(blocks, m)
    for i in range(segments.size):
        seg = segments[i]
        label = labels[i]
        label.slot = -1
        if seg.kind == NOTHING:
            continue
        if seg.kind == ICMP_QUOTE:
            note_icmp(seg, flows, sides, slots, m.latest_ts, limits)
            continue
        m.tcp_segments += 1
        if seg.ts_ns > m.latest_ts:
            m.latest_ts, m.far_ts = moved(seg.ts_ns, m.latest_ts, m.far_ts)
        at, direction = find(seg, flows, slots, limits)
        slot = int(slots[at])
        reused = 0
        if slot >= 0 and is_over(m.latest_ts, flows[slot], sides[2 * slot], sides[2 * slot + 1], limits):
            if flows[slot].ended != OVER:  # else it waits for others to be handed over
                flows[slot].ended, flows[slot].ended_ts = OVER, flows[slot].last_ts + limits.linger
                m.n_ended += 1
            slot = -1
        if slot >= 0 and reuses_port(seg, sides[2 * slot + direction]):
            flows[slot].ended, flows[slot].ended_ts = REUSED, seg.ts_ns
            m.n_ended += 1
            slot = -1
        if slot < 0:
            slot, direction = new_flow(seg, flows, sides, free, m)
            slots[at] = slot
            if was_used(seg, pairs) and seg.flags & (SYN | ACK) == SYN:
                reused = PORT_REUSED
        f, me, peer = flows[slot], sides[2 * slot + direction], sides[2 * slot + 1 - direction]
        label.slot, label.flow_id, label.dir = slot, f.flow_id, direction
        label.answers_frame = 0
        me.frames += 1
        me.wire_bytes += seg.wire_len
        if is_duplicate_frame(segments, i, recent, m.recent_at, me, peer, limits.duplicate):
            m.duplicates += 1
            label.analysis = DUPLICATE_FRAME
            label.seq_rel = unwrapped(seg.seq, me.isn, me.snd_nxt)
            label.ack_rel = unwrapped(seg.ack, peer.isn, peer.snd_una) if seg.flags & ACK and peer.isn >= 0 else -1
            label.window = me.rwnd if me.rwnd >= 0 else seg.window
        else:
            _observe(
                seg, data, f, me, peer, slot, direction, m, limits, probes, gaps, spans, samples, rtt_free, blocks,
                pages, label,
            )  # fmt: skip
            label.analysis |= reused
            f.last_ts, f.last_frame = seg.ts_ns, seg.frame
    m.recent_at = keep_recent(segments, recent, m.recent_at)


@kernel
def rebuild(flows: Records, slots: I32, meta: Records, limits_: Records) -> None:
    """Enter every live flow that was not replaced on its port pair, given up or over into an emptied hash table."""
    for i in range(slots.size):
        slots[i] = -1
    for i in range(meta[0].n_slots):
        if flows[i].live and flows[i].ended == LIVE:
            place_flow(i, flows, slots, limits_[0])
