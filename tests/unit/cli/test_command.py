"""The command: exit codes, words on stderr, data on stdout, and what it does not import."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.cli import console
from analyzer.cli.main import main
from analyzer.errors import AnalyzerError
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES

Chunks = Iterator[tuple[str, pa.Table]]


def tables(truncated: bool = False) -> Chunks:
    yield "closes", to_arrow("closes", {"flow_id": [1, 0], "close_kind": ["refused", "rst_on_idle"]})
    yield "flows", to_arrow("flows", {"flow_id": [1, 0], "server_port": [80, 443]})
    yield "captures", to_arrow("captures", {"file": ["x.pcap"], "packets": [7], "truncated": [truncated]})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for analyzer.api; `made` is what it streams, `asked` what it was called with."""
    fake = SimpleNamespace(made=tables, asked=None)

    def stream(paths: list[Path], **options: Any) -> Chunks:
        fake.asked = (paths, options)
        yield from fake.made()

    fake.stream = stream
    monkeypatch.setattr(analyzer, "api", fake, raising=False)
    monkeypatch.setitem(sys.modules, "analyzer.api", fake)  # type: ignore[arg-type]
    return fake


def test_a_summary_goes_to_stdout(api: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "x.pcap", "y.pcap"]) == 0
    out, err = capsys.readouterr()
    assert "7 packets" in out and "rst_on_idle" in out
    assert err == ""
    paths, options = api.asked
    assert paths == [Path("x.pcap"), Path("y.pcap")]
    assert options["segments"] is False
    assert options["settings"].idle_min_ns == 10**9


def test_tables_go_to_files(api: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["analyze", "x.pcap", "--out", str(out), "--segments", "--idle-min", "0.25"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr == f"wrote 18 tables of 2 connections to {out}\n"
    assert sorted(path.name for path in out.iterdir()) == sorted([*(f"{n}.parquet" for n in TABLES), "summary.json"])
    assert pq.read_table(out / "closes.parquet")["flow_id"].to_pylist() == [0, 1]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rows"] == {name: {"flows": 2, "closes": 2, "captures": 1}.get(name, 0) for name in TABLES}
    assert summary["settings"]["idle_min_ns"] == 250_000_000
    assert summary["where"] is None
    assert api.asked[1]["segments"] is True


@pytest.mark.parametrize("format", ["csv", "json"])
def test_other_formats(api: SimpleNamespace, tmp_path: Path, format: str) -> None:
    assert main(["analyze", "x.pcap", "--out", str(tmp_path), "--format", format]) == 0
    assert (tmp_path / f"closes.{format}").exists()


def test_where_reaches_files_and_summary(
    api: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--where", "server_port == 443"]
    assert main(["analyze", "x.pcap", "--out", str(tmp_path), "--format", "json", *where]) == 0
    assert [json.loads(line)["flow_id"] for line in (tmp_path / "closes.json").read_text().splitlines()] == [0]
    assert json.loads((tmp_path / "summary.json").read_text())["where"] == "server_port == 443"
    capsys.readouterr()
    assert main(["analyze", "x.pcap", *where]) == 0
    out = capsys.readouterr().out
    assert "1 connection" in out and "refused" not in out


def test_damaged_input_is_analysed_and_exits_with_1(
    api: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.made = lambda: tables(truncated=True)
    assert main(["analyze", "x.pcap"]) == 1
    assert "warning: the input was damaged" in capsys.readouterr().err
    assert main(["analyze", "x.pcap", "--out", str(tmp_path)]) == 1


@pytest.mark.parametrize("code", ["capture.truncated", "capture.damaged", "capture.bad_block"])
def test_these_anomalies_are_damage(api: SimpleNamespace, code: str) -> None:
    api.made = lambda: iter([("anomalies", to_arrow("anomalies", {"code": [code], "count": [1]}))])
    assert main(["analyze", "x.pcap"]) == 1
    api.made = lambda: iter([("anomalies", to_arrow("anomalies", {"code": ["decode.bad_tcp"], "count": [1]}))])
    assert main(["analyze", "x.pcap"]) == 0


def failing(error: BaseException) -> Callable[[], Chunks]:
    def made() -> Chunks:
        yield from tables()
        raise error

    return made


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AnalyzerError("x.pcap is no capture", "give a pcap"), 2, "error: x.pcap is no capture\n\nhint: give a pcap\n"),
        (AnalyzerError("bad \x1b[2J name"), 2, "error: bad \\x1b[2J name\n"),
        (FileNotFoundError(2, "No such file or directory", "x.pcap"), 2, "error: x.pcap: No such file or directory\n"),
        (
            OSError(28, "Error writing bytes. Detail: [errno 28] No space left on device"),
            2,
            "error: OUT cannot be written to: No space left on device\n\n"
            "hint: make room there, or name another folder with --out\n",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_failures_are_told_and_leave_no_files(
    api: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    api.made = failing(error)
    assert main(["analyze", "x.pcap", "--out", str(tmp_path)]) == code
    assert capsys.readouterr().err == words.replace("OUT", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_our_bugs_raise(api: SimpleNamespace) -> None:
    api.made = failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["analyze", "x.pcap"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: no command was given\n\nhint: "),
        (["analyze"], "error: Missing argument 'FILE"),
        (["live"], "error: Missing argument 'INTERFACE'\n\nhint: longwire live --help shows"),
        (["analyse", "x"], "error: No such command 'analyse'"),
        (["analyze", "x", "--format", "xml"], "error: Invalid value for '--format'"),
        (["analyze", "x", "--bogus"], "error: No such option: --bogus"),
        (["analyze", "x", "--idle-min", "-1"], "error: --idle-min -1.0 is no span of time\n\nhint: give seconds"),
        (["analyze", "x", "--idle-min", "nan"], "error: --idle-min nan is no span of time"),
        (["analyze", "x", "--segments"], "error: --segments makes a table"),
        (["analyze", "x", "--payload"], "error: --payload fills a column"),
        (["analyze", "x", "--where", "prot == 1"], "error: --where: flows has no column prot\n\nhint: "),
    ],
)
def test_wrong_usage_exits_with_2(
    api: SimpleNamespace, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err[: len(words)]) == ("", words)
    assert api.asked is None, "nothing was read"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "Exit codes" in capsys.readouterr().out
    assert main(["analyze", "--help"]) == 0
    assert "longwire analyze night.pcap --where" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"longwire {analyzer.__version__}\n"


def test_python_dash_m_runs_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "analyzer", "analyze"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Missing argument")


def test_a_reader_that_leaves_early_is_no_error(api: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["analyze", "x.pcap"]) == 141


HEAVY = "{'numba', 'numpy', 'pyarrow', 'pandas', 'rich', 'scapy'}"


@pytest.mark.parametrize("arguments", ["['--help']", "['--version']", "['analyze', '--help']"])
def test_help_imports_nothing_heavy(arguments: str) -> None:
    code = f"import sys; from analyzer.cli.main import main; main({arguments}); print({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("options", [["--out", "."], ["--out", ".", "--format", "csv"], []])
def test_the_command_never_imports_pandas_and_rich_only_for_the_screen(tmp_path: Path, options: list[str]) -> None:
    code = f"""
import sys, types
import analyzer

def stream(paths, **options):
    from analyzer.tables.build import to_arrow
    nanosecond = {{"flow_id": [1], "ts": [1_700_000_000_000_000_001], "close_kind": ["rst_on_idle"]}}
    yield "flows", to_arrow("flows", {{"flow_id": [1]}})
    yield "closes", to_arrow("closes", nanosecond)
    yield "idle_gaps", to_arrow("idle_gaps", {{"flow_id": [1], "start_ts": [1_700_000_000_000_000_001]}})
    yield "captures", to_arrow("captures", {{"file": ["x"], "first_ts": [1_700_000_000_000_000_001]}})

analyzer.api = sys.modules["analyzer.api"] = types.ModuleType("analyzer.api")
analyzer.api.stream = stream
from analyzer.cli.start import command
assert command(["analyze", "x", "--where", "flow_id == 1", *{options!r}]) == 0
print(sorted({{'numba', 'pandas', 'rich'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == ("[]" if options else "['rich']")


def test_importing_the_package_is_instant_and_names_are_there() -> None:
    code = "import sys, analyzer; print(analyzer.AnalyzerError, {'numpy', 'typer', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "<class 'analyzer.errors.AnalyzerError'> set()\n"
    assert set(analyzer.__all__) <= set(dir(analyzer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = analyzer.nothing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_only_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.Progress() as progress:
        progress(10, 100)
        progress(10, None)
        assert sys.stderr.getvalue() == "", "too small to watch, or of unknown size"
        progress(1 << 30, 2 << 30)
        assert "50% of 2,147 MB" in sys.stderr.getvalue()
        progress(1 << 31, 2 << 30)
        assert "100%" not in sys.stderr.getvalue(), "too soon after the last"
        progress.notice("compiling")
    assert sys.stderr.getvalue().endswith("compiling\n")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with console.Progress() as progress:
        progress(1 << 30, 2 << 30)
        progress.notice("compiling kernels")
    assert sys.stderr.getvalue() == "compiling kernels\n"
