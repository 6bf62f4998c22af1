"""Words for people, on stderr: errors with hints, notices, and a progress line. stdout is left to data."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType

from analyzer.render.escape import visible

PROGRESS_MIN_BYTES = 64 << 20
"""Smaller input is analysed in a second or so, before a progress line could be read."""

PROGRESS_EVERY_S = 0.1


def print_error(message: str, hint: str) -> None:
    """Print an error and what to try."""
    say(f"error: {message}")
    if hint:
        sys.stderr.write(f"\nhint: {visible(hint)}\n")


def say(line: str) -> None:
    """Print one line. It may hold names of files, so nothing in it reaches the terminal as a command."""
    sys.stdout.flush()
    sys.stderr.write(visible(line) + "\n")


def shows_colour() -> bool:
    """Return whether stdout is a terminal that may be sent colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def abandon_stdout() -> None:
    """Point stdout at nothing after its reader has gone, so that Python's last flush does not complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file: nothing will complain
        return


class Progress:
    """A progress line on stderr, only where there is a terminal and enough to read. Leaving the context erases it.

    Call it with (bytes read, bytes in all; 0 or None = not known).
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._started = time.monotonic()
        self._next = 0.0
        self._width = 0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if not self._terminal or not total or total < PROGRESS_MIN_BYTES or now < self._next:
            return
        self._next = now + PROGRESS_EVERY_S
        share = min(1.0, done / total)
        cells = 30
        bar = "#" * int(share * cells)
        self._show(f"[{bar:<{cells}}] {share:4.0%} of {total / 1e6:,.0f} MB, {now - self._started:.0f} s")

    def notice(self, line: str) -> None:
        """Print one line above the progress."""
        self._show("")
        say(line)

    def _show(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]
        if self._terminal and (line or self._width):
            sys.stderr.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
            sys.stderr.flush()
        self._width = len(line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._show("")
