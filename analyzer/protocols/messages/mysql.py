"""MySQL: COM_PING, answered by OK.

Source  MySQL source documentation, "Client/Server Protocol": packets, connection phase, COM_PING.
Sees    length and sequence number of each packet, and its first bytes. A sequence that does not go on ends the reading.
Limits  A connection that compresses (CLIENT_COMPRESS) is not read.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import coded, number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, MORE, SAID
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 4
_PROTOCOL_10, _COM_PING = 10, 14
_PING = coded(b"\1\0\0\0\x0e")
_OK = coded(b"\x07\0\0\1\0\0\0")
_COMPRESS = 0x20
_SHORTEST_ANSWER = 32  # of the client to the greeting: capabilities, packet size, character set, filler

# CONNECTION.a  next sequence number    CONNECTION.b  where the conversation is:
NOTHING, GREETED, LOGGING_IN, COMMANDS, PINGED = 0, 1, 2, 3, 4


@routine
def looks_like_mysql(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for the server's greeting; in mid-stream for a ping or its answer that stand alone, too."""
    if midstream and n == 5 and number(first, at, 5) == _PING:
        return YES
    if midstream and n == 11 and number(first, at, 7) == _OK:
        return YES
    if (n > 1 and first[at + 1] > 1) or (n > 2 and first[at + 2] != 0) or (n > 3 and first[at + 3] != 0):
        return NO
    if n > 4 and first[at + 4] != _PROTOCOL_10:
        return NO
    if n < 9:
        return MORE_BYTES
    dots = 0
    for k in range(5, 9):  # a version: 5.7.1, 10.11.2-MariaDB
        b = first[at + k]
        dots += 1 if b == 46 else 0
        if not (48 <= b <= 57 or (b == 46 and k > 5)):
            return NO
    return YES if dots > 0 and number(first, at, 1) + 256 * int(first[at + 1]) >= _SHORTEST_ANSWER else NO


@routine
def _take_client(s: Records, p: Records, length: int, sequence: int) -> int:
    if p.b == GREETED:
        if sequence != 1 or length < _SHORTEST_ANSWER or int(s.head[4]) & _COMPRESS:
            return BROKEN
        s.proof, p.b = 1, LOGGING_IN
        return SAID
    if sequence > 0:
        return SAID
    p.b = COMMANDS
    if length == 1 and s.head[4] == _COM_PING:
        s.proof, p.b = 1, PINGED
        return BEAT
    return SAID


@routine
def _take_server(s: Records, p: Records, length: int, sequence: int) -> int:
    if p.b == NOTHING:
        if sequence != 0 or s.head[4] != _PROTOCOL_10:
            return BROKEN
        s.proof, p.b = 1, GREETED
        return SAID
    if p.b != PINGED:
        return SAID
    p.b = COMMANDS
    if sequence != 1 or s.head[4] not in (0, 255):  # OK, or an error
        return BROKEN
    s.proof = 1
    return ANSWER


@routine
def take_mysql(s: Records, p: Records, direction: int) -> int:
    """Length (three bytes, the lowest first), sequence number, payload."""
    length, sequence = int(s.head[0]) + 256 * int(s.head[1]) + 65536 * int(s.head[2]), int(s.head[3])
    if s.head_len == WANT:
        if p.asker == 0:  # the greeting is the server's; joined in mid-stream, a ping is the client's
            p.asker = 2 - direction if length > 1 and sequence == 0 else direction + 1
            if length == 7 and sequence == 1:  # the answer to a ping that was not seen
                p.asker, p.b, p.a = 2 - direction, PINGED, 1
        starts = sequence == 0 and (p.asker == direction + 1) == (p.b >= LOGGING_IN or length == 1)
        if sequence != p.a and not starts:
            return BROKEN
        p.a = (sequence + 1) & 255
        if length == 0:
            return SAID
        s.want = 5
        return MORE
    s.want, s.left = WANT, length - 1
    return _take_client(s, p, length, sequence) if p.asker == direction + 1 else _take_server(s, p, length, sequence)
