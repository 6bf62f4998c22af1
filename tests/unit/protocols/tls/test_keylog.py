"""Key log files: every form of line, what is none, and files that grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.protocols.tls import keylog
from analyzer.protocols.tls.keylog import KeyFile, KeyLog, read_key_logs

RANDOM, OTHER = "ab" * 32, "cd" * 32
MASTER = "11" * 48
LINE = f"CLIENT_RANDOM {RANDOM} {MASTER}\n".encode()


def log_of(text: str) -> KeyLog:
    log = KeyLog()
    log.add(text.encode())
    return log


@pytest.mark.parametrize("label", [*keylog._WANTED])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_every_label_that_is_needed(label: str, end: str) -> None:
    log = log_of(f"# a remark\n\n{label} {RANDOM} {MASTER}{end}")
    assert log.get(label, bytes.fromhex(RANDOM)) == bytes.fromhex(MASTER)
    assert log.knows(bytes.fromhex(RANDOM))
    assert not log.knows(bytes.fromhex(OTHER))
    assert (log.lines, log.malformed, log.unused) == (1, 0, 0)


@pytest.mark.parametrize("label", ["EXPORTER_SECRET", "EARLY_EXPORTER_SECRET", "CLIENT_TRAFFIC_SECRET_N", "ECH_SECRET"])
def test_labels_of_no_use_are_no_damage(label: str) -> None:
    log = log_of(f"{label} {RANDOM} {MASTER}\n")
    assert (len(log), log.unused, log.malformed) == (0, 1, 0)
    assert not log.knows(bytes.fromhex(RANDOM))


def test_premaster_secrets_and_session_ids() -> None:
    old = f"RSA Session-ID:0102 Master-Key:{MASTER}\n"
    log = log_of(f"RSA 0123456789abcdef {MASTER}\nPMS_CLIENT_RANDOM {RANDOM} {'22' * 256}\n" + old)
    assert log.encrypted == {bytes.fromhex("0123456789abcdef"): bytes.fromhex(MASTER)}
    assert log.premasters == {bytes.fromhex(RANDOM): b"\x22" * 256}
    assert log.sessions == {b"\x01\x02": bytes.fromhex(MASTER)}
    assert log.malformed == 0


@pytest.mark.parametrize(
    "line",
    [
        "CLIENT_RANDOM",
        f"CLIENT_RANDOM {RANDOM}",
        f"CLIENT_RANDOM {RANDOM} {MASTER} more",
        f"CLIENT_RANDOM {RANDOM[:-2]} {MASTER}",
        f"CLIENT_RANDOM {RANDOM} {MASTER[:-2]}",
        f"CLIENT_RANDOM {RANDOM} {MASTER[:-1]}",
        f"CLIENT_RANDOM {RANDOM} {'zz' * 48}",
        f"CLIENT_TRAFFIC_SECRET_0 {RANDOM} {'00' * 31}",
        f"RSA 00 {MASTER}",
        "RSA Session-ID:01 Master-Key:00",
        f"{{json}} {RANDOM} {MASTER}",
        "CLIENT_RANDOM \xff\xfe \x00",
        "x" * 100_000,
    ],
)
def test_what_is_no_line_of_a_key_log_is_counted(line: str) -> None:
    log = log_of(line + "\n" + LINE.decode())
    assert log.malformed == 1
    assert len(log) == 1


def test_a_growing_file_is_read_on_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE[:50])
    log, file = KeyLog(), KeyFile(path)
    assert file.read(log) == 0
    path.write_bytes(LINE + LINE.replace(b"ab", b"cd")[:70])
    assert file.read(log) == len(LINE)
    assert len(log) == 1
    path.write_bytes(LINE + LINE.replace(b"ab", b"cd"))
    file.read(log)
    assert log.knows(bytes.fromhex(OTHER))
    assert file.read(log) == 0
    assert (log.lines, log.malformed) == (2, 0)


def test_a_file_that_became_shorter_was_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE + LINE)
    log, file = KeyLog(), KeyFile(path)
    file.read(log)
    path.write_bytes(LINE.replace(b"ab", b"cd"))
    file.read(log)
    assert log.knows(bytes.fromhex(OTHER))


def test_a_last_line_without_end_counts_when_the_file_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(LINE.rstrip())
    assert len(read_key_logs([path])) == 1


def test_a_large_file_and_one_without_line_ends(tmp_path: Path) -> None:
    lines = b"".join(f"CLIENT_RANDOM {k:064x} {MASTER}\n".encode() for k in range(9000))
    path = tmp_path / "keys"
    path.write_bytes(b"\0" * (3 << 20) + b"\n" + lines)
    log = read_key_logs([path])
    assert (len(log), log.malformed) == (9000, 1)


def test_a_cap_on_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keylog, "MAX_SECRETS", 2)
    log = log_of("".join(f"CLIENT_RANDOM {k:064x} {MASTER}\n" for k in (1, 2, 3, 1)))
    assert (len(log), log.dropped) == (2, 1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError, match="cannot read key log"):
        read_key_logs([tmp_path / "none"])
