"""`longwire live`: a capture to the screen, to files and to metrics, until Ctrl-C; and `longwire interfaces`."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import analyzer
from analyzer.cli import console
from analyzer.cli.live_request import LiveRequest, address
from analyzer.cli.live_session import Session, check, load, open_watch, prepare_process
from analyzer.cli.live_teller import Teller


def list_interfaces() -> int:
    """Print the interfaces, one a line: name, state, link layer, addresses."""
    from analyzer.capture import linktypes
    from analyzer.capture.live_links import ANY, interfaces

    rows = [
        (made.name, "up" if made.up else "down",
         linktypes.name(made.link) if made.link >= 0 else "unknown", " ".join(made.addresses))
        for made in interfaces()
    ]  # fmt: skip
    rows.append((ANY, "", "", "all of them"))
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    return 0


def run_live(request: LiveRequest, *, own_process: bool = False) -> int:
    """Capture until Ctrl-C, SIGTERM, `for_s` or the last interface has gone; return the exit code.

    0 ended as asked, 1 something was lost (rows, recorded packets, the interface or a process)
    """
    metrics_at = address(request.metrics) if request.metrics is not None else None
    check(request)
    if own_process:
        prepare_process()
    if request.processes > 1:
        from analyzer.cli.live_processes import Supervisor

        load(request, engine=False)
        supervisor = Supervisor(request, analyzer.__version__)
        return supervisor.run(metrics_at, lambda: ending(supervisor.stop))
    load(request)
    watch = open_watch(request, console.say)
    teller = Teller(request, analyzer.__version__, watch.stop)
    try:
        with ending(watch.stop):  # from before it is said that the capture runs
            session = Session(watch, request, teller)
            teller.open(metrics_at, watch.became)
            session.run()
    finally:
        teller.close()
    return teller.finish(session.finish())


@contextlib.contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the capture in order; a second one ends the program."""
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
