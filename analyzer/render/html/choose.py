"""Which connections matter: what a page shows of a hundred thousand, and says that it left out the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.render.text import LOOKS

if TYPE_CHECKING:
    import pyarrow as pa

LANES = 10_000
"""Connections with a lane and a row: about 4 MB of page, opened in well under two seconds."""

CARDS = 200
"""Connections with a full card and a ladder, which need their segments: about 1.5 MB of page."""

CARDS_ALIKE = 4
"""Cards for connections that ended in the same way, before other ways are given as many: 27 ways fit into CARDS."""

NAMED = 1000.0
"""Score of a connection that a finding or an inferred timeout names: above all others."""


@dataclass(slots=True)
class Scores:
    """How much each connection matters, gathered from chunks of `flows`; 24 bytes a connection."""

    ids: list[NDArray[np.int64]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    kinds: list[NDArray[np.int64]] = field(default_factory=list)
    _words: dict[str, int] = field(default_factory=dict)

    def add(self, flows: pa.Table) -> None:
        """Take a chunk of `flows`.

        The kind of close weighs most, in the order of "worth a look"; then how long it was silent, whether it was
        probed or had heartbeats, and how long it lived.
        """
        kind = pc.fill_null(flows["close_kind"], "capture_gap")
        rank = {word: len(LOOKS) - at for at, word in enumerate(LOOKS)}
        coded = (
            kind.combine_chunks().dictionary_encode() if hasattr(kind, "combine_chunks") else kind.dictionary_encode()
        )
        worth = np.array([rank.get(word, 0) * 10.0 for word in coded.dictionary.to_pylist()])
        score = worth[coded.indices.to_numpy()] if len(worth) else np.zeros(flows.num_rows)
        silent = _floats(flows, "max_payload_gap_s")
        lived = _floats(flows, "duration_s")
        score = score + 4 * np.log1p(silent) + np.log1p(lived)
        probes = _floats(flows, "keepalive_probes_c") + _floats(flows, "keepalive_probes_s")
        beats = pc.is_valid(flows["heartbeat_kinds"]).to_numpy()
        score = score + np.where(probes > 0, 8.0, 0.0) + np.where(beats, 8.0, 0.0)
        self.ids.append(flows["flow_id"].to_numpy())
        self.scores.append(score)
        codes = np.array(
            [self._words.setdefault(word, len(self._words)) for word in coded.dictionary.to_pylist()], np.int64
        )
        self.kinds.append(codes[coded.indices.to_numpy()] if codes.size else np.zeros(flows.num_rows, np.int64))

    def chosen(self, named: set[int], lanes: int, cards: int) -> tuple[list[int], list[int]]:
        """Return the flow_ids with a lane, most telling first, and those of them with a card.

        named  flow_ids that findings and timeouts name
        """
        if not self.ids:
            return [], []
        ids, scores, kinds = (np.concatenate(part) for part in (self.ids, self.scores, self.kinds))
        scores = scores + np.where(np.isin(ids, np.array(sorted(named), np.int64)), NAMED, 0.0)
        order = np.lexsort((ids, -scores))[:lanes]
        seen: dict[int, int] = {}
        turns = []
        for at in order.tolist():
            seen[int(kinds[at])] = seen.get(int(kinds[at]), 0) + 1
            turns.append(0 if scores[at] >= NAMED else 1 + (seen[int(kinds[at])] - 1) // CARDS_ALIKE)
        carded = order[np.argsort(np.array(turns), kind="stable")][:cards]
        return ids[order].tolist(), ids[carded].tolist()


def _floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(rows[name].cast("float64"), 0.0).to_numpy()
    return values
