"""The label of every segment against tshark 4.0.17's, where each kind of difference has a reason that is checked.

tshark's rules are those of packet-tcp.c (`tcp_analyze_sequence_number`). A difference is one label that only one side
gives. It must fall into a class of `DIFFERENCES`, whose condition is tested on the facts of `ledger.py`: numbers, times
and windows as tshark itself reports them. A difference without a class fails, and so does a class that nothing needs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest

from analyzer.flows.tracker import FILE_LINGER_NS
from tests.corpus import needs_corpus, truth
from tests.golden.ledger import ACK, RST, SYN, Before, Row, account, copies
from tests.golden.runs import captures_with_truth, run

NAMES = {
    "keep_alive": "keepalive_probe",
    "keep_alive_ack": "keepalive_ack",
    "retransmission": "retransmission",
    "fast_retransmission": "fast_retransmission",
    "spurious_retransmission": "spurious_retransmission",
    "out_of_order": "out_of_order",
    "duplicate_ack": "duplicate_ack",
    "lost_segment": "lost_segment",
    "ack_lost_segment": "acked_unseen",
    "zero_window": "zero_window",
    "zero_window_probe": "zero_window_probe",
    "window_update": "window_update",
    "window_full": "window_full",
    "reused_ports": "port_reused",
}
"""tshark's column -> our label. Its `zero_window_probe_ack` has none: the answer to a probe is a zero window again."""

QUIET_NS = 900_000_000  # settings.probe_quiet_ns
FAST_NS = 20_000_000  # settings.fast_retransmit_ns


class Compared(NamedTuple):
    """One segment as both saw it."""

    file: str
    before: Before
    theirs: frozenset[str]
    ours: frozenset[str]


Fact = Callable[[Compared], bool]


class Difference(NamedTuple):
    """A class of differences: who alone says what, why we are right, and what must be true of such a segment."""

    who: str  # "tshark" or "longwire": the one that gives the label
    label: str
    reason: str
    holds: Fact


# ------------------------------------------------------------------------------------------------ facts about a segment
def _acked(c: Compared) -> bool:
    return c.before.acked is not None and c.before.end <= c.before.acked


def _captured(c: Compared) -> bool:
    return c.before.seen > 0


def _nothing_outstanding(c: Compared) -> bool:
    b = c.before
    return b.ack is not None and (b.peer_nxt is None or b.ack >= b.peer_nxt)


def _acks_captured(c: Compared) -> bool:
    b = c.before
    return b.ack is not None and b.peer_top is not None and b.ack <= b.peer_top


def _acked_before(c: Compared) -> bool:
    b = c.before
    return b.ack is not None and b.peer_nxt is not None and b.ack <= b.peer_nxt


def _answers_probe(c: Compared) -> bool:
    return c.before.peer_asked is not None and c.before.row.ack == c.before.peer_asked


def _is_probe(c: Compared) -> bool:
    b = c.before
    going_back = b.nxt is not None and b.seq == b.nxt - 1 and b.row.len <= 1
    return going_back and b.acked is not None and b.acked >= b.nxt and b.quiet_ns >= QUIET_NS and not b.fin_sent


def _left_later(c: Compared) -> bool:
    """Its timestamp option or IP-ID is newer than that of the segment that went furthest."""
    b = c.before
    if b.row.tsval is not None and b.tsval is not None and b.row.tsval != b.tsval:
        return b.row.tsval > b.tsval
    return bool(b.row.ip_id) and bool(b.ip_id) and 0 < ((b.row.ip_id or 0) - (b.ip_id or 0)) % 2**16 < 2**15


def _left_earlier(c: Compared) -> bool:
    b = c.before
    if b.row.tsval is not None and b.tsval is not None and b.row.tsval != b.tsval:
        return b.row.tsval < b.tsval
    return bool(b.row.ip_id) and bool(b.ip_id) and 0 < ((b.ip_id or 0) - (b.row.ip_id or 0)) % 2**16 < 2**15


def _late_capture(c: Compared) -> bool:
    """New to the capture, beyond all that it had, though the peer has acknowledged it: the ACK was captured first."""
    b = c.before
    return b.seen == 0 and _acked(c) and (b.top is None or b.seq >= b.top)


def _clock_went_back(c: Compared) -> bool:
    return c.before.last is not None and c.before.row.time_ns < c.before.last.time_ns


def _acked_long_ago(c: Compared) -> bool:
    """Acknowledged, and more than 10 ms ago (streams/inorder.py, HOLE_WAIT_NS), when it comes for the first time."""
    b = c.before
    return b.seen == 0 and _acked(c) and b.since_acked_ns > 10_000_000


def _is_anothers(c: Compared) -> bool:
    """The connection was closed, and quiet for longer than TIME-WAIT (settings.linger_ns)."""
    return c.before.fin_sent and c.before.quiet_ns > FILE_LINGER_NS


def _challenged(c: Compared) -> bool:
    last, b = c.before.peer_last, c.before
    if last is None or last.flags & SYN:
        return last is not None
    ahead = (last.seq - b.row.ack) % 2**32
    return bool(last.flags & RST) and 0 < ahead < 2**31


def _has_all(c: Compared) -> bool:
    b = c.before
    return b.peer_fin_end is not None and b.ack is not None and b.ack >= b.peer_fin_end


def _crossed_syns(c: Compared) -> bool:
    """A SYN-ACK of a side that had sent a SYN, as had the other one."""
    last, peer_last = c.before.last, c.before.peer_last
    sent = last is not None and last.flags & (SYN | ACK) == SYN
    return sent and peer_last is not None and bool(c.before.row.flags & peer_last.flags & SYN)


def _just_told(c: Compared) -> bool:
    b = c.before
    return b.seen > 0 and b.peer_last is not None and b.row.time_ns - b.peer_last.time_ns <= FAST_NS


DIFFERENCES = (
    # --- keep-alives
    Difference("tshark", "keepalive_probe", "its byte was not acknowledged: a retransmission of one byte",
               lambda c: c.before.row.len == 1 and _captured(c) and not _acked(c)),
    Difference("tshark", "keepalive_probe", "the peer's window was closed: Linux's empty zero-window probe",
               lambda c: c.before.peer_window == 0 and "zero_window_probe" in c.ours),
    Difference("tshark", "keepalive_probe", "sent after the sender's own FIN: a late ACK",
               lambda c: c.before.fin_sent),
    Difference("tshark", "keepalive_probe", "an ACK overtaken by one byte of data a moment before (older IP-ID)",
               lambda c: c.before.quiet_ns < QUIET_NS and c.before.row.len == 0 and _left_earlier(c)),
    Difference("longwire", "keepalive_probe", "joined midstream: the peer's ACK tells what was sent",
               _is_probe),
    Difference("longwire", "keepalive_ack", "acknowledges up to the byte that the peer's probe went back to",
               _answers_probe),
    Difference("longwire", "zero_window_probe", "the peer's window was closed: Linux's empty zero-window probe",
               lambda c: c.before.peer_window == 0 and c.before.row.len == 0),
    Difference("tshark", "zero_window_probe", "the window that tshark took for closed was that of a RST",
               lambda c: c.before.peer_window != 0 and bool(c.before.peer_last and c.before.peer_last.flags & RST)),
    Difference("tshark", "window_update", "the answer to a keep-alive probe, which may carry another window",
               lambda c: "keepalive_ack" in c.ours and _answers_probe(c)),
    Difference("tshark", "window_update", "tells by SACK of more that arrived: a duplicate ACK (RFC 6675 section 2)",
               lambda c: "duplicate_ack" in c.ours and not _nothing_outstanding(c)),
    Difference("tshark", "zero_window", "it has all up to the other side's FIN: nothing can be sent into its window",
               _has_all),
    # --- acknowledgments
    Difference("longwire", "duplicate_ack", "tells by SACK of more that arrived, whatever its window (RFC 6675)",
               lambda c: "window_update" in c.theirs and not _nothing_outstanding(c)),
    Difference("tshark", "duplicate_ack", "the answer to a keep-alive probe from before tshark knew the numbers",
               lambda c: "keepalive_ack" in c.ours and _answers_probe(c)),
    Difference("tshark", "duplicate_ack", "a keep-alive probe from before tshark knew the numbers",
               lambda c: "keepalive_probe" in c.ours and _is_probe(c)),
    Difference("tshark", "duplicate_ack", "nothing was outstanding: RFC 5681 section 2, condition (a) fails",
               _nothing_outstanding),
    Difference("tshark", "acked_unseen", "all that it acknowledges was captured",
               _acks_captured),
    Difference("tshark", "acked_unseen", "an earlier ACK told of the same bytes",
               _acked_before),
    Difference("tshark", "acked_unseen", "the peer was only seen to acknowledge: where its bytes end was not known",
               lambda c: not c.before.peer_held),
    Difference("tshark", "acked_unseen", "of another connection: its port pair was closed an hour before",
               _is_anothers),
    Difference("tshark", "acked_unseen", "the ACK number of a RST is not believed",
               lambda c: bool(c.before.row.flags & RST)),
    Difference("longwire", "acked_unseen", "acknowledges more than was captured, which tshark tells only of some",
               lambda c: not _acks_captured(c)),
    # --- holes
    Difference("tshark", "lost_segment", "the bytes before it were acknowledged already, and missed at that ACK",
               lambda c: c.before.nxt is not None and c.before.seq <= c.before.nxt),
    Difference("tshark", "lost_segment", "its sender was only seen to acknowledge: where its bytes end was not known",
               lambda c: not c.before.held),
    Difference("tshark", "lost_segment", "a SYN with another number goes nowhere in the old sequence space",
               lambda c: c.before.new_numbers),
    Difference("tshark", "port_reused", "a SYN-ACK does not open a connection; a server that forgot answers anew",
               lambda c: c.before.row.flags & (SYN | 16) == SYN | 16),
    # --- bytes that come again
    Difference("tshark", "out_of_order", "its bytes were captured before: it can only be a repetition",
               _captured),
    Difference("tshark", "out_of_order", "it left after the newest segment (timestamp option or IP-ID)",
               _left_later),
    Difference("tshark", "retransmission", "new to the capture, which has its ACK before it",
               _late_capture),
    Difference("tshark", "retransmission", "first of its numbers: the client followed the server's later SYN-ACK",
               lambda c: c.before.seen == 0 and c.before.top is not None and c.before.seq >= c.before.top),
    Difference("tshark", "retransmission", "the SYN-ACK of a simultaneous open (RFC 9293 section 3.5, figure 7)",
               _crossed_syns),
    Difference("tshark", "retransmission", "a SYN with another number repeats nothing",
               lambda c: c.before.new_numbers),
    Difference("tshark", "retransmission", "what a RST carries has no place in the stream (RFC 9293 section 3.5.3)",
               lambda c: bool(c.before.row.flags & RST)),
    Difference("tshark", "retransmission", "its time in the capture, timestamp or IP-ID is older: out of order",
               lambda c: c.before.seen == 0 and (_clock_went_back(c) or _left_earlier(c))),
    Difference("tshark", "spurious_retransmission", "new to the capture, which has its ACK before it",
               _late_capture),
    Difference("tshark", "spurious_retransmission", "only a RST acknowledged it, and what a RST says is not believed",
               lambda c: not _acked(c)),
    Difference("tshark", "fast_retransmission", "fewer than two duplicate ACKs: the others were copies of one frame",
               lambda c: c.before.peer_repeats < 2),
    Difference("longwire", "retransmission", "its bytes were captured before",
               _captured),
    Difference("longwire", "retransmission", "it left after the newest segment (timestamp option or IP-ID)",
               _left_later),
    Difference("longwire", "fast_retransmission", "a further hole of a recovery, of which an ACK just told (RFC 6675)",
               _just_told),
    Difference("longwire", "spurious_retransmission", "acknowledged before; tshark leaves SYN, FIN and older ACKs out",
               _acked),
    Difference("longwire", "out_of_order", "its time in the capture, timestamp or IP-ID is older",
               lambda c: c.before.seen == 0 and (_clock_went_back(c) or _left_earlier(c))),
    Difference("longwire", "tail_loss_probe", "the last segment again with no duplicate ACK; tshark has no such label",
               lambda c: _captured(c) and c.before.peer_repeats == 0 and not c.before.row.flags & SYN),
    Difference("longwire", "window_update", "of two SYN-ACKs the client followed the one tshark does not count from",
               lambda c: c.before.last is not None and bool(c.before.last.flags & SYN)),
    Difference("longwire", "challenge_ack", "answers a SYN, or a RST inside the window (RFC 5961); not in tshark",
               _challenged),
)  # fmt: skip


GARBAGE = {
    "ndpi/reasm_crash_anon.pcapng": "fuzzed: numbers, timestamps and lengths at random, no truth to agree on",
}


# ------------------------------------------------------------------------------------------------ the comparison
@cache
def compared(file: str) -> tuple[list[Compared], int, set[int]]:
    """Return (segments that both labelled, copies of frames left out, those of them that the facts do not bear out)."""
    ours = {segment.frame: segment for segment in run(file).segments}
    streams: dict[str, list[Row]] = defaultdict(list)
    theirs = {}
    for line in truth(file, "packets"):
        segment = ours.get(int(line["frame"]))
        if line["icmp_quoted"] or segment is None:
            continue
        theirs[segment.frame] = frozenset(name for column, name in NAMES.items() if line[column])
        streams[line["stream"]].append(_row(line, segment.tsval, segment.ip_id))
    out, left_out, unfounded = [], 0, set()
    for rows in streams.values():
        marked = {row.frame for row in rows if "duplicate_frame" in ours[row.frame].labels}
        unfounded |= marked - copies(rows)
        left_out += len(marked)
        for before in account([row for row in rows if row.frame not in marked]):
            frame = before.row.frame
            out.append(Compared(file, before, theirs[frame], ours[frame].labels))
    return out, left_out, unfounded


def _row(line: dict[str, str], tsval: int | None, ip_id: int | None) -> Row:
    number = {name: int(line[name] or 0) for name in ("frame", "seq", "ack", "len", "win")}
    source, target = (int(line["sport"]), line["src"]), (int(line["dport"]), line["dst"])
    return Row(
        time_ns=int(line["time"].replace(".", "")),
        a_to_b=source < target,
        flags=int(line["flags"] or "0", 16) & 0xFF,
        tsval=tsval,
        ip_id=ip_id,
        **number,
    )


def differences(file: str) -> Iterator[tuple[Compared, str, str, Difference | None]]:
    """Yield (segment, who, label, class) for each label that only one gives; class None = no reason known."""
    for c in compared(file)[0]:
        if file in GARBAGE:
            return
        for who, alone in (("tshark", c.theirs - c.ours), ("longwire", c.ours - c.theirs)):
            for label in sorted(alone):
                fits = (d for d in DIFFERENCES if d.who == who and d.label == label and d.holds(c))
                yield c, who, label, next(fits, None)


@cache
def tally(file: str) -> Counter[Difference]:
    """Count a capture's differences by class."""
    return Counter(d for _, _, _, d in differences(file) if d is not None)


def agreed(file: str) -> Counter[str]:
    """Count the labels that both give."""
    return Counter(label for c in compared(file)[0] for label in c.theirs & c.ours)


@needs_corpus
@pytest.mark.corpus
@pytest.mark.parametrize("file", captures_with_truth())
def test_every_difference_has_a_reason(file: str) -> None:
    unexplained = [
        f"frame {c.before.row.frame}: only {who} says {label} (tshark {sorted(c.theirs)}, longwire {sorted(c.ours)})"
        for c, who, label, difference in differences(file)
        if difference is None
    ]
    assert not unexplained


@needs_corpus
@pytest.mark.corpus
@pytest.mark.parametrize("file", captures_with_truth())
def test_a_duplicate_frame_repeats_one_of_the_last_millisecond(file: str) -> None:
    assert compared(file)[2] == set()


@needs_corpus
@pytest.mark.corpus
def test_no_reason_is_given_for_nothing() -> None:
    met = Counter[Difference]()
    for file in captures_with_truth():
        met.update(tally(file))
    assert [(d.who, d.label, d.reason) for d in DIFFERENCES if not met[d]] == []


KEEPALIVE_ERRORS = (
    # what tshark errs in (definitions B1), file, frame, its label, ours
    ("one unacknowledged byte again", "zeek/echo-connections.pcap.gz", 29412, "keepalive_probe", "retransmission"),
    ("Linux's zero-window probe", "chrissanders/tcp_zerowindowdead.pcapng", 3, "keepalive_probe", "zero_window_probe"),
    ("a late ACK after the own FIN", "ndpi/tunnelbear.pcap", 142, "keepalive_probe", None),
    ("a probe answered with another window", "ndpi/wechat.pcap", 1039, "window_update", "keepalive_ack"),
    (
        "capture begins in idleness: probe",
        "deepflow/mysql__mysql-statement.pcap",
        23,
        "duplicate_ack",
        "keepalive_probe",
    ),
    (
        "capture begins in idleness: answer",
        "deepflow/mysql__mysql-statement.pcap",
        24,
        "duplicate_ack",
        "keepalive_ack",
    ),
    ("the answer between two of the other side", "ndpi/nest_log_sink.pcap", 889, "duplicate_ack", "keepalive_ack"),
)


@needs_corpus
@pytest.mark.corpus
@pytest.mark.parametrize(("error", "file", "frame", "theirs", "ours"), KEEPALIVE_ERRORS)
def test_keepalive_errors_of_tshark_are_not_ours(
    error: str, file: str, frame: int, theirs: str, ours: str | None
) -> None:
    c = next(c for c in compared(file)[0] if c.before.row.frame == frame)
    assert c.theirs == {theirs}, error
    assert c.ours == ({ours} if ours else set()), error
