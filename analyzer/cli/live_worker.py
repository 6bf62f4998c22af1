"""One of the processes of `longwire live --processes`: a whole capture of its share, told to the process that began it.

Messages go over a pair of sockets, each a word and what belongs to it. To here: (LiveRequest, number, how many), the
group to join, a word that all have joined, and anything at all to end. From here: `joined`, `ready`, what an `Audience`
is told, `end`; or `failed` with an error's message and hint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from analyzer.cli.live_request import LiveRequest
    from analyzer.cli.live_teller import End
    from analyzer.render.live import Now
    from analyzer.render.summary import Summary
    from analyzer.settings import Settings


def main(descriptor: int) -> None:
    """Work until told to end. A terminal's Ctrl-C reaches every process: only the first of them acts upon it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link: Connection[Any, Any] = Connection(descriptor)
    code = 0
    try:
        request, number, count = link.recv()
        _work(link, request, number, count)
    except AnalyzerError as error:
        link.send(("failed", (error.message, error.hint)))
        code = 2
    except OSError as error:
        with contextlib.suppress(OSError):
            link.send(("failed", (f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), "")))
        code = 2
    except EOFError:  # nobody is there any more
        code = 2
    sys.stderr.flush()
    os._exit(code)


def _work(link: Connection[Any, Any], request: LiveRequest, number: int, count: int) -> None:
    from analyzer.cli.live_session import Session, load, open_watch, prepare_process

    prepare_process()
    load(request)
    messenger = _Messenger(link)
    watch = open_watch(request, messenger.notice if number == 1 else None, _Meeting(link, count))
    messenger.stop = watch.stop
    signal.signal(signal.SIGTERM, lambda *_: watch.stop())
    session = Session(watch, request, messenger, number)
    threading.Thread(target=_listen, args=(link, watch.stop), daemon=True).start()
    messenger.send("ready")
    session.run()
    messenger.end(session.finish())


def _listen(link: Connection[Any, Any], stop: Callable[[], None]) -> None:
    """End the capture when told to, or when there is nobody who could."""
    with contextlib.suppress(EOFError, OSError):
        link.recv()
    stop()


class _Meeting:
    """How this process finds the others; see `capture.live.Share`."""

    def __init__(self, link: Connection[Any, Any], count: int) -> None:
        self._link, self.count = link, count

    def group(self) -> int:
        return int(self._link.recv())

    def joined(self, group: int) -> None:
        self._link.send(("joined", (group,)))
        self._link.recv()


class _Messenger:
    """An `Audience` that passes everything on. If nobody is there any more, the capture ends in order."""

    def __init__(self, link: Connection[Any, Any]) -> None:
        self._link = link
        self._alone = False
        self.stop: Callable[[], None] = lambda: None

    def send(self, word: str, *said: Any) -> None:
        if self._alone:
            return
        try:
            self._link.send((word, said))
        except OSError:
            self._alone = True
            self.stop()

    def notice(self, text: str) -> None:
        self.send("notice", text)

    def closed(self, rows: pa.Table) -> None:
        self.send("closed", rows)

    def beaten(self, rows: pa.Table) -> None:
        self.send("beaten", rows)

    def found(self, rows: pa.Table) -> None:
        self.send("found", rows)

    def concluded(self, rows: pa.Table) -> None:
        self.send("concluded", rows)

    def problem(self, text: str) -> None:
        self.send("problem", text)

    def show(self, numbers: Now) -> None:
        self.send("show", numbers)

    def about(self, summary: Summary, settings: Settings) -> dict[str, Any] | None:
        self.send("about", summary, settings)
        return None

    def end(self, made: End) -> None:
        self.send("end", made)
