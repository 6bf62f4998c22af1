"""From what went wrong to words on stderr and an exit code; our own bugs raise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from analyzer.cli import console
from analyzer.errors import AnalyzerError
from analyzer.render.folder import NO_ROOM

OK, DAMAGED, UNUSABLE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


def guarded(work: Callable[[], int]) -> int:
    """Run `work` and return its exit code, or that of what it raised."""
    for stream in (sys.stdout, sys.stderr):  # a name from the wire must not fail on a terminal that is not UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
        sys.stdout.flush()
        return code
    except AnalyzerError as error:
        console.print_error(error.message, error.hint)
        return UNUSABLE
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        console.abandon_stdout()
        return PIPE_CLOSED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in NO_ROOM:
            console.print_error(f"{place}{os.strerror(error.errno)}", "make room there, or name another place to write")
        else:
            console.print_error(f"{place}{error.strerror or error}", "")
        return UNUSABLE
    except KeyboardInterrupt:
        console.print_error("interrupted", "")
        return INTERRUPTED
