"""What a segment adds to its own direction: sequence space, payload, window, and what is remembered of it."""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.acknowledge import confirmed
from analyzer.flows.closing import note_life_after_own_rst
from analyzer.flows.history import scaled_letter
from analyzer.flows.opening import FIRST_WINDOW, is_unheard
from analyzer.flows.retransmission import is_older_tsval, note_sack
from analyzer.flows.rtt import start_timing, void_timing
from analyzer.flows.sequence import MAX_JUMP
from analyzer.flows.silence import note_window
from analyzer.flows.state import (
    KEEPALIVE_ACK,
    KEEPALIVE_PROBE,
    OUT_OF_ORDER,
    REPEATED,
    SENT,
    SENT_ACK,
    SENT_AGAIN,
    SENT_DATA,
    SENT_FIN,
    SENT_PROBE,
    SENT_RST,
    SENT_SYN,
    SENT_WINDOW_PROBE,
    TOLD,
    ZERO_WINDOW,
    ZERO_WINDOW_PROBE,
)
from analyzer.kernel import U8, Records, helper
from analyzer.streams.inorder import deliver, drain, skip_to, store, store_probe


@helper
def take_new_sequence(seg: Records, seq_rel: int, end: int, bits: int, me: Records) -> None:
    """Advance snd_nxt over what was sent for the first time; time it for a round trip."""
    if bits & (KEEPALIVE_PROBE | ZERO_WINDOW_PROBE):
        if bits & ZERO_WINDOW_PROBE and end > me.snd_nxt:
            me.window_probe_end = end  # one byte ahead, counted only once it is acknowledged
        return
    me.sent_nxt = max(me.sent_nxt, end) if end - me.sent_nxt <= MAX_JUMP else me.sent_nxt
    if end <= me.snd_nxt:
        if bits & REPEATED:
            void_timing(me, seq_rel)
        return
    if end - me.snd_nxt > MAX_JUMP and not confirmed(me, end):
        return
    me.nxt_known = SENT if end - me.snd_nxt > 1 and seg.payload_len > 1 else TOLD
    me.snd_nxt, me.sent_nxt = end, end
    me.new_data_ts = seg.ts_ns
    if not bits & REPEATED:
        start_timing(me, end, seg.ts_ns)


@helper
def take_payload(
    seg: Records, seq_rel: int, bits: int, f: Records, me: Records, peer: Records, slot: int, direction: int,
    m: Records, blocks: Records, pages: U8, data: U8, spans: Records,
) -> int:  # fmt: skip
    """Deliver or store a segment's payload; return how many of its bytes are new to the capture."""
    if seg.payload_len == 0 or seg.flags & RST or bits & KEEPALIVE_PROBE:
        return 0
    first = seq_rel + (1 if seg.flags & SYN else 0)
    if first - me.deliver_nxt > MAX_JUMP:
        if first + seg.payload_len > me.snd_nxt:
            return 0  # not confirmed
        skip_to(f, me, slot, direction, blocks, spans, m, first, seg)
    if me.fin_seq != 0 and first + seg.payload_len >= me.fin_seq:
        return 0  # beyond its own FIN
    if bits & ZERO_WINDOW_PROBE and seg.payload_len == 1:
        store_probe(seg, first, me, m, blocks, pages, data)
        return 0
    new, held = 0, False
    if is_unheard(me, peer):
        if first + seg.payload_len <= FIRST_WINDOW:
            new = store(seg, first, me, m, blocks, pages, data)
            held = m.no_room == 0
        if not held:  # the capture lacks what the other side said, or there is no room to wait for it
            drain(f, me, slot, direction, blocks, spans, m)
    if not held:
        new += deliver(seg, first, f, me, slot, direction, m, blocks, pages, data, spans)
    me.payload_bytes += new
    if new > 0:
        if peer.payload_ts > me.payload_ts or seg.ts_ns - f.payload_ts >= 50_000_000:
            me.burst_idle = seg.ts_ns - f.active_ts if f.active_ts != 0 else 0
            me.burst_ts, me.burst_seq = seg.ts_ns, first
        late_ns = max(f.handshake_rtt, me.srtt + peer.srtt, 1_000_000)  # sooner, it was under way before the FIN came
        if peer.fin_seq != 0 and seg.ts_ns - peer.fin_ts >= late_ns:
            me.late_data_after_peer_fin += new
    return new


@helper
def _note_zero(f: Records, me: Records, peer: Records, direction: int) -> None:
    """Add Zeek's letter of a zero window."""
    if peer.zeek_state != 5 and me.zeek_state != 6:  # CLOSED, RESET: a zero window there means nothing
        me.hist_zero_windows += 1
        scaled_letter(f, direction, 87, me.hist_zero_windows)  # W


@helper
def take_window(seg: Records, ack_rel: int, f: Records, me: Records, peer: Records, direction: int) -> int:
    """Note the window a side offers; return ZERO_WINDOW if it is closed.

    A side that closes may offer nothing in its FIN, and once it has all up to the other side's FIN nothing can be sent
    into its window: a zero there closes nothing. (If it does in a half-close, its next ACK says so again.)
    """
    scale = 0
    if not seg.flags & SYN and me.wscale > 0 and peer.wscale >= 0:
        scale = me.wscale
    if seg.flags & RST:
        return 0
    if seg.window == 0 and (seg.flags & FIN or (peer.fin_seq != 0 and ack_rel >= peer.fin_seq)):
        _note_zero(f, me, peer, direction)
        if peer.fin_seq == 0:  # it may be a half-close: whoever probes that window keeps nothing alive
            me.last_window, me.rwnd = 0, 0
        return 0
    me.last_window = seg.window
    me.rwnd = seg.window << scale
    if f.gap_zero_ts != 0 or (seg.window == 0 and not seg.flags & SYN):
        note_window(f, seg.ts_ns, me.rwnd == 0 or peer.rwnd == 0)
    if seg.window != 0:
        return 0
    _note_zero(f, me, peer, direction)
    if seg.flags & SYN:
        return 0
    me.zero_windows += 1
    return ZERO_WINDOW


@helper
def kind_of(seg: Records, bits: int, new: int) -> int:
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
def remember(
    seg: Records, me: Records, peer: Records, seq_rel: int, ack_rel: int, bits: int, new: int, early: bool, f: Records
) -> None:  # fmt: skip
    me.last_kind = SENT_PROBE if early else kind_of(seg, bits, new)
    me.last_ts, me.last_frame = seg.ts_ns, seg.frame
    if not bits & (KEEPALIVE_PROBE | KEEPALIVE_ACK):
        me.solid_ts = seg.ts_ns
    if seg.flags & ACK and not seg.flags & RST:
        me.last_ack = ack_rel
        if seg.sack_left >= 0:
            note_sack(seg, ack_rel, me, peer)
    if new > 0:
        me.payload_ts = seg.ts_ns
        f.payload_ts, f.payload_frame = seg.ts_ns, seg.frame
    if not seg.flags & RST:
        if me.rst_ts != 0:
            note_life_after_own_rst(seg, me)
        if seg.ttl != me.ttl:
            me.ttl_changes = min(me.ttl_changes + 1, 255) if me.ttl != 0 else 0
            me.ttl = seg.ttl
    if not bits & (OUT_OF_ORDER | REPEATED):
        if me.newest_tsval < 0 or not is_older_tsval(seg.tsval, me.newest_tsval):
            me.newest_tsval = seg.tsval
        if seg.ip_id > 0:
            me.newest_ip_id = seg.ip_id
    me.segments += 1
