"""Text chosen by an attacker cannot command a terminal, a spreadsheet or a line-based reader."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.render.escape import csv_text, json_text, visible

NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcode 🦆", "plain Ünïcode 🦆"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\u2028", "\\u2028"),
    ],
)
def test_controls_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum", "'@sum"),
        ("\tx", "'\\tx"),
        ("\rx", "'\\rx"),
        ("a\nb", "a\\nb"),
        (" padded ", '" padded "'),
        ('=cmd|"/c calc"', '"\'=cmd|""/c calc"""'),
    ],
)
def test_csv_cells(text: str, cell: str) -> None:
    assert csv_text(text) == cell


@given(NO_SURROGATES)
def test_json_reads_back_and_is_one_harmless_line(text: str) -> None:
    written = json_text(text)
    assert json.loads(written) == text
    assert visible(written) == written
    assert len(written.splitlines()) == 1


@given(NO_SURROGATES)
def test_csv_is_one_cell_and_never_a_formula(text: str) -> None:
    (row,) = csv.reader([csv_text(text)])
    assert len(row) == 1
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row[0].removeprefix("'") == visible(text).removeprefix("'")
