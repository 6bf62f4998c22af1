"""Captures with their key logs: what comes out of the encryption, against tshark and another decryptor.

tshark's truth was made with the same key logs. Its `stream` is our flow_id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

import analyzer
from tests.corpus import CORPUS, LAB, needs_corpus, truth

pytestmark = needs_corpus

IN_FILE = (
    "ja4/chrome-cloudflare-quic-with-secrets.pcapng", "ja4/http2-with-cookies.pcapng",
    "pcap2har/resources__firefox-tls13-facebook-dsb.pcapng", "pcap2har/resources__http2-dump.pcap",
)  # fmt: skip
WITH_LOG = sorted(str(p.relative_to(CORPUS))[: -len(".keys")] for p in CORPUS.glob("*/*.keys") if p.parent != LAB)
OF_LAB = sorted(p.stem for p in LAB.glob("*.keys")) if LAB.is_dir() else []


@cache
def analysis(file: str, keys: str | None = None) -> analyzer.Analysis:
    log = CORPUS / (keys or file + ".keys")
    return analyzer.analyze(CORPUS / file, keys=log if log.exists() else None, records=True)


def sealed(records: pd.DataFrame) -> pd.DataFrame:
    return records[records["encrypted"] & ~records["decrypted"]]


def per_stream(rows: Iterable[dict[str, str]], column: str) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for row in rows:
        if row["stream"] and row[column]:
            found.update((int(row["stream"]), word) for word in row[column].split("|"))
    return found


def ours(frame: pd.DataFrame, column: str) -> Counter[tuple[int, str]]:
    known = frame[frame[column].notna()]
    return Counter((int(flow), str(value)) for flow, value in zip(known["flow_id"], known[column], strict=True))


@pytest.mark.parametrize("file", [*WITH_LOG, *IN_FILE])
def test_every_encrypted_record_opens(file: str) -> None:
    a = analysis(file)
    assert a.tls_records["decrypted"].any()
    assert sealed(a.tls_records).empty
    assert not a.anomalies["code"].str.startswith("tls.").any()


def counted() -> list[tuple[str, int]]:
    counts = []
    for path in sorted(CORPUS.glob("snet/*.expect/decrypted_records_count.txt")):
        counts.append((f"snet/{path.parent.name.removesuffix('.expect')}", int(path.read_text())))
    return counts


@pytest.mark.parametrize(("file", "count"), counted())
def test_as_many_records_as_another_decryptor_opened(file: str, count: int) -> None:
    """snet counts 0 for suites without encryption, whose MAC we check all the same."""
    a = analysis(file)
    if count:
        assert int(a.tls_records["decrypted"].sum()) == count
    else:
        assert a.tls_sessions["cipher"].str.contains("NULL").all()


@pytest.mark.parametrize("file", [*WITH_LOG, *IN_FILE])
def test_requests_and_statuses_are_those_of_tshark(file: str) -> None:
    a, rows = analysis(file), truth(file, "app")
    requests = a.http_requests[a.http_requests["stream_id"].isna()]  # of HTTP/2: see test_http2
    assert ours(requests, "method") == per_stream(rows, "http.request.method")
    assert ours(requests, "target") == per_stream(rows, "http.request.uri")
    # tshark shows a response where it ends; one that only the connection's end ends, not always.
    finished = requests[requests["body_framing_s"] != "close"]
    assert ours(finished, "status") <= per_stream(rows, "http.response.code") <= ours(requests, "status")
    assert a.http_requests["decrypted"].all()


@pytest.mark.parametrize("file", [*WITH_LOG, *IN_FILE])
def test_key_updates_are_those_of_tshark(file: str) -> None:
    s, rows = analysis(file).tls_sessions, truth(file, "app")
    expected = sum(n for (_, kind), n in per_stream(rows, "tls.handshake.type").items() if kind == "24")
    assert int(s["key_updates_c"].sum() + s["key_updates_s"].sum()) == expected


@pytest.mark.parametrize("name", OF_LAB)
def test_the_lab_read_from_inside(name: str) -> None:
    import json

    label = json.loads((LAB / f"{name}.json").read_text())
    a = analysis(f"lab/{name}.pcap", f"lab/{name}.keys")
    assert sealed(a.tls_records[a.tls_records["flow_id"].isin(a.tls_sessions["flow_id"])]).empty
    flows = a.flows.set_index(["client_ip", "client_port"]).sort_index()
    for connection in label["connections"]:
        tls = connection.get("tls")
        if not tls or tls.get("handshake") == "failed":
            continue
        flow = int(flows.loc[[tuple(connection["client"])], "flow_id"].iloc[0])
        session = a.tls_sessions.set_index("flow_id").loc[flow]
        assert session["decrypted"]
        for side, column in (("client", "key_updates_c"), ("server", "key_updates_s")):
            if "key_updates" in tls:
                assert session[column] == tls["key_updates"].get(side, 0)
        for side, column in (("client", "close_notify_c"), ("server", "close_notify_s")):
            if "close_notify" in tls:
                said = tls["close_notify"].get(side)
                assert said is None or session[column] == ("yes" if said else "no")
        http = connection.get("http")
        if http and "requests" in http and http.get("version", "1.1") != "2":
            mine = a.http_requests[a.http_requests["flow_id"] == flow]
            assert len(mine) == http["requests"]
            assert mine["decrypted"].all()
        if ws := connection.get("ws"):
            mine = a.http_requests[a.http_requests["flow_id"] == flow]
            assert (mine["status"].tolist(), ws != {}) == ([101], True)


def test_a_key_log_of_another_capture_is_told(tmp_path: Path) -> None:
    foreign = LAB / "tls13_key_update.keys"
    a = analyzer.analyze(CORPUS / "illustrated-tls13/archive__captures__capture.pcap", keys=foreign)
    assert a.anomalies.set_index("code")["count"].to_dict() == {"tls.no_secret": 1}
    assert not a.tls_sessions["decrypted"].any()


def test_a_key_log_with_half_of_its_lines_opens_half(tmp_path: Path) -> None:
    lines = (LAB / "https_nginx_tls12_idle_close.keys").read_text().splitlines()
    (tmp_path / "keys").write_text("\n".join([lines[0], lines[1], "no line of a key log"]))
    a = analyzer.analyze(LAB / "https_nginx_tls12_idle_close.pcap", keys=tmp_path / "keys")
    assert sorted(a.tls_sessions["decrypted"]) == [False, True]
    assert a.anomalies.set_index("code")["count"].to_dict() == {"tls.bad_key_log": 1, "tls.no_secret": 1}


def test_without_keys_nothing_is_said_about_keys() -> None:
    a = analyzer.analyze(CORPUS / "illustrated-tls13/archive__captures__capture.pcap")
    assert a.anomalies.empty
    assert not a.tls_sessions["decrypted"].any()
