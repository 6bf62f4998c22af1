"""Heartbeats that protocols read as such: one row for each beat, with its answer, until its flow is over.

What    Readers hold their beats and answers here as CONTROL rows; `Beats.of` pairs them when the flow is judged.
How     By number where an answer names its beat (WebSocket, HTTP/2, TLS), by order where it does not, or not at all
        where none is due; by habit where only words tell. A protocol is one name in PROTOCOLS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, Mask, Records, distinct

BY_NUMBER, BY_ORDER, ONE_WAY, BY_HABIT = range(4)

BUSY = "http2 after data"  # a ping that measures bandwidth if the connection is gRPC
MQTT_INSIDE, NATS_INSIDE = "mqtt in websocket", "nats in websocket"  # told by a message of a few bytes

# Values of heartbeats.protocol that are read, and how their answers are found.
PAIRING = {
    "websocket": BY_NUMBER,
    "engineio": BY_ORDER,
    "signalr": ONE_WAY,
    "phoenix": BY_ORDER,
    "stomp": ONE_WAY,
    "sockjs": ONE_WAY,
    "app": BY_HABIT,
    MQTT_INSIDE: BY_HABIT,
    NATS_INSIDE: BY_HABIT,
    "http2": BY_NUMBER,
    "grpc": BY_NUMBER,
    BUSY: BY_NUMBER,
    "tls": BY_NUMBER,
    "sse": ONE_WAY,
    "mqtt": BY_NUMBER,
    "redis": BY_NUMBER,
    "amqp": ONE_WAY,
    "nats": BY_NUMBER,
    "postgresql": BY_NUMBER,
    "mysql": BY_NUMBER,
    "irc": BY_NUMBER,
    "xmpp": BY_NUMBER,
    "sip": BY_NUMBER,
    "fix": BY_NUMBER,
    "bgp": ONE_WAY,
    "kafka": BY_NUMBER,
    "zookeeper": BY_NUMBER,
    "ssh": ONE_WAY,  # only inferred
}
PROTOCOLS = tuple(PAIRING)
_OUTSIDE = {MQTT_INSIDE: "mqtt", NATS_INSIDE: "nats"}  # what the table calls them

# By habit: the other side's beat is an echo, so an answer, if it comes so soon: an echo takes a round trip.
ECHO_NS = 500_000_000
# Of event streams: a greeting has several comments, and streams of one connection may beat by one timer.
AT_ONCE_NS = 5_000_000

BEAT = np.dtype(
    [("flow_id", np.int64), ("ts", np.int64), ("frame", np.int64), ("answer_ts", np.int64), ("answer_frame", np.int64),
     ("size", np.int64), ("protocol", np.int8), ("dir", np.int8), ("paired", np.int8)]  # paired: an answer is due
)  # fmt: skip

# A beat or an answer. `protocol` counts in PROTOCOLS. BY_NUMBER: `index` is a beat's number in its flow,
# `answers` the number that an answer names (-1: none, which makes it a beat of its own, one way).
CONTROL = np.dtype(
    [("flow_id", np.int64), ("ts", np.int64), ("frame", np.int64), ("index", np.int64), ("answers", np.int64),
     ("size", np.int64), ("protocol", np.int8), ("dir", np.int8), ("answer", np.int8)]
)  # fmt: skip

# Rows that wait for their flow's end: a ping and a pong a second on 500 connections for ten minutes.
# Past it (56 MiB) the oldest half is forgotten, and series begin later than they did.
MAX_HELD = 1 << 19


class Beats:
    """Collects what may be a beat or its answer, and pairs them when a flow is over."""

    def __init__(self) -> None:
        self._held: list[Records] = []
        self._rows = 0

    def hold(self, rows: Records) -> None:
        """Keep CONTROL rows."""
        if rows.size:
            self._held.append(rows)
            self._rows += rows.size
        if self._rows > MAX_HELD:
            kept = np.concatenate(self._held)[self._rows // 2 :]
            self._held, self._rows = [kept], kept.size

    def of(self, flow_ids: I64) -> Records:
        """Return the BEAT rows of these flows, and forget them."""
        if not self._held:
            return np.zeros(0, BEAT)
        held = np.concatenate(self._held)
        mine = np.isin(held["flow_id"], flow_ids)
        self._held = [held[~mine]]
        self._rows = self._held[0].size
        rows = held[mine]
        parts = [np.zeros(0, BEAT)]
        for code in distinct(rows["protocol"]).tolist():
            name = PROTOCOLS[code]
            some, how = rows[rows["protocol"] == code], PAIRING[name]
            if name == "sse":
                some = _apart(some)
            if how == BY_NUMBER:
                parts.append(_by_number(some))
            elif how == BY_HABIT:
                parts.append(_by_habit(some))
            else:
                parts.append(_by_order(some, paired=how == BY_ORDER))
            parts[-1]["protocol"] = PROTOCOLS.index(_OUTSIDE.get(name, name))
        return np.concatenate(parts)


def name_grpc(beats: Records, flow_ids: I64) -> Records:
    """Name the HTTP/2 pings of these flows after gRPC, and leave out those that measure bandwidth.

    What a flow carried is known once it is over; so pings right after data are kept apart until then.
    """
    theirs = np.isin(beats["flow_id"], flow_ids)
    busy = beats["protocol"] == PROTOCOLS.index(BUSY)
    beats["protocol"][busy] = PROTOCOLS.index("http2")
    mine = theirs & ~busy & (beats["protocol"] == PROTOCOLS.index("http2"))
    beats["protocol"][mine] = PROTOCOLS.index("grpc")
    return beats[~(busy & theirs)]


def _beats(rows: Records, answer: NDArray[Any], has: Mask, paired: Mask) -> Records:
    out = np.zeros(rows.shape[0], BEAT)
    for name in ("flow_id", "ts", "frame", "size", "protocol", "dir"):
        out[name] = rows[name]
    out["paired"] = paired
    out["answer_ts"][has], out["answer_frame"][has] = answer["ts"][has], answer["frame"][has]
    return out


def _by_number(rows: Records) -> Records:
    """Return beats with the answers that name them, and answers that name none."""
    pings = rows[rows["answer"] == 0]
    pongs = rows[(rows["answer"] == 1) & (rows["answers"] >= 0)]
    alone = rows[(rows["answer"] == 1) & (rows["answers"] < 0)]
    _, number = np.unique(np.concatenate([pings["flow_id"], pongs["flow_id"]]), return_inverse=True)
    key = number[: pings.size].astype(np.int64) << 40 | pings["index"]
    named = number[pings.size :].astype(np.int64) << 40 | pongs["answers"]
    order = np.argsort(named, kind="stable")
    place = np.searchsorted(named[order], key)
    there = place < named.size
    found = order[np.minimum(place, max(named.size - 1, 0))] if named.size else np.zeros(key.size, np.int64)
    has = there & (named[found] == key) if named.size else np.zeros(key.size, np.bool_)
    answer = pongs[found] if named.size else pings
    return np.concatenate(
        [
            _beats(pings, answer, has, np.ones(pings.size, np.bool_)),
            _beats(alone, alone, np.zeros(alone.size, np.bool_), np.zeros(alone.size, np.bool_)),
        ]
    )


def _by_order(rows: Records, *, paired: bool) -> Records:
    """Return beats with their answers: TCP keeps the order, so the oldest beat that waits has the next answer."""
    asker = rows["dir"] ^ rows["answer"]  # both sides may beat
    order = np.lexsort((rows["frame"], rows["ts"], asker, rows["flow_id"]))
    rows, asker = rows[order], asker[order]
    beats = np.flatnonzero(rows["answer"] == 0)
    if not paired or beats.size == 0:
        none = np.zeros(beats.size, np.bool_)
        return _beats(rows[beats], rows[beats], none, none)
    answer = _in_turn(rows, asker)[beats]
    return _beats(rows[beats], rows[answer], answer >= 0, np.ones(beats.size, np.bool_))


def _apart(rows: Records) -> Records:
    """Return rows without those that come at once after another of their flow and direction."""
    rows = rows[np.lexsort((rows["frame"], rows["ts"], rows["dir"], rows["flow_id"]))]
    keep = np.ones(rows.size, np.bool_)
    same = (rows["flow_id"][1:] == rows["flow_id"][:-1]) & (rows["dir"][1:] == rows["dir"][:-1])
    keep[1:] = ~same | (np.diff(rows["ts"]) > AT_ONCE_NS)
    result: Records = rows[keep]
    return result


def _in_turn(rows: Records, asker: NDArray[np.int8]) -> I64:
    """Return where each beat's answer is, -1 = it has none; rows stand by flow, asker and time.

    A peer that was busy answers late, but all of them. Once one is never answered the rest cannot be told by order:
    from the beat on after which one always waits, an answer is that of the beat right before it.
    """
    n, at = rows.size, np.arange(rows.size)
    new = np.ones(n, np.bool_)
    new[1:] = (rows["flow_id"][1:] != rows["flow_id"][:-1]) | (asker[1:] != asker[:-1])
    group, start = np.cumsum(new) - 1, np.flatnonzero(new)
    beat = rows["answer"] == 0
    step = np.where(beat, 1, -1)
    total = np.cumsum(step)
    level = total - (total - step)[start][group]  # beats less answers so far
    far = 2 * n + 1  # groups apart, so that one minimum runs over all
    lowest = np.minimum(np.minimum.accumulate(level - group * far) + group * far, 0)
    before = np.where(new, 0, np.r_[0, lowest[:-1]])
    waiting = level - lowest  # answers that nobody had asked for do not count
    counts = ~beat & (level >= before)
    idle = np.maximum.accumulate(
        np.where(waiting == 0, at, np.where(new, at - 1, -1))
    )  # latest time that nobody waited
    last = np.r_[start[1:], n] - 1
    settled = (at <= idle[last][group]) & (beat | counts)
    asked, told = np.flatnonzero(settled & beat), np.flatnonzero(settled & counts)
    found: I64 = np.full(n, -1)
    found[asked] = told
    left = np.flatnonzero(beat & ~settled)
    following = np.minimum(left + 1, n - 1)
    near = (group[following] == group[left]) & ~beat[following]
    found[left[near]] = following[near]
    return found


def _by_habit(rows: Records) -> Records:
    """Return beats that only words tell: a word said once that nobody answered is none.

    An answer is due where the other side gave one at all; Action Cable's server, for one, pings and hears nothing.
    """
    rows = rows[np.lexsort((rows["frame"], rows["ts"], rows["flow_id"]))]
    _, flow = np.unique(rows["flow_id"], return_inverse=True)
    rows["answer"] |= _echoes(rows, flow)
    beats = _by_order(rows, paired=True)
    _, series = np.unique(beats["flow_id"] << 1 | beats["dir"], return_inverse=True)
    count = np.bincount(series, minlength=1)[series]
    good = np.bincount(series, weights=beats["answer_ts"] != 0, minlength=1)[series]
    beats["paired"] = good > 0
    return beats[(count > 1) | (good > 0)]


def _echoes(rows: Records, flow: I64) -> Mask:
    """Return (n,) which beats are the other side's, said again: those of whoever began later, if most come at once.

    Who has a word for answers says no beats again: these are its own.
    """
    if rows.size == 0:
        return np.zeros(0, np.bool_)
    first = rows["dir"][np.searchsorted(flow, np.arange(flow[-1] + 1))][flow]
    later = (rows["answer"] == 0) & (rows["dir"] != first)
    before = np.maximum(np.arange(rows.size) - 1, 0)
    soon = (rows["ts"] - rows["ts"][before] <= ECHO_NS) & (rows["answer"][before] == 0)
    echo: Mask = later & soon & (flow[before] == flow) & (rows["dir"][before] == first)
    most = np.bincount(flow, weights=echo) * 2 > np.bincount(flow, weights=later)
    answers = np.bincount(flow, weights=(rows["answer"] == 1) & (rows["dir"] != first)) > 0
    result: Mask = echo & (most & ~answers)[flow]
    return result
