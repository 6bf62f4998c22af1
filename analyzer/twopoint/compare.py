"""Two captures of the same connections, put side by side.

Needs   Point of both
Gives   columns of the tables `pairs` and `differences`
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analyzer.kernel import Records
from analyzer.tables.build import MISSING
from analyzer.tables.kinds import place
from analyzer.twopoint.clocks import Clock, clock_of
from analyzer.twopoint.crossing import Difference, View, crossed
from analyzer.twopoint.pairing import Pair, pairs_of
from analyzer.twopoint.point import FIN, PROBE, RST, SYN, WINDOW_PROBE, Point
from analyzer.twopoint.wording import Names, explain

_ENDS = (("client_ip", "client_port"), ("server_ip", "server_port"))
_OPTIONS = (
    ("mss_c", "MSS of the client"), ("mss_s", "MSS of the server"), ("wscale_c", "window scale of the client"),
    ("wscale_s", "window scale of the server"), ("sack_ok", "SACK"), ("timestamps_ok", "timestamps"),
)  # fmt: skip
Columns = dict[str, list[Any]]


class _Seen(NamedTuple):
    """A connection of the pair at both points, in the first's numbers and clock."""

    mine: Records
    theirs: Records


def compare_points(one: Point, two: Point) -> dict[str, Columns]:
    """Return the columns of `pairs` and `differences`."""
    pairs = pairs_of(one, two)
    rows = [_Seen(one.segments[one.of(pair.first)], _translated(two, pair)) for pair in pairs]
    clocks = [clock_of(mine, theirs) for mine, theirs in rows]
    usual = _usual([clock for clock in clocks if clock is not None])
    found: dict[str, Columns] = {"pairs": {}, "differences": {}}
    names = Names(one.name, two.name)
    for pair, side, clock in zip(pairs, rows, clocks, strict=True):
        differences = _options(one, two, pair)
        if (known := clock or usual) is not None:
            side.theirs["ts"] -= known.ahead_ns
            differences += _crossings(one, two, pair, side, known)
        _add(found["pairs"], _pair_row(one, two, pair, side, clock, known, len(differences)))
        for difference in differences:
            _add(found["differences"], _row(pair.first, pair.second, difference, known, names))
    for missing, first, second in _unseen(one, two, pairs, usual):
        _add(found["differences"], _row(first, second, missing, usual, names))
    return found


def _translated(two: Point, pair: Pair) -> Records:
    """Return the second capture's segments with the first's sides and sequence numbers."""
    rows = two.segments[two.of(pair.second)].copy()
    if pair.swapped:
        rows["side"] ^= 1
    shift = np.array(pair.shift)
    rows["seq"] += shift[rows["side"]]
    rows["ack"] = np.where(rows["ack"] >= 0, rows["ack"] + shift[1 - rows["side"]], -1)
    return rows


def _usual(clocks: list[Clock]) -> Clock | None:
    """Return the clocks' difference for connections that do not tell it themselves."""
    if not clocks:
        return None
    near = round(float(np.mean([clock.near for clock in clocks])))
    return Clock(int(np.median([clock.ahead_ns for clock in clocks])), max(clock.path_ns for clock in clocks), near)


def _crossings(one: Point, two: Point, pair: Pair, rows: _Seen, clock: Clock) -> list[Difference]:
    first = View(rows.mine, one.first_ns, one.last_ns, one.answered)
    second = View(rows.theirs, two.first_ns - clock.ahead_ns, two.last_ns - clock.ahead_ns, two.answered)
    near_client, near_server = (first, second) if clock.near == 0 else (second, first)
    return sorted(
        crossed(near_client, near_server, 0, clock.path_ns) + crossed(near_server, near_client, 1, clock.path_ns),
        key=lambda difference: difference.ts,
    )


def _options(one: Point, two: Point, pair: Pair) -> list[Difference]:
    """Return the options of the handshake that are not the same at both points."""
    mine, theirs = one.flows[pair.first], two.flows[pair.second]
    if pair.swapped or not (mine["start_seen"] and theirs["start_seen"]):
        return []
    changed = [
        f"{what} {_option(mine[name])} and {_option(theirs[name])}"
        for name, what in _OPTIONS
        if mine[name] != theirs[name]
    ]
    return [Difference("options_changed", -1, mine["first_ts"], about=", ".join(changed))] if changed else []


def _option(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}.get(value, str(value))


def _unseen(
    one: Point, two: Point, pairs: list[Pair], usual: Clock | None
) -> list[tuple[Difference, int | None, int | None]]:
    """Return the SYNs to a server that other connections reached, and that never arrived there."""
    if usual is None:
        return []
    near, far = (one, two) if usual.near == 0 else (two, one)
    ahead = usual.ahead_ns if usual.near == 0 else -usual.ahead_ns  # the far clock minus the near one's
    paired = {pair.first if usual.near == 0 else pair.second for pair in pairs}
    reached = {tuple(near.flows[flow][name] for name in _ENDS[1]) for flow in paired}
    found: list[tuple[Difference, int | None, int | None]] = []
    for number, flow in near.flows.items():
        if number in paired or not flow["start_seen"] or tuple(flow[name] for name in _ENDS[1]) not in reached:
            continue
        if not far.first_ns - ahead <= flow["first_ts"] <= far.last_ns - ahead:
            continue
        syns = near.segments[near.of(number)]
        syns = syns[(syns["side"] == 0) & (syns["bits"] & SYN != 0)]
        ts = flow["first_ts"] - (usual.ahead_ns if usual.near else 0)
        difference = Difference("syn_not_arrived", 0, ts, sent=tuple(syns["frame"].tolist()), segments=syns.size)
        found.append((difference, *((number, None) if usual.near == 0 else (None, number))))
    return found


def _pair_row(
    one: Point, two: Point, pair: Pair, rows: _Seen, clock: Clock | None, known: Clock | None, differences: int
) -> dict[str, Any]:
    mine, theirs = one.flows[pair.first], two.flows[pair.second]
    ends = [place(mine[ip], mine[port]) for ip, port in _ENDS]
    other = [place(theirs[ip], theirs[port]) for ip, port in (reversed(_ENDS) if pair.swapped else _ENDS)]
    row = {
        "flow_1": pair.first,
        "flow_2": pair.second,
        "client": ends[0],
        "server": ends[1],
        "client_2": other[0] if other[0] != ends[0] else None,
        "server_2": other[1] if other[1] != ends[1] else None,
        "matched_by": pair.by,
        "near_client": clock.near + 1 if clock else None,
        "clock_s": clock.ahead_ns / 1e9 if clock else None,
        "path_s": clock.path_ns / 1e9 if clock else None,
        "close_kind_1": mine["close_kind"],
        "close_kind_2": theirs["close_kind"],
        "differences": differences,
    }
    for side, letter in enumerate("cs"):
        near_mine = (known is None or known.near == 0) == (side == 0)
        sent, came = (rows.mine, rows.theirs) if near_mine else (rows.theirs, rows.mine)
        sent, came = sent[sent["side"] == side], came[came["side"] == side]
        row[f"hops_{letter}"] = _hops(sent, came)
        row[f"sent_bytes_{letter}"], arrived = _payload(sent), _payload(came)
        row[f"lost_bytes_{letter}"] = max(row[f"sent_bytes_{letter}"] - arrived, 0)
    return row


def _payload(rows: Records) -> int:
    return int(rows["len"][rows["bits"] & (PROBE | WINDOW_PROBE) == 0].sum())


def _hops(sent: Records, came: Records) -> int | None:
    """Return by how much TTLs sank on the way; a RST may have another sender."""
    ttl = [np.bincount(rows["ttl"][rows["bits"] & (RST | FIN) == 0], minlength=256) for rows in (sent, came)]
    if not ttl[0].any() or not ttl[1].any():
        return None
    return int(ttl[0].argmax()) - int(ttl[1].argmax())


def _row(
    first: int | None, second: int | None, difference: Difference, clock: Clock | None, names: Names
) -> dict[str, Any]:
    sender_is_first = clock is None or difference.side < 0 or (difference.side == 0) == (clock.near == 0)
    frames = (difference.sent, difference.arrived) if sender_is_first else (difference.arrived, difference.sent)
    return {
        "flow_1": first,
        "flow_2": second,
        "code": difference.code,
        "sent_by": ("client", "server", None)[difference.side],
        "ts": difference.ts,
        "count": difference.segments,
        "bytes": difference.bytes,
        "silence_s": difference.silence_ns / 1e9 if difference.silence_ns >= 0 else None,
        "basis": "observed" if difference.certain else "inferred",
        "frames_1": list(frames[0]),
        "frames_2": list(frames[1]),
        "explanation": explain(difference, names if sender_is_first else names.turned()),
    }


def _add(columns: Columns, row: dict[str, Any]) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(MISSING if value is None and name in ("flow_1", "flow_2") else value)
