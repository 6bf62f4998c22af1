"""Which known heartbeat an inferred series is consistent with, by its period and the sizes of beats and answers.

What    In TLS the plaintext of a record is shorter by what version and cipher add; so sizes say what may be inside.
        Defaults whose protocol has heartbeats of other sizes are left out. What fits by size alone is named as well.
Source  RFC 8446 section 5.2, RFC 5246 section 6.2.3.3, RFC 7905 (what encryption adds); definitions B8, step 7
Needs   units, app: what TLS adds to a record; flows: was the beginning seen
Gives   heartbeat_series.known_as (method "inferred")
Limits  A name is a candidate, and all that fit are listed. CBC hides sizes, as do bursts of several records: then the
        period alone decides. Padding (TLS 1.3) hides them, too, and does not show. In plain text a protocol is
        recognised as such, unless the capture joined the connection midstream: there a beat is named only if its sizes
        are those of a known one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.heartbeat import LEAST_BEATS, Series
from analyzer.flows.state import SEEN_SYN, SEEN_SYN_ACK
from analyzer.kernel import I64, Records
from analyzer.knowledge.load import SIDES, Knowledge
from analyzer.protocols.channel import DECRYPTED, OPAQUE, UNDECIDED

_TIED = 0.7  # of a beat's own lateness; between two timers it is 1 and more
_SPARE = 10  # one answer in so many may be data that came in between, at each end of the sizes
_PLAIN, _PLAIN_MIDSTREAM, _HIDDEN = range(3)
_READ = ("unknown", "ssh")  # what plain text may have that no protocol would have read


class _Seen(NamedTuple):
    """What is known of a series.

    where  _HIDDEN or what plain text it is    sizes, answers  smallest and largest; None = not known, or no answers
    answered  the other side says something after each    echo  because of it, and not by a timer of its own
    """

    side: str
    period_s: float
    where: int
    sizes: tuple[int, int] | None
    answers: tuple[int, int] | None
    answered: bool
    echo: bool


def names_of(units: Records, found: Series, facts: Facts, knowledge: Knowledge) -> list[str | None]:
    """Return what each series may be, "; " between candidates; None = nothing known."""
    at = facts.rows_of(found.flow_id)
    app = facts.app.at(at)
    began = (facts.flow["completeness"][at] & (SEEN_SYN | SEEN_SYN_ACK)) != 0
    unread = np.isin(app["reader"], (UNDECIDED, OPAQUE)) & (app["tls"] == 0)
    hidden = (app["tls"] == 1) & (app["tls_adds"] != DECRYPTED)
    where = np.select([hidden, unread & ~began], [_HIDDEN, _PLAIN_MIDSTREAM], _PLAIN)
    adds = app["tls_adds"].astype(np.int64)
    beats = _bounds(units, found, "", hidden, adds)
    answers = _bounds(units, found, "answer_", hidden, adds)
    known = (beats[:, 0] > 0) & ~(found.paired & (answers[:, 0] == 0))
    echo = found.paired & _tied(units, found)
    named = cache(lambda seen: _name(seen, knowledge))
    return [
        named(_Seen(SIDES[way], period / 1e9, place, size if sized else None, answer if paired else None, paired, tied))
        for way, period, place, size, answer, paired, tied, sized in zip(
            found.dir.tolist(), found.period_ns.tolist(), where.tolist(), map(_pair, beats.tolist()),
            map(_pair, answers.tolist()), found.paired.tolist(), echo.tolist(), known.tolist(), strict=True,
        )
    ]  # fmt: skip


def _name(seen: _Seen, knowledge: Knowledge) -> str | None:
    """Return the candidates for a series as one text: known defaults first, then what fits by its size."""
    due = knowledge.beats(seen.period_s, seen.side, answered=seen.answered)
    if seen.where == _PLAIN or seen.sizes is None:
        return "; ".join(beat.name for beat in due if seen.where == _HIDDEN or beat.protocol in _READ) or None
    shapes = knowledge.shaped(seen.side, seen.sizes, seen.answers, echo=seen.echo)
    if seen.where == _PLAIN_MIDSTREAM:
        shapes = tuple(shape for shape in shapes if shape.exact)
    fitting = {shape.protocol for shape in shapes}
    if not seen.echo:  # both sides beat by equal timers, if sizes say so
        due = tuple(
            beat
            for beat in knowledge.beats(seen.period_s, seen.side)
            if beat in due or (beat.answered == "no" and beat.protocol in fitting)
        )
    others = {shape.protocol for shape in knowledge.shapes} - fitting
    if seen.where == _PLAIN_MIDSTREAM:
        due = tuple(beat for beat in due if beat.protocol in fitting or beat.protocol in _READ)
    due = tuple(beat for beat in due if beat.protocol not in others)
    told = {beat.protocol for beat in due}
    by_size = [shape.name(seen.sizes[0]) for shape in shapes if shape.exact and shape.protocol not in told]
    return "; ".join(dict.fromkeys([*(beat.name for beat in due), *by_size])) or None


def _tied(units: Records, found: Series) -> Array:
    """Return (k,) where answers keep closer to their beats than those keep their own time: no other timer does that.

    Two timers are late each by itself, so what lies between them varies at least as much as the intervals of one.
    """
    k = found.flow_id.size
    order = np.lexsort((units["ts"][found.unit], found.series))
    unit, series = units[found.unit[order]], found.series[order]
    ts, wait = unit["ts"].astype(np.int64), (unit["answer_ts"] - unit["ts"]).astype(np.int64)
    told = unit["answer_ts"] > 0
    pair = np.flatnonzero((series[1:] == series[:-1]) & told[1:] & told[:-1])
    gap, whose = ts[pair + 1] - ts[pair], series[pair]
    steps = np.maximum(np.round(gap / found.period_ns[whose]), 1)
    late = np.abs(gap - steps * found.period_ns[whose])
    moved = np.abs(wait[pair + 1] - wait[pair])
    middle = np.bincount(whose, minlength=k) // 2
    start = np.cumsum(np.bincount(whose, minlength=k)) - np.bincount(whose, minlength=k)
    enough = np.bincount(whose, minlength=k) >= LEAST_BEATS - 1
    at = np.minimum(start + middle, max(whose.size - 1, 0))
    if whose.size == 0:
        return np.zeros(k, np.bool_)
    own, other = (values[np.lexsort((values, whose))][at] for values in (late, moved))
    result: Array = enough & (other < _TIED * own)
    return result


def _pair(bounds: list[int]) -> tuple[int, int]:
    return bounds[0], bounds[1]


def _bounds(units: Records, found: Series, of: str, hidden: Array, adds: I64) -> I64:
    """Return (k, 2) smallest and largest size in plaintext of a series' beats, or of nearly all answers; 0 = not known.

    of  "" or "answer_": whose sizes    hidden, adds (k,) it is TLS, and what that adds to a record
    """
    k = found.flow_id.size
    unit, series = units[found.unit], found.series
    size = unit[of + "size"].astype(np.int64)
    record = unit[of + "record"].astype(np.int64) - adds[series]
    plain = np.where(hidden[series], np.where((adds[series] > 0) & (record > 0), record, 0), size)
    chosen = np.ones(series.size, np.bool_) if of == "" else unit["answer_ts"] > 0
    plain, series = plain[chosen], series[chosen]
    order = np.lexsort((plain, series))
    n = np.bincount(series, minlength=k)
    spare = n // _SPARE
    first = np.cumsum(n) - n + spare
    last = np.cumsum(n) - 1 - spare
    out = np.zeros((k, 2), np.int64)
    has = n > 0
    values = plain[order]
    out[has, 0], out[has, 1] = values[first[has]], values[last[has]]
    return out
