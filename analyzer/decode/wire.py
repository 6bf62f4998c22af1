"""Numbers as they stand on the wire. The caller has checked that the bytes were captured.

The index is unsigned: numba adds a test for negative indices to signed ones, four per 32-bit read, and with those in
between LLVM no longer merges the reads into one load.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, helper

_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


@helper
def u8(data: U8, at: int) -> int:
    """Return the byte at `at`; int64, so that shifts do not overflow."""
    value: int = np.int64(data[np.uint64(at)])  # type: ignore[assignment]
    return value


@helper
def be16(data: U8, at: int) -> int:
    """Return the big-endian 16-bit number at `at`."""
    i = np.uint64(at)
    value: int = np.int64(data[i]) << 8 | np.int64(data[i + _1])  # type: ignore[assignment]
    return value


@helper
def be32(data: U8, at: int) -> int:
    """Return the big-endian 32-bit number at `at`."""
    i = np.uint64(at)
    high = np.int64(data[i]) << 24 | np.int64(data[i + _1]) << 16
    value: int = high | np.int64(data[i + _2]) << 8 | np.int64(data[i + _3])  # type: ignore[assignment]
    return value


@helper
def be48(data: U8, at: int) -> int:
    """Return the big-endian 48-bit number at `at`, e.g. a MAC address."""
    return be16(data, at) << 32 | be32(data, at + 2)


@helper
def be64(data: U8, at: int) -> int:
    """Return the big-endian 64-bit number at `at` as int64: negative where the first bit is set."""
    return be32(data, at) << 32 | be32(data, at + 4)
