"""What two points of a path saw of one connection: each kind of difference, and none where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analyzer import Comparison
from tests.talk import Talk, merge
from tests.twopoint import compared, rewritten, seen_twice, translated

pytestmark = pytest.mark.usefixtures("compiled")


def used(**how: Any) -> Talk:
    """Return a connection after one exchange: six frames."""
    return Talk(**how).handshake().orig(b"ask", at="1s").resp(b"answer").orig_ack()


def rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    table = comparison.arrow("differences").to_pylist()
    return [(row["code"], row["sent_by"], row["basis"]) for row in table]


def only(comparison: Comparison) -> dict[str, Any]:
    (row,) = comparison.arrow("differences").to_pylist()
    return dict(row)


def pair(comparison: Comparison) -> dict[str, Any]:
    (row,) = comparison.arrow("pairs").to_pylist()
    return dict(row)


# ------------------------------------------------------------------------------------------------ which is which
def test_what_crossed_shows_no_difference(tmp_path: Path) -> None:
    talk = used().orig_probe(at="61s").resp_ack().orig(b"more").resp_ack().orig_fin().resp_fin().orig_ack()
    same = compared(tmp_path, *seen_twice(talk))
    assert rows(same) == []
    row = pair(same)
    assert (row["near_client"], row["matched_by"], row["differences"]) == (1, "sequence", 0)
    assert row["clock_s"] == pytest.approx(3600)
    assert row["path_s"] == pytest.approx(0.01)
    assert (row["sent_bytes_c"], row["sent_bytes_s"], row["lost_bytes_c"], row["lost_bytes_s"]) == (7, 6, 0, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_the_files_changes_nothing_but_their_numbers(tmp_path: Path, turned: bool) -> None:
    talk = used().resp_rst(at="9s").orig(b"x", at="20s").resp_rst(bare=True)
    found = compared(tmp_path, *seen_twice(talk, not_here={7}), turned=turned)
    assert (pair(found)["near_client"], round(pair(found)["clock_s"])) == ((2, -3600) if turned else (1, 3600))
    row = only(found)
    assert (row["code"], row["sent_by"]) == ("rst_not_arrived", "server")
    assert (row["frames_1"], row["frames_2"]) == (([7], []) if turned else ([], [7]))


def test_a_nat_gives_another_address(tmp_path: Path) -> None:
    row = pair(compared(tmp_path, *seen_twice(used(), change=translated(61000))))
    assert (row["client"], row["client_2"], row["server_2"]) == ("10.0.0.1:40000", "192.0.2.1:61000", None)


def test_a_nat_and_captures_that_begin_in_the_middle(tmp_path: Path) -> None:
    here, there = seen_twice(used().orig(b"again", at="70s").resp_ack(), change=translated(61000))
    row = pair(compared(tmp_path, here[5:], there[3:]))
    assert (row["client_2"], row["matched_by"]) == ("192.0.2.1:61000", "sequence")


def test_sequence_numbers_are_rewritten(tmp_path: Path) -> None:
    talk = used().orig(b"lost", at="2s", lost=True).orig_retransmit().resp_ack()
    found = compared(tmp_path, *seen_twice(talk, not_there={7}, change=rewritten(987_654_321)))
    assert pair(found)["matched_by"] == "address"
    assert (only(found)["code"], only(found)["frames_1"]) == ("data_lost", [7])


def test_two_connections_behind_one_address(tmp_path: Path) -> None:
    one = used(client=("10.0.0.1", 40000))
    two = used(client=("10.0.0.3", 40000), isn=(77_000_000, 88_000_000), t0=1_700_000_000.5)
    here = merge(one, two)
    there = merge(seen_twice(one, change=translated(1025))[1], seen_twice(two, change=translated(1024))[1])
    table = compared(tmp_path, here, there).arrow("pairs").to_pylist()
    assert {(row["client"], row["client_2"]) for row in table} == {
        ("10.0.0.1:40000", "192.0.2.1:1025"),
        ("10.0.0.3:40000", "192.0.2.1:1024"),
    }


def test_a_proxy_ends_a_connection(tmp_path: Path) -> None:
    behind = Talk(client=("10.0.9.9", 50000), isn=(5, 6)).handshake().orig(b"ask", at="1s").resp(b"answer")
    found = compared(tmp_path, used().packets, behind.packets)
    assert (len(found.pairs), len(found.differences), found.unpaired) == (0, 0, (1, 1))


# ------------------------------------------------------------------------------------------------ resets and FINs
def test_a_reset_that_nobody_sent(tmp_path: Path) -> None:
    """Each end gets a RST in the other's name: a firewall's doing."""
    talk = used().resp_rst(at="9s").orig_rst(at="9s")
    found = compared(
        tmp_path, *seen_twice(merge(talk, used(client=("10.0.0.7", 1), t0=1_700_000_020)), not_there={7}, not_here={8})
    )
    assert rows(found) == [("rst_not_sent", "server", "observed"), ("rst_not_sent", "client", "observed")]
    first, second = found.arrow("differences").to_pylist()
    assert (first["frames_1"], first["frames_2"]) == ([7], [])
    assert (second["frames_1"], second["frames_2"]) == ([], [7])


def test_a_reset_after_the_other_capture_ended_is_doubtful(tmp_path: Path) -> None:
    found = compared(tmp_path, *seen_twice(used().resp_rst(at="9s"), not_there={7}))
    assert rows(found) == [("rst_not_sent", "server", "inferred")]
    assert "unless server.pcap was not being captured then" in only(found)["explanation"]


def test_an_own_reset_does_not_stand_for_another(tmp_path: Path) -> None:
    """The server's host answers late data with a RST of its own; the first was made on the way."""
    talk = used().resp_rst(at="9s").orig(b"late", at="12s", lost=True).resp_rst(bare=True, seq=7)
    found = compared(tmp_path, *seen_twice(talk, not_there={7}))
    assert rows(found) == [("rst_not_sent", "server", "observed")]
    assert only(found)["frames_1"] == [7]


def test_a_fin_that_did_not_arrive(tmp_path: Path) -> None:
    talk = used().resp_fin(at="5s", lost=True).resp_retransmit(at="6s", lost=True).orig(b"x", at="9s").resp_rst()
    found = compared(tmp_path, *seen_twice(talk, not_here={7, 8}))
    assert rows(found) == [("fin_not_arrived", "server", "observed")]
    assert only(found)["frames_2"] == [7, 8]


def test_a_fin_that_nobody_sent(tmp_path: Path) -> None:
    talk = used().resp_fin(at="5s").orig_ack().orig(b"x", at="9s").resp_rst()
    found = compared(tmp_path, *seen_twice(talk, not_there={7}))
    assert ("fin_not_sent", "server", "observed") in rows(found)


# ------------------------------------------------------------------------------------------------ silence, probes, data
def forgotten() -> Talk:
    """Return a connection that a NAT forgets: the client's last request and its repetitions get nowhere."""
    talk = used().orig(b"hello?", at="70s", lost=True)
    for at in (70.2, 70.6, 71.4, 73):
        talk.orig_retransmit(at=at, lost=True)
    return talk


def test_a_path_that_forgot(tmp_path: Path) -> None:
    here, there = seen_twice(forgotten(), not_there=set(range(7, 12)))
    row = only(compared(tmp_path, here, there))
    assert (row["code"], row["sent_by"], row["basis"], row["count"], row["bytes"]) == (
        "path_dead",
        "client",
        "inferred",
        5,
        30,
    )
    assert row["silence_s"] == pytest.approx(69, abs=0.1)
    assert row["frames_1"] == [7, 8, 9, 10, 11]
    assert "consistent with a NAT or firewall" in row["explanation"]


def test_a_path_is_certainly_dead_where_the_other_capture_goes_on(tmp_path: Path) -> None:
    here, there = seen_twice(
        merge(forgotten(), used(client=("10.0.0.7", 1), t0=1_700_000_080)), not_there=set(range(7, 12))
    )
    assert rows(compared(tmp_path, here, there)) == [("path_dead", "client", "observed")]


def test_answers_that_do_not_arrive(tmp_path: Path) -> None:
    """The way back is cut: probes arrive and are answered, and the client gives up."""
    talk = used()
    for at in (61, 62, 63):
        talk.orig_probe(at=at).resp_ack(lost=True)
    found = compared(tmp_path, *seen_twice(talk.orig_rst(at="64s"), not_here={8, 10, 12}))
    assert rows(found) == [("path_dead", "server", "observed")]
    assert only(found)["frames_2"] == [8, 10, 12]


def test_one_segment_at_the_end_is_no_dead_path(tmp_path: Path) -> None:
    assert rows(compared(tmp_path, *seen_twice(used().orig(b"x", at="2s"), not_there={7}))) == []


def test_probes_that_something_in_between_answers(tmp_path: Path) -> None:
    talk = used()
    for at in (61, 121, 181):
        talk.orig_probe(at=at).resp_ack()
    talk.orig(b"bye", at="200s").resp_ack()
    found = compared(tmp_path, *seen_twice(talk, not_there=set(range(7, 13))))
    assert rows(found) == [("probe_answered_between", "client", "observed")]
    assert (only(found)["count"], only(found)["frames_1"]) == (3, [7, 9, 11])


def test_a_probe_that_was_lost_is_answered_by_nobody(tmp_path: Path) -> None:
    talk = used().orig_probe(at="61s", lost=True).orig_probe(at="62s").resp_ack().orig(b"bye", at="70s").resp_ack()
    row = only(compared(tmp_path, *seen_twice(talk, not_there={7})))
    assert (row["code"], row["sent_by"], row["frames_1"]) == ("control_lost", "client", [7])


def test_a_syn_and_a_fin_that_were_sent_again(tmp_path: Path) -> None:
    talk = Talk().syn(lost=True).syn(at="1s").syn_ack().ack().orig(b"ask", at="2s").resp_ack()
    talk.resp_fin(at="5s", lost=True).resp_retransmit(at="5.3s").orig_ack().orig_fin().resp_ack()
    before = used(client=("10.0.0.9", 9), t0=1_699_999_990, isn=(3, 3)).packets
    found = compared(tmp_path, *seen_twice([*before, *talk.packets], not_there={7}, not_here={13}))
    table = found.arrow("differences").to_pylist()
    assert [(row["code"], row["sent_by"]) for row in table] == [("control_lost", "client"), ("control_lost", "server")]
    assert [(row["frames_1"], row["frames_2"]) for row in table] == [([7], []), ([], [12])]


def test_lost_data_names_the_copies_that_were_lost(tmp_path: Path) -> None:
    """The first copy arrives and its ACK is late; of three copies the second is lost."""
    talk = used().orig(b"data", at="2s").orig_retransmit(at="2.3s", lost=True).orig_retransmit(at="2.9s").resp_ack()
    row = only(compared(tmp_path, *seen_twice(talk, not_there={8})))
    assert (row["code"], row["bytes"], row["frames_1"], row["count"]) == ("data_lost", 4, [8], 1)


def test_segments_that_a_network_card_joins_are_no_loss(tmp_path: Path) -> None:
    here = used().orig(bytes(2896), at="2s").resp_ack()
    there = used().orig(bytes(2896), at="2s", whole=True).resp_ack()
    assert rows(compared(tmp_path, here.packets, seen_twice(there)[1])) == []
    assert rows(compared(tmp_path, there.packets, seen_twice(here)[1])) == []


def test_data_that_a_capture_missed_is_not_lost(tmp_path: Path) -> None:
    """The server acknowledges it at its own point: only the capture has it not."""
    talk = used().orig(b"12345", at="2s").resp_ack().orig(b"678", at="3s").resp_ack()
    row = only(compared(tmp_path, *seen_twice(talk, not_there={7})))
    assert (row["code"], row["sent_by"], row["bytes"]) == ("not_captured", "client", 5)


def test_options_that_change_on_the_way(tmp_path: Path) -> None:
    here = used(mss=1460).packets
    there = seen_twice(used(mss=1360, wscale=None))[1]
    row = only(compared(tmp_path, here, there))
    assert row["code"] == "options_changed"
    assert "MSS of the client 1460 and 1360" in row["explanation"]
    assert "window scale of the client 7 and none" in row["explanation"]


def test_a_syn_that_never_arrives(tmp_path: Path) -> None:
    """Other connections reach that server: this one is refused in silence by something on the way."""
    lost = Talk(client=("10.0.0.7", 1), t0=1_700_000_000.5, isn=(9, 9)).syn().syn(at="1s").syn(at="3s")
    later = used(client=("10.0.0.8", 2), t0=1_700_000_009, isn=(17, 17))
    here = merge(used(), lost, later)
    there = merge(seen_twice(used())[1], seen_twice(later)[1])
    row = only(compared(tmp_path, here, there))
    assert (row["code"], row["count"], row["flow_2"]) == ("syn_not_arrived", 3, None)


def test_what_left_before_the_other_capture_began_is_not_missing(tmp_path: Path) -> None:
    talk = used().orig(b"again", at="70s").resp_ack().orig_fin(at="71s").resp_fin().orig_ack()
    here, there = seen_twice(talk)
    assert rows(compared(tmp_path, here, there[4:])) == []
    assert rows(compared(tmp_path, here[4:], there)) == []


def test_sequence_numbers_that_wrap(tmp_path: Path) -> None:
    talk = used(isn=(2**32 - 3, 2**32 - 5)).orig(b"lost", at="2s", lost=True).orig_retransmit().resp_ack()
    row = only(compared(tmp_path, *seen_twice(talk, not_there={7})))
    assert (row["code"], row["frames_1"]) == ("data_lost", [7])
