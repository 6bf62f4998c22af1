"""What one point saw leave and the other did not see arrive, and the other way round: one connection, one direction.

What    The point nearer the sender says what was sent, the other what arrived. A RST or FIN that arrived without having
        been sent is the work of something in between, which one capture alone can only suspect (definitions B6).
        Segments are joined and cut on the way of network cards, so data is compared by its bytes, and one by one only
        what is rare: RST, FIN, probes. From the last segment that arrived on, whatever is sent died on the way.
Needs   SEGMENT rows of both points, brought to the first's numbers and clock
Gives   Difference
Limits  A capture ends with its last packet: what it no longer shows may be what it no longer saw. Where it has nothing
        later, `certain` is False.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.kernel import I64, Mask, Records
from analyzer.twopoint.point import FIN, PROBE, RST, SYN, WINDOW_PROBE

_JITTER_NS = 50_000_000  # how much later than the quickest a segment may cross, and clocks drift meanwhile
_LATE_NS = 2_000_000_000  # a RST or probe that crosses later than this is another
_TELLING = SYN | FIN | PROBE | WINDOW_PROBE
_LEAST_DEAD = 2  # one lost segment at the end of a capture is no dead path
_LEAST_ACKS = 3  # if all it said is ACKs


class View(NamedTuple):
    """A connection as one point saw it: SEGMENT rows, when that capture ran, and probes that got an ACK there."""

    rows: Records
    first_ns: int
    last_ns: int
    answered: frozenset[int]


class Difference(NamedTuple):
    """One difference. sent, arrived: frames at the sender's and at the receiver's point.

    segments    how many    bytes  of payload    missing  bytes of the stream that never arrived
    sent_bytes  of how many    silence_ns  before it, -1 = does not apply    about  in words
    certain     False if a capture may just have begun too late or ended too soon
    """

    code: str
    side: int
    ts: int
    sent: tuple[int, ...] = ()
    arrived: tuple[int, ...] = ()
    segments: int = 0
    bytes: int = 0
    missing: int = 0
    sent_bytes: int = 0
    silence_ns: int = -1
    about: str = ""
    certain: bool = True


def crossed(sender: View, receiver: View, side: int, path_ns: int) -> list[Difference]:
    """Return the differences in what `side` sent; `sender` is the point nearer to it.

    path_ns  shortest time between the points and back: no clock is wrong by more
    """
    tolerance_ns = _JITTER_NS + path_ns
    sent = sender.rows[sender.rows["side"] == side]
    sent = sent[sent["ts"] >= receiver.first_ns - path_ns]
    came = receiver.rows[receiver.rows["side"] == side]
    came = came[came["ts"] >= sender.first_ns - path_ns]
    resets, forged, lost_resets = _resets(sent, came, tolerance_ns)
    found = [
        Difference("rst_not_sent", side, int(row["ts"]), arrived=(int(row["frame"]),), segments=1,
                   certain=_ran(sender, int(row["ts"]), tolerance_ns))
        for row in came[resets][forged]
    ]  # fmt: skip
    genuine = np.ones(came.size, bool)
    genuine[resets[forged]] = False
    dead = sent["ts"] > (came["ts"][genuine].max() + tolerance_ns if genuine.any() else -1)
    dying = _path_dead(sender, receiver, sent, dead, side, tolerance_ns)
    found += dying
    alive = sent[~dead] if dying else sent
    found += _fins(sender, receiver, alive, came, side, tolerance_ns)
    found += [
        Difference("rst_not_arrived", side, int(row["ts"]), sent=(int(row["frame"]),), segments=1,
                   certain=_ran(receiver, int(row["ts"]), tolerance_ns))
        for row in lost_resets if not (dying and row["ts"] >= dying[0].ts)
    ]  # fmt: skip
    found += _probes(sender, receiver, alive, came, side, tolerance_ns)
    told = {frame for difference in found for frame in difference.sent}
    found += _control(receiver, alive[~np.isin(alive["frame"], list(told))], came, side, tolerance_ns)
    found += _data(receiver, alive[alive["ts"] <= _due(receiver, sent, came, path_ns)], came, side, path_ns)
    return found


def _ran(view: View, ts: int, tolerance_ns: int) -> bool:
    """Return whether a capture certainly ran at a time: it has a packet then or later, and one before."""
    return view.first_ns <= ts + tolerance_ns and view.last_ns >= ts - tolerance_ns


def _due(receiver: View, sent: Records, came: Records, path_ns: int) -> int:
    """Return until when what was sent must have arrived: what is on its way when a capture ends is not lost.

    That is until the last that arrived was sent, and until shortly before the capture's last packet.
    """
    due = receiver.last_ns - _JITTER_NS - path_ns
    if came.size:
        last = came[came["ts"].argmax()]
        same = sent["ts"][(sent["seq"] == last["seq"]) & (sent["ts"] <= last["ts"] + path_ns)]
        due = max(due, int(same.max()) if same.size else int(last["ts"]) - path_ns)
    return due


def _resets(sent: Records, came: Records, tolerance_ns: int) -> tuple[I64, Mask, Records]:
    """Return where RSTs came, which of them nobody sent, and the rows of those sent that did not come."""
    came_at = np.flatnonzero(came["bits"] & RST)
    sent_at = np.flatnonzero(sent["bits"] & RST)
    partner = _partners(sent[sent_at], came[came_at], tolerance_ns)
    forged = np.ones(came_at.size, bool)
    forged[partner[partner >= 0]] = False
    return came_at, forged, sent[sent_at][partner < 0]


def _partners(sent: Records, came: Records, tolerance_ns: int) -> I64:
    """Return for each row sent the row that came of it, -1 = none: the same number, the latest before it came."""
    partner = np.full(sent.size, -1, np.int64)
    for m in np.argsort(came["ts"], kind="stable")[::-1].tolist():
        late = came["ts"][m] - sent["ts"]
        fits = (partner < 0) & (came["seq"][m] == sent["seq"]) & (-tolerance_ns <= late) & (late <= _LATE_NS)
        if fits.any():
            partner[np.flatnonzero(fits)[-1]] = m
    return partner


def _path_dead(
    sender: View, receiver: View, sent: Records, dead: Mask, side: int, tolerance_ns: int
) -> list[Difference]:
    """Return that nothing more arrived, if enough was sent after the last that did."""
    lost = sent[dead]
    telling = (lost["len"] > 0) | (lost["bits"] & _TELLING != 0)
    if lost.size < (_LEAST_DEAD if telling.any() else _LEAST_ACKS):
        return []
    first = int(lost["ts"].min())
    before = sender.rows["ts"][sender.rows["ts"] < first]
    silence = first - int(before.max()) if before.size else -1
    frames = tuple(lost["frame"].tolist())
    return [
        Difference("path_dead", side, first, sent=frames, segments=lost.size, bytes=int(lost["len"].sum()),
                   silence_ns=silence, certain=receiver.last_ns > first + tolerance_ns)
    ]  # fmt: skip


def _fins(sender: View, receiver: View, sent: Records, came: Records, side: int, tolerance_ns: int) -> list[Difference]:
    """Return a FIN that one point has and the other not."""
    left, arrived = sent[sent["bits"] & FIN != 0], came[came["bits"] & FIN != 0]
    if left.size and not arrived.size:
        first, frames = int(left["ts"][0]), tuple(left["frame"].tolist())
        sure = _ran(receiver, first, tolerance_ns) and receiver.last_ns > first + tolerance_ns
        return [Difference("fin_not_arrived", side, first, sent=frames, segments=left.size, certain=sure)]
    if arrived.size and not (sender.rows["bits"][sender.rows["side"] == side] & FIN).any():
        first, frames = int(arrived["ts"][0]), tuple(arrived["frame"].tolist())
        sure = _ran(sender, first, tolerance_ns)
        return [Difference("fin_not_sent", side, first, arrived=frames, segments=arrived.size, certain=sure)]
    return []


def _probes(
    sender: View, receiver: View, sent: Records, came: Records, side: int, tolerance_ns: int
) -> list[Difference]:
    """Return keep-alive probes that were answered, though they never arrived."""
    probes = sent[sent["bits"] & PROBE != 0]
    if not probes.size or not sender.answered:
        return []
    partner = _partners(probes, came[(came["bits"] & (PROBE | RST | FIN)) == PROBE], tolerance_ns)
    answered = probes[
        [p < 0 and frame in sender.answered for p, frame in zip(partner, probes["frame"].tolist(), strict=True)]
    ]
    if not answered.size:
        return []
    last = int(answered["ts"][-1])
    return [
        Difference("probe_answered_between", side, int(answered["ts"][0]), sent=tuple(answered["frame"].tolist()),
                   segments=answered.size, certain=_ran(receiver, last, tolerance_ns))
    ]  # fmt: skip


def _control(receiver: View, sent: Records, came: Records, side: int, tolerance_ns: int) -> list[Difference]:
    """Return copies of SYN, FIN and probes that did not arrive, though others did or nobody waited for them."""
    few = sent[(sent["bits"] & _TELLING != 0) & (sent["len"] <= 1) & (sent["bits"] & RST == 0)]
    partner = _partners(few, came[came["bits"] & _TELLING != 0], tolerance_ns)
    gone = few[(partner < 0) & (few["ts"] <= receiver.last_ns - tolerance_ns)]
    if not gone.size:
        return []
    frames = tuple(gone["frame"].tolist())
    return [Difference("control_lost", side, int(gone["ts"][0]), sent=frames, segments=gone.size)]


def _data(receiver: View, sent: Records, came: Records, side: int, path_ns: int) -> list[Difference]:
    """Return how many bytes were lost between the points, and how many of the stream never arrived."""
    left = sent[(sent["len"] > 0) & (sent["bits"] & (PROBE | WINDOW_PROBE) == 0)]
    arrived = came[(came["len"] > 0) & (came["bits"] & (PROBE | WINDOW_PROBE) == 0)]
    sent_bytes, lost = int(left["len"].sum()), int(left["len"].sum()) - int(arrived["len"].sum())
    if not left.size or lost <= 0:
        return []
    missing, where = _uncovered(left, arrived)
    other = receiver.rows[receiver.rows["side"] != side]
    acknowledged = int(other["ack"].max()) if other.size else -1
    gone = left[_lost_copies(left, arrived, path_ns)]
    at = int(gone["ts"][0]) if gone.size else int(left["ts"][0])
    return [
        Difference("not_captured" if missing and where < acknowledged else "data_lost", side, at,
                   sent=tuple(gone["frame"].tolist()), segments=gone.size, bytes=lost, missing=missing,
                   sent_bytes=sent_bytes)
    ]  # fmt: skip


def _lost_copies(left: Records, arrived: Records, path_ns: int) -> I64:
    """Return which segments did not arrive, judged by their last bytes: what came is of the latest copy before it."""
    last = left["seq"] + left["len"] - 1
    arrived = arrived[np.argsort(arrived["seq"], kind="stable")]
    starts, ends, longest = arrived["seq"], arrived["seq"] + arrived["len"], arrived["len"].max(initial=0)
    came = np.searchsorted(starts, last, "right") - np.searchsorted(np.sort(ends), last, "right")
    by_byte = np.argsort(last, kind="stable")
    _, first, copies = np.unique(last, return_index=True, return_counts=True)
    at = np.searchsorted(last[by_byte], last[first])
    lost: list[int] = []
    for k in np.flatnonzero(came[first] < copies).tolist():
        byte, mine = int(last[first[k]]), by_byte[at[k] : at[k] + copies[k]].tolist()
        near = slice(*np.searchsorted(starts, [byte - longest, byte + 1]))
        for ts in np.sort(arrived["ts"][near][ends[near] > byte])[::-1].tolist():
            before = [m for m in mine if left["ts"][m] <= ts + path_ns]
            if before:
                mine.remove(before[-1])
        lost += mine
    return np.array(sorted(lost), np.int64)


def _uncovered(left: Records, arrived: Records) -> tuple[int, int]:
    """Return how many bytes of `left` are nowhere in `arrived`, and where the first of them is."""
    edges = np.concatenate([left["seq"], left["seq"] + left["len"], arrived["seq"], arrived["seq"] + arrived["len"]])
    change = np.repeat(np.array([1, -1, 1 << 32, -(1 << 32)]), [left.size, left.size, arrived.size, arrived.size])
    order = np.argsort(edges, kind="stable")
    level = np.cumsum(change[order])[:-1]
    length = np.diff(edges[order])
    alone = (level > 0) & (level < 1 << 32) & (length > 0)
    if not alone.any():
        return 0, -1
    return int(length[alone].sum()), int(edges[order][:-1][alone][0])
