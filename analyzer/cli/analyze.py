"""`longwire analyze`: from arguments to one call of the API, and its tables to files or to the terminal."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import analyzer
from analyzer.cli import console
from analyzer.cli.request import Request
from analyzer.cli.source import key_logs, settings_of
from analyzer.errors import AnalyzerError
from analyzer.render.folder import output_folder
from analyzer.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.api import Notice
    from analyzer.render.summary import Summary
    from analyzer.tables.where import Where

DAMAGED = 1


def analyze_files(request: Request, *, own_process: bool = False) -> int:
    """Analyse, print or write, and return the exit code. A wrong request is found before anything is read.

    own_process  True if nothing else will ever run in this process (see `prepare_process`)
    """
    where = _where(request)
    settings = settings_of(request.idle_min_s)
    if request.segments and request.out is None:
        raise AnalyzerError("--segments makes a table, and there is nowhere to write it", "add --out DIR")
    if request.payload and request.out is None:
        raise AnalyzerError("--payload fills a column, and there is nowhere to write it", "add --out DIR")
    if request.records and request.out is None:
        raise AnalyzerError("--records makes rows, and there is nowhere to write them", "add --out DIR")
    if request.format != "parquet" and request.out is None:
        raise AnalyzerError(
            f"--format {request.format} is for tables, and there is nowhere to write them", "add --out DIR"
        )
    with output_folder(request.out) if request.out is not None else nullcontext(), console.Progress() as progress:
        loading = _Loading(progress)
        read = partial(_begin, request, settings, loading, progress.notice, own_process=own_process)
        if request.out is None:
            summary = _summary(read(), where)
        else:
            summary = _write(request, request.out, read, where, settings)
        loading.wait()
    if request.out is None:
        from analyzer.render.text import print_summary

        print_summary(summary, sys.stdout, chosen=where is not None)
    else:
        from analyzer.render.plain import many

        console.say(f"wrote {len(summary.rows)} tables of {many(summary.flows, 'connection')} to {request.out}")
    if summary.damaged:
        console.say("warning: the input was damaged; what could be read of it is analysed")
        return DAMAGED
    return 0


def _where(request: Request) -> Where | None:
    if request.where is None:
        return None
    from analyzer.tables.where import parse_where

    return parse_where(request.where)


_NEEDED_LATER = (
    "pyarrow.compute", "pyarrow.parquet", "numpy.ma", "analyzer.classify.beats", "analyzer.classify.flow",
    "analyzer.classify.sentences", "analyzer.classify.whole", "analyzer.render.files", "analyzer.render.summary",
)  # fmt: skip


class _Loading:
    """Loads what only the output needs while the capture is read: kernels leave the interpreter to others.

    It begins with the first progress after the first rows were asked for: else it would be in the way of what reading
    needs.
    """

    def __init__(self, progress: console.Progress) -> None:
        self._progress, self._may_begin = progress, False
        self._thread: threading.Thread | None = None

    def __call__(self, done: int, total: int | None) -> None:
        if self._may_begin and self._thread is None:
            self._thread = threading.Thread(target=_load, daemon=True)
            self._thread.start()
        self._progress(done, total)

    def behind(self, chunks: Iterator[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        """Yield `chunks`; from the first that is asked for on, this may begin."""
        self._may_begin = True
        yield from chunks

    def wait(self) -> None:
        """Return when it is over."""
        if self._thread is not None:
            self._thread.join()


def _load() -> None:
    for name in _NEEDED_LATER:
        importlib.import_module(name)
    from analyzer.knowledge.load import Knowledge

    Knowledge.shipped()  # reads it, for good


def prepare_process() -> None:
    """Set what only a process of our own may set, before the first table is made."""
    choose_allocator()
    spare_pandas()


def choose_allocator() -> None:
    """Before Arrow is loaded: its own allocator keeps what is freed, 411 instead of 377 MB on 4,000,000 packets."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas in this process, for good: it takes 0.35 s, and no file or screen needs it.

    At its first conversion pyarrow looks whether pandas can be imported, and remembers the answer. So pandas is hidden
    for that moment.
    """
    if "pandas" in sys.modules:
        return
    hiding = _NoPandas()
    sys.meta_path.insert(0, hiding)
    try:
        import pyarrow as pa

        pa.array([0])
    finally:
        sys.meta_path.remove(hiding)


class _NoPandas:  # a finder by its method alone: importlib.abc takes 5 ms
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not needed here", name=name)


def _begin(
    request: Request,
    settings: Settings,
    loading: _Loading,
    notice: Notice,
    complete: Callable[[Sequence[str]], None] | None = None,
    *,
    own_process: bool,
) -> Iterator[tuple[str, pa.Table]]:
    """Begin to read: what is loaded next takes as long as the first batch."""
    from analyzer import api

    if own_process:
        choose_allocator()
    chunks = api.stream(
        list(request.files), keys=key_logs(request.keys) or None, segments=request.segments, payload=request.payload,
        records=request.records, settings=settings, knowledge=request.knowledge,
        progress=loading, notice=notice, complete=complete,
    )  # fmt: skip
    if own_process:
        spare_pandas()
    return loading.behind(chunks)


def _summary(chunks: Iterator[tuple[str, pa.Table]], where: Where | None) -> Summary:
    """Return the summary of what is kept; with `where`, rows wait until every flow is known."""
    from analyzer.render.spool import Spool
    from analyzer.render.summary import summarize

    if where is None:
        return summarize(chunks)
    with Spool() as spool:
        for name, rows in chunks:
            spool.write(name, rows)
        return summarize((name, rows) for name, table in spool.tables(where) for rows in table)


def _write(
    request: Request,
    out: Path,
    read: Callable[..., Iterator[tuple[str, pa.Table]]],
    where: Where | None,
    settings: Settings,
) -> Summary:
    def complete(names: Sequence[str]) -> None:
        sink.complete(names)

    chunks = read(complete=complete)
    from analyzer.render.files import TableSink, write_summary
    from analyzer.render.summary import Collector
    from analyzer.tables.schema import TABLES

    collector = Collector()
    with TableSink(out, request.format, where, collector.add) as sink:
        for name, rows in chunks:
            sink.write(name, rows)
        sink.close()
    summary = collector.result()
    summary.rows = {name: summary.rows.get(name, 0) for name in TABLES}
    about = {"longwire": analyzer.__version__, "settings": settings.as_dict(), "where": request.where}
    write_summary(out, about | summary.as_dict())
    return summary
