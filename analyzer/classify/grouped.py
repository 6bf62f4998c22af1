"""Rows about flows that are kept until the end of a capture, and their groups by server."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64

Rows = NDArray[Any]

LIVE_FLOWS = 500_000
"""Connections that tables about the whole look back on where a capture does not end: 30 to 40 MB for each of them."""


class Latest:
    """Rows in the order in which they came; with a `limit`, at least that many of the latest ones only."""

    def __init__(self, dtype: np.dtype[Any], limit: int = 0) -> None:
        self.dtype, self.limit = dtype, limit
        self._parts: list[Rows] = []
        self._size = 0

    def add(self, rows: Rows) -> None:
        """Keep more rows."""
        if not rows.size:
            return
        self._parts.append(rows)
        self._size += rows.size
        while self.limit and self._size - self._parts[0].size >= self.limit:
            self._size -= self._parts.pop(0).size

    def rows(self) -> Rows:
        """Return what is kept."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, self.dtype)

    def last(self, most: int) -> list[Rows]:
        """Return the latest rows in the parts in which they came: `most` of them, and a part is not cut."""
        parts: list[Rows] = []
        for part in reversed(self._parts):
            if most <= 0:
                break
            parts.append(part)
            most -= part.size
        return parts[::-1]


SERVER = ("version", "hi", "lo", "port")
"""Fields of rows that say which server's they are."""


def server_numbers(rows: Rows) -> I64:
    """Return a number for each row: that of its server among all servers of these rows, which are in order."""
    order = np.lexsort([rows[name] for name in reversed(SERVER)])
    differs = np.zeros(rows.size, np.int64)
    for name in SERVER:
        differs[1:] |= rows[name][order][1:] != rows[name][order][:-1]
    result = np.empty(rows.size, np.int64)
    result[order] = np.cumsum(differs)
    return result


def by_server(rows: Rows) -> list[Rows]:
    """Return rows with version, hi, lo and port of a server in one group per server, each by flow_id."""
    server = server_numbers(rows)
    order = np.lexsort((rows["flow_id"], server))
    return np.split(rows[order], np.flatnonzero(np.diff(server[order])) + 1) if rows.size else []
