"""HTTP and WebSocket records as Suricata's own tests count them.

Each `filter` of a test.yaml says how many EVE records there are with the given values. Those of http and websocket
events are compared, and the counts of transactions and flows in `stats`. Values that no table of ours has (user agent,
content type, single header fields) are left out of the match; alerts need Suricata's rules.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
import pytest

from analyzer import Analysis, analyze
from tests.corpus import CORPUS, needs_corpus

pytestmark = [needs_corpus, pytest.mark.corpus]

HTTP_COLUMNS = {
    "http.url": "target", "http.status": "status", "http.http_method": "method", "http.hostname": "host",
    "http.protocol": "version", "http.length": "response_bytes", "tx_id": "index",
}  # fmt: skip
NOT_OURS = ("http.http_user_agent", "http.http_content_type", "http.request_headers", "proto", "dest_port", "pcap_cnt")


class Check(NamedTuple):
    """One count: of records of a kind with these values."""

    file: str
    test: str
    kind: str
    match: tuple[tuple[str, str], ...]
    count: int


DIFFERS = {
    ("bug-3844", "http http.url=/"): "a request line that never ends: Suricata takes it for HTTP/0.9",
}
"""(test, match) of counts that are not ours, and why."""


def checks() -> list[Check]:
    """Return the counts of all tests that are about HTTP or WebSocket."""
    found = []
    for path in sorted((CORPUS / "suricata").glob("*.expect/*test.yaml")):
        file, test = f"suricata/{path.parent.name.removesuffix('.expect')}", path.name.removesuffix("__test.yaml")
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        for block in re.split(r"^\s*- filter:\s*$", "\n".join(lines), flags=re.M)[1:]:
            pairs = dict(re.findall(r"^\s*([\w.\[\]]+): +(.+?)\s*$", block, flags=re.M))
            values = {key: value.strip("\"'") for key, value in pairs.items()}
            count, kind = values.pop("count", ""), values.pop("event_type", "")
            if kind in ("http", "websocket"):
                found.append(Check(file, test, kind, tuple(sorted(values.items())), int(count)))
            for what in ("tx", "flow"):
                if told := values.get(f"stats.app_layer.{what}.http"):
                    found.append(Check(file, test, f"http {what}", (), int(told)))
    return found


@cache
def ours(file: str) -> Analysis:
    return analyze(CORPUS / file)


def number(check: Check) -> int:
    """Return how many rows of ours have the values."""
    result = ours(check.file)
    if check.kind == "http tx":
        return len(result.http_requests)
    if check.kind == "http flow":
        return int(result.http_requests.flow_id.nunique())
    rows = result.http_requests if check.kind == "http" else result.websocket_frames
    for name, wanted in check.match:
        if name.startswith(NOT_OURS):
            continue
        rows = rows[[_same(name, cell, wanted) for cell in rows[column_of(name)]]]
    return len(rows)


def column_of(name: str) -> str:
    return HTTP_COLUMNS[name] if name in HTTP_COLUMNS else name.removeprefix("websocket.")


def _same(name: str, cell: Any, wanted: str) -> bool:
    if pd.isna(cell):
        return False
    if name == "http.protocol":
        return f"HTTP/{cell}" == wanted
    if name == "http.hostname":  # Suricata's is without the port
        return str(cell).lower().partition(":")[0] == wanted
    return str(cell) == wanted


def named(check: Check) -> tuple[str, str]:
    return check.test, " ".join([check.kind, *(f"{key}={value}" for key, value in check.match)])


def test_there_is_something_to_compare() -> None:
    assert {check.kind for check in checks()} == {"http", "websocket", "http tx", "http flow"}
    assert len(checks()) >= 20


@pytest.mark.parametrize("check", checks() if CORPUS.is_dir() else [], ids=lambda check: " ".join(named(check)))
def test_suricata_counts_the_same(check: Check) -> None:
    if named(check) in DIFFERS:
        assert number(check) != check.count, "an exception that is none any more"
    else:
        assert number(check) == check.count
