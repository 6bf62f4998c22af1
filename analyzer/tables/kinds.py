"""What a column and a table are, and short words to declare them with.

A column has one of the types of `TYPES`. Every type may be null; `Column.null` says when, and an empty one means never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TYPES: dict[str, str] = {
    "ts": "time, UTC, nanoseconds (ISO 8601 with 9 decimals in CSV and JSON)",
    "s": "seconds, or where the unit says so a share or a probability; 64-bit float",
    "n": "whole number, 64 bits, signed",
    "str": "text",
    "bool": "true or false",
    "frames": "list of frame numbers, each as in the column `frame` (space-separated in CSV)",
    "enum": "one word out of a fixed list",
}


class Column(NamedTuple):
    """One column: what it is called, what it holds, and when it holds nothing.

    type   a key of TYPES    unit    "s", "bytes", "frames" ..., empty where the type says it all
    doc    meaning, one line    null    when the value is null; empty = never
    values the words of an enum, in their documented order    open  True if the list may grow without notice
    """

    name: str
    type: str
    doc: str
    unit: str = ""
    null: str = ""
    values: tuple[str, ...] = ()
    open: bool = False


class Table(NamedTuple):
    """One table: one row per `row`, sorted by `sort_key` (nulls last; empty = in the order it was made)."""

    name: str
    row: str
    doc: str
    sort_key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the column names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    def __contains__(self, name: object) -> bool:
        return name in self.names


def ts(name: str, doc: str, null: str = "") -> Column:
    """Declare a point in time."""
    return Column(name, "ts", doc, "", null)


def seconds(name: str, doc: str, null: str = "", unit: str = "s") -> Column:
    """Declare a 64-bit float: seconds, or another unit if named (share, probability)."""
    return Column(name, "s", doc, unit, null)


def number(name: str, doc: str, null: str = "", unit: str = "") -> Column:
    """Declare a whole number: a count, an identifier, a length."""
    return Column(name, "n", doc, unit, null)


def text(name: str, doc: str, null: str = "") -> Column:
    """Declare a text."""
    return Column(name, "str", doc, "", null)


def flag(name: str, doc: str, null: str = "") -> Column:
    """Declare a yes or no."""
    return Column(name, "bool", doc, "", null)


def frame_list(name: str, doc: str, null: str = "") -> Column:
    """Declare a list of frame numbers; no frames is an empty list."""
    return Column(name, "frames", doc, "", null)


def one_of(name: str, values: tuple[str, ...], doc: str, null: str = "", *, open: bool = False) -> Column:
    """Declare one word out of `values`."""
    return Column(name, "enum", doc, "", null, values, open)


def both(make: Callable[..., Column], name: str, doc: str, null: str = "", **more: str) -> tuple[Column, Column]:
    """Declare `name_c` and `name_s`, one per side; `{side}` and `{peer}` in `doc` become their names."""
    return (
        make(f"{name}_c", doc.format(side="the client", peer="the server"), null, **more),
        make(f"{name}_s", doc.format(side="the server", peer="the client"), null, **more),
    )


# Columns that mean the same wherever they stand.
DIRECTIONS = ("c2s", "s2c")
FLOW_ID = number(
    "flow_id",
    "which connection: counts from 0 by first segment, as Wireshark's tcp.stream; through several files as `frame`",
)
FRAME = number(
    "frame",
    "packet number from 1, as Wireshark's frame.number; several files are counted through in the order of time, as in "
    "the one that mergecap makes of them",
)
TS = ts("ts", "capture time of the frame")
DIR = one_of("dir", DIRECTIONS, "c2s = sent by the client, s2c = sent by the server")
DECRYPTED = flag("decrypted", "true if the row was read out of decrypted TLS, false if it stood there in clear")


def place(address: str | None, port: int | None) -> str:
    """Return ip:port, [ip]:port for IPv6: how every table and page writes an endpoint."""
    host = address or "?"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
