"""Requests, answers and WebSocket messages against the HAR files of pcap2har.

A HAR has requests in whole; an answer without a status is one that its program did not see. None of them has WebSocket
messages, and so there must be none here.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest

from analyzer import Analysis, analyze
from tests.corpus import CORPUS, needs_corpus

pytestmark = [needs_corpus, pytest.mark.corpus]

Exchange = tuple[str, str, str, str, int | None]  # version, method, host, target, status

STATUS_DIFFERS = {
    "pcap2har/resources__firefox-tls13-facebook-dsb.pcapng": "most of what comes from the server stays undissected in "
    "its tshark, so its answers are missing",
}
UNPACKED = "pcap2har counts bodies as they are when unpacked"
LENGTH_DIFFERS = {
    "pcap2har/resources__http-chunked-gzip.pcap": UNPACKED,
    "pcap2har/resources__http2-dump.pcap": UNPACKED,
}


def files() -> list[str]:
    """Return the captures with a HAR file."""
    return [f"pcap2har/{p.parent.name.removesuffix('.expect')}" for p in sorted(CORPUS.glob("*/*.expect/*.har.json"))]


def entries(file: str) -> list[dict[str, Any]]:
    (path,) = (CORPUS / f"{file}.expect").glob("*.har.json")
    found: list[dict[str, Any]] = json.loads(path.read_text())["log"]["entries"]
    return found


@cache
def ours(file: str) -> Analysis:
    return analyze(CORPUS / file)


def theirs(file: str) -> Counter[Exchange]:
    out: Counter[Exchange] = Counter()
    for entry in entries(file):
        asked, url = entry["request"], urlsplit(entry["request"]["url"])
        target = url.path + (f"?{url.query}" if url.query else "")
        version = asked["httpVersion"].removeprefix("HTTP/")
        out[version, asked["method"], url.netloc, target, entry["response"]["status"] or None] += 1
    return out


def mine(file: str) -> Counter[Exchange]:
    rows = ours(file).http_requests
    return Counter(
        (version, method, host, target, None if pd.isna(status) else int(status))
        for version, method, host, target, status in zip(
            rows.version, rows.method, rows.host, rows.target, rows.status, strict=True
        )
    )


def compared(file: str) -> tuple[Counter[Any], Counter[Any]]:
    """Return (ours, pcap2har's) exchanges; without the status where it is known to differ."""
    a, b = mine(file), theirs(file)
    if file not in STATUS_DIFFERS:
        return a, b
    assert a != b, "an exception that is none any more"
    return Counter(x[:4] for x in a.elements()), Counter(x[:4] for x in b.elements())


@pytest.mark.parametrize("file", files())
def test_requests_and_answers(file: str) -> None:
    a, b = compared(file)
    assert b
    assert a == b


@pytest.mark.parametrize("file", files())
def test_lengths_of_bodies(file: str) -> None:
    if file in STATUS_DIFFERS:
        pytest.skip(STATUS_DIFFERS[file])
    a = Counter(int(n) for n in ours(file).http_requests.response_bytes)
    b = Counter(entry["response"]["bodySize"] for entry in entries(file))
    if file in LENGTH_DIFFERS:
        assert a != b, "an exception that is none any more"
        assert all(x <= y for x, y in zip(sorted(a.elements()), sorted(b.elements()), strict=True))
    else:
        assert a == b


@pytest.mark.parametrize("file", files())
def test_websocket_messages(file: str) -> None:
    told = sum(len(entry["_webSocketMessages"] or []) for entry in entries(file))
    assert len(ours(file).websocket_messages) == told
