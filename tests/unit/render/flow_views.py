"""Connections of `tests.talk` as the views of one connection see them."""

from __future__ import annotations

from pathlib import Path

from analyzer import api
from analyzer.render.flowrows import FlowRows
from tests.talk import Talk


def rows_of(talk: Talk, folder: Path, flow_id: int = 0) -> FlowRows:
    """Return all that a whole run of the analyzer says about one connection of `talk`."""
    path = folder / "talk.pcap"
    path.write_bytes(talk.pcap(nano=True))
    rows = FlowRows(flow_id)
    for name, chunk in api.follow(path, [flow_id]):
        rows.add(name, chunk)
    return rows
