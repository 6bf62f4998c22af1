"""Heartbeats that no protocol announces, known by their timing alone, and traffic that must not be taken for them.

The scripts at both ends write down what they sent and when; the schedules that are random come from a fixed seed.
"""

from __future__ import annotations

import itertools
import random
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from captures.lab import Lab, closed, read_until, scenario
from captures.scenarios.http import CLIENT_FIRST, node
from captures.scenarios.tls import Contexts, goodbye, secure

GRACEFUL = closed("graceful", "fin_client_first", "client fin, server fin", initiator="client")
End = socket.socket


class Send(NamedTuple):
    """One message: when, by whom, how long, how long the answer is (0: none)."""

    at_s: float
    by: str
    length: int
    answer: int = 0


def every(interval_s: float, count: int, by: str, length: int, answer: int = 0) -> list[Send]:
    """Return a regular series, the first after one interval."""
    return [Send(interval_s * (n + 1), by, length, answer) for n in range(count)]


def play(lab: Lab, client: End, server: End, schedule: Iterable[Send]) -> None:
    """Send everything at its time; the other end reads it and answers."""
    ends = {"client": client, "server": server}
    begin = time.monotonic()
    for message in sorted(schedule):
        time.sleep(max(begin + message.at_s - time.monotonic(), 0))
        here, there = (
            ends[side] for side in ((message.by, "server") if message.by == "client" else (message.by, "client"))
        )
        here.sendall(bytes(message.length))
        receive(there, message.length)
        if message.answer:
            there.sendall(bytes(message.answer))
            receive(here, message.answer)
    time.sleep(0.5)


def receive(end: End, length: int) -> None:
    """Read exactly `length` bytes."""
    while length:
        length -= len(end.recv(length))


def over_tls(
    lab: Lab, schedule: list[Send], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, keys: bool = False, **facts: Any
) -> None:
    """Play a schedule over TLS."""
    client, server = secure(lab, Contexts(lab, version, keys=keys))
    play(lab, client, server, schedule)
    goodbye(lab, client, server)
    name = {ssl.TLSVersion.TLSv1_2: "1.2", ssl.TLSVersion.TLSv1_3: "1.3"}[version]
    lab.connection(40001, 443, GRACEFUL, app="tls", tls={"version": name, "resumed": False}, **facts)


def over_tcp(lab: Lab, schedule: list[Send], **facts: Any) -> None:
    """Play a schedule in clear text (or rather in binary zeros)."""
    client, server = lab.pair(7000)
    play(lab, client, server, schedule)
    client.close()
    time.sleep(0.05)
    server.close()
    lab.connection(40001, 7000, GRACEFUL, app="binary", **facts)


def beats(by: str, count: int, interval_s: float, answered: int | None = None) -> list[dict[str, Any]]:
    """Describe one series that an analyzer should find by its timing."""
    return [{"kind": "app", "by": by, "interval_s": interval_s, "count": count, "answered": answered}]


@scenario("OpenSSL")
def heartbeat_tls13(lab: Lab) -> None:
    """Inside TLS 1.3, without keys: 9 bytes by the client every 1.2 s, 9 bytes back; nothing else."""
    lab.look_for = "records of one size at one distance, each answered: a heartbeat, although nothing can be read"
    over_tls(lab, every(1.2, 10, "client", 9, 9), heartbeats=beats("client", 10, 1.2, answered=10))


@scenario("OpenSSL")
def heartbeat_tls12_server(lab: Lab) -> None:
    """Inside TLS 1.2: 4 bytes by the server every 0.8 s, never answered."""
    lab.look_for = "a one-way heartbeat by the server; only TCP acknowledges it"
    schedule = every(0.8, 12, "server", 4)
    over_tls(lab, schedule, ssl.TLSVersion.TLSv1_2, heartbeats=beats("server", 12, 0.8), optional=["heartbeats"])


@scenario()
def heartbeat_binary(lab: Lab) -> None:
    """A protocol nobody knows: 8 bytes by the client every 1.2 s, 8 bytes back."""
    lab.look_for = "an unknown protocol's heartbeat, found by size and time"
    over_tcp(lab, every(1.2, 10, "client", 8, 8), heartbeats=beats("client", 10, 1.2, answered=10), idle_gaps=[])


@scenario("OpenSSL")
def heartbeat_mixed(lab: Lab) -> None:
    """Heartbeats of 6 bytes every 1.2 s in TLS 1.3, and real requests of random size at random times between them."""
    lab.look_for = "the regular series under the irregular traffic: grouped by size, the heartbeat stands out"
    dice = random.Random(8)
    data = [Send(dice.uniform(0.2, 13), "client", dice.randint(60, 400), dice.randint(200, 1200)) for _ in range(12)]
    over_tls(lab, every(1.2, 11, "client", 6, 6) + data, heartbeats=beats("client", 11, 1.2, answered=11))


@scenario()
def heartbeat_missed(lab: Lab) -> None:
    """Eight heartbeats of 8 bytes, 1.2 s apart, of which the seventh and eighth get no answer; then the client
    gives up."""
    lab.look_for = "two beats in a row unanswered by the program, though acknowledged by its kernel; then the end"
    schedule = [beat if n < 6 else beat._replace(answer=0) for n, beat in enumerate(every(1.2, 8, "client", 8, 8))]
    over_tcp(lab, schedule, heartbeats=beats("client", 8, 1.2, answered=6), idle_gaps=[])


@scenario("OpenSSL")
def no_heartbeat_random(lab: Lab) -> None:
    """TLS 1.3: messages of one size at random distances between 0.2 and 2.5 s, each answered."""
    lab.look_for = "one size, no period: people typing, not a timer"
    dice = random.Random(77)
    times = list(itertools.accumulate(dice.uniform(0.2, 2.5) for _ in range(9)))
    schedule = [Send(at, "client", 20, 20) for at in times]
    over_tls(lab, schedule, heartbeats=[], not_heartbeat="the distances are random")


@scenario("OpenSSL")
def no_heartbeat_bulk(lab: Lab) -> None:
    """TLS 1.3: 12 kB every 1.2 s, like a recording that is uploaded in pieces."""
    lab.look_for = "as regular as a clock, and far too large for a heartbeat"
    over_tls(lab, every(1.2, 8, "client", 12_000, 2), heartbeats=[], not_heartbeat="periodic bulk")


@scenario("Node.js")
def no_heartbeat_polling(lab: Lab) -> None:
    """A client asks for news every second over one HTTP connection; every answer has another length."""
    lab.look_for = (
        "a period of one second, and answers that differ: polling. It keeps the connection alive all the same"
    )
    node(lab)
    client = lab.dial(8080)
    for _ in range(8):
        client.sendall(b"GET /poll HTTP/1.1\r\nHost: example.com\r\n\r\n")
        read_until(client, b'"}')
        time.sleep(1)
    client.close()
    lab.connection(
        40001,
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        heartbeats=[],
        idle_gaps=[],
        not_heartbeat="periodic requests with answers",
        http={"requests": 8, "statuses": [200] * 8, "methods": ["GET"] * 8},
    )


@scenario()
def no_heartbeat_stream(lab: Lab) -> None:
    """A server sends 50 messages at a steady 5 a second, then one every 0.1 to 1.5 s: a ticker."""
    lab.look_for = "many small messages without isolation: a stream of data, not a sign of life"
    dice = random.Random(5)
    steady = [Send(0.2 * n, "server", 24) for n in range(1, 51)]
    late = [
        Send(at, "server", 24) for at in itertools.accumulate((dice.uniform(0.1, 1.5) for _ in range(6)), initial=10.2)
    ]
    over_tcp(lab, steady + late, heartbeats=[], not_heartbeat="a ticker, several a second", idle_gaps=[])
