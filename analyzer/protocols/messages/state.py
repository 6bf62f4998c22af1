"""What is remembered of a connection: each direction's place in its message, and which beats wait for their answer.

State is kept by place, not by channel: only connections that speak such a protocol have one. A stream is 2 * place +
direction.
"""

from __future__ import annotations

import numpy as np

from analyzer.protocols.beats import BY_NUMBER, PAIRING, PROTOCOLS
from analyzer.protocols.channel import MESSAGES, READERS

I8, I4, I1 = np.int64, np.int32, np.int8

# ------------------------------------------------------------------------------------------------ which protocol
# In the order in which they are asked: PostgreSQL and ZooKeeper before Kafka, whose first request says less.
(
    MQTT, REDIS, AMQP_0, AMQP_1, NATS, POSTGRESQL, MYSQL, IRC, XMPP, STOMP, SIP, FIX, BGP, ZOOKEEPER, KAFKA, SSH,
) = range(1, 17)  # fmt: skip
LAST_KIND = SSH
NAMES = (
    "mqtt", "redis", "amqp", "amqp", "nats", "postgresql", "mysql", "irc", "xmpp", "stomp", "sip", "fix", "bgp",
    "zookeeper", "kafka", "ssh",
)  # as heartbeats.protocol has them  # fmt: skip
_NUMBERS = tuple(PROTOCOLS.index(name) for name in NAMES)
PROTOCOL_OF = np.array([-1, *_NUMBERS], np.int8)
NUMBERED = np.array([0, *(PAIRING[name] == BY_NUMBER for name in NAMES)], np.int8)

# flows.app_protocol by APP.reader: who reads a channel, and past MESSAGES which kind
APPLICATIONS = ("unknown", "unknown", *READERS[2:MESSAGES], "unknown", *NAMES)

# ------------------------------------------------------------------------------------------------ what a piece was
MORE = 0  # it asks for more of the same message before it can tell
PART = 1  # a piece of a message that goes on
SAID = 2  # a message of the application
BEAT, ANSWER = 3, 4
ASIDE = 5  # neither: what comes along with a beat or an answer
LONE = 6  # a beat of a protocol with answers that asks for none
# Last words of the application, in the order of BYE: it is done; something is wrong; the other side was silent for too
# long; somebody ordered it (a shutdown, an administrator)
GOODBYE, FAILED, IDLED, ORDERED = 7, 8, 9, 10
BROKEN = -1  # this is not the protocol, or framing is lost

# What a heartbeat is told by stands in a message's first bytes; the longest are an IRC line with tags and a prefix.
HEAD = 96

# A text protocol's empty message counts if nothing came in this direction just before: some end what they say with an
# empty line. What one program writes at once arrives within a few milliseconds.
QUIET_NS = 100_000_000

# Beats that wait to see whether the protocol is what it seems to be; more are not noted before that.
MAX_UNPROVEN = 64

FRAMED, LOST = 0, 1

STREAM = np.dtype(
    [
        ("state", I1),
        ("want", I8),  # bytes that `take` asks for, 0 = up to and with the byte `until`
        ("until", I1),
        ("head_len", I8), ("head", np.uint8, (HEAD + 8,)),  # of the piece being read; what is past it is 0
        ("length", I8),  # of it, also what is past the head
        ("before", I1),  # the byte before its last one
        ("number", I8),  # its last word, if that is a decimal number, else -1
        ("size", I8),  # of the message so far
        ("left", I8),  # bytes to step over before the next piece
        ("beating", I1),  # they belong to a beat
        ("quiet", I8),  # silence of this direction before the message
        ("begun", I8), ("ts", I8),  # its first byte; the last one of this direction
        ("proof", I1),  # this side said what only a side of this protocol says
        ("asked", I8), ("answered", I8),  # beats sent, and of these answered
        ("phase", I1), ("many", I1), ("a", I8), ("b", I8), ("c", I8),  # as the protocol likes
    ],
    align=True,
)  # fmt: skip

CONNECTION = np.dtype(
    [
        ("channel", I8), ("next", I8),  # of the free list, -1 = the last
        ("kind", I1), ("proven", I1),
        ("unsure", I1),  # what was noted may be no heartbeat: wait for another one
        ("unproven", I8),  # beats noted before it was proven
        ("asker", I1),  # direction of the client, + 1
        ("app_ts", I8), ("max_app_gap", I8),  # as in APP
        ("patience_c", I4), ("patience_s", I4),  # as in APP
        ("bye_c", I1), ("bye_s", I1), ("bye_first", I1), ("bye_ts_c", I8), ("bye_ts_s", I8),  # as in APP
        ("a", I8), ("b", I8),
    ],
    align=True,
)  # fmt: skip

# A beat or an answer, as in `protocols.beats.CONTROL`, and the place of its connection
NOTED = np.dtype(
    [("flow_id", I8), ("ts", I8), ("frame", I8), ("index", I8), ("answers", I8), ("size", I8), ("place", I8),
     ("protocol", I1), ("dir", I1), ("answer", I1)],
    align=True,
)  # fmt: skip

COUNTERS = np.dtype([("n", I8), ("used", I8), ("free", I8)], align=True)
