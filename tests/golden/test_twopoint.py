"""Scenarios of the lab that were captured at two points: what the label says happened on the way is what is told.

The labels come from what the scenario's boxes did, never from the captures.
"""

from __future__ import annotations

import pytest

from analyzer import Comparison, compare
from tests.corpus import LAB, needs_corpus

pytestmark = [needs_corpus, pytest.mark.corpus]


def of(name: str) -> Comparison:
    return compare(LAB / f"{name}.pcap", LAB / f"{name}.server.pcap")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mbox_rst_client_only", {("rst_not_sent", "server")}),  # injected towards the client alone
        ("nat_idle_silence", {("path_dead", "client")}),  # the NAT forgot, and drops in silence
        ("tcp_tail_byte_lost", {("data_lost", "client")}),  # the router dropped four copies
        ("tcp_keepalive_state_lost", {("rst_not_arrived", "server")}),  # its host "rebooted" while the path was cut
        ("wire_loss", {("data_lost", "client"), ("data_lost", "server")}),  # a lossy wire
    ],
)
def test_what_happened_on_the_way(name: str, wanted: set[tuple[str, str]]) -> None:
    found = of(name)
    assert len(found.pairs) == 1
    assert set(zip(found.differences["code"], found.differences["sent_by"], strict=True)) == wanted
    assert found.pairs["near_client"].tolist() == [1]


def test_the_nat_is_seen_through() -> None:
    row = of("nat_idle_silence").pairs.iloc[0]
    assert (row["client"].rsplit(":", 1)[0], row["client_2"].rsplit(":", 1)[0]) == ("10.77.1.2", "10.77.2.1")


@pytest.mark.parametrize("name", ["haproxy_server_timeout_504", "nginx_proxy_upstream_keepalive"])
def test_a_proxy_makes_other_connections(name: str) -> None:
    assert len(of(name).pairs) == 0
