"""Pictures without a browser: one connection, all connections over time, or how long silences are survived.

Drawn by matplotlib (the optional extra `longwire[plot]`), without a window and without pyplot's global state. The file
name says the format, .png or .svg. The same input gives the same picture; texts from the wire are drawn as they are,
never read as formulas.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.render.escape import visible
from analyzer.render.plain import span
from analyzer.tables.kinds import place

if TYPE_CHECKING:
    from analyzer.render.flowrows import FlowRows
    from analyzer.render.html.gather import Gathered
    from analyzer.render.html.survival import Curve
    from analyzer.render.spool import Spool

FORMATS = (".png", ".svg")

LANES = 60
"""Connections in a picture of the timeline: more lanes than this cannot be told apart on paper."""

DATA, GAP, PROBE, BEAT, BAD, INK, OPEN = "#2f6fb5", "#d9dee7", "#8a5a00", "#0f7d5c", "#b3261e", "#1c2330", "#6b4fa0"
_SPOTS = {
    "probe": ("|", PROBE),
    "beat": ("o", BEAT),
    "retry": ("|", BAD),
    "rst": ("x", BAD),
    "fin": ("s", INK),
    "syn": ("^", INK),
}
_WORDS = {
    "probe": "keep-alive probe",
    "beat": "heartbeat",
    "retry": "sent again",
    "rst": "RST",
    "fin": "FIN",
    "syn": "SYN",
}


def check_target(path: Path) -> None:
    """Raise AnalyzerError unless a picture can be written to `path`: before a capture is read for it."""
    if path.suffix.lower() not in FORMATS:
        raise AnalyzerError(f"{path} names no picture", "end it with .png or .svg")
    if not path.parent.is_dir():
        raise AnalyzerError(f"{path.parent} is no folder", "make it first, or choose another place with -o")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise AnalyzerError("pictures need matplotlib", "pip install 'longwire[plot]'") from None


def plot_flow(rows: FlowRows, path: Path) -> None:
    """Draw one connection: payload of both sides over time, silences, probes, beats and the close."""
    from analyzer.render.card import verdict
    from analyzer.render.lifeline import BINS, lifeline

    life, flow = lifeline(rows), rows.flow
    figure, axes = _figure(11, 3.8)
    for begin, end, _, _ in life.silences:
        axes.axvspan(begin, end, color=GAP, lw=0, zorder=0)
        if end - begin > life.span_s * 0.08:
            axes.text((begin + end) / 2, 0.5, span(end - begin), ha="center", va="center", fontsize=8, color="#566072")
    width = life.span_s / BINS or 1e-6
    for level, counts in ((1, life.bytes_c), (0, life.bytes_s)):
        top = max(1, *counts)
        at = [(n + 0.5) * width for n, count in enumerate(counts) if count]
        axes.bar(at, [0.3 * (count / top) ** 0.5 for count in counts if count], width, bottom=level, color=DATA)
        axes.axhline(level, color=INK, lw=0.8)
    for kind, (marker, colour) in _SPOTS.items():
        spots = [spot for spot in life.spots if spot.kind == kind]
        if spots:
            levels = [1 if spot.from_client else 0 for spot in spots]
            axes.scatter(
                [s.at_s for s in spots], levels, marker=marker, color=colour, s=40, zorder=3, label=_WORDS[kind]
            )
    axes.set_yticks(
        [1, 0],
        [
            "client\n" + place(flow["client_ip"], flow["client_port"]),
            "server\n" + place(flow["server_ip"], flow["server_port"]),
        ],
    )
    axes.set_ylim(-0.25, 1.55)
    axes.set_xlabel("seconds since the first segment")
    axes.set_title(_title(f"flow {rows.flow_id}  {verdict(rows)}"), loc="left", fontsize=9)
    _finish(figure, axes, path)


def plot_timeline(gathered: Gathered, spool: Spool, path: Path) -> None:
    """Draw one lane for each of the LANES connections that matter most, in order of their start."""
    columns = gathered.flow_columns(spool)
    gaps, marks = gathered.gap_columns(spool), gathered.mark_columns(spool)
    order = sorted(range(len(columns["flow_id"])), key=lambda at: (columns["start_s"][at], columns["flow_id"][at]))
    height = {lane: len(order) - 1 - at for at, lane in enumerate(order)}
    figure, axes = _figure(11, max(2.0, 0.9 + 0.2 * len(order)))
    for lane, y in height.items():
        start, end = columns["start_s"][lane], columns["end_s"][lane]
        axes.broken_barh([(start, max(end - start, 1e-6))], (y - 0.3, 0.6), color=DATA, lw=0)
        _draw_end(axes, columns, lane, y)
    for at, lane in enumerate(gaps["lane"]):
        end = gaps["end_s"][at] if gaps["end_s"][at] is not None else columns["end_s"][lane]
        axes.broken_barh(
            [(gaps["begin_s"][at], end - gaps["begin_s"][at])], (height[lane] - 0.31, 0.62), color=GAP, lw=0
        )
    for kind, colour, marker in (("probe", PROBE, "|"), ("beat", BEAT, "o")):
        chosen = [at for at in range(len(marks["lane"])) if _word(marks["kind"], at) == kind]
        if chosen:
            axes.scatter(
                [marks["at_s"][at] for at in chosen], [height[marks["lane"][at]] for at in chosen], marker=marker, s=22,
                color=[BAD if marks["lost"][at] else colour for at in chosen], zorder=3,
            )  # fmt: skip
            axes.scatter([], [], marker=marker, s=22, color=colour, label=_WORDS[kind])
    if any(marks["lost"]):
        axes.scatter([], [], marker="|", s=22, color=BAD, label="unanswered")
    names = [f"{columns['flow_id'][lane]}  {_word(columns['server'], lane)}" for lane in order]
    axes.set_yticks([height[lane] for lane in order], names, fontsize=7)
    axes.set_ylim(-0.8, len(order) - 0.2)
    axes.set_xlabel("seconds from the start")
    flows = gathered.summary.flows
    left = f", {flows - len(order):,} of {flows:,} connections not shown" if flows > len(order) else ""
    axes.set_title(
        f"connections: blue = data, grey = silence, square = FIN, x = RST or given up{left}", loc="left", fontsize=9
    )
    _finish(figure, axes, path)


def _draw_end(axes: Any, columns: dict[str, Any], lane: int, y: int) -> None:
    kind = _word(columns["close_kind"], lane)
    at = columns["close_s"][lane] if columns["close_s"][lane] is not None else columns["end_s"][lane]
    if kind.startswith("open_"):
        axes.scatter([columns["end_s"][lane]], [y], marker=">", color=OPEN, s=22, zorder=3)
    elif kind.startswith(("fin_", "half_")):
        axes.scatter([at], [y], marker="s", color=INK, s=14, zorder=3)
    else:
        axes.scatter([at], [y], marker="x", color=BAD, s=26, zorder=3)


def plot_timeouts(curves: Sequence[Curve], timeouts: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the survival curves of silences, one per server, with the timeouts that were inferred."""
    figure, axes = _figure(9, 5)
    for curve in curves:
        (line,) = axes.step(
            curve.at_s, curve.share, where="post", label=visible(f"{curve.endpoint}, ended by the {curve.side}")
        )
        for row in timeouts:
            if row["endpoint"] == curve.endpoint and row["value_s"] is not None:
                axes.axvline(row["value_s"], color=line.get_color(), ls=":", lw=1)
    if not curves:
        axes.text(0.5, 0.5, "no silence ended a connection", ha="center", transform=axes.transAxes)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of silence")
    axes.set_ylabel("share that lasts longer")
    axes.set_title("How long silences are survived (Kaplan-Meier)", loc="left", fontsize=10)
    _finish(figure, axes, path)


# ------------------------------------------------------------------------------------------ small parts


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(figure: Any, axes: Any, path: Path) -> None:
    """Write the picture, all at once; a legend only if there is something in it."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    from analyzer.render.files import Replacement

    handles, labels = axes.get_legend_handles_labels()
    if labels:
        across = 2 if max(map(len, labels)) > 24 else 4
        figure.legend(handles, labels, loc="outside lower center", ncols=across, fontsize=8, frameon=False)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with two dollar signs is no formula
    svg = path.suffix.lower() == ".svg"
    with Replacement() as files, rc_context({"svg.hashsalt": "longwire"}):
        target = files.beside(path)
        figure.savefig(target, format="svg" if svg else "png", metadata={"Date": None} if svg else {"Software": None})
        files.commit()


def _word(column: dict[str, Any], at: int) -> str:
    code = column["at"][at]
    return "" if code < 0 else visible(column["words"][code] or "")


def _title(text: str) -> str:
    """Return `text` on at most three lines of a picture's width."""
    return "\n".join(textwrap.wrap(visible(text), 150, max_lines=3, placeholder=" ..."))
