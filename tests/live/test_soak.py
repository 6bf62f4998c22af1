"""Memory stays flat over many connections; the ten-minute run is `python -m tests.bench.live_load`."""

from __future__ import annotations

import os

from tests.bench.live_load import soak
from tests.live.nets import net, netns

pytestmark = netns

SECONDS = float(os.environ.get("LONGWIRE_SOAK_S", "30"))


def test_memory_stays_flat() -> None:
    """Connections last as long as `linger` in memory, so the first half holds as many as the second."""
    with net() as made:
        soaked = soak(made, SECONDS, 9_000, 2.0)
    assert soaked.connections > 200 * SECONDS  # how many of 1,000 a second arrive depends on who else runs here
    assert soaked.growth < 0.25, soaked.memory
