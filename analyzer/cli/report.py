"""`longwire report`: one self-contained HTML page about a capture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import analyzer
from analyzer.cli import console
from analyzer.cli.request import Job, Reading
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.cli.source import Source
    from analyzer.render.flowrows import FlowRows
    from analyzer.render.spool import Spool


@dataclass(frozen=True, slots=True)
class ReportRequest(Job):
    """The arguments of `longwire report`."""

    files: tuple[Path, ...]
    reading: Reading
    out: Path
    title: str | None = None
    cards: int | None = None

    def run(self, own_process: bool) -> int:
        """Write the page; the capture is read twice, the second time for the packets of the connections that matter."""
        if self.out.is_dir():
            raise AnalyzerError(f"{self.out} is a folder", f"name a file in it: -o {self.out / 'report.html'}")
        keep_input(self.out, self.files)
        if not self.out.parent.is_dir():
            raise AnalyzerError(f"{self.out.parent} is no folder", "make it first, or choose another place with -o")
        if self.cards is not None and self.cards < 0:
            raise AnalyzerError(f"--cards {self.cards} is no number of connections", "0 reads the capture only once")
        from analyzer.cli.source import Source

        return _report(self, Source(self.files, self.reading, own_process=own_process))


def _report(request: ReportRequest, source: Source) -> int:
    from analyzer.render.files import Replacement
    from analyzer.render.html.choose import CARDS, LANES
    from analyzer.render.html.gather import Gathered
    from analyzer.render.html.page import page
    from analyzer.render.plain import many
    from analyzer.render.spool import Spool

    piped = any(str(file) == "-" for file in request.files)
    cards = 0 if piped else CARDS if request.cards is None else request.cards
    missing = piped and request.cards != 0
    note = "Standard input cannot be read twice, so no connection has its packets here." if missing else ""
    with Spool() as spool:
        for name, rows in source.stream():
            spool.write(name, rows)
        gathered = Gathered(spool, LANES, cards)
        followed = _follow(source, gathered.cards, spool)
        about = {
            "title": request.title or _title(request.files),
            "version": analyzer.__version__,
            "settings": source.settings.as_dict(),
            "note": note,
        }
        html = page(gathered, spool, followed, about)
    with Replacement() as files:
        files.beside(request.out).write_text(html, encoding="utf-8", errors="backslashreplace")
        files.commit()
    console.say(f"wrote {request.out}: {many(gathered.summary.flows, 'connection')}, {len(html) / 1e6:.1f} MB")
    return source.exit_code()


def keep_input(out: Path, files: tuple[Path, ...]) -> None:
    """Raise AnalyzerError if what is to be written is one of the captures that are to be read."""
    if str(out) == "-":
        raise AnalyzerError("a page or picture is a file", "name one: -o report.html")
    if out.exists() and any(str(file) != "-" and file.exists() and out.samefile(file) for file in files):
        raise AnalyzerError(f"{out} is the capture itself", "choose another name with -o")


def _title(files: tuple[Path, ...]) -> str:
    first = files[0].name if str(files[0]) != "-" else "standard input"
    return f"longwire: {first}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")


def _follow(source: Source, flow_ids: list[int], spool: Spool) -> list[FlowRows]:
    """Return what is known of the connections that get a card: their rows so far, and segments of a second pass."""
    from analyzer.render.followed import Followed

    followed = Followed(flow_ids)
    if flow_ids:
        followed.take(spool)
        for rows in source.segments_of(flow_ids):
            followed.add("segments", rows)
    return followed.flows()
