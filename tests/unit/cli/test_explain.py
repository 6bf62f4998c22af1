"""`longwire explain`: every code, the list, and a helping hand for a slip."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import pytest

from analyzer.anomalies import CODES as ANOMALIES
from analyzer.classify.finding_codes import CODES
from analyzer.classify.glossary import WORDS
from analyzer.classify.middlebox import WEIGHTS
from analyzer.cli.guard import OK, UNUSABLE
from analyzer.cli.main import main
from analyzer.flows.state import GAP_CLASSES
from analyzer.tables.tcp import CLOSE_KINDS, RACES, SEGMENT_LABELS, TRIGGERS


@pytest.mark.parametrize("code", CODES)
def test_each_finding(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code]) == OK
    text = capsys.readouterr().out
    assert text.startswith(f"{code}  (")
    assert "What to do" in text and "Reference" in text and "{" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_anomalies_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "flow.evicted"]) == OK
    assert ANOMALIES["flow.evicted"][1:] in capsys.readouterr().out.replace("\n  ", " ")


@pytest.mark.parametrize(
    ("place", "used"),
    [
        ("close kind", CLOSE_KINDS), ("trigger of a close", TRIGGERS), ("race of a request with the close", RACES),
        ("label of a segment", SEGMENT_LABELS), ("class of a silence", GAP_CLASSES), ("clue of a middlebox", WEIGHTS),
    ],
)  # fmt: skip
def test_every_word_of_a_verdict(place: str, used: Iterable[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert set(WORDS[place]) == set(used)
    for word in used:
        assert main(["explain", word]) == OK
        text = capsys.readouterr().out
        assert f"{word}  ({place})" in text and len(text) > 60
        assert max(map(len, text.splitlines())) <= 100


def test_places_of_words_are_all_tested() -> None:
    assert len(WORDS) == 6


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1] for line in lines) == sorted(CODES)
    assert lines[0].startswith("error")


def test_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "http.keepalve_race"]) == UNUSABLE
    assert "did you mean http.keepalive_race" in capsys.readouterr().err


def test_it_answers_at_once() -> None:
    """No numpy, no numba, no Arrow for a few lines of text."""
    script = (
        "import sys; from analyzer.cli.main import main; main(['explain', 'peer.dead']);"
        "print(sorted({'numpy', 'numba', 'pyarrow', 'pandas', 'llvmlite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
