"""A comparison of two captures as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from analyzer.render.escape import visible
from analyzer.render.plain import many, plain_rows
from analyzer.render.rows import json_lines
from analyzer.tables.schema import COMPARISON

MOST_SHOWN = 50
"""Connections whose differences are shown, in order of the first capture; JSON has all."""

_NOTHING = (
    "No connection is in both. Were they captured at the same time, at two points of one path? What ends at a proxy or "
    "load balancer is another connection behind it."
)

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Compared(NamedTuple):
    """Two captures side by side: tables `pairs` and `differences`, what the captures are called, who stayed alone."""

    tables: Mapping[str, pa.Table]
    names: tuple[str, str]
    unpaired: tuple[int, int]


def comparison_json(compared: Compared) -> dict[str, Any]:
    """Return what was compared, and the rows of both tables."""
    return {
        "names": list(compared.names),
        "unpaired": list(compared.unpaired),
        **{name: _objects(name, rows) for name, rows in compared.tables.items()},
    }


def _objects(name: str, rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows as JSON has them in every other place."""
    lines = json_lines(COMPARISON[name], rows).to_pybytes().splitlines() if rows.num_rows else []
    return [json.loads(line) for line in lines]


def comparison_text(compared: Compared, width: int = 110, *, colour: bool = False) -> str:
    """Return what crossed and what did not, connection by connection, in lines of at most `width` columns."""
    width = max(60, width)
    first, second = compared.names
    pairs = compared.tables["pairs"].to_pylist()
    differences = plain_rows(compared.tables["differences"])
    only = " and ".join(
        f"{number} only in {name}" for number, name in zip(compared.unpaired, (first, second), strict=True)
    )
    lines = _wrapped(f"{many(len(pairs), 'connection')} in both captures; {only}.", width, "")
    lines += _wrapped(_standing(pairs, first, second), width, "")
    by_pair: dict[tuple[int | None, int | None], list[dict[str, Any]]] = {}
    for row in differences:
        by_pair.setdefault((row["flow_1"], row["flow_2"]), []).append(row)
    of_pair = {(pair["flow_1"], pair["flow_2"]): pair for pair in pairs}
    for key in list(by_pair)[:MOST_SHOWN]:
        pair = of_pair.get(key)
        head = _head(pair, first, second) if pair else [f"only in {first if key[1] is None else second}"]
        lines += ["", f"{_BOLD}{visible(head[0])}{_PLAIN}" if colour else visible(head[0])]
        for text in head[1:]:
            lines += _wrapped(text, width, "  ")
        for row in by_pair[key]:
            lines += _wrapped(f"{row['code']}: {row['explanation']}", width, "  ")
    if len(by_pair) > MOST_SHOWN:
        lines += ["", f"and {len(by_pair) - MOST_SHOWN:,} more connections with differences: --format json has all"]
    same = sum(pair["differences"] == 0 for pair in pairs)
    if same:
        lines += ["", f"{many(same, 'connection')} crossed without a difference."]
    if not pairs:
        lines += ["", *_wrapped(_NOTHING, width, "")]
    return "\n".join(lines)


def _standing(pairs: list[dict[str, Any]], first: str, second: str) -> str:
    """Return where the two points stand to each other."""
    known = [pair for pair in pairs if pair["near_client"] is not None]
    if not known:
        return ""
    near = {pair["near_client"] for pair in known}
    where = f"{first if 1 in near else second} is nearer the client" if len(near) == 1 else "Clients are on both sides"
    clock = sorted(pair["clock_s"] for pair in known)[len(known) // 2]
    path = min(pair["path_s"] for pair in known)
    ahead = "ahead" if clock >= 0 else "behind"
    return (
        f"{where}; {second}'s clock is {abs(clock) * 1e3:.3f} ms {ahead}; from one point to the other and back takes "
        f"{path * 1e3:.3f} ms."
    )


def _head(pair: dict[str, Any], first: str, second: str) -> list[str]:
    """Return which connection it is, and how it ended at each point."""
    other = [word for word in (pair["client_2"], pair["server_2"]) if word]
    there = f" ({' and '.join(other)} in {second})" if other else ""
    lines = [f"flow {pair['flow_1']}  {pair['client']} -> {pair['server']}{there}"]
    if pair["flow_2"] != pair["flow_1"]:
        lines[0] += f", flow {pair['flow_2']} in {second}"
    if pair["close_kind_1"] == pair["close_kind_2"]:
        lines.append(f"ended as {pair['close_kind_1']} at both points")
    else:
        lines.append(f"ended as {pair['close_kind_1']} in {first}, as {pair['close_kind_2']} in {second}")
    if pair["matched_by"] == "address":
        lines.append("the sequence numbers differ: rewritten on the way, or two connections with a proxy in between")
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(visible(text), width, initial_indent=indent, subsequent_indent=indent + "  ")
