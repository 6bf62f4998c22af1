"""What compiled kernels may rest on: their helpers, their indexes, and everybody else's numba."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from analyzer.kernel import JIT_DISABLED

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")

KERNEL = """
import numpy as np
from analyzer.kernel import helper, kernel, routine

@helper
def twice(x):
    return 2 * x

@routine
def at(a, i):
    return twice(a[i])

@kernel
def picked(a, i):
    return at(a, i) + min(a[0], 7)

assert picked(np.array([1, 20, 300]), 1) == 41
"""


def run(program: str, tmp_path: object, **settings: str) -> None:
    environment = {**os.environ, "LONGWIRE_CACHE_DIR": str(tmp_path), **settings}
    subprocess.run([sys.executable, "-c", KERNEL + program], env=environment, check=True, timeout=120)


def test_helpers_stay_plain_functions(tmp_path: object) -> None:
    run("assert type(at).__name__ == 'function' and at([4.5], 0) == 9", tmp_path)


def test_other_code_compiles_and_runs_afterwards(tmp_path: object) -> None:
    theirs = "import numba\n@numba.njit\ndef f(a):\n    return min(a[0], 7) + len(a)\nassert f(np.array([1, 2])) == 3"
    run(theirs, tmp_path)


def test_checked_indexes_raise_also_in_helpers(tmp_path: object) -> None:
    beyond = "try:\n    picked(np.arange(3), 3)\nexcept IndexError:\n    raise SystemExit(0)\nraise SystemExit(1)"
    run(beyond, tmp_path, NUMBA_BOUNDSCHECK="1")
