"""IRC: PING and PONG, which both sides send.

Source  RFC 2812 sections 2.3 (messages), 3.7.2, 3.7.3; IRCv3 message tags and capability negotiation.
Sees    the first bytes of each line: tags, prefix, command.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, letters, number
from analyzer.protocols.messages.state import ANSWER, ASIDE, BEAT, BROKEN, SAID
from analyzer.protocols.verdict import MORE, NO, YES

_PING, _PONG = coded(b"PING"), coded(b"PONG")
_NICK, _CAP, _PING_TO, _PONG_TO = coded(b"NICK "), coded(b"CAP "), coded(b"PING :"), coded(b"PONG ")
_CAP_WORDS = (coded(b"LS"), coded(b"RE"), coded(b"EN"), coded(b"LI"))
_OPENINGS = (
    coded(b"NICK"), coded(b"USER"), coded(b"CAP "), coded(b"PASS"), _PING, _PONG, coded(b"NOTI"), coded(b"ERRO"),
)  # fmt: skip


@routine
def looks_like_irc(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a client that names itself or asks for capabilities; in mid-stream for PING and PONG, too."""
    if midstream and (begins(first, at, n, _PING_TO, 6) == YES or begins(first, at, n, _PONG_TO, 5) == YES):
        return YES
    if n >= 6 and number(first, at, 4) == _CAP:
        return YES if number(first, at + 4, 2) in _CAP_WORDS else NO
    if n < 6 and begins(first, at, n, _CAP, 4) != NO:
        return MORE
    return begins(first, at, n, _NICK, 5)


@routine
def _after_word(s: Records, at: int) -> int:
    """Return where the next word begins, or the end of what is kept."""
    while at < s.head_len and s.head[at] != 32:
        at += 1
    while at < s.head_len and s.head[at] == 32:
        at += 1
    return at


@routine
def take_irc(s: Records) -> int:
    """[@tags] [:prefix] command parameters."""
    at = 0
    if s.head[0] == 64:
        at = _after_word(s, 0)
    named = at < s.head_len and s.head[at] == 58
    if named:
        at = _after_word(s, at)
    if at >= s.head_len:  # the tags fill what is kept
        return SAID
    end = at
    while end < s.head_len and s.head[end] > 32:
        one = s.head[end]
        figure = 48 <= one <= 57
        if not (65 <= one <= 90 or 97 <= one <= 122 or (figure and named)):
            return BROKEN
        end += 1
    if end == at:  # an empty line
        return ASIDE if at == 0 else BROKEN
    if end < s.head_len and s.head[end] not in (32, 13, 10):
        return BROKEN
    word = letters(s.head, at, min(4, s.head_len - at))
    if word in _OPENINGS or (named and 48 <= s.head[at] <= 57 and end - at == 3):
        s.proof = 1
    if end - at == 4 and word == _PING:
        return BEAT
    return ANSWER if end - at == 4 and word == _PONG else SAID
