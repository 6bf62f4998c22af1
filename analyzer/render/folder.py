"""The folder that tables are written to. Apart from `files`: a wrong one is refused before pyarrow is loaded."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from analyzer.errors import AnalyzerError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What writing fails with where a disk, a user's share of it, or a file is full."""


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make the folder, with those above it, for what is written in the context.

    Folders that were made and stay empty are removed again. Raises AnalyzerError if the folder cannot be used, or has
    no room.
    """
    # from the deepest up; Path.exists raises where it may not look
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110
    try:
        make_folder(folder)
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        hint = "make room there, or name another folder with --out"
        raise AnalyzerError(f"{folder} cannot be written to: {os.strerror(error.errno)}", hint) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is in use
                path.rmdir()


def make_folder(folder: Path) -> None:
    """Make the folder, with those above it, if it is not there; AnalyzerError if it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise AnalyzerError(f"{folder} is a file, not a folder", "name another folder with --out") from None
    except OSError as error:
        raise AnalyzerError(f"{folder} cannot be made: {error.strerror}", "name another folder with --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AnalyzerError(f"{folder} cannot be written to", "name another folder with --out")
