"""Verdicts on captures of real programs against their labels: `python -m tests.calibration.lab`.

Labels say what the programs did (`captures/README.md`); counted are close kinds, initiators, triggers where a label has
one, races, and series of heartbeats.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from analyzer import Analysis, analyze
from captures.catalogue import HERE
from tests.golden.captures_tables import APPS, NEEDS, READ, Rows, heartbeats


def _one_or_more(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _flow_of(wanted: dict[str, Any], result: Analysis) -> dict[str, Any]:
    rows = result.flows.merge(result.closes.drop(columns=["close_kind"]), on="flow_id")
    (client, port), (server, server_port) = wanted["client"], wanted["server"]
    mine = rows[(rows.client_ip == client) & (rows.client_port == port)]
    mine = mine[(mine.server_ip == server) & (mine.server_port == server_port)]
    found: dict[str, Any] = mine.iloc[wanted.get("reuse_index", 0)].to_dict()
    return found


def _judged(wanted: dict[str, Any], flow: dict[str, Any], result: Analysis) -> list[tuple[str, bool]]:
    """Return what was compared of a connection, and whether it was right."""
    close = wanted["close"]
    race = flow["race"] if isinstance(flow["race"], str) else "none"
    initiators = [*_one_or_more(close["initiator"]), *([] if close["signals"] else ["none"])]
    out = [
        ("close kind", flow["close_kind"] in _one_or_more(close["shape"])),
        ("initiator", flow["initiator"] in initiators),
        ("race", race in _one_or_more(close.get("race", "none"))),
    ]
    if "trigger" in close:
        triggers = _one_or_more(close["trigger"])
        needs = {APPS.get(wanted["app"], wanted["app"]), *(NEEDS.get(trigger, "http") for trigger in triggers)}
        if needs <= READ:
            out.append(("trigger", flow["trigger"] in triggers))
    if "heartbeats" in wanted:
        series = result.heartbeat_series
        rows: Rows = {"heartbeat_series": series[series.flow_id == flow["flow_id"]].reset_index(drop=True)}
        name = "heartbeats" if wanted["heartbeats"] else "no heartbeat where there is none"
        out.append((name, not heartbeats(wanted, rows)))
    return out


def lines() -> list[str]:
    """Return the report."""
    right: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    wrong = []
    for path in sorted(HERE.glob("*.json")):
        keys = path.with_suffix(".keys")
        result = analyze(path.with_suffix(".pcap"), keys=keys if keys.exists() else None)
        for wanted in json.loads(path.read_text())["connections"]:
            for name, good in _judged(wanted, _flow_of(wanted, result), result):
                tried[name] += 1
                right[name] += good
                if not good:
                    wrong.append(f"  {path.stem}: {name}")
    out = [f"{name:34} {right[name]:4} of {tried[name]:4}" for name in tried]
    return [*out, *(["not as labelled:", *wrong] if wrong else [])]


if __name__ == "__main__":
    print("\n".join(lines()))
