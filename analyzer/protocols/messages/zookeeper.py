"""ZooKeeper: pings, told by their transaction id -2, and closeSession.

Source  Apache ZooKeeper, org.apache.zookeeper.ClientCnxn (xid -2) and ZooDefs.OpCode (ping 11,
        closeSession -11); ConnectRequest and ConnectResponse of zookeeper.jute.
Sees    length and transaction id of each packet, and the type of the shortest.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, GOODBYE, MORE, SAID
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 8
_PING_XID, _PING, _CLOSE_SESSION = 0xFFFFFFFE, 11, 0xFFFFFFF5
_PING_LENGTH, _REPLY_LENGTH = 8, 16
_CONNECTS = (44, 45)  # with and without the byte that says read-only
_CONNECTED = (36, 37)
_MOST = 1 << 26
_LONGEST_TIMEOUT_MS = 86_400_000

# STREAM.a  the first packet has passed


@routine
def looks_like_zookeeper(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a ConnectRequest; in mid-stream for a ping or its answer that stand alone, too."""
    if midstream and n >= 12 and number(first, at + 4, 4) == _PING_XID:
        length = number(first, at, 4)
        if length + 4 == n and (length == _REPLY_LENGTH or (length == _PING_LENGTH and first[at + 11] == _PING)):
            return YES
    for k in range(min(n, 3)):
        if first[at + k] != 0:
            return NO
    if n > 3 and first[at + 3] not in _CONNECTS:
        return NO
    for k in range(4, min(n, 8)):
        if first[at + k] != 0:  # protocol version
            return NO
    if n < 20:
        return MORE_BYTES
    return YES if 0 < number(first, at + 16, 4) <= _LONGEST_TIMEOUT_MS else NO


@routine
def take_zookeeper(s: Records, p: Records, direction: int) -> int:
    """Length and transaction id; of a ping also the type."""
    length, xid = number(s.head, 0, 4), number(s.head, 4, 4)
    if length < 8 or length > _MOST:
        return BROKEN
    if s.a == 0 and xid == 0 and (length in _CONNECTS or length in _CONNECTED):
        s.a, s.proof, s.left = 1, 1, length - 4
        p.asker = direction + 1 if length in _CONNECTS else 2 - direction
        return SAID
    s.a = 1
    if xid != _PING_XID:
        if length == _PING_LENGTH and p.asker == direction + 1:  # a request of no more than its header
            if s.head_len < 12:
                s.want = 12
                return MORE
            s.want = WANT
            return GOODBYE if number(s.head, 8, 4) == _CLOSE_SESSION else SAID
        s.left = length - 4
        return SAID
    if p.asker == 0:
        p.asker = direction + 1 if length == _PING_LENGTH else 2 - direction
    if p.asker != direction + 1:
        s.proof, s.left = 1, length - 4
        return ANSWER
    if length != _PING_LENGTH:
        return BROKEN
    if s.head_len < 12:
        s.want = 12
        return MORE
    s.want = WANT
    if number(s.head, 8, 4) != _PING:
        return BROKEN
    s.proof = 1
    return BEAT
