"""Last words: what a side says just before it closes, after a silence that its timer ended.

What    Many protocols say goodbye before the FIN: TLS's close_notify, HTTP/2's GOAWAY, a WebSocket close frame, a FATAL
        or BYE of databases and mail servers. That is payload, so the silence before the close is over when it comes;
        the timer that ran out is the one of the silence before those words.
Source  definitions B5 (T_idle), B12; RFC 8446 section 6.1, RFC 9113 section 6.8, RFC 6455 section 5.5.1
Needs   gaps of finished flows, app
Limits  A goodbye counts where it is itself what ended the silence: whoever asks for something first, and parts after
        the answer, had no timer. Of TLS that nobody opened only the close_notify is known: what its side says right
        before it, without waiting for anything, belongs to it (a close frame, GOAWAY).
        Words that no protocol names count only from a server that then closes first, and that never before spoke after
        its own silence: who pushes messages is not parting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.classify.idle_gap import IDLE
from analyzer.flows.state import END_DATA, THINK_TIME
from analyzer.kernel import I64, Mask
from analyzer.protocols.channel import TLS, TLS_GOODBYE, WEBSOCKET

_AT_ONCE_NS = 200_000  # between two records of one goodbye
_SOON_NS = 250_000_000  # between the words and the close, besides two round trips: the other side may answer


class Farewell(NamedTuple):
    """(n,) per flow. side: who parted, -1 = nobody. silence: before it in ns, -1 = none. gap: its row, -1."""

    side: I64
    silence: I64
    gap: I64


def farewells(facts: Facts) -> Farewell:
    """Return the last words of each flow, where there were any after a silence."""
    none = np.full(facts.n, -1, np.int64)
    found = Farewell(none, none.copy(), none.copy())
    gaps = facts.done.gaps
    by = gaps["ended_by"].astype(np.int64) - END_DATA
    spoke = np.flatnonzero((by == 0) | (by == 1))
    if facts.n == 0 or spoke.size == 0:
        return found
    row = facts.gap_row
    close = facts.flow["close_ts"][row]
    soon = (gaps["end_ts"] <= close) & (close - gaps["end_ts"] <= _SOON_NS + 2 * facts.path_rtt[row])
    # close_notify is known by its time, however long its side then waits for the other's
    bye = np.where(by == 1, facts.app["tls_bye_s"][row], facts.app["tls_bye_c"][row])
    soon |= (bye != 0) & (gaps["end_ts"] == bye) & (bye <= close)
    last = spoke[((row >= 0) & (close != 0) & soon)[spoke]]
    last = last[np.isin(facts.gap_class[last], IDLE)]
    at, side = row[last], by[last]
    parts = last[_named(facts, at, side, last) | _parts_unnamed(facts, at, side, last)]
    found.side[row[parts]], found.gap[row[parts]] = by[parts], parts
    found.silence[row[parts]] = (gaps["end_ts"] - gaps["start_ts"])[parts]
    return found


def _named(facts: Facts, at: I64, side: I64, gap: I64) -> Mask:
    """Return where a protocol knows the words of `side` that ended a silence to be a goodbye."""
    app = facts.app.at(at)
    client, spoke = side == 0, facts.done.gaps["end_ts"][gap]
    said = np.where(client, app["bye_ts_c"], app["bye_ts_s"]) == spoke
    goodbye = np.isin(np.where(client, app["tls_close_c"], app["tls_close_s"]), TLS_GOODBYE)
    later = np.where(client, app["tls_bye_c"], app["tls_bye_s"]) - spoke
    at_once = (later > 0) & (later < np.minimum(facts.path_rtt[at] // 2, _AT_ONCE_NS)) & (app["reader"] == TLS)
    at_once &= (side == 1) & (_pushes(facts, gap) == 1)
    named: Mask = said | (goodbye & ((later == 0) | at_once))
    return named


def _parts_unnamed(facts: Facts, at: I64, side: I64, gap: I64) -> Mask:
    """Return where a server said something for the first time after its own silence, and then closed first.

    Whoever waits before the first word of all (a greeting that is delayed), or is answered, parts from nobody.
    """
    gaps = facts.done.gaps
    named = np.isin(facts.app["reader"][at], (WEBSOCKET, TLS))  # a close frame, a close_notify, or none
    unanswered = facts.client["payload_ts"][at] <= gaps["end_ts"][gap]
    greeting = gaps["start_ts"][gap] == facts.flow["handshake_ts"][at]
    alone = _pushes(facts, gap) == 1
    result: Mask = (side == 1) & (facts.flow["close_dir"][at] == 1) & alone & ~named & unanswered & ~greeting
    return result


def _pushes(facts: Facts, gap: I64) -> I64:
    """Return how often the server of each gap's flow ended its own silence."""
    gaps = facts.done.gaps
    pushed = gaps["flow_id"][(gaps["ended_by"] == END_DATA + 1) & (gaps["gap_class"] == THINK_TIME)]
    ids, times = np.unique(pushed, return_counts=True)
    if not ids.size:
        return np.zeros(gap.size, np.int64)
    place = np.minimum(np.searchsorted(ids, gaps["flow_id"][gap]), ids.size - 1)
    return np.where(ids[place] == gaps["flow_id"][gap], times[place], 0)
