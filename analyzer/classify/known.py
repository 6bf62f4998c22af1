"""Measured values and known defaults, many at once: a match is looked up once per distinct case."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, Mask
from analyzer.knowledge.load import LATE_S, SHARE, Knowledge, Known

F64 = NDArray[np.float64]

_CLOCKS = ("wire", "payload", "app", "response", "age")
_ROLES = (("client",), ("server",), ("path",))  # of each side
_FIN, _RST, _ANY = range(3)
_NOT_BY = {_FIN: ("rst", "silent"), _RST: ("silent",), _ANY: ()}  # what cannot have sent this kind of close
_AT_ONCE = 1 << 14  # values times entries: 14 MB of booleans
_WIDE = 1.5  # bounds further apart than this fit too many defaults to name them


def names_of(
    knowledge: Knowledge,
    value_s: F64,
    clocks: Mask,
    side: NDArray[np.int8],
    how: I64,
    lower_s: F64 | None = None,
    least_slack_s: float | F64 = LATE_S,
) -> NDArray[np.object_]:
    """Return the defaults that each value is consistent with, as one text; "" if there is none.

    value_s (n,)    clocks (n, 5) those that it may run on    side (n,) 0 client, 1 server, 2 path
    how (n,) 0 closed by FIN, 1 by RST, 2 either    lower_s (n,) if given, the value lies somewhere above it, and then
    every default between the bounds fits, unless they are too far apart
    least_slack_s  how far from a short default a value may be, of each or of all
    """
    out = np.full(value_s.size, "", dtype=object)
    known = knowledge.timeouts
    if value_s.size == 0 or not known:
        return out
    seen = np.array([k.wire_s for k in known])
    least = np.array([k.least_s for k in known])
    least_slack = np.broadcast_to(np.asarray(least_slack_s), value_s.shape)
    on_clock = np.array([[k.clock in ("unknown", clock) for k in known] for clock in _CLOCKS])
    in_role = np.array([[k.role in roles for k in known] for roles in _ROLES])
    possible = np.array([[k.on_expiry not in _NOT_BY[way] for k in known] for way in (_FIN, _RST, _ANY)])
    for start in range(0, value_s.size, _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        value = value_s[here, None]
        slack = np.maximum(least_slack[here, None], SHARE * seen)
        near = (value >= np.maximum(least, seen - slack)) & (value <= seen + slack)
        if lower_s is not None:
            low = lower_s[here, None]
            near = (seen > low - slack) & (seen <= value + slack) & (value <= _WIDE * low)
        reset = (how[here] == _RST)[:, None] & in_role[2]  # a box in between resets in the name of an end
        fits = (
            near & (in_role[side[here]] | reset) & possible[how[here]] & (clocks[here].astype(np.int8) @ on_clock > 0)
        )
        out[here] = _joined(fits, known)
    return out


def _joined(fits: Mask, known: tuple[Known, ...]) -> NDArray[np.object_]:
    distinct, which = np.unique(np.packbits(fits, axis=1), axis=0, return_inverse=True)
    rows = np.unpackbits(distinct, axis=1, count=len(known)).astype(np.bool_)
    texts = np.array(["; ".join(known[k].name for k in np.flatnonzero(row)) for row in rows], dtype=object)
    result: NDArray[np.object_] = texts[which.ravel()]
    return result
