"""Which labels a segment gets, from the state before it (definitions B1-B3), and what they count."""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.keepalive import is_keepalive_probe, is_zero_window_probe, met_opening
from analyzer.flows.opening import FIRST_BYTE
from analyzer.flows.retransmission import note_recovery, note_retry, repetition, sack_end, sack_hash
from analyzer.flows.state import (
    CHALLENGE_ACK,
    DUPLICATE_ACK,
    KEEPALIVE_PROBE,
    LOST_SEGMENT,
    OUT_OF_ORDER,
    REPEATED,
    SENT_RST,
    SENT_SYN,
    SPURIOUS_RETRANSMISSION,
    WINDOW_FULL,
    WINDOW_UPDATE,
    ZERO_WINDOW_PROBE,
)
from analyzer.kernel import Records, helper
from analyzer.streams.inorder import HOLE_WAIT_NS, hole_since, is_stored

_CLOSING = SYN | FIN | RST


@helper
def label_sequence(
    seg: Records, seq_rel: int, end: int, f: Records, me: Records, peer: Records, blocks: Records, limits: Records
) -> int:
    """Return the labels that follow from sequence number and length (B1, B3), before any state changes."""
    if seg.flags & RST:
        return 0
    if is_zero_window_probe(seg, seq_rel, me, peer):
        return ZERO_WINDOW_PROBE
    if is_keepalive_probe(seg, seq_rel, me, peer, limits.probe_quiet):
        return ZERO_WINDOW_PROBE if met_opening(seg, me, peer) else KEEPALIVE_PROBE
    if not me.nxt_known or me.segments == 0:
        return 0
    if end > seq_rel and seq_rel < me.snd_nxt:
        given_up = me.hole_acked_ts != 0 and seq_rel < me.snd_una and seg.ts_ns - me.hole_acked_ts >= HOLE_WAIT_NS
        acked = me.una_known and end <= me.snd_una
        unseen = me.syns == 0 and seq_rel < FIRST_BYTE and not acked  # of before the capture, or overtaken as it began
        seen = not unseen and (seq_rel < me.deliver_nxt or given_up or is_stored(me, blocks, seq_rel))
        if not seen and seq_rel >= me.sent_nxt:
            return 0  # its ACK was captured before it
        if seg.flags & (SYN | ACK) == SYN | ACK and me.last_ack == 0 and peer.syns > 0:
            return 0  # the SYNs crossed (RFC 9293 section 3.5, figure 7): it has to say its own again
        if seg.flags & (SYN | FIN) and seg.payload_len == 0:
            seen = seg.flags & SYN != 0 or me.fin_seq != 0
        since = me.new_data_ts if seen else hole_since(me, blocks, end)
        return repetition(seg, seq_rel, end, seen, since, me, peer, limits, f.handshake_rtt)
    if seq_rel > me.snd_nxt:
        return LOST_SEGMENT
    bits = 0
    if seg.payload_len > 0 and me.syns > 0 and peer.syns > 0 and me.una_known and end - me.snd_una == peer.rwnd:
        bits |= WINDOW_FULL
    return bits


@helper
def label_ack(seg: Records, seq_rel: int, ack_rel: int, f: Records, me: Records, peer: Records, limits: Records) -> int:
    """Return the labels of a pure ACK: window update, duplicate or challenge ACK."""
    if seg.flags & (_CLOSING | ACK) != ACK or seg.payload_len != 0 or me.segments == 0:
        return 0
    now = seg.ts_ns
    # Only a RST inside the window but not at its start is challenged; an exact one resets, one outside is dropped.
    by_rst = peer.last_kind == SENT_RST and peer.last_rst_seq > ack_rel
    provoked = by_rst or (peer.last_kind == SENT_SYN and peer.last_ts > f.handshake_ts)
    soon = now - peer.last_ts <= max(limits.stimulus, me.srtt + peer.srtt + (me.srtt + peer.srtt) // 2)
    if f.handshake_ts != 0 and provoked and soon:
        return CHALLENGE_ACK  # RFC 5961 sections 3 and 4
    if not peer.una_known or ack_rel != me.last_ack or seq_rel != me.snd_nxt:
        return 0
    if seg.window == 0:
        return 0
    # RFC 5681 section 2: an ACK is a duplicate only while the other side has data outstanding
    outstanding = ack_rel < peer.snd_nxt
    if seg.window != me.last_window:
        # RFC 6675 section 2: one that tells of more that arrived is a duplicate whatever its window
        more = outstanding and seg.sack_left >= 0 and sack_end(seg, ack_rel, peer) > 0 and me.sacked != sack_hash(seg)
        return DUPLICATE_ACK if more else WINDOW_UPDATE
    return DUPLICATE_ACK if outstanding else 0


@helper
def count_labels(bits: int, seg: Records, f: Records, me: Records, peer: Records) -> None:
    if bits & REPEATED:
        me.retransmits += 1
        if bits & SPURIOUS_RETRANSMISSION:
            me.spurious += 1
        else:
            note_recovery(bits, me)
            note_retry(me, peer, seg.ts_ns)
            f.gap_stall_ts = seg.ts_ns
    if bits & OUT_OF_ORDER:
        me.out_of_order += 1
    if bits & CHALLENGE_ACK and peer.last_kind == SENT_RST:
        peer.rst_challenged = 1
    if bits & DUPLICATE_ACK:
        me.duplicate_acks += 1
        me.dup_ack_run += 1
        me.dup_ack_ts = seg.ts_ns
    if bits & ZERO_WINDOW_PROBE:
        me.window_probe_run += 1
        me.window_probe_misses = 1 if peer.last_ts > me.window_probe_ts else me.window_probe_misses + 1
        me.window_probe_ts = seg.ts_ns
