"""What is remembered about each flow and each of its two directions, and the rows that leave the kernels.

A flow's slot `i` owns `flows[i]` and `sides[2 * i]` (client to server), `sides[2 * i + 1]` (server to client).
Times are int64 UTC nanoseconds, 0 = never. Sequence numbers are unwrapped to 64 bits with 0 = the initial sequence
number (RFC 9293 section 3.4), so the first payload byte of a flow that was seen from its SYN is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# ---------------------------------------------------------------- labels of one segment (definitions B1-B3)
KEEPALIVE_PROBE = 1 << 0
KEEPALIVE_ACK = 1 << 1
ZERO_WINDOW = 1 << 2
ZERO_WINDOW_PROBE = 1 << 3
WINDOW_UPDATE = 1 << 4
WINDOW_FULL = 1 << 5
RETRANSMISSION = 1 << 6
FAST_RETRANSMISSION = 1 << 7
SPURIOUS_RETRANSMISSION = 1 << 8
TAIL_LOSS_PROBE = 1 << 9
OUT_OF_ORDER = 1 << 10
DUPLICATE_ACK = 1 << 11
LOST_SEGMENT = 1 << 12
ACKED_UNSEEN = 1 << 13
CHALLENGE_ACK = 1 << 14
DUPLICATE_FRAME = 1 << 15
PORT_REUSED = 1 << 16

REPEATED = RETRANSMISSION | FAST_RETRANSMISSION | SPURIOUS_RETRANSMISSION | TAIL_LOSS_PROBE

LABELS = (
    "keepalive_probe", "keepalive_ack", "zero_window", "zero_window_probe", "window_update", "window_full",
    "retransmission", "fast_retransmission", "spurious_retransmission", "tail_loss_probe", "out_of_order",
    "duplicate_ack", "lost_segment", "acked_unseen", "challenge_ack", "duplicate_frame", "port_reused",
)  # fmt: skip
"""Names of the bits above, in order."""

# ---------------------------------------------------------------- small vocabularies
C2S, S2C = 0, 1

ROLE_SYN, ROLE_SYN_ACK, ROLE_PORT, ROLE_FIRST = 0, 1, 2, 3
ROLE_SOURCES = ("syn", "syn_ack", "port", "first_packet")

# What a side's latest segment was: the stimulus that a RST may answer (definitions B5)
SENT_NOTHING, SENT_ACK, SENT_DATA, SENT_AGAIN, SENT_PROBE, SENT_WINDOW_PROBE, SENT_SYN, SENT_FIN, SENT_RST = range(9)

# How the first RST of a side differs from the frames before it (definitions B6)
OTHER_LINK, OTHER_DSCP, OFF_COUNT = 1, 2, 4

# completeness, Wireshark's tcp.completeness
SEEN_SYN, SEEN_SYN_ACK, SEEN_ACK, SEEN_DATA, SEEN_FIN, SEEN_RST = 1, 2, 4, 8, 16, 32

# how a flow's slot came to be given up
LIVE, REUSED, EVICTED, OVER = 0, 1, 2, 3  # OVER: closed, and quiet since for `settings.linger_ns`

HISTORY_MAX = 32  # letters kept; Zeek repeats frequent ones on a logarithmic scale, so this is about 10**5 events each
DUPLICATE_RING = 4  # of each side: most copies of a frame are a few frames apart, the other interface's queue
RECENT = 256  # of all flows, to find copies that come later: four polls of a network card (NAPI), 256,000 frames/s
RTT_SAMPLES = 64  # kept per direction; when full every second one goes and the stride doubles

I8, I4, I2, I1, U1 = np.int64, np.int32, np.int16, np.int8, np.uint8

_LINE = 64


def _lined(fields: list[Any]) -> np.dtype[Any]:
    """Return a record of these fields that fills whole cache lines, so that the first of them stays on one."""
    room = -np.dtype(fields, align=True).itemsize % _LINE
    return np.dtype([*fields, ("_to_line", U1, (room,))] if room else fields, align=True)


# The kernels are bound by memory, not by arithmetic: thousands of flows interleave, so each segment finds its flow's
# state cold. What every segment touches therefore stands first and together (lines of 64 bytes), the rare after it.
FLOW = _lined(
    [
        # --- line 0: the key (dir 0 sends from `client`) and small flags
        ("client_hi", I8), ("client_lo", I8), ("server_hi", I8), ("server_lo", I8),
        ("client_port", I4), ("server_port", I4),
        ("flow_id", I8),
        ("ip_version", I1), ("role_source", I1), ("ended", I1), ("completeness", I1), ("live", I1),
        ("close_dir", I1), ("close_rst", I1), ("history_len", I1),
        # --- line 1: times
        ("last_ts", I8),  # any segment
        ("active_ts", I8),  # handshake end, new payload, FIN or RST: the end of the last silence of payload
        ("payload_ts", I8),  # new payload
        ("handshake_ts", I8),
        ("max_wire_gap", I8), ("max_payload_gap", I8),
        ("gap_wire", I8),  # longest silence of any segment in the silence of payload that is running now
        ("gap_row", I8),  # latest row of `gaps` that waits for its data to be answered, -1 = none
        # --- line 2
        ("last_frame", I8), ("active_frame", I8), ("payload_frame", I8),
        ("gap_zero_ts", I8),  # since when a window is closed, or since the silence began; 0 = none is
        ("syn_ack_ts", I8),
        ("gap_fills", I4),  # keep-alive probes in the silence
        ("gap_dir", I1),  # who sent last before it, -1 = nobody yet
        ("gap_half_closed", I1), ("gaps_waiting", I1), ("icmp_hard", I1),
        ("handshake_rtt", I8), ("syn_ts", I8),
        # --- rare: handshake
        ("first_ts", I8), ("first_frame", I8),
        # --- rare: the first closing segment, as things stood just before it
        ("close_ts", I8), ("close_frame", I8), ("close_idle_wire", I8), ("close_idle_payload", I8),
        ("close_payload_frame", I8), ("rst_ignored", I4),
        # --- rare: ICMP errors that quote this flow, and what was around it
        ("icmp_count", I4), ("icmp_ts", I8), ("icmp_frame", I8),
        ("link", I4), ("vlan", I4), ("vlan_inner", I4), ("tunnel", I4), ("file", I4),
        ("gap_stall_ts", I8),  # latest retransmission in the silence, or the ACK that ended it, 0 = none
        ("gap_closed_ns", I8),  # how long a window was closed in the silence, before it was opened again
        ("ended_ts", I8),  # when it was replaced or given up
        ("history", U1, (HISTORY_MAX,)),
        ("told", I1),  # its close was announced while the capture ran
        # --- rare: the silence that a RST ended, in case that it is ignored (see `silence.keep`)
        ("kept_half_closed", I1), ("kept_dir", I1), ("kept_fills", I4), ("kept_row", I8), ("kept_by", I8),
        ("kept_ts", I8), ("kept_frame", I8), ("kept_wire", I8), ("kept_stall_ts", I8), ("kept_closed_ns", I8),
        ("met_old", I1),  # its SYN met an older connection of the same ports, which the client then reset
    ]
)  # fmt: skip

# How a side's snd_nxt is known. After two new bytes or more in one segment (SENT) no ordinary ACK of its sender can be
# one below it; after a single byte, or if only the peer's ACK tells (TOLD), one that was overtaken can.
TOLD, SENT = 1, 2

SIDE = _lined(
    [
        # --- line 0: sequence space
        ("isn", I8),  # raw number that is 0 here, -1 = direction not seen and not acknowledged
        ("snd_nxt", I8),  # end of what was sent
        ("sent_nxt", I8),  # end of what was captured of it; below snd_nxt if the peer acknowledged more
        ("snd_una", I8),  # highest acknowledged by the peer
        ("deliver_nxt", I8),  # end of what was delivered in order
        ("last_ack", I8),
        ("rwnd", I8),  # window this side last offered, scaled; -1 = not seen
        ("last_window", I4),  # the same, raw
        ("nxt_known", I1),  # 0, TOLD or SENT
        ("una_known", I1), ("last_kind", I1), ("wscale", I1),
        # --- line 1: when
        ("last_ts", I8),
        ("solid_ts", I8),  # latest segment that was neither a keep-alive probe nor the answer to one
        ("payload_ts", I8),
        ("new_data_ts", I8),  # latest segment that went beyond snd_nxt
        ("newest_tsval", I8),
        ("last_frame", I8),
        ("timed_end", I8), ("timed_ts", I8),  # round trip being measured (see rtt.py)
        # --- line 2: counts
        ("frames", I8), ("wire_bytes", I8), ("payload_bytes", I8), ("segments", I8),
        ("fin_seq", I8),  # sequence number just past the FIN, 0 = none
        ("hole_acked_ts", I8),  # since when a hole is acknowledged, 0 = none
        ("probe_row", I8),  # row of `probes` that waits for an answer, -1 = none
        ("ooo_head", I4), ("ooo_tail", I4),  # blocks that wait for a hole to fill
        # --- line 3: habits
        ("zeek_state", I1), ("zeek_prev", I1), ("ttl", U1), ("ttl_changes", U1), ("hist_bits", I4), ("retries", I4),
        ("dup_ack_run", I4), ("newest_ip_id", I4), ("window_probe_run", I4),
        ("ring_at", I4), ("syns", I4),
        ("srtt", I8), ("rst_ts", I8), ("window_probe_end", I8),
        ("probe_over_ts", I8),  # latest probe or answer to it: KEEPIDLE or KEEPINTVL runs from here
        # --- line 4: the last frames, to know a copy
        ("ring", I8, (4 * DUPLICATE_RING,)),
        # --- rare: options of the SYN
        ("mss", I4), ("sack_ok", I1), ("ts_ok", I1), ("bare_sure", I1),
        ("other_isn", I8),  # the initial number of another SYN-ACK, -1 = none
        ("far", I8),  # a number beyond MAX_JUMP that a second segment must confirm, 0 = none
        # --- rare: counts
        ("retransmits", I8), ("spurious", I8), ("out_of_order", I8), ("duplicate_acks", I8),
        ("zero_windows", I8), ("missing_bytes", I8), ("dup_ack_ts", I8),
        ("hist_syn", I8), ("hist_fin", I8), ("hist_rst", I8),
        ("hist_retransmits", I8), ("hist_zero_windows", I8), ("hist_gaps", I8),
        # --- rare: keep-alive probes of this side, and zero-window probes that nothing came after
        ("probes", I4), ("unanswered", I4), ("unanswered_run", I4), ("window_probe_misses", I4),
        ("probe_ts", I8), ("probe_gap", I8), ("window_probe_ts", I8),
        # last segment without payload while snd_nxt was unknown
        ("bare_ts", I8), ("bare_frame", I8), ("bare_seq", I8),
        ("bare_answer_ts", I8), ("bare_answer_frame", I8),
        ("echoed", I8),  # of a peer that the capture lacks: the timestamp that this side last echoed
        # --- rare: retries of unacknowledged data
        ("retry_doublings", I4),
        ("lone_retries", I4),  # of them, since the other side last said anything
        ("retry_ts", I8), ("retry_gap", I8),
        # --- once per round trip
        ("rtt_min", I8), ("rtt_slot", I4), ("rtt_n", I4), ("rtt_stride", I4), ("rtt_skip", I4),
        # --- rare: FIN
        ("fin_ts", I8), ("fin_frame", I8), ("fin_ack", I8), ("fin_acked_ts", I8), ("fins", I4), ("rsts", I4),
        ("fin_idle_wire", I8), ("fin_idle_payload", I8), ("fin_payload_frame", I8),
        ("lost_after_peer_fin", I1),  # the peer's FIN, or an ACK after it, acknowledged what was not captured of this
        ("bare_len", I1),  # see `note_bare`
        ("bare_byte", I2),  # the lone byte itself, -1 = it was clipped
        ("bare_run", I4),  # -1: no probes
        ("late_data_after_peer_fin", I8),
        # payload silence before this side's latest burst of data, and its start
        ("burst_idle", I8), ("burst_ts", I8), ("burst_seq", I8),
        # --- rare: the first RST, as things stood just before it
        ("rst_frame", I8), ("rst_seq", I8), ("rst_ack", I8), ("rst_window", I4),
        ("rst_stimulus", I1), ("rst_unread", I1), ("rst_late_data", I1),
        ("rst_challenged", I1),  # answered with a challenge ACK, and this side sent no RST since
        ("rst_stimulus_ts", I8), ("rst_stimulus_frame", I8), ("rst_stimulus_ack", I8), ("rst_burst_idle", I8),
        ("rst_burst_ts", I8),
        ("rst_idle_payload", I8), ("rst_outstanding", I8), ("rst_peer_outstanding", I8),
        ("rst_retries", I4), ("rst_probe_run", I4), ("rst_window_probe_run", I4), ("rst_doublings", I4),
        ("last_rst_seq", I8),
        # --- rare: what tells whether the RST came from where the rest did (definitions B6)
        ("rst_peer_rwnd", I8), ("rst_ip_id", I4), ("rst_own_ip_id", I4), ("rst_peer_ip_id", I4),
        ("rst_own_window", I4), ("rst_peer_window", I4), ("rst_steps", I4), ("rst_outlived", I4),
        ("rst_segments", I4), ("rst_ttl", U1), ("rst_has_ts", I1), ("rst_ack_zero", I1), ("rst_acks_all", I1),
        ("rst_unlike", I1), ("rst_flags", I2),
        ("rst_knew", I1),  # its sender had acknowledged some of the other side's latest burst of data
        # --- rare: out-of-order store
        ("ooo_blocks", I4), ("dropped", I4), ("ooo_bytes", I8),
        # --- rare: selective acknowledgement and recovery
        ("sacked", I4),  # hash of the first SACK block that this side last sent
        ("sack_top", I8),  # end of what its SACK blocks told of
        ("recover", I8),  # snd_nxt when this side began to repeat what duplicate ACKs asked for, 0 = it does not
    ]
)  # fmt: skip

# ---------------------------------------------------------------- rows
LABEL = np.dtype(
    [("flow_id", I8), ("seq_rel", I8), ("ack_rel", I8), ("window", I8), ("answers_frame", I8), ("slot", I4),
     ("analysis", I4), ("dir", I1)],
    align=True,
)  # fmt: skip

# of a probe's row: its answer is known, is waited for, or what looks like a probe may be none (see `note_bare`)
SETTLED, WAITING, DOUBTFUL = range(3)

# answered
ANSWER_ACK, ANSWER_DATA, ANSWER_RST, ANSWER_NO, ANSWER_PENDING = range(5)
ANSWERS = ("ack", "data", "rst", "no", "pending")

PROBE = np.dtype(
    [("flow_id", I8), ("ts", I8), ("frame", I8), ("idle_before", I8), ("answer_ts", I8), ("answer_frame", I8),
     ("slot", I4), ("length", I4), ("dir", I1), ("answered", I1), ("open", I1)],
    align=True,
)  # fmt: skip

# of a gap's row: its data waits to be answered; a RST ended it that may be ignored; it was, so there is no such gap
GAP_OPEN, GAP_KEPT, GAP_VOID = 1, 2, 3

# class and ended_by of a gap
GAP_CLASSES = ("think_time", "server_wait", "stream_pause", "websocket_idle", "tunnel_idle", "stalled_unacked",
               "stalled_zero_window", "after_half_close", "trailing", "unknown")  # fmt: skip
(THINK_TIME, SERVER_WAIT, STREAM_PAUSE, WEBSOCKET_IDLE, TUNNEL_IDLE, STALLED_UNACKED, STALLED_ZERO_WINDOW,
 AFTER_HALF_CLOSE, TRAILING, UNKNOWN_CLASS) = range(10)  # fmt: skip
GAP_ENDS = ("data_client", "data_server", "fin_client", "fin_server", "rst_client", "rst_server", "capture_end")
END_DATA, END_FIN, END_RST, END_CAPTURE = 0, 2, 4, 6  # plus the direction, for the first three

GAP = np.dtype(
    [("flow_id", I8), ("start_ts", I8), ("end_ts", I8), ("start_frame", I8), ("end_frame", I8), ("longest_wire", I8),
     ("answered_at", I8),  # acknowledgement that proves the path still worked
     ("before", I8),  # row of the same flow that waits too, -1 = none
     ("slot", I4), ("fills", I4), ("gap_class", I1), ("ended_by", I1), ("survived", I1), ("open", I1)],
    align=True,
)  # fmt: skip

# ---------------------------------------------------------------- counters of one tracker
META = np.dtype(
    [
        ("n_slots", I8),  # slots ever used
        ("n_free", I8),  # slots in the free list
        ("n_flows", I8),  # flow ids given out
        ("n_probes", I8), ("n_gaps", I8), ("n_spans", I8), ("n_rtt", I8), ("n_rtt_free", I8),
        ("n_ended", I8),  # flows that were replaced on their port pair or are over: done, waiting to be collected
        ("duplicates", I8), ("tcp_segments", I8), ("latest_ts", I8), ("far_ts", I8),
        ("n_blocks", I8),  # blocks ever used
        ("free_block", I8), ("spent_block", I8),  # lists of blocks, -1 = empty: free ones, delivered in this batch
        ("older_block", I8), ("oldest_block", I8),  # and in the two before it, which may still be read (ahead.MOST)
        ("blocks_held", I8), ("no_room", I8),
        ("recent_at", I8),  # where the ring of the last segments goes on
        ("reorder_cap", I8), ("reorder_cap_flow", I8), ("reorder_cap_frame", I8),
        ("ack_unseen", I8), ("ack_unseen_flow", I8), ("ack_unseen_frame", I8),
        ("bad_flags", I8), ("bad_flags_flow", I8), ("bad_flags_frame", I8),
    ],
    align=True,
)  # fmt: skip

LIMITS = np.dtype(
    [("idle_min", I8), ("probe_quiet", I8), ("duplicate", I8), ("reorder", I8), ("fast_retransmit", I8),
     ("stimulus", I8), ("linger", I8), ("reset_linger", I8), ("secret_a", I8), ("secret_b", I8)],
    align=True,
)  # fmt: skip
"""Settings as the kernels read them, and the table's secret multipliers."""
