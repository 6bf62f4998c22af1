"""Kernels: plain Python over numpy record arrays, compiled by numba.

One source, two ways to run it. With `NUMBA_DISABLE_JIT=1` a kernel is its own slow, debuggable reference;
with `NUMBA_BOUNDSCHECK=1` an index out of bounds raises. Both give bit-identical tables.

    @kernel   an entry point: called from Python, compiled on first use, kept in the on-disk cache
    @helper   called only from kernels: compiled into its callers, costs nothing when the cache is warm

Two rules of numba shape this file. Its cache does not notice a change in a helper that lives in another file, so
the cache directory is named after a hash of *all* kernel sources. And a numpy record array allows `a[i].field`
in compiled code but not in plain Python unless it is a `recarray`, so arrays are made by `records()`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

U8: TypeAlias = NDArray[np.uint8]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Records: TypeAlias = Any  # a numpy record array; its dtype stands in the docstring of whoever takes it

F = TypeVar("F", bound=Callable[..., Any])

# Kernels allocate nothing, so numba need not count references to arrays. Without `_nrt` it does so at every call of a
# helper, with atomic instructions: measured, the flow kernel takes twice as long with them (600 against 300 ns).
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}

# Folders whose functions reach compiled code. The hash of these sources names the cache directory.
_KERNEL_FOLDERS = ("capture", "decode", "flows", "streams", "protocols")


def _sources_hash() -> str:
    root = Path(__file__).parent
    digest = hashlib.sha256(sys.version.encode())
    for folder in _KERNEL_FOLDERS:
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_dir() -> Path | None:
    """Where compiled kernels are kept, or None if nothing is writable (then each run compiles anew)."""
    base = os.environ.get("LONGWIRE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    homes = [Path(base)] if base else [Path.home() / ".cache"]
    for home in (*homes, Path(tempfile.gettempdir()) / f"longwire-{os.getuid() if hasattr(os, 'getuid') else 0}"):
        path = home / "longwire" / f"kernels-{_sources_hash()}"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if os.access(path, os.W_OK):
                return path
        except OSError:
            continue
    return None


CACHE_DIR = _cache_dir()
if CACHE_DIR is not None:
    os.environ["NUMBA_CACHE_DIR"] = str(CACHE_DIR)  # read once, when numba is imported just below

import numba  # noqa: E402  (the cache directory must be set first)

JIT_DISABLED = bool(numba.config.DISABLE_JIT)
if CACHE_DIR is not None:
    numba.config.CACHE_DIR = str(CACHE_DIR)


def kernel(function: F) -> F:
    """Compile `function` on first call and keep the machine code on disk."""
    compiled: F = numba.njit(function, cache=CACHE_DIR is not None, **_OPTIONS)
    return compiled


def helper(function: F) -> F:
    """Make `function` callable from kernels; it is compiled into them and never loaded by itself."""
    compiled: F = numba.njit(function, **_OPTIONS)
    return compiled


def cache_is_cold() -> bool:
    """True if the first call of a kernel will have to compile (the caller then says so to the user)."""
    return not JIT_DISABLED and (CACHE_DIR is None or not any(CACHE_DIR.rglob("*.nbi")))


_LINE = 64


def records(n: int, dtype: np.dtype[Any]) -> Records:
    """Return `n` zeroed records that kernels can read and write as `a[i].field`, compiled or not."""
    room = np.zeros(n * dtype.itemsize + _LINE, np.uint8)  # on a cache line's start, so that a dtype can count lines
    start = -room.ctypes.data % _LINE
    array = room[start : start + n * dtype.itemsize].view(dtype)
    return array.view(np.recarray) if JIT_DISABLED else array


def grown(array: Records, n: int) -> Records:
    """Return `array` with room for at least `n` records (doubling, so that growth is amortised)."""
    if array.shape[0] >= n:
        return array
    bigger = records(max(n, 2 * array.shape[0]), array.dtype)
    bigger[: array.shape[0]] = array
    return bigger
