"""Rows of Arrow tables as plain Python values, and numbers as a person reads them.

Times become whole nanoseconds: pyarrow would need pandas for them otherwise, which the command does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def plain_rows(rows: pa.Table) -> list[Row]:
    """Return `rows` as dicts; times are UTC nanoseconds."""
    import pyarrow as pa

    for at, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.int64()))
    made: list[Row] = rows.to_pylist()
    return made


def span(value: float | None) -> str:
    """Return a span of time with its unit: 0.014 ms, 1.954 s, 512.4 s, 2 h 13 min; "?" for None."""
    if value is None:
        return "?"
    if value >= 7200:
        return f"{value / 3600:.1f} h"
    if value >= 100:
        return f"{value:,.1f} s"
    if value >= 0.1 or value == 0:
        return f"{value:.3f} s"
    return f"{value * 1000:.3f} ms"


def size(count: float | None) -> str:
    """Return a number of bytes with its unit (1 kB = 1000 B); "?" for None."""
    if count is None:
        return "?"
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count:.0f} B"


def many(count: int, what: str) -> str:
    """Return a count with its noun: 1 probe, 2,000 probes."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def frames(numbers: Sequence[int], most: int) -> str:
    """Return sorted frame numbers with their noun, three and more in a row as one: frame 7, frames 6 8-11 40 ..."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [part for run in runs for part in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run))]
    more = " ..." if len(shown) > most else ""
    return f"frame{'' if len(numbers) == 1 else 's'} {' '.join(shown[:most])}{more}"


def clock(ts_ns: int) -> str:
    """Return a time of day with its date, UTC, milliseconds."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{ts_ns % 10**9 // 10**6:03d}Z"


def places(addresses: pa.ChunkedArray, ports: pa.ChunkedArray) -> pa.Array:
    """Return what `kinds.place` is of each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    addresses = pc.fill_null(addresses, "?")
    wrapped = pc.if_else(
        pc.match_substring(addresses, ":"), pc.binary_join_element_wise("[", addresses, "]", ""), addresses
    )
    joined = pc.binary_join_element_wise(wrapped, pc.fill_null(ports.cast(pa.string()), "?"), ":")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
