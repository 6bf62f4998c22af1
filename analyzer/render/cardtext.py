"""A card as text: wrapped to its width, the lifeline drawn in characters, everything from the wire escaped."""

from __future__ import annotations

import textwrap

from analyzer.render.card import Card
from analyzer.render.escape import visible
from analyzer.render.lifeline import BINS, Lifeline
from analyzer.render.plain import frames, many, span

LABEL = 18
"""Columns of the names in front of facts."""

FRAMES = 12
"""Frames of evidence named."""

_MARKS = {"probe": "k", "beat": "b", "retry": "!", "syn": "S", "fin": "F", "rst": "R"}
_WEIGHT = "!kbSFR"  # of several marks in one column the last of these is drawn
LEGEND = "# payload   . silence   k keep-alive probe   b heartbeat   ! sent again   S SYN   F FIN   R RST"


_PLAIN, _BOLD = "\x1b[0m", "\x1b[1m"
_COLOURS = {"error": "\x1b[31m", "warning": "\x1b[33m"}


def card_text(card: Card, width: int = 110, *, colour: bool = False) -> str:
    """Return the card as lines of at most `width` columns (never less than 60); `colour`: headings stand out."""
    width = max(60, width)

    def styled(line: str, style: str) -> str:
        return f"{style}{line}{_PLAIN}" if colour and line and style else line

    head = f"flow {card.flow_id}  {visible(card.client)} -> {visible(card.server)}"
    lines = [*([head] if len(head) <= width else _wrapped(head, width, "")), ""]  # two IPv6 addresses are long
    evidence = f" [{frames(card.frames, FRAMES)}]" if card.frames else ""
    lines = [styled(line, _BOLD) for line in lines]
    lines += _wrapped(card.verdict + evidence, width, "")
    for severity, title in card.findings:
        style = _COLOURS.get(severity, "")
        lines += [styled(line, style) for line in _wrapped(f"{severity}: {title}", width, "  ")]
    lines += ["", *_pairs(card.facts, width)]
    lines += ["", styled("Lifeline", _BOLD), *life_lines(card.life, width)]
    for heading, pairs in (("Silence and heartbeats", card.silence), ("Layers", card.layers)):
        lines += ["", styled(heading, _BOLD), *_pairs(pairs, width)]
    if card.rejected:
        lines += ["", styled("Why not", _BOLD)]
        for reason in card.rejected:
            lines += _wrapped(f"{reason.cause}: {reason.fact}", width, "  ")
    for heading, texts in (("Advice", card.advice), ("Not known", card.unknowns)):
        if texts:
            lines += ["", styled(heading, _BOLD)]
            for text in texts:
                lines += _wrapped(text, width, "  ")
    return "\n".join(lines)


def _pairs(pairs: tuple[tuple[str, str], ...], width: int) -> list[str]:
    lines = []
    for name, words in pairs:
        wrapped = textwrap.wrap(visible(words), width - LABEL - 2) or [""]
        lines.append(f"  {visible(name):<{LABEL}}{wrapped[0]}")
        lines += [" " * (LABEL + 2) + line for line in wrapped[1:]]
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(visible(text), width, initial_indent=indent, subsequent_indent=indent)


# ------------------------------------------------------------------------------------------ lifeline


def life_lines(life: Lifeline, width: int) -> list[str]:
    """Return the lanes of both sides, their silences below, and an axis."""
    columns = min(BINS, width - 12)
    lines = []
    for name, from_client, counts in (("client", True, life.bytes_c), ("server", False, life.bytes_s)):
        lane = ["."] * columns
        top = max(counts, default=0)
        for at, count in enumerate(counts):
            if count:
                lane[at * columns // BINS] = "#" if count * 10 >= top else "+"
        for spot in life.spots:
            mark = _MARKS.get(spot.kind)
            at = _column(spot.at_s, life.span_s, columns)
            if mark and spot.from_client == from_client and _WEIGHT.find(mark) > _WEIGHT.find(lane[at]):
                lane[at] = mark
        lines.append(f"  {name:<8}{''.join(lane)}")
    lines += _silences(life, columns)
    end = f"{span(life.span_s)}"
    lines.append(f"  {'':<8}0{' ' * max(1, columns - 1 - len(end))}{end}")
    lines += textwrap.wrap(LEGEND, width, initial_indent="  ", subsequent_indent="  ")
    return lines


def _silences(life: Lifeline, columns: int) -> list[str]:
    """Return one line with each silence as <-- 60.0 s -->, where it is wide enough for its words."""
    line = [" "] * columns
    for begin, end, _, _ in sorted(life.silences, key=lambda gap: gap[0] - gap[1]):
        first, last = _column(begin, life.span_s, columns), _column(end, life.span_s, columns)
        words = f" {span(end - begin)} "
        if last - first + 1 < len(words) + 2 or any(char != " " for char in line[first : last + 1]):
            continue
        line[first : last + 1] = f"<{words.center(last - first - 1, '-')}>"
    drawn = "".join(line).rstrip()
    small = life.silence_count - drawn.count("<")
    out = [f"  {'silence':<8}{drawn}"] if drawn else []
    if small:
        out.append(f"  {'':<8}({many(small, 'shorter silence')} not drawn)")
    return out


def _column(at_s: float, span_s: float, columns: int) -> int:
    return min(columns - 1, max(0, int(at_s / span_s * columns))) if span_s > 0 else 0
