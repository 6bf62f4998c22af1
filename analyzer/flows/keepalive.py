"""TCP keep-alive probes and zero-window probes (definitions B1, B2).

What    A keep-alive probe goes back one in sequence space, with one byte or none, only to make the peer answer.
        A zero-window probe asks a peer that closed its window whether it has opened again.
Source  RFC 9293 section 3.8.4 (keep-alives), section 3.8.6.1 (zero-window probes); RFC 1122 section 4.2.3.6.
Limits  A one-byte probe looks like a retransmitted last byte; that nothing is outstanding, and the silence before it,
        decide. Wireshark looks at the sequence number alone and so mistakes five other things for keep-alives.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, PSH, RST, SYN
from analyzer.flows.retransmission import forget_retries, is_older_tsval
from analyzer.flows.state import (
    ANSWER_ACK,
    ANSWER_DATA,
    ANSWER_NO,
    ANSWER_PENDING,
    ANSWER_RST,
    DOUBTFUL,
    KEEPALIVE_PROBE,
    SENT,
    SENT_ACK,
    SETTLED,
    TOLD,
    WAITING,
)
from analyzer.kernel import Records, helper


@helper
def is_keepalive_probe(seg: Records, seq_rel: int, me: Records, peer: Records, quiet_ns: int) -> bool:
    """B1, conditions 1 to 5, on the state before this segment; the silence is that of `silence_before`."""
    if seg.flags & (SYN | FIN | RST | ACK) != ACK or seg.payload_len > 1:
        return False
    if not me.nxt_known or seq_rel != me.snd_nxt - 1 or me.fin_seq != 0:
        return False
    if peer.segments == 0 or not me.una_known:
        # The peer's ACKs are not in the capture: what is outstanding cannot be known, so only the empty form counts.
        if seg.payload_len != 0:
            return False
    elif me.snd_una < me.snd_nxt:
        return False  # its last byte is not acknowledged: a retransmission
    if peer.rwnd == 0:
        return False  # then it is a zero-window probe
    if seg.payload_len == 1 and seg.flags & PSH and me.nxt_known == TOLD:
        return False  # a byte sent by itself, and once more: its ACK was lost. No stack pushes a probe's garbage.
    older = seg.tsval >= 0 and me.newest_tsval >= 0 and is_older_tsval(seg.tsval, me.newest_tsval)
    if older:
        return False
    if silence_before(seg.ts_ns, me, peer) >= quiet_ns:
        return True
    # Sooner it is one only if nothing else can be: Apple's stacks probe whenever the network changes. A second one at
    # once is a copy of the first. And where the peer's window is not captured it may be a window probe.
    sure = me.nxt_known == SENT and me.una_known and peer.segments > 0
    return bool(seg.payload_len == 0 and sure and seg.ts_ns - me.probe_ts >= quiet_ns)


@helper
def met_opening(seg: Records, me: Records, peer: Records) -> bool:
    """True if the peer opened its window so short a time ago that the sender cannot know: a probe of the closed one."""
    under_way = seg.ts_ns - peer.last_ts <= me.srtt + peer.srtt
    return bool(peer.zero_windows > 0 and peer.last_kind == SENT_ACK and under_way)


@helper
def is_lone_byte(seg: Records) -> bool:
    """A byte that its sender did not push, though it is all it has: garbage of a probe (RFC 9293 section 3.9.1.2)."""
    return bool(seg.payload_len == 1 and seg.flags & (SYN | FIN | RST | PSH | ACK) == ACK)


@helper
def is_early_byte(seg: Records, seq_rel: int, me: Records) -> bool:
    """A lone byte before anything else is known of its sender, or that byte again: no payload (B1, condition 6)."""
    if me.nxt_known or not is_lone_byte(seg):
        return False
    return bool(me.segments == 0 or (me.bare_len == 1 and seq_rel == me.bare_seq))


@helper
def was_no_garbage(seg: Records, seq_rel: int, me: Records, quiet_ns: int) -> bool:
    """More data right after a lone byte, with no answer to it in between: whoever sent it never pushes.

    A probe comes when nothing is to be said; packets made by a program, of which test captures are full, have no PSH.
    """
    if me.nxt_known or me.bare_len != 1 or me.una_known or seg.payload_len == 0 or me.bare_byte < 0:
        return False
    return bool(seq_rel == me.bare_seq + 1 == me.deliver_nxt + 1 and seg.ts_ns - me.bare_ts < quiet_ns)


@helper
def step_over_early(seg: Records, seq_rel: int, me: Records, peer: Records) -> None:
    """Compare with what was seen of a side first, an empty segment or a lone byte.

    One above it: that was a probe, and the capture lacks its answer. If this is the side's RST,ACK, and the capture has
    nothing of its peer, there was none: the peer was dead.
    """
    early = not me.nxt_known and me.bare_frame != 0 and me.bare_seq == me.deliver_nxt
    if early and seq_rel == me.bare_seq - 1 and me.bare_len == 0:
        me.nxt_known = TOLD  # one below it: that was an ordinary ACK, and this may be a probe
    if not early or seq_rel != me.bare_seq + 1:
        return
    me.snd_nxt, me.deliver_nxt = seq_rel, seq_rel
    if seg.flags & (RST | ACK) == RST | ACK and peer.segments == 0 and me.bare_run >= 2:
        me.bare_sure = 1
        me.probes, me.unanswered, me.unanswered_run = me.bare_run, me.bare_run, me.bare_run
        me.probe_ts = me.bare_ts


@helper
def note_bare(
    seg: Records, seq_rel: int, ack_rel: int, f: Records, me: Records, peer: Records, slot: int, direction: int,
    probes: Records, m: Records, quiet_ns: int,
) -> None:  # fmt: skip
    """Remember a segment without payload of a side of which nothing else is known: it may be a probe (B1, 6).

    While the capture has nothing of its peer either, it gets a row: of a probe to a peer that was dead already, or of
    nothing, if it answers what was not captured. Which of the two is known at the end, or never.
    """
    if peer.segments == 0 and me.bare_run >= 0:
        again = me.bare_frame != 0
        if again and (ack_rel != me.last_ack or seq_rel != me.bare_seq):
            me.bare_run = -1  # its peer is alive
        elif not again or seg.ts_ns - me.bare_ts >= quiet_ns:
            row = probes[m.n_probes]
            idle = seg.ts_ns - me.bare_ts if again else -1
            write_probe(row, f.flow_id, slot, direction, seg.ts_ns, seg.frame, idle, seg.payload_len)
            row.answered, row.open = ANSWER_NO, DOUBTFUL
            m.n_probes += 1
            me.bare_run += 1
    me.bare_ts, me.bare_frame, me.bare_seq, me.bare_len = seg.ts_ns, seg.frame, seq_rel, seg.payload_len


@helper
def silence_before(now: int, me: Records, peer: Records) -> int:
    """Return how long the timer of a probe can have run: since the last segment that was no keep-alive of the peer.

    The peer's own probes and the answers to them do not count: they are outside the window, so Linux does not restart
    its timer for them, and two ends with the same timer probe a few milliseconds apart.
    """
    silence: int = now - max(me.solid_ts, peer.solid_ts, me.probe_over_ts)
    return silence


@helper
def is_zero_window_probe(seg: Records, seq_rel: int, me: Records, peer: Records) -> bool:
    """True if the peer's window is closed and this asks for it, in one of the three forms that stacks use."""
    if seg.flags & (SYN | FIN | RST | ACK) != ACK or peer.rwnd != 0 or not me.nxt_known:
        return False
    if seg.payload_len == 0:
        return bool(seq_rel == me.snd_una - 1)  # Linux
    if seg.payload_len == 1 and seq_rel == me.snd_nxt:
        return True  # BSD, Windows: the next byte
    if seg.payload_len == 1 and seq_rel == me.snd_nxt - 1 and me.snd_una == me.snd_nxt:
        return True  # a keep-alive of Windows, with its byte of nothing
    return bool(seq_rel == me.snd_una and seq_rel < me.snd_nxt)  # the first unacknowledged segment again


@helper
def write_probe(
    row: Records, flow_id: int, slot: int, direction: int, ts: int, frame: int, idle: int, length: int
) -> None:
    """Write a probe's row, without an answer. `idle` < 0 = not known."""
    row.flow_id, row.slot, row.dir = flow_id, slot, direction
    row.ts, row.frame, row.idle_before, row.length = ts, frame, idle, length
    row.answer_ts, row.answer_frame = 0, 0
    row.answered, row.open = ANSWER_PENDING, WAITING


@helper
def open_probe(
    me: Records, row: Records, row_index: int, flow_id: int, slot: int, direction: int, ts: int, frame: int, idle: int,
    length: int,
) -> None:  # fmt: skip
    """Write a probe's row and make it the one that waits for an answer."""
    write_probe(row, flow_id, slot, direction, ts, frame, idle, length)
    me.probe_row = row_index
    me.probe_gap = ts - me.probe_ts if me.probe_ts != 0 else max(idle, 0)
    me.probe_ts, me.probe_over_ts = ts, ts
    me.probes += 1


@helper
def is_unknowable(me: Records, peer: Records) -> bool:
    """The capture lacks the peer, and no timestamps are echoed: whether probes are answered cannot be seen."""
    return bool(peer.segments == 0 and me.newest_tsval < 0)


@helper
def give_up_probe(me: Records, peer: Records, probes: Records) -> None:
    """The waiting probe was not answered before the next one."""
    if me.probe_row >= 0:
        row = probes[me.probe_row]
        row.open = SETTLED
        me.probe_row = -1
        if not is_unknowable(me, peer):
            row.answered = ANSWER_NO
            me.unanswered += 1
            me.unanswered_run += 1


@helper
def hear_of_peer(seg: Records, ack_rel: int, me: Records, probes: Records) -> None:
    """The capture lacks the peer; that it lives shows in what this side acknowledges or echoes (RFC 7323 section 3)."""
    if seg.flags & RST or me.segments == 0:
        return
    echoes = me.echoed > 0 and seg.tsecr >= 0 and is_older_tsval(me.echoed, seg.tsecr)
    if echoes or (seg.flags & ACK and ack_rel > me.last_ack):
        if me.probe_row >= 0:
            probes[me.probe_row].answered, probes[me.probe_row].open = ANSWER_ACK, SETTLED
            me.probe_row = -1
        me.unanswered_run = 0
        forget_retries(me)
    me.echoed = max(seg.tsecr, 0)


@helper
def answer_probe(prober: Records, probes: Records, seg: Records) -> int:
    """Close the prober's waiting probe with this segment of its peer; return the probe's frame.

    Data and a changed window answer as well as a bare ACK does. TSecr does not say which probe is answered: Linux does
    not update TS.Recent for a segment outside the window, so it stays the same over many probes.
    """
    row = probes[prober.probe_row]
    row.answer_ts, row.answer_frame = seg.ts_ns, seg.frame
    row.open = SETTLED
    if seg.flags & RST:
        row.answered = ANSWER_RST
    else:
        row.answered = ANSWER_DATA if seg.payload_len > 0 else ANSWER_ACK
        prober.unanswered_run = 0
    prober.probe_row = -1
    prober.probe_over_ts = seg.ts_ns
    frame: int = row.frame
    return frame


@helper
def take_probe(
    seg: Records, seq_rel: int, f: Records, me: Records, peer: Records, slot: int, direction: int, probes: Records,
    m: Records,
) -> None:  # fmt: skip
    """Open a row for a keep-alive probe, and for the one before it if the capture began too late to know it."""
    if me.probes == 0 and me.bare_frame != 0 and me.bare_seq == seq_rel and me.bare_answer_frame > me.bare_frame:
        row = probes[m.n_probes]
        open_probe(me, row, m.n_probes, f.flow_id, slot, direction, me.bare_ts, me.bare_frame, -1, me.bare_len)
        row.answer_ts, row.answer_frame = me.bare_answer_ts, me.bare_answer_frame
        row.answered, row.open = ANSWER_ACK, SETTLED
        me.probe_row = -1
        m.n_probes += 1
        f.gap_fills += 1
    give_up_probe(me, peer, probes)
    row = probes[m.n_probes]
    idle = silence_before(seg.ts_ns, me, peer)
    open_probe(me, row, m.n_probes, f.flow_id, slot, direction, seg.ts_ns, seg.frame, idle, seg.payload_len)
    m.n_probes += 1
    f.gap_fills += 1


@helper
def answered_probe(seg: Records, ack_rel: int, bits: int, peer: Records, probes: Records) -> int:
    """If this segment answers the peer's keep-alive probe, close its row; return the probe's frame, else 0."""
    if peer.probe_row < 0 or bits & KEEPALIVE_PROBE:
        return 0
    if peer.rst_ts != 0 or (peer.fin_seq != 0 and peer.fin_ts >= peer.probe_ts):
        return 0  # it waits no longer: what comes answers its RST or FIN
    if seg.flags & RST:
        return answer_probe(peer, probes, seg)
    if seg.flags & (SYN | FIN) or not seg.flags & ACK or ack_rel < peer.snd_nxt:
        return 0
    return answer_probe(peer, probes, seg)
