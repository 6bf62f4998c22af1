"""Is it TLS? Answered from the first bytes of a direction, or of a segment.

Source  RFC 8446 sections 4, 4.1.2, 5.1; RFC 5246 appendix E.2 for the ClientHello in SSL 2.0's clothes.
"""

from __future__ import annotations

from analyzer.kernel import U8, helper, routine
from analyzer.protocols.tls.state import ALERT, CCS, DATA, HANDSHAKE, HEARTBEAT, MAX_LENGTH
from analyzer.protocols.verdict import MORE, NO, YES


@helper
def is_header(b: U8, at: int) -> bool:
    """True if five bytes can be a record header. One in 13 million random ones can."""
    if b[at] < CCS or b[at] > HEARTBEAT or b[at + 1] != 3 or b[at + 2] > 4:
        return False
    length = int(b[at + 3]) * 256 + int(b[at + 4])
    return length <= MAX_LENGTH and (length > 0 or b[at] == DATA)


@routine
def is_old_hello(b: U8, at: int, n: int) -> bool:
    """True if `n` >= 5 bytes begin a ClientHello of SSL 2.0 (RFC 5246 appendix E.2)."""
    if b[at] & 0x80 == 0 or b[at + 2] != 1:
        return False
    if not ((b[at + 3] == 3 and b[at + 4] <= 4) or (b[at + 3] == 0 and b[at + 4] == 2)):
        return False
    length = (int(b[at]) & 0x7F) * 256 + int(b[at + 1])
    if length < 9 + 3 + 16 or length > 4096:
        return False
    if n < 11:
        return True
    suites = int(b[at + 5]) * 256 + int(b[at + 6])
    session = int(b[at + 7]) * 256 + int(b[at + 8])
    challenge = int(b[at + 9]) * 256 + int(b[at + 10])
    fits = suites > 0 and suites % 3 == 0 and session in (0, 16) and 16 <= challenge <= 32
    return fits and length == 9 + suites + session + challenge


@routine
def is_client_hello(b: U8, at: int, n: int) -> bool:
    """True if `n` bytes begin a ClientHello: what ends plain text where a protocol turns to TLS in mid-connection."""
    if n < 11:
        return False
    if b[at] != HANDSHAKE:
        return is_old_hello(b, at, n)
    if b[at + 1] != 3 or b[at + 2] > 4 or b[at + 5] != 1 or b[at + 9] != 3 or b[at + 10] > 4:
        return False
    record = int(b[at + 3]) * 256 + int(b[at + 4])
    message = int(b[at + 6]) * 65536 + int(b[at + 7]) * 256 + int(b[at + 8])
    return 4 < record <= MAX_LENGTH and 41 <= message < 1 << 17


@routine
def looks_like_tls(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer from `n` bytes at `first[at]`; in mid-stream any record will do, at the start only what opens one."""
    if n == 0:
        return MORE
    if first[at] & 0x80:
        if n < 11:
            plain = (n < 3 or first[at + 2] == 1) and (n < 4 or first[at + 3] in (0, 3)) and first[at] < 0x90
            return MORE if plain and (n < 5 or is_old_hello(first, at, n)) else NO
        return YES if is_old_hello(first, at, n) else NO
    if first[at] < CCS or first[at] > HEARTBEAT:
        return NO
    if (n > 1 and first[at + 1] != 3) or (n > 2 and first[at + 2] > 4):
        return NO
    if n < 6:
        return MORE
    if not is_header(first, at):
        return NO
    if midstream:
        return YES
    length = int(first[at + 3]) * 256 + int(first[at + 4])
    kind = first[at + 5]
    if first[at] == HANDSHAKE:  # HelloRequest, ClientHello, ServerHello, HelloRetryRequest of early drafts
        return YES if kind <= 2 or kind == 6 else NO  # a first record may be shorter than a message's header
    return YES if first[at] == ALERT and length == 2 and 1 <= kind <= 2 else NO
