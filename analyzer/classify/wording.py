"""The texts of a finding with the numbers of its flows filled in."""

from __future__ import annotations

from typing import Any

from analyzer.classify.finding_codes import Code


def worded(code: Code, flows: int, low: float, median: float, high: float) -> dict[str, Any]:
    """Return code, flows and the texts with their numbers."""
    numbers = {
        "flows": f"{flows:,}",
        "low": short(low),
        "median": short(median),
        "high": short(high),
        "span": short(low) if short(low) == short(high) else f"{short(low)} to {short(high)}",
        "half": short(low / 2),
        "third": short(low / 3),
        "plus5": short(low + 5),
        "above5": short(high + 5),
        "minus1": short(max(low - 1, low / 2)),
    }
    title = code.title.format(**numbers)
    if flows == 1:
        title = _singular(title)
    return {
        "code": code.code,
        "severity": code.severity_of(flows),
        "flows": flows,
        "title": title,
        "explanation": code.explanation.format(**numbers),
        "recommendation": code.recommendation.format(**numbers),
    }


def short(seconds: float) -> str:
    """Return seconds with three significant digits, no exponent."""
    digits = 0 if seconds >= 100 else 1 if seconds >= 10 else 2
    text = f"{seconds:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_PLURALS = (
    ("1 connections were", "1 connection was"), ("1 connections", "1 connection"),
    ("1 requests were", "1 request was"), ("1 requests", "1 request"), ("1 keep-alive probes", "1 keep-alive probe"),
    ("1 idle connections were", "1 idle connection was"), ("1 resets are", "1 reset is"), ("1 stalls", "1 stall"),
    ("when they were used", "when it was used"), ("the end they name", "the end it names"),
    ("on connections", "on a connection"),
)  # fmt: skip


def _singular(title: str) -> str:
    for many, one in _PLURALS:
        title = title.replace(many, one)
    return title
