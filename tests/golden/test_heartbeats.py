"""Heartbeats in captures of others: the lab's labels, and counts by tshark 4.0.17 (the filter stands beside each)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import pytest

from analyzer import Analysis, AnalyzerError, analyze, stream
from analyzer.protocols.messages.state import NAMES
from tests.corpus import CORPUS, LAB, catalogue, needs_corpus
from tests.golden.captures_tables import heartbeats
from tests.golden.test_lab import cases, flow_of, scenario

pytestmark = [needs_corpus, pytest.mark.corpus]

# file -> beats by (protocol, direction)
COUNTED = {
    "zeek/mqtt.pcap": {("mqtt", "c2s"): 5},  # mqtt.msgtype == 12
    "deepflow/mqtt__mqtt_roundtrip.pcap": {("mqtt", "c2s"): 1},
    "zeek/pop3__redis-50-pings.pcap": {("redis", "c2s"): 50},  # frame contains "PING", with the capture's name
    "arkime/cloudshark-bgp-md5.pcap": {("bgp", "c2s"): 4, ("bgp", "s2c"): 4},  # bgp.type == 4
    "arkime/y2038-bgp.pcap": {("bgp", "c2s"): 1, ("bgp", "s2c"): 1},
    "tcpdump/bgp-role.pcapng": {("bgp", "c2s"): 1, ("bgp", "s2c"): 1},
    "zeek/irc-dcc-send.pcapng": {("irc", "c2s"): 3, ("irc", "s2c"): 1},  # frame contains "PING", read by eye
    "arkime/irc-cap-req.pcap": {("irc", "s2c"): 1},
    "zeek/mysql__change-user-error.pcap": {("mysql", "c2s"): 1},  # mysql.command == 14
    "zeek/mysql__mysql-9.0.0-query-attributes.pcap": {("mysql", "c2s"): 1},
    "deepflow/nats__nats-nrpc1.pcap": {("nats", "c2s"): 1, ("nats", "s2c"): 1},  # frame contains "PING"
    "deepflow/nats__nats-nrpc3.pcap": {("nats", "c2s"): 1},
    "deepflow/amqp__amqp2.pcap": {},  # amqp.type == 8
    "deepflow/amqp__amqp3.pcap": {},
    "deepflow/mysql__truncate-1024.pcap": {},
    "deepflow/kafka__01-fetch-v12-unknown.pcap": {},
    "zeek/redis__django-cloud.pcapng": {},
    "zeek/redis__pubsub.pcap": {},
}
# innermost protocols that are read in them, by hand
SPOKEN = {
    "deepflow/amqp__amqp2.pcap": "amqp",
    "deepflow/mysql__mysql-login-error.pcap": "mysql",
    "deepflow/kafka__01-fetch-v12-unknown.pcap": "kafka",
    "deepflow/nats__nats-nrpc3.pcap": "nats",
    "lab/postgres_idle_session_timeout.pcap": "postgresql",
    "lab/mqtt_client_silent.pcap": "mqtt",
    "zeek/irc-dcc-send.pcapng": "irc",
    "zeek/mqtt.pcap": "mqtt",
    "zeek/redis__django-cloud.pcapng": "redis",
    "zeek/tls__irc-starttls.pcap": "tls",
    "zeek/tls__xmpp-starttls.pcap": "tls",
    "zeek/mysql__encrypted.pcap": "tls",
    "suricata/pgsql__pgsql-upgrade-tls.pcap": "tls",
}
# every capture of the corpus in which a protocol of `protocols/messages` is claimed; read by eye
CLAIMED = {
    "arkime/arkime_synthetic.pcap": {"bgp", "mqtt", "mysql", "sip", "ssh"},
    "arkime/cloudshark-bgp-md5.pcap": {"bgp"},
    "arkime/gtp-iphone.pcap": {"sip"},
    "arkime/irc-cap-req.pcap": {"irc"},
    "arkime/y2038-bgp.pcap": {"bgp"},
    "deepflow/amqp__amqp2.pcap": {"amqp"},
    "deepflow/amqp__amqp3.pcap": {"amqp"},
    "deepflow/kafka__01-fetch-v12-unknown.pcap": {"kafka"},
    "deepflow/mqtt__mqtt_roundtrip.pcap": {"mqtt"},
    "deepflow/mysql__mysql-login-error.pcap": {"mysql"},
    "deepflow/nats__nats-nrpc1.pcap": {"nats"},
    "deepflow/nats__nats-nrpc3.pcap": {"nats"},
    "ja4/ssh2.pcapng": {"ssh"},
    "lab/mqtt_client_silent.pcap": {"mqtt"},
    "lab/postgres_idle_session_timeout.pcap": {"postgresql"},
    "suricata/mqtt-frames-truncated.pcap": {"mqtt"},
    "tcpdump/bgp-role.pcapng": {"bgp"},
    "zeek/irc-dcc-send.pcapng": {"irc"},
    "zeek/mqtt.pcap": {"mqtt"},
    "zeek/mysql__change-user-error.pcap": {"mysql"},
    "zeek/mysql__mysql-9.0.0-query-attributes.pcap": {"mysql"},
    "zeek/pop3__redis-50-pings.pcap": {"redis"},
    "zeek/redis__django-cloud.pcapng": {"redis"},
    "zeek/redis__pubsub.pcap": {"redis"},
    "zeek/ssh__kex-quadratic-1000.pcap.gz": {"ssh"},
}


@cache
def opened(name: str, point: str) -> Analysis:
    """Return the analysis of a lab capture, with its keys where it has some."""
    keys = LAB / f"{name}.keys"
    return analyze(LAB / scenario(name)["captures"][point], keys=keys if keys.exists() else None)


@pytest.mark.parametrize(("name", "point", "index"), cases())
def test_the_lab_s_heartbeats(name: str, point: str, index: int) -> None:
    label, flow, _ = flow_of(name, point, index)
    series = opened(name, point).heartbeat_series
    mine = series[series.flow_id == flow["flow_id"]]
    assert heartbeats({"heartbeats": label.get("heartbeats", [])}, {"heartbeat_series": mine}) == []


@pytest.mark.parametrize("file", COUNTED)
def test_beats_are_those_that_tshark_counts(file: str) -> None:
    rows = analyze(CORPUS / file).heartbeats
    count = rows[rows.method == "explicit"].groupby(["protocol", "dir"], observed=True).size()
    assert {tuple(key): int(n) for key, n in count.items()} == COUNTED[file]


@pytest.mark.parametrize("file", SPOKEN)
def test_what_is_spoken(file: str) -> None:
    assert SPOKEN[file] in set(analyze(CORPUS / file).flows.app_protocol)


@pytest.mark.slow
def test_nothing_else_in_the_corpus_is_claimed() -> None:
    files = [row["file"] for row in catalogue()] + [f"lab/{path.name}" for path in LAB.glob("*.pcap")]
    found: dict[str, set[str]] = {}
    for file in files:
        with suppress(AnalyzerError):  # some are no captures at all
            for name, rows in stream(CORPUS / file):
                words = set(rows["app_protocol"].to_pylist()) & set(NAMES) if name == "flows" else set()
                found.setdefault(file, set()).update(words)
    assert {file: words for file, words in found.items() if words} == CLAIMED
