"""HTTP/1 exchanges against tshark's requests and responses, Zeek's http.log, and the labels of the lab.

tshark is compared by stream: methods with targets, and status codes, in whatever order. Interim responses (1xx) are
left out, since an exchange has one answer. What needs a key log is compared with it by the tests of TLS.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from analyzer import AnalyzerError, analyze
from tests.corpus import CORPUS, LAB, catalogue, lab_scenarios, needs_corpus, truth
from tests.golden.test_lab import cases, flow_of

pytestmark = [needs_corpus, pytest.mark.corpus]

# ------------------------------------------------------------------------------------------------ tshark
MORE_THAN_TSHARK = "tshark shows a response where its body ends, and this one is cut or has a hole; the head is there"
TSHARK_DIFFERS = {
    "arkime/wireshark-retrans.pcap": "tshark reads retransmitted responses as further ones",
    "ndpi/KakaoTalk_talk.pcap": MORE_THAN_TSHARK,
    "ndpi/gnutella.pcap": MORE_THAN_TSHARK,
    "ndpi/instagram.pcap": "tshark splits flows of other captures' numbers; " + MORE_THAN_TSHARK,
    "ndpi/ndpi_match_string_subprotocol__error.pcapng": "a fuzzed capture: bytes of the start lines are flipped",
    "snort3_demo/inspectors__file_id_file_log__http_noblock.pcap": MORE_THAN_TSHARK,
    "snort3_demo/loggers__alert_ex__alert_ex.pcap": MORE_THAN_TSHARK,
    "suricata/bug-5392__TPWhite-carved-out-7787-s1.pcap": "a request whose body has holes; tshark waits for it",
    "suricata/http-gap-beyond-body.pcap": MORE_THAN_TSHARK,
    "suricata/http-gap-double.pcap": MORE_THAN_TSHARK,
    "suricata/tcp-rst-unacked-stream-09__TLPW1-tcp-110.37.219.134-10.12.14.101-tcp-990-49230.pcap": MORE_THAN_TSHARK,
    "suricata/tcp-rst-unacked-stream-10__TLPW1-tcp-174.56.47.59-10.3.11.101-tcp-80-49309.pcap": MORE_THAN_TSHARK,
    "zeek/http__261__variant-01-chunk_2pow64_overflow.pcap": "a chunk of 2^64 bytes: tshark gives the request up",
    "zeek/http__concurrent-range-requests.pcap": MORE_THAN_TSHARK,
    "zeek/http__query-method-non-standard-port.pcap": "method QUERY is newer than this tshark",
    "zeek/tunnels__Teredo.pcap": "TCP in Teredo past its server's port; Zeek reads it, too",
    "zeek/tunnels__gtp__gtp1_gn_normal_incl_fragmentation.pcap": MORE_THAN_TSHARK,
}
"""Captures where the two differ, and why."""


def with_http() -> list[str]:
    """Return the captures in which tshark sees HTTP over TCP without a key log."""
    if not CORPUS.is_dir():
        return []
    files = [row["file"] for row in catalogue() if not (CORPUS / f"{row['file']}.keys").exists()]
    return [file for file in files if any(row["http.request.method"] or row["http.response.code"]
                                          for row in truth(file, "app"))]  # fmt: skip


@cache
def ours(file: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = analyze(CORPUS / file).http_requests.to_dict("records")
    except AnalyzerError:
        return []
    return [
        {key: None if value is not None and pd.isna(value) else value for key, value in row.items()}
        for row in rows
        if row
    ]


def counted(file: str) -> tuple[Counter[Any], Counter[Any]]:
    """Return what tshark has, and what we have: (stream, method, target) and (stream, status), each how often."""
    theirs: Counter[Any] = Counter()
    for row in truth(file, "app"):
        if not row["stream"]:
            continue  # UDP
        stream = int(row["stream"].split("|")[0])
        theirs.update((stream, m) for m in row["http.request.method"].split("|") if m)
        theirs.update((stream, int(c)) for c in row["http.response.code"].split("|") if c and (c >= "2" or c == "101"))
    mine: Counter[Any] = Counter()
    for row in ours(file):
        if not pd.isna(row["stream_id"]):
            continue  # HTTP/2: see test_http2
        if isinstance(row["method"], str):
            mine[row["flow_id"], row["method"]] += 1
        if isinstance(row["status"], int):
            mine[row["flow_id"], row["status"]] += 1
    return theirs, mine


@pytest.mark.parametrize("file", with_http())
def test_tshark_sees_the_same_exchanges(file: str) -> None:
    theirs, mine = counted(file)
    if file in TSHARK_DIFFERS:
        assert theirs != mine, "an exception that is none any more"
        if TSHARK_DIFFERS[file] is MORE_THAN_TSHARK:
            assert theirs - mine == Counter()
    else:
        assert theirs == mine


# ------------------------------------------------------------------------------------------------ Zeek
def zeek_logs() -> list[tuple[str, str]]:
    found = sorted((CORPUS / "zeek").glob("*.expect/*/http.log"))
    return [(f"zeek/{path.parts[-3].removesuffix('.expect')}", path.parts[-2]) for path in found]


def log_rows(file: str, test: str) -> list[dict[str, str]]:
    lines = (CORPUS / f"{file}.expect" / test / "http.log").read_text().splitlines()
    names = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    body = [line.split("\t") for line in lines if not line.startswith("#")]
    if names is None and body:
        names = body.pop(0)
    return [dict(zip(names or [], values, strict=True)) for values in body]


ZEEK_WORDS = {"method": "method", "uri": "target", "host": "host", "status_code": "status"}


def zeek_pairs(file: str, test: str) -> tuple[Counter[Any], Counter[Any]]:
    """Return the exchanges of both, by the columns that the log has. Zeek writes targets percent-decoded."""
    rows = log_rows(file, test)
    columns = [name for name in ZEEK_WORDS if rows and name in rows[0]]
    for row in rows:
        if row.get("status_code") == "0":  # HTTP/0.9 has none
            row["status_code"] = "-"
    theirs = Counter(tuple(unquote(row[name]) for name in columns) for row in rows)
    mine = Counter(
        tuple("-" if (cell := row[ZEEK_WORDS[name]]) is None else unquote(str(cell)) for name in columns)
        for row in ours(file)
    )
    return theirs, mine


ZEEK_DIFFERS = {
    "zeek/wikipedia.pcap": "Zeek leaves out a connection that was joined midstream",
    "zeek/websocket__wstunnel-http.pcap": "Zeek logs the HTTP inside the WebSocket tunnel instead of its 101",
}
LOGS_LEFT_OUT = {"javascript.http-uri-sha256": "the test's script puts hashes into the log"}


@pytest.mark.parametrize(("file", "test"), zeek_logs() if CORPUS.is_dir() else [])
def test_zeek_logs_the_same_exchanges(file: str, test: str) -> None:
    if test in LOGS_LEFT_OUT:
        pytest.skip(LOGS_LEFT_OUT[test])
    theirs, mine = zeek_pairs(file, test)
    if file in ZEEK_DIFFERS:
        assert theirs != mine, "an exception that is none any more"
    else:
        assert theirs == mine


# ------------------------------------------------------------------------------------------------ the lab
def lab_http() -> list[tuple[str, str, int]]:
    by_name = {s["name"]: s for s in lab_scenarios()} if LAB.is_dir() else {}
    chosen = []
    for name, point, index in cases():
        label = by_name[name]["connections"][index]
        if label.get("http") and not label.get("tls") and label["app"].startswith("http/1"):
            chosen.append((name, point, index))
    return chosen


@pytest.mark.parametrize(("name", "point", "index"), lab_http())
def test_lab_exchanges(name: str, point: str, index: int) -> None:
    label, flow, result = flow_of(name, point, index)
    http = label["http"]
    rows = result.http_requests[result.http_requests.flow_id == flow["flow_id"]]
    assert list(rows.method) == http["methods"]
    assert [int(code) for code in rows.status.dropna()] == http["statuses"]
    assert set(rows.version) == {http["version"]}
    assert flow["requests"] == len(http["methods"])
    if "pipelined_max" in http:
        assert rows.pipelined.any() == (http["pipelined_max"] > 1)
    if "advertised_timeout_s" in http:
        assert http["advertised_timeout_s"] in set(rows.keepalive_timeout_s.dropna())
    if http.get("close_header_by"):
        said = {"client": rows.connection_c, "server": rows.connection_s}[http["close_header_by"]]
        assert said.str.lower().eq("close").any()
    announced = None if pd.isna(flow["announced_by"]) else flow["announced_by"]
    if flow["app_protocol"] == "http1":
        assert announced == http.get("close_header_by")
    if http.get("chunked"):
        assert (rows.body_framing_s == "chunked").any()
    assert flow["app_protocol"] in ("http1", "websocket")
