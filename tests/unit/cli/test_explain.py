"""`longwire explain`: every code, the list, and a helping hand for a slip."""

from __future__ import annotations

import subprocess
import sys

import pytest

from analyzer.anomalies import CODES as ANOMALIES
from analyzer.classify.finding_codes import CODES
from analyzer.cli.guard import OK, UNUSABLE
from analyzer.cli.main import main


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
