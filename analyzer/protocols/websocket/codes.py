"""What the codes of close frames mean.

Source  RFC 6455 section 7.4.1; 1012 to 1014 are registered with IANA since, ranges are those of section 7.4.2.
"""

from __future__ import annotations

from analyzer.protocols.channel import NO_CODE

ABNORMAL = 1006
"""Stands for a connection that ended without a close frame; never on the wire."""

NAMES = {
    1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", NO_CODE: "no code",
    ABNORMAL: "abnormal closure", 1007: "invalid payload data", 1008: "policy violation", 1009: "message too big",
    1010: "extension missing", 1011: "internal error", 1012: "service restart", 1013: "try again later",
    1014: "bad gateway",
}  # fmt: skip


def named(code: int) -> str:
    """Return a code with its name: 1001 (going away); those of programs have none that all agree on."""
    private = {3: "a library's own", 4: "an application's own"}.get(code // 1000, "reserved")
    return f"{code} ({NAMES.get(code, private)})"
