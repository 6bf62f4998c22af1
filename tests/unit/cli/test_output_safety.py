"""From a hostile capture to what somebody opens: no command reaches a terminal, a browser or a spreadsheet.

And a disk that is full: what was there before is whole afterwards, and nothing half-written lies beside it.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from analyzer.cli.main import main
from analyzer.errors import AnalyzerError
from analyzer.render import rotate
from tests import tlswire, websocket
from tests.talk import Talk, merge, write_pcap

EVIL = (
    b"\x1b]0;owned\x07\x1b[2J\x9b31m\xe2\x80\xaegpj.exe<img src=x onerror=alert(1)></script><script>alert(2)</script>"
)
NAME = "=cmd|' \x1b[2J<img src=x onerror=alert(1)>\u202e.pcap"
CAPTURES = Path(__file__).parents[3] / "captures"

# What a terminal obeys, or hides behind: all controls but the line's end, and the marks that turn text around
_COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture in which every text that tables show was written by an attacker, its own name included."""
    http = Talk().handshake().orig(b"=GET /" + EVIL + b" HTTP/1.1\r\nHost: =1+1" + EVIL + b"\r\n\r\n")
    plain = Talk(("10.0.0.3", 41000)).handshake()
    plain.orig(b"GET /" + EVIL + b" HTTP/1.1\r\nHost: =1+1" + EVIL + b"\r\nUpgrade: " + EVIL + b"\r\n\r\n")
    plain.resp(b"HTTP/1.1 200 " + EVIL + b"\r\nServer: " + EVIL + b"\r\nContent-Length: 1\r\n\r\nx").orig_rst()
    hello = tlswire.extension(0, tlswire.vector(2, b"\0" + tlswire.vector(2, b"@" + EVIL)))
    tls = Talk(("10.0.0.4", 42000)).handshake().orig(tlswire.record(22, tlswire.client_hello(more=hello, alpn=[EVIL])))
    chat = websocket.upgraded(b"x-" + EVIL, client=("10.0.0.5", 43000))
    chat.resp(websocket.frame(websocket.TEXT, b"=" + EVIL)).orig_ack()
    chat.resp(websocket.frame(websocket.CLOSE, websocket.code(1000, "=" + EVIL[:60].decode("latin-1")))).resp_fin()
    path = tmp_path_factory.mktemp("hostile") / NAME
    path.write_bytes(write_pcap(merge(http, plain, tls.orig_rst(), chat)))
    return path


pytestmark = pytest.mark.usefixtures("compiled")

LISTS = ("flows", "closes", "http", "websocket", "tls", "findings", "endpoints")


SHOWS = (["show", "--flow", "1", "--ladder"], ["show", "--flow", "3"])


@pytest.mark.parametrize("words", [["analyze"], *([name] for name in LISTS), *SHOWS])
def test_a_terminal_is_told_nothing(
    words: list[str], hostile: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([words[0], str(hostile), *words[1:]]) in (0, 1)
    stdout, stderr = capsys.readouterr()
    assert stdout and _COMMANDS.findall(stdout + stderr) == []


@pytest.mark.parametrize("name", ["no\x1b[2Jsuch\u202e.pcap", "=x\r\n.pcap"])
def test_an_error_names_a_file_harmlessly(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path / name)]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and _COMMANDS.findall(stderr) == []
    (tmp_path / name).write_bytes(b"GIF89a\x1b]0;x\x07")
    assert main(["analyze", str(tmp_path / name)]) == 2
    assert _COMMANDS.findall(capsys.readouterr().err) == []


def test_a_page_runs_nothing_of_the_wire(hostile: Path, tmp_path: Path) -> None:
    assert main(["report", str(hostile), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "gpj.exe" in page  # it is there, and inert
    assert "<img src=x" not in page and "<script>alert" not in page
    assert set("\x1b\x07\x9b\u202e") & set(page) == set()
    assert "Content-Security-Policy" in page


def test_spreadsheets_see_no_formula(hostile: Path, tmp_path: Path) -> None:
    assert main(["analyze", str(hostile), "--out", str(tmp_path / "csv"), "--format", "csv", "--payload"]) in (0, 1)
    texts = 0
    for path in (tmp_path / "csv").glob("*.csv"):
        raw = path.read_bytes().decode("utf-8")
        assert _COMMANDS.findall(raw) == []
        for row in csv.reader(io.StringIO(raw)):
            for cell in row:
                texts += "gpj" in cell
                assert not cell.startswith(_FORMULA) or re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", cell)
    assert texts >= 5
    openpyxl = pytest.importorskip("openpyxl")
    assert main(["analyze", str(hostile), "--out", str(tmp_path / "xlsx"), "--format", "xlsx"]) in (0, 1)
    for path in (tmp_path / "xlsx").glob("*.xlsx"):
        for sheet in openpyxl.load_workbook(path):
            assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)


def test_json_is_one_object_a_line(hostile: Path, tmp_path: Path) -> None:
    assert main(["analyze", str(hostile), "--out", str(tmp_path / "json"), "--format", "json"]) in (0, 1)
    for path in (tmp_path / "json").iterdir():
        raw = path.read_text(encoding="utf-8")
        assert _COMMANDS.findall(raw) == []
        if path.name != "summary.json":
            assert all(isinstance(json.loads(line), dict) for line in raw.splitlines())


# ------------------------------------------------------------------------------------------------ a full disk
@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: the write that would fails as on a full disk, with another number."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def outputs(capture: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands that write files, by what they write."""
    return {
        "csv": ["analyze", str(capture), "--out", str(out), "--format", "csv"],
        "json": ["analyze", str(capture), "--out", str(out), "--format", "json"],
        "parquet": ["analyze", str(capture), "--out", str(out), "--format", "parquet"],
        "xlsx": ["analyze", str(capture), "--out", str(out), "--format", "xlsx"],
        "report": ["report", str(capture), "-o", str(out / "page.html")],
        "plot": ["plot", str(capture), "--timeline", "-o", str(out / "picture.svg")],
    }


WRITERS = ("csv", "json", "parquet", "xlsx", "report", "plot")


def before(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_cannot_grow_leaves_the_old_one(
    writer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = outputs(CAPTURES / "ws_ping_timeout.pcap", tmp_path)[writer]
    assert main(words) == 0
    old = before(tmp_path)
    assert old
    capsys.readouterr()
    with files_of_at_most(100):
        code = main(words)
    stderr = capsys.readouterr().err
    assert code == 2 and stderr.startswith("error: ") and "too large" in stderr, stderr
    assert before(tmp_path) == old


@pytest.mark.parametrize("writer", ["csv", "parquet", "xlsx"])
def test_a_full_disk_is_told_with_a_hint_and_no_folder_stays(
    writer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = outputs(CAPTURES / "ws_ping_timeout.pcap", tmp_path / "there" / "new" / "tables")[writer]
    (tmp_path / "there").mkdir()
    with files_of_at_most(100):
        assert main(words) == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and "cannot be written to: File too large" in first
    assert [line for line in rest if line] == ["hint: make room there, or name another folder with --out"]
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_an_unreadable_capture_leaves_no_folder(tmp_path: Path) -> None:
    assert main(["analyze", str(tmp_path / "nowhere.pcap"), "--out", str(tmp_path / "new" / "tables")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_parts_that_have_no_room_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(path: Path, format: str, name: str, rows: pa.Table) -> None:
        if name == "closes":
            raise OSError(errno.ENOSPC, "Error writing bytes to file")
        path.write_bytes(b"")

    monkeypatch.setattr(rotate, "write_table", write_some)
    (tmp_path / "there").mkdir()
    with pytest.raises(AnalyzerError, match="No space left on device"):
        rotate.PartSink(tmp_path / "there" / "tables")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_old_file(writer: str, tmp_path: Path) -> None:
    """On a file system of 64 kB, where root may make one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        words = outputs(CAPTURES / "ws_ping_timeout.pcap", disk)[writer]
        old = dict.fromkeys(("closes.csv", "closes.json", "page.html"), b"old") | {"kept": b"k" * 13 * 4096}
        for name, data in old.items():
            (disk / name).write_bytes(data)
        done = subprocess.run([sys.executable, "-m", "analyzer", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "No space left on device" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "ignored" not in done.stderr, done.stderr
        assert before(disk) == old
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ------------------------------------------------------------------------------------------ what is there already
IDLE = CAPTURES / "http_nginx_idle.pcap"


def test_a_capture_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(IDLE.read_bytes())
    for words in (["report"], ["plot", "--timeline"]):
        assert main([*words, str(path), "-o", str(path)]) == 2
        assert "is the capture itself" in capsys.readouterr().err
    assert path.read_bytes() == IDLE.read_bytes()


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "page.html", tmp_path / "link.html"
    target.write_text("old")
    link.symlink_to(target)
    assert main(["report", str(IDLE), "-o", str(link)]) == 0
    assert link.is_symlink() and "<html" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize("what", ["pipe", "-"])
def test_what_is_no_file_is_refused(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pipe"
    os.mkfifo(out)
    assert main(["report", str(IDLE), "-o", str(out) if what == "pipe" else "-"]) == 2
    assert "hint: name" in capsys.readouterr().err
    assert out.is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_name_that_is_no_text_makes_a_page(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.pcap")
    path.write_bytes(IDLE.read_bytes())
    assert main(["report", str(path), "-o", str(tmp_path / "page.html")]) == 0


def test_sql_asks_the_newest_of_several_formats(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    assert main(["analyze", str(IDLE), "--out", str(tmp_path)]) == 0
    newer = CAPTURES / "keepalive_dead_peer.pcap"
    assert main(["analyze", str(newer), "--out", str(tmp_path), "--format", "csv"]) == 0
    capfd.readouterr()
    assert main(["sql", str(tmp_path), "select close_kind from closes", "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines() == ["close_kind", "abort_keepalive"]


def test_a_program_that_is_ended_leaves_nothing_half_made(tmp_path: Path) -> None:
    """SIGTERM while it waits for standard input, with a temporary file already there."""
    words = [sys.executable, "-m", "analyzer", "analyze", "-", "--out", str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(IDLE.read_bytes())
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.terminate()
        assert process.wait(30) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("closed", "words", "code"), [(1, [str(IDLE)], 0), (2, ["no-such-file"], 2)])
def test_closed_streams_change_no_exit_code(closed: int, words: list[str], code: int) -> None:
    line = [sys.executable, "-m", "analyzer", "analyze", *words]
    made = subprocess.run(line, preexec_fn=lambda: os.close(closed), check=False)
    assert made.returncode == code


def test_a_selection_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(IDLE), "--where", "server_port == 81"]) == 0
    assert "no connection satisfies --where" in capsys.readouterr().out
    assert main(["analyze", str(IDLE), "--format", "json"]) == 2
    assert "add --out DIR" in capsys.readouterr().err
