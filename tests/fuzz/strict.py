"""With NUMBA_BOUNDSCHECK=1 a negative index still counts from the end, as in Python. In a kernel that is a bug."""

from __future__ import annotations

import os


def no_negative_indexes() -> None:
    """Have checked kernels refuse negative indexes too; without checking nothing changes."""
    if os.environ.get("NUMBA_BOUNDSCHECK", "0") in ("", "0"):
        return
    from numba import types
    from numba.np import arrayobj

    arrayobj.fix_integer_index = lambda context, builder, idxty, idx, size: context.cast(
        builder, idx, idxty, types.intp if idxty.signed else types.uintp
    )
