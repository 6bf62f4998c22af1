"""Goodbyes of protocols of messages: was the application done, and who said so first?

What    MQTT's DISCONNECT, MySQL's COM_QUIT, PostgreSQL's Terminate, AMQP's close, ZooKeeper's closeSession, STOMP's
        DISCONNECT, FIX's Logout, BGP's NOTIFICATION, and the errors that a server closes with.
Source  the pages of `protocols.messages`
Needs   app: what each side said last; facts: was all of it captured
Gives   closes.graceful_app, closes.announced_by and closes.explanation of these protocols
Limits  One side's goodbye is enough: the other has nothing to add in most of them. Of protocols whose clients just
        close (Redis, NATS, Kafka, IRC, SIP), or part in words that are not read (XMPP), nothing is said.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.classify.facts import Facts
from analyzer.kernel import I64, Mask
from analyzer.protocols.channel import BYE_FAILED, BYE_NONE, MESSAGES
from analyzer.protocols.messages.state import AMQP_0, AMQP_1, BGP, FIX, MQTT, MYSQL, POSTGRESQL, STOMP, ZOOKEEPER

_POLITE = tuple(MESSAGES + kind for kind in (MQTT, MYSQL, POSTGRESQL, AMQP_0, AMQP_1, ZOOKEEPER, STOMP, FIX, BGP))

_SENTENCES = (
    "The client had said goodbye.",
    "The server had said goodbye.",
    "The client had said that something was wrong.",
    "The server had said that something was wrong.",
)


def says_goodbye(facts: Facts) -> Mask:
    """Return which connections speak a protocol whose goodbyes are read."""
    result: Mask = np.isin(facts.app["reader"], _POLITE)
    return result


def last_words(facts: Facts) -> tuple[I64, I64]:
    """Return who said the first last words, -1 = nobody, and which: BYE_NONE, BYE_DONE, BYE_FAILED."""
    app = facts.app
    by = np.where(says_goodbye(facts), app["bye_first"].astype(np.int64), 0) - 1
    words = np.where(by == 1, app["bye_s"], app["bye_c"]).astype(np.int64)
    return by, np.where(by < 0, BYE_NONE, words)


def with_goodbye(explanation: pa.Array, facts: Facts) -> pa.Array:
    """Return the explanations with a sentence about the goodbye."""
    by, words = last_words(facts)
    here = by >= 0
    if not here.any():
        return explanation
    which = np.where(here, by + 2 * (words == BYE_FAILED), 0)
    more = pa.array(np.array(_SENTENCES, object)[which], pa.string())
    return pc.if_else(pa.array(here), pc.binary_join_element_wise(explanation, more, " "), explanation)
