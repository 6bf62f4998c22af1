"""Key logs on the command line and in the environment, and secrets inside a capture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import analyzer
from analyzer.cli.main import main
from analyzer.cli.source import key_logs
from analyzer.cli.start import read_plain
from tests.corpus import LAB, needs_corpus

CAPTURE = LAB / "https_nginx_tls12_idle_close.pcap"
KEYS = CAPTURE.with_suffix(".keys")


def test_keys_asked_for_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "named"
    monkeypatch.setenv("SSLKEYLOGFILE", str(named))
    assert key_logs(()) == []  # nobody wrote it yet
    named.write_text("")
    assert key_logs(()) == [named]
    assert key_logs((KEYS,)) == [KEYS]
    monkeypatch.delenv("SSLKEYLOGFILE")
    assert key_logs(()) == []


def test_the_plain_reader_knows_the_option() -> None:
    request = read_plain(["analyze", "a.pcap", "--keys", "k"])
    assert request is not None
    assert request.keys == (Path("k"),)
    assert read_plain(["analyze", "a.pcap", "--keys", "k", "--keys", "l"]) is None  # typer's


def test_a_key_log_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = Path(__file__).parents[3] / "captures" / "keepalive_dead_peer.pcap"
    assert main(["analyze", os.fspath(capture), "--keys", os.fspath(tmp_path / "none")]) == 2
    assert "cannot read key log" in capsys.readouterr().err


@needs_corpus
def test_several_key_logs_are_one(tmp_path: Path) -> None:
    lines = [line for line in KEYS.read_text().splitlines() if not line.startswith("#")]
    parts = [tmp_path / str(k) for k in range(len(lines))]
    for part, line in zip(parts, lines, strict=True):
        part.write_text(line)
    assert analyzer.analyze(CAPTURE, keys=parts).tls_sessions["decrypted"].all()
    assert analyzer.analyze(CAPTURE, keys=parts[0]).tls_sessions["decrypted"].sum() == 1


@needs_corpus
@pytest.mark.parametrize(("command", "shows"), [(["http"], "GET"), (["show", "--flow", "0"], "1 request")])
def test_lists_and_cards_are_opened_too(command: list[str], shows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, os.fspath(CAPTURE)]) == 0
    assert shows not in capsys.readouterr().out
    assert main([*command, os.fspath(CAPTURE), "--keys", os.fspath(KEYS)]) == 0
    assert shows in capsys.readouterr().out
