"""The plain forms of the command are read without typer, and to the same effect."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.cli.main import app
from analyzer.cli.request import Request
from analyzer.cli.start import read_plain

WORDS = (
    "analyze", "a.pcap", "b c.pcap", "-", "--", "", "--out", "dir", "--format", "csv", "xml", "--segments", "--where",
    "port == 1", "--idle-min", "0.5", "7", "1e3", "-1", "nan", "--out=dir", "--help", "--seg", "x=1", "\u0663",
)  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=7))
def test_what_is_plain_is_what_typer_reads(rest: list[str]) -> None:
    plain = read_plain(["analyze", *rest])
    if plain is not None:
        assert plain == app(["analyze", *rest], prog_name="longwire", standalone_mode=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "a.pcap"],
        ["analyze", "-", "--out", "dir"],
        ["analyze", "a", "--out", "d", "b", "--format", "json", "--segments", "--where", "x == -1", "--idle-min", "2"],
    ],
)
def test_usual_forms_are_plain(arguments: list[str]) -> None:
    assert isinstance(read_plain(arguments), Request)


@pytest.mark.parametrize("rest", ["", "--help", "a --bogus", "a --out", "a --out --segments", "a --format xml"])
def test_doubt_is_left_to_typer(rest: str) -> None:
    assert read_plain(["analyze", *rest.split()]) is None
    assert read_plain(["analyse", "a"]) is None


def test_a_plain_form_does_not_import_typer() -> None:
    code = """
import sys
from analyzer.cli.start import command
assert command(["analyze", "/nonexistent/x.pcap"]) == 2
print({"typer", "pydantic", "numba", "pandas"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert done.stderr.startswith("error: ")
