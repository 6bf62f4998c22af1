"""The tables of inferred heartbeats: units of finished flows in, rows of `heartbeats` and `heartbeat_series` out.

Gives   heartbeats, heartbeat_series (method "inferred")
Limits  Flows in which a protocol was read that has beats of its own are left to that protocol. In HTTP/1 and WebSocket
        programs make up theirs: a health check, messages that repeat themselves. What can be read counts only if it
        says nothing new (`beat_contents`). What beats may be is said by `beat_names`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.beat_contents import HIDDEN, PERHAPS, READ
from analyzer.classify.beat_names import names_of
from analyzer.classify.crossed_beats import crossed, with_answers
from analyzer.classify.explicit_beats import longest_run, overdue, waited_for
from analyzer.classify.facts import Facts
from analyzer.classify.heartbeat import Series, infer_series
from analyzer.classify.heartbeat_units import MERGE_NS
from analyzer.kernel import I64, Mask, Records
from analyzer.knowledge.load import Knowledge
from analyzer.protocols.channel import DECRYPTED, HTTP1, HTTP2, MESSAGES, WEBSOCKET
from analyzer.protocols.messages.state import APPLICATIONS, SSH
from analyzer.protocols.said import HEAD, LONGEST, digest
from analyzer.tables.build import MISSING, Coded
from analyzer.tables.kinds import DIRECTIONS

_SSH = MESSAGES + SSH
_COMPRESSED, _OPCODE, _BINARY = 0x40, 0x0F, 2  # RFC 6455 section 5.2, RFC 7692 section 6
_WITH_BEATS_OF_THEIR_OWN = (HTTP2, *(set(range(MESSAGES + 1, len(APPLICATIONS))) - {_SSH}))
_WORDS = ("unknown", "ssh")  # what an inferred beat may belong to


def inferred(
    units: Records, facts: Facts, read: dict[str, Any], knowledge: Knowledge
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of `heartbeats` and of `heartbeat_series` for finished flows.

    read: columns of the series that protocols read in these flows; the numbers of ours follow theirs
    """
    units = units[_opaque(units, facts)]
    reading = _reading(units, facts)
    found = infer_series(units, reading)
    units, whose = with_answers(units)
    if whose.size:
        found = crossed(units, whose, np.append(reading, reading[whose]), found)
    order = np.lexsort((found.dir, found.flow_id))
    number = np.empty(order.size, np.int64)  # series_id: 0, 1, ... in each flow
    flow = found.flow_id[order]
    start = np.r_[True, flow[1:] != flow[:-1]] if flow.size else np.zeros(0, np.bool_)
    first = np.maximum.accumulate(np.where(start, np.arange(flow.size), 0)) if flow.size else start
    theirs = np.sort(read["flow_id"])
    number[order] = np.arange(flow.size) - first
    number[order] += np.searchsorted(theirs, flow, "right") - np.searchsorted(theirs, flow)
    rows = _rows(units, found, facts)
    at = facts.rows_of(found.flow_id)
    # keepalive@openssh.com is answered; what is not is something that a session shows (or PuTTY's null packets)
    ssh = ((facts.app["reader"][at] == _SSH) & found.paired).astype(np.int8)
    known_as = names_of(units, found, facts, knowledge)
    return _beats(rows, number, ssh), _series(rows, found, number, ssh, known_as)


def kinds(facts: Facts, read: dict[str, Any], inferred: dict[str, Any]) -> list[str | None]:
    """Return flows.heartbeat_kinds: the protocols of a flow's series, `unknown` or ssh for those only inferred."""
    words: dict[int, dict[str, None]] = {}
    for flow_id, code in zip(read["flow_id"].tolist(), read["protocol"].codes.tolist(), strict=True):
        words.setdefault(flow_id, {})[read["protocol"].names[code]] = None
    for flow_id, code in zip(inferred["flow_id"].tolist(), inferred["protocol"].codes.tolist(), strict=True):
        words.setdefault(flow_id, {})[_WORDS[code]] = None
    return [",".join(words[flow_id]) if flow_id in words else None for flow_id in facts.flow["flow_id"].tolist()]


def _opaque(units: Records, facts: Facts) -> Mask:
    """Return the units of flows that are finished, without those that a protocol read as beats and answers."""
    ids = facts.flow["flow_id"][~np.isin(facts.app["reader"], _WITH_BEATS_OF_THEIR_OWN)]
    read = np.concatenate([facts.beats["frame"], facts.beats["answer_frame"]])
    result: Mask = np.isin(units["flow_id"], ids) & ~np.isin(units["frame"], read)
    return result


def _reading(units: Records, facts: Facts) -> NDArray[np.int8]:
    """Return how each unit can be read (see `beat_contents`); what TLS hid until it was opened is put in its place."""
    at = facts.rows_of(units["flow_id"])
    tls, reader = facts.app["tls"][at] == 1, facts.app["reader"][at]
    opened = tls & (facts.app["tls_adds"][at] == DECRYPTED)
    known = ~tls & (reader != _SSH)
    said = _whole_messages(facts.said)
    known |= opened & _opened(units, "", units["dir"], said)
    _opened(units, "answer_", 1 - units["dir"], said)
    text = (units["head"][:, 0] & (_COMPRESSED | _OPCODE)) != _BINARY
    said = (reader == HTTP1) | ((reader == WEBSOCKET) & text)  # a binary message may be ciphertext
    return np.select([known & said, known], [READ, PERHAPS], HIDDEN).astype(np.int8)


def _opened(units: Records, of: str, way: NDArray[np.int8], said: Records) -> Mask:
    """Put what records said into units (of ""), or into their answers; return (n,) for which that is known."""
    if said.size == 0:
        return np.zeros(units.shape[0], np.bool_)
    key = said["frame"] << 1 | said["dir"]  # a frame is of one flow
    order = np.argsort(key, kind="stable")
    wanted = units[of + "frame"] << 1 | way
    place = order[np.minimum(np.searchsorted(key[order], wanted), said.size - 1)]
    has: Mask = key[place] == wanted
    for name in ("head", "rest", "heard"):
        units[of + name][has] = said[name][place[has]]
    return has


def _whole_messages(said: Records) -> Records:
    """Put the pieces of messages that were written in several records together."""
    said = said[np.lexsort((said["frame"], said["dir"], said["flow_id"]))]
    begins = np.ones(said.size, np.bool_)
    begins[1:] = (said["flow_id"][1:] != said["flow_id"][:-1]) | (said["dir"][1:] != said["dir"][:-1])
    begins[1:] |= said["ts_ns"][1:] - said["ts_ns"][:-1] > MERGE_NS
    start = np.flatnonzero(begins)
    whole = said[start]
    if start.size < said.size:
        place = (np.arange(said.size) - start[np.cumsum(begins) - 1]).astype(np.uint64)
        mixed = (digest(said) >> np.uint64(25)) * (place + np.uint64(1))  # their sum stays below 2**63
        more = np.diff(np.r_[start, said.size]) > 1
        second, at = start[more] + 1, said["heard"][start[more]].astype(np.int64)
        head = whole["head"][more]
        for k in range(HEAD):
            fits = (at + k < HEAD) & (k < said["heard"][second])
            head[np.flatnonzero(fits), at[fits] + k] = said["head"][second[fits], k]
        whole["head"][more] = head
        whole["rest"][more] = np.add.reduceat(mixed, start).astype(np.int64)[more]
        whole["heard"] = np.minimum(np.add.reduceat(said["heard"].astype(np.int64), start), LONGEST)
    return whole


class _Rows:
    """(b,) beats by series and time: the unit, whether it was answered, missed or late (-1 = no answer is expected)."""

    def __init__(self, unit: Records, series: I64, answered: I64, missed: I64, late: I64) -> None:
        self.unit, self.series = unit, series
        self.answered, self.missed, self.late = answered, missed, late


def _rows(units: Records, found: Series, facts: Facts) -> _Rows:
    order = np.lexsort((units["frame"][found.unit], units["ts"][found.unit], found.series))
    unit, series = units[found.unit[order]], found.series[order]
    paired = found.paired[series]
    answered = paired & (unit["answer_ts"] > 0) & waited_for(facts, unit)
    missed = paired & ~answered & overdue(facts, unit["flow_id"], unit["ts"], series)
    known = answered | missed
    late = answered & (unit["answer_ts"] - unit["ts"] > found.period_ns[series])
    return _Rows(
        unit, series, np.where(known, answered, -1).astype(np.int64), np.where(known, missed, -1).astype(np.int64),
        np.where(known, late, -1).astype(np.int64),
    )  # fmt: skip


def _beats(rows: _Rows, number: I64, ssh: NDArray[np.int8]) -> dict[str, Any]:
    unit, n = rows.unit, rows.series.size
    has = rows.answered == 1
    return {
        "flow_id": unit["flow_id"],
        "series_id": number[rows.series],
        "protocol": Coded(ssh[rows.series], _WORDS),
        "method": Coded(np.zeros(n, np.int8), ("inferred",)),
        "dir": Coded(unit["dir"], DIRECTIONS),
        "ts": unit["ts"],
        "frame": unit["frame"],
        "size": unit["size"].astype(np.int64),
        "answered": rows.answered,
        "answer_ts": np.where(has, unit["answer_ts"], MISSING),
        "answer_frame": np.where(has, unit["answer_frame"], MISSING),
        "rtt_s": np.where(has, (unit["answer_ts"] - unit["ts"]) / 1e9, np.nan),
        "missed": rows.missed,
        "late": rows.late,
    }


def _series(
    rows: _Rows, found: Series, number: I64, ssh: NDArray[np.int8], known_as: list[str | None]
) -> dict[str, Any]:  # fmt: skip
    k = found.flow_id.size
    known = np.bincount(rows.series, weights=rows.answered >= 0, minlength=k)
    good = np.bincount(rows.series, weights=rows.answered == 1, minlength=k)
    share = np.where(known > 0, good / np.maximum(known, 1), np.nan)
    return {
        "flow_id": found.flow_id,
        "series_id": number,
        "protocol": Coded(ssh, _WORDS),
        "method": Coded(np.zeros(k, np.int8), ("inferred",)),
        "dir": Coded(found.dir, DIRECTIONS),
        "beats": found.beats,
        "period_s": found.period_ns / 1e9,
        "jitter_p95_s": found.jitter_ns / 1e9,
        "timer": Coded(found.idle.astype(np.int8), ("fixed_rate", "idle_triggered")),
        "answered_share": share,
        "longest_missed_run": np.where(known > 0, longest_run(rows.missed == 1, rows.series, k), MISSING),
        "p_value": found.p_value,
        "known_as": known_as,
        "confidence": found.confidence,
    }
