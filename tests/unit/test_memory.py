"""An analysis that is over holds nothing: a notebook that makes hundreds of them need not wait for cycles."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from analyzer import analyze
from analyzer.protocols.reader import Shared

CAPTURES = Path(__file__).parents[2] / "captures"


@pytest.mark.parametrize("name", ["ws_server_ping", "h2_ping", "tls13_full", "mqtt_ping", "h2c_goaway"])
def test_nothing_is_left_in_a_cycle(name: str) -> None:
    keys = CAPTURES / f"{name}.keys"
    gc.collect()
    gc.disable()
    try:
        analyze(CAPTURES / f"{name}.pcap", keys=keys if keys.exists() else None, segments=True)
        assert [thing for thing in gc.get_objects() if type(thing) is Shared] == []
    finally:
        gc.enable()
