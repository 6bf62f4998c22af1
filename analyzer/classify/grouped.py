"""Rows about flows that are kept until the end of a capture, and their groups by server."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]

MOST_HELD = 1 << 19
"""Rows of one kind: what a finding says of half a million connections it would also say of more."""


def together(parts: list[Rows], more: Rows) -> list[Rows]:
    """Return the parts with `more`; of too many rows the oldest half is forgotten."""
    parts = [*parts, more]
    if sum(part.size for part in parts) > MOST_HELD:
        whole = np.concatenate(parts)
        return [whole[whole.size // 2 :]]
    return parts


def by_server(rows: Rows) -> list[Rows]:
    """Return rows with version, hi, lo and port of a server in one group per server, each by flow_id."""
    rows = rows[np.lexsort((rows["flow_id"], rows["port"], rows["lo"], rows["hi"], rows["version"]))]
    differs = np.zeros(max(rows.size - 1, 0), np.bool_)
    for name in ("version", "hi", "lo", "port"):
        differs |= rows[name][1:] != rows[name][:-1]
    return np.split(rows, np.flatnonzero(differs) + 1) if rows.size else []
