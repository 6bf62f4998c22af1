"""Silences that a side promises not to exceed, noted by direction while its protocol is read."""

from __future__ import annotations

from analyzer.kernel import Records, routine

_LONGEST_MS = 1 << 30  # twelve days


@routine
def promise(p: Records, direction: int, silence_ms: int) -> None:
    """From now on the side that sends in `direction` may be silent for so long, 0 = for any time."""
    if direction == 0:
        p.patience_c = min(silence_ms, _LONGEST_MS)
    else:
        p.patience_s = min(silence_ms, _LONGEST_MS)
