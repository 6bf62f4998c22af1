"""Attacks on memory and time, as large as a test can afford; `python -m tests.fuzz.attacks` measures them in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.attacks import ATTACKS, Attack, Cost, read, verdicts, write

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_survived_and_told(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    write(tmp_path / "attack", attack.make(attack.few))
    told = read(tmp_path / "attack").anomalies
    assert attack.tells in told or not attack.tells, told


def test_what_is_neither_linear_nor_capped_is_said() -> None:
    attack = Attack(lambda n: b"", 1, 100, 1, "flow.evicted")
    empty, small = Cost(0.1, 120, 1, {}), Cost(1.0, 150, 1, {})
    good = Cost(4.1, 210, 4, {"flow.evicted": 3})
    assert list(verdicts(attack, small, good, empty)) == []
    bad = Cost(16.0, 500, 4, {})
    assert list(verdicts(attack, small, bad, empty)) == ["not linear", "more than 100 MiB", "no flow.evicted"]
