"""Settings of the whole suite: deterministic by default, and no test pays for the compiler.

HYPOTHESIS_PROFILE=explore  looks for new counterexamples: random, and ten times as many examples.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# The first example of a run may load kernels from disk; a machine shared with others stalls. Neither is a finding.
_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("ci", max_examples=25, derandomize=True, database=None, **_QUIET)
settings.register_profile("explore", max_examples=250, print_blob=True, **_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what compiles all kernels anew: it takes minutes, and the others are done meanwhile."""
    items.sort(key=lambda item: "test_run_modes" not in item.nodeid)


@pytest.fixture(scope="session")
def compiled() -> None:
    """Compile the kernels once, before a test is timed."""
    from tests.property.harness import run
    from tests.talk import Talk

    run(Talk().handshake())
