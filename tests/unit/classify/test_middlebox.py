"""Definition B6: resets that do not come from whom they name, and the many odd ones that do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analyzer import analyze
from analyzer.classify.middlebox import POSSIBLE, SUSPECTED, WEIGHTS
from tests.calibration.resets import BOXES, HOSTS, scores
from tests.property.harness import run
from tests.talk import Packet, Talk, write_pcap

Row = dict[str, Any]


def used(**make: Any) -> Talk:
    talk = Talk(rtt="40ms", capture="client", **make).handshake()
    for at in (1, 2, 3):
        talk.orig(b"request", at=at).resp(b"response").orig_ack()
    return talk


def close(talk: Talk | list[Packet]) -> Row:
    return run(talk).close


def clues(talk: Talk) -> set[str]:
    return set((close(talk)["middlebox_clues"] or "").split(",")) - {""}


# ------------------------------------------------------------------------------------------------ one clue each
def test_another_ttl() -> None:
    assert clues(used().resp_rst(at=10, ttl=61)) == {"ttl_differs"}
    assert clues(used().resp_rst(at=10, ttl=60)) == {"ttl_differs"}  # by two, of a direction that never varied


def test_a_hop_more_is_the_network() -> None:
    assert clues(used().resp_rst(at=10, ttl=57)) == set()


@pytest.mark.parametrize(("hops", "ttl", "odd"), [(1, 64, True), (2, 64, True), (1, 63, False), (0, 64, False)])
def test_a_ttl_that_a_neighbour_set(hops: int, ttl: int, odd: bool) -> None:
    """A NAT or firewall next to the capture answers in the name of a server behind it."""
    talk = Talk(rtt="40ms", capture="client")
    talk.server.ttl = 64 - hops
    talk.handshake().orig(b"request", at=1).resp(b"response").orig_ack()
    assert clues(talk.resp_rst(at=10, ttl=ttl)) == ({"ttl_differs"} if odd else set())


@pytest.mark.parametrize("ttl", [122, 249])
def test_another_initial_ttl_over_the_same_hops_is_the_same_host(ttl: int) -> None:
    assert clues(used().resp_rst(at=10, ttl=ttl)) == set()


def test_its_sender_lives_on() -> None:
    talk = used().resp_rst(at=10).resp(b"more", at=10.01).orig_rst(bare=True)
    assert "lives_on" in clues(talk)


def test_what_was_under_way_is_no_life() -> None:
    """A segment older than the RST that arrives after it."""
    talk = used()
    late = talk.server.tsval + 3000
    talk.resp_rst(at=10).resp(b"late", at=10.001, tsval=late, ip_id=0x2001)
    assert "lives_on" not in clues(talk)


def test_faster_than_the_host_can_be() -> None:
    assert clues(used().orig(b"request", at=10).resp_rst(at=10.002)) == {"too_fast"}
    assert clues(used().orig(b"request", at=10).resp_rst(at=10.041)) == set()


def test_a_bare_reset_may_be_too_fast_as_well() -> None:
    """NATs and firewalls that have forgotten a connection send those."""
    assert clues(used().orig(b"request", at=10).resp_rst(bare=True, at=10.002)) == {"too_fast"}
    assert clues(used().orig(b"request", at=10).resp_rst(bare=True, at=10.041)) == set()
    # it answers the first of these two, a round trip before
    assert clues(used().orig(b"request", at=10).orig(b"more", at=10.03).resp_rst(bare=True, at=10.041)) == set()


def test_an_ip_id_of_the_other_direction() -> None:
    talk = used().orig(b"request", at=10)
    assert clues(talk.resp_rst(at=10.041, ip_id=talk.client.ip_id)) == {"ip_id_copied"}


def test_an_ip_id_where_there_never_was_one() -> None:
    talk = Talk(rtt="40ms").handshake()
    talk.packets.clear()
    for at in (1, 2, 3, 4, 5):
        talk.orig(b"request", at=at).resp(b"response", ip_id=0).orig_ack()
    assert clues(talk.resp_rst(at=10, ip_id=4711)) == {"ip_id_not_zero"}


ELSEWHERE = bytes((2, 0, 0, 0, 7, 7))


@pytest.mark.parametrize("ipv6", [False, True])
def test_another_link(ipv6: bool) -> None:
    assert clues(used(ipv6=ipv6).resp_rst(at=10, mac=ELSEWHERE)) == {"link_differs"}


def test_links_that_differ_anyway() -> None:
    """Two routers share the load, or one takes over before the RST comes."""
    assert clues(used().resp(b"more", at=9, mac=ELSEWHERE).resp_rst(at=10)) == set()
    assert clues(used().resp(b"more", at=9, mac=ELSEWHERE).resp_rst(at=10, mac=ELSEWHERE)) == set()
    few = Talk(rtt="40ms").handshake().orig(b"x").resp(b"y").orig_ack()
    assert "link_differs" not in clues(few.resp_rst(at=10, mac=ELSEWHERE))  # two frames are no habit


def test_the_next_file_of_a_ring_is_no_other_link(tmp_path: Path) -> None:
    """Each file numbers its interfaces anew: a RST in the second file came over the same one."""
    packets = list(used().resp_rst(at=10).packets)
    for cut in (3, len(packets) - 1):
        files = [tmp_path / f"ring-{cut}-{number}.pcap" for number in (1, 2)]
        files[0].write_bytes(write_pcap(packets[:cut]))
        files[1].write_bytes(write_pcap(packets[cut:]))
        assert analyze(files).closes["middlebox_clues"].isna().all()


@pytest.mark.parametrize("ipv6", [False, True])
def test_another_dscp(ipv6: bool) -> None:
    assert clues(used(ipv6=ipv6).resp_rst(at=10, dscp=46)) == {"dscp_differs"}
    assert clues(used(ipv6=ipv6).resp_rst(at=10, dscp=0)) == set()


def test_a_dscp_that_is_no_clue() -> None:
    """It is that of the packet which is answered, or it changed before."""
    assert clues(used().orig(b"late", at=10, dscp=10).resp_rst(at=10.041, dscp=10, bare=True)) == set()
    assert clues(used().resp(b"login", at=9, dscp=18).resp_rst(at=10, dscp=46)) == set()


def test_an_ip_id_off_the_count() -> None:
    assert clues(used().resp_rst(at=10, ip_id=0xC000)) == {"ip_id_off_count"}
    assert clues(used().resp_rst(at=10, ip_id=1)) == {"ip_id_off_count"}
    assert clues(used().resp_rst(at=10, ip_id=0)) == set()
    assert clues(used().orig(b"x", at=10).resp_rst(at=10.041, ip_id=1, bare=True)) == set()  # a kernel without a socket
    assert clues(used().resp_rst(at=10, ip_id=0x2200)) == set()  # other connections use the same counter


def test_ip_ids_that_do_not_count() -> None:
    talk = Talk(rtt="40ms").handshake()
    for at, ip_id in enumerate((700, 52_000, 9_000, 31_000), 1):
        talk.orig(b"request", at=at).resp(b"response", ip_id=ip_id).orig_ack()
    assert clues(talk.resp_rst(at=10, ip_id=4711)) == set()
    assert clues(used(ipv6=True).resp_rst(at=10)) == set()  # there is none


def test_a_count_that_wraps() -> None:
    talk = Talk(rtt="40ms").handshake()
    for at, ip_id in enumerate((65533, 65534, 65535, 1), 1):
        talk.orig(b"request", at=at).resp(b"response", ip_id=ip_id).orig_ack()
    assert clues(talk.resp_rst(at=10, ip_id=2)) == set()


def test_resets_that_were_not_believed_are_no_habit() -> None:
    talk = used()
    for k in range(3):
        talk.resp_rst(at=10 + k / 1000, mac=ELSEWHERE, dscp=46, ip_id=100 + k)
    talk.orig(b"goes on", at=12).orig(b"goes on", at=13)
    assert clues(talk.resp_rst(at=13.041)) == set()


def test_no_timestamp_though_alive() -> None:
    assert clues(used().resp_rst(at=10, options=b"")) == {"no_timestamp"}
    assert clues(used(timestamps=False).resp_rst(at=10)) == set()
    assert clues(used().orig(b"request", at=10).resp_rst(at=10.041, bare=True)) == set()


def test_steps_to_hit_a_moving_window() -> None:
    talk = used()
    first = talk.server.snd_nxt
    for k in range(3):
        talk.resp_rst(at=10 + k / 1000, seq=first + 1460 * k)
    assert "stepping" in clues(talk)


def test_numbers_that_cannot_be() -> None:
    assert "ack_zero" in clues(used().resp_rst(at=10, ack=-1_000_000))
    assert "out_of_window" in clues(used().resp_rst(at=10, seq=1))
    assert "out_of_window" in clues(used().resp_rst(at=10, seq=5_000_000))


def test_both_at_once() -> None:
    assert clues(used().resp_rst(at=10).orig_rst(at=10.0005)) == {"both_directions"}
    assert clues(used().resp_rst(at=10).orig_rst(at=10.5)) == set()


# ------------------------------------------------------------------------------------------------ verdicts
def test_several_clues_make_a_suspicion() -> None:
    row = close(used().resp_rst(at=10, ttl=61, options=b""))
    assert row["close_kind"] == "rst_on_idle"
    assert row["middlebox_score"] == pytest.approx(1 - 0.65 * 0.85)
    row = close(used().resp_rst(at=10, ttl=61, options=b"", ip_id=5).orig_rst(at=10.0002, ttl=61))
    assert row["close_kind"] == "rst_injected_suspected"
    assert row["middlebox_score"] == pytest.approx(1 - 0.65 * 0.85 * 0.85 * 0.65)
    talk = used().orig(b"request", at=10)
    row = close(talk.resp_rst(at=10.002, ttl=61, options=b"").resp(b"response", at=10.042, ttl=58).orig_rst(bare=True))
    assert (row["close_kind"], row["initiator"]) == ("rst_injected_suspected", "middlebox")
    assert row["close_kind_base"] in ("rst_unread_data", "rst_abort", "rst_to_data_stale")
    assert row["confidence"] == row["middlebox_score"] > 0.8
    assert row["basis"] == "inferred"
    assert "in the name of the server" in row["explanation"] and "ttl differs" in row["explanation"]


def test_one_clue_is_not_enough() -> None:
    row = close(used().resp_rst(at=10, ttl=61))
    assert row["close_kind"] == row["close_kind_base"] == "rst_on_idle"
    assert row["middlebox_score"] == pytest.approx(0.35)
    assert all(weight < SUSPECTED for weight in WEIGHTS.values())


def test_no_score_without_a_reset() -> None:
    row = close(used().orig_fin(at=4).resp_fin().orig_ack())
    assert (row["middlebox_score"], row["middlebox_clues"]) == (None, None)


SHOWN = {"injector": 0.9, "firewall": 0.5, "NAT": 0.4, "copier": 0.6}
"""Least share of each box's resets that is suspected; of the quiet one nothing can be seen."""


@pytest.mark.parametrize("box", BOXES)
def test_boxes_of_all_kinds(box: str) -> None:
    """`python -m tests.calibration.resets` reports the same with more connections."""
    found = scores(BOXES[box], 25, 7)
    assert sum(score >= SUSPECTED for score in found) >= SHOWN.get(box, 0) * 25


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_is_taken_for_a_box(host: str) -> None:
    assert max(scores(HOSTS[host], 25, 7)) < POSSIBLE


HONEST = {
    "abort": lambda: used().orig_rst(at=3.5),
    "idle": lambda: used().resp_rst(at=70),
    "refused": lambda: Talk().syn().resp_rst(),
    "stale": lambda: used().orig(b"request", at=70).resp_rst(bare=True),
    "after its own FIN": lambda: used().orig_fin(at=4).resp_ack().resp(b"more", at=4.1).orig_rst(bare=True),
    "pipelined data to a closed socket": lambda: (
        used().orig(b"a" * 5000, at=70).resp_rst(bare=True).resp_rst(bare=True)
    ),
    "unread": lambda: used().orig(b"request", at=4).resp_ack().resp_rst(at=4.1),
    "ipv6": lambda: used(ipv6=True).resp_rst(at=70),
    "wrapping numbers": lambda: used(isn=(2**32 - 20, 2**32 - 30)).resp_rst(at=70),
    "no timestamps": lambda: used(timestamps=False).resp_rst(at=70),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_resets_have_no_clues(name: str) -> None:
    assert clues(HONEST[name]()) == set()
