"""Several connections followed at once: the rows of each, gathered from one stream in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import distinct
from analyzer.render.flowrows import ABOUT_FLOWS, FlowRows
from analyzer.render.plain import plain_rows
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.render.spool import Spool

WAITING_ROWS = 100_000
"""Rows of one table that wait before they are dealt out: cutting every small chunk by connection costs far more."""


class Followed:
    """Takes chunks of all tables and deals them out to the connections `flow_ids`."""

    def __init__(self, flow_ids: Iterable[int]) -> None:
        self._flows = {flow_id: FlowRows(flow_id) for flow_id in flow_ids}
        self._waiting: dict[str, list[pa.Table]] = {}

    def add(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`; those of other connections are ignored."""
        if not rows.num_rows:
            return
        if name in ABOUT_FLOWS:
            for flow in self._flows.values():
                flow.add(name, rows)
        elif "flow_id" in TABLES[name]:
            waiting = self._waiting.setdefault(name, [])
            waiting.append(rows)
            if sum(part.num_rows for part in waiting) > WAITING_ROWS:
                self._deal(name)

    def take(self, spool: Spool) -> None:
        """Take the rows of all tables that a spool holds."""
        kept = np.zeros(max(self._flows, default=-1) + 1, np.bool_)
        kept[np.array(list(self._flows), np.int64)] = True
        for name in TABLES:
            for rows in spool.read(name, kept):
                self.add(name, rows)

    def flows(self) -> list[FlowRows]:
        """Return what is known of each connection that was found, in the order asked for."""
        for name in list(self._waiting):
            self._deal(name)
        return [flow for flow in self._flows.values() if flow.found]

    def _deal(self, name: str) -> None:
        import pyarrow as pa

        rows = pa.concat_tables(self._waiting.pop(name))
        ids = rows["flow_id"].to_numpy()
        order = np.argsort(ids, kind="stable")
        rows, ids = rows.take(pa.array(order)), ids[order]
        plain = [] if name == "segments" else plain_rows(rows)  # once: its cost is that of a call, not of a row
        for flow_id in distinct(ids).tolist():
            if flow_id in self._flows:
                begin, end = map(int, np.searchsorted(ids, [flow_id, flow_id + 1]))
                if name == "segments":
                    self._flows[flow_id].tape.add(rows.slice(begin, end - begin))
                else:
                    self._flows[flow_id].keep(name, plain[begin:end])
