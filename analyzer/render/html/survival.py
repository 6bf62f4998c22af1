"""How long silences are survived, per server: Kaplan-Meier estimates from all silences of its connections.

A silence that the server's side ended (FIN, RST, or data that was never answered) is an event; one that was survived,
that the client ended, or that the capture cut off is censored: it says only "at least this long".
Source  Kaplan and Meier 1958; definitions.md B12 step 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

CURVES = 12
"""Servers with a curve: those with most silences that ended the connection."""

POINTS = 200
"""Steps drawn of a curve; of more, evenly chosen ones."""

_ENDS = {"fin_client": 0, "rst_client": 0, "fin_server": 1, "rst_server": 1}
SIDES = ("client", "server")


@dataclass(frozen=True, slots=True)
class Curve:
    """One server's curve: `share` of silences survived beyond `at_s`, a step function beginning at (0, 1).

    killed, others  silences ended by `side`, and all the others    lower_s  longest that was survived
    upper_s  shortest that was not
    """

    endpoint: str
    side: str
    killed: int
    others: int
    lower_s: float | None
    upper_s: float
    at_s: tuple[float, ...]
    share: tuple[float, ...]


@dataclass(slots=True)
class Silences:
    """Silences of all connections with their servers; 18 bytes each."""

    endpoint_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    names: dict[str, int] = field(default_factory=dict)
    _seconds: list[NDArray[np.float64]] = field(default_factory=list)
    _flows: list[NDArray[np.int64]] = field(default_factory=list)
    _lived: list[NDArray[np.bool_]] = field(default_factory=list)
    _ended: list[NDArray[np.int8]] = field(default_factory=list)

    def add_flows(self, flow_ids: NDArray[np.int64], endpoints: pa.Array) -> None:
        """Take the server address of more connections."""
        coded = endpoints.dictionary_encode()
        lookup = np.array([self.names.setdefault(w, len(self.names)) for w in coded.dictionary.to_pylist()], np.int32)
        if flow_ids.size:
            grow = int(flow_ids.max()) + 1 - self.endpoint_of.size
            if grow > 0:
                self.endpoint_of = np.concatenate([self.endpoint_of, np.full(grow, -1, np.int32)])
            self.endpoint_of[flow_ids] = lookup[coded.indices.to_numpy()]

    def add_gaps(self, rows: pa.Table) -> None:
        """Take a chunk of `idle_gaps`."""
        words = pc.fill_null(rows["ended_by"], "").combine_chunks().dictionary_encode()
        codes = np.array([_ENDS.get(word, -1) for word in words.dictionary.to_pylist()], np.int8)
        ended = codes[words.indices.to_numpy()] if codes.size else np.zeros(rows.num_rows, np.int8)
        self._seconds.append(pc.fill_null(rows["duration_s"], 0.0).to_numpy())
        self._flows.append(rows["flow_id"].to_numpy())
        self._ended.append(ended)
        self._lived.append(pc.fill_null(rows["survived"], False).to_numpy())

    def curves(self) -> list[Curve]:
        """Return the curves of the servers whose side, or whose clients, ended most silences."""
        if not self._seconds:
            return []
        seconds, lived = np.concatenate(self._seconds), np.concatenate(self._lived)
        ended: NDArray[np.int8] = np.concatenate(self._ended)
        flows: NDArray[np.int64] = np.concatenate(self._flows)
        known = flows < self.endpoint_of.size
        seconds, ended, lived, server = seconds[known], ended[known], lived[known], self.endpoint_of[flows[known]]
        counts = np.bincount(server[(ended >= 0) & (server >= 0)], minlength=len(self.names))
        names = list(self.names)
        made = []
        for at in np.argsort(-counts, kind="stable")[:CURVES].tolist():
            if counts[at]:
                here = server == at
                made.append(_curve(names[at], seconds[here], ended[here], lived[here]))
        return made


def _curve(endpoint: str, seconds: NDArray[np.float64], ended: NDArray[np.int8], survived: NDArray[np.bool_]) -> Curve:
    side = int((ended == 1).sum() >= (ended == 0).sum())
    event = ended == side
    at, share = kaplan_meier(seconds, event)
    keep = np.unique(np.linspace(0, at.size - 1, min(POINTS, at.size)).round().astype(np.int64))
    lived = seconds[survived]
    return Curve(
        endpoint, SIDES[side], int(event.sum()), int((~event).sum()),
        round(float(lived.max()), 6) if lived.size else None, round(float(seconds[event].min()), 6),
        tuple(np.round(at[keep], 6).tolist()), tuple(np.round(share[keep], 5).tolist()),
    )  # fmt: skip


def kaplan_meier(
    seconds: NDArray[np.float64], event: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (times, share surviving beyond them), from (0, 1) on; the last time is the longest silence of all.

    seconds (n,) lengths    event (n,) True where the silence ended the connection, False where it is censored
    """
    order = np.argsort(seconds, kind="stable")
    seconds, event = seconds[order], event[order]
    times: NDArray[np.float64] = np.unique(seconds[event])
    at_risk = seconds.size - np.searchsorted(seconds, times, "left")
    died = np.searchsorted(seconds[event], times, "right") - np.searchsorted(seconds[event], times, "left")
    share: NDArray[np.float64] = np.cumprod(1.0 - died / np.maximum(at_risk, 1)).astype(np.float64)
    times, share = np.concatenate([[0.0], times]), np.concatenate([[1.0], share])
    longest = float(seconds[-1]) if seconds.size else 0.0
    if longest > times[-1]:
        times, share = np.append(times, longest), np.append(share, share[-1])
    return times, share


__all__: Sequence[str] = ("CURVES", "Curve", "Silences", "kaplan_meier")
