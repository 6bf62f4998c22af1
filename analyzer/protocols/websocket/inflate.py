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
        self._inflate(piece)

    def _inflate(self, piece: bytes, out: bytes = b"") -> None:
        """Inflate `piece`, and what may be left of one whose first step gave `out`."""
        while piece or len(out) == _STEP:  # a full step: more of it may be waiting
            out = self._opened().decompress(piece, _STEP)
            piece, out = self._after(out)

    def _opened(self) -> Any:
        if self.engine is None:
            self.engine = zlib.decompressobj(-self.agreed.bits)
        return self.engine

    def _after(self, out: bytes) -> tuple[bytes, bytes]:
        """Note what came out of a step; return what has still to be inflated, and `out` if its stream goes on."""
        self._note(out)
        if not self.engine.eof:
            return self.engine.unconsumed_tail, out
        rest, self.engine = self.engine.unused_data, None
        return (b"" if rest == TAIL else rest), b""  # TAIL: nothing followed the last block

    def end(self, piece: bytes = b"", *, text: bool) -> tuple[int, bytes, bool]:
        """End the message, with a last piece: return its length, its first bytes, and if text whether it is UTF-8."""
        self.text = text
        self.taken += len(piece)
        if piece and self.length == 0 and not self.rest:  # it begins here, too: most do
            engine = self._opened()
            out = engine.decompress(piece + TAIL, _STEP)
            if len(out) < _STEP and not engine.eof and out.isascii() and self.made + len(out) <= FREE_BYTES:
                self.made += len(out)
                if not self.agreed.takeover:
                    self.engine = None
                return len(out), out[:HEAD_MAX], True
            self._inflate(*self._after(out))
        elif piece or self.engine is not None:
            self._inflate(piece + TAIL)
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
