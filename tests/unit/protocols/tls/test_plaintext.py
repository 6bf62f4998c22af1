"""Conversations of Python's ssl, every suite that it has: what was said must come out, and nothing else."""

from __future__ import annotations

import random
import ssl
from pathlib import Path

import pytest

from analyzer.anomalies import Ledger
from analyzer.protocols.tls.decrypt import opener
from analyzer.protocols.tls.keylog import KeyLog
from analyzer.protocols.tls.plaintext import Plaintext
from analyzer.protocols.tls.schedule import SSL30, TLS10, TLS12, TLS13, Keys
from analyzer.protocols.tls.suites import suite_named
from tests.unit.protocols.tls.wire import CLIENT, SERVER, Framed, Talk, contexts, frame, joined, key_log, opened

V = ssl.TLSVersion
OLD = [  # suites of SSL 3.0 to TLS 1.1 that today's OpenSSL still has
    "AES128-SHA", "AES256-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "CAMELLIA128-SHA", "CAMELLIA256-SHA",
    "NULL-SHA",
]  # fmt: skip
NEW = [
    "AES128-GCM-SHA256", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305", "AES128-CCM", "AES256-CCM", "AES128-CCM8",
    "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM8", "AES128-SHA256", "AES256-SHA256",
    "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES256-SHA384", "NULL-SHA256",
]  # fmt: skip

SIZES = (1, 15, 16, 17, 250, 255, 256, 257, 1400, 16384, 40000)


def talk(folder: Path, version: ssl.TLSVersion, ciphers: str | None, **options: bool) -> tuple[Talk, KeyLog, Framed]:
    """Let both sides say data of many sizes in turns."""
    client, server, log = contexts(folder, version, ciphers, **options)
    t = Talk(client, server)
    source = random.Random(7)
    for size in SIZES:
        t.say(CLIENT, source.randbytes(size))
        t.say(SERVER, source.randbytes(size + 1))
    return t, key_log(log), frame(t.chunks)


def said() -> tuple[bytes, bytes]:
    source = random.Random(7)
    both = [(source.randbytes(size), source.randbytes(size + 1)) for size in SIZES]
    return b"".join(c for c, _ in both), b"".join(s for _, s in both)


RECOVER = [
    (V.TLSv1_1, "AES128-SHA"), (V.TLSv1_2, "AES128-GCM-SHA256"), (V.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
    (V.TLSv1_2, "AES128-CCM"), (V.TLSv1_2, "AES128-SHA256"), (V.TLSv1_2, "NULL-SHA256"), (V.TLSv1_3, None),
]  # fmt: skip
CASES = (
    [(V.TLSv1, suite) for suite in OLD]
    + [(V.TLSv1_1, suite) for suite in OLD]
    + [(V.TLSv1_2, suite) for suite in OLD + NEW]
    + [(V.TLSv1_3, None)]
)


@pytest.mark.parametrize(("version", "suite"), CASES, ids=str)
def test_every_suite(tmp_path: Path, version: ssl.TLSVersion, suite: str | None) -> None:
    t, log, framed = talk(tmp_path, version, suite)
    assert t.client.version() == version.name.replace("_", ".")
    for batch in (1, 3, 1 << 30):
        plaintext = Plaintext(log)
        assert plaintext.wants(framed.terms)
        results = opened(plaintext, framed, batch)
        assert (joined(results, CLIENT), joined(results, SERVER)) == said()
        assert plaintext.close(0) == (len(framed.records), 0)


@pytest.mark.parametrize("version", [V.TLSv1, V.TLSv1_1, V.TLSv1_2])
@pytest.mark.parametrize("suite", ["AES128-SHA", "CAMELLIA256-SHA"])
def test_cbc_without_encrypt_then_mac(tmp_path: Path, version: ssl.TLSVersion, suite: str) -> None:
    _, log, framed = talk(tmp_path, version, suite, encrypt_then_mac=False)
    assert not framed.terms.encrypt_then_mac
    plaintext = Plaintext(log)
    results = opened(plaintext, framed)
    assert (joined(results, CLIENT), joined(results, SERVER)) == said()
    assert plaintext.close(0).failed == 0


def test_cbc_with_encrypt_then_mac_is_what_the_other_cases_had(tmp_path: Path) -> None:
    _, _, framed = talk(tmp_path, V.TLSv1_2, "AES128-SHA")
    assert framed.terms.encrypt_then_mac


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
def test_the_key_log_of_another_connection_opens_nothing(tmp_path: Path, version: ssl.TLSVersion) -> None:
    _, _, framed = talk(tmp_path, version, None)
    (tmp_path / "keys.log").unlink()
    _, foreign, _ = talk(tmp_path, version, None)
    assert not Plaintext(foreign).wants(framed.terms)
    assert not Plaintext(KeyLog()).wants(framed.terms)


@pytest.mark.parametrize(
    ("version", "suite"), [(V.TLSv1, "AES128-SHA"), (V.TLSv1_2, "AES128-SHA"), (V.TLSv1_2, None), (V.TLSv1_3, None)]
)
def test_wrong_secrets_are_counted_and_nothing_comes_out(
    tmp_path: Path, version: ssl.TLSVersion, suite: str | None
) -> None:
    _, log, framed = talk(tmp_path, version, suite)
    for key, secret in log.secrets.items():
        log.secrets[key] = bytes([secret[0] ^ 1]) + secret[1:]
    plaintext, ledger = Plaintext(log), Ledger()
    assert opened(plaintext, framed) == []
    plaintext.tell(ledger)
    assert ledger.by_code["tls.bad_record_mac"].count == len(framed.records)
    assert plaintext.close(0) == (0, len(framed.records))


@pytest.mark.parametrize("missing", ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"])
def test_application_secrets_alone_open_application_data(tmp_path: Path, missing: str) -> None:
    _, log, framed = talk(tmp_path, V.TLSv1_3, None)
    log.secrets = {key: secret for key, secret in log.secrets.items() if key[0] != missing}
    plaintext, ledger = Plaintext(log), Ledger()
    results = opened(plaintext, framed)
    assert (joined(results, CLIENT), joined(results, SERVER)) == said()
    plaintext.tell(ledger)
    assert 0 < ledger.by_code["tls.undecrypted"].count < 6
    assert "tls.bad_record_mac" not in ledger.by_code


def test_one_side_of_the_log_opens_one_side(tmp_path: Path) -> None:
    _, log, framed = talk(tmp_path, V.TLSv1_3, None)
    log.secrets = {key: secret for key, secret in log.secrets.items() if key[0].startswith("CLIENT")}
    results = opened(Plaintext(log), framed)
    assert (joined(results, CLIENT), joined(results, SERVER)) == (said()[0], b"")


@pytest.mark.parametrize(
    ("version", "suite"),
    [(V.TLSv1_1, "AES128-SHA"), *[(V.TLSv1_2, s) for s in (*NEW, "AES128-SHA")], (V.TLSv1_3, None)],
    ids=str,
)
def test_a_damaged_record_is_counted_and_the_rest_goes_on(
    tmp_path: Path, version: ssl.TLSVersion, suite: str | None
) -> None:
    _, log, framed = talk(tmp_path, version, suite)
    victim = [r for r in framed.records if r.kind == 23 and r.direction == SERVER][-3]
    victim.body = victim.body[:-1] + bytes([victim.body[-1] ^ 1])
    plaintext = Plaintext(log)
    results = opened(plaintext, framed)
    assert plaintext.close(0) == (len(framed.records) - 1, 1)
    assert len(joined(results, SERVER)) in range(len(said()[1]) - 16384, len(said()[1]))
    assert joined(results, CLIENT) == said()[0]


@pytest.mark.parametrize(("version", "suite"), RECOVER, ids=str)
@pytest.mark.parametrize("known", [True, False])
def test_records_in_a_hole(tmp_path: Path, version: ssl.TLSVersion, suite: str | None, known: bool) -> None:
    """A hole within records whose headers are there, and one over several whole records."""
    _, log, framed = talk(tmp_path, version, suite)
    served = [r for r in framed.records if r.kind == 23 and r.direction == SERVER]
    gone = served[-8:-4]
    if known:
        for r in gone:
            r.whole = 0
    else:
        framed.records = [r for r in framed.records if not any(r is other for other in gone)]
        served[-4].lost = 1
    plaintext = Plaintext(log)
    results = opened(plaintext, framed)
    assert plaintext.close(0) == (len(framed.records) - (4 if known else 0), 4 if known else 0)
    assert joined(results, CLIENT) == said()[0]


def test_resumption_and_close_notify(tmp_path: Path) -> None:
    for version in (V.TLSv1_2, V.TLSv1_3):
        client, server, path = contexts(tmp_path, version)
        first = Talk(client, server)
        first.say(SERVER, b"ticket arrives")
        second = Talk(client, server, session=first.client.session)
        second.say(CLIENT, b"again")
        second.say(SERVER, b"yes")
        assert second.client.session_reused
        with pytest.raises(ssl.SSLWantReadError):
            second.client.unwrap()
        second.move()
        results = opened(Plaintext(key_log(path)), framed := frame(second.chunks))
        assert (joined(results, CLIENT), joined(results, SERVER)) == (b"again", b"yes")
        assert joined(results, CLIENT, 21) == b"\x01\x00"
        assert len(results) == len(framed.records)


NAMES = [
    "TLS_AES_128_GCM_SHA256", "TLS_AES_128_CCM_8_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_RSA_WITH_NULL_SHA",
    "TLS_RSA_WITH_RC4_128_MD5", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_DES_CBC_SHA",
    "TLS_RSA_WITH_IDEA_CBC_SHA", "TLS_RSA_WITH_SEED_CBC_SHA", "TLS_RSA_EXPORT_WITH_RC2_CBC_40_MD5",
    "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_128_CCM", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("etm", [False, True])
def test_bytes_of_no_record_open_nothing_and_raise_nothing(name: str, etm: bool) -> None:
    suite = suite_named(name)
    assert suite is not None
    source = random.Random(name)
    for version in (SSL30, TLS10, TLS12) if "_WITH_" in name else (TLS13,):
        if version == SSL30 and (suite.aead or suite.mac not in ("md5", "sha1")):
            continue
        keys = Keys(source.randbytes(suite.key_size), source.randbytes(12), source.randbytes(suite.mac_size))
        if version == TLS13:
            pass
        elif suite.aead:
            keys = Keys(keys.key, keys.iv[: suite.iv_size])
        else:
            keys = Keys(keys.key, source.randbytes(suite.block) if version <= TLS10 else b"", keys.mac_key)
        reader = opener(version, suite, keys, encrypt_then_mac=etm)
        for length in (*range(80), 1000, 16384 + 2048, 65535):
            assert reader.open(23, 0x0303, source.randbytes(length)) is None
            reader.skip(length)
        assert reader.seq == 2 * 83


@pytest.mark.parametrize(
    "name", ["TLS_RSA_WITH_ARIA_128_GCM_SHA256", "TLS_GOSTR341112_256_WITH_28147_CNT_IMIT", "x", ""]
)
def test_suites_that_cannot_be_read(name: str) -> None:
    assert suite_named(name) is None
