"""MySQL and MariaDB: COM_PING, answered by OK; queries that ask for nothing: SELECT 1, answered by what it selects.

What a replica hears from its primary while there is nothing to replicate; COM_QUIT, and the error that a server says by
itself before it closes.

Source  MySQL source documentation, "Client/Server Protocol": packets, connection phase, COM_PING, COM_QUERY, COM_QUIT,
        COM_BINLOG_DUMP; "Binary Log Event": Heartbeat_event. MariaDB documentation, "Replication Protocol": semi-sync.
Sees    length and sequence number of each packet, its first bytes, short queries, the header of a binary log's events.
        A sequence that does not go on ends the reading.
Limits  A connection that compresses (CLIENT_COMPRESS) is not read. An application may mean a SELECT 1; nothing tells
        it from a heartbeat. Prepared statements are not looked into. A replica joined in mid-stream says nothing that
        tells the protocol.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import coded, number
from analyzer.protocols.messages.queries import asks_nothing
from analyzer.protocols.messages.state import (
    ANSWER,
    ASIDE,
    BEAT,
    BROKEN,
    FAILED,
    GOODBYE,
    IDLED,
    LONE,
    MORE,
    ORDERED,
    SAID,
)
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 4
_PROTOCOL_10, _COM_QUIT, _COM_QUERY, _COM_PING, _ERROR = 10, 1, 3, 14, 255
_INACTIVE, _ORDERS = 4031, (1053, 1927, 3169)  # errors: wait_timeout; shutdown, killed (MariaDB's, MySQL's)
_COM_BINLOG_DUMPS = (18, 30)  # by file and position, by GTID
_SEMI_SYNC = 0xEF  # the first byte of an acknowledgement, and of two that tell whether an event wants one
_HEARTBEATS = (27, 41)  # of a binary log's events; their time is 0
_EVENT = 12  # a packet's header, OK, what semi-sync adds, time and type of an event
_PING = coded(b"\1\0\0\0\x0e")
_OK = coded(b"\x07\0\0\1\0\0\0")
_COMPRESS = 0x20
_SHORT = 16  # a COM_QUERY that may be a heartbeat: the command, two bytes of attributes, the query
_SHORTEST_ANSWER = 32  # of the client to the greeting: capabilities, packet size, character set, filler

# CONNECTION.a  next sequence number    CONNECTION.b  where the conversation is:
NOTHING, GREETED, LOGGING_IN, COMMANDS, PINGED, SELECTED, TELLING, REPLICATING = range(8)


@routine
def _query_at(b: U8, at: int, end: int) -> int:
    """Return where the text of a COM_QUERY begins: behind the command, and with CLIENT_QUERY_ATTRIBUTES their count."""
    return at + 3 if end - at > 2 and b[at + 1] == 0 and b[at + 2] == 1 else at + 1


@routine
def looks_like_mysql(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for the server's greeting; in mid-stream for a beat, or a ping's answer, that stands alone, too."""
    if midstream and n == 5 and number(first, at, 5) == _PING:
        return YES
    if midstream and n == 11 and number(first, at, 7) == _OK:
        return YES
    if midstream and 13 <= n <= 4 + _SHORT and number(first, at, 5) == ((n - 4) << 32) + _COM_QUERY:
        return YES if asks_nothing(first, _query_at(first, at + 4, at + n), at + n) else NO
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
    if sequence > 0 or (p.b == REPLICATING and s.head[4] == _SEMI_SYNC):
        return SAID
    p.b = REPLICATING if s.head[4] in _COM_BINLOG_DUMPS else COMMANDS
    if length == 1 and s.head[4] == _COM_PING:
        s.proof, p.b, p.unsure = 1, PINGED, 0
        return BEAT
    if length == 1 and s.head[4] == _COM_QUIT:
        return GOODBYE
    short = s.head[4] == _COM_QUERY and length <= _SHORT
    if short and asks_nothing(s.head, _query_at(s.head, 4, 4 + length), 4 + length):
        s.proof, p.b = 1, SELECTED
        p.unsure = 1 if s.asked == 0 else 0  # one SELECT 1 is a query, two are a habit
        return BEAT
    return SAID


@routine
def _take_event(s: Records, p: Records) -> int:
    """An event of the binary log; anything but OK ends them."""
    if s.head[4] != 0:
        p.b = COMMANDS
        return SAID
    at = 7 if s.head[5] == _SEMI_SYNC else 5
    return LONE if number(s.head, at, 4) == 0 and s.head[at + 4] in _HEARTBEATS else SAID


@routine
def _take_server(s: Records, p: Records, length: int, sequence: int) -> int:
    if p.b == NOTHING:
        if sequence != 0 or s.head[4] != _PROTOCOL_10:
            return BROKEN
        s.proof, p.b = 1, GREETED
        return SAID
    if sequence == 0 and s.head[4] == _ERROR:  # nobody asked
        why = int(s.head[5]) + 256 * int(s.head[6])
        return IDLED if why == _INACTIVE else ORDERED if why in _ORDERS else FAILED
    if p.b == REPLICATING:
        return _take_event(s, p)
    if p.b == TELLING:
        return ASIDE
    if p.b not in (PINGED, SELECTED):
        return SAID
    ok = 0 if p.b == PINGED else 1  # the byte that says OK, or how many columns come
    if sequence != 1 or s.head[4] not in (ok, _ERROR):
        return BROKEN
    s.proof, p.b = 1, COMMANDS if p.b == PINGED else TELLING
    return ANSWER


@routine
def take_mysql(s: Records, p: Records, direction: int) -> int:
    """Length (three bytes, the lowest first), sequence number, payload."""
    length, sequence = int(s.head[0]) + 256 * int(s.head[1]) + 65536 * int(s.head[2]), int(s.head[3])
    if s.head_len == WANT and length > 0:
        s.want = 5
        return MORE
    command = int(s.head[4])
    if s.head_len <= 5:
        if p.asker == 0:  # the greeting is the server's; joined in mid-stream, a command is the client's
            p.asker = 2 - direction if command == _PROTOCOL_10 and sequence == 0 else direction + 1
            if length == 7 and sequence == 1:  # the answer to a ping that was not seen
                p.asker, p.b, p.a = 2 - direction, PINGED, 1
        starts = sequence == 0 and (p.asker == direction + 1) == (p.b != NOTHING or command != _PROTOCOL_10)
        starts = starts or (sequence == 0 and command == _ERROR and p.b >= COMMANDS)
        if sequence != p.a and not starts and p.b != REPLICATING:  # there each side counts by itself
            return BROKEN
        p.a = (sequence + 1) & 255
    from_client = p.asker == direction + 1
    if length == 0:
        return SAID
    asks = from_client and command == _COM_QUERY and sequence == 0 and length <= _SHORT
    tells = not from_client and (p.b == REPLICATING or (command == _ERROR and sequence == 0))
    needed = 4 + length if asks else min(4 + length, _EVENT) if tells else 0
    if s.head_len < needed:
        s.want = needed
        return MORE
    s.want, s.left = WANT, 4 + length - s.head_len
    return _take_client(s, p, length, sequence) if from_client else _take_server(s, p, length, sequence)
