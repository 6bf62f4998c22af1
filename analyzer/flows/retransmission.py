"""Bytes that come again, or late (definitions B3).

What    Which kind of repetition a segment is, in Wireshark's names, from what the capture has already seen.
Source  RFC 5681 section 3.2 (fast retransmit), RFC 6582 and 6675 (recovery, without and with SACK), RFC 6298 section 5
        (timeout), RFC 8985 section 7 (tail loss probe).
Limits  At one capture point a segment that was lost before it and sent again cannot be told from one that was delayed;
        its timestamp option or IP-ID decides if there is one, else how late it is.
"""

from __future__ import annotations

from analyzer.decode.segment import SYN
from analyzer.flows.sequence import HALF, MASK, unwrapped
from analyzer.flows.state import (
    FAST_RETRANSMISSION,
    OUT_OF_ORDER,
    RETRANSMISSION,
    SPURIOUS_RETRANSMISSION,
    TAIL_LOSS_PROBE,
)
from analyzer.kernel import Records, helper

MIN_RTO_NS = 200_000_000  # Linux TCP_RTO_MIN; what comes sooner is not a timeout
_RECOVERY_NS = MIN_RTO_NS // 2  # repetitions closer than this are of one recovery; half, since timers are coarse
IP_ID_WINDOW = 1 << 15  # half of the 16-bit space: which of two IP-IDs is older


@helper
def is_older_tsval(tsval: int, newest: int) -> bool:
    """Compare timestamps modulo 2**32 (RFC 7323 section 5.2): Linux starts them anywhere."""
    return 0 < (newest - tsval) & MASK < HALF


@helper
def sent_earlier(seg: Records, me: Records) -> int:
    """Return 1 if the segment left its sender before the newest one seen, 0 if after, -1 if nothing tells."""
    if seg.tsval >= 0 and me.newest_tsval >= 0 and seg.tsval != me.newest_tsval:
        return 1 if is_older_tsval(seg.tsval, me.newest_tsval) else 0
    if seg.ip_version == 4 and seg.ip_id > 0 and me.newest_ip_id > 0:
        back = (me.newest_ip_id - seg.ip_id) & 0xFFFF
        if 0 < back < IP_ID_WINDOW:
            return 1 if back < 64 else -1  # far back: the counter is shared or random
        return 0 if back != 0 and (0x10000 - back) < 64 else -1
    return -1


@helper
def repetition(
    seg: Records, seq_rel: int, end: int, seen: bool, since: int, me: Records, peer: Records, limits: Records, irtt: int
) -> int:  # fmt: skip
    """Return the label of a segment whose sequence numbers do not go beyond what its sender had sent.

    `seen`: its bytes were captured before. `since`: when what follows them first came. `irtt`: the handshake's round
    trip, 0 = not known.
    """
    now = seg.ts_ns
    if seen and me.una_known and end <= me.snd_una:
        return SPURIOUS_RETRANSMISSION | RETRANSMISSION
    earlier = sent_earlier(seg, me)
    late = now - since
    if not seen and earlier == 1:
        return OUT_OF_ORDER
    fast = peer.dup_ack_run >= 2 and peer.last_ack == seq_rel and now - peer.dup_ack_ts <= limits.fast_retransmit
    if fast:
        return FAST_RETRANSMISSION | RETRANSMISSION
    if not seen and earlier != 0 and late < (irtt if irtt > 0 else limits.reorder):
        return OUT_OF_ORDER
    if fills_hole(seq_rel, end, me, peer, now, limits.fast_retransmit):
        return FAST_RETRANSMISSION | RETRANSMISSION
    if end == me.snd_nxt and me.retries == 0 and peer.dup_ack_run == 0 and not seg.flags & SYN:
        path = me.srtt + peer.srtt
        if path > 0 and path <= now - me.last_ts < max(MIN_RTO_NS, 2 * path):
            return TAIL_LOSS_PROBE | RETRANSMISSION
    return RETRANSMISSION


@helper
def fills_hole(seq_rel: int, end: int, me: Records, peer: Records, now: int, within_ns: int) -> bool:
    """True for a further hole of a recovery, which an ACK told of a moment ago (B3: or SACK hole).

    With SACK all holes below what arrived are filled at once (RFC 6675 section 5, step C); without, the next one as
    soon as an ACK comes to it (a partial ACK, RFC 6582 section 3.2).
    """
    if peer.last_ack > seq_rel or (peer.last_ack < seq_rel and end > peer.sack_top):
        return False
    if peer.dup_ack_run >= 2:
        return bool(now - peer.dup_ack_ts <= within_ns)
    return bool(peer.last_ack < me.recover and now - peer.last_ts <= within_ns)


@helper
def note_recovery(bits: int, me: Records) -> None:
    """What is sent again begins a recovery if it is fast; a timeout ends it (RFC 6675 section 5.1)."""
    if not bits & FAST_RETRANSMISSION:
        me.recover = 0
    elif me.snd_una >= me.recover:
        me.recover = me.snd_nxt


@helper
def sack_end(seg: Records, ack_rel: int, peer: Records) -> int:
    """Return where the first SACK block of an ACK ends (RFC 2018); 0 if it tells of nothing beyond the ACK (D-SACK)."""
    left, right = unwrapped(seg.sack_left, peer.isn, ack_rel), unwrapped(seg.sack_right, peer.isn, ack_rel)
    return right if ack_rel < left < right <= peer.snd_nxt else 0


@helper
def sack_hash(seg: Records) -> int:
    """Return 31 bits of the first SACK block. Both its ends move by whole segments, which a sum would cancel out."""
    return int((seg.sack_left + seg.sack_right * 0x9E3779B1) & 0x7FFFFFFF)


@helper
def note_sack(seg: Records, ack_rel: int, me: Records, peer: Records) -> None:
    """Remember what an ACK's first SACK block said, the one that changed last (RFC 2018 section 4)."""
    me.sacked = sack_hash(seg)
    me.sack_top = max(me.sack_top, sack_end(seg, ack_rel, peer))


@helper
def note_retry(me: Records, peer: Records, now: int) -> None:
    """Count a repetition of unacknowledged data, and whether the waits double (RFC 6298 section 5.5).

    All segments that are sent again at once are one try: SACK tells of several that were lost (RFC 6675).
    """
    if me.retries > 0 and now - me.retry_ts < _RECOVERY_NS:
        return
    me.lone_retries = 1 if me.retries == 0 or peer.last_ts > me.retry_ts else me.lone_retries + 1
    if me.retries == 0:
        me.retry_doublings = 0
        me.retry_gap = now - me.new_data_ts
    else:
        gap = now - me.retry_ts
        if gap - me.retry_gap >= me.retry_gap // 2:  # 1.5 times forgives jitter and a first, shorter tail loss probe
            me.retry_doublings += 1
        me.retry_gap = gap
    me.retries += 1
    me.retry_ts = now


@helper
def forget_retries(me: Records) -> None:
    """The peer acknowledged something new: it lives."""
    me.retries, me.lone_retries = 0, 0
    me.retry_doublings = 0
