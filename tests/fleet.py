"""Fleets of connections behind a timer, as packets: hundreds of flows whose truth is known because it is made here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.talk import Packet, Talk, merge


@dataclass(frozen=True)
class Timer:
    """What closes an idle connection.

    value_s  its timeout    clock  payload, wire or age    by  server, client or path    how  fin, rst or silent
    sweep_s  it is looked at this often    jitter_s  a timer fires this late at most
    """

    value_s: float
    clock: str = "payload"
    by: str = "server"
    how: str = "fin"
    sweep_s: float = 0.0
    jitter_s: float = 0.05


def fleet(
    timer: Timer, flows: int, *, seed: int = 1, survivors: float = 0.3, early: float = 0.1, probing: float = 0.0,
    probe_s: float = 45.0, rtt_s: float = 0.02, loss: float = 0.05, server: tuple[str, int] = ("10.0.0.2", 443),
) -> list[Packet]:  # fmt: skip
    """Return the packets of `flows` connections to one server behind `timer`, in capture order.

    survivors  share that is used again a while before the timer would fire, once or twice, and then left to it
    early      share that the client closes by itself before    probing  share with TCP keep-alives each `probe_s`
    loss       share whose FIN is captured only at its second try, an RTO later
    """
    pick = random.Random(seed)
    how: dict[str, Any] = {
        "survivors": survivors, "early": early, "probing": probing, "probe_s": probe_s, "rtt": rtt_s, "loss": loss,
        "server": server,
    }  # fmt: skip
    return merge(*(_one(timer, k, pick, **how) for k in range(flows)))


def _one(
    timer: Timer, k: int, pick: random.Random, survivors: float, early: float, probing: float, probe_s: float,
    rtt: float, loss: float, server: tuple[str, int],
) -> Talk:  # fmt: skip
    client = (f"10.1.{k // 200}.{k % 200 + 1}", 20000 + k)
    talk = Talk(client, server, rtt=rtt)
    born = at = pick.uniform(0, 600)
    talk.handshake(at=at)
    at += pick.uniform(0.05, 0.3)
    silences = []
    if pick.random() < survivors:
        silences = [timer.value_s * pick.uniform(0.3, 0.95) for _ in range(pick.randint(1, 2))]
    if timer.clock == "age":
        silences = [timer.value_s * pick.uniform(0.05, 0.3) for _ in range(pick.randint(1, 3))]
    for silence in [0.0, *silences]:
        at += silence
        talk.orig(b"x" * pick.randint(50, 400), at=at).resp(b"y" * pick.randint(50, 4000)).orig_ack()
        at = (talk.packets[-2][0] - talk.packets[0][0]) / 1e9 + born  # the last of the response
    if pick.random() < early:
        return _finish(talk, at + timer.value_s * pick.uniform(0.02, 0.9), "client", "fin")
    last = at
    if pick.random() < probing:
        rounds = pick.randint(3, 12) if timer.clock == "wire" else int(timer.value_s / probe_s)
        for _ in range(rounds):
            last += probe_s
            if timer.clock != "wire" and last > at + timer.value_s:
                break
            talk.orig_probe(at=last).resp_ack()
        if timer.clock == "wire":
            return talk.orig_fin(at=last + 1).resp_fin().orig_ack()  # what probes keep open, the client ends
    from_ = {"payload": at, "wire": last + rtt, "age": born}[timer.clock]
    fires = from_ + timer.value_s + pick.uniform(0, timer.jitter_s)
    if timer.sweep_s:
        fires += pick.uniform(0, timer.sweep_s)
    if pick.random() < loss:
        fires += 0.22  # the first one never came
    return _finish(talk, fires, timer.by, timer.how)


def _finish(talk: Talk, at: float, by: str, how: str) -> Talk:
    if how == "fin":
        return (
            talk.resp_fin(at=at).orig_fin().resp_ack() if by == "server" else talk.orig_fin(at=at).resp_fin().orig_ack()
        )
    if how == "rst":
        return talk.resp_rst(at=at) if by == "server" else talk.orig_rst(at=at)
    later = at + 5  # silent: the client finds out when it writes
    talk.orig(b"anybody there", at=later, lost=True)
    for k in range(6):
        talk.orig_retransmit(at=later + 0.3 * 2**k, lost=True)
    return talk.orig_rst(at=later + 40)


def thinking(flows: int, seed: int, mean_s: float, server: tuple[str, int] = ("10.0.0.2", 443)) -> Iterator[Talk]:
    """Yield connections that people end when they are done: no timer anywhere."""
    pick = random.Random(seed)
    for k in range(flows):
        talk = Talk((f"10.2.{k // 200}.{k % 200 + 1}", 30000 + k), server)
        at = pick.uniform(0, 600)
        talk.handshake(at=at).orig(b"x" * 100, at=at + 0.1).resp(b"y" * 900).orig_ack()
        _finish(talk, at + 0.2 + pick.expovariate(1 / mean_s), pick.choice(["client", "server"]), "fin")
        yield talk
