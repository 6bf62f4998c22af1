"""`longwire show`: one connection as a card, or as a ladder of its packets."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from analyzer.cli.console import shows_colour
from analyzer.cli.request import Job, Reading
from analyzer.errors import AnalyzerError

PIPED_WIDTH = 110


@dataclass(frozen=True, slots=True)
class ShowRequest(Job):
    """The arguments of `longwire show`."""

    files: tuple[Path, ...]
    reading: Reading
    flow_id: int | None  # None = the only one there is
    ladder: bool = False
    format: str = "text"

    def run(self, own_process: bool) -> int:
        """Print the card or the ladder; one pass over the capture."""
        return _show(self, own_process)


def _show(request: ShowRequest, own_process: bool) -> int:
    only = request.flow_id is None
    flow_id = request.flow_id or 0
    if flow_id < 0:
        raise AnalyzerError(f"--flow {flow_id}: connections count from 0", "longwire flows FILE lists them")
    from analyzer.cli.source import Source
    from analyzer.render.card import make_card
    from analyzer.render.flowrows import FlowRows
    from analyzer.render.ladder import ladder, ladder_lines

    source = Source(request.files, request.reading, own_process=own_process)
    rows, found = FlowRows(flow_id), 0
    for name, chunk in source.follow([0, 1] if only else [flow_id]):
        rows.add(name, chunk)
        found += chunk.num_rows if name == "flows" else 0
    if only and found > 1:
        raise AnalyzerError("the capture has several connections", "--flow N shows one; longwire flows FILE lists them")
    if not rows.found:
        raise AnalyzerError(f"there is no connection {flow_id}", "longwire flows FILE lists them")
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if sys.stdout.isatty() else PIPED_WIDTH
    if request.format == "json":
        shown = ladder(rows) if request.ladder else make_card(rows)
        print(json.dumps(asdict(shown), indent=2, allow_nan=False))
    elif request.ladder:
        print("\n".join(ladder_lines(ladder(rows), width)))
    else:
        from analyzer.render.cardtext import card_text

        print(card_text(make_card(rows), width, colour=shows_colour()))
    return source.exit_code()
