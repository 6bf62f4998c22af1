"""The rehearsal reaches every kernel, and a second compiler learns from it what the first will ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.kernel import JIT_DISABLED
from analyzer.rehearsal import rehearse

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")

LEARN = """
from analyzer.native import _object_path
from analyzer.rehearsal import learn
for function, signature in learn():
    print(_object_path(function, signature))
"""
CALLED = """
import gc
from analyzer.native import Kernel
from analyzer.rehearsal import rehearse
rehearse(ring=True)
for kernel in gc.get_objects():
    if type(kernel) is Kernel and kernel._call is None:
        print(kernel.function.__name__)
"""


def run(program: str, **settings: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **settings}, check=True, timeout=300, capture_output=True
    )
    return done.stdout.decode().split()


def test_what_is_learned_is_what_is_compiled() -> None:
    rehearse(ring=False)
    paths = run(LEARN, NUMBA_DISABLE_JIT="1")
    assert len(paths) > 10
    assert [path for path in paths if not Path(path).exists()] == []


def test_the_helper_leaves_the_largest_of_the_first_kernels_to_who_asks() -> None:
    """Else that waits for it, and the first run takes half as long again."""
    names = "from analyzer.rehearsal import learn, OWN; print(*(f.__name__ for f, _ in learn()[:OWN]))"
    assert run(names, NUMBA_DISABLE_JIT="1")[-1] == "track"


# Compaction of stored bytes; decrypted bytes; WebSocket and event streams over HTTP/2: a fraction of a second each.
SMALL_AND_RARE = ["find_exchange", "move_kept", "note_said", "open_channel", "open_tunnel", "set_socket"]


def test_every_kernel_but_those_that_read_files_is_rehearsed() -> None:
    assert sorted(run(CALLED)) == SMALL_AND_RARE
