"""Who is told what a running capture finds: a screen or lines, metrics, a summary in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from analyzer.cli import console
from analyzer.cli.guard import PIPE_CLOSED
from analyzer.cli.live_request import LiveRequest
from analyzer.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.render.live import Firm, Now, Screen
    from analyzer.render.live_metrics import Metrics
    from analyzer.render.summary import Summary

STATUS_EVERY_S = 60.0
INCOMPLETE = 1


@dataclass(frozen=True, slots=True)
class End:
    """How a capture ended: packets not recorded, rows not written, what the disk said last, did anything go wrong."""

    summary: Summary
    missed: int = 0
    lost: int = 0
    trouble: str = ""
    wrong: bool = False


class Audience(Protocol):
    """What a capture tells, and to whom: a `Teller`, or who passes it on to one in another process."""

    def closed(self, rows: pa.Table) -> None:
        """Take connections that closed (`Watch.fresh`)."""

    def beaten(self, rows: pa.Table) -> None:
        """Take rows of `heartbeats`."""

    def found(self, rows: pa.Table) -> None:
        """Take the findings as they are now."""

    def concluded(self, rows: pa.Table) -> None:
        """Take the findings as they are in the end."""

    def problem(self, text: str) -> None:
        """Take what went wrong and was survived."""

    def show(self, numbers: Now) -> None:
        """Take the numbers of this moment, about twice a second."""

    def about(self, summary: Summary, settings: Settings) -> dict[str, Any] | None:
        """Return what summary.json is to hold now, None if somebody else writes it."""


class Teller:
    """Tells people and programs. process  where several share a capture, the number of the one that says it."""

    def __init__(self, request: LiveRequest, version: str, stop: Callable[[], None]) -> None:
        """`stop` is called if nobody reads stdout any more."""
        from analyzer.render import live

        self._live, self._request, self._version, self._stop = live, request, version, stop
        self._metrics: Metrics | None = None
        self._server: Any = None
        self._screen: Screen | None = None
        self._firm: Firm = live.Firm()
        self._next_status = 0.0
        self._later: list[str] = []
        self._pipe_closed = False

    def open(self, metrics_at: tuple[str, int] | None, became: str) -> None:
        """Say that the capture runs."""
        if metrics_at is not None:
            from analyzer.render.live_metrics import Metrics, MetricsServer

            self._metrics = Metrics()
            self._server = MetricsServer(self._metrics, *metrics_at)
            console.say("metrics at http://{}:{}/metrics".format(*self._server.address))
        whom = f", as user {became}" if became else ""
        console.say(f"capturing on {', '.join(self._request.interfaces)}{whom}; Ctrl-C ends with a summary")
        if not self._request.json and sys.stdout.isatty():
            self._screen = self._live.Screen(sys.stdout)
            self._screen.__enter__()

    def closed(self, rows: pa.Table, process: int = 0) -> None:
        if self._metrics is not None:
            self._metrics.closed(rows)
        if self._request.json:
            self._write(self._live.close_json(rows, process))
        elif self._screen is not None:
            self._screen.closed(rows)
        else:
            self._write_lines(self._live.close_lines(rows))

    def beaten(self, rows: pa.Table) -> None:
        if self._metrics is not None:
            self._metrics.heartbeats(rows)
        if self._screen is not None:
            self._screen.beaten(rows)

    def found(self, rows: pa.Table, process: int = 0) -> None:
        new = self._firm.new(rows, process)
        if self._request.json:
            self._write(self._live.finding_json(new, process))
        elif self._screen is None:
            self._write_lines(self._live.finding_lines(new))

    def concluded(self, rows: pa.Table, process: int = 0) -> None:
        if rows.num_rows and self._request.json:
            self._write(self._live.finding_json(rows, process))

    def problem(self, text: str, *, lasting: bool = False) -> None:
        """Say it if no screen shows it; `lasting`: then after the screen."""
        if self._screen is None:
            console.say(f"warning: {text}")
        elif lasting:
            self._later.append(text)

    def show(self, numbers: Now) -> None:
        now = time.monotonic()
        numbers.findings = self._firm.all
        if self._metrics is not None:
            self._metrics.update(numbers)
        if self._screen is not None:
            self._screen.show(numbers)
        elif now >= self._next_status:
            if self._next_status:
                console.say(self._live.status_line(numbers))
            self._next_status = now + STATUS_EVERY_S

    def about(self, summary: Summary, settings: Settings) -> dict[str, Any]:
        return {"longwire": self._version, "settings": settings.as_dict(), "where": None} | summary.as_dict()

    def close(self) -> None:
        """Leave the terminal and the port as they were; also after an error."""
        if self._screen is not None:
            self._screen.__exit__()
            self._screen = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def finish(self, end: End) -> int:
        """Print the summary; return the exit code."""
        for text in [*self._later, *filter(None, [end.trouble])]:
            console.say(f"warning: {text}")
        if not self._pipe_closed:
            from analyzer.render.text import print_summary

            print_summary(end.summary, sys.stderr if self._request.json else sys.stdout)
        if end.missed:
            console.say(f"warning: {end.missed:,} packets were not recorded")
        if end.lost:
            console.say(f"warning: {end.lost:,} rows were not written")
        if self._pipe_closed:
            console.abandon_stdout()
            return PIPE_CLOSED
        return INCOMPLETE if end.missed or end.lost or end.wrong else 0

    def _write_lines(self, lines: list[str]) -> None:
        self._write("".join(line + "\n" for line in lines).encode(errors="replace"))

    def _write(self, lines: bytes) -> None:
        """Write to stdout at once. If its reader has gone, the capture ends, and its files are still completed."""
        if self._pipe_closed:
            return
        try:
            _write_whole(lines.decode())
        except BrokenPipeError:
            self._pipe_closed = True
            self._stop()


def _write_whole(text: str) -> None:
    """Write to stdout, all of it.

    With PYTHONUNBUFFERED Python drops the rest of what a signal cuts short: a late reader and a Ctrl-C left half a
    line.
    """
    out = sys.stdout
    out.flush()
    left = memoryview(text.encode(out.encoding, out.errors or "backslashreplace"))
    while left:
        left = left[out.buffer.write(left) or 0 :]
    out.flush()
