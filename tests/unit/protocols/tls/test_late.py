"""Secrets that come after the records they open: those wait, in bounded memory."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pytest

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.protocols.tls import late
from analyzer.settings import Settings
from tests.bench.tls import generate
from tests.property.harness import batches
from tests.talk import Packet

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Packet], bytes]:
    """Three connections (TLS 1.3, 1.2 and 1.2), two exchanges on each; packets and key log."""
    made = generate(Path(tmp_path_factory.mktemp("tls")), 3, responses=2, size=3000)
    packets: list[Packet] = []
    data, at = made.capture.read_bytes(), 24
    while at < len(data):
        seconds, us, length = struct.unpack_from("<III", data, at)
        packets.append((seconds * 10**9 + us * 1000, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return packets, made.log.read_bytes()


def targets(packets: list[Packet], said: dict[int, bytes], *, grows: bool = True) -> tuple[list[str], Ledger]:
    """Return what was requested, where the secrets `said` come before the packets of these numbers."""
    ledger = Ledger()
    engine = Engine(Settings(), ledger)
    engine.learn(b"", grows=grows)
    found: list[pa.Table] = []
    for number, batch in enumerate(batches(packets, list(range(1, len(packets))))):
        if number in said:
            engine.learn(said[number], grows=grows)
        found += [rows for name, rows in engine.feed(batch) if name == "http_requests"]
    if len(packets) in said:
        engine.learn(said[len(packets)], grows=grows)
    found += [rows for name, rows in engine.finish() if name == "http_requests"]
    return [str(word) for rows in found for word in rows["target"].to_pylist()], ledger


ALL = ["/0/0", "/0/1", "/1/0", "/1/1", "/2/0", "/2/1"]


def test_in_time(https: tuple[list[Packet], bytes]) -> None:
    packets, keys = https
    assert sorted(targets(packets, {0: keys})[0]) == ALL


@pytest.mark.parametrize("number", [5, 6, 7, 8, 10, 12, 14])
def test_a_moment_late(https: tuple[list[Packet], bytes], number: int) -> None:
    """The first connection has begun, and said something that only its secrets open: nothing of it is lost."""
    packets, keys = https
    got, ledger = targets(packets, {number: keys})
    assert sorted(got) == ALL
    assert not any(code.startswith("tls.") for code in ledger.by_code)


def test_after_the_last_packet(https: tuple[list[Packet], bytes]) -> None:
    """What waits is opened when its connection ends, closed or not."""
    packets, keys = https
    got, ledger = targets(packets, {len(packets): keys})
    assert sorted(got) == ALL
    assert not any(code.startswith("tls.") for code in ledger.by_code)
    assert sorted(targets(packets[:-4], {len(packets) - 4: keys})[0]) == ALL  # no FIN yet


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_connections_secrets_come_one_after_the_other(https: tuple[list[Packet], bytes], cut: int) -> None:
    """OpenSSL logs those of the handshake first, and those of the application when that is over."""
    packets, keys = https
    lines = keys.splitlines(keepends=True)
    assert sorted(targets(packets, {4: b"".join(lines[:cut]), 10: b"".join(lines[cut:])})[0]) == ALL


def test_a_file_with_its_log_waits_for_nothing(https: tuple[list[Packet], bytes]) -> None:
    packets, keys = https
    got, ledger = targets(packets, {10: keys}, grows=False)
    assert sorted(got) == ALL[2:]
    assert ledger.by_code["tls.no_secret"].count == 1


def test_what_waits_is_bounded(https: tuple[list[Packet], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    packets, keys = https
    monkeypatch.setattr(late, "MAX_RECORDS", 3)
    got, ledger = targets(packets, {len(packets) // 3 - 8: keys})
    assert sorted(got) == ALL[2:]
    assert ledger.by_code["tls.no_secret"].count == 1


def test_all_that_waits_is_bounded_too(https: tuple[list[Packet], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    packets, keys = https
    monkeypatch.setattr(late, "MAX_TOTAL", 2000)
    got, ledger = targets(packets, {len(packets) - 1: keys})
    assert got == []
    assert ledger.by_code["tls.no_secret"].count == 3


def test_secrets_that_never_come_are_told(https: tuple[list[Packet], bytes]) -> None:
    got, ledger = targets(https[0], {})
    assert got == []
    assert ledger.by_code["tls.no_secret"].count == 3
