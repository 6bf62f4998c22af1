"""SSH as traces: who speaks it, and its beats, which are encrypted."""

from __future__ import annotations

import pytest

from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

CLIENT, SERVER = b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-OpenSSH_9.9 Debian\r\n"


def logged_in() -> Talk:
    talk = Talk(server=("10.0.0.2", 2222)).handshake().resp(SERVER, at=1).orig(CLIENT).resp(b"\0\0\4\x14" + b"k" * 1044)
    return talk.orig(b"\0\0\1\x04" + b"e" * 256).resp(b"\0\0\2\x10" + b"r" * 500).orig(b"login" * 30).resp(b"ok" * 40)


def test_it_is_recognised_on_any_port() -> None:
    assert run(logged_in()).flow["app_protocol"] == "ssh"


def test_only_if_both_sides_speak_it() -> None:
    talk = Talk().handshake().orig(CLIENT).resp(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert run(talk).flow["app_protocol"] != "ssh"


def test_its_beats_are_inferred_and_named() -> None:
    """ServerAliveInterval 15: a request of one size, answered by a failure of one size."""
    talk = logged_in()
    for k in range(1, 9):
        talk.orig(b"\xa1" * 64, at=15 * k).resp(b"\x5e" * 36).orig_ack()
    result = run(talk)
    (series,) = result.rows("heartbeat_series")
    assert (series["protocol"], series["method"], series["beats"]) == ("ssh", "inferred", 8)
    assert series["period_s"] == pytest.approx(15, abs=0.1)
    assert series["known_as"] is None  # Server-sent events are due each 15 s, too, and would have been read
    assert result.flow["heartbeat_kinds"] == "ssh"
    assert {row["protocol"] for row in result.rows("heartbeats")} == {"ssh"}


def test_what_nobody_answers_is_not_its_beat() -> None:
    """A program on the other side prints a line a second: neither side's keepalive@openssh.com goes without answer."""
    talk = logged_in()
    for k in range(1, 13):
        talk.resp(b"\xa1" * 68, at=20 + k).orig_ack()
    (series,) = run(talk).rows("heartbeat_series")
    assert (series["protocol"], series["answered_share"]) == ("unknown", None)
