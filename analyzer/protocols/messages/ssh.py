"""SSH: who speaks it. Its beats are encrypted, and inferred from size and timing.

Source  RFC 4253 section 4.2 (protocol version exchange); ssh_config(5), ServerAliveInterval
Sees    the line with which each side says its version, and nothing after it.
Limits  A server that says other lines before its version (RFC 4253 allows it) is not recognised.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, number
from analyzer.protocols.messages.state import BROKEN, SAID

_NAME = coded(b"SSH-")
_ALL = 1 << 60  # the rest of the connection


@routine
def looks_like_ssh(first: U8, at: int, n: int) -> int:
    """Answer YES for the beginning of a version."""
    return begins(first, at, n, _NAME, 4)


@routine
def take_ssh(s: Records) -> int:
    """Step over all that follows the version."""
    if number(s.head, 0, 4) != _NAME:
        return BROKEN
    s.proof, s.left = 1, _ALL
    return SAID
