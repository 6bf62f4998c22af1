"""The report in a real browser: it renders, says nothing on the console, loads nothing, and its controls work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.cli.main import main
from tests.browser.chromium import PROGRAM, Page
from tests.unit.render.report_cases import HOSTILE, made_page, tables

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")

FOLDER = Path(__file__).parents[2] / "captures"
NAMES = ("half_close", "idle_rst", "http_node_idle", "keepalive_answered", "keepalive_dead_peer", "refused",
         "stale_reuse", "zero_window")  # fmt: skip
CAPTURES = [str(FOLDER / f"{name}.pcap") for name in NAMES]
STALE = next(path for path in CAPTURES if "stale_reuse" in path)
OPEN_S = 2.0


# JavaScript: how many colours the lanes show, a table's cells, and where the lanes are in the window
COLOURS = """(() => {
  const canvas = document.getElementById("lanes-canvas");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
})()"""
KINDS = "[...document.querySelectorAll('#flow-table tbody tr')].map(row => row.cells[6].textContent)"
LIVES = """[...document.querySelectorAll("#flow-table tbody tr")].map(row =>
  LW.flows.duration_s[LW.rowOf.get(Number(row.cells[0].textContent))])"""
BY_LIFE = "[...document.querySelectorAll('#flow-table th button')].find(b => b.textContent === 'life').click()"
LANES = """(() => {
  document.getElementById("lanes").scrollIntoView();
  const box = document.getElementById("lanes-canvas").getBoundingClientRect();
  return [box.left, box.top, box.width];
})()"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", *CAPTURES, "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with Page() as page:
        yield page


def opened(browser: Page, path: Path) -> Page:
    browser.open(path)
    return browser


def assert_quiet(page: Page, path: Path) -> None:
    assert page.problems == []
    assert set(page.requests) <= {path.resolve().as_uri(), "about:blank"}


def test_it_renders_without_a_word_on_the_console(report: Path) -> None:
    with Page() as page:
        page.open(report)
        assert page.run("document.querySelectorAll('#flow-table tbody tr').length") == len(CAPTURES)
        assert page.run("document.querySelectorAll('.u-wrap').length") >= 2  # charts
        assert page.run("LW.timeline.lanes()") == len(CAPTURES)
        assert page.run(COLOURS) > 8
        assert_quiet(page, report)


def test_search_keeps_the_connections_that_match(browser: Page, report: Path) -> None:
    page = opened(browser, report)
    page.type("#flow-search", "server rst_to_data")
    assert page.run(KINDS) == ["rst_to_data_stale"]
    assert page.run("document.getElementById('flow-count').textContent") == f"1 of {len(CAPTURES)} connections"
    page.type("#lane-search", "refused")
    assert page.run("LW.timeline.lanes()") == 1


def test_columns_sort_both_ways_with_missing_last(browser: Page, report: Path) -> None:
    page = opened(browser, report)
    page.run(BY_LIFE)
    down = page.run(LIVES)
    assert down == sorted(down, reverse=True)
    page.run(BY_LIFE)
    assert page.run(LIVES) == sorted(down)


def test_a_click_on_a_lane_opens_its_card_with_the_ladder(browser: Page, report: Path) -> None:
    page = opened(browser, report)
    box = page.run(LANES)
    page.click(box[0] + 40, box[1] + 26 + 22 + 11)  # the second lane
    flow_id = page.run("LW.flows.flow_id[1]")
    page.until("document.getElementById('card').open")
    assert page.run("document.getElementById('card-title').textContent").startswith(f"flow {flow_id} ")
    assert page.run("document.querySelectorAll('#card .ladder line.arrow').length") == page.run(
        f"LW.data.cards[{flow_id}].ladder.steps.filter(s => s.kind === 'segment').length"
    )
    page.run("document.getElementById('card-close').click()")
    assert page.run("document.getElementById('card').open") is False


def test_a_drag_over_the_lanes_zooms_and_a_button_goes_back(browser: Page, report: Path) -> None:
    page = opened(browser, report)
    box = page.run(LANES)
    everything = page.run("LW.timeline.range()")
    page.click(box[0] + box[2] / 2, box[1] + 60, to=(box[0] + box[2] / 2 + 100, box[1] + 60))
    begin, end = page.run("LW.timeline.range()")
    assert everything[0] < begin < end < everything[1]
    page.run("document.getElementById('zoom-all').click()")
    assert page.run("LW.timeline.range()") == everything


def test_a_link_in_the_findings_opens_a_card(browser: Page, report: Path) -> None:
    page = opened(browser, report)
    page.run("document.querySelector('.looks a').click()")
    page.until("document.getElementById('card').open")


def test_hostile_texts_do_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(made_page(tables(40, HOSTILE), HOSTILE), encoding="utf-8")
    with Page() as page:
        page.open(path)
        for flow_id in page.run("LW.flows.flow_id"):
            page.run(f"location.hash = 'flow-{flow_id}'")
            page.until(f"document.getElementById('card-title').textContent.startsWith('flow {flow_id} ')")
        page.run("location.hash = 'flow-0'")
        page.run("new Promise(done => setTimeout(done, 200))")
        assert "window.pwned" in page.run("document.getElementById('card-body').textContent")  # as text
        assert page.run("window.pwned === undefined") is True
        assert page.run("document.querySelectorAll('img, iframe, object, embed, form').length") == 0
        assert_quiet(page, path)


def test_ten_thousand_connections_open_quickly(tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(made_page(tables(10_000), cards=200), encoding="utf-8")
    with Page() as page:
        seconds = min(page.open(path) for _ in range(3))
        assert page.run("LW.timeline.lanes()") == 10_000
        assert page.run("document.querySelectorAll('#flow-table tbody tr').length") == 50
        assert_quiet(page, path)
    assert seconds <= OPEN_S


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_it_fits_a_phone_and_the_dark(report: Path, width: int, dark: bool) -> None:
    with Page(width, 844, dark=dark, mobile=width < 500) as page:
        page.open(report)
        assert page.run("document.documentElement.scrollWidth") <= width
        background = page.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 24, 31)") == dark
        page.run("location.hash = 'flow-0'")
        page.until("document.getElementById('card').open")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert_quiet(page, report)


def test_it_prints(report: Path, tmp_path: Path, browser: Page) -> None:
    page = opened(browser, report)
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
