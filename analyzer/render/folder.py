"""The folder that tables are written to. Apart from `files`: a wrong one is refused before pyarrow is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from analyzer.errors import AnalyzerError


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise AnalyzerError(f"{folder} is a file, not a folder", "name another folder with --out") from None
    except OSError as error:
        raise AnalyzerError(f"{folder} cannot be made: {error.strerror}", "name another folder with --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AnalyzerError(f"{folder} cannot be written to", "name another folder with --out")
