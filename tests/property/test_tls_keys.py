"""With keys too, how packets are cut into batches does not show in any table."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PacketBatch
from analyzer.capture.reader import open_captures
from analyzer.engine import Engine
from analyzer.kernel import records
from analyzer.settings import Settings
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES
from tests.corpus import CORPUS, needs_corpus

pytestmark = needs_corpus

CAPTURES = (
    ("lab/tls13_early_data.pcap", "lab/tls13_early_data.keys"),  # 0-RTT before the ServerHello
    ("lab/tls12_renegotiation_server.pcap", "lab/tls12_renegotiation_server.keys"),  # hellos inside records
    ("lab/tls13_key_update.pcap", "lab/tls13_key_update.keys"),
    ("lab/wss_server_ping.pcap", "lab/wss_server_ping.keys"),  # an upgrade inside
    ("zeek/tls__tls-1.2-stream-keylog.pcap", "zeek/tls__tls-1.2-stream-keylog.pcap.keys"),
    ("illustrated-tls12/capture.pcap", "illustrated-tls12/capture.pcap.keys"),  # CBC
)


@cache
def packets(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the packets of a small capture and their bytes."""
    rows, data = [], []
    for batch in open_captures([CORPUS / file], Ledger()):
        rows.append(batch.packets.copy())
        rows[-1]["off"] += sum(map(len, data))
        data.append(batch.data.copy())
    return np.concatenate(rows), np.concatenate(data)


def tables(file: str, keys: Path, cuts: list[int]) -> dict[str, pa.Table]:
    rows, data = packets(file)
    engine = Engine(Settings(), Ledger(), records=True)
    engine.learn(keys.read_bytes())
    parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    edges = sorted({0, rows.shape[0], *cuts})
    for start, end in pairwise(edges):
        some = records(end - start, rows.dtype)
        some[:] = rows[start:end]
        for name, found in engine.feed(PacketBatch(some, data.copy())):
            parts[name].append(found)
    for name, found in engine.finish():
        parts[name].append(found)
    return {name: in_order(name, found) for name, found in parts.items()}


@pytest.mark.parametrize(("file", "keys"), CAPTURES)
def test_cuts_do_not_matter(file: str, keys: str) -> None:
    whole = tables(file, CORPUS / keys, [])
    assert whole["tls_records"]["decrypted"].to_pylist().count(True) > 0
    n = packets(file)[0].shape[0]
    rng = Random(file)
    choices = [list(range(1, n)), *(rng.sample(range(1, n), min(n - 1, rng.randint(1, 6))) for _ in range(6))]
    for cuts in choices:
        cut = tables(file, CORPUS / keys, cuts)
        for name, rows in whole.items():
            assert cut[name].equals(rows), f"{name} with cuts at {cuts}"
