"""Rows kept until the end, or the latest of them where there is no end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analyzer.classify.grouped import Latest, by_server

ROW = np.dtype([("version", np.int8), ("hi", np.int64), ("lo", np.int64), ("port", np.int32), ("flow_id", np.int64)])


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_the_latest_are_kept(sizes: list[int], limit: int) -> None:
    every, latest = Latest(np.dtype(np.int64)), Latest(np.dtype(np.int64), limit)
    at = 0
    for size in sizes:
        rows = np.arange(at, at + size)
        every.add(rows)
        latest.add(rows)
        at += size
    assert every.rows().tolist() == list(range(at))
    kept = latest.rows().tolist()
    assert kept == list(range(at - len(kept), at))
    assert min(limit, at) <= len(kept) < limit + 9


def test_groups_are_servers() -> None:
    rows = np.array([(4, 0, 2, 80, 5), (4, 0, 1, 80, 4), (4, 0, 2, 80, 3), (4, 0, 2, 443, 2)], ROW)
    assert [group["flow_id"].tolist() for group in by_server(rows)] == [[4], [3, 5], [2]]
    assert by_server(rows[:0]) == []
