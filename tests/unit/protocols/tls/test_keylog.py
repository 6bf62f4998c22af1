"""Key logs: every form of line, and what is none."""

from __future__ import annotations

import pytest

from analyzer.protocols.tls import keylog
from analyzer.protocols.tls.keylog import KeyLog

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


def test_a_cap_on_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keylog, "MAX_SECRETS", 2)
    log = log_of("".join(f"CLIENT_RANDOM {k:064x} {MASTER}\n" for k in (1, 2, 3, 1)))
    assert (len(log), log.dropped) == (2, 1)
