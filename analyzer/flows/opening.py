"""How a flow begins: a slot, who is the client, where its numbers start, and the end of the handshake.

Source  RFC 9293 section 3.5 (handshake), RFC 7323 section 2 (window scale), RFC 792 and RFC 4443 (ICMP errors).
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.closing import is_over
from analyzer.flows.keepalive import is_lone_byte
from analyzer.flows.sequence import MASK, unwrapped
from analyzer.flows.state import (
    DUPLICATE_RING,
    LIVE,
    SEEN_ACK,
    SEEN_DATA,
    SEEN_FIN,
    SEEN_RST,
    SEEN_SYN,
    SEEN_SYN_ACK,
    TOLD,
)
from analyzer.flows.table import find, role_of_sender, set_endpoints
from analyzer.kernel import I32, Records, helper
from analyzer.streams.inorder import drop_all

FIRST_BYTE = 1  # where a stream's first byte stands: the SYN, or the one that is assumed, is 0
_MAX_SCALE = 14  # RFC 7323 section 2.3
FIRST_WINDOW = 65535  # what may follow a SYN-ACK before it is acknowledged: the window of a SYN is not scaled (2.2)


@helper
def new_flow(seg: Records, flows: Records, sides: Records, free: I32, m: Records) -> tuple[int, int]:
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
    f.gap_row, f.gap_dir, f.kept_row = -1, -1, -1
    for d in range(2):
        side = sides[2 * slot + d]
        side.isn, side.other_isn, side.rwnd, side.wscale, side.mss = -1, -1, -1, -1, -1
        side.newest_tsval, side.newest_ip_id = -1, -1
        side.probe_row, side.rtt_slot = -1, -1
        side.ooo_head, side.ooo_tail = -1, -1
        side.rst_ack = -1
        for k in range(DUPLICATE_RING):
            side.ring[4 * k] = -1  # no frame: places are never negative
    return slot, direction


@helper
def reuses_port(seg: Records, me: Records) -> bool:
    """True if this SYN opens another connection on the same addresses and ports."""
    return bool(seg.flags & (SYN | ACK) == SYN and me.isn >= 0 and me.segments > 0 and seg.seq != me.isn)


@helper
def note_icmp(seg: Records, flows: Records, sides: Records, slots: I32, latest: int, limits: Records) -> None:
    """Link an ICMP error to the flow it quotes (RFC 792, RFC 4443); latest  time so far."""
    at, direction = find(seg, flows, slots, limits)
    slot = slots[at]
    if slot < 0 or is_over(latest, flows[slot], sides[2 * slot], sides[2 * slot + 1], limits):
        return
    f, quoted = flows[slot], sides[2 * slot + direction]
    seq_rel = unwrapped(seg.seq, quoted.isn, quoted.snd_nxt)
    first = quoted.snd_una - 1 if quoted.probe_row >= 0 else quoted.snd_una
    if quoted.isn < 0 or seq_rel < first or seq_rel > quoted.snd_nxt:
        return  # not of data under way or a probe: old, or forged (RFC 5927 section 4.1)
    kind, code = seg.window >> 8, seg.window & 255
    # RFC 1122 section 4.2.3.9: protocol and port unreachable are hard errors; so is prohibition (RFC 1812 5.2.7.1).
    if seg.ip_version == 4:
        hard = kind == 3 and code in (1, 2, 3, 9, 10, 13)
        # A SYN that nobody else answers fails by any of them (tcp(7) on Linux) but "fragmentation needed".
        hard = hard or (kind == 3 and code != 4 and sides[2 * slot + 1 - direction].segments == 0)
    else:
        hard = kind == 1
    f.icmp_count += 1
    if hard or not f.icmp_hard:
        f.icmp_ts, f.icmp_frame = seg.ts_ns, seg.frame
        f.icmp_hard = 1 if hard else 0


@helper
def is_unheard(me: Records, peer: Records) -> bool:
    """True if the other side, as far as was captured, waits for this one's SYN and drops all else (3.10.7.3).

    Then payload and FIN wait, too: a SYN may contradict them, an acknowledgement confirm them.
    """
    return bool(not me.una_known and me.deliver_nxt == 1 and me.syns == 0 and peer.syns > 0)


@helper
def _rebase(side: Records, isn: int) -> None:
    """Count a direction's sequence numbers from another initial one; nothing was delivered yet."""
    side.isn, side.snd_nxt, side.sent_nxt, side.nxt_known = isn, 0, 0, TOLD
    side.una_known, side.snd_una, side.deliver_nxt, side.hole_acked_ts = 0, 0, 1, 0
    side.timed_end = 0


@helper
def _move_base(side: Records, by: int, blocks: Records) -> None:
    """Count from an initial number that lies `by` before the assumed one: what follows its SYN came first."""
    side.snd_nxt += by
    side.sent_nxt += by
    side.timed_end = 0
    if side.fin_seq != 0:
        side.fin_seq += by
    i = side.ooo_head
    while i >= 0:
        blocks[i].start += by
        i = blocks[i].next


@helper
def _take_unheard(seg: Records, f: Records, me: Records, m: Records, blocks: Records) -> None:
    """Count an unheard side from its SYN on. What contradicts it was forged, or of a connection long gone."""
    isn = seg.seq if seg.flags & SYN else (seg.seq - 1) & MASK
    before = (me.isn - isn) & MASK
    if before <= FIRST_WINDOW:
        _move_base(me, before, blocks)
        me.isn = isn
        return
    if not seg.flags & SYN:
        return
    drop_all(me, blocks, m)
    me.payload_bytes = 0
    if me.fin_seq != 0 and f.close_frame == me.fin_frame:
        f.close_ts, f.close_frame = 0, 0
    me.fin_seq, me.fin_ts, me.fin_frame, me.fin_ack = 0, 0, 0, 0
    _rebase(me, seg.seq)


@helper
def set_bases(seg: Records, f: Records, me: Records, peer: Records, m: Records, blocks: Records) -> None:
    """Fix where each direction's numbers begin: at the SYN, or as if one had been just before the first segment."""
    if me.isn < 0:
        if seg.flags & SYN:
            me.isn, me.snd_nxt, me.nxt_known = seg.seq, 0, TOLD
        else:
            me.isn, me.snd_nxt = (seg.seq - 1) & MASK, 1
            me.nxt_known = TOLD if seg.payload_len > 0 and not is_lone_byte(seg) else 0
        me.snd_una, me.deliver_nxt = me.snd_nxt, 1
    elif is_unheard(me, peer) and not seg.flags & RST:
        _take_unheard(seg, f, me, m, blocks)
    elif seg.flags & SYN and seg.seq != me.isn and me.payload_bytes == 0 and me.fin_seq == 0 and peer.fin_seq == 0:
        # Another initial number before any data: the server forgot the first handshake (SYN cookies, a proxy). The
        # client's next ACK says which one it follows.
        if me.una_known and me.snd_una > 0:
            me.other_isn = seg.seq
        else:
            me.other_isn = me.isn
            _rebase(me, seg.seq)
    if peer.other_isn >= 0 and seg.flags & ACK and seg.ack == (peer.other_isn + 1) & MASK and peer.payload_bytes == 0:
        first = peer.isn
        _rebase(peer, peer.other_isn)
        peer.other_isn, peer.snd_nxt = first, 1
    if peer.isn < 0 and seg.flags & ACK and not seg.flags & RST:
        peer.isn, peer.snd_nxt, peer.nxt_known = (seg.ack - 1) & MASK, 1, TOLD
        peer.snd_una, peer.deliver_nxt = 1, 1


@helper
def take_syn(seg: Records, f: Records, me: Records) -> None:
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
def take_completeness(seg: Records, f: Records, direction: int) -> None:
    """Wireshark's completeness bits, and the end of the handshake."""
    flags = seg.flags
    if flags & (SYN | ACK) == ACK:
        f.completeness |= SEEN_DATA if seg.payload_len > 0 else SEEN_ACK
    if flags & (FIN | ACK) == FIN | ACK:
        f.completeness |= SEEN_FIN
    if flags & RST:
        f.completeness |= SEEN_RST
    if f.handshake_ts == 0 and f.syn_ack_ts != 0 and direction == 0 and flags & (SYN | RST | ACK) == ACK:
        f.handshake_ts = seg.ts_ns
        if f.syn_ts != 0 and f.syn_ts <= f.syn_ack_ts <= seg.ts_ns:  # else they overtook each other
            f.handshake_rtt = seg.ts_ns - f.syn_ts


@helper
def take_crossed_syns(seg: Records, f: Records, me: Records, peer: Records) -> None:
    """End the handshake of a simultaneous open (RFC 9293 section 3.5, figure 7): each SYN has its SYN-ACK."""
    acked = me.una_known and me.snd_una > 0 and peer.una_known and peer.snd_una > 0
    if f.handshake_ts == 0 and seg.flags & (SYN | RST | ACK) == SYN | ACK and acked:
        f.handshake_ts = seg.ts_ns
