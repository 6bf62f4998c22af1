"""How an analysis and one of its connections look in a notebook, and what can be asked of a connection there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING

from analyzer.render.card import Card, make_card
from analyzer.render.escape import visible
from analyzer.render.flowrows import FlowRows
from analyzer.render.ladder import Ladder, ladder
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Flow:
    """One connection: `card()`, `ladder()`, its `segments` and its rows of every other table (`flow["idle_gaps"]`).

    Segments are read from the capture when they are first asked for, unless the analysis has them already.
    """

    def __init__(self, flow_id: int, tables: dict[str, pa.Table], segments: Callable[[], Iterable[pa.Table]]) -> None:
        import pyarrow.compute as pc

        self.flow_id = flow_id
        self._tables: dict[str, pa.Table] = {}
        for name, rows in tables.items():
            if "flow_id" in TABLES[name] and name != "segments":
                self._tables[name] = rows.filter(pc.equal(rows["flow_id"], flow_id))
            elif "flow_ids" in TABLES[name]:
                self._tables[name] = rows
        if not self._tables["flows"].num_rows:
            raise KeyError(f"there is no connection {flow_id}")
        self._read_segments = segments
        self._segments: pa.Table | None = None

    def card(self) -> Card:
        """Return the card: verdict, lifeline, silences, layers, why not other causes, advice. It prints as text."""
        return make_card(self._rows())

    def ladder(self) -> Ladder:
        """Return the sequence diagram of the packets. It prints as text."""
        return ladder(self._rows())

    @property
    def segments(self) -> pd.DataFrame:
        """All segments of the connection, columns as in the `segments` table."""
        from analyzer.tables.build import to_pandas

        return to_pandas(self._all_segments())

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return the connection's rows of a table; KeyError if it is not about single connections."""
        from analyzer.tables.build import to_pandas

        return self.segments if name == "segments" else to_pandas(self._tables[name])

    def __repr__(self) -> str:
        flow = self._tables["flows"]
        return f"Flow({self.flow_id}, {flow['close_kind'][0].as_py()})"

    def _repr_html_(self) -> str:
        return self.card()._repr_html_()

    def _all_segments(self) -> pa.Table:
        import pyarrow as pa

        from analyzer.tables.schema import empty_table

        if self._segments is None:
            self._segments = pa.concat_tables([empty_table("segments"), *self._read_segments()])
        return self._segments

    def _rows(self) -> FlowRows:
        rows = FlowRows(self.flow_id)
        for name, table in self._tables.items():
            rows.add(name, table)
        rows.add("segments", self._all_segments())
        return rows


def analysis_html(tables: dict[str, pa.Table]) -> str:
    """Return an overview of an analysis: how its connections ended, and how many rows each table has."""
    import pyarrow.compute as pc

    closes = tables["closes"]
    kinds = pc.value_counts(pc.fill_null(closes["close_kind"], "unknown")).to_pylist() if closes.num_rows else []
    ended = sorted(((row["counts"], row["values"]) for row in kinds), key=lambda pair: (-pair[0], pair[1]))
    rows = [(name, table.num_rows, TABLES[name].doc) for name, table in tables.items() if table.num_rows]
    return (
        f"<p><b>{tables['flows'].num_rows:,} connection{'' if tables['flows'].num_rows == 1 else 's'}</b></p>"
        + _html_table(("ended as", "connections"), [(kind, f"{count:,}") for count, kind in ended])
        + _html_table(("table", "rows", "what it says"), [(name, f"{count:,}", doc) for name, count, doc in rows])
    )


def _html_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(visible(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(heads, "th") + "".join(line(row, "td") for row in rows) + "</table>"
