"""Goodbyes of protocols of messages: was the application done, and who said so first?

What    MQTT's DISCONNECT, MySQL's COM_QUIT, PostgreSQL's Terminate, AMQP's close, ZooKeeper's closeSession, STOMP's
        DISCONNECT, FIX's Logout, BGP's NOTIFICATION, and the errors that a server closes with: some name a timeout,
        others a shutdown.
Source  the pages of `protocols.messages`
Needs   app: what each side said last; facts: was all of it captured
Gives   closes.graceful_app, closes.announced_by, closes.trigger and closes.explanation of these protocols
Limits  One side's goodbye is enough: the other has nothing to add in most of them. Of protocols whose clients just
        close (Redis, NATS, Kafka, IRC, SIP), or part in words that are not read (XMPP), nothing is said.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from analyzer.classify.facts import Facts
from analyzer.classify.wording import followed_by
from analyzer.kernel import I64, Mask
from analyzer.protocols.channel import BYE_IDLED, BYE_NONE, BYE_ORDERED, MESSAGES
from analyzer.protocols.messages.state import AMQP_0, AMQP_1, BGP, FIX, MQTT, MYSQL, POSTGRESQL, STOMP, ZOOKEEPER
from analyzer.tables.tcp import TRIGGERS

_POLITE = tuple(MESSAGES + kind for kind in (MQTT, MYSQL, POSTGRESQL, AMQP_0, AMQP_1, ZOOKEEPER, STOMP, FIX, BGP))

_SENTENCES = (  # as BYE, from BYE_DONE on
    "The {who} had said goodbye.",
    "The {who} had said that something was wrong.",
    "The {who} had said that the {other} was silent for too long.",
    "The {who} had said that it was told to close: a shutdown, or an administrator.",
)
_SIDES = (("client", "server"), ("server", "client"))
_SAID = np.array(["", *(one.format(who=who, other=other) for who, other in _SIDES for one in _SENTENCES)], object)


def says_goodbye(facts: Facts) -> Mask:
    """Return which connections speak a protocol whose goodbyes are read."""
    result: Mask = np.isin(facts.app["reader"], _POLITE)
    return result


def last_words(facts: Facts) -> tuple[I64, I64]:
    """Return who said the first last words, -1 = nobody, and which: a code of BYE."""
    app = facts.app
    by = np.where(says_goodbye(facts), app["bye_first"].astype(np.int64), 0) - 1
    words = np.where(by == 1, app["bye_s"], app["bye_c"]).astype(np.int64)
    return by, np.where(by < 0, BYE_NONE, words)


def said_trigger(facts: Facts, trigger: I64) -> I64:
    """Return the triggers with what was said in words: an idle timeout, or that it was none."""
    words, idle, unknown = facts.last_words[1], TRIGGERS.index("idle_timeout"), TRIGGERS.index("unknown")
    result: I64 = np.where(words == BYE_IDLED, idle, trigger)
    result[(words == BYE_ORDERED) & (trigger == idle)] = unknown
    return result


def with_goodbye(explanation: pa.Array, facts: Facts) -> pa.Array:
    """Return the explanations with a sentence about the goodbye."""
    by, words = facts.last_words
    return followed_by(explanation, _SAID[np.where(by >= 0, by * len(_SENTENCES) + words, 0)])
