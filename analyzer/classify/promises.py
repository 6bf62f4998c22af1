"""Silences that one side promised not to exceed, and a close by the other side when it did.

What    MQTT's CONNECT announces a keep-alive: a server that hears nothing for one and a half times as long must close.
Source  OASIS MQTT 3.1.1 section 3.1.2.10 [MQTT-3.1.2-24]
Needs   app: the promise; flows: who closed, and when the other side last said anything
Gives   closes.trigger (idle_timeout), closes.explanation, findings: heartbeat.promise_broken
Limits  A server that closes for another reason while a client is silent for longer than it promised is not told apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.kernel import Mask

if TYPE_CHECKING:
    import pyarrow as pa

_EARLY = 0.98  # of the promised time: clocks of both ends and the way between them


def broken(facts: Facts) -> Mask:
    """Return which flows a side closed after the other had been silent for longer than it promised."""
    app, flow = facts.app, facts.flow
    if not app["patience"].any():
        return np.zeros(facts.n, np.bool_)
    by = app["promised_by"].astype(np.int64)
    silence = flow["close_ts"] - facts.of(by, "payload_ts")
    promised = (app["patience"] > 0) & (flow["close_ts"] != 0) & (flow["close_dir"] == 1 - by)
    result: Mask = promised & (silence >= _EARLY * app["patience"])
    return result


def limit_s(facts: Facts) -> Array:
    """Return after how many seconds of silence each close was allowed."""
    result: Array = facts.app["patience"] / 1e9
    return result


def with_promise(explanation: pa.Array, facts: Facts) -> pa.Array:
    """Return the explanations with a sentence about the promise that was broken."""
    here = broken(facts)
    if not here.any():
        return explanation
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = limit_s(facts)
    words = {value: _SENTENCE.format(promised=value / 1.5, limit=value) for value in np.unique(limit[here]).tolist()}
    more = pa.array([words[value] if told else "" for value, told in zip(limit.tolist(), here.tolist(), strict=True)])
    return pc.if_else(pa.array(here), pc.binary_join_element_wise(explanation, more, " "), explanation)


_SENTENCE = (
    "The client had promised to say something at least every {promised:g} s (MQTT keep-alive) and was silent for "
    "longer than the {limit:g} s after which a server must close."
)
