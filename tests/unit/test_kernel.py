"""Arrays that grow: where they lie if there is room, by copy if there is not, and always with what they held."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from analyzer import kernel
from analyzer.kernel import grown, records, roomy, untouched

ROW = np.dtype([("a", "<i8"), ("b", "<i4")])
MANY = 1_000_000  # rows: more than what is worth a mapping of its own


def test_a_large_array_grows_where_it_lies() -> None:
    before = records(MANY, ROW)
    before["a"][:] = 7
    for after in (grown(before, 3 * MANY), roomy(before, 10, 3 * MANY)):
        assert after.ctypes.data == before.ctypes.data
        assert after.shape[0] >= 3 * MANY
        assert (after["a"][:MANY] == 7).all()
        assert not after["a"][MANY:].any()


def test_a_small_array_is_copied() -> None:
    before = records(10, ROW)
    before["a"][:] = 7
    after = grown(before, 15)
    assert after.ctypes.data != before.ctypes.data
    assert (after["a"][:10] == 7).all() and not after["a"][10:].any() and after.shape == (20,)


def test_beyond_the_room_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_RESERVED", 2)
    before = records(MANY, ROW)
    before["b"][:5] = 1, 2, 3, 4, 5
    after = grown(before, 5 * MANY, 5)
    assert after.ctypes.data != before.ctypes.data
    assert after["b"][:6].tolist() == [1, 2, 3, 4, 5, 0]


def test_address_space_that_is_counted_is_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def limited(handle: int, n: int, **how: int) -> mmap.mmap:
        asked.append(n)
        if n > 100 << 20:
            raise OSError(12, "Cannot allocate memory")
        return mmap.mmap(handle, n, **how)

    class Limited:
        def __getattr__(self, name: str) -> object:
            return limited if name == "mmap" else getattr(mmap, name)

    monkeypatch.setattr(kernel, "mmap", Limited())
    assert untouched(50 << 20).size == 50 << 20
    assert asked == [1 << 30, 50 << 20]
