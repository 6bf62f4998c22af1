"""Pictures: right format, drawn from the data, the same every time, and nothing from the wire read as a formula."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from analyzer.cli.main import main
from analyzer.errors import AnalyzerError
from analyzer.render.html.gather import Gathered
from analyzer.render.html.survival import Curve
from analyzer.render.plot import check_target, plot_flow, plot_timeline, plot_timeouts
from analyzer.render.spool import Spool
from tests.talk import Talk
from tests.unit.render.flow_views import rows_of
from tests.unit.render.report_cases import HOSTILE, tables

pytest.importorskip("matplotlib")

STALE = str(Path(__file__).parents[3] / "captures" / "stale_reuse.pcap")
SVG = "{http://www.w3.org/2000/svg}"


def elements(path: Path) -> set[str]:
    return {element.tag.removeprefix(SVG) for element in ElementTree.parse(path).iter()}


@pytest.mark.parametrize("what", [["--flow", "0"], ["--timeline"], ["--timeouts"]])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_every_picture_in_every_format(what: list[str], ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"picture.{ending}"
    assert main(["plot", STALE, *what, "-o", str(out)]) == 0
    begins = {"png": b"\x89PNG\r\n", "svg": b"<?xml"}[ending]
    assert out.read_bytes().startswith(begins)
    assert len(out.read_bytes()) > 4_000


def test_the_same_capture_makes_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        assert main(["plot", STALE, "--flow", "0", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_longer_lives_make_other_pictures(tmp_path: Path) -> None:
    made = []
    for n, at in enumerate(("61s", "31s")):
        rows = rows_of(Talk().handshake().orig(b"x").resp(b"y").orig_ack().resp_rst(at=at), tmp_path)
        plot_flow(rows, tmp_path / f"{n}.svg")
        made.append((tmp_path / f"{n}.svg").read_bytes())
    assert made[0] != made[1]


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    texts = (*HOSTILE, "$\\frac{", "$x$ _ ^")
    given = tables(40, texts)
    with Spool() as spool:
        for name, rows in given.items():
            spool.write(name, rows)
        plot_timeline(Gathered(spool, 30, 0), spool, tmp_path / "timeline.svg")
    curves = [Curve(text, "server", 1, 1, None, 2.0, (0.0, 2.0), (1.0, 0.5)) for text in texts]
    plot_timeouts(curves, [{"endpoint": texts[0], "value_s": 1.0}], tmp_path / "timeouts.svg")
    for name in ("timeline.svg", "timeouts.svg"):
        assert elements(tmp_path / name).isdisjoint({"script", "img", "a", "foreignObject"})


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--flow", "0", "--timeline"], "one picture at a time"),
        ([], "it is not said which"),
        (["--flow", "9"], "no connection 9"),
        (["--flow", "-1"], "no connection -1"),
    ],
)
def test_wrong_usage(words: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", STALE, *words, "-o", str(tmp_path / "x.png")]) == 2
    assert error in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_no_picture_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError, match="names no picture"):
        check_target(tmp_path / "x.gif")
    with pytest.raises(AnalyzerError, match="is no folder"):
        check_target(tmp_path / "nowhere" / "x.png")
