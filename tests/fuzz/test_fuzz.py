"""A short run of the fuzzer, and everything that it ever broke, again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.entries import ENTRIES, READINGS
from tests.fuzz.run import ROOT, SHARES
from tests.fuzz.seeds import Seeds, write_packets

CRASHERS = sorted(path for path in (Path(__file__).parent / "crashers").iterdir() if path.suffix != ".md")
SEED = 20261126
BATCHES = {"files": 150, "decode": 12, "streams": 8, "tls_keys": 6, "analyze": 6, "whole_files": 6}

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module")
def own_seeds() -> Seeds:
    """Seeds that are the same wherever the tests run."""
    return Seeds(corpus=False)


@pytest.mark.parametrize("name", ENTRIES)
def test_mutated_inputs_are_survived(name: str, own_seeds: Seeds, tmp_path: Path) -> None:
    entry = ENTRIES[name]
    for batch in range(BATCHES.get(name, 3)):
        (tmp_path / "current").write_bytes(entry.make(Random(f"{SEED}:{name}:{batch}"), own_seeds, entry.at_once))
        entry.read(tmp_path / "current")


def test_the_seeds_have_every_protocol(own_seeds: Seeds) -> None:
    assert all(len(talks) >= 3 for talks in own_seeds.talks.values())
    assert len(own_seeds.keyed) >= 10 <= len(own_seeds.traces)
    assert SHARES.keys() == ENTRIES.keys()


def test_an_input_is_known_by_seed_and_number(own_seeds: Seeds) -> None:
    for entry in ENTRIES.values():
        one, other = (entry.make(Random("1:x:5"), own_seeds, 4) for _ in range(2))
        assert one == other
        assert one != entry.make(Random("1:x:6"), own_seeds, 4)


def test_a_broken_reader_is_seen(own_seeds: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of a reading can fail: a table that breaks its schema, a span that does not follow."""
    (tmp_path / "current").write_bytes(write_packets(own_seeds.traces[0]))
    monkeypatch.setattr("tests.fuzz.entries.problems", lambda name, rows: [f"{name}: wrong"])
    with pytest.raises(AssertionError, match="wrong"):
        ENTRIES["analyze"].read(tmp_path / "current")
    monkeypatch.setattr("tests.fuzz.entries.PAGE", 1)
    monkeypatch.setattr("tests.fuzz.entries.IN_STORE", 0)
    with pytest.raises(AssertionError):
        ENTRIES["streams"].read(tmp_path / "current")


@pytest.mark.parametrize("path", CRASHERS, ids=lambda path: path.name)
def test_what_broke_something_does_no_more(path: Path) -> None:
    for read in READINGS:
        read(path)


_STRICT = """
from tests.fuzz.strict import no_negative_indexes
no_negative_indexes()
import numpy as np
from analyzer.kernel import kernel
def pick(numbers, at): return numbers[at]
pick = kernel(pick)
assert pick(np.arange(3), 2) == 2
for at in (-1, 3):
    try:
        pick(np.arange(3), at)
    except IndexError:
        continue
    raise AssertionError(at)
"""


def test_checked_kernels_refuse_indexes_on_both_sides() -> None:
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    command = [sys.executable, "-c", _STRICT]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
