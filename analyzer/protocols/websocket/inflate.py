"""Compressed messages of one direction: their length, their first bytes, whether they are UTF-8. Nothing else is kept.

Source  RFC 7692 section 7.2.2: four bytes are appended to each message; the window is kept unless agreed otherwise.
Limits  A message that refers to a window from before a block with BFINAL (section 7.2.3.5) is not inflated.
"""

from __future__ import annotations

import zlib
from typing import Any

from analyzer.protocols.websocket.handshake import Deflate
from analyzer.protocols.websocket.state import HEAD_MAX

TAIL = b"\x00\x00\xff\xff"

# What a direction may inflate to: this much, and so many times what it sent. Text seldom shrinks to a hundredth, even
# with the window kept; a bomb of zeros shrinks to a thousandth.
FREE_BYTES = 4 << 20
RATIO = 200
_STEP = 64 << 10  # bytes inflated at a time


class BombError(Exception):
    """More came out than a direction may inflate."""


class Inflater:
    """The inflating end of one direction. `take` the pieces of a message, then `end` it."""

    __slots__ = ("agreed", "engine", "head", "length", "made", "rest", "taken", "text", "valid")

    def __init__(self, agreed: Deflate) -> None:
        self.agreed = agreed
        self.engine: Any = None
        self.taken = self.made = 0
        self._begin()

    def _begin(self) -> None:
        self.length, self.head, self.rest = 0, b"", b""
        self.text, self.valid = False, True

    def take(self, piece: bytes, *, text: bool) -> None:
        """Inflate a piece of the message; zlib.error if it is no DEFLATE, BombError if it is too much of it."""
        self.text = text
        self.taken += len(piece)
        out = b""
        while piece or len(out) == _STEP:  # a full step: more of it may be waiting
            if self.engine is None:
                self.engine = zlib.decompressobj(-self.agreed.bits)
            out = self.engine.decompress(piece, _STEP)
            self._note(out)
            if self.engine.eof:
                piece, self.engine, out = self.engine.unused_data, None, b""
            else:
                piece = self.engine.unconsumed_tail

    def end(self) -> tuple[int, bytes, bool]:
        """End the message: return its length, its first bytes, and whether it is UTF-8 (only asked of text)."""
        if self.engine is not None:
            self.take(TAIL, text=self.text)
        told = self.length, self.head, self.valid and not self.rest
        if not self.agreed.takeover:
            self.engine = None
        self._begin()
        return told

    def drop(self) -> None:
        """The message will never end: only without a window to keep can the next one be inflated."""
        self.engine = None
        self._begin()

    def _note(self, out: bytes) -> None:
        self.length += len(out)
        self.made += len(out)
        if self.made > FREE_BYTES + RATIO * self.taken:
            raise BombError
        if len(self.head) < HEAD_MAX:
            self.head += out[: HEAD_MAX - len(self.head)]
        if self.text and self.valid and (self.rest or not out.isascii()):
            text = self.rest + out
            self.rest = b""
            try:
                text.decode()
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data":
                    self.rest = text[error.start :]
                else:
                    self.valid = False
