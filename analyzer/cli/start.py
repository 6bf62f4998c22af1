"""Where the command begins: the plain forms of `longwire analyze` are read without typer.

Typer and the validation library behind it take a quarter of a second to import and to read one command line, as long
as everything else that a small capture needs. So arguments that leave no doubt are read here; whatever else there is
(help, mistakes, abbreviations, other commands) is typer's, and a test holds the two to the same answers.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

from analyzer.cli.guard import guarded
from analyzer.cli.request import Request

FORMATS = ("parquet", "csv", "json")
_TAKES_A_WORD = ("--out", "--format", "--where", "--idle-min", "--knowledge", "--keys")


def run() -> None:
    """Entry point of the `longwire` command and of `python -m analyzer`."""
    for name in ("stdout", "stderr"):  # closed by whoever started this: there is nobody to tell
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    signal.signal(signal.SIGTERM, _end)
    code = command(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is written, and to free it piece by piece takes 45 ms


def _end(number: int, frame: object) -> None:
    """Leave all contexts, so that nothing half-made stays behind."""
    raise SystemExit(128 + number)


def command(arguments: list[str]) -> int:
    """Do what the arguments say and return the exit code."""
    _tune()
    request = read_plain(arguments)
    if request is not None:
        return guarded(lambda: _analyze(request))
    from analyzer.cli.main import main

    return main(arguments, own_process=True)


def _tune() -> None:
    """Set what only a process of our own may set, and before anything large is imported."""
    # numpy's linear algebra starts a thread a core at import (50 ms on two cores), and nothing here multiplies matrices
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.setswitchinterval(0.0002)  # seconds: a thread that comes out of a kernel waits no longer for the interpreter
    gc.set_threshold(1_000_000, 20, 20)  # what piles up is rows, not cycles: looking for these took 6 % of the time


def _analyze(request: Request) -> int:
    from analyzer.cli.analyze import analyze_files

    return analyze_files(request, own_process=True)


def read_plain(arguments: list[str]) -> Request | None:
    """Return what `longwire analyze` is asked to do, None where only typer can tell.

    Plain are files, and options written in full, each once and with its word after a space.
    """
    if arguments[:1] != ["analyze"]:
        return None
    words: dict[str, str] = {}
    files: list[Path] = []
    segments = False
    rest = iter(arguments[1:])
    for argument in rest:
        if argument == "--segments" and not segments:
            segments = True
        elif argument in _TAKES_A_WORD and argument not in words:
            word = next(rest, "-")
            if word.startswith("-") or not word:
                return None
            words[argument] = word
        elif argument == "-" or (argument and not argument.startswith("-")):
            files.append(Path(argument))
        else:
            return None
    idle_min = _number(words.get("--idle-min"))
    format = words.get("--format", FORMATS[0])
    if not files or format not in FORMATS or ("--idle-min" in words and idle_min is None):
        return None
    out = Path(words["--out"]) if "--out" in words else None
    knowledge = Path(words["--knowledge"]) if "--knowledge" in words else None
    keys = (Path(words["--keys"]),) if "--keys" in words else ()
    return Request(tuple(files), out, format, segments, words.get("--where"), idle_min, knowledge, keys)


def _number(word: str | None) -> float | None:
    """Return a number of plain digits, None for any other way to write one."""
    if word is None or not word.isascii() or not word.replace(".", "", 1).isdigit():
        return None
    return float(word)
