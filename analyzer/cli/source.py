"""What every command that reads captures has in common: settings from options, a stream with progress, damage seen."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.cli import console
from analyzer.cli.request import Reading
from analyzer.errors import AnalyzerError
from analyzer.settings import NS, Settings

if TYPE_CHECKING:
    import pyarrow as pa

DAMAGED = 1


def settings_of(idle_min_s: float | None, linger_s: float | None = None) -> Settings:
    """Return the settings with `--idle-min` and `--linger` applied; AnalyzerError if one is no span of time."""
    settings = Settings()
    for option, name, value in (("--idle-min", "idle_min_ns", idle_min_s), ("--linger", "linger_ns", linger_s)):
        if value is not None:
            if not (math.isfinite(value) and 0 < value < 1e9):
                raise AnalyzerError(f"{option} {value} is no span of time", "give seconds, for example 0.5")
            settings = replace(settings, **{name: round(value * NS)})
    return settings


def key_logs(named: Sequence[Path]) -> list[Path]:
    """Return the key logs asked for, else the one that the environment names for every TLS program.

    That one is often set where no program wrote it yet: then it is as if it were not set.
    """
    if named:
        return list(named)
    usual = os.environ.get("SSLKEYLOGFILE", "")
    return [Path(usual)] if usual and Path(usual).is_file() else []


class Source:
    """Captures to be read once or more, with a progress line; afterwards it knows whether the input was whole.

    own_process  True if nothing else will ever run in this process (see `analyze.prepare_process`)
    """

    def __init__(self, files: Sequence[Path], reading: Reading, *, own_process: bool = False) -> None:
        from analyzer.render.summary import Collector

        if own_process:
            from analyzer.cli.analyze import prepare_process

            prepare_process()
        self.files = list(files)
        self.settings = settings_of(reading.idle_min_s)
        self.knowledge = reading.knowledge
        self.keys = key_logs(reading.keys) or None
        self._health = Collector()

    def stream(self, *, segments: bool = False) -> Iterator[tuple[str, pa.Table]]:
        """Yield (table, rows) of one pass over the captures."""
        from analyzer import api

        with console.Progress() as progress:
            made = api.stream(
                self.files, keys=self.keys, segments=segments, settings=self.settings, knowledge=self.knowledge,
                progress=progress, notice=progress.notice,
            )  # fmt: skip
            yield from self._watched(made)

    def follow(self, flow_ids: Sequence[int]) -> Iterator[tuple[str, pa.Table]]:
        """Yield (table, rows) of these connections, segments included, in one pass."""
        from analyzer import api

        with console.Progress() as progress:
            made = api.follow(
                self.files, flow_ids, keys=self.keys, settings=self.settings, knowledge=self.knowledge,
                progress=progress, notice=progress.notice,
            )  # fmt: skip
            yield from self._watched(made)

    def segments_of(self, flow_ids: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the segments of these connections: the pass that costs least."""
        from analyzer import api

        with console.Progress() as progress:
            yield from api.segments_of(self.files, flow_ids, settings=self.settings, progress=progress)

    def _watched(self, chunks: Iterator[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        for name, rows in chunks:
            if name in ("captures", "anomalies"):
                self._health.add(name, rows)
            yield name, rows

    def exit_code(self) -> int:
        """Return 0, or 1 with a warning if the input was damaged."""
        if not self._health.result().damaged:
            return 0
        console.say("warning: the input was damaged; what could be read of it is analysed")
        return DAMAGED
