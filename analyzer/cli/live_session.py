"""A running capture and the parts it writes; what it finds it tells an audience."""

from __future__ import annotations

import copy
import gc
import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.cli.analyze import spare_pandas
from analyzer.cli.live_request import LiveRequest, size_or_span
from analyzer.cli.live_teller import Audience, End
from analyzer.cli.source import key_logs, settings_of
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from typing import Any

    import pyarrow as pa

    from analyzer.api import Notice, Watch
    from analyzer.capture.live import Share
    from analyzer.render.live import Now
    from analyzer.render.rotate import PartSink
    from analyzer.render.summary import Summary

SHOW_EVERY_S = 0.5
FINDINGS_EVERY_S = 5.0
_DONE = object()


def check(request: LiveRequest) -> None:
    """Raise AnalyzerError for arguments that do not go together."""
    if request.out_every and request.out is None:
        raise AnalyzerError("--out-every says how often tables are written, and no folder is named", "add --out DIR")
    if request.for_s is not None and not request.for_s > 0:
        raise AnalyzerError(f"--for {request.for_s:g} is no span of time", "give seconds, for example 60")
    if request.segments and request.out is None:
        raise AnalyzerError("--segments makes a table, and there is nowhere to write it", "add --out DIR")
    for option, value in (("--rotate", request.rotate), ("--keep", request.keep)):
        if value and request.write is None:
            raise AnalyzerError(f"{option} is about the files of a recording, and none is made", "add --write FILE")


def prepare_process() -> None:
    """Make this process, which does nothing else, one whose packets wait for little."""
    spare_pandas()
    sys.setswitchinterval(0.0002)  # seconds: packets do not wait long for whoever writes tables
    gc.set_threshold(700, 10, 1 << 20)  # to look through everything takes half a second under load


def load(request: LiveRequest, *, engine: bool = True) -> None:
    """Import what will be needed before privileges are dropped: who we become may not be able to read our modules."""
    names = ["render.live", "render.summary", "render.text", "render.files"]
    for stage in ("protocols", "classify", "knowledge", "tables") if engine else ():
        package = importlib.import_module(f"analyzer.{stage}")
        names += [found.name.removeprefix("analyzer.") for found in pkgutil.walk_packages(
            package.__path__, f"analyzer.{stage}."
        )]  # fmt: skip
    names += ["render.rotate"] if request.out is not None else []
    names += ["render.live_metrics"] if request.metrics is not None else []
    for name in names:
        importlib.import_module(f"analyzer.{name}")
    for name in ("pyarrow.acero", "pyarrow.compute", "pyarrow.parquet", "cryptography.x509", "encodings.ascii"):
        importlib.import_module(name)
    if sys.stdout.isatty():
        importlib.import_module("rich.live")


def open_watch(request: LiveRequest, notice: Notice | None, share: Share | None = None) -> Watch:
    """Open the capture and become another user where that is asked for."""
    from analyzer import api

    rotate_bytes, rotate_s = size_or_span(request.rotate) if request.rotate else (0, 0.0)
    return api.watch(
        request.interfaces, request.filter, write=request.write, rotate_bytes=rotate_bytes, rotate_s=rotate_s,
        keep=request.keep, snaplen=request.snaplen, promiscuous=request.promiscuous, backend=request.backend,
        segments=request.segments, keys=key_logs(request.keys), user=request.user, notice=notice, share=share,
        settings=settings_of(request.idle_min_s, request.linger_s),
    )  # fmt: skip


class Session:
    """Runs a capture. process  its number where several share the interfaces, 0 = there is but one."""

    def __init__(self, watch: Watch, request: LiveRequest, audience: Audience, process: int = 0) -> None:
        from analyzer.render import live
        from analyzer.render.summary import Collector

        self._watch, self._request, self._audience = watch, request, audience
        self._live = live
        self._collector = Collector()
        self._sink: PartSink | None = None
        self._rotating: Iterator[None] | None = None
        self._started = time.monotonic()
        self._next_show = 0.0
        self._next_findings = self._started + FINDINGS_EVERY_S
        self._whole: dict[str, pa.Table] = {}  # tables about the whole, as the last rotation found them
        self._rate = (self._started, 0, 0.0)  # when, packets then, packets per second
        self._said = 0
        if request.out is not None:
            from analyzer.render import rotate

            size, span = size_or_span(request.out_every) if request.out_every else (0, 0.0)
            most = min(size or rotate.ROTATE_BYTES, rotate.ROTATE_BYTES)
            self._sink = rotate.PartSink(request.out, span or rotate.ROTATE_S, most, process=process)
        watch.tick = self.tick

    def run(self) -> None:
        """Capture until the watch is stopped."""
        for name, rows in self._watch:
            self._collector.add(name, rows)
            if name == "heartbeats":
                self._audience.beaten(rows)
            if self._sink is not None:
                self._sink.write(name, rows)
            if name == "findings":
                self._audience.concluded(rows)
        self._tell()

    def tick(self, watch: Watch) -> None:
        """Called by the capture about four times a second."""
        self._tell()
        now = time.monotonic()
        if self._request.for_s is not None and now - self._started >= self._request.for_s:
            watch.stop()
        for problem in watch.problems_since(self._said):
            self._said += 1
            self._audience.problem(problem)
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
        if now >= self._next_show:
            self._next_show = now + SHOW_EVERY_S
            self._audience.show(self._numbers(now))

    def finish(self) -> End:
        """Write what is left and say how it ended."""
        self._whole.clear()  # the capture's end told them once more
        watch, summary = self._watch, self._collector.result()
        about = self._audience.about(summary, watch.settings)
        missed = watch.recorder.missed if watch.recorder is not None else 0
        if self._sink is None:
            return End(summary, missed, wrong=bool(watch.problems))
        self._sink.close(about)
        return End(summary, missed, self._sink.lost, self._sink.trouble, bool(watch.problems))

    # -------------------------------------------------------------------------------------- inside

    def _tell(self) -> None:
        for rows in self._watch.take_fresh():
            self._audience.closed(rows)

    def _look_for_findings(self) -> None:
        """Tell findings once they are there. What it takes grows with the connections: so the pause does, too."""
        begun = time.monotonic()
        self._audience.found(self._watch.findings())
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
        about: dict[str, Any] | None = self._audience.about(self._summary(), self._watch.settings)
        self._sink.begin(about, self._watch.standing())

    def _summary(self) -> Summary:
        collector = copy.deepcopy(self._collector) if self._whole else self._collector
        for name, rows in self._whole.items():
            collector.add(name, rows)
        return collector.result()

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
            watch.problems[-1] if watch.problems else "", watch.snapshot(),
        )  # fmt: skip
