"""`longwire plot`: a picture of one connection, of the timeline or of the timeouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.cli import console
from analyzer.cli.report import keep_input
from analyzer.cli.request import Job, Reading
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.cli.source import Source


@dataclass(frozen=True, slots=True)
class PlotRequest(Job):
    """The arguments of `longwire plot`: exactly one of flow_id, timeline and timeouts."""

    files: tuple[Path, ...]
    reading: Reading
    out: Path
    flow_id: int | None = None
    timeline: bool = False
    timeouts: bool = False

    def run(self, own_process: bool) -> int:
        """Draw the picture; one pass over the capture."""
        named = (self.flow_id is not None) + self.timeline + self.timeouts
        if named != 1:
            wrong = "one picture at a time" if named else "it is not said which picture"
            raise AnalyzerError(wrong, "give one of --flow N, --timeline and --timeouts")
        keep_input(self.out, self.files)
        from analyzer.render.plot import check_target

        check_target(self.out)
        from analyzer.cli.source import Source

        source = Source(self.files, self.reading, own_process=own_process)
        _draw_flow(self, source) if self.flow_id is not None else _draw_all(self, source)
        console.say(f"wrote {self.out}")
        return source.exit_code()


def _draw_flow(request: PlotRequest, source: Source) -> None:
    from analyzer.render.flowrows import FlowRows
    from analyzer.render.plot import plot_flow

    assert request.flow_id is not None
    rows = FlowRows(request.flow_id)
    if request.flow_id >= 0:
        for name, chunk in source.follow([request.flow_id]):
            rows.add(name, chunk)
    if not rows.found:
        raise AnalyzerError(f"there is no connection {request.flow_id}", "longwire flows FILE lists them")
    plot_flow(rows, request.out)


def _draw_all(request: PlotRequest, source: Source) -> None:
    from analyzer.render.html.gather import Gathered
    from analyzer.render.plot import LANES, plot_timeline, plot_timeouts
    from analyzer.render.spool import Spool

    with Spool() as spool:
        for name, rows in source.stream():
            spool.write(name, rows)
        gathered = Gathered(spool, LANES, 0)
        if request.timeline:
            plot_timeline(gathered, spool, request.out)
        else:
            plot_timeouts(gathered.curves, gathered.timeouts, request.out)
