"""Connections as they stand: what a table would say of those that are open, or closed a moment ago and linger.

Needs   what is known of flows that go on
Gives   flows, closes, keepalives, idle_gaps
Limits  Heartbeats are paired and judged when their flow is over: they are not among these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.classify.bursts import in_burst
from analyzer.classify.closing import closes
from analyzer.classify.facts import Facts
from analyzer.classify.flow import flows
from analyzer.classify.grouped import Rows
from analyzer.classify.idle_gap import idle_gaps
from analyzer.classify.keepalive import keepalives
from analyzer.classify.verdict import judge
from analyzer.flows.rtt import Taken, quantiles
from analyzer.flows.tracker import Finished
from analyzer.settings import Settings
from analyzer.tables.build import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.protocols.stage import Applications


def rows_of(
    done: Finished, ticks: Taken, applications: Applications, bursts: Rows, end_ns: int, settings: Settings
) -> Iterator[tuple[str, pa.Table]]:
    """Yield (table, rows) of flows that go on.

    ticks   their RTT samples, of which `done` has no quantiles yet
    bursts  BURST rows, of what closed so far
    """
    p50, p95 = quantiles(ticks)
    facts = Facts(done._replace(rtt_p50=p50, rtt_p95=p95), applications, end_ns, settings)
    facts.together = in_burst(facts, bursts)
    verdict = judge(facts)
    close_columns = closes(facts, verdict)
    nothing: list[str | None] = [None] * facts.n
    yield "flows", to_arrow("flows", flows(facts, verdict, close_columns) | {"heartbeat_kinds": nothing})
    yield "closes", to_arrow("closes", close_columns)
    yield "keepalives", to_arrow("keepalives", keepalives(facts))
    yield "idle_gaps", to_arrow("idle_gaps", idle_gaps(facts))
