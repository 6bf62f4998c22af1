"""FIN and RST as they happen: what was true just before them is what later tells why (definitions B5).

Nothing is judged here. The judgement, over whole tables, is in `classify/verdict.py`.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, RST, SYN
from analyzer.flows.duplicates import unlike_the_last
from analyzer.flows.silence import resume
from analyzer.flows.state import SENT_DATA, SENT_RST
from analyzer.kernel import Records, helper

# A path without a measured round trip: most are shorter than this, and the first retransmission (RTO) comes after it.
_RST_GRACE_NS = 200_000_000

# A FIN whose ACK was lost behind the capture point is sent again after two minutes at most (TCP_RTO_MAX of Linux), and
# whoever sent one twice may do so.
FIN_AGAIN_NS = 130_000_000_000


@helper
def note_close(f: Records, seg: Records, direction: int, rst: bool) -> None:
    """Remember the first closing segment of a flow and the silences before it (-1 = no payload was seen)."""
    if f.close_ts != 0:
        return
    f.close_ts, f.close_frame = seg.ts_ns, seg.frame
    f.close_dir, f.close_rst = direction, 1 if rst else 0
    f.close_idle_wire = seg.ts_ns - f.last_ts if f.last_ts != 0 else 0
    f.close_idle_payload = seg.ts_ns - f.active_ts if f.active_ts != 0 else -1
    f.close_payload_frame = f.payload_frame


@helper
def is_complete(me: Records, peer: Records) -> bool:
    """True if the FINs of both sides were acknowledged."""
    return bool(me.fin_acked_ts != 0 and peer.fin_acked_ts != 0)


@helper
def is_over(now: int, f: Records, client: Records, server: Records, limits: Records) -> bool:
    """True if the flow was closed and quiet for so long that a segment now is of another one.

    now  the latest time so far: it never goes back, so it does not matter when flows that are over are handed over
    """
    if f.close_ts == 0:
        return False
    linger = 0
    if is_complete(client, server):
        linger = limits.linger
        if client.fins > 1 or server.fins > 1:
            linger = max(linger, FIN_AGAIN_NS)
    elif client.rst_ts != 0 or server.rst_ts != 0:
        linger = limits.reset_linger
    return bool(linger > 0 and now - f.last_ts > linger)


@helper
def note_fin(f: Records, seg: Records, direction: int, me: Records, peer: Records, end: int, ack_rel: int) -> bool:
    """Count a FIN; return True if it is the side's first."""
    me.fins += 1
    if me.fin_seq != 0:
        return False
    note_close(f, seg, direction, False)
    me.fin_seq, me.fin_ts, me.fin_frame, me.fin_ack = end, seg.ts_ns, seg.frame, ack_rel
    me.fin_idle_wire = seg.ts_ns - f.last_ts if f.last_ts != 0 else 0
    me.fin_idle_payload = seg.ts_ns - f.active_ts if f.active_ts != 0 else -1
    me.fin_payload_frame = f.payload_frame
    if peer.segments > 0 and ack_rel > peer.sent_nxt:
        peer.lost_after_peer_fin = 1
    return True


@helper
def note_rst(f: Records, seg: Records, direction: int, me: Records, peer: Records, seq_rel: int) -> bool:
    """Count a RST; return True if it is the side's first, whose circumstances are then kept."""
    me.rsts += 1
    me.rst_challenged = 0
    if me.rst_ts != 0:
        if seq_rel > me.last_rst_seq:
            me.rst_steps += 1
        me.last_rst_seq = seq_rel
        return False
    me.last_rst_seq = seq_rel
    note_close(f, seg, direction, True)
    me.rst_ts, me.rst_frame = seg.ts_ns, seg.frame
    me.rst_seq = seq_rel
    me.rst_flags, me.rst_window = seg.flags, seg.window
    me.rst_ack = (seg.ack - peer.isn) & 0xFFFFFFFF if seg.flags & ACK and peer.isn >= 0 else -1
    me.rst_stimulus, me.rst_stimulus_ts, me.rst_stimulus_frame = peer.last_kind, peer.last_ts, peer.last_frame
    me.rst_stimulus_ack = peer.last_ack
    me.rst_burst_idle, me.rst_burst_ts = peer.burst_idle, peer.burst_ts
    me.rst_idle_payload = seg.ts_ns - (f.active_ts if f.active_ts != 0 else f.first_ts)  # at least
    me.rst_outstanding = me.snd_nxt - me.snd_una if me.una_known else 0
    una = max(peer.snd_una if peer.una_known else 0, me.rst_ack if me.rst_ack <= peer.snd_nxt else 0)  # with this RST
    me.rst_peer_outstanding = peer.snd_nxt - una if peer.una_known else 0
    me.rst_knew = 1 if peer.burst_ts != 0 and una > peer.burst_seq else 0
    me.rst_retries, me.rst_doublings = me.retries, me.retry_doublings
    me.rst_probe_run = me.unanswered_run + (1 if me.probe_row >= 0 else 0)
    me.rst_window_probe_run = me.window_probe_run
    # The peer's payload came after this side's last, and this side sends nothing more: it may not have read it.
    me.rst_unread = 1 if peer.payload_ts > me.payload_ts else 0
    note_origin(f, seg, me, peer)
    # Data of the peer sent after this side's own FIN
    me.rst_late_data = 1 if me.fin_seq != 0 and peer.last_kind == SENT_DATA and peer.payload_ts > me.fin_ts else 0
    return True


@helper
def note_origin(f: Records, seg: Records, me: Records, peer: Records) -> None:
    """Keep what of a RST may differ from the other segments of its side (definitions B6)."""
    me.rst_ttl = seg.ttl
    me.rst_ip_id, me.rst_own_ip_id, me.rst_peer_ip_id = seg.ip_id, me.newest_ip_id, peer.newest_ip_id
    me.rst_own_window, me.rst_peer_window, me.rst_peer_rwnd = me.last_window, peer.last_window, peer.rwnd
    me.rst_has_ts = 1 if seg.tsval >= 0 else 0
    me.rst_ack_zero = 1 if seg.flags & ACK and seg.ack == 0 else 0
    me.rst_acks_all = 1 if me.rst_ack >= 0 and me.rst_ack == peer.snd_nxt & 0xFFFFFFFF else 0
    me.rst_unlike = unlike_the_last(f, seg, me, peer)
    me.rst_segments = min(me.segments - me.rsts + 1, 1 << 30)  # of this side, without RSTs
    me.rst_steps, me.rst_outlived = 0, 0


@helper
def note_life_after_own_rst(seg: Records, me: Records) -> None:
    """A segment of a side whose RST was seen: if it is newer than all before the RST, its host knows nothing of it."""
    if seg.tsval >= 0 and me.newest_tsval >= 0:
        newer = 0 < (seg.tsval - me.newest_tsval) & 0xFFFFFFFF < 0x80000000
    else:
        newer = seg.ip_id > 0 and 0 < (seg.ip_id - me.rst_own_ip_id) & 0xFFFF < 0x1000
    if newer:
        me.rst_outlived += 1


@helper
def note_life_after_rst(
    f: Records, seg: Records, direction: int, me: Records, peer: Records, gaps: Records
) -> None:  # fmt: skip
    """A segment of the side that was reset, long after it must have known: the RST was lost or not believed.

    Or one of the side in whose name it was sent, if the other had said that it did not believe it (a challenge ACK).

    RFC 5961 section 3 lets a receiver ignore a RST that is not exactly at rcv_nxt, and a firewall may drop it. What was
    under way when the RST was sent arrives within a round trip, or without a pause: a queue before a slow link holds
    more than what was measured. Anything later shows that the connection went on, as does all that comes while the side
    that seems to have reset it goes on, too. So does a client's answer to a SYN-ACK that came after the RST.

    After both FINs were acknowledged there is nothing that could go on: late copies are answered with resets. And what
    a client resets before it has a SYN-ACK is what the server still holds of an older connection (RFC 9293 section
    3.5.1); its own only begins.
    """
    if is_complete(me, peer):
        return
    grace = max(me.srtt + peer.srtt, _RST_GRACE_NS)
    old = direction == 1 and f.handshake_ts == 0 and me.syns == 0 and seg.flags & (SYN | ACK) == SYN | ACK
    if peer.rst_ts != 0:
        opens = direction == 0 and f.handshake_ts == 0 and f.syn_ack_ts > peer.rst_ts
        opens = opens and seg.flags & (SYN | RST | ACK) == ACK
        opens = opens or (old and peer.rst_seq != 1)  # else it may be a RST to this SYN-ACK, captured in wrong order
        goes_on = peer.last_kind != SENT_RST and peer.last_ts > peer.rst_ts
        since = peer.rst_ts if goes_on else max(peer.last_ts, me.last_ts)
        if not opens and seg.ts_ns - since < grace:
            return
    elif me.rst_ts == 0 or not me.rst_challenged or seg.ts_ns - me.rst_ts < grace:
        return
    if old:
        f.met_old = 1
    else:
        f.rst_ignored += 1
    resume(f, gaps)
    me.rst_ts, me.rst_frame, peer.rst_ts, peer.rst_frame = 0, 0, 0, 0
    if f.close_rst == 0:
        return  # a FIN came first and still stands
    f.close_rst, f.close_ts, f.close_frame = 0, 0, 0
    if me.fin_ts != 0 and (peer.fin_ts == 0 or me.fin_ts <= peer.fin_ts):
        _close_by_fin(f, me, direction)
    elif peer.fin_ts != 0:
        _close_by_fin(f, peer, 1 - direction)


@helper
def _close_by_fin(f: Records, side: Records, direction: int) -> None:
    f.close_ts, f.close_frame, f.close_dir = side.fin_ts, side.fin_frame, direction
    f.close_idle_wire, f.close_idle_payload = side.fin_idle_wire, side.fin_idle_payload
    f.close_payload_frame = side.fin_payload_frame
