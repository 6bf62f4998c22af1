"""Definition B7: silences of payload, whose turn it was, what filled them and what ended them."""

from __future__ import annotations

import pytest

from analyzer.flows import tracker
from analyzer.settings import Settings
from tests.property.harness import Row, Trace, run
from tests.talk import Talk, merge


def used() -> Talk:
    """Return a connection that has exchanged a request and a response by 1.02 s, everything acknowledged."""
    return Talk().handshake().orig(b"request", at="0.5s").resp(b"response").orig_ack()


def gaps(trace: Trace) -> list[Row]:
    return run(trace).gaps


def gap(talk: Talk) -> Row:
    (row,) = gaps(talk)
    return row


def test_think_time() -> None:
    row = gap(used().orig(b"next", at="30s").resp(b"ok").orig_ack())
    assert (row["class"], row["ended_by"]) == ("think_time", "data_client")
    assert (row["survived"], row["censored"]) == (True, False)
    assert row["duration_s"] == pytest.approx(29.48, abs=0.01)
    assert (row["start_frame"], row["end_frame"]) == (5, 7)
    assert (row["filled_by"], row["fill_count"]) == ("none", 0)


def test_server_wait() -> None:
    row = gap(used().orig(b"slow", at="1s").resp_ack().resp(b"ok", at="9s").orig_ack())
    assert (row["class"], row["ended_by"], row["survived"]) == ("server_wait", "data_server", True)


def test_the_first_silence_begins_with_the_handshake() -> None:
    row = gap(Talk().handshake().orig(b"x", at="5s").resp_ack())
    assert (row["class"], row["start_frame"], row["end_frame"]) == ("think_time", 3, 4)


def test_midstream_begins_with_payload() -> None:
    talk = used().orig_ack(at="20s").orig(b"x", at="30s").resp_ack()
    assert gaps(talk.packets[6:]) == []


def test_data_that_is_not_answered_proves_nothing() -> None:
    row = gap(used().orig(b"next", at="30s", lost=True))
    assert (row["ended_by"], row["survived"]) == ("data_client", False)


def test_data_answered_after_the_next_silence_survived() -> None:
    """Two sends two seconds apart, both lost at first, both acknowledged in the end."""
    talk = used().orig(b"a", at="30s", lost=True).orig(b"b", at="32s", lost=True)
    assert [row["survived"] for row in gaps(talk.orig_retransmit(2, at="32.3s").resp_ack())] == [True, True]


def test_each_silence_needs_its_own_answer() -> None:
    """The first loss is repaired, the second is not."""
    talk = used().orig(b"a", at="30s", lost=True).orig(b"b", at="32s", lost=True)
    assert [row["survived"] for row in gaps(talk.orig_retransmit(skip=1, at="32.3s").resp_ack())] == [True, False]


def test_data_answered_late_survived() -> None:
    talk = used().orig(b"next", at="30s", lost=True).orig_retransmit(at="30.3s").resp_ack()
    assert gap(talk)["survived"]


@pytest.mark.parametrize(
    ("close", "ended_by"),
    [("orig_fin", "fin_client"), ("resp_fin", "fin_server"), ("orig_rst", "rst_client"), ("resp_rst", "rst_server")],
)
def test_a_close_ends_a_silence(close: str, ended_by: str) -> None:
    row = gap(getattr(used(), close)(at="60s"))
    assert (row["ended_by"], row["survived"], row["censored"]) == (ended_by, False, False)


def test_the_end_of_the_capture_censors() -> None:
    row = run(merge(used(), Talk(("10.1.1.1", 1)).syn(at="60s"))).gaps[0]
    assert (row["class"], row["ended_by"], row["censored"], row["survived"]) == ("trailing", "capture_end", True, False)
    assert (row["duration_s"], row["end_frame"]) == (pytest.approx(59.48, abs=0.01), None)


def test_after_a_half_close() -> None:
    talk = used().orig_fin(at="1s").resp_ack().resp(b"late", at="5s").orig_ack().resp_fin().orig_ack()
    assert gap(talk)["class"] == "after_half_close"


def test_a_closed_connection_has_no_trailing_silence() -> None:
    talk = used().orig_fin().resp_fin().orig_ack()
    assert run(merge(talk, Talk(("10.1.1.1", 1)).syn(at="60s"))).gaps == []


def test_probes_fill_a_silence() -> None:
    talk = used()
    for at in (15, 30, 45):
        talk.orig_probe(at=at).resp_ack()
    row = gap(talk.orig(b"x", at="50s").resp_ack())
    assert (row["filled_by"], row["fill_count"]) == ("keepalive", 3)
    assert row["longest_wire_silence_s"] == pytest.approx(15, abs=0.1)
    assert row["duration_s"] == pytest.approx(49.48, abs=0.01)


def test_probes_of_the_silence_before_do_not_fill_the_next() -> None:
    talk = used().orig_probe(at="15s").resp_ack().orig(b"x", at="20s").resp(b"y").orig_ack()
    assert [row["fill_count"] for row in gaps(talk.orig(b"z", at="30s").resp_ack())] == [1, 0]


def test_probes_fill_the_trailing_silence() -> None:
    row = gap(used().orig_probe(at="15s").resp_ack())
    assert (row["class"], row["filled_by"], row["fill_count"]) == ("trailing", "keepalive", 1)


def test_acks_and_retransmissions_do_not_end_a_silence() -> None:
    talk = used().orig_ack(at="5s").orig_retransmit(at="10s").resp_ack().orig(b"x", at="20s").resp_ack()
    row = gap(talk)
    assert row["duration_s"] == pytest.approx(19.48, abs=0.01)
    assert row["longest_wire_silence_s"] == pytest.approx(10, abs=0.1)


def test_garbage_of_a_probe_is_no_payload() -> None:
    assert gap(used().orig_probe(b"\0", at="61s").resp_ack())["class"] == "trailing"


def test_a_closed_window_stalls() -> None:
    talk = used().resp_ack(win=0, at="0.6s")
    for at in (0.9, 1.5, 2.7):
        talk.orig_probe(at=at).resp_ack(win=0)
    talk.resp_ack(win=500, at="3s").orig(b"more", at="3.01s").resp_ack()
    assert gap(talk)["class"] == "stalled_zero_window"


@pytest.mark.parametrize(("opened", "wanted"), [("2.6s", "stalled_zero_window"), ("1.2s", "think_time")])
def test_how_long_the_window_was_closed_decides(opened: str, wanted: str) -> None:
    """Not when it was last seen closed: nobody probes a peer that has nothing to send."""
    talk = used().resp_ack(win=0, at="0.6s").resp_ack(win=500, at=opened).orig(b"more", at="4.1s").resp_ack()
    assert gap(talk)["class"] == wanted


def test_a_window_that_never_opens() -> None:
    assert gap(used().resp_ack(win=0, at="0.6s").orig_rst(at="9s"))["class"] == "stalled_zero_window"


def test_unacknowledged_data_stalls() -> None:
    """The request is on its way for three seconds: nobody thinks, the path is down."""
    talk = used().orig(b"next", at="1s", lost=True)
    for at in (1.2, 1.6, 2.4):
        talk.orig_retransmit(at=at, lost=True)
    assert gap(talk.orig_retransmit(at="4s").resp(b"ok").orig_ack())["class"] == "stalled_unacked"


def test_unacknowledged_data_stalls_until_a_reset() -> None:
    talk = used().orig(b"next", at="1s", lost=True)
    for at in (1.2, 1.6, 2.4):
        talk.orig_retransmit(at=at, lost=True)
    assert gap(talk.orig_rst(at="4s"))["class"] == "stalled_unacked"


@pytest.mark.parametrize(("idle_min_s", "n"), [(0.9, 2), (2.0, 1), (5.0, 0)])
def test_how_long_a_silence_must_be_is_a_setting(idle_min_s: float, n: int) -> None:
    talk = used().orig(b"x", at="1.5s").resp_ack().orig(b"y", at="5s").resp_ack()
    assert len(run(talk, settings=Settings(idle_min_ns=round(idle_min_s * 1e9))).gaps) == n


def test_silences_follow_on_each_other() -> None:
    talk = used()
    for at in range(3, 30, 3):
        talk.orig(b"q", at=at).resp(b"a").orig_ack()
    rows = gaps(talk)
    assert len(rows) == 9
    assert all(row["survived"] and row["class"] == "think_time" for row in rows)
    assert run(talk).flow["max_payload_gap_s"] == pytest.approx(2.98, abs=0.01)


def test_a_reordered_segment_does_not_end_a_silence_twice() -> None:
    talk = used().orig(b"a", at="9s").orig(b"b", at="9.0001s").resp_ack()
    (one, first), (two, second) = talk.packets[6:8]
    assert len(gaps([*talk.packets[:6], (one, second), (two, first), talk.packets[8]])) == 1


# ------------------------------------------------------------------------------------------------ ignored resets
def forged(talk: Talk, at: float) -> Talk:
    """Send a RST beyond what its receiver expects, and the challenge ACK (RFC 5961 section 3.2)."""
    return talk.resp_rst(bare=True, seq=60_000, at=at, lost=True).orig_ack()


@pytest.mark.parametrize("at", [1.5, 7.0])
def test_an_ignored_reset_does_not_end_a_silence(at: float) -> None:
    """A capture beside the server, which has no such RST, shows the same silence and the same timeout."""
    plain = run(used().resp_fin(at=13).orig_fin().resp_ack())
    result = run(forged(used(), at).resp_fin(at=13).orig_fin().resp_ack())
    (row,), (expected,) = result.gaps, plain.gaps
    for name in ("class", "ended_by", "duration_s", "start_frame", "survived"):
        assert row[name] == expected[name]
    for name in ("close_kind", "initiator", "trigger", "idle_payload_s"):
        assert result.close[name] == plain.close[name]


def test_probes_around_an_ignored_reset_fill_one_silence() -> None:
    talk = forged(used().orig_probe(at=5).resp_ack(), at=7).orig_probe(at=10).resp_ack()
    row = gap(talk.orig(b"next", at=14).resp(b"ok").orig_ack())
    assert (row["fill_count"], row["filled_by"], row["duration_s"]) == (2, "keepalive", pytest.approx(13.48, abs=0.01))


def test_a_closed_window_around_an_ignored_reset() -> None:
    talk = used().resp(b"x" * 1000, at=2).orig_ack(win=0)
    talk = forged(talk, at=6).resp_probe(at=9).orig_ack(win=0)
    row = gaps(talk.orig_ack(win=500, at=9.5).resp(b"more", at=9.6).orig_ack())[-1]
    assert (row["class"], row["duration_s"]) == ("stalled_zero_window", pytest.approx(7.6))


def test_what_came_before_a_reset_was_known_to_be_ignored_ended_the_silence() -> None:
    rows = gaps(forged(used(), at=7).orig(b"next", at=7.1).resp(b"ok").orig_ack().orig(b"again", at=20).resp_ack())
    assert [round(row["duration_s"]) for row in rows] == [6, 13]


def test_resets_in_both_names_that_were_ignored() -> None:
    """Injectors reset both ends."""
    talk = used().resp_rst(bare=True, seq=60_000, at=7, lost=True).orig_rst(bare=True, seq=60_000, lost=True)
    talk.client.snd_nxt, talk.server.snd_nxt = 8, 9
    result = run(talk.orig_ack().resp_ack(at=7.1).resp_fin(at=13).orig_fin().resp_ack())
    assert [round(row["duration_s"]) for row in result.gaps] == [12]


def test_rows_that_are_handed_over_early_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = forged(used(), 7).resp_fin(at=13).orig_fin().resp_ack()
    usual = run(talk).gaps
    monkeypatch.setattr(tracker, "MAX_ROWS_HELD", 0)
    assert run(talk, range(1, 20)).gaps == usual


def test_a_reset_that_counts_ends_its_silence() -> None:
    assert gap(used().resp_rst(at=7))["ended_by"] == "rst_server"


def test_a_reset_after_a_complete_close_ends_no_silence() -> None:
    """A late copy, answered by a socket that is gone."""
    talk = used().orig_fin(at="1s").resp_fin().orig_ack().resp_retransmit(at="4s").orig_rst(bare=True, at="4.001s")
    assert gaps(talk.resp_retransmit(at="9s").orig_rst(bare=True, at="9.001s")) == []
