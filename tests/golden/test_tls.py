"""TLS without keys against tshark, Zeek's ssl.log, FoxIO's JA4 and the lab's labels.

tshark and we number frames alike; its streams may be numbered otherwise, so records are compared by frame. Where the
truth was made with a key log, the record headers are still those of the wire.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from analyzer import Analysis, analyze
from tests.corpus import CORPUS, LAB, catalogue, lab_scenarios, needs_corpus, truth

pytestmark = [needs_corpus, pytest.mark.corpus]

Rows = list[dict[str, Any]]

ONLY_TSHARK = {
    "ndpi/anyconnect-vpn.pcap": "frame 447 sends again what was delivered before; tshark dissects it a second time",
    "ndpi/capwap_data.pcapng": "TCP inside CAPWAP, which is not decoded",
    "ndpi/heuristic_tcp_ack_payload.pcap": "plain ACKs with two bytes of padding as payload: the first copy of a byte "
    "wins, so streams begin with garbage; tshark looks at frames",
}
"""Captures in which tshark has records that we do not."""

ONLY_OURS = {
    "ndpi/KakaoTalk_chat.pcap": "behind an opaque beginning",
    "ndpi/KakaoTalk_talk.pcap": "a port that tshark does not know for TLS",
    "ndpi/anyconnect-vpn.pcap": "joined in mid-connection",
    "ndpi/anydesk.pcapng": "a port that tshark does not know for TLS",
    "ndpi/gnutella.pcap": "a port that tshark does not know for TLS",
    "ndpi/no_sni.pcap": "after a hole",
    "ndpi/tls_multiple_synack_different_seq.pcapng": "tshark follows the SYN-ACK that nobody believed",
    "pcap2har/resources__firefox-tls13-facebook-dsb.pcapng": "segments out of order",
    "pcapflowlab/tls__tls_1_3_many_records_continuation_11.pcap": "after a loss",
    "suricata/bug-1450-05__tls_DER-incomplete-content.pcap": "an alert after a certificate that tshark stops at",
    "zeek/tls__tls1.2-late-protocol-error.pcap": "records after one of an unknown type",
}


def captures() -> list[str]:
    """Return the captures in which tshark found TLS over TCP."""
    if not CORPUS.is_dir():
        return []
    return [row["file"] for row in catalogue() if tshark(row["file"])]


@cache
def tshark(file: str) -> list[dict[str, str]]:
    return [row for row in truth(file, "app") if row["tls.record.length"] and row["stream"]]


@cache
def analysis(file: str) -> Analysis:
    return analyze(CORPUS / file, records=True)


def rows(file: str, table: str) -> Rows:
    found: Rows = analysis(file).arrow(table).drop_columns([c for c in ("ts",) if table == "tls_records"]).to_pylist()
    return found


# ------------------------------------------------------------------------------------------------ tshark
def records(file: str) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Return (ours, tshark's) record lengths by frame."""
    ours = Counter((row["frame"], row["length"]) for row in rows(file, "tls_records"))
    theirs = Counter((int(r["frame"]), int(n)) for r in tshark(file) for n in r["tls.record.length"].split("|"))
    return ours, theirs


@pytest.mark.parametrize("file", captures())
def test_records(file: str) -> None:
    ours, theirs = records(file)
    if file not in ONLY_TSHARK:
        assert theirs <= ours
    if file not in ONLY_OURS:
        assert ours <= theirs


def test_exceptions_are_met() -> None:
    both = {file: records(file) for file in captures()}
    assert {file for file, (ours, theirs) in both.items() if not theirs <= ours} == set(ONLY_TSHARK)
    assert {file for file, (ours, theirs) in both.items() if not ours <= theirs} == set(ONLY_OURS)
    same = sum(sum((ours & theirs).values()) for ours, theirs in both.values())
    assert same >= 9800  # the comparison is about something


@pytest.mark.parametrize("file", [f for f in captures() if f not in ONLY_TSHARK])
def test_names_asked_for(file: str) -> None:
    """Every server name and first offer of ALPN of a ClientHello, by the frame that completes it."""
    flow_of = {row["frame"]: row["flow_id"] for row in rows(file, "tls_records")}
    sessions = {row["flow_id"]: row for row in rows(file, "tls_sessions")}
    for row in tshark(file):
        if row["tls.handshake.type"].split("|")[0] == "1":
            mine = sessions[flow_of[int(row["frame"])]]
            assert (mine["sni"] or "") == row["tls.handshake.extensions_server_name"]


# ------------------------------------------------------------------------------------------------ Zeek
_ZEEK_VERSIONS = {
    "TLSv13": "TLS 1.3",
    "TLSv12": "TLS 1.2",
    "TLSv11": "TLS 1.1",
    "TLSv10": "TLS 1.0",
    "SSLv3": "SSL 3.0",
}
ZEEK_DIFFERS = {
    ("zeek/tls__chrome-63.0.3211.0-canary-tls_experiment.pcap", "version"): "Zeek has no name for it",
    (
        "zeek/tls__chrome-63.0.3211.0-canary-tls_experiment.pcap",
        "resumed",
    ): "and takes TLS 1.3's echo of the session id for a resumption",
    (
        "zeek/tls__tls1.2-late-protocol-error.pcap",
        "established",
    ): "Zeek stops at an impossible record; application data of both sides follows",
}
ZEEK_LEFT_OUT = {"zeek/websocket__wstunnel-https.pcap": "TLS in binary messages of a WebSocket, which is not opened"}


def zeek_logs() -> list[tuple[str, str]]:
    paths = sorted((CORPUS / "zeek").glob("*.expect/*/ssl.log"))
    found = [(f"zeek/{path.parts[-3].removesuffix('.expect')}", path.parts[-2]) for path in paths]
    return [(file, test) for file, test in found if file not in ZEEK_LEFT_OUT]


def zeek_rows(file: str, test: str) -> list[dict[str, str]]:
    lines = (CORPUS / f"{file}.expect" / test / "ssl.log").read_text().splitlines()
    names = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    body = [line.split("\t") for line in lines if line and not line.startswith("#")]
    if names is None and body:
        names = body.pop(0)
    return [dict(zip(names or [], values, strict=True)) for values in body]


@pytest.mark.parametrize(("file", "test"), zeek_logs())
def test_zeek(file: str, test: str) -> None:
    flows = {(f["client_ip"], f["client_port"]): f["flow_id"] for f in rows(file, "flows")}
    sessions = {row["flow_id"]: row for row in rows(file, "tls_sessions")}
    compared = 0
    for zeek in zeek_rows(file, test):
        if "id.orig_h" in zeek:
            mine = sessions[flows[zeek["id.orig_h"], int(zeek["id.orig_p"])]]
        elif len(sessions) == 1:
            (mine,) = sessions.values()
        else:
            continue
        compared += 1
        ours = {
            "version": mine["version"],
            "cipher": mine["cipher"],
            "curve": mine["group"],
            "server_name": mine["sni"],
            "resumed": mine["resumption"] not in ("none", "unknown"),
            "established": mine["handshake_complete"],
        }
        for name, value in ours.items():
            theirs: Any = zeek.get(name)
            if theirs is None or theirs == "-" or (file, name) in ZEEK_DIFFERS:
                continue
            if name in ("resumed", "established"):
                theirs = theirs == "T"
            if name == "version":
                theirs = _ZEEK_VERSIONS.get(theirs, theirs)
                value = value.split(" (draft")[0]  # noqa: PLW2901
                theirs = "TLS 1.3" if theirs.startswith("TLSv13") else theirs
            assert value == theirs, name
    assert compared


# ------------------------------------------------------------------------------------------------ JA4
@pytest.mark.parametrize("file", ["tls-handshake.pcapng", "ssh2.pcapng", "http2-with-cookies.pcapng"])
def test_ja4(file: str) -> None:
    text = (CORPUS / "ja4" / f"{file}.expect" / f"python-{file}.json").read_text()
    flows = {
        (f["client_ip"], str(f["client_port"]), f["server_ip"], str(f["server_port"])): f["flow_id"]
        for f in rows(f"ja4/{file}", "flows")
    }
    sessions = {row["flow_id"]: row for row in rows(f"ja4/{file}", "tls_sessions")}
    compared = 0
    for theirs in json.loads(text):
        key = (theirs["src"], theirs["srcport"], theirs["dst"], theirs["dstport"])
        client, server = theirs.get("JA4.1", theirs.get("JA4")), theirs.get("JA4S")
        if key not in flows or not (client or server or "").startswith("t"):
            continue  # QUIC, SSH
        mine = sessions[flows[key]]
        assert client is None or mine["ja4"] == client
        assert server is None or mine["ja4s"] == server
        assert theirs.get("domain") in (None, mine["sni"])
        compared += 1
    assert compared


# ------------------------------------------------------------------------------------------------ the lab
def labels() -> list[tuple[str, int]]:
    return [(s["name"], k) for s in lab_scenarios() for k, c in enumerate(s["connections"]) if c.get("tls")]


@cache
def lab(name: str) -> Analysis:
    scenario = next(s for s in lab_scenarios() if s["name"] == name)
    return analyze(LAB / scenario["captures"]["client"])


@pytest.mark.parametrize(("name", "index"), labels() if LAB.is_dir() else [])
def test_lab(name: str, index: int) -> None:
    label = next(s for s in lab_scenarios() if s["name"] == name)["connections"][index]
    tls = label["tls"]
    flow = next(f for f in lab(name).arrow("flows").to_pylist() if f["client_port"] == label["client"][1])
    mine = next(s for s in lab(name).arrow("tls_sessions").to_pylist() if s["flow_id"] == flow["flow_id"])
    close = next(c for c in lab(name).arrow("closes").to_pylist() if c["flow_id"] == flow["flow_id"])
    failed = tls.get("handshake") == "failed"
    if not failed:
        assert mine["version"] == f"TLS {tls['version']}"
        assert mine["handshake_complete"]
        if tls.get("resumed") is not None:
            assert mine["resumption"] == (tls["resumed"] or "none")
    assert mine["renegotiations"] == tls.get("renegotiations", 0)
    assert mine["heartbeat_negotiated"] == tls.get("heartbeat_extension", False)
    assert mine["alert"] == (tls.get("alert") or {}).get("name")
    assert (close["trigger"] == "tls_alert") == (label["close"]["kind"] == "tls_alert")
    assert mine["truncated"] is False
    for side in ("client", "server"):
        said = tls["close_notify"][side]
        assert mine[f"close_notify_{side[0]}"] in (("yes", "inferred") if said else ("no",))
        updates = mine[f"key_updates_{side[0]}"]
        assert updates is None or updates == tls["key_updates"][side]
    if tls.get("alpn"):
        assert mine["alpn"] == tls["alpn"]
    if tls.get("early_data") == "accepted":
        assert mine["early_data"] == "unknown"  # its acceptance is encrypted
