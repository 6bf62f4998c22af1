"""HTTP/2 against tshark, frame by frame, against pcap2har's requests, and against the labels of the lab.

tshark's truth was made with the same keys. Its `stream` is our flow_id. In two captures it shows less than there is,
and SHOWS_LESS says why; there all that it shows has to be among ours.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pytest

import analyzer
from analyzer.tables.protocols import HTTP2_TYPES
from tests.corpus import CORPUS, LAB, needs_corpus, truth
from tests.golden.captures_tables import h2

pytestmark = needs_corpus

SAME = (
    "ja4/chrome-cloudflare-quic-with-secrets.pcapng", "ja4/http2-with-cookies.pcapng",
    "pcap2har/resources__http2-dump.pcap", "suricata/dns-over-http2-post__dns_over_https_POST.pcap",
    "suricata/http2-continuation.pcap", "suricata/http2-deflate__http2_deflate.pcap",
)  # fmt: skip
SHOWS_LESS = {
    "pcap2har/resources__firefox-tls13-facebook-dsb.pcapng": "most of what comes from the server stays undissected",
    "suricata/http2-authority-mismatch__authority_and_host_2.pcap": "not what the server begins with",
}
FILES = (*SAME, *SHOWS_LESS)
Frames = Counter[tuple[int, int, int, int, int]]


@cache
def analysis(file: str) -> analyzer.Analysis:
    return analyzer.analyze(CORPUS / file, records=True)


def of_tshark(file: str) -> Frames:
    """Count (flow, frame, type, stream, length)."""
    found: Frames = Counter()
    for row in truth(file, "app"):
        columns = (row[f"http2.{name}"].split("|") for name in ("type", "streamid", "length"))
        if row["http2.type"]:
            found.update((int(row["stream"]), int(row["frame"]), *map(int, one)) for one in zip(*columns, strict=True))
    return found


def of_ours(file: str) -> Frames:
    rows = analysis(file).http2_frames
    return Counter(
        (int(row.flow_id), int(row.frame), HTTP2_TYPES.index(str(row.type)), int(row.stream_id), int(row.length))
        for row in rows.itertuples()
    )


@pytest.mark.parametrize("file", FILES)
def test_frames_are_those_of_tshark(file: str) -> None:
    ours, theirs = of_ours(file), of_tshark(file)
    assert theirs
    if file in SHOWS_LESS:
        assert theirs < ours
    else:
        assert ours == theirs


@pytest.mark.parametrize("file", FILES)
def test_requests_and_statuses_are_those_of_tshark(file: str) -> None:
    rows, ours = truth(file, "app"), analysis(file).http_requests
    ours = ours[ours.stream_id.notna()]
    asked = ours[ours.request_frame.isin(analysis(file).http2_frames.frame)]
    method, path, status = (
        Counter(word for row in rows for word in row[f"http2.headers.{name}"].split("|") if word)
        for name in ("method", "path", "status")
    )
    if file != "suricata/http2-deflate__http2_deflate.pcap":  # there the request is HTTP/1's
        assert Counter(asked.method.dropna()) == method
        assert Counter(asked.target.dropna()) == path
    told = Counter(str(code) for code in ours.status.dropna())
    assert status <= told if file in SHOWS_LESS else status == told


@pytest.mark.parametrize("file", FILES)
def test_clean_captures_have_no_anomalies(file: str) -> None:
    assert not analysis(file).anomalies["code"].str.startswith(("http2.", "http.")).any()


def test_an_upgrade_of_a_real_server() -> None:
    rows = analysis("suricata/http2-deflate__http2_deflate.pcap").http_requests
    assert rows[["version", "status", "target"]].values.tolist() == [["1.1", 101, "/"], ["2", 200, "/"]]


def test_requests_are_those_of_pcap2har() -> None:
    file = "pcap2har/resources__http2-dump.pcap"
    (har,) = (CORPUS / f"{file}.expect").glob("*.har.json")
    theirs = Counter()
    for entry in json.loads(har.read_text())["log"]["entries"]:
        fields = {one["name"]: one["value"] for one in entry["request"]["headers"]}
        theirs[fields[":method"], fields[":authority"], fields[":path"], entry["response"]["status"]] += 1
    rows = analysis(file).http_requests
    assert Counter(zip(rows.method, rows.host, rows.target, rows.status, strict=True)) == theirs


OF_LAB = sorted(
    path.stem for path in LAB.glob("*.json") if any("h2" in c for c in json.loads(path.read_text())["connections"])
)


@pytest.mark.parametrize("name", OF_LAB)
def test_the_lab(name: str) -> None:
    label = json.loads((LAB / f"{name}.json").read_text())
    keys = LAB / f"{name}.keys"
    a = analyzer.analyze(LAB / f"{name}.pcap", keys=keys if keys.exists() else None)
    flows = a.flows.sort_values("first_ts")
    for connection, flow in zip(label["connections"], flows.flow_id, strict=True):
        tables = {name: getattr(a, name) for name in ("http2_frames", "http_requests")}
        mine = {name: rows[rows.flow_id == flow].reset_index(drop=True) for name, rows in tables.items()}
        assert h2(connection, mine) == []
        assert a.flows.set_index("flow_id").app_protocol[flow] in ("http2", "grpc")
        for beats in connection["heartbeats"]:
            series = a.heartbeat_series[
                (a.heartbeat_series.flow_id == flow) & (a.heartbeat_series.method == "explicit")
            ]
            (row,) = series.itertuples()
            assert (row.dir, row.beats, row.answered_share) == ("c2s", beats["count"], 1.0)
            assert row.period_s == pytest.approx(beats["interval_s"], rel=0.1)
