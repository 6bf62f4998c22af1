"""FIX: TestRequests, the Heartbeats that answer them, and those that come by themselves; Logout.

Source  FIX 4.2 and later, FIXT 1.1: standard header and trailer, Heartbeat (35=0), TestRequest (35=1), TestReqID (112);
        Logout (35=5) is said by both sides.
Sees    the first three fields of each message, all fields of these two.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, decimal, digits_end, number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, GOODBYE, LONE, PART, SAID

UNTIL = 1  # SOH ends a field
_BEGIN, _BODY_LENGTH, _TYPE, _TEST_ID, _CHECKSUM = (
    coded(b"8=FIX"), coded(b"9="), coded(b"35="), coded(b"112="), coded(b"10=")
)  # fmt: skip
_TRAILER = 7  # 10=nnn and SOH
_MOST = 1 << 24

# STREAM.phase: the field that comes next
BEGIN, BODY_LENGTH, TYPE, FIELD, CHECKSUM = 0, 1, 2, 3, 4
# STREAM.a  bytes of the body still to come    STREAM.b  message type    STREAM.c  it has a TestReqID
_HEARTBEAT, _TEST_REQUEST, _LOGOUT = 48, 49, 53


@routine
def looks_like_fix(first: U8, at: int, n: int) -> int:
    """Answer YES for what every message begins with."""
    return begins(first, at, n, _BEGIN, 5)


@routine
def _take_type(s: Records) -> int:
    """35=, the third field: what the message is decides whether its fields are read."""
    s.a -= s.length
    if number(s.head, 0, 3) != _TYPE or s.a < 0 or s.head_len < 5:
        return BROKEN
    s.proof = 1
    s.b, s.c = s.head[3] if s.head_len == 5 else 0, 0
    if s.b in (_HEARTBEAT, _TEST_REQUEST) and s.a > 0:
        s.phase = FIELD
        return PART
    s.phase, s.left = BEGIN, s.a + _TRAILER
    return GOODBYE if s.b == _LOGOUT else SAID


@routine
def take_fix(s: Records) -> int:
    """A field, with the SOH that ends it."""
    if s.phase == BEGIN:
        s.phase = BODY_LENGTH
        return PART if s.head_len > 5 and number(s.head, 0, 5) == _BEGIN else BROKEN
    if s.phase == BODY_LENGTH:
        end = digits_end(s.head, 2, s.head_len)
        if number(s.head, 0, 2) != _BODY_LENGTH or end == 2 or end != s.head_len - 1:
            return BROKEN
        s.phase, s.a = TYPE, decimal(s.head, 2, end)
        return PART if 5 <= s.a <= _MOST else BROKEN
    if s.phase == TYPE:
        return _take_type(s)
    if s.phase == FIELD:
        s.a -= s.length
        if s.a < 0:
            return BROKEN
        if s.head_len > 5 and number(s.head, 0, 4) == _TEST_ID:
            s.c = 1
        if s.a == 0:
            s.phase = CHECKSUM
        return PART
    s.phase = BEGIN
    if s.length != _TRAILER or number(s.head, 0, 3) != _CHECKSUM:
        return BROKEN
    if s.b == _TEST_REQUEST:
        return BEAT
    return ANSWER if s.c else LONE
