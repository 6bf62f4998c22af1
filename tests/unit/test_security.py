"""SECURITY.md and its report name commands, files and anomalies that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from analyzer.anomalies import CODES

ROOT = Path(__file__).parents[2]
PAGES = ("SECURITY.md", "reports/hardening.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m (tests[\w.]+)", text))
    paths = set(re.findall(r"pytest (tests[\w./]+)", text))
    links = {link for link in re.findall(r"\]\(([\w./-]+)\)", text) if not link.startswith("http")}
    codes = set(re.findall(r"`((?:flow|stream|decode|http|websocket|tls|capture)\.[a-z_]+)`", text))
    assert len(modules) >= 3 and len(codes) >= 3
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()
    assert {path for path in paths | links if not (ROOT / path).exists()} == set()
    assert codes <= CODES.keys()
