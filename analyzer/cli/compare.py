"""`longwire compare`: two captures of the same connections, side by side."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from analyzer.cli.console import shows_colour
from analyzer.cli.request import Job, Reading
from analyzer.cli.show import PIPED_WIDTH
from analyzer.errors import AnalyzerError


@dataclass(frozen=True, slots=True)
class CompareRequest(Job):
    """The arguments of `longwire compare`."""

    first: Path
    second: Path
    format: str = "text"

    def run(self, own_process: bool) -> int:
        """Print what the two captures do not have in common; one pass over each."""
        if "-" in (str(self.first), str(self.second)):
            raise AnalyzerError("a comparison reads two files, none of them standard input", "write it to a file first")
        from analyzer import api
        from analyzer.cli.source import Source
        from analyzer.render.comparison import Compared, comparison_json, comparison_text

        sources = [Source([file], Reading(), own_process=own_process) for file in (self.first, self.second)]
        names = api.point_names([self.first], [self.second])
        made = api.compare_tables(names, *(source.stream(segments=True) for source in sources))
        compared = Compared({name: made.arrow(name) for name in made}, made.names, made.unpaired)
        if self.format == "json":
            print(json.dumps(comparison_json(compared), indent=2, allow_nan=False))
        else:
            width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if sys.stdout.isatty() else PIPED_WIDTH
            print(comparison_text(compared, width, colour=shows_colour()))
        return max(source.exit_code() for source in sources)
