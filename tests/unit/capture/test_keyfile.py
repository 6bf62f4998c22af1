"""Key log files: whole lines of a file that grows, and what no program wrote as a key log."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.capture.keyfile import KeyFile
from analyzer.errors import AnalyzerError
from analyzer.protocols.tls.keylog import KeyLog

RANDOM, OTHER = "ab" * 32, "cd" * 32
MASTER = "11" * 48
LINE = f"CLIENT_RANDOM {RANDOM} {MASTER}\n".encode()


def read(file: KeyFile, log: KeyLog, *, final: bool = False) -> int:
    """Read on, and return how many bytes were taken."""
    taken = 0
    for text in file.read(final=final):
        log.add(text)
        taken += len(text)
    return taken


def whole(path: Path) -> KeyLog:
    log = KeyLog()
    read(KeyFile(path), log, final=True)
    return log


def test_a_growing_file_is_read_on_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE[:50])
    log, file = KeyLog(), KeyFile(path)
    assert read(file, log) == 0
    path.write_bytes(LINE + LINE.replace(b"ab", b"cd")[:70])
    assert read(file, log) == len(LINE)
    assert len(log) == 1
    path.write_bytes(LINE + LINE.replace(b"ab", b"cd"))
    read(file, log)
    assert log.knows(bytes.fromhex(OTHER))
    assert read(file, log) == 0
    assert (log.lines, log.malformed) == (2, 0)


def test_a_file_that_became_shorter_was_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE + LINE)
    log, file = KeyLog(), KeyFile(path)
    read(file, log)
    path.write_bytes(LINE.replace(b"ab", b"cd"))
    read(file, log)
    assert log.knows(bytes.fromhex(OTHER))


def test_a_last_line_without_end_counts_when_the_file_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE.rstrip())
    assert len(whole(path)) == 1


def test_a_large_file_and_one_without_line_ends(tmp_path: Path) -> None:
    lines = b"".join(f"CLIENT_RANDOM {k:064x} {MASTER}\n".encode() for k in range(9000))
    path = tmp_path / "keys"
    path.write_bytes(b"\0" * (3 << 20) + b"\n" + lines)
    log = whole(path)
    assert (len(log), log.malformed) == (9000, 3)  # every mebibyte counts as a line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError, match="cannot read key log"):
        whole(tmp_path / "none")
