"""`longwire report`: one file, written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.cli.main import main

STALE = Path(__file__).parents[3] / "captures" / "stale_reuse.pcap"


def test_a_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["report", str(STALE), "-o", str(out), "--title", "Incident <1>"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and stderr.startswith(f"wrote {out}: 1 connection, ")
    page = out.read_text(encoding="utf-8")
    assert "<h1>Incident &lt;1&gt;</h1>" in page and "rst_to_data_stale" in page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_same_capture_makes_the_same_page(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert main(["report", str(STALE), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(("more", "said"), [([], True), (["--cards", "5"], True), (["--cards", "0"], False)])
def test_standard_input_makes_a_page_without_packets(more: list[str], said: bool, tmp_path: Path) -> None:
    """And says so, unless that is what was asked for."""
    out = tmp_path / "page.html"
    with STALE.open("rb") as capture:
        words = [sys.executable, "-m", "analyzer", "report", "-", "-o", str(out), *more]
        subprocess.run(words, stdin=capture, check=True, capture_output=True)
    assert ("Standard input cannot be read twice" in out.read_text(encoding="utf-8")) == said


@pytest.mark.parametrize("words", [["-o", "/no/such/folder/x.html"], ["-o", "/tmp"], ["--cards", "-1"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "/no/such/file.pcap", *words]) == 2
    assert "hint: " in capsys.readouterr().err


def test_an_unreadable_file_leaves_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "/no/such/file.pcap", "-o", str(tmp_path / "page.html")]) == 2
    assert list(tmp_path.iterdir()) == []
