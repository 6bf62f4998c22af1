"""Idle timeouts inferred over flows (definitions B12): which silence does this server, client or path not outlive?

What    A row per server and closing side whose closes pile up at one silence, and rows with bounds only: for a path
        that swallowed or reset data after a silence, and for one or two closes that fit a known default.
Source  definitions B12. Silences that were survived, or still run, bound every timeout from below (RFC 5382 section 5
        for what a NAT may do).
Needs   closes (silences before the first closing segment), idle_gaps (survived, unanswered and running ones)
Gives   timeouts
Limits  One timeout per server, side and way of closing (FIN or RST). Without keep-alives or heartbeats in the silence
        the clocks cannot be told apart; then `payload` is named, or `response` if an HTTP response was the last thing
        said, and defaults of every clock that fits are listed. Gap rows that left the tracker before their flow (more
        than a million held) are not counted.
Memory  89 bytes per flow that was closed, until the end (live: of the last LIVE_FLOWS), and at most MOST_GAPS silences
        of 55 bytes (15 MB); if there are more, the longest are kept, the ones that can contradict or bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.clusters import NONE, Piles, Survivors, piles, window_us
from analyzer.classify.facts import Array, Facts
from analyzer.classify.grouped import Latest
from analyzer.classify.known import names_of
from analyzer.classify.ranges import distinct_in, flow_lists
from analyzer.classify.timeout_evidence import CLOSE, DIED, GAP, RUNNING, closes_of, gaps_of
from analyzer.classify.verdict import Verdict
from analyzer.kernel import I64, Mask, Records
from analyzer.knowledge.load import LATE_S, Knowledge
from analyzer.tables.build import Coded

Rows = NDArray[Any]

CLOCKS = ("wire", "payload", "app", "response", "age")
_WIRE, _PAYLOAD, _APP, _RESPONSE, _AGE = range(5)
_COLUMN = (0, 1, 2, 1, 3)  # of CLOSE's silences (wire, payload, app, age), for each clock
_SIDES = ("client", "server", "path")
_CLIENT, _SERVER, _PATH = range(3)

MOST_GAPS = 1 << 18
_LEAST_AGE_US = 30_000_000  # shorter lives that are alike are the same errand run again, not a limit
_LEAST_AGED = 5
_CLOSE_S = 0.25
_AGREE, _LATE_SPREADS = 3, 4.0  # so many closes that are late by chance lie this much less apart in one of ten cases
_STEPS = 5
_SURE_SWEEP = 40  # closes; few that are spread evenly may be spread so by something else than a sweep
_TIE_US = 100_000  # delayed ACKs and the way to us blur a clock by this much


class Timeouts:
    """Collects a few numbers per close and per long silence while flows finish; one table at the end."""

    def __init__(self, knowledge: Knowledge, least_ns: int, limit: int = 0) -> None:
        """`limit`: closes that are looked back on, 0 = all."""
        self.knowledge = knowledge
        self.least_us = least_ns // 1000
        self.peers: list[str | None] = []
        """The one client of each row of the table, None if there were several; known once `columns` was called."""
        self._closes = Latest(CLOSE, limit)
        self._gaps: list[Rows] = []
        self._held = 0

    # ---------------------------------------------------------------------------------- collecting
    def add(self, facts: Facts, verdict: Verdict, idle_app_s: Array) -> None:
        """Take finished flows. idle_app_s (n,): as in `closes`."""
        self._closes.add(closes_of(facts, verdict, idle_app_s))
        gaps = gaps_of(facts, verdict)
        self._gaps.append(gaps)
        self._held += gaps.shape[0]
        if self._held > 2 * MOST_GAPS:
            self._keep_longest()

    def _keep_longest(self) -> None:
        """The longest of a set do not depend on the order in which it came: batching stays invisible."""
        rows = np.concatenate(self._gaps) if self._gaps else np.zeros(0, GAP)
        if rows.shape[0] > MOST_GAPS:
            order = np.lexsort((rows["wire"], rows["flow_id"], -rows["payload"]))
            rows = rows[order[:MOST_GAPS]]
        self._gaps, self._held = [rows], rows.shape[0]

    # ---------------------------------------------------------------------------------- the table
    def columns(self) -> dict[str, Any]:
        """Return the columns of `timeouts`: values first, most closes first; then bounds."""
        self._keep_longest()
        closes = self._closes.rows()
        gaps = self._gaps[0]
        endpoint, heads = _endpoints(closes, gaps)
        n = closes.shape[0]
        bounds = _Silences(gaps, endpoint[n:], closes, endpoint[:n])
        sided = _sided(closes, endpoint[:n], bounds, self.least_us, self.knowledge)
        path = _path(gaps, endpoint[n:], bounds, self.knowledge)
        rows = np.concatenate([sided, path])
        unsure = rows["value_s"] != rows["value_s"]
        rows = rows[np.lexsort((rows["endpoint"], -rows["closes"], unsure))]
        self.peers = _peers(rows, closes)
        return _table(rows, heads)


# ------------------------------------------------------------------------------------------------ groups
def _endpoints(closes: Rows, gaps: Rows) -> tuple[I64, Rows]:
    """Number the servers; return the number of each row's (closes, then gaps), and one row of each server."""
    names = ("version", "hi", "lo", "port")
    key = {name: np.concatenate([closes[name], gaps[name]]) for name in names}
    order = np.lexsort([key[name] for name in reversed(names)])
    fresh = np.zeros(order.size, np.bool_)
    if order.size:
        fresh[0] = True
        for name in names:
            fresh[1:] |= key[name][order][1:] != key[name][order][:-1]
    number = np.empty(order.size, np.int64)
    number[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    heads = np.zeros(first.size, [(name, np.int64) for name in names])
    for name in names:
        heads[name] = key[name][first]
    return number, heads


class _Silences:
    """Silences by server that no timer had ended by then, on each clock: survived, running, or ended by a close.

    A close ends the watch over a silence: all that a timer would have done by then, it had not done. So the closes of
    one side bound the timers of the other.
    """

    def __init__(self, gaps: Rows, endpoint: I64, closes: Rows, closed_at: I64) -> None:
        alive = gaps["fate"] != DIED
        thinking = alive & (gaps["thinking"] == 1)
        running = gaps["fate"] == RUNNING
        answered = closes["answered"] == 1
        parts: tuple[tuple[str, Mask, Mask], ...] = (
            ("wire", alive, np.ones(closes.shape[0], np.bool_)),
            ("payload", alive, np.ones(closes.shape[0], np.bool_)),
            ("payload", alive, np.ones(closes.shape[0], np.bool_)),
            ("payload", thinking, answered),
            ("age", running, np.ones(closes.shape[0], np.bool_)),
        )
        self.of = [
            Survivors.of(
                np.concatenate([endpoint[of_gaps], closed_at[of_closes]]),
                np.concatenate([gaps[name][of_gaps], closes["silence"][of_closes, _COLUMN[clock]]]),
            )
            for clock, (name, of_gaps, of_closes) in enumerate(parts)
        ]
        self.wire_survived = Survivors.of(endpoint[alive], gaps["wire"][alive])
        self.thought = Survivors.of(endpoint[thinking], gaps["payload"][thinking])


_FOUND = np.dtype(
    [("endpoint", np.int64), ("side", np.int8), ("clock", np.int8), ("value_s", np.float64), ("spread_s", np.float64),
     ("closes", np.int64), ("above", np.int64), ("lower_s", np.float64), ("upper_s", np.float64),
     ("known", object), ("confidence", np.float64), ("flows", object),
     ("peer", np.int64)]  # a close of its only client, counted from 1; 0 = there were several
)  # fmt: skip


def _sided(
    closes: Rows, endpoint: I64, bounds: _Silences, least_us: int, knowledge: Knowledge
) -> Rows:  # fmt: skip
    """Timeouts that a client or a server keeps: it closes by itself."""
    label = endpoint * 4 + closes["side"] * 2 + closes["rst"]
    labels, group = np.unique(label, return_inverse=True)
    where = labels // 4
    n = labels.size
    found, orders = [], []
    for clock, name in enumerate(CLOCKS):
        silence = closes["silence"][:, _COLUMN[clock]]
        if clock == _RESPONSE:
            silence = np.where((closes["answered"] == 1) & (closes["http"] == 1), silence, 0)
        least = max(least_us, _LEAST_AGE_US if name == "age" else 0)
        pile, order = piles(group, n, silence, where, bounds.of[clock], least)
        found.append(pile)
        orders.append(order)
    best = _best_clock(found, where, bounds)
    rows = _rows_of(best, found, orders, labels, closes, bounds, knowledge)
    few = _few(best, labels, group, closes, bounds, least_us, knowledge)
    return np.concatenate([rows, few])


def _best_clock(found: list[Piles], where: I64, bounds: _Silences) -> I64:
    """Return the clock of each group, NONE if none has a pile: fewest contradictions, then most closes and tightest."""
    n = where.size
    best = np.full(n, NONE, np.int64)
    score = np.full(n, np.inf)
    others = np.zeros(n, np.bool_)
    # On a tie the weakest claim comes first: payload needs no knowledge of what was said.
    for clock in (_PAYLOAD, _RESPONSE, _WIRE, _APP, _AGE):
        pile = found[clock]
        value = np.maximum(pile.value_us, 0)
        against = bounds.of[clock].above(where, pile.limit_us) - pile.above
        mine = np.where(pile.spread_us > _TIE_US + value // 200, pile.spread_us / np.maximum(value, 1), 0.0)
        mine += 2.0 * against / np.maximum(pile.closes + against, 1) + pile.above / np.maximum(
            pile.above + pile.closes, 1
        )
        use = pile.found & (mine < score - 0.02)
        if clock == _AGE:  # alike lives mean a limit only if no silence explains them
            use &= ~others & (pile.closes >= _LEAST_AGED)
        others |= pile.found & ~pile.sweep  # what a lifetime cuts off is spread evenly, too
        best[use], score[use] = clock, mine[use]
    return best


def _rows_of(
    clock: I64, found: list[Piles], orders: list[I64], labels: I64, closes: Rows, bounds: _Silences,
    knowledge: Knowledge,
) -> Rows:  # fmt: skip
    """Return a row for each group that has a pile on its best clock."""
    parts = []
    for c in range(len(CLOCKS)):
        groups = np.flatnonzero(clock == c)
        if groups.size == 0:
            continue
        pile, order = found[c], orders[c]
        value, spread = pile.value_us[groups], pile.spread_us[groups]
        where = labels[groups] // 4
        rows = np.zeros(groups.size, _FOUND)
        rows["endpoint"], rows["side"], rows["clock"] = where, labels[groups] // 2 % 2, c
        rows["value_s"], rows["spread_s"], rows["closes"] = value / 1e6, spread / 1e6, pile.closes[groups]
        rows["above"] = bounds.of[c].above(where, pile.limit_us[groups]) - pile.above[groups]
        lower = (bounds.wire_survived if c == _WIRE else bounds.thought).longest_to(where, value + window_us(value))
        rows["lower_s"] = np.where(lower < 0, np.nan, lower / 1e6)
        rows["upper_s"] = rows["value_s"] + rows["spread_s"]
        first, last = pile.first[groups], pile.last[groups]
        when = closes["ts"][order] // 1_000_000_000
        apart = distinct_in(when, first, last)
        rows["confidence"] = _confidence(rows, apart, pile.above[groups], pile.sweep[groups])
        fitting = _fitting_clocks(found, groups, c, value)
        rows["known"] = names_of(
            knowledge, rows["value_s"], fitting, rows["side"], labels[groups] % 2, least_slack_s=_slack_s(rows)
        )
        rows["confidence"] += 0.2 * (1 - rows["confidence"]) * (rows["known"] != "")
        _only_bounded(rows, pile.step_us[groups] / 1e6, fitting, labels[groups] % 2, knowledge)
        rows["flows"] = flow_lists(closes["flow_id"][order], first, last)
        alone = distinct_in(closes["client_lo"][order], first, last) == 1
        alone &= distinct_in(closes["client_hi"][order], first, last) == 1
        rows["peer"] = np.where(alone, order[first] + 1, 0)
        parts.append(rows)
    return np.concatenate(parts) if parts else np.zeros(0, _FOUND)


def _slack_s(rows: Rows) -> NDArray[np.float64]:
    """Return how far above a short default each value may lie: what looks every second is late by any part of it, so
    several closes that agree more closely are no default that runs out late."""
    agreed = np.maximum(_CLOSE_S, _LATE_SPREADS * rows["spread_s"])
    result: NDArray[np.float64] = np.where(rows["closes"] >= _AGREE, np.minimum(agreed, LATE_S), LATE_S)
    return result


def _only_bounded(rows: Rows, step_s: NDArray[np.float64], clocks: Mask, how: I64, knowledge: Knowledge) -> None:
    """Take back the value of sweeps whose closes are too far apart to tell where they begin: bounds are left.

    The first of evenly spread closes comes as much later than the timeout as they are apart on average, and more than
    _STEPS times that in one of a hundred and fifty.
    """
    vague = np.flatnonzero(step_s > np.maximum(_CLOSE_S, 0.01 * rows["value_s"]))
    if vague.size == 0:
        return
    first = rows["value_s"][vague] + step_s[vague]
    rows["upper_s"][vague] = first
    rows["lower_s"][vague] = np.fmax(rows["lower_s"][vague], first - _STEPS * step_s[vague])
    rows["lower_s"][vague] = np.minimum(rows["lower_s"][vague], first)
    rows["value_s"][vague] = rows["spread_s"][vague] = np.nan
    upper, lower = rows["upper_s"][vague], rows["lower_s"][vague]
    rows["known"][vague] = names_of(knowledge, upper, clocks[vague], rows["side"][vague], how[vague], lower)


def _confidence(rows: Rows, apart: I64, above: I64, sweep: Mask) -> NDArray[np.float64]:
    """How many closes at different times agree, how closely, and how many silences speak against them."""
    width = window_us((rows["value_s"] * 1e6).astype(np.int64)) / 1e6
    swept = np.where(rows["closes"] >= _SURE_SWEEP, 0.4, 0.6)
    blur = np.where(sweep, swept, 0.5 * np.minimum(rows["spread_s"] / width, 1.0))
    agree = rows["closes"] / (rows["closes"] + above + rows["above"])
    result: NDArray[np.float64] = apart / (apart + 2.0) * (1 - blur) * agree
    return result


def _fitting_clocks(found: list[Piles], groups: I64, chosen: int, value: I64) -> Mask:
    """Return (groups, clocks): which clocks show the same timeout about as sharply as the chosen one."""
    fits = np.zeros((groups.size, len(CLOCKS)), np.bool_)
    for c, pile in enumerate(found):
        same = np.abs(pile.value_us[groups] - value) <= window_us(value)
        sharp = pile.spread_us[groups] <= found[chosen].spread_us[groups] + _TIE_US + value // 200
        fits[:, c] = pile.found[groups] & same & sharp
    fits[:, chosen] = True
    if chosen != _AGE:
        fits[:, _AGE] = False
    return fits


def _few(
    clock: I64, labels: I64, group: I64, closes: Rows, bounds: _Silences, least_us: int, knowledge: Knowledge
) -> Rows:  # fmt: skip
    """One or two closes of a server after a silence: bounds, if a default lies there and nothing speaks against it."""
    silence = closes["silence"][:, _PAYLOAD]
    idle = (silence >= least_us) & (closes["answered"] == 1) & (closes["side"] == _SERVER)
    count = np.bincount(group[idle], minlength=labels.size)
    groups = np.flatnonzero((clock == NONE) & (count >= 1) & (count <= 2))
    if groups.size == 0:
        return np.zeros(0, _FOUND)
    shortest = np.full(labels.size, np.iinfo(np.int64).max)
    np.minimum.at(shortest, group[idle], silence[idle])
    member = np.flatnonzero(idle & np.isin(group, groups))
    member = member[np.lexsort((silence[member], group[member]))]
    where, value = labels[groups] // 4, shortest[groups]
    rows = np.zeros(groups.size, _FOUND)
    rows["endpoint"], rows["side"], rows["clock"] = where, labels[groups] // 2 % 2, _PAYLOAD
    rows["value_s"] = rows["spread_s"] = np.nan
    rows["closes"] = count[groups]
    rows["above"] = bounds.thought.above(where, value + window_us(value))
    lower = bounds.thought.longest_to(where, value)
    rows["lower_s"], rows["upper_s"] = np.where(lower < 0, np.nan, lower / 1e6), value / 1e6
    fits = np.ones((groups.size, len(CLOCKS)), np.bool_)
    fits[:, _AGE] = False
    http = np.ones(labels.size, np.int8)
    np.minimum.at(http, group[idle], closes["http"][idle])
    fits[:, _RESPONSE] = http[groups] == 1
    # A second more or less says nothing about one close; what remains is what a busy host adds to its timer.
    rows["known"] = names_of(knowledge, value / 1e6, fits, rows["side"], labels[groups] % 2, least_slack_s=_CLOSE_S)
    rows["confidence"] = 0.15 * rows["closes"]
    first = np.searchsorted(group[member], groups)
    rows["flows"] = flow_lists(closes["flow_id"][member], first, first + count[groups])
    fitting: Rows = rows[(rows["known"] != "") & (rows["above"] == 0)]
    return fitting


def _path(gaps: Rows, endpoint: I64, bounds: _Silences, knowledge: Knowledge) -> Rows:
    """Bounds of what lies between: data after a silence got no answer, or a reset, though nobody had closed."""
    died = np.flatnonzero(gaps["fate"] == DIED)
    died = died[np.lexsort((gaps["wire"][died], endpoint[died]))]
    where, first = np.unique(endpoint[died], return_index=True)
    last = np.r_[first[1:], died.size].astype(np.int64)
    rows = np.zeros(where.size, _FOUND)
    if where.size == 0:
        return rows
    shortest = gaps["wire"][died][first]
    rows["endpoint"], rows["side"], rows["clock"] = where, _PATH, _WIRE
    rows["value_s"] = rows["spread_s"] = np.nan
    rows["closes"] = last - first
    rows["above"] = bounds.wire_survived.above(where, shortest)
    lower = bounds.wire_survived.longest_to(where, shortest)
    rows["lower_s"], rows["upper_s"] = np.where(lower < 0, np.nan, lower / 1e6), shortest / 1e6
    rows["confidence"] = rows["closes"] / (rows["closes"] + 3.0 + 2 * rows["above"])
    fits = np.zeros((where.size, len(CLOCKS)), np.bool_)
    fits[:, _WIRE] = True
    rows["known"] = names_of(knowledge, rows["upper_s"], fits, rows["side"], np.full(where.size, 2), rows["lower_s"])
    rows["flows"] = flow_lists(gaps["flow_id"][died], first, last)
    # One connection that died proves no timeout, and a silence that was survived longer by most proves there is none.
    proven: Rows = rows[(rows["closes"] >= 2) & (rows["above"] < rows["closes"])]
    return proven


# ------------------------------------------------------------------------------------------------ small parts
def _peers(rows: Rows, closes: Rows) -> list[str | None]:
    """Return the address of each row's only client."""
    from analyzer.classify.community import address_text

    heads = closes[np.maximum(rows["peer"] - 1, 0)] if closes.size else np.zeros(rows.size, CLOSE)
    names = address_text(heads["client_hi"], heads["client_lo"], heads["version"]).to_pylist()
    return [name if peer else None for name, peer in zip(names, rows["peer"].tolist(), strict=True)]


def _table(rows: Rows, heads: Records) -> dict[str, Any]:
    from analyzer.classify.endpoints import endpoint_names

    names = endpoint_names(heads[rows["endpoint"]]).to_pylist()
    return {
        "timeout_id": np.arange(rows.size),
        "endpoint": names,
        "side": Coded(rows["side"], _SIDES),
        "clock": Coded(rows["clock"], CLOCKS),
        "value_s": rows["value_s"],
        "spread_s": rows["spread_s"],
        "closes": rows["closes"],
        "survived_above": rows["above"],
        "lower_bound_s": rows["lower_s"],
        "upper_bound_s": rows["upper_s"],
        "known_as": [word or None for word in rows["known"]],
        "confidence": np.clip(rows["confidence"], 0.0, 0.99),
        "flow_ids": list(rows["flows"]),
    }
