"""What `longwire live` was asked for; parsing of sizes and spans of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from analyzer.errors import AnalyzerError

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SPANS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """The arguments of `longwire live`. processes  how many share the interfaces"""

    interfaces: tuple[str, ...]
    filter: str = ""
    out: Path | None = None
    out_every: str | None = None
    write: Path | None = None
    rotate: str | None = None
    keep: int = 0
    json: bool = False
    metrics: str | None = None
    segments: bool = False
    idle_min_s: float | None = None
    keys: tuple[Path, ...] = ()
    linger_s: float | None = None
    snaplen: int = 262_144
    promiscuous: bool = False
    backend: str = ""
    user: str = ""
    for_s: float | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class InterfacesRequest:
    """`longwire interfaces` has no arguments."""


def size_or_span(words: str) -> tuple[int, float]:
    """Return (bytes, seconds) of "100MB", "1GiB", "30s", "1h"; one of them is 0. Raises AnalyzerError for others."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", words)
    if found:
        value, unit = float(found[1]), found[2]
        if unit.lower() in _SPANS and unit != "M" and value > 0:  # M: elsewhere megabytes
            return 0, value * _SPANS[unit.lower()]
        prefix = unit.lower().removesuffix("b")
        if unit.lower().endswith("b") and prefix in _SIZES and value > 0:
            return round(value * _SIZES[prefix]), 0.0
    raise AnalyzerError(
        f"`{words}` is neither a size nor a span of time", "write it like 100MB, 1GiB, 30s, 10min or 1h"
    )


def address(words: str) -> tuple[str, int]:
    """Return (host, port) of "9464" or "0.0.0.0:9464"; loopback if no host is named."""
    host, _, port = words.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise AnalyzerError(f"`{words}` is no port", "write it like 9464, or 0.0.0.0:9464 to serve other machines too")
    return host.strip("[]") or "127.0.0.1", int(port)
