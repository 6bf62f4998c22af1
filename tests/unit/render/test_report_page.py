"""The page as a file: self-contained, its policy true, nothing from the wire in it as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from analyzer.render.html.choose import CARDS_ALIKE
from analyzer.render.html.page import SCRIPTS, _asset
from analyzer.render.html.survival import kaplan_meier
from tests.unit.render.report_cases import HOSTILE, made_page, tables


class Reader(HTMLParser):
    """Collects elements with their attributes, and the texts of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self._inside: tuple[str, dict[str, str | None]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw.append((*self._inside, data))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


@cache
def hostile_page() -> str:
    return made_page(tables(40, HOSTILE), HOSTILE)


@cache
def plain_page() -> str:
    return made_page(tables(40))


def data_of(page: str) -> dict[str, dict[str, list[object]]]:
    text = next(text for tag, attributes, text in read(page).raw if attributes.get("id") == "data")
    made: dict[str, dict[str, list[object]]] = json.loads(text)
    return made


def test_hostile_texts_add_no_element_and_no_attribute() -> None:
    """The page with hostile texts has the very elements and attributes that it has with harmless ones."""

    def shape(page: str) -> set[tuple[str, tuple[str, ...]]]:
        return {(tag, tuple(attributes)) for tag, attributes in read(page).elements}

    assert shape(hostile_page()) <= shape(plain_page())
    count = [tag for tag, _ in read(hostile_page()).elements].count("script")
    assert count == len(SCRIPTS) + 1


# Marks that turn text around on the screen are shown as what they are
TURNING = {0x2028: "\\u2028", 0x2029: "\\u2029", 0x202E: "\\u202e"}


def test_hostile_texts_are_there_as_text() -> None:
    page = hostile_page()
    assert "&lt;img src=x onerror=" in page
    assert "<img" not in page and "</script><script>window" not in page
    words = data_of(page)["flows"]["sni"]["words"]  # type: ignore[call-overload]
    assert {text.translate(TURNING) for text in HOSTILE} == set(words)


def test_templates_do_not_read_values_as_templates() -> None:
    assert "{{ 7*7 }}" in hostile_page()


def test_links_lead_into_the_page_only() -> None:
    for tag, attributes in read(hostile_page()).elements:
        for name in ("href", "src", "action", "srcset", "data"):
            assert attributes.get(name) is None or str(attributes[name]).startswith("#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_policy_allows_the_pages_own_scripts_and_styles_and_nothing_else() -> None:
    reader = read(hostile_page())
    policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    found = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag, attributes, text in reader.raw
        if attributes.get("type") != "application/json"
    }
    assert found == allowed


@pytest.mark.parametrize("name", [name for name in SCRIPTS if not name.startswith("vendor/")])
def test_own_scripts_never_write_markup_and_never_ask_the_network(name: str) -> None:
    script = _asset(name)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch(",
                 "XMLHttpRequest", "WebSocket(", "import(", "http:", "https:"):  # fmt: skip
        assert word not in script or "w3.org/2000/svg" in script, (name, word)


def test_the_chart_library_comes_with_its_licence() -> None:
    assert "Permission is hereby granted" in plain_page()
    assert "Leon Sorokin" in _asset("vendor/uPlot.LICENSE")


def test_what_was_left_out_is_said() -> None:
    page = made_page(tables(300), lanes=100, cards=10)
    assert len(data_of(page)["flows"]["flow_id"]) == 100
    assert "200 of 300 connections have no lane" in page
    assert "The table has the 100 most telling of 300 connections" in page
    assert len(data_of(page)["cards"]) == 10


def test_connections_that_findings_name_come_first() -> None:
    shown = data_of(made_page(tables(300), lanes=30, cards=5))["flows"]["flow_id"]
    assert set(range(20)) <= set(shown)  # findings name the first 20


def test_cards_show_every_way_that_connections_ended() -> None:
    given = tables(27 * 40)
    del given["findings"], given["timeouts"]
    cards = data_of(made_page(given, cards=27 * CARDS_ALIKE))["cards"]
    kinds = {int(flow_id) % 27 for flow_id in cards}
    assert kinds == set(range(27))


def test_an_empty_capture_makes_a_page() -> None:
    page = made_page({})
    assert "There is no TCP connection." in page
    assert data_of(page)["flows"]["flow_id"] == []


def test_the_same_tables_make_the_same_page() -> None:
    assert made_page(tables(60)) == made_page(tables(60))


# ------------------------------------------------------------------------------------------ survival


def test_kaplan_meier_by_hand() -> None:
    """1 of 5 at 2 s, one censored at 3 s, 2 of 3 at 5 s, one censored at 9 s."""
    at, share = kaplan_meier(np.array([5.0, 2.0, 9.0, 5.0, 3.0]), np.array([True, True, False, True, False]))
    assert at.tolist() == [0.0, 2.0, 5.0, 9.0]
    assert share == pytest.approx([1.0, 0.8, 0.8 / 3, 0.8 / 3])


def test_without_an_event_everything_survives() -> None:
    at, share = kaplan_meier(np.array([5.0, 2.0]), np.array([False, False]))
    assert (at.tolist(), share.tolist()) == ([0.0, 5.0], [1.0, 1.0])
