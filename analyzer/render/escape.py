"""Text from the wire, made harmless: names, headers and reasons are chosen by whoever sent the packets.

What is escaped: C0 and C1 control characters (terminal sequences), DEL, line and paragraph separators (they break
line-based formats), and the marks that reorder text on screen (CVE-2021-42574). All else stays, in any script.
"""

from __future__ import annotations

import json

CODES = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_NAMED = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
_VISIBLE = {code: _NAMED.get(code, f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}") for code in CODES}
_JSON = {code: f"\\u{code:04x}" for code in CODES if code >= 0x7F}

# The same characters as a class of a regular expression, for Arrow's RE2.
UNSAFE_CLASS = r"\x00-\x1f\x7f-\x{9f}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}"

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so as a formula (OWASP, CSV injection)."""


def visible(text: str) -> str:
    r"""Return `text` on one line with nothing a terminal would obey: controls become \n, \x1b, \u202e."""
    return text.translate(_VISIBLE)


def json_text(text: str) -> str:
    r"""Return `text` as a JSON string; what `visible` would escape is written as \u...., and reads back the same."""
    return json.dumps(text, ensure_ascii=False).translate(_JSON)


def csv_text(text: str) -> str:
    """Return `text` as a CSV cell (RFC 4180): visible, never a formula, quoted if it needs to be.

    The empty text is written as "" and a missing one as nothing, so that they can be told apart.
    """
    shown = ("'" if text.startswith(FORMULA_STARTS) else "") + visible(text)
    if shown and not any(char in shown for char in ',"') and shown == shown.strip():
        return shown
    return '"' + shown.replace('"', '""') + '"'
