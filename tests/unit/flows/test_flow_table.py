"""Which segments are one flow, who is its client, and what becomes of flows when there are too many."""

from __future__ import annotations

import ipaddress
import itertools
import struct
from collections import Counter

import pytest

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.flows import table, tracker
from analyzer.flows.tracker import FlowTracker
from analyzer.settings import Settings
from tests.property.harness import batches, run
from tests.talk import Packet, Talk, merge

MB = bytes((2, 0, 0, 0, 0, 2)) + bytes((2, 0, 0, 0, 0, 1))


def used(**make: object) -> Talk:
    return Talk(**make).handshake().orig(b"request", at="1s").resp(b"response").orig_ack()  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ identity
def test_flows_are_numbered_by_first_segment() -> None:
    talks = [Talk(("10.0.0.1", 40000 + k), t0=100 - k).handshake() for k in range(5)]
    result = run(merge(*talks))
    assert [row["client_port"] for row in result.rows("flows")] == [40004, 40003, 40002, 40001, 40000]


def test_an_ipv4_address_is_not_the_ipv6_address_of_the_same_bits() -> None:
    four, six = Talk(("10.0.0.1", 1), ("10.0.0.2", 2)), Talk(("::ffff:10.0.0.1", 1), ("::ffff:10.0.0.2", 2))
    result = run(merge(four.handshake(), six.handshake()))
    assert [row["ip_version"] for row in result.rows("flows")] == [4, 6]


def test_a_connection_to_itself() -> None:
    """Both ends on one address: the ports tell the directions apart."""
    result = run(Talk(("127.0.0.1", 40000), ("127.0.0.1", 80)).handshake().orig(b"x").resp_ack())
    assert (result.flow["frames_c"], result.flow["frames_s"]) == (3, 2)


def test_silence_does_not_end_a_flow() -> None:
    talk = used().orig(b"again", at=90_000).resp_ack()
    assert run(talk).kinds == ["open_active"]


def test_a_new_connection_on_the_same_ports() -> None:
    """The end of the first is not in the capture."""
    result = run(merge(used(), Talk(isn=(9, 9)).handshake(at="30s").orig(b"abc").resp_ack()))
    first, second = result.rows("flows")
    assert result.kinds == ["implicit_port_reuse", "open_active"]
    assert (first["payload_bytes_c"], second["payload_bytes_c"]) == (7, 3)
    assert first["community_id"] == second["community_id"]


def test_a_new_connection_after_an_orderly_end() -> None:
    result = run(merge(used().orig_fin().resp_fin().orig_ack(), Talk(isn=(9, 9)).handshake(at="30s")))
    assert result.kinds == ["fin_client_first", "open_active"]


def test_a_new_connection_opened_by_the_other_side() -> None:
    back = Talk(("10.0.0.2", 80), ("10.0.0.1", 40000), isn=(9, 9)).handshake(at="30s")
    first, second = run(merge(used(), back)).rows("flows")
    assert (first["client_port"], second["client_port"]) == (40000, 80)


def test_a_syn_again_opens_nothing() -> None:
    assert len(run(Talk().syn().syn(at="1s").syn_ack().ack()).kinds) == 1


def test_many_connections_on_the_same_ports() -> None:
    talks = [Talk(isn=(1000 * k, 2000 * k), t0=100 + k).handshake().orig(b"x" * k) for k in range(1, 8)]
    result = run(merge(*talks))
    assert [row["payload_bytes_c"] for row in result.rows("flows")] == list(range(1, 8))
    assert result.kinds == ["implicit_port_reuse"] * 6 + ["open_active"]


def test_a_syn_ack_with_another_number_is_followed() -> None:
    """The server forgot the first one (SYN cookies, a proxy): the client goes on with the second."""
    talk = Talk().syn().syn_ack(lost=True)
    talk.server.isn += 500_000
    talk.syn_ack(at="1s").ack().orig(b"abc").resp(b"defg").orig_ack()
    result = run(talk)
    assert (result.flow["payload_bytes_c"], result.flow["payload_bytes_s"]) == (3, 4)
    assert (result.flow["missing_bytes_s"], result.labels[-1]) == (0, "")


def test_both_sides_open_at_once() -> None:
    """RFC 9293 section 3.5, figure 7."""
    talk = Talk().syn()
    talk.resp_ack(flags="S", seq=0, ack=0, options=b"").orig_ack(flags="SA", seq=0, ack=1).resp_ack(ack=1)
    result = run(talk)
    assert len(result.kinds) == 1
    assert result.flow["role_source"] == "syn"


# ------------------------------------------------------------------------------------------------ roles
def test_the_client_sent_the_syn() -> None:
    result = run(Talk(("10.0.0.1", 80), ("10.0.0.2", 50000)).handshake())
    assert (result.flow["client_port"], result.flow["role_source"]) == (80, "syn")


def test_the_server_sent_the_syn_ack() -> None:
    result = run(used().packets[1:])
    assert (result.flow["client_port"], result.flow["role_source"]) == (40000, "syn_ack")


@pytest.mark.parametrize(("first", "second", "client"), [(50000, 6379, 50000), (6379, 50000, 50000), (443, 8080, 8080)])
def test_without_a_handshake_the_port_tells(first: int, second: int, client: int) -> None:
    talk = Talk(("10.0.0.1", first), ("10.0.0.2", second)).handshake().orig(b"x").resp(b"y").orig_ack()
    flow = run(talk.packets[3:]).flow
    assert (flow["client_port"], flow["role_source"], flow["start_seen"]) == (client, "port", False)


def test_without_a_handshake_and_a_port_the_first_packet_tells() -> None:
    talk = Talk(("10.0.0.1", 50000), ("10.0.0.2", 50001)).handshake().resp(b"x").orig(b"y")
    flow = run(talk.packets[3:]).flow
    assert (flow["client_port"], flow["role_source"]) == (50001, "first_packet")


def test_roles_do_not_depend_on_who_speaks_first() -> None:
    flow = run(used().resp(b"push", at="9s").orig_ack().packets[6:]).flow
    assert (flow["client_port"], flow["payload_bytes_s"]) == (40000, 4)


# ------------------------------------------------------------------------------------------------ numbers
def test_sequence_numbers_wrap() -> None:
    near = Talk(isn=(2**32 - 10, 2**32 - 3)).handshake().orig(b"x" * 40, at="1s").resp(b"y" * 40).orig_ack()
    far = Talk(isn=(1000, 2000)).handshake().orig(b"x" * 40, at="1s").resp(b"y" * 40).orig_ack()
    one, other = run(near), run(far)
    assert [row["seq_rel"] for row in one.segments] == [row["seq_rel"] for row in other.segments]
    assert [row["ack_rel"] for row in one.segments] == [row["ack_rel"] for row in other.segments]
    assert one.segments[4]["ack"] == 31
    assert one.flow["payload_bytes_c"] == 40


def test_relative_numbers_go_on_past_four_gigabytes() -> None:
    """A stream longer than 2**32 bytes, most of it not captured: unwrapped to 64 bits all the same."""
    talk, step = Talk().handshake(), 10**9 - 1
    position = 1
    for k in range(6):
        talk.orig(b"x", seq=position, at=1 + k).resp_ack(ack=position + 1)
        position += step
        talk.client.snd_nxt = talk.server.rcv_nxt = position
    result = run(talk)
    assert max(row["seq_rel"] for row in result.segments) == 1 + 5 * step > 2**32
    assert result.flow["payload_bytes_c"] == 6


def test_a_stray_number_does_not_move_the_window() -> None:
    """One segment two gigabytes ahead is a stray one, not a hole of two gigabytes."""
    talk = used().orig(b"stray", seq=1 << 31, at="2s").orig(b"next", seq=8, at="3s").resp_ack(ack=12)
    result = run(talk)
    assert result.flow["missing_bytes_c"] == 0
    assert result.labels[7] == ""


def test_windows_are_scaled_by_their_senders_shift() -> None:
    talk = Talk(wscale=7).handshake(win=1000).orig(b"x", win=500)
    rows = run(talk).segments
    assert rows[0]["window"] == 1000, "the SYN's own window is never scaled (RFC 7323 section 2.2)"
    assert rows[3]["window"] == 500 << 7


def test_windows_without_the_option_are_as_on_the_wire() -> None:
    assert run(Talk(wscale=None).handshake().orig(b"x", win=500)).segments[3]["window"] == 500


def test_options_that_were_not_offered_are_null() -> None:
    flow = run(Talk().syn(options=b"").syn_ack(options=b"").ack()).flow
    assert [flow[name] for name in ("mss_c", "mss_s", "wscale_c", "wscale_s")] == [None] * 4


def test_options_are_null_without_a_handshake() -> None:
    flow = run(used().packets[3:]).flow
    assert [flow[name] for name in ("mss_c", "mss_s", "wscale_c", "wscale_s")] == [None] * 4


def test_windows_are_scaled_only_if_both_sides_offered_it() -> None:
    talk = Talk(wscale=7).syn().syn_ack(options=b"").ack().orig(b"x", win=500)
    assert run(talk).segments[3]["window"] == 500


def test_a_shift_beyond_fourteen_is_fourteen() -> None:
    """RFC 7323 section 2.3."""
    talk = Talk(wscale=15).handshake().orig(b"x", win=1)
    assert run(talk).segments[3]["window"] == 1 << 14


# ------------------------------------------------------------------------------------------------ round trips
@pytest.mark.parametrize("capture", ["client", "middle", "server"])
def test_round_trips_cover_the_whole_path_wherever_it_was_captured(capture: str) -> None:
    talk = Talk(rtt="40ms", capture=capture).handshake()  # type: ignore[arg-type]
    for k in range(10):
        talk.orig(b"ping", at=1 + k).resp(b"pong").orig_ack()
    flow = run(talk).flow
    assert flow["handshake_rtt_s"] == pytest.approx(0.04, rel=0.01)
    for name in ("rtt_min_s", "rtt_p50_s", "rtt_p95_s"):
        assert flow[name] == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("rtt", ["20.000099ms", "1.999999ms"])
def test_no_round_trip_is_shorter_than_the_shortest(rtt: str) -> None:
    """Samples are kept in tenths of a microsecond, rounded down; the shortest is kept as it is."""
    flow = run(Talk(rtt=rtt).handshake().orig(b"x", at="1s").resp(b"y").orig_ack()).flow
    assert flow["rtt_min_s"] <= flow["rtt_p50_s"] <= flow["rtt_p95_s"]


def test_a_retransmission_is_not_timed() -> None:
    """Karn's algorithm, RFC 6298 section 3."""
    talk = Talk(rtt="40ms").handshake().orig(b"x", at="1s", lost=True).orig_retransmit(at="3s").resp_ack()
    assert run(talk).flow["rtt_p95_s"] == pytest.approx(0.04, rel=0.01)


def test_quantiles_of_round_trips() -> None:
    talk = Talk().handshake()
    for k in range(1, 41):
        talk.orig(b"x", at=k).resp_ack(at=k + k / 100)
    flow = run(talk).flow
    assert flow["rtt_p50_s"] == pytest.approx(0.2, abs=0.02)
    assert flow["rtt_p95_s"] == pytest.approx(0.38, abs=0.02)


def test_no_round_trip_without_an_answer() -> None:
    flow = run(Talk().syn()).flow
    assert [flow[name] for name in ("handshake_rtt_s", "rtt_min_s", "rtt_p50_s", "rtt_p95_s")] == [None] * 4


# ------------------------------------------------------------------------------------------------ ICMP
def quote(packet: bytes, kind: int = 3, code: int = 3) -> bytes:
    """Return an ICMP (or ICMPv6) error from the server's host that quotes the packet."""
    inner = packet[14:]
    if inner[0] >> 4 == 4:
        body = struct.pack("!BBHI", kind, code, 0, 0) + inner[:28]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 60, 1, 0) + inner[16:20] + inner[12:16]
        return MB + b"\x08\x00" + head + body
    body = struct.pack("!BBHI", kind, code, 0, 0) + inner[:80]
    return MB + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(body), 58, 60) + inner[24:40] + inner[8:24] + body


def test_an_icmp_error_that_ends_a_flow() -> None:
    talk = used().orig(b"more", at="2s", lost=True)
    result = run(talk.frame(quote(talk.packets[-1][1], 3, 13)))
    assert result.kinds == ["icmp_abort"]
    assert result.close["evidence_frames"][-1] == 8


def test_an_icmp_error_for_a_syn() -> None:
    talk = Talk().syn()
    assert run(talk.frame(quote(talk.packets[0][1], 3, 3))).kinds == ["icmp_abort"]


def test_an_icmpv6_error() -> None:
    talk = Talk(ipv6=True).syn()
    assert run(talk.frame(quote(talk.packets[0][1], 1, 1))).kinds == ["icmp_abort"]


def test_an_icmp_error_after_which_the_flow_goes_on() -> None:
    talk = used()
    talk.frame(quote(talk.packets[3][1]), at="2s").orig(b"more", at="3s").resp_ack()
    assert run(talk).kinds == ["open_active"]


def test_a_soft_icmp_error_ends_nothing() -> None:
    """RFC 1122 section 4.2.3.9: fragmentation needed (3/4) and time exceeded (11) are not hard errors."""
    talk = used()
    talk.frame(quote(talk.packets[3][1], 3, 4), at="1.03s").frame(quote(talk.packets[3][1], 11, 0), at="1.04s")
    assert run(talk).kinds == ["open_active"]


def test_a_soft_icmp_error_does_not_take_back_a_hard_one() -> None:
    talk = used().orig(b"more", at="2s", lost=True)
    lost = talk.packets[-1][1]
    talk.frame(quote(lost, 3, 13)).frame(quote(lost, 11, 0))
    assert run(talk).kinds == ["icmp_abort"]


def test_an_icmp_error_that_quotes_a_foreign_sequence_number_ends_nothing() -> None:
    """RFC 5927 section 4.1: an off-path attacker does not know what is in flight."""
    forged = Talk(isn=(3_000_000_000, 1)).handshake().orig(b"x").packets[3][1]
    assert run(used().frame(quote(forged, 3, 3), at="1.03s")).kinds == ["open_active"]


def test_an_icmp_error_for_a_flow_never_seen() -> None:
    assert run([(0, quote(Talk().syn().packets[0][1]))]).kinds == []


# ------------------------------------------------------------------------------------------------ too many
def flood(n: int, t0: float = 10) -> list[Packet]:
    """Return `n` SYNs from as many hosts, one a millisecond."""
    first = int(ipaddress.ip_address("172.16.0.0"))
    hosts = (str(ipaddress.ip_address(first + k)) for k in range(n))
    return [Talk((host, 1024), ("10.0.0.2", 80), t0=t0 + k / 1000).syn().packets[0] for k, host in enumerate(hosts)]


def test_the_least_telling_flows_go_first() -> None:
    """Closed ones, then unanswered SYNs; the long idle connection is what longwire is for."""
    idle = Talk(("10.0.0.1", 1), t0=0).handshake().orig(b"long ago", at="1s").resp_ack()
    closed = Talk(("10.0.0.1", 2), t0=9).handshake().orig(b"x").resp_ack().orig_fin().resp_fin().orig_ack()
    young = Talk(("10.0.0.1", 3), t0=9.5).handshake().orig(b"x", at="0.4s").resp_ack()
    packets = merge(idle, closed, young, flood(60), idle.orig(b"still here", at="100s").resp_ack())
    last = sorted({id(p): p for p in packets}.values(), key=lambda p: p[0])
    result = run(last, cuts=range(0, len(last), 4), settings=Settings(max_flows=16))
    flows = result.rows("flows")
    assert result.anomalies["flow.evicted"] > 0
    assert len(flows) == 63, "nobody came twice"
    by_port = {row["client_port"]: row for row in flows if row["client_port"] < 10}
    assert by_port[1]["payload_bytes_c"] == 18, "the idle connection was kept in one piece"
    assert [by_port[port]["flow_end_reason"] for port in (1, 2, 3)] == [4, 5, 4]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_every_flow_has_its_rows_though_flows_are_given_up(size: int) -> None:
    packets = flood(200)
    result = run(packets, cuts=range(0, 200, size), settings=Settings(max_flows=16))
    assert [row["flow_id"] for row in result.rows("flows")] == list(range(200))
    assert [row["flow_id"] for row in result.rows("closes")] == list(range(200))
    evicted = result.anomalies.get("flow.evicted", 0)
    assert evicted == sum(row["flow_end_reason"] == 5 for row in result.rows("flows"))
    assert evicted >= 200 - 16 - size


def test_a_flow_that_was_given_up_goes_on_as_another() -> None:
    talk = used(t0=0)
    packets = merge(talk, flood(60, t0=2), talk.orig(b"late", at="90s").resp_ack())
    packets = sorted({id(p): p for p in packets}.values(), key=lambda p: p[0])
    assert len(run(packets, cuts=range(len(packets)), settings=Settings(max_flows=8)).kinds) >= 61


def test_rows_of_a_flow_that_was_given_up_are_kept() -> None:
    talk = Talk(t0=0).handshake().orig(b"x", at="1s").resp_ack()
    for second in (61, 121):
        talk.orig_probe(at=second).resp_ack()
    talk.orig(b"y", at="130s").resp_ack().orig_fin(at="131s").resp_fin().orig_ack()
    result = run([*talk.packets, *flood(80, t0=140)], cuts=range(100), settings=Settings(max_flows=8))
    assert (len(result.probes), [row["fill_count"] for row in result.gaps]) == (2, [2, 0])
    assert result.rows("closes")[0]["close_kind"] == "fin_client_first"


def test_slots_are_used_again_without_memory_of_the_flow_before() -> None:
    """The same trace after a thousand others gives the same rows."""
    trace = used(t0=50).orig_probe(at="61s").resp_ack().resp_fin().orig_fin().resp_ack()
    many = [*flood(300, t0=10), *trace.packets]
    alone, later = run(trace), run(many, range(0, 400, 5), settings=Settings(max_flows=8))
    last = later.rows("flows")[-1]
    assert {k: v for k, v in last.items() if k != "flow_id"} == {k: v for k, v in alone.flow.items() if k != "flow_id"}


def test_a_batch_may_open_more_flows_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them says anything, so nobody but the tracker has heard of them when they end."""
    monkeypatch.setattr(tracker, "_BATCH_FLOWS", 4)
    assert len(run(flood(300), settings=Settings(max_flows=16)).rows("flows")) == 300


# ------------------------------------------------------------------------------------------------ addresses
def spread(pairs: list[tuple[str, int, str, int]]) -> int:
    """Return how many of these pairs at most share one of 4096 places of the hash table."""
    limits = FlowTracker(Settings()).limits[0]
    places: Counter[int] = Counter()
    for host, port, other, other_port in pairs:
        (a_hi, a_lo), (b_hi, b_lo) = halves(host), halves(other)
        secrets = limits["secret_a"].item(), limits["secret_b"].item()
        pair = table._pair_hash(a_hi, a_lo, port, b_hi, b_lo, other_port, *secrets)
        assert pair == table._pair_hash(b_hi, b_lo, other_port, a_hi, a_lo, port, *secrets)
        places[table._slot_of(pair, secrets[1], 4095)] += 1
    return max(places.values())


def halves(host: str) -> tuple[int, int]:
    address = ipaddress.ip_address(host)
    number = int(address) + (0xFFFF << 32 if address.version == 4 else 0)
    high, low = struct.unpack(">qq", number.to_bytes(16, "big"))
    return high, low


def test_no_addresses_and_ports_collide_whatever_the_secrets() -> None:
    """Sums of what is hashed are the same in each of these families; 1,000 of them over 4,096 places."""
    same_sum = [("10.0.0.1", 1 + k, "10.0.0.2", 60000 - k) for k in range(1000)]
    with_address = [(f"10.0.{k >> 8}.{k & 255}", 40000 - k, "10.9.0.2", 80) for k in range(1000)]
    words = ["0:0", "7fff:ffff", "ffff:fffe"]
    beyond = [(":".join(w), 5, "2001:db8::1", 6) for w in itertools.product(words, repeat=4)]
    beyond = [(a, p, ":".join(w), q) for a, p, _, q in beyond for w in list(itertools.product(words, repeat=4))[:12]]
    upper = [(f"::{k:x}:0:0:1", 5, f"::{k + 5:x}:0:0:1", 6) for k in range(1000)]
    assert [spread(family) < 20 for family in (same_sum, with_address, beyond, upper)] == [True] * 4


# ------------------------------------------------------------------------------------------------ the clock
@pytest.mark.parametrize("cuts", [[], range(1, 40)])
def test_one_frame_with_a_wrong_clock_ends_no_capture(cuts: range) -> None:
    """Nor does it make another connection of what comes after it."""
    open_one = used(t0=100)
    closed = Talk(("10.0.0.7", 9), t0=100).handshake(at="1s").orig_fin().resp_fin().orig_ack().resp_ack(at="9s")
    packets = merge(open_one, closed, Talk(("10.0.0.8", 9), t0=100).syn(at="40s"))
    wrong = (4_102_444_800 * 10**9, Talk(("10.0.0.9", 9)).syn().packets[0][1])
    result = run([*packets[:10], wrong, *packets[10:]], cuts=cuts)
    assert len(result.rows("flows")) == 4
    by_port = {row["client_port"]: row["flow_id"] for row in result.rows("flows")}
    gaps = {row["flow_id"]: row["duration_s"] for row in result.rows("idle_gaps")}
    assert gaps[by_port[40000]] == pytest.approx(39, abs=0.1)


def test_a_second_packet_confirms_a_leap() -> None:
    a_year = 365 * 86400.0
    talk = used(t0=100).orig(b"still here", at=a_year).resp(b"yes").orig_ack()
    (gap,) = run(merge(talk, Talk(("10.0.0.8", 9), t0=100 + a_year).syn(at="50s"))).rows("idle_gaps")[:1]
    assert gap["duration_s"] == pytest.approx(a_year, abs=2)


# ------------------------------------------------------------------------------------------------ closed and quiet
@pytest.mark.parametrize("cuts", [[], range(1, 40)])
def test_what_comes_long_after_both_fins_is_another_connection(cuts: range) -> None:
    """The port pair is free again (TIME-WAIT), and the next one's SYN may not have been captured."""
    talk = used(t0=0).orig_fin().resp_fin().orig_ack()
    late, too_late = talk.resp(b"late", at="50s"), 500
    packets = [*late.packets, *Talk(t0=0).resp(b"another", at=too_late).packets]
    flows = run(packets, cuts=cuts).rows("flows")
    assert [row["frames_s"] for row in flows] == [4, 1]


@pytest.mark.parametrize("cuts", [[], range(1, 40)])
def test_a_reset_connection_is_never_over_in_a_file(cuts: range) -> None:
    """A RST may be lost: then the other side goes on hours later."""
    talk = used(t0=0).resp_rst().orig(b"still here", at="9000s")
    assert len(run(talk, cuts=cuts).rows("flows")) == 1


def test_an_icmp_error_about_what_is_over_is_nobodys() -> None:
    """It may have been handed over already, or not: that must not matter."""
    talk = used(t0=0).orig_fin().resp_fin().orig_ack()
    error = quote(talk.packets[-1][1], 3, 3)
    for at, counted in (("50s", 1), ("400s", 0)):
        engine = Engine(Settings(), Ledger())
        clock = Talk(("10.0.0.9", 9), t0=0).syn(at=at).frame(error)
        for batch in batches([*talk.packets, *clock.packets]):
            list(engine.feed(batch))
        assert engine.tracker.flows["icmp_count"][0] == counted


def test_a_fin_that_is_sent_again_and_again_is_of_the_connection_it_ends() -> None:
    """Its ACK is lost behind the capture point, and Linux waits up to two minutes before it sends the FIN again."""
    talk, at, wait = Talk().handshake().orig_fin(at="1s").resp_fin().orig_ack(), 1.0, 0.4
    for _ in range(10):
        at += wait
        wait = min(2 * wait, 120)
        talk.resp_retransmit(at=at).orig_ack()
    others = Talk(("10.0.0.3", 5)).handshake()
    for k in range(40):
        others.orig(b"tick", at=10 * k).resp_ack()
    packets = merge(talk, others)
    result = run(packets)
    assert result.kinds[0] == "fin_client_first" and result.rows("closes")[0]["fin_s"] == 11
    assert len(result.kinds) == 2
    assert run(packets, range(0, len(packets), 3)).fingerprints() == result.fingerprints()


def test_closed_connections_of_a_file_leave_memory_when_they_are_over() -> None:
    """An hour of ten connections a second: memory holds the last minutes, not the hour."""
    engine = Engine(Settings(), Ledger())
    most = rows = 0
    for minute in range(60):
        talks = [
            Talk((f"10.1.{k // 250}.{k % 250 + 1}", 1000 + minute), t0=60.0 * minute + k / 10)
            .handshake().orig_fin().resp_fin().orig_ack()
            for k in range(600)
        ]  # fmt: skip
        for batch in batches(merge(*talks)):
            rows += sum(table.num_rows for name, table in engine.feed(batch) if name == "flows")
        most = max(most, engine.tracker.live)
    rows += sum(table.num_rows for name, table in engine.finish() if name == "flows")
    assert rows == 36_000
    assert most < 2_500  # the last minute, and 1,024 that wait to be judged together
