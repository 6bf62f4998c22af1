"""Where the shared corpus is, for the tests that compare with it. It lies beside the repository and is not shipped."""

from __future__ import annotations

import csv
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
LAB = CORPUS / "lab"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not beside the repository")


@cache
def catalogue() -> list[dict[str, str]]:
    """Return the rows of CATALOG.csv."""
    with (CORPUS / "CATALOG.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def truth_of_captures() -> dict[str, dict[str, str]]:
    """Return truth/captures.csv by file."""
    with (CORPUS / "truth" / "captures.csv").open(newline="") as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def truth(file: str, kind: str) -> list[dict[str, str]]:
    """Return tshark's rows about a capture; kind is "packets", "streams" or "app"."""
    path = CORPUS / "truth" / f"{file}.{kind}.csv.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def lab_scenarios() -> list[dict[str, Any]]:
    """Return the labels of every scenario of the lab."""
    return [json.loads(path.read_text()) for path in sorted(LAB.glob("*.json"))]
