"""What is going on right now, while a capture runs: for a live screen and its counters, never for a table.

Needs   the state of the flows that are open
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.classify.community import address_text
from analyzer.flows.state import LIVE
from analyzer.flows.tracker import FlowTracker
from analyzer.kernel import I64, Mask, Records
from analyzer.tables.kinds import place

SHOWN = 8
"""Silences and probing connections that are named."""


@dataclass(slots=True)
class OpenFlow:
    """A connection that goes on.

    for_ns  how long it has been silent    unanswered  probes in a row without answer
    process  whose flow_id it is, 0 = there is but one
    """

    flow_id: int
    client: str
    server: str
    for_ns: int
    unanswered: int
    process: int = 0


@dataclass(slots=True)
class Snapshot:
    """Connections by state at one moment. silent, probing  the first SHOWN of them, longest first."""

    states: dict[str, int] = field(default_factory=dict)
    silent: list[OpenFlow] = field(default_factory=list)
    probing: list[OpenFlow] = field(default_factory=list)

    @property
    def open(self) -> int:
        """Return how many connections are not closed."""
        return sum(count for state, count in self.states.items() if state != "closed")

    @staticmethod
    def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
        """Return what the open connections of several processes are doing."""
        states: Counter[str] = Counter()
        for one in snapshots:
            states.update(one.states)
        silent = sorted((flow for one in snapshots for flow in one.silent), key=lambda flow: -flow.for_ns)
        probing = sorted((flow for one in snapshots for flow in one.probing), key=lambda flow: -flow.unanswered)
        return Snapshot(dict(states), silent[:SHOWN], probing[:SHOWN])


def snapshot(tracker: FlowTracker, now_ns: int, idle_min_ns: int) -> Snapshot:
    """Return what the open flows are doing at `now_ns`."""
    n = int(tracker.meta[0]["n_slots"])
    flows, sides = tracker.flows[:n], tracker.sides[: 2 * n]
    live = (flows["live"] == 1) & (flows["ended"] == LIVE)
    over = np.zeros(n, np.bool_)
    over[tracker.over(1 << 62)] = True
    used = (flows["handshake_ts"] != 0) | (flows["payload_ts"] != 0)
    closing = live & ~over & (flows["close_ts"] != 0)
    quiet_ns = now_ns - np.maximum(flows["active_ts"], flows["first_ts"])
    opened = live & ~over & ~closing & used
    silent = opened & (quiet_ns >= idle_min_ns)
    made = Snapshot(
        {
            "opening": int((live & ~over & ~closing & ~used).sum()),
            "active": int((opened & ~silent).sum()),
            "silent": int(silent.sum()),
            "half-closed": int(closing.sum()),
            "closed": int((live & over).sum()),
        }
    )
    run = sides["unanswered_run"] + (sides["probe_row"] >= 0)
    missed = np.maximum(run[0::2], run[1::2])
    made.silent = _named(flows, silent, quiet_ns, quiet_ns, missed)
    made.probing = _named(flows, opened & (missed > 0), missed, quiet_ns, missed)
    return made


def _named(
    flows: Records,
    chosen: Mask,
    order: I64,
    quiet_ns: I64,
    missed: I64,
) -> list[OpenFlow]:
    here = np.flatnonzero(chosen)
    if here.size > SHOWN:
        here = here[np.argpartition(-order[here], SHOWN)[:SHOWN]]
    here = here[np.lexsort((flows["flow_id"][here], -order[here]))]
    ends = [ends_of(flows[here], side) for side in ("client", "server")]
    return [
        OpenFlow(int(flows["flow_id"][slot]), ends[0][k], ends[1][k], int(quiet_ns[slot]), int(missed[slot]))
        for k, slot in enumerate(here.tolist())
    ]


def ends_of(flows: Records, side: str) -> list[str]:
    """Return ip:port of each flow's `client` or `server`."""
    hosts = address_text(flows[f"{side}_hi"], flows[f"{side}_lo"], flows["ip_version"]).to_pylist()
    ports = flows[f"{side}_port"].tolist()
    return [place(host, port) for host, port in zip(hosts, ports, strict=True)]
