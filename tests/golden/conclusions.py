"""What longwire concludes about every capture of the shared corpus: findings, heartbeats, inferred timeouts.

`python -m tests.golden.conclusions` writes `conclusions.txt`. It was read line by line for absurd claims; a change in
it is to be read the same way, and explained in its commit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from analyzer import AnalyzerError, analyze
from tests.corpus import CORPUS, catalogue

STORED = Path(__file__).parent / "conclusions.txt"


def conclusions(file: str) -> list[str]:
    """Return one line per finding, heartbeat series and timeout of a capture."""
    try:
        result = analyze(CORPUS / file)
    except AnalyzerError:
        return []
    lines = [
        f"{row['severity']} {row['code']} at {row['endpoint']}: {row['title']}" for row in _rows(result, "findings")
    ]
    lines += [
        f"heartbeat of {row['protocol']} in flow {row['flow_id']} {row['dir']}: {row['beats']} beats, "
        f"{_period(row)}, {row['timer']}, known as {row['known_as']}"
        for row in _rows(result, "heartbeat_series")
    ]
    lines += [
        f"timeout of the {row['side']} at {row['endpoint']}: {_seconds(row)}, {row['clock']}, {row['closes']} closes, "
        f"known as {row['known_as']}"
        for row in _rows(result, "timeouts")
    ]
    return [f"{file}  {line}" for line in lines]


def _period(row: dict[str, Any]) -> str:
    return "once" if row["period_s"] is None else f"{row['period_s']:.3g} s"


def _rows(result: Any, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.arrow(table).to_pylist()
    return rows


def _seconds(row: dict[str, Any]) -> str:
    low, value, high = row["lower_bound_s"], row["value_s"], row["upper_bound_s"]
    if value is not None:
        return f"{value:.3g} s"
    return f"{low or math.nan:.3g} to {high:.3g} s"


def everything() -> list[str]:
    """Return the lines of every capture of the catalogue and of the lab."""
    files = sorted(
        {row["file"] for row in catalogue()} | {str(p.relative_to(CORPUS)) for p in CORPUS.glob("lab/*.pcap")}
    )
    return [line for file in files for line in conclusions(file)]


if __name__ == "__main__":
    STORED.write_text("\n".join(everything()) + "\n")
