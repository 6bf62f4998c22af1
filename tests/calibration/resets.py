"""How well made-up resets are told from real ones: `python -m tests.calibration.resets [CONNECTIONS] [SEED]`.

Populations are made here: boxes that reset in another's name, each with the habits that are written about it, and hosts
that reset by themselves, with all that looks odd and is not. Paths vary: 5 to 200 ms, a hop more or less now and then.

box         RST by                                            source of its habits
injector    three to both ends, own TTL and IP-ID, the host   definitions B6 (censors, ISPs)
            goes on
sensor      from another station of the link, own TTL and     an IPS on a mirror port (Snort, Suricata)
            IP-ID, the host may go on
firewall    both ends at the same instant, no options         Azure Load Balancer, TCP reset; definitions B6
NAT         the sender of late data, own TTL                  AWS NAT gateway (ipa #758)
copier      the sender of data, at once, with its IP-ID       definitions B6 (firewall trace)
quiet box   one end, all else as the host would: one capture cannot tell
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from analyzer.classify.middlebox import POSSIBLE, SUSPECTED
from tests.property.harness import run
from tests.talk import Talk, merge

T0 = 1_700_000_000  # of a Talk
Make = Callable[[random.Random, Talk], Talk]


def used(pick: random.Random, number: int) -> Talk:
    """A connection over a path of its own, used a while."""
    rtt = pick.uniform(0.005, 0.2)
    client = (f"10.3.{number // 200}.{number % 200 + 1}", 20000 + number)
    talk = Talk(client, rtt=rtt, capture="client", timestamps=pick.random() < 0.8)
    talk.server.dscp = pick.choice([0, 0, 0, 10, 18, 46])
    talk.handshake(at=pick.uniform(0, 50))
    for _ in range(pick.randint(2, 12)):
        _later(talk, pick.uniform(0.2, 3))
        hop = {"ttl": 57} if pick.random() < 0.03 else {}  # another path, a hop longer
        talk.orig(b"x" * pick.randint(20, 500)).resp(b"y" * pick.randint(20, 3000), **hop).orig_ack()
    return talk


def _later(talk: Talk, seconds: float) -> None:
    talk.wait(seconds)


def _soon(pick: random.Random, talk: Talk) -> float:
    """Return a time a millisecond or so after the last frame: a box that is near."""
    return talk.packets[-1][0] / 1e9 - T0 + pick.uniform(0.0002, 0.002)


def injector(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(0.5, 5))
    talk.orig(b"GET /forbidden")
    ttl = 58 + pick.choice([-9, -6, -4, 3, 4, 5])
    talk.resp_rst(at=_soon(pick, talk), ttl=ttl, ip_id=pick.randint(1, 65000), dscp=0, options=b"")
    return talk.wait(0.2).resp(b"z" * 400).orig_rst(bare=True)


def sensor(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(0.5, 5))
    talk.orig(b"x" * 80)
    own = bytes((2, 0, 0, 0, 9, 9))
    talk.resp_rst(at=_soon(pick, talk), ttl=pick.choice([58, 64]), ip_id=pick.randint(1, 65000), dscp=0, mac=own)
    return talk.orig_rst(bare=True) if pick.random() < 0.5 else talk.wait(0.2).resp(b"z" * 400).orig_rst(bare=True)


def firewall(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(60, 300))
    ttl = 58 + pick.choice([1, 2, 3, 4, 5])
    talk.resp_rst(ttl=ttl, options=b"", dscp=0, ip_id=pick.choice([0, pick.randint(1, 65000)]))
    return talk.wait(0.0003).orig_rst(ttl=64 - pick.randint(1, 3), options=b"")


def nat(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(351, 900))
    talk.orig(b"x" * 80)
    return talk.resp_rst(at=_soon(pick, talk), ttl=58 + pick.choice([3, 4, 5]), dscp=0, bare=pick.random() < 0.5)


def copier(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(0.5, 90))
    talk.orig(b"x" * 80)
    copied = talk.client.ip_id
    ttl = 58 + pick.choice([0, 3, 5])
    return talk.resp_rst(at=_soon(pick, talk), ttl=ttl, ip_id=copied, dscp=talk.client.dscp, options=b"")


def quiet_box(pick: random.Random, talk: Talk) -> Talk:
    _later(talk, pick.uniform(60, 900))
    return talk.resp_rst()


BOXES: dict[str, Make] = {
    "injector": injector, "sensor": sensor, "firewall": firewall, "NAT": nat, "copier": copier, "quiet box": quiet_box,
}  # fmt: skip


def _after(seconds: float, end: Callable[[Talk], Talk]) -> Make:
    def make(pick: random.Random, talk: Talk) -> Talk:
        _later(talk, pick.uniform(0.3, 1) * seconds)
        return end(talk)

    return make


HOSTS: dict[str, Make] = {
    "aborts": _after(2, lambda t: t.orig_rst()),
    "resets after a silence": _after(300, lambda t: t.resp_rst()),
    "closed socket": _after(300, lambda t: t.orig(b"x" * 80).resp_rst(bare=True, ip_id=0, dscp=t.client.dscp)),
    "closed socket that counts": _after(
        300, lambda t: t.orig(b"x" * 80).resp_rst(bare=True, ip_id=t.server.ip_id ^ 0x8000, dscp=t.client.dscp)
    ),
    "router that took over": _after(60, lambda t: t.resp_rst(mac=bytes((2, 0, 0, 0, 9, 9)))),
    "DSCP written on the way": _after(60, lambda t: t.resp_rst(dscp=8)),
    "busy counter of IP-IDs": _after(300, lambda t: t.resp_rst(ip_id=(t.server.ip_id + 30_000) & 0xFFFF)),
    "closed socket, several segments": _after(
        300, lambda t: t.orig(b"x" * 6000).resp_rst(bare=True, ip_id=0).resp_rst(bare=True, ip_id=0)
    ),
    "unread data": _after(3, lambda t: t.orig(b"x" * 80).resp_ack().resp_rst()),
    "after its own FIN": _after(
        3, lambda t: t.orig_fin().resp_ack().resp(b"y" * 99).orig_rst(bare=True).resp(b"z" * 99).orig_rst(bare=True)
    ),
    "resets with TTL 255": _after(30, lambda t: t.resp_rst(ttl=249)),
    "a hop more": _after(30, lambda t: t.resp_rst(ttl=57)),
    "no options in RSTs": _after(30, lambda t: t.resp_rst(options=b"")),
    "in answer to a FIN": _after(3, lambda t: t.resp_fin().orig_ack().orig_rst()),
    "both ends killed": _after(3, lambda t: t.resp_rst().orig_rst(bare=True)),
}


def scores(make: Make, connections: int, seed: int) -> list[float]:
    """Return the middlebox score of so many connections."""
    picks = [random.Random(f"{seed} {k}") for k in range(connections)]
    talks = [make(pick, used(pick, k)) for k, pick in enumerate(picks)]
    return [row["middlebox_score"] or 0.0 for row in run(merge(*talks)).rows("closes")]


def measure(connections: int, seed: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the scores by kind of box, and by kind of host."""
    boxes = {name: scores(make, connections, seed) for name, make in BOXES.items()}
    return boxes, {name: scores(make, connections, seed) for name, make in HOSTS.items()}


def _share(values: list[float], least: float) -> float:
    return sum(value >= least - 1e-9 for value in values) / len(values)


def lines(connections: int = 100, seed: int = 1) -> list[str]:
    """Return the report."""
    boxes, hosts = measure(connections, seed)
    out = [f"{'':34} possible  suspected   ({connections} connections of each kind)"]
    for title, kinds in (("resets of boxes", boxes), ("resets of hosts", hosts)):
        out.append(title)
        out += [
            f"  {name:32} {_share(found, POSSIBLE):8.1%}  {_share(found, SUSPECTED):9.1%}"
            for name, found in kinds.items()
        ]
    for word, least in (("possible", POSSIBLE), ("suspected", SUSPECTED)):
        true = sum(_share(found, least) for found in boxes.values())
        false = sum(_share(found, least) for found in hosts.values())
        seen = len(boxes) - ("quiet box" in boxes)  # nothing of the quiet one can be seen
        out.append(
            f"{word} (score {least} and more): recall {true / len(boxes):.1%} ({true / seen:.1%} of those that show "
            f"anything), precision {true / max(true + false, 1e-9):.1%}"
        )
    return out


if __name__ == "__main__":
    print("\n".join(lines(*(int(word) for word in sys.argv[1:3]))))
