"""Rows of all tables, taken in any order and given back table by table in their final order, in bounded memory.

Flows end when they end, so their rows come in another order than the tables' sort keys. Until MEMORY_BYTES the chunks
simply wait. Beyond it the largest table is sorted and moved to disk as a *run* (an Arrow IPC file of small batches);
`read` merges a table's runs with what is still in memory. Rows with equal keys keep the order in which they came, so a
table is the same whether it was spilled or not.

Conclusions about the whole capture (tables whose key is not made of whole numbers) come in one piece out of memory;
they are never spilled.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.render.merge import merge, sorted_rows
from analyzer.tables.schema import TABLES, Table, arrow_schema

if TYPE_CHECKING:
    from analyzer.tables.where import Where

MEMORY_BYTES = 48 << 20
"""Rows held in memory, all tables together: some 14,000 flows with all that belongs to them, so that most captures
never touch the disk. Sorting needs copies: with 64 MiB the process grew by 230 MB over 10 million segments (128 MiB:
520 MB). A MiB less here is one and a half less of the process."""

MAX_RUNS = 32
"""Runs of one table before they are merged into one: each open run holds one batch (see `_batch_rows`). Fewer runs make
longer batches, and a merge costs by the batch: a scan of a million flows took 20 s of processor time so, 30 s with
batches a quarter as long."""

CHUNK_BYTES = 256
"""What a column of a chunk takes beside its data: counts when many small chunks come."""


class Spool:
    """Keeps rows until they are asked for. Use it as a context manager: leaving it removes what lies on disk.

    folder  where runs are kept, None = the system's temporary folder; nothing is written there before it is needed
    memory_bytes  Arrow data held in memory before the largest table goes to disk
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._held: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._bytes: dict[str, int] = {name: 0 for name, table in TABLES.items() if _spillable(table)}
        self._runs: dict[str, list[Path]] = {name: [] for name in TABLES}
        self._runs_made = 0
        self._temporary: Path | None = None

    def write(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`, in any order; ValueError if they do not have its schema (our bug)."""
        if not rows.schema.equals(arrow_schema(name)):
            raise ValueError(f"rows of table {name} do not have its schema")
        if not rows.num_rows:
            return
        self._held[name].append(rows)
        if name in self._bytes:
            self._bytes[name] += rows.nbytes + CHUNK_BYTES * rows.num_columns
            while sum(self._bytes.values()) > self._memory_bytes:
                self._spill(max(self._bytes, key=self._bytes.__getitem__))

    @property
    def spilled(self) -> bool:
        """True if rows lie on disk."""
        return self._temporary is not None

    def seal(self, names: Iterable[str]) -> None:
        """These tables get no more rows, and may be read by another thread while others are written."""
        for name in names:
            self._bytes.pop(name, None)

    def read(self, name: str, kept: NDArray[np.bool_] | None = None) -> Iterator[pa.Table]:
        """Yield table `name` in its final order, in chunks of any size, none if it is empty; may be called again.

        kept  (m,) flow_id -> keep it; rows of other flows are left out. Tables without flow_id are given whole
        """
        key = TABLES[name].sort_key
        runs = [_read_run(path) for path in self._runs[name]]
        if self._held[name]:
            self._held[name].append(sorted_rows(self._held[name], key))
            runs.append(iter(self._held[name]))
        for rows in merge(runs, key):
            chosen = _of_flows(rows, kept) if kept is not None and "flow_id" in TABLES[name] else rows
            if chosen.num_rows:
                yield chosen

    def kept_flows(self, where: Where) -> NDArray[np.bool_]:
        """Return an array flow_id -> does the flow satisfy `where`; one byte a flow."""
        kept = np.zeros(0, dtype=np.bool_)
        for rows in self.read("flows"):
            chosen = rows["flow_id"].filter(where.mask(rows)).to_numpy()
            if chosen.size:
                kept = np.concatenate([kept, np.zeros(max(0, int(chosen.max()) + 1 - kept.size), dtype=np.bool_)])
                kept[chosen] = True
        return kept

    def tables(self, where: Where | None = None) -> Iterator[tuple[str, Iterator[pa.Table]]]:
        """Yield every table with its chunks, in the order of the schema; with `where`, of the flows that satisfy it."""
        kept = None if where is None else self.kept_flows(where)
        for name in TABLES:
            yield name, self.read(name, kept)

    def close(self) -> None:
        """Forget the rows and remove what lies on disk."""
        self._held = {name: [] for name in TABLES}
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -------------------------------------------------------------------------------------- runs on disk

    def _spill(self, name: str) -> None:
        """Move what is held of table `name` to disk, sorted."""
        chunks, key = self._held[name], TABLES[name].sort_key
        batch_rows = self._batch_rows(self._bytes[name], sum(rows.num_rows for rows in chunks))
        self._held[name], self._bytes[name] = [], 0
        self._runs[name].append(self._write_run(name, iter([sorted_rows(chunks, key)]), batch_rows))
        if len(self._runs[name]) == MAX_RUNS:
            old = self._runs[name]
            self._runs[name] = [self._write_run(name, merge([_read_run(path) for path in old], key), batch_rows)]
            for path in old:
                path.unlink()
        pa.default_memory_pool().release_unused()

    def _batch_rows(self, size: int, rows: int) -> int:
        """Return how many rows a batch of a run has: MAX_RUNS of them take as much as what is held."""
        row_bytes = max(1, size // rows)
        return max(64, self._memory_bytes // MAX_RUNS // row_bytes)

    def _write_run(self, name: str, chunks: Iterator[pa.Table], batch_rows: int) -> Path:
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix=".longwire-", dir=self._folder))
        path = self._temporary / f"{name}.{self._runs_made}.arrow"
        self._runs_made += 1
        # lz4 makes a run of segments three times smaller and costs less than writing the difference
        options = pa.ipc.IpcWriteOptions(compression="lz4" if pa.Codec.is_available("lz4") else None)
        with (
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_file(file, arrow_schema(name), options=options) as out,
        ):
            for rows in chunks:
                out.write_table(rows, max_chunksize=batch_rows)
        return path


def _spillable(table: Table) -> bool:
    return bool(table.sort_key) and all(table.column(key).type in ("n", "ts") for key in table.sort_key)


def _read_run(path: Path) -> Iterator[pa.Table]:
    """Yield the batches of a run; the file is read through, not mapped, so that its pages do not count as ours."""
    with pa.OSFile(str(path), "rb") as file:
        run = pa.ipc.open_file(file)
        for at in range(run.num_record_batches):
            yield pa.Table.from_batches([run.get_batch(at)])


def _of_flows(rows: pa.Table, kept: NDArray[np.bool_]) -> pa.Table:
    ids = pc.fill_null(rows["flow_id"], -1).to_numpy()
    known = (ids >= 0) & (ids < kept.size)
    mask = np.zeros(ids.size, dtype=np.bool_)
    mask[known] = kept[ids[known]]
    return rows if mask.all() else rows.filter(pa.array(mask))
