"""Rows as columns of text, aligned; on a terminal no wider than it is.

Where there is no room for all columns, the most telling stay. Sentences go on in the next line, other cells are cut.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, BinaryIO

from analyzer.render.escape import visible
from analyzer.tables.kinds import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

PROSE = {"explanation": 48, "title": 32, "recommendation": 48}
"""Columns of sentences, and the fewest characters in which they can be read: with less they find no room."""

WIDEST = 48
"""Characters at which other cells may be cut; whatever is left of the line is theirs, too."""

LISTS = {"flow_ids": 12, "evidence_frames": 12}
"""The same for lists of numbers: the first ones are enough to look further."""

SAMPLE_ROWS = 2_000
"""Rows that decide how wide the columns are; all are then written row by row."""


def write_grid(
    out: BinaryIO, table: Table, chunks: Iterator[pa.Table], width: int | None, first: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """Write rows of `table` to `out`; return how many, and the columns that found no room.

    width  columns of the terminal, None = no terminal: nothing is cut or left out
    first  columns that get their room before the others, the most telling first
    """
    rows = (row for part in chunks for row in zip(*(cells(c, part[c.name]) for c in table.columns), strict=True))
    sample = list(islice(rows, SAMPLE_ROWS))
    natural = [max(map(len, column)) for column in zip(table.names, *sample, strict=True)]
    widths = dict(enumerate(natural)) if width is None else _fit(table, natural, width, first)
    count = -1  # the header is none
    for row in chain([table.names], sample, rows):
        count += 1
        for line in _lines(table, row, widths, whole=width is None):
            out.write((line.rstrip() + "\n").encode("utf-8", "backslashreplace"))
    return count, [name for at, name in enumerate(table.names) if at not in widths]


def _fit(table: Table, natural: list[int], width: int, first: Sequence[str]) -> dict[int, int]:
    """Return the columns that fit into `width`, from left to right, and how wide each is."""
    rank = {name: place for place, name in enumerate((*first, *table.names)) if name not in first[:place]}
    least = [min(wide, (PROSE | LISTS).get(name, WIDEST)) for name, wide in zip(table.names, natural, strict=True)]
    widths: dict[int, int] = {}
    left = width + 2  # no gap before the first
    for at in sorted(range(len(natural)), key=lambda at: rank[table.names[at]]):
        if least[at] + 2 <= left:
            widths[at] = least[at]
            left -= least[at] + 2
    if not widths:
        return {0: max(1, width)}
    lacking = sorted((at for at in widths if natural[at] > widths[at]), key=lambda at: natural[at] - widths[at])
    for waiting, at in zip(range(len(lacking), 0, -1), lacking, strict=True):  # what one leaves is the others'
        more = min(natural[at] - widths[at], left // waiting)
        widths[at] += more
        left -= more
    return dict(sorted(widths.items()))


def _lines(table: Table, row: tuple[str, ...], widths: dict[int, int], *, whole: bool) -> Iterator[str]:
    """Yield the lines of one row: more than one where a sentence needs them."""
    parts = []
    for at, wide in widths.items():
        cell = row[at]
        if whole or len(cell) <= wide:
            parts.append([cell])
        elif table.columns[at].name in PROSE:
            parts.append(textwrap.wrap(cell, wide))
        else:
            parts.append([cell[: wide - 1] + "…"])
    right = [table.columns[at].type in ("n", "s") for at in widths]
    for line in zip_longest(*parts, fillvalue=""):
        aligned = zip(line, widths.values(), right, strict=True)
        yield "  ".join(cell.rjust(wide) if end else cell.ljust(wide) for cell, wide, end in aligned)


def cells(column: Column, values: Any) -> list[str]:
    """Return a column's cells as a person reads them; missing is "-"."""
    import pyarrow as pa

    if column.type == "ts":  # never through Python objects: pyarrow would need pandas for their nanoseconds
        texts = values.cast(pa.string()).to_pylist()
        return ["-" if text is None else text[:26] for text in texts]
    return [_cell(column, value) for value in values.to_pylist()]


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return "-"
    if column.type == "s":
        return f"{value:.6f}" if column.unit == "s" else f"{value:.3g}"
    if column.type == "bool":
        return "yes" if value else "no"
    if column.type == "frames":
        return " ".join(map(str, value))
    return visible(str(value))
