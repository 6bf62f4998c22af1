"""The sample reports are what the analyzer says of the sample captures today."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.make import samples


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    return samples()


def test_samples_have_not_drifted(made: dict[Path, str]) -> None:
    drifted = [path.name for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    assert drifted == [], "run: python -m reports.make"


def test_samples_show_what_they_are_for(made: dict[Path, str]) -> None:
    texts = {path.name: text for path, text in made.items()}
    assert "3 unanswered keep-alive probes" in texts["sample-dead-peer.txt"]
    assert "RST seq 45" in texts["sample-stale-reuse.txt"]
    assert "zero window probe" in texts["sample-zero-window.txt"]
    assert "rst_to_data_stale" in texts["sample.html"]
