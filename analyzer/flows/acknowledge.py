"""What an acknowledgement says about the other direction: what arrived, how long it took, what was never captured.

Source  RFC 9293 section 3.10.7.4 (ACK processing), RFC 6298 (round trips).
"""

from __future__ import annotations

from analyzer.flows.history import scaled_letter, was_established
from analyzer.flows.opening import FIRST_BYTE, FIRST_WINDOW
from analyzer.flows.retransmission import forget_retries
from analyzer.flows.rtt import take_sample
from analyzer.flows.sequence import MAX_JUMP
from analyzer.flows.silence import note_answered
from analyzer.flows.state import ACKED_UNSEEN, TOLD
from analyzer.kernel import I32, Records, helper
from analyzer.streams.inorder import HOLE_WAIT_NS, announce_hole, drain, ends_here

_AGREES = 1 << 20  # two numbers this close are of the same stretch of bytes


@helper
def confirmed(side: Records, number: int) -> bool:
    """A number further ahead than any window: a stray segment, or a gigabyte that was not captured.

    It is believed when a second one agrees with it.
    """
    near: bool = side.far != 0 and abs(number - side.far) <= _AGREES
    side.far = 0 if near else number
    return near


@helper
def take_ack(
    seg: Records, ack_rel: int, f: Records, me: Records, peer: Records, slot: int, direction: int, m: Records,
    samples: I32, rtt_free: I32, gaps: Records, blocks: Records, spans: Records,
) -> int:  # fmt: skip
    """Apply an acknowledgement to the peer's sequence space; return ACKED_UNSEEN if it covers bytes not captured."""
    bits = 0
    beyond = ack_rel - peer.snd_nxt
    if direction == 1 and beyond > 0 and peer.syns > 0 and me.syns == 0 and peer.snd_nxt == FIRST_BYTE:
        return 0  # of the connection that had these ports before (RFC 9293 section 3.5.1), or else data will say so
    if beyond > MAX_JUMP and not confirmed(peer, ack_rel):
        return ACKED_UNSEEN
    if beyond > 0:
        if not peer.nxt_known:
            peer.bare_answer_ts, peer.bare_answer_frame = seg.ts_ns, seg.frame
            if beyond == 1 and peer.payload_bytes == 0 and peer.deliver_nxt == peer.snd_nxt:
                peer.deliver_nxt = ack_rel  # what was seen of it first was a probe, one below its next number
        elif peer.window_probe_end != ack_rel and peer.segments > 0:
            bits = ACKED_UNSEEN
            f.gap_dir = 1 - direction  # the answer came, the capture lacks it
            if me.fin_seq != 0:
                peer.lost_after_peer_fin = 1
            m.ack_unseen += 1
            if m.ack_unseen == 1:
                m.ack_unseen_flow, m.ack_unseen_frame = f.flow_id, seg.frame
        peer.snd_nxt, peer.nxt_known = ack_rel, TOLD
        if peer.segments == 0:
            peer.deliver_nxt = ack_rel  # a direction that the capture does not have is no hole
    if not peer.una_known or ack_rel > peer.snd_una:
        # Of a flow joined midstream the first ACK may tell that what the capture begins with had overtaken something.
        first = not peer.una_known and peer.syns == 0 and ack_rel >= FIRST_BYTE - FIRST_WINDOW
        peer.una_known = 1
        peer.snd_una = ack_rel if first else max(ack_rel, peer.snd_una)
        if peer.retries > 0:
            f.gap_stall_ts = seg.ts_ns
        forget_retries(peer)
        peer.window_probe_run = 0
        take_sample(peer, ack_rel, seg.ts_ns, m, samples, rtt_free)
        me.dup_ack_run = 0
        if peer.fin_seq != 0 and ack_rel >= peer.fin_seq and peer.fin_acked_ts == 0:
            peer.fin_acked_ts = seg.ts_ns
        note_answered(f, direction, ack_rel, gaps)
        if ends_here(peer) or (peer.ooo_head >= 0 and blocks[peer.ooo_head].start <= peer.deliver_nxt):
            drain(f, peer, slot, 1 - direction, blocks, spans, m)
    if peer.segments > 0 and peer.snd_una > peer.deliver_nxt and peer.hole_acked_ts == 0:
        peer.hole_acked_ts = seg.ts_ns
    return bits


@helper
def check_hole(
    seg: Records,
    f: Records,
    side: Records,
    other: Records,
    slot: int,
    direction: int,
    blocks: Records,
    spans: Records,
    m: Records,
) -> None:
    """Announce a hole once it has been acknowledged long enough."""
    if side.hole_acked_ts != 0 and seg.ts_ns - side.hole_acked_ts >= HOLE_WAIT_NS:
        missing = side.missing_bytes
        announce_hole(f, side, slot, direction, blocks, spans, m, seg.ts_ns, seg.frame)
        if side.missing_bytes > missing and was_established(side) and was_established(other):
            side.hist_gaps += 1
            scaled_letter(f, direction, 71, side.hist_gaps)  # G
