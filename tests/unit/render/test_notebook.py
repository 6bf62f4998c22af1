"""An analysis and its connections in a notebook."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from analyzer.api import Analysis, analyze
from analyzer.errors import AnalyzerError
from analyzer.settings import Settings
from analyzer.tables.schema import TABLES, empty_table
from tests.unit.render.report_cases import HOSTILE, tables

CAPTURES = Path(__file__).parents[3] / "captures"
TWO = [CAPTURES / "stale_reuse.pcap", CAPTURES / "refused.pcap"]


@pytest.mark.parametrize("segments", [False, True])
def test_a_flow_has_its_card_ladder_and_segments(segments: bool) -> None:
    flow = analyze(TWO, segments=segments).flow(0)
    frames = list(range(1, 12))  # of the first file: the other one was captured later
    assert flow.card().verdict.startswith("rst_to_data_stale")
    assert str(flow.card()).startswith("flow 0  10.77.0.1:40001")
    assert [step.frame for step in flow.ladder().steps if step.kind == "segment"] == frames
    assert flow.segments["frame"].tolist() == frames
    assert set(flow.segments["flow_id"]) == {0}
    assert flow["closes"]["close_kind"].tolist() == ["rst_to_data_stale"]
    assert repr(flow) == "Flow(0, rst_to_data_stale)"


def test_no_such_flow() -> None:
    with pytest.raises(KeyError, match="no connection 7"):
        analyze(TWO).flow(7)


def test_standard_input_cannot_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TWO[0].read_bytes())))
    made = analyze("-")
    with pytest.raises(AnalyzerError, match="read again"):
        made.flow(0).card()


def test_html_has_what_counts_and_escapes_the_rest() -> None:
    made = {name: empty_table(name) for name in TABLES} | tables(20, HOSTILE)
    analysis = Analysis(made, Settings())
    html = analysis._repr_html_()
    assert "<b>20 connections</b>" in html and "fin_client_first" in html
    flow = analyze(TWO).flow(0)
    for text in (html, flow._repr_html_(), flow.ladder()._repr_html_()):
        assert "<script" not in text and "<img" not in text
    assert "&gt;|</pre>" in flow.ladder()._repr_html_() or "--|</pre>" in flow.ladder()._repr_html_()
