"""Silences that one side promised not to exceed, and a close by the other side when it did.

What    MQTT's client announces a keep-alive, and MQTT 5's server may say another: who hears nothing for one and a half
        times as long must close. AMQP's sides agree on a heartbeat, STOMP's on one for each direction: who hears
        nothing for longer may close.
Source  OASIS MQTT 3.1.1 section 3.1.2.10 [MQTT-3.1.2-24], MQTT 5.0 section 3.2.2.3.14; AMQP 0-9-1 section 4.2.7;
        STOMP 1.2, "Heart-beating"
Needs   app: the promises; flows: who closed, and when the other side last said anything
Gives   closes.trigger (idle_timeout), closes.explanation, findings: heartbeat.promise_broken
Limits  A side that closes for another reason while the other is silent for longer than it promised is not told apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.wording import followed_by
from analyzer.kernel import Mask
from analyzer.protocols.channel import MESSAGES
from analyzer.protocols.messages.state import AMQP_0, MQTT, STOMP

if TYPE_CHECKING:
    import pyarrow as pa

_EARLY = 0.98  # of the promised time: clocks of both ends and the way between them


def broken(facts: Facts) -> Mask:
    """Return which flows a side closed after the other had been silent for longer than it promised."""
    flow, limit_ms = facts.flow, _limit_ms(facts)
    if not limit_ms.any():
        return np.zeros(facts.n, np.bool_)
    silence = flow["close_ts"] - facts.of(1 - flow["close_dir"], "payload_ts")
    result: Mask = (limit_ms > 0) & (flow["close_ts"] != 0) & (silence >= _EARLY * 1_000_000 * limit_ms)
    return result


def limit_s(facts: Facts) -> Array:
    """Return after how many seconds of silence each close was allowed."""
    result: Array = _limit_ms(facts) / 1e3
    return result


def _limit_ms(facts: Facts) -> Array:
    """Return the promise of the side that did not close, 0 = none."""
    app = facts.app
    limit: Array = np.where(facts.flow["close_dir"] == 0, app["patience_s"], app["patience_c"]).astype(np.int64)
    return limit


def with_promise(explanation: pa.Array, facts: Facts) -> pa.Array:
    """Return the explanations with a sentence about the promise that was broken."""
    here = np.flatnonzero(broken(facts))
    words = np.full(facts.n, "", object)
    closed_by, limit, protocol = facts.flow["close_dir"], limit_s(facts), facts.app["reader"] - MESSAGES
    for row in here.tolist():
        who, other = ("server", "client") if closed_by[row] == 0 else ("client", "server")
        sentence = _SENTENCES[int(protocol[row])]
        words[row] = sentence.format(who=who, other=other, limit=limit[row], promised=limit[row] / 1.5)
    return followed_by(explanation, words)


_SENTENCES = {
    MQTT: "The {who} had to say something at least every {promised:g} s (MQTT keep-alive) and was silent for longer "
    "than the {limit:g} s after which the {other} must close.",
    AMQP_0: "Both sides had agreed on a heartbeat of {limit:g} s (AMQP tune-ok) and the {who} was silent for longer: "
    "the {other} may close then.",
    STOMP: "The {who} had promised to say something at least every {limit:g} s (STOMP heart-beat) and was silent for "
    "longer: the {other} may close then.",
}
