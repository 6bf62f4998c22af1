"""`longwire live --processes`: several processes share the interfaces; this one starts them and tells what they find.

Each captures the connections that the kernel deals out to it (`capture.ring_share`) as one process captures all: with a
ring, numbers, a recording and parts of its own. What they tell is merged here: lines, screen, metrics, the summary.
"""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from analyzer.cli import console
from analyzer.cli.live_request import LiveRequest
from analyzer.cli.live_session import SHOW_EVERY_S
from analyzer.cli.live_teller import End, Teller
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.render.live import Now
    from analyzer.render.summary import Summary
    from analyzer.settings import Settings

TICK_S = 0.25


@dataclass(slots=True)
class _Worker:
    """A process and the last that it told. running  it has not ended yet    said  its problems, how often each"""

    number: int
    process: subprocess.Popen[bytes]
    link: Connection[Any, Any]
    running: bool = True
    numbers: Now | None = None
    summary: Summary | None = None
    end: End | None = None
    said: Counter[str] = field(default_factory=Counter)


class Supervisor:
    """Runs `request.processes` processes. Raises AnalyzerError where that cannot be."""

    def __init__(self, request: LiveRequest, version: str) -> None:
        from analyzer.capture.live import check_shares
        from analyzer.capture.ring_share import MAX_PROCESSES

        if request.processes > MAX_PROCESSES:
            raise AnalyzerError(
                f"{request.processes} processes cannot share an interface: {MAX_PROCESSES} is the kernel's limit",
                "more than there are processor cores gain nothing",
            )
        check_shares(request.backend)
        self._request = request
        self._teller = Teller(request, version, self.stop)
        self._workers: list[_Worker] = []
        self._said: Counter[str] = Counter()
        self._stopping = self._wrong = False
        self._settings: Settings | None = None

    def run(self, metrics_at: tuple[str, int] | None, ending: Callable[[], AbstractContextManager[None]]) -> int:
        """Capture until it ends; return the exit code. `ending` has signals call `stop`."""
        from analyzer.capture.live import drop_privileges

        try:
            self._start()
            self._gather()
            became = drop_privileges(self._request.user)
            with ending():
                self._teller.open(metrics_at, became)
                self._relay()
        finally:
            self._teller.close()
            self._kill()
        return self._teller.finish(self._merged_end())

    def stop(self) -> None:
        """Have every process end in order."""
        if self._stopping:
            return
        self._stopping = True
        for worker in self._workers:
            if worker.running:
                _send(worker, "stop")

    # -------------------------------------------------------------------------------------- beginning

    def _start(self) -> None:
        # The processes inherit that they ignore Ctrl-C, from their first instruction on: only this one acts upon it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for number in range(1, self._request.processes + 1):
                self._workers.append(_started(number))
        finally:
            signal.signal(signal.SIGINT, before)
        for worker in self._workers:
            _send(worker, (_own(self._request, worker.number), worker.number, self._request.processes))

    def _gather(self) -> None:
        """Have the processes open their captures, one after the other: so the kernel numbers them when a link comes up
        again as it did at first. Packets count from when all are there."""
        group = -1
        for worker in self._workers:
            _send(worker, group)
            (group,) = self._expect(worker, "joined")
        for worker in self._workers:
            _send(worker, "go")
        for worker in self._workers:
            self._expect(worker, "ready")

    def _expect(self, worker: _Worker, wanted: str) -> tuple[Any, ...]:
        while True:
            try:
                word, said = worker.link.recv()
            except (EOFError, OSError):
                raise AnalyzerError(f"process {worker.number} {_how(worker)} before it captured anything") from None
            if word == wanted:
                return tuple(said)
            if word == "failed":
                raise AnalyzerError(*said)
            console.say(said[0])  # a notice that it takes longer

    # -------------------------------------------------------------------------------------- while it runs

    def _relay(self) -> None:
        started = time.monotonic()
        next_show = started + SHOW_EVERY_S
        while running := {worker.link: worker for worker in self._workers if worker.running}:
            for link in wait(list(running), TICK_S):
                self._take(running[link])  # type: ignore[index]
            now = time.monotonic()
            if self._request.for_s is not None and now - started >= self._request.for_s:
                self.stop()
            if now >= next_show:
                next_show = now + SHOW_EVERY_S
                self._show()

    def _take(self, worker: _Worker) -> None:
        """Take one message."""
        try:
            message = worker.link.recv_bytes()
        except (EOFError, OSError):
            self._over(worker)
            return
        word, said = pickle.loads(message)
        match word:
            case "show":
                worker.numbers = said[0]
                for flow in [*said[0].snapshot.silent, *said[0].snapshot.probing]:
                    flow.process = worker.number
            case "about":
                worker.summary, self._settings = said
                self._write_summary()
            case "problem":
                worker.said[said[0]] += 1
                if worker.said[said[0]] > self._said[said[0]]:  # the first to say it: the others see it, too
                    self._said[said[0]] += 1
                    self._teller.problem(said[0])
            case "end":
                (worker.end,) = said
                self.stop()  # whatever ended it (no interface, SIGTERM) is not its alone
            case "beaten":
                self._teller.beaten(said[0])
            case "closed":
                self._teller.closed(said[0], worker.number)
            case "found":
                self._teller.found(said[0], worker.number)
            case "concluded":
                self._teller.concluded(said[0], worker.number)
            case "failed":
                self._fail(f"process {worker.number}: {said[0]}")

    def _over(self, worker: _Worker) -> None:
        worker.running = False
        if worker.end is None:
            others = any(other.running for other in self._workers)
            goes_on = "; its connections go on in the others" if others and not self._stopping else ""
            self._fail(f"process {worker.number} {_how(worker)}, and what it had not written is lost{goes_on}")
        if worker.numbers is not None:
            worker.numbers.snapshot.states.clear()
            worker.numbers.snapshot.silent, worker.numbers.snapshot.probing = [], []

    def _fail(self, text: str) -> None:
        self._wrong = True
        self._teller.problem(text, lasting=True)

    def _show(self) -> None:
        from analyzer.render.live import Now

        self._teller.show(Now.merged([worker.numbers for worker in self._workers if worker.numbers is not None]))

    # -------------------------------------------------------------------------------------- the end

    def _summary(self) -> Summary:
        from analyzer.render.summary import merged

        return merged({worker.number: worker.summary for worker in self._workers if worker.summary is not None})

    def _write_summary(self) -> None:
        from analyzer.render.files import write_summary

        if self._request.out is None or self._settings is None:
            return
        try:
            write_summary(self._request.out, self._teller.about(self._summary(), self._settings))
        except OSError as error:
            self._fail(f"writing {self._request.out}/summary.json failed: {error.strerror}")

    def _merged_end(self) -> End:
        ends = [worker.end for worker in self._workers if worker.end is not None]
        troubles = dict.fromkeys(end.trouble for end in ends if end.trouble)
        return End(
            self._summary(), sum(end.missed for end in ends), sum(end.lost for end in ends), "; ".join(troubles),
            self._wrong or any(end.wrong for end in ends),
        )  # fmt: skip

    def _kill(self) -> None:
        """Leave no process behind; those that ended in order have gone."""
        for worker in self._workers:
            worker.link.close()
            if worker.running:
                worker.process.kill()
            worker.process.wait()


def _started(number: int) -> _Worker:
    """Start a process that finds modules where this one does, and nowhere else."""
    ours, theirs = socket.socketpair()
    code = f"import sys; sys.path = {sys.path!r}; from analyzer.cli.live_worker import main; main({theirs.fileno()})"
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )  # fmt: skip
    return _Worker(number, process, Connection(ours.detach()))


def _own(request: LiveRequest, number: int) -> LiveRequest:
    """Return what one process is asked to do: record to ring-1.pcapng what is asked for as ring.pcapng."""
    write = request.write
    if write is not None and (write.is_file() or not write.exists()):  # of a device there is but one
        write = write.with_name(f"{write.stem}-{number}{write.suffix}")
    return replace(request, write=write, processes=1, for_s=None, metrics=None)


def _send(worker: _Worker, said: Any) -> None:
    try:
        worker.link.send(said)
    except OSError:  # it has gone; who waits for its answer will see
        return


def _how(worker: _Worker) -> str:
    """Return how a process ended that has closed its link."""
    code = worker.process.wait()
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
