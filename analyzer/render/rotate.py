"""Tables of a capture that does not end: a folder per table, filled with Parquet files that are whole at any moment.

    DIR/flows/part-00001.parquet, part-00002.parquet, ...    rows in the table's order within each part
    DIR/captures/part-00000.parquet, ...                     tables about the whole: one part, replaced at each rotation
    DIR/flows/part-00000.parquet, ...                        connections that are open or linger, as they stood at the
                                                             last rotation: also replaced, empty in the end
    DIR/summary.json                                         replaced at each rotation

Of several processes that share a capture each has parts of its own: DIR/flows/process=1/part-00001.parquet.
`pandas.read_parquet("DIR/flows")` reads what there is. Every folder has a part from the start, so it always can. A part
is written under a hidden name and renamed, so what has a name is complete; a crash loses what came since the last
rotation and nothing else. One in the middle of a rotation may leave a connection's row twice, final and as it stood.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from analyzer.errors import AnalyzerError
from analyzer.render.files import write_summary, write_table
from analyzer.render.folder import output_folder
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES, empty_table

WHOLE = ("timeouts", "findings", "endpoints", "captures", "anomalies")
"""Tables about the whole capture: their rows replace the earlier ones."""

STANDING = ("flows", "closes", "keepalives", "idle_gaps")
"""Tables with a part of rows that are not final."""

ROTATE_S = 60.0
ROTATE_BYTES = 32 << 20
"""Arrow rows in memory before a part is written although its time has not come: about 25,000 connections."""

HELD_BYTES = 256 << 20
"""Rows kept while the disk is full. Beyond it the oldest are given up, and counted."""


class PartSink:
    """Takes chunks of tables as they come and writes a part of each now and then.

    lost     rows given up because the disk stayed full    trouble  what went wrong, until somebody takes it
    Raises AnalyzerError if the folder cannot be used, or holds tables of another run.
    """

    def __init__(
        self,
        folder: Path,
        rotate_s: float = ROTATE_S,
        rotate_bytes: int = ROTATE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        process: int = 0,
    ) -> None:
        own = f"process={process or '*'}/part-*.parquet"  # those of the others may be of this capture
        taken = [name for name in TABLES if any(any((folder / name).glob(how)) for how in ("part-*.parquet", own))]
        if taken:
            raise AnalyzerError(f"{folder} already holds tables of another capture", "name another folder with --out")
        self.folder = folder
        self._process = process
        self._rotate_s, self._rotate_bytes, self._clock = rotate_s, rotate_bytes, clock
        self._held: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._bytes = 0
        self._writing: _Rotation | None = None
        self._number = 0
        self._due = clock() + rotate_s
        self.lost = 0
        self.trouble = ""
        self._write_empty()

    def _write_empty(self) -> None:
        """Write an empty part of every table, or leave nothing behind if there is no room for all of them."""
        with output_folder(self.folder), ExitStack() as undo:
            for name in TABLES:
                path = part_path(self.folder, name, 0, self._process)
                undo.enter_context(output_folder(path.parent))
                write_table(path, "parquet", name, empty_table(name))
                undo.callback(path.unlink)
            undo.pop_all()

    def write(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`, in any order."""
        if not rows.num_rows:
            return
        if name in WHOLE:
            self._held[name] = [rows]
            return
        self._held[name].append(rows)
        self._bytes += rows.nbytes

    @property
    def due(self) -> bool:
        """True if it is time for the next part."""
        return self._writing is None and (self._clock() >= self._due or self._bytes >= self._rotate_bytes)

    def rotate(self, summary: dict[str, Any] | None = None, standing: Iterable[tuple[str, pa.Table]] = ()) -> None:
        """Write a part of every table that has rows. What a full disk does not take is kept for the next time.

        standing  rows of tables of STANDING that are not final: written in place of the last such rows
        """
        self.begin(summary, standing)
        self.settle()

    def begin(self, summary: dict[str, Any] | None = None, standing: Iterable[tuple[str, pa.Table]] = ()) -> None:
        """As `rotate`, but return at once: packets go on coming. `settle` says what became of it.

        `standing` is asked for its rows by another thread.
        """
        self.settle()
        self._due = self._clock() + self._rotate_s
        self._number += 1
        rows, self._held = self._held, {name: [] for name in TABLES}
        self._bytes = 0
        self._writing = _Rotation(self.folder, self._number, self._process, rows, standing, summary)
        self._writing.start()

    def settle(self, *, wait: bool = True) -> None:
        """Take back what a rotation could not write, once it is over; without `wait`, only if it is."""
        writing = self._writing
        if writing is None or (not wait and writing.is_alive()):
            return
        writing.join()
        self._writing = None
        for name, parts in writing.rows.items():
            if name not in WHOLE:
                self._held[name] = parts + self._held[name]
                self._bytes += sum(part.nbytes for part in parts)
            elif not self._held[name]:
                self._held[name] = parts
        if isinstance(writing.error, OSError):
            reason = writing.error.strerror or writing.error
            self.trouble = f"writing to {self.folder} failed: {reason}; rows are kept for a while"
            self._give_up_oldest()
        elif writing.error is not None:
            raise writing.error

    def close(self, summary: dict[str, Any] | None) -> None:
        """Write the last parts."""
        self.rotate(summary)
        self.lost += sum(part.num_rows for name, parts in self._held.items() if name not in WHOLE for part in parts)

    def _give_up_oldest(self) -> None:
        while self._bytes > HELD_BYTES:
            name = max(
                (name for name in TABLES if name not in WHOLE and self._held[name]),
                key=lambda name: sum(part.nbytes for part in self._held[name]),
            )
            gone = self._held[name].pop(0)
            self._bytes -= gone.nbytes
            self.lost += gone.num_rows


class _Rotation(threading.Thread):
    """Writes one part of every table. rows  what it did not write (yet)    error  why, None if all went well."""

    def __init__(
        self,
        folder: Path,
        number: int,
        process: int,
        rows: dict[str, list[pa.Table]],
        standing: Iterable[tuple[str, pa.Table]],
        summary: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self._folder, self._number, self._process = folder, number, process
        self._standing, self._summary = standing, summary
        self.rows = rows
        self.error: BaseException | None = None

    def run(self) -> None:
        give_way()
        try:
            stood: dict[str, list[pa.Table]] = {name: [empty_table(name)] for name in STANDING}
            for name, rows in self._standing:
                stood[name].append(rows)
            for name in list(self.rows):
                parts = self.rows[name]
                if parts:
                    path = part_path(self._folder, name, 0 if name in WHOLE else self._number, self._process)
                    write_table(path, "parquet", name, in_order(name, parts))
                self.rows[name] = []
            for name, parts in stood.items():
                write_table(part_path(self._folder, name, 0, self._process), "parquet", name, in_order(name, parts))
            if self._summary is not None:
                write_summary(self._folder, self._summary)
        except BaseException as error:
            self.error = error


def give_way() -> None:
    """Let other threads run before this one: packets do not wait, files do."""
    if sys.platform == "linux":  # elsewhere priorities are of processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def part_path(folder: Path, name: str, number: int, process: int = 0) -> Path:
    """Return where a part of table `name` lies; number 0 is the one that is replaced at each rotation.

    process  whose it is, 0 = there is but one. As Hive names folders, so that who reads them gets it as a column
    """
    own = folder / name / f"process={process}" if process else folder / name
    return own / f"part-{number:05d}.parquet"
