"""The texts of a finding with the numbers of its flows filled in, and sentences behind others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.classify.facts import Array
from analyzer.classify.finding_codes import Code


def followed_by(explanation: pa.Array, more: Array) -> pa.Array:
    """Return the explanations, each with the sentence that `more` (n,) has for it; an empty one is none."""
    here = more != ""
    if not np.any(here):
        return explanation
    longer = pc.binary_join_element_wise(explanation, pa.array(more, pa.string()), " ")
    return pc.if_else(pa.array(here.astype(np.bool_)), longer, explanation)


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
