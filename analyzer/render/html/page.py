"""The page itself: gathered values into one file that loads nothing from anywhere.

jinja2 escapes every value that it writes into the page (autoescape); scripts get their data as JSON in which no `<` is
left, and put it into the page as text, never as markup. A content security policy names the page's own scripts and
styles by their hashes: markup that got in all the same could run nothing and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from analyzer.render.card import make_card
from analyzer.render.escape import CODES, visible
from analyzer.render.html.choose import CARDS, LANES
from analyzer.render.html.gather import Gathered
from analyzer.render.ladder import ladder
from analyzer.render.plain import clock, frames, many, size, span
from analyzer.render.text import INITIATORS, LOOKS, ranked_looks

if TYPE_CHECKING:
    from analyzer.render.flowrows import FlowRows
    from analyzer.render.spool import Spool

SCRIPTS = ("vendor/uPlot.iife.min.js", "base.js", "tables.js", "charts.js", "timeline.js", "card.js", "app.js")
STYLES = ("vendor/uPlot.min.css", "report.css")

# What would end the script element, and what would turn text around on the screen; JSON itself escapes controls
_JSON_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"} | {
    code: "\\" + visible(chr(code)) for code in CODES if code >= 0x7F
}


def page(gathered: Gathered, spool: Spool, followed: Sequence[FlowRows], about: dict[str, Any]) -> str:
    """Return the page.

    followed  what is known of the connections that get a card    about  title, version, settings, notes
    """
    import jinja2

    gaps, marks = gathered.gap_columns(spool), gathered.mark_columns(spool)
    data = {
        "flows": gathered.flow_columns(spool),
        "gaps": gaps,
        "marks": marks,
        "curves": gathered.curves,
        "timeouts": [{key: row[key] for key in ("endpoint", "value_s", "side")} for row in gathered.timeouts],
        "over_time": gathered.over_time,
        "cards": {rows.flow_id: {"card": make_card(rows), "ladder": ladder(rows)} for rows in followed},
        "start_ns": str(gathered.start_ns),
    }
    scripts = [_asset(name) for name in SCRIPTS]
    styles = [_asset(name) for name in STYLES]
    environment = jinja2.Environment(
        autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "span": span,
        "size": size,
        "clock": clock,
        "share": _share,
        "count": _count,
        "frames": frames,
    }
    environment.globals |= {"many": many}
    return environment.from_string(_asset("report.html")).render(
        g=gathered,
        summary=gathered.summary,
        about=about,
        policy=_policy(scripts, styles),
        scripts=scripts,
        styles=styles,
        data=_json(data),
        licence=_asset("vendor/uPlot.LICENSE"),
        matrix=_matrix(gathered.summary.closes),
        initiators=[who for who in INITIATORS if any(who in row for row in gathered.summary.closes.values())],
        looks=[(look, LOOKS.get(look.kind, "")) for look in ranked_looks(gathered.summary)],
        limits={"lanes": LANES, "cards": CARDS},
        shown={
            "lanes": len(gathered.lanes), "flows": gathered.summary.flows, "cards": len(followed),
            "gaps": len(gaps["lane"]), "all_gaps": gaps["total"],
            "marks": len(marks["lane"]), "all_marks": marks["total"],
        },
    )  # fmt: skip


def _asset(name: str) -> str:
    return (files("analyzer.render.html") / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Return the content security policy: own scripts and styles by hash, and nothing else at all."""
    script, style = (" ".join(f"'sha256-{_digest(text)}'" for text in texts) for texts in (scripts, styles))
    return f"default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(data: Any) -> str:
    """Return JSON that may stand inside a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_fields)
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(_JSON_ESCAPES)


def _fields(value: Any) -> dict[str, Any]:
    """Return a dataclass as a dict, one level of it; `asdict` copies all levels and takes five times as long."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _matrix(closes: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int], int]]:
    """Return (close_kind, initiator -> connections, all), most first."""
    rows = [(kind, by, sum(by.values())) for kind, by in closes.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _shown(value: Any) -> Any:
    """Show what would turn text around on the screen, or is a control; the page's own parts come as Markup."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(visible(line) for line in value.split("\n"))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
