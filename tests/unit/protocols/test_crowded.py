"""Hostile crowds: no kernel writes past the room that was made for it, and nothing that is there is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.protocols import crowded

ROOT = Path(__file__).parents[3]


def test_no_index_is_past_the_end() -> None:
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.unit.protocols.crowded"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.split() == [crowd.__name__ for crowd in crowded.CROWDS]


@pytest.mark.usefixtures("compiled")
def test_all_exchanges_that_end_at_once_are_told() -> None:
    result = crowded.many_exchanges_end_at_once()
    assert len(result.rows("http_requests")) == 20 * 251
    assert sum(row["status"] == 204 for row in result.rows("http_requests")) == 20


@pytest.mark.usefixtures("compiled")
def test_tunnels_in_tunnels_are_read_so_deep_and_no_deeper() -> None:
    assert len(crowded.tunnels_in_tunnels().rows("http_requests")) < 200
