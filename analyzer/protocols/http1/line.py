"""Lines out of spans, and what stands in them. A line cut by a segment's end is kept until the rest comes.

Source  RFC 9112 section 2.2: a line ends with CRLF; a recipient may take a bare LF for one.
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, routine

MOST_LENGTH = 1 << 58  # bytes; times sixteen it still fits into 64 bits (RFC 9110 section 8.6: mind the overflow)

# Longest line of which all is kept: RFC 9110 section 4.1 asks for request lines of at least 8000 bytes to work.
LINE_MAX = 8192
# Lines that may be cut at once, 32 MiB (not touched until used). A head that comes in pieces is rare and short-lived;
# only an attack keeps thousands of them waiting, and then the newest lose their beginning (`http.line_cap`). What waits
# for the answer to an upgrade stands here, too.
CARRY_SLOTS = 4096

CR, LF, SPACE, TAB, COMMA, COLON, SEMICOLON, EQUALS, QUOTE, SLASH = 13, 10, 32, 9, 44, 58, 59, 61, 34, 47


@helper
def take_slot(m: Records, carry_free: I32) -> int:
    """Return a free slot + 1, 0 if there is none."""
    if m.free_carry > 0:
        m.free_carry -= 1
        return int(carry_free[m.free_carry]) + 1
    if m.n_carry < CARRY_SLOTS:
        m.n_carry += 1
        return int(m.n_carry)
    return 0


@helper
def give_slot(slot: int, m: Records, carry_free: I32) -> None:
    """Take a slot + 1 back."""
    carry_free[m.free_carry] = slot - 1
    m.free_carry += 1


@routine
def drop_carry(s: Records, m: Records, carry_free: I32) -> None:
    """Give the kept part of a line back."""
    if s.carry > 0:
        give_slot(s.carry, m, carry_free)
        s.carry = 0
    s.carry_len, s.line_long, s.line_lost = 0, 0, 0


@routine
def _keep(source: U8, at: int, end: int, s: Records, m: Records, carry: U8, carry_free: I32) -> None:
    """Keep the beginning of a line that is not whole yet."""
    if s.carry == 0:
        s.carry = take_slot(m, carry_free)
        if s.carry == 0:
            s.line_lost = 1
            return
    room = LINE_MAX - s.carry_len
    n = end - at
    if n > room:
        n = room
        s.line_long = 1
    start = (s.carry - 1) * LINE_MAX + s.carry_len
    for k in range(n):
        carry[start + k] = source[at + k]
    s.carry_len += n


@helper
def line_end(source: U8, at: int, end: int) -> int:
    """Return where the first LF is, `end` if there is none."""
    rest = source[at:end]  # of a slice the compiler knows that no index is negative
    for k in range(end - at):
        if rest[k] == LF:
            return at + k
    return end


@helper
def take_line(
    source: U8, at: int, end: int, span: Records, s: Records, m: Records, carry: U8, carry_free: I32
) -> bool:  # fmt: skip
    """Read to the end of a line; False if the span ends first (then its bytes are kept, or counted as too long).

    The line is [m.line_start, m.line_end) of `carry` if m.line_kept, else of `source`; m.line_after is what follows it.
    """
    stop = line_end(source, at, end)
    if s.carry_len == 0 and s.line_lost == 0:
        s.line_ts, s.line_frame = span.ts_ns, span.frame
        s.line_offset = span.offset + (at - span.at)
    if stop == end:
        if s.line_lost == 0:
            _keep(source, at, end, s, m, carry, carry_free)
        m.line_after = end
        return False
    m.line_after = stop + 1
    m.line_start, m.line_end, m.line_kept = at, stop, 0
    cr = stop > at and source[stop - 1] == CR
    if s.carry_len > 0:
        last = (s.carry - 1) * LINE_MAX + s.carry_len - 1
        if stop == at:
            cr = carry[last] == CR
        _keep(source, at, stop, s, m, carry, carry_free)
        m.line_start = (s.carry - 1) * LINE_MAX
        m.line_end = m.line_start + s.carry_len
        m.line_kept = 1
    elif stop - at > LINE_MAX:
        m.line_end = at + LINE_MAX
        s.line_long = 1
    if cr and s.line_long == 0:
        m.line_end -= 1
    m.line_cr = 1 if cr else 0
    return True


# ------------------------------------------------------------------------------------------------ inside a line
_HASH_MASK, _LENGTH_AT = (1 << 48) - 1, 48


def hash_of(word: bytes) -> int:
    """Return the hash of a lower-case word, as `lower_hash` makes it; its length is in it."""
    h = 0
    for b in word:
        h = ((h * 131) ^ b) & _HASH_MASK
    return h ^ len(word) << _LENGTH_AT


@routine
def lower_hash(line: U8, start: int, end: int) -> int:
    """Return a hash of [start, end) without regard to case: names are compared by it.

    A name made to collide only deceives about its own sender, who could as well have written the name itself.
    """
    h, word = 0, line[start:end]
    for k in range(end - start):
        b = int(word[k])
        if 65 <= b <= 90:
            b += 32
        h = ((h * 131) ^ b) & _HASH_MASK
    return h ^ (end - start) << _LENGTH_AT


@helper
def skip_blank(line: U8, at: int, end: int) -> int:
    """Return the first position that is no space or tab."""
    while at < end and (line[at] == SPACE or line[at] == TAB):
        at += 1
    return at


@helper
def trim_blank(line: U8, start: int, end: int) -> int:
    """Return where trailing spaces and tabs begin."""
    while end > start and (line[end - 1] == SPACE or line[end - 1] == TAB):
        end -= 1
    return end


_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TCHAR_LOW = sum(1 << b for b in _TCHAR if b < 64)  # a bit for each
_TCHAR_HIGH = sum(1 << b - 64 for b in _TCHAR if b >= 64)


@helper
def _is_tchar(b: int) -> bool:
    """RFC 9110 section 5.6.2."""
    return b < 128 and ((_TCHAR_HIGH if b >= 64 else _TCHAR_LOW) >> (b & 63)) & 1 == 1


@routine
def is_token(line: U8, start: int, end: int) -> bool:
    """RFC 9110 section 5.6.2: one or more tchar."""
    for k in range(start, end):
        if not _is_tchar(int(line[k])):
            return False
    return end > start


@helper
def take_name(line: U8, start: int, end: int, s: Records) -> int:
    """Return where the colon behind a field name is, -1 if there is no name; note the name's `lower_hash`."""
    h, word = 0, line[start:end]
    for k in range(end - start):
        b = int(word[k])
        if b == COLON:
            s.field = h ^ k << _LENGTH_AT
            return start + k if k > 0 else -1
        if not _is_tchar(b):
            return -1
        if 65 <= b <= 90:
            b += 32
        h = ((h * 131) ^ b) & _HASH_MASK
    return -1


@routine
def decimal(line: U8, start: int, end: int) -> int:
    """Return the value of 1*DIGIT, -1 if it is none or larger than any length can be."""
    value = 0
    for k in range(start, end):
        b = line[k]
        if b < 48 or b > 57:
            return -1
        value = value * 10 + (int(b) - 48)
        if value > MOST_LENGTH:
            return -1
    return value if end > start else -1


@routine
def hexadecimal(line: U8, start: int, end: int) -> int:
    """Return the value of 1*HEXDIG, -1 if it is none or larger than any length can be."""
    value = 0
    for k in range(start, end):
        b = int(line[k])
        if 48 <= b <= 57:
            digit = b - 48
        elif 97 <= b <= 102:
            digit = b - 87
        elif 65 <= b <= 70:
            digit = b - 55
        else:
            return -1
        value = value * 16 + digit
        if value > MOST_LENGTH:
            return -1
    return value if end > start else -1


@routine
def list_item_end(line: U8, at: int, end: int) -> int:
    """Return where the list item at `at` ends (a comma outside quotes, or the end)."""
    quoted = False
    while at < end and (quoted or line[at] != COMMA):
        if line[at] == QUOTE:
            quoted = not quoted
        at += 1
    return at
