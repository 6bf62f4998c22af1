"""`longwire live`: a capture to the screen, to files and to metrics, until Ctrl-C; and `longwire interfaces`."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import pkgutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from analyzer.cli import console
from analyzer.cli.analyze import spare_pandas
from analyzer.cli.live_request import LiveRequest, address, size_or_span
from analyzer.cli.source import key_logs
from analyzer.errors import AnalyzerError
from analyzer.settings import NS, Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.api import Watch
    from analyzer.render.live import Firm, Now, Screen
    from analyzer.render.live_metrics import Metrics
    from analyzer.render.rotate import PartSink
    from analyzer.render.summary import Collector

SCREEN_EVERY_S = 0.5
STATUS_EVERY_S = 60.0
FINDINGS_EVERY_S = 5.0
INCOMPLETE, PIPE_CLOSED = 1, 141
_DONE = object()


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

    0 ended as asked, 1 something was lost (rows, recorded packets or the interface)
    """
    from importlib.metadata import version

    from analyzer import api

    settings = _settings(request)
    rotate_bytes, rotate_s = size_or_span(request.rotate) if request.rotate else (0, 0.0)
    metrics_at = address(request.metrics) if request.metrics is not None else None
    out_bytes, out_s = size_or_span(request.out_every) if request.out_every else (0, 0.0)
    if request.out_every and request.out is None:
        raise AnalyzerError("--out-every says how often tables are written, and no folder is named", "add --out DIR")
    if request.segments and request.out is None:
        raise AnalyzerError("--segments makes a table, and there is nowhere to write it", "add --out DIR")
    if own_process:
        spare_pandas()
        sys.setswitchinterval(0.0002)  # seconds: packets do not wait long for whoever writes tables
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, 1 << 20)  # to look through everything takes half a second under load
    _load(request)
    made_by = version("longwire")  # read before privileges are dropped, as the modules are
    watch = api.watch(
        request.interfaces, request.filter, write=request.write, rotate_bytes=rotate_bytes, rotate_s=rotate_s,
        keep=request.keep, snaplen=request.snaplen, promiscuous=request.promiscuous, backend=request.backend,
        segments=request.segments, keys=key_logs(request.keys), settings=settings, user=request.user,
        notice=console.say,
    )  # fmt: skip
    session = _Session(watch, request, made_by)
    try:
        with _signals(watch):  # from before it is said that the capture runs
            session.open(metrics_at, out_bytes, out_s)
            session.run()
    finally:
        session.close()
    return session.finish()


def _load(request: LiveRequest) -> None:
    """Import what will be needed before privileges are dropped: who we become may not be able to read our modules."""
    names = ["render.live", "render.summary", "render.text"]
    for stage in ("protocols", "classify", "knowledge", "tables"):
        package = importlib.import_module(f"analyzer.{stage}")
        names += [found.name.removeprefix("analyzer.") for found in pkgutil.walk_packages(
            package.__path__, f"analyzer.{stage}."
        )]  # fmt: skip
    names += ["render.rotate"] if request.out is not None else []
    names += ["render.live_metrics"] if request.metrics is not None else []
    for name in names:
        importlib.import_module(f"analyzer.{name}")
    for name in ("pyarrow.acero", "pyarrow.compute", "pyarrow.parquet", "cryptography.x509"):
        importlib.import_module(name)
    if sys.stdout.isatty():
        importlib.import_module("rich.live")


def _settings(request: LiveRequest) -> Settings:
    settings = Settings()
    for name, value in (("idle_min_ns", request.idle_min_s), ("linger_ns", request.linger_s)):
        if value is not None:
            if not 0 < value < 1e9:
                raise AnalyzerError(f"{value} is no span of time", "give seconds, for example 0.5")
            settings = replace(settings, **{name: round(value * NS)})
    return settings


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the capture in order; a second one ends the program."""
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        watch.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Session:
    """Everything that hears of the capture: screen or lines, parts, metrics, the summary."""

    def __init__(self, watch: Watch, request: LiveRequest, version: str) -> None:
        self._watch, self._request, self._version = watch, request, version
        self._sink: PartSink | None = None
        self._rotating: Iterator[None] | None = None
        self._metrics: Metrics | None = None
        self._server: Any = None
        self._screen: Screen | None = None
        self._collector: Collector
        self._firm: Firm
        self._started = time.monotonic()
        self._next_show = self._next_status = 0.0
        self._next_findings = self._started + FINDINGS_EVERY_S
        self._whole: dict[str, pa.Table] = {}  # tables about the whole, as the last rotation found them
        self._rate = (self._started, 0, 0.0)  # when, packets then, packets per second
        self._said = 0
        self._pipe_closed = False

    def open(self, metrics_at: tuple[str, int] | None, out_bytes: int, out_s: float) -> None:
        from analyzer.render import live
        from analyzer.render.summary import Collector

        request = self._request
        self._live = live
        self._collector = Collector()
        self._firm = live.Firm()
        if request.out is not None:
            from analyzer.render import rotate

            self._sink = rotate.PartSink(
                request.out, out_s or rotate.ROTATE_S, min(out_bytes or rotate.ROTATE_BYTES, rotate.ROTATE_BYTES)
            )
        if metrics_at is not None:
            from analyzer.render.live_metrics import Metrics, MetricsServer

            self._metrics = Metrics()
            self._server = MetricsServer(self._metrics, *metrics_at)
            console.say("metrics at http://{}:{}/metrics".format(*self._server.address))
        became = f", as user {self._watch.became}" if self._watch.became else ""
        console.say(f"capturing on {', '.join(request.interfaces)}{became}; Ctrl-C ends with a summary")
        if not request.json and sys.stdout.isatty():
            self._screen = live.Screen(sys.stdout)
            self._screen.__enter__()
        self._watch.tick = self.tick

    def run(self) -> None:
        for name, rows in self._watch:
            self._collector.add(name, rows)
            if name == "heartbeats" and self._metrics is not None:
                self._metrics.heartbeats(rows)
            if name == "heartbeats" and self._screen is not None:
                self._screen.beaten(rows)
            if self._sink is not None:
                self._sink.write(name, rows)
            if name == "findings" and rows.num_rows and self._request.json:
                self._write(self._live.finding_json(rows))
        self._tell()

    def tick(self, watch: Watch) -> None:
        """Called by the capture about four times a second."""
        self._tell()
        now = time.monotonic()
        if self._request.for_s is not None and now - self._started >= self._request.for_s:
            watch.stop()
        for problem in watch.problems_since(self._said):
            self._said += 1
            if self._screen is None:
                console.say(f"warning: {problem}")
        if self._sink is not None:
            self._sink.settle(wait=False)
            if self._sink.trouble:
                watch.note(self._sink.trouble)
                self._sink.trouble = ""
            if self._sink.due and self._rotating is None:
                self._rotating = self._rotate()
            if self._rotating is not None and next(self._rotating, _DONE) is _DONE:
                self._rotating = None
        if now >= self._next_findings:
            self._look_for_findings()
        if now < self._next_show:
            return
        self._next_show = now + SCREEN_EVERY_S
        numbers = self._numbers(now)
        if self._metrics is not None:
            self._metrics.update(numbers)
        if self._screen is not None:
            self._screen.show(numbers)
        elif now >= self._next_status:
            if self._next_status:
                console.say(self._live.status_line(numbers))
            self._next_status = now + STATUS_EVERY_S

    def close(self) -> None:
        """Leave the terminal and the port as they were; also after an error."""
        if self._screen is not None:
            self._screen.__exit__()
            self._screen = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def finish(self) -> int:
        """Write what is left, print the summary; return the exit code."""
        self._whole.clear()  # the capture's end told them once more
        watch, summary = self._watch, self._collector.result()
        if self._sink is not None:
            self._sink.close(self._about())
            if self._sink.trouble:
                console.say(f"warning: {self._sink.trouble}")
        if not self._pipe_closed:
            from analyzer.render.text import print_summary

            print_summary(summary, sys.stderr if self._request.json else sys.stdout)
        missed = watch.recorder.missed if watch.recorder is not None else 0
        if missed:
            console.say(f"warning: {missed:,} packets were not recorded")
        lost = self._sink.lost if self._sink is not None else 0
        if lost:
            console.say(f"warning: {lost:,} rows were not written")
        if self._pipe_closed:
            console.abandon_stdout()
            return PIPE_CLOSED
        return INCOMPLETE if missed or lost or watch.problems else 0

    # -------------------------------------------------------------------------------------- inside

    def _tell(self) -> None:
        for rows in self._watch.take_fresh():
            if self._metrics is not None:
                self._metrics.closed(rows)
            if self._request.json:
                self._write(self._live.close_json(rows))
            elif self._screen is not None:
                self._screen.closed(rows)
            else:
                self._write("".join(line + "\n" for line in self._live.close_lines(rows)).encode(errors="replace"))

    def _write(self, lines: bytes) -> None:
        """Write to stdout at once. If its reader has gone, the capture ends, and its files are still completed."""
        if self._pipe_closed:
            return
        try:
            sys.stdout.write(lines.decode())
            sys.stdout.flush()
        except BrokenPipeError:
            self._pipe_closed = True
            self._watch.stop()

    def _look_for_findings(self) -> None:
        """Tell findings once they are there. What it takes grows with the connections: so the pause does, too."""
        begun = time.monotonic()
        new = self._firm.new(self._watch.findings())
        if self._request.json:
            self._write(self._live.finding_json(new))
        elif self._screen is None:
            self._write("".join(line + "\n" for line in self._live.finding_lines(new)).encode(errors="replace"))
        now = time.monotonic()
        self._next_findings = now + max(FINDINGS_EVERY_S, 50 * (now - begun))

    def _rotate(self) -> Iterator[None]:
        """Write parts: a step each `tick`, as packets wait in the ring; and only there no table is half way out."""
        assert self._sink is not None
        for name, rows in self._watch.so_far():
            self._sink.write(name, rows)
            self._collector.add(name, rows)
        yield
        self._whole = dict(self._watch.whole())
        for name, rows in self._whole.items():
            self._sink.write(name, rows)
        yield
        self._sink.begin(self._about(), self._watch.standing())

    def _about(self) -> dict[str, Any]:
        about = {"longwire": self._version, "settings": self._watch.settings.as_dict(), "where": None}
        collector = copy.deepcopy(self._collector) if self._whole else self._collector
        for name, rows in self._whole.items():
            collector.add(name, rows)
        return about | collector.result().as_dict()

    def _numbers(self, now: float) -> Now:
        watch = self._watch
        packets = watch.source.info.packets
        since, before, rate = self._rate
        if now - since >= 1.0:
            rate = (packets - before) / (now - since)
            self._rate = (now, packets, rate)
        files = watch.recorder.files if watch.recorder is not None else []
        return self._live.Now(
            ", ".join(self._request.interfaces), now - self._started, packets, rate, max(0, watch.source.dropped()),
            watch.tcp_segments, f"recording {files[-1]}" if files else "",
            watch.problems[-1] if watch.problems else "", watch.snapshot(), self._firm.all,
        )  # fmt: skip
