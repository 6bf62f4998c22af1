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
from analyzer.tables.schema import TABLES
from analyzer.tables.tcp import CLOSE_KINDS, RACES, SEGMENT_LABELS, TRIGGERS
from analyzer.twopoint.wording import SENTENCES


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
        ("difference of two captures", SENTENCES),
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
    assert len(WORDS) == 7


@pytest.mark.parametrize("table", TABLES)
def test_every_table_and_column(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", table]) == OK
    assert f"{table}  (table)" in capsys.readouterr().out
    for column in TABLES[table].columns:
        assert main(["explain", f"{table}.{column.name}"]) == OK
        alone = capsys.readouterr().out
        assert alone.startswith(f"{column.name}  (column of {table})")
        assert column.doc in " ".join(alone.split())
        assert main(["explain", column.name]) == OK
        assert f"{column.name}  (column of " in capsys.readouterr().out
        assert max(map(len, alone.splitlines())) <= 120


def test_a_column_that_means_the_same_in_several_tables_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "dir"]) == OK
    assert capsys.readouterr().out.count("c2s = sent by the client") == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("Race.RACE", "race  (race of a request with the close)"),
        ("race", "race  (column of closes)"),  # the word comes first, the column after it
        ("FIN_CLIENT_FIRST", "fin_client_first  (close kind)"),
        ("Peer.Dead", "peer.dead  (error)"),
        ("trigger.idle_timeout", "idle_timeout  (trigger of a close)"),
        ("closes.trigger", "trigger  (column of closes)"),
        ("capture_end", "ended_by  (column of idle_gaps)"),  # a word that no page explains: the column does
        ("enhance_your_calm", ""),
    ],
)
def test_names_in_any_case_and_with_their_place(asked: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", asked]) == (OK if told else UNUSABLE)
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("idle_s", "idle_app_s"),
        ("close_triger", "close_trigger"),
        ("nothing.race", "race"),
        ("closes.triger", "trigger"),
    ],
)
def test_a_slip_in_a_column(asked: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", asked]) == UNUSABLE
    err = capsys.readouterr().err
    assert "did you mean" in err and near in err


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
