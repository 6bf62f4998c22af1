"""One pass over decoded segments: flow, direction, sequence space, labels, silences, closes, in-order bytes.

Reads top-down: `track` takes a batch, `_observe` one segment. Each step lives in the file named after it.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, ICMP_QUOTE, NOTHING, RST, SYN
from analyzer.flows.closing import note_fin, note_life_after_rst, note_rst
from analyzer.flows.duplicates import is_duplicate_frame
from analyzer.flows.history import advance_state, note_packet, scaled_letter
from analyzer.flows.keepalive import (
    answer_probe,
    give_up_probe,
    is_keepalive_probe,
    is_zero_window_probe,
    open_probe,
    silence_before,
)
from analyzer.flows.retransmission import forget_retries, note_retry, repetition
from analyzer.flows.rtt import start_timing, take_sample, void_timing
from analyzer.flows.sequence import MASK, MAX_JUMP, unwrapped
from analyzer.flows.silence import begin, note_active, note_answered, note_wire
from analyzer.flows.state import (
    ACKED_UNSEEN,
    CHALLENGE_ACK,
    DUPLICATE_ACK,
    DUPLICATE_FRAME,
    END_DATA,
    END_FIN,
    END_RST,
    EVICTED,
    FAST_RETRANSMISSION,
    KEEPALIVE_ACK,
    KEEPALIVE_PROBE,
    LIVE,
    LOST_SEGMENT,
    OUT_OF_ORDER,
    PORT_REUSED,
    RETRANSMISSION,
    REUSED,
    SEEN_ACK,
    SEEN_DATA,
    SEEN_FIN,
    SEEN_RST,
    SEEN_SYN,
    SEEN_SYN_ACK,
    SENT_ACK,
    SENT_AGAIN,
    SENT_DATA,
    SENT_FIN,
    SENT_PROBE,
    SENT_RST,
    SENT_SYN,
    SENT_WINDOW_PROBE,
    SPURIOUS_RETRANSMISSION,
    TAIL_LOSS_PROBE,
    WINDOW_FULL,
    WINDOW_UPDATE,
    ZERO_WINDOW,
    ZERO_WINDOW_PROBE,
)
from analyzer.flows.table import find, place_flow, role_of_sender, set_endpoints
from analyzer.kernel import I32, U8, Records, helper, kernel
from analyzer.streams.inorder import HOLE_WAIT_NS, announce_hole, deliver, drain, is_stored, skip_to, store

_REPEATED = RETRANSMISSION | FAST_RETRANSMISSION | SPURIOUS_RETRANSMISSION | TAIL_LOSS_PROBE
_CLOSING = SYN | FIN | RST
_AGREES = 1 << 20
_MAX_SCALE = 14  # RFC 7323 section 2.3


# ------------------------------------------------------------------------------------------------ flows come and go
@helper
def _new_flow(seg: Records, flows: Records, sides: Records, free: I32, m: Records) -> tuple[int, int]:
    """Claim a slot for the flow that this segment begins; return (slot, direction of the segment)."""
    if m.n_free > 0:
        m.n_free -= 1
        slot = int(free[m.n_free])
    else:
        slot = m.n_slots
        m.n_slots += 1
    direction, source = role_of_sender(seg)
    f = flows[slot]
    set_endpoints(f, seg, direction)
    f.flow_id = m.n_flows
    m.n_flows += 1
    f.first_ts, f.first_frame = seg.ts_ns, seg.frame
    f.ip_version, f.role_source = seg.ip_version, source
    f.link, f.vlan, f.vlan_inner, f.tunnel, f.file = seg.link, seg.vlan, seg.vlan_inner, seg.tunnel, seg.file
    f.ended, f.live = LIVE, 1
    f.gap_row, f.gap_dir = -1, -1
    for d in range(2):
        side = sides[2 * slot + d]
        side.isn, side.rwnd, side.wscale, side.mss = -1, -1, -1, -1
        side.newest_tsval, side.newest_ip_id = -1, -1
        side.probe_row, side.rtt_slot = -1, -1
        side.ooo_head, side.ooo_tail = -1, -1
        side.rst_ack = -1
    return slot, direction


@helper
def _reuses_port(seg: Records, me: Records) -> bool:
    """True if this SYN opens another connection on the same addresses and ports."""
    return bool(seg.flags & (SYN | ACK) == SYN and me.isn >= 0 and me.segments > 0 and seg.seq != me.isn)


@helper
def _note_icmp(seg: Records, flows: Records, slots: I32, limits: Records) -> None:
    """Link an ICMP error to the flow it quotes (RFC 792, RFC 4443)."""
    at, _ = find(seg, flows, slots, limits)
    if slots[at] < 0:
        return
    f = flows[slots[at]]
    f.icmp_count += 1
    f.icmp_ts, f.icmp_frame, f.icmp_code = seg.ts_ns, seg.frame, seg.window
    kind, code = seg.window >> 8, seg.window & 255
    # RFC 1122 4.2.3.9: protocol, port unreachable and administrative prohibition are hard; RFC 4443 has the same for v6.
    if seg.ip_version == 4:
        hard = kind == 3 and code in (1, 2, 3, 9, 10, 13)
    else:
        hard = kind == 1
    f.icmp_hard = 1 if hard else 0


# ------------------------------------------------------------------------------------------------ sequence space
@helper
def _set_bases(seg: Records, me: Records, peer: Records) -> None:
    """Fix where each direction's numbers begin: at the SYN, or as if one had been just before the first segment."""
    if me.isn < 0:
        if seg.flags & SYN:
            me.isn, me.snd_nxt, me.nxt_known = seg.seq, 0, 1
        else:
            me.isn, me.snd_nxt = (seg.seq - 1) & MASK, 1
            me.nxt_known = 1 if seg.payload_len > 0 else 0
        me.snd_una, me.deliver_nxt = me.snd_nxt, 1
    elif seg.flags & SYN and seg.seq != me.isn and me.payload_bytes == 0:
        # Another initial number before any data: the server forgot the first handshake (SYN cookies, a proxy) and the
        # client will follow this one.
        me.isn, me.snd_nxt, me.nxt_known, me.una_known = seg.seq, 0, 1, 0
        me.snd_una, me.deliver_nxt, me.hole_acked_ts = 0, 1, 0
    if peer.isn < 0 and seg.flags & ACK and not seg.flags & RST:
        peer.isn, peer.snd_nxt, peer.nxt_known = (seg.ack - 1) & MASK, 1, 1
        peer.snd_una, peer.deliver_nxt = 1, 1


@helper
def _label_sequence(
    seg: Records, seq_rel: int, end: int, f: Records, me: Records, peer: Records, blocks: Records, limits: Records
) -> int:
    """Return the labels that follow from sequence number and length (B1, B3), before any state changes."""
    if seg.flags & RST or me.segments == 0:
        return 0
    if is_zero_window_probe(seg, seq_rel, me, peer):
        return ZERO_WINDOW_PROBE
    if is_keepalive_probe(seg, seq_rel, me, peer, limits.probe_quiet):
        return KEEPALIVE_PROBE
    if not me.nxt_known:
        return 0
    if end > seq_rel and seq_rel < me.snd_nxt:
        seen = seq_rel < me.deliver_nxt or is_stored(me, blocks, seq_rel)
        if not seen and seq_rel >= me.sent_nxt:
            return 0  # its ACK was captured before it
        if seg.flags & (SYN | FIN) and seg.payload_len == 0:
            seen = seg.flags & SYN != 0 or me.fin_seq != 0
        return repetition(seg, seq_rel, end, seen, me, peer, limits, f.handshake_rtt)
    if seq_rel > me.snd_nxt:
        return LOST_SEGMENT
    bits = 0
    if seg.payload_len > 0 and me.syns > 0 and peer.syns > 0 and me.una_known and end - me.snd_una == peer.rwnd:
        bits |= WINDOW_FULL
    return bits


@helper
def _label_ack(
    seg: Records, seq_rel: int, ack_rel: int, f: Records, me: Records, peer: Records, limits: Records
) -> int:
    """Return the labels of a pure ACK: window update, duplicate or challenge ACK."""
    if seg.flags & (_CLOSING | ACK) != ACK or seg.payload_len != 0 or me.segments == 0 or peer.segments == 0:
        return 0
    now = seg.ts_ns
    if f.handshake_ts != 0 and (peer.last_kind == SENT_SYN or peer.last_kind == SENT_RST):
        if now - peer.last_ts <= max(limits.stimulus, 3 * (me.srtt + peer.srtt) // 2):
            return CHALLENGE_ACK  # RFC 5961 sections 3 and 4
    if not peer.una_known or ack_rel != me.last_ack or seq_rel != me.snd_nxt:
        return 0
    if seg.window != me.last_window:
        return WINDOW_UPDATE if seg.window > 0 else 0
    # RFC 5681 section 2: an ACK is a duplicate only while the other side has data outstanding
    if seg.window > 0 and ack_rel < peer.snd_nxt:
        return DUPLICATE_ACK
    return 0


@helper
def _confirmed(side: Records, number: int) -> bool:
    """A number further ahead than any window: a stray segment, or a gigabyte that was not captured.

    It is believed when a second one agrees with it.
    """
    near = side.far != 0 and abs(number - side.far) <= _AGREES
    side.far = 0 if near else number
    return near


# ------------------------------------------------------------------------------------------------ acknowledgements
@helper
def _take_ack(
    seg: Records, ack_rel: int, f: Records, me: Records, peer: Records, slot: int, direction: int, m: Records,
    samples: I32, rtt_free: I32, gaps: Records, blocks: Records, spans: Records,
) -> int:  # fmt: skip
    """Apply an acknowledgement to the peer's sequence space; return ACKED_UNSEEN if it covers bytes not captured."""
    bits = 0
    beyond = ack_rel - peer.snd_nxt
    if beyond > MAX_JUMP and not _confirmed(peer, ack_rel):
        return ACKED_UNSEEN
    if beyond > 0:
        if not peer.nxt_known:
            peer.nxt_known = 1
            peer.bare_answer_ts, peer.bare_answer_frame = seg.ts_ns, seg.frame
        elif peer.window_probe_end != ack_rel and peer.segments > 0:
            bits = ACKED_UNSEEN
            peer.unseen_acked += beyond
            m.ack_unseen += 1
            if m.ack_unseen == 1:
                m.ack_unseen_flow, m.ack_unseen_frame = f.flow_id, seg.frame
        peer.snd_nxt = ack_rel
        if peer.segments == 0:
            peer.deliver_nxt = ack_rel  # a direction that the capture does not have is no hole
    if not peer.una_known or ack_rel > peer.snd_una:
        peer.una_known = 1
        peer.snd_una = max(ack_rel, peer.snd_una)
        forget_retries(peer)
        peer.window_probe_run = 0
        take_sample(peer, ack_rel, seg.ts_ns, m, samples, rtt_free)
        me.dup_ack_run = 0
        if peer.fin_seq != 0 and ack_rel >= peer.fin_seq and peer.fin_acked_ts == 0:
            peer.fin_acked_ts = seg.ts_ns
        note_answered(f, direction, ack_rel, gaps)
        if peer.ooo_head >= 0 and blocks[peer.ooo_head].start <= peer.deliver_nxt:
            drain(f, peer, slot, 1 - direction, blocks, spans, m)
    if peer.segments > 0 and peer.snd_una > peer.deliver_nxt and peer.hole_acked_ts == 0:
        peer.hole_acked_ts = seg.ts_ns
    return bits


@helper
def _check_hole(
    seg: Records, f: Records, side: Records, slot: int, direction: int, blocks: Records, spans: Records, m: Records
) -> None:
    """Announce a hole once it has been acknowledged long enough."""
    if side.hole_acked_ts != 0 and seg.ts_ns - side.hole_acked_ts >= HOLE_WAIT_NS:
        missing = side.missing_bytes
        announce_hole(f, side, slot, direction, blocks, spans, m, seg.ts_ns, seg.frame)
        if side.missing_bytes > missing and side.fin_seq == 0 and side.rst_ts == 0:
            side.hist_gaps += 1
            scaled_letter(f, direction, 71, side.hist_gaps)  # G


# ------------------------------------------------------------------------------------------------ probes
@helper
def _take_probe(
    seg: Records, seq_rel: int, f: Records, me: Records, peer: Records, slot: int, direction: int, probes: Records, m: Records
) -> None:  # fmt: skip
    """Open a row for a keep-alive probe, and for the one before it if the capture began too late to know it."""
    if me.probes == 0 and me.bare_frame != 0 and me.bare_seq == seq_rel and me.bare_answer_frame > me.bare_frame:
        row = probes[m.n_probes]
        open_probe(me, row, m.n_probes, f.flow_id, slot, direction, me.bare_ts, me.bare_frame, -1)
        row.answer_ts, row.answer_frame = me.bare_answer_ts, me.bare_answer_frame
        row.answered, row.open = 0, 0
        me.probe_row = -1
        m.n_probes += 1
        f.gap_fills += 1
    give_up_probe(me, probes)
    row = probes[m.n_probes]
    idle = silence_before(seg.ts_ns, me, peer)
    open_probe(me, row, m.n_probes, f.flow_id, slot, direction, seg.ts_ns, seg.frame, idle)
    row.length = seg.payload_len
    m.n_probes += 1
    f.gap_fills += 1


@helper
def _answers(seg: Records, ack_rel: int, bits: int, me: Records, peer: Records, probes: Records) -> int:
    """If this segment answers the peer's keep-alive probe, close its row; return the probe's frame, else 0."""
    if peer.probe_row < 0 or bits & KEEPALIVE_PROBE:
        return 0
    if seg.flags & RST:
        return answer_probe(peer, probes, seg)
    if seg.flags & (SYN | FIN) or not seg.flags & ACK or ack_rel < peer.snd_nxt:
        return 0
    return answer_probe(peer, probes, seg)


# ------------------------------------------------------------------------------------------------ state changes
@helper
def _take_syn(seg: Records, f: Records, me: Records, direction: int) -> None:
    me.syns += 1
    me.mss = seg.mss
    me.wscale = min(seg.wscale, _MAX_SCALE)
    me.sack_ok = seg.sack_ok
    me.ts_ok = 1 if seg.tsval >= 0 else 0
    if seg.flags & ACK:
        f.completeness |= SEEN_SYN_ACK
        f.syn_ack_ts = seg.ts_ns
    else:
        f.completeness |= SEEN_SYN
        f.syn_ts = seg.ts_ns


@helper
def _take_window(seg: Records, f: Records, me: Records, peer: Records, direction: int) -> int:
    """Note the window a side offers; return ZERO_WINDOW if it is closed."""
    scale = 0
    if not seg.flags & SYN and me.wscale > 0 and peer.wscale >= 0:
        scale = me.wscale
    if seg.flags & RST:
        return 0
    me.last_window = seg.window
    me.rwnd = seg.window << scale
    if seg.window != 0:
        return 0
    if peer.zeek_state != 5 and me.zeek_state != 6:  # CLOSED, RESET: a zero window there means nothing
        me.hist_zero_windows += 1
        scaled_letter(f, direction, 87, me.hist_zero_windows)  # W
    if seg.flags & (SYN | FIN):
        return 0
    me.zero_windows += 1
    f.gap_zero_ts = seg.ts_ns
    return ZERO_WINDOW


@helper
def _count_labels(bits: int, seg: Records, f: Records, me: Records, peer: Records, direction: int) -> None:
    if bits & _REPEATED:
        me.retransmits += 1
        if bits & SPURIOUS_RETRANSMISSION:
            me.spurious += 1
        else:
            note_retry(me, seg.ts_ns)
    if bits & OUT_OF_ORDER:
        me.out_of_order += 1
    if bits & DUPLICATE_ACK:
        me.duplicate_acks += 1
        me.dup_ack_run += 1
        me.dup_ack_ts = seg.ts_ns
    if bits & ZERO_WINDOW_PROBE:
        me.window_probes += 1
        me.window_probe_run += 1
        f.gap_zero_ts = seg.ts_ns


@helper
def _take_new_sequence(seg: Records, end: int, bits: int, me: Records) -> None:
    """Advance snd_nxt over what was sent for the first time; time it for a round trip."""
    if bits & (KEEPALIVE_PROBE | ZERO_WINDOW_PROBE):
        if bits & ZERO_WINDOW_PROBE and end > me.snd_nxt:
            me.window_probe_end = end  # one byte ahead, counted only once it is acknowledged
        return
    me.sent_nxt = max(me.sent_nxt, end) if end - me.sent_nxt <= MAX_JUMP else me.sent_nxt
    if end <= me.snd_nxt:
        if bits & _REPEATED:
            void_timing(me, end - 1)
        return
    if end - me.snd_nxt > MAX_JUMP and not _confirmed(me, end):
        return
    me.snd_nxt, me.sent_nxt = end, end
    me.nxt_known = 1
    me.new_data_ts = seg.ts_ns
    if not bits & _REPEATED:
        start_timing(me, end, seg.ts_ns)


@helper
def _payload(
    seg: Records, seq_rel: int, bits: int, f: Records, me: Records, peer: Records, slot: int, direction: int, m: Records,
    blocks: Records, pages: U8, data: U8, spans: Records,
) -> int:  # fmt: skip
    """Deliver or store a segment's payload; return how many of its bytes are new to the capture."""
    if seg.payload_len == 0 or seg.flags & RST or bits & KEEPALIVE_PROBE:
        return 0
    first = seq_rel + (1 if seg.flags & SYN else 0)
    if first - me.deliver_nxt > MAX_JUMP:
        if first + seg.payload_len > me.snd_nxt:
            return 0  # not confirmed
        skip_to(f, me, slot, direction, blocks, spans, m, first, seg)
    if bits & ZERO_WINDOW_PROBE and seg.payload_len == 1:
        store(seg, first, me, m, blocks, pages, data)  # waits for its acknowledgement
        return 0
    new = deliver(seg, first, f, me, slot, direction, m, blocks, pages, data, spans)
    me.payload_bytes += new
    if new > 0:
        if peer.payload_ts > me.payload_ts or seg.ts_ns - f.payload_ts >= 50_000_000:
            me.burst_idle = seg.ts_ns - f.active_ts if f.active_ts != 0 else 0
        if peer.fin_seq != 0:
            me.data_after_peer_fin += new
            if seg.ts_ns - peer.fin_ts >= max(f.handshake_rtt, 1_000_000):
                me.late_data_after_peer_fin += new
    return new


@helper
def _kind_of(seg: Records, bits: int, new: int) -> int:
    if seg.flags & RST:
        return SENT_RST
    if seg.flags & SYN:
        return SENT_SYN
    if seg.flags & FIN:
        return SENT_FIN
    if bits & KEEPALIVE_PROBE:
        return SENT_PROBE
    if bits & ZERO_WINDOW_PROBE:
        return SENT_WINDOW_PROBE
    if seg.payload_len > 0:
        return SENT_DATA if new > 0 else SENT_AGAIN
    return SENT_ACK


@helper
def _vote(seg: Records, me: Records) -> None:
    """Keep the majority TTL and link-layer way of a side's ordinary segments (Boyer-Moore)."""
    if seg.flags & (SYN | RST):
        return
    if me.ttl_votes == 0:
        me.ttl = seg.ttl
    me.ttl_votes += 1 if me.ttl == seg.ttl else -1
    if me.l2_votes == 0:
        me.l2 = seg.l2
    me.l2_votes += 1 if me.l2 == seg.l2 else -1


@helper
def _take_completeness(seg: Records, f: Records, me: Records, direction: int, seq_rel: int) -> None:
    """Wireshark's completeness bits, and the end of the handshake."""
    flags = seg.flags
    if flags & (_CLOSING | ACK) == ACK:
        f.completeness |= SEEN_DATA if seg.payload_len > 0 else SEEN_ACK
    if flags & (FIN | ACK) == FIN | ACK:
        f.completeness |= SEEN_FIN
    if flags & RST:
        f.completeness |= SEEN_RST
    if f.handshake_ts == 0 and f.syn_ack_ts != 0 and direction == 0 and flags & (SYN | RST | ACK) == ACK:
        f.handshake_ts = seg.ts_ns
        if f.syn_ts != 0:
            f.handshake_rtt = seg.ts_ns - f.syn_ts


@helper
def _remember(seg: Records, me: Records, seq_rel: int, ack_rel: int, bits: int, new: int, f: Records) -> None:
    me.last_kind = _kind_of(seg, bits, new)
    me.last_ts, me.last_frame = seg.ts_ns, seg.frame
    if not bits & (KEEPALIVE_PROBE | KEEPALIVE_ACK):
        me.solid_ts = seg.ts_ns
    if seg.flags & ACK and not seg.flags & RST:
        me.last_ack = ack_rel
    if new > 0:
        me.payload_ts = seg.ts_ns
        f.payload_ts, f.payload_frame = seg.ts_ns, seg.frame
    if not bits & (OUT_OF_ORDER | _REPEATED):
        me.newest_tsval = max(me.newest_tsval, seg.tsval)
        if seg.ip_id > 0:
            me.newest_ip_id = seg.ip_id
    if not me.nxt_known and seg.payload_len == 0 and not seg.flags & _CLOSING:
        me.bare_ts, me.bare_frame, me.bare_seq = seg.ts_ns, seg.frame, seq_rel
    me.segments += 1


@helper
def _observe(
    seg: Records, data: U8, f: Records, me: Records, peer: Records, slot: int, direction: int, m: Records, limits: Records,
    probes: Records, gaps: Records, spans: Records, samples: I32, rtt_free: I32, blocks: Records, pages: U8,
    label: Records,
) -> None:  # fmt: skip
    """Take one segment that is not a duplicate frame."""
    now, flags = seg.ts_ns, seg.flags
    has_ack = flags & ACK != 0
    _set_bases(seg, me, peer)
    seq_rel = unwrapped(seg.seq, me.isn, me.snd_nxt)
    ack_rel = unwrapped(seg.ack, peer.isn, peer.snd_una) if has_ack and peer.isn >= 0 else -1
    end = seq_rel + seg.payload_len + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)

    bits = _label_sequence(seg, seq_rel, end, f, me, peer, blocks, limits)
    label.answers_frame = _answers(seg, ack_rel, bits, me, peer, probes)
    if label.answers_frame != 0 and not flags & RST:
        bits |= KEEPALIVE_ACK
    elif bits == 0:
        bits |= _label_ack(seg, seq_rel, ack_rel, f, me, peer, limits)
    if flags & SYN and flags & (FIN | RST):
        m.bad_flags += 1
        if m.bad_flags == 1:
            m.bad_flags_flow, m.bad_flags_frame = f.flow_id, seg.frame

    note_packet(f, me, direction, flags, seg.payload_len, seq_rel)
    first_rst = False
    if flags & RST:
        first_rst = note_rst(f, seg, direction, me, peer, seq_rel)
    else:
        note_life_after_rst(f, seg, me, peer)
    note_wire(f, now)
    if bits & KEEPALIVE_PROBE:
        _take_probe(seg, seq_rel, f, me, peer, slot, direction, probes, m)

    # Everything that must see the state before this segment has now seen it.
    established = f.handshake_ts != 0
    if seg.payload_len > 0 and end <= me.snd_nxt and me.segments > 0 and not flags & RST:
        me.hist_retransmits += 1
        scaled_letter(f, direction, 84, me.hist_retransmits)  # T
    if flags & SYN:
        _take_syn(seg, f, me, direction)
    bits |= _take_window(seg, f, me, peer, direction)
    _take_completeness(seg, f, me, direction, seq_rel)
    advance_state(me, peer, direction, flags, seg.payload_len)
    _vote(seg, me)
    if has_ack and not flags & RST and peer.isn >= 0:
        bits |= _take_ack(
            seg, ack_rel, f, me, peer, slot, direction, m, samples, rtt_free, gaps, blocks, spans
        )  # fmt: skip
    if not flags & RST:
        _count_labels(bits, seg, f, me, peer, direction)
        _take_new_sequence(seg, end, bits, me)
    _check_hole(seg, f, me, slot, direction, blocks, spans, m)
    _check_hole(seg, f, peer, slot, 1 - direction, blocks, spans, m)
    first_fin = False
    if flags & FIN and not flags & (SYN | RST):
        first_fin = note_fin(f, seg, direction, me, end, ack_rel)
    new = _payload(seg, seq_rel, bits, f, me, peer, slot, direction, m, blocks, pages, data, spans)
    if first_fin:
        drain(f, me, slot, direction, blocks, spans, m)

    client = me if direction == 0 else peer
    server = peer if direction == 0 else me
    if new > 0:
        note_active(f, seg, slot, direction, END_DATA, end, client, server, gaps, m, limits.idle_min)
    elif first_rst:
        note_active(f, seg, slot, direction, END_RST, end, client, server, gaps, m, limits.idle_min)
    elif first_fin:
        note_active(f, seg, slot, direction, END_FIN, end, client, server, gaps, m, limits.idle_min)
    elif f.handshake_ts == now and not established:
        begin(f, seg, -1, client, server)  # the handshake's end; a flow joined midstream begins with its first payload
    _remember(seg, me, seq_rel, ack_rel, bits, new, f)
    label.seq_rel, label.ack_rel, label.analysis = seq_rel, ack_rel, bits
    label.window = seg.window if flags & RST else me.rwnd


# ------------------------------------------------------------------------------------------------ the batch
@helper
def _recycle_pages(blocks: Records, m: Records) -> None:
    """Pages delivered in the last batch may be overwritten from now on."""
    while m.spent_block >= 0:
        index = m.spent_block
        m.spent_block = blocks[index].next
        blocks[index].next = m.free_block
        m.free_block = index


@kernel
def track(
    segments: Records, data: U8, flows: Records, sides: Records, slots: I32, free: I32, meta: Records, limits_: Records,
    probes: Records, gaps: Records, spans: Records, samples: I32, rtt_free: I32, blocks: Records, pages: U8,
    labels: Records,
) -> None:  # fmt: skip
    """Take a batch of decoded segments.

    segments  (n,) SEGMENT    data  bytes they point into    flows, sides, slots, free, meta  the flow table
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
            _note_icmp(seg, flows, slots, limits)
            continue
        m.tcp_segments += 1
        at, direction = find(seg, flows, slots, limits)
        slot = int(slots[at])
        reused = 0
        if slot >= 0 and _reuses_port(seg, sides[2 * slot + direction]):
            flows[slot].ended = REUSED
            m.n_ended += 1
            slot = -1
            reused = PORT_REUSED
        if slot < 0:
            slot, direction = _new_flow(seg, flows, sides, free, m)
            slots[at] = slot
        f, me, peer = flows[slot], sides[2 * slot + direction], sides[2 * slot + 1 - direction]
        label.slot, label.flow_id, label.dir = slot, f.flow_id, direction
        label.answers_frame = 0
        me.frames += 1
        me.wire_bytes += seg.wire_len
        if is_duplicate_frame(seg, me, limits.duplicate):
            m.duplicates += 1
            label.analysis = DUPLICATE_FRAME
            label.seq_rel = unwrapped(seg.seq, me.isn, me.snd_nxt)
            label.ack_rel = unwrapped(seg.ack, peer.isn, peer.snd_una) if seg.flags & ACK and peer.isn >= 0 else -1
            label.window = me.rwnd
        else:
            _observe(
                seg, data, f, me, peer, slot, direction, m, limits, probes, gaps, spans, samples, rtt_free, blocks,
                pages, label,
            )  # fmt: skip
            label.analysis |= reused
        f.last_ts, f.last_frame = seg.ts_ns, seg.frame


@kernel
def rebuild(flows: Records, slots: I32, meta: Records, limits_: Records) -> None:
    """Enter every live flow that was not replaced on its port pair into an emptied hash table."""
    for i in range(slots.size):
        slots[i] = -1
    for i in range(meta[0].n_slots):
        if flows[i].live and flows[i].ended != REUSED and flows[i].ended != EVICTED:
            place_flow(i, flows, slots, limits_[0])
