"""Kernels: plain Python over numpy record arrays, compiled by numba.

One source, three ways to run it, all with bit-identical results:

    normally               compiled once, then loaded as machine code without importing numba (see `native`)
    NUMBA_DISABLE_JIT=1    plain Python: the kernel is its own slow, debuggable reference
    NUMBA_BOUNDSCHECK=1    compiled by numba with every index checked: for tests and fuzzers

    @kernel   an entry point, called from Python with arrays and integers
    @helper   called only from kernels (and compiled into them), or from Python as the plain function that it is
    @routine  a helper that stays a function of its own in compiled code: for what happens once a message, not once a
              segment. Inlining everything makes a kernel of many steps several times slower to compile

A kernel allocates nothing and keeps no objects: what it needs and what it fills are its arguments. A record array
allows `a[i].field` in compiled code, but in plain Python only if its rows are of a class of ours: see `records()`.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

U8: TypeAlias = NDArray[np.uint8]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Records: TypeAlias = Any  # a numpy record array; its dtype stands in the docstring of whoever takes it

F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

_HELPERS: list[Callable[..., Any]] = []
_ROUTINES: set[int] = set()


# Put around every kernel that is defined from then on, in plain Python: it sees their calls
witness: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None


def kernel(function: F) -> F:
    """Mark an entry point. It is compiled, or its machine code loaded, when it is first called."""
    if JIT_DISABLED:
        return function if witness is None else cast(F, witness(function))
    from analyzer.native import Kernel

    return cast(F, Kernel(function))


def helper(function: F) -> F:
    """Mark a function that kernels may call. In Python it stays what it is."""
    _HELPERS.append(function)
    return function


def routine(function: F) -> F:
    """Mark a helper that is called rather than compiled into its callers."""
    _HELPERS.append(function)
    _ROUTINES.add(id(function))
    return function


def is_routine(function: Callable[..., Any]) -> bool:
    """True for what `routine` marked."""
    return id(function) in _ROUTINES


def helpers() -> list[Callable[..., Any]]:
    """Return every helper marked so far."""
    return _HELPERS


def cache_is_cold() -> bool:
    """True if the first call of a kernel will have to compile (the caller then says so to the user)."""
    if JIT_DISABLED:
        return False
    from analyzer.native import is_cold

    return is_cold()


_LINE = 64
_LARGE, _HUGE = 1 << 18, 4 << 20  # bytes: with an address space of its own; in pages of 2 MiB
_HUGE_PAGES = hasattr(mmap, "MADV_HUGEPAGE")
_RESERVED = 64  # as much address space as asked for: growing then moves nothing
_MOST_RESERVED = 1 << 30  # bytes
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0


class _Row(np.record):  # type: ignore[misc]  # numpy marks a base of it final
    """A record whose fields come before numpy's own attributes, one of which is called `flags`."""

    def __getattribute__(self, name: str) -> Any:
        fields = np.void.__getattribute__(self, "dtype").fields
        return self[name] if fields is not None and name in fields else np.record.__getattribute__(self, name)


def records(n: int, dtype: np.dtype[Any]) -> Records:
    """Return `n` zeroed records that kernels can read and write as `a[i].field`, compiled or not."""
    room = untouched(n * dtype.itemsize + _LINE)  # on a cache line's start, so that a dtype can count lines
    start = -room.ctypes.data % _LINE
    array = room[start : start + n * dtype.itemsize].view(dtype)
    return array.view(np.dtype((_Row, dtype))) if JIT_DISABLED else array


def untouched(n: int) -> U8:
    """Return `n` zeroed bytes, of which only those that are used will be resident.

    What the allocator has left from before it would clear at once, tens of megabytes of room for a few rows.
    """
    if n < _LARGE:
        return np.zeros(n, np.uint8)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        room = mmap.mmap(-1, max(n, min(_RESERVED * n, _MOST_RESERVED)), flags=flags)
    except OSError:  # address space is limited, or counted as memory (overcommit_memory 2)
        room = mmap.mmap(-1, n, flags=flags)
    if _HUGE_PAGES and n >= _HUGE:
        room.madvise(mmap.MADV_HUGEPAGE)  # a page fault for 2 MiB costs little more than one for 4 KiB
    return np.frombuffer(room, np.uint8)[:n]


def _longer(array: Any, n: int, used: int | None) -> Any:
    """Return `array` with `n` rows, of which the first `used` are kept: where it lies, or else a copy."""
    longer = _in_place(array, n)
    if longer is None:
        longer = records(n, array.dtype) if array.dtype.names else untouched(n * array.itemsize).view(array.dtype)
        copy_rows(longer, array[:used])
    return longer


def _in_place(array: Any, n: int) -> Any:
    """Return `array` with `n` rows where it lies, None if there is no room behind it."""
    room = array.base
    owner = room.base if isinstance(room, np.ndarray) else None
    space = owner.obj if isinstance(owner, memoryview) else owner
    if not isinstance(space, mmap.mmap):
        return None
    start = array.ctypes.data - room.ctypes.data
    whole = room[start : start + n * array.itemsize]
    if _HUGE_PAGES and array.nbytes < _HUGE <= whole.size:
        space.madvise(mmap.MADV_HUGEPAGE)
    return whole.view(array.dtype) if whole.size == n * array.itemsize else None


def grown(array: Records, n: int, used: int | None = None) -> Records:
    """Return `array` with room for at least `n` records (doubling, so that growth is amortised).

    used  how many of the first are in use; the others are not copied, and have to be zero or of no meaning
    """
    return array if array.shape[0] >= n else _longer(array, max(n, 2 * array.shape[0]), used)


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values, ascending. np.unique without counts would import numpy.ma, which takes 50 ms."""
    return np.unique(values, return_counts=True)[0]


def whole_rows(array: Records) -> Any:
    """Return `array` as rows of plain bytes: numpy copies a structured row field by field, ten times slower."""
    return array.view(np.dtype((np.void, array.dtype.itemsize)))


def chosen_rows(array: Records, index: NDArray[Any]) -> Records:
    """Return array[index], a copy; `index` numbers or a mask."""
    return whole_rows(array)[index].view(array.dtype)


def joined_rows(*parts: Records) -> Records:
    """Return the rows of all parts, which are of one dtype."""
    return np.concatenate([whole_rows(part) for part in parts]).view(parts[0].dtype)


def clear_rows(array: Records, index: NDArray[Any]) -> None:
    """Set array[index] to zero."""
    whole_rows(array)[index] = np.zeros(1, (np.void, array.dtype.itemsize))


def copy_rows(target: Records, source: Records) -> None:
    """Copy `source` to the front of `target`, as bytes: numpy copies records field by field, ten times slower."""
    target[: source.shape[0]].view(np.uint8)[:] = source.view(np.uint8)


def roomy(array: Records, used: int, more: int) -> Records:
    """Return `array` with room for `more` rows after the first `used`; only those are kept.

    New memory is not touched, so it is not resident until the kernel writes to it.
    """
    need = used + more
    return array if array.shape[0] >= need else _longer(array, max(need, 2 * array.shape[0]), used)
