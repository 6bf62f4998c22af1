"""Known timeouts: the shipped data is sound, values match within their tolerance, a user's file adds to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analyzer import AnalyzerError
from analyzer.knowledge.load import CLOCKS, EXPIRIES, ROLES, Knowledge, parse

SHIPPED = Knowledge.shipped()


def systems(value_s: float, **how: tuple[str, ...]) -> set[str]:
    return {known.system for known in SHIPPED.matches(value_s, **how)}


def test_every_entry_has_a_source_and_known_words() -> None:
    assert len(SHIPPED.timeouts) > 60
    for known in SHIPPED.timeouts:
        assert known.source and known.knob, known.name
        assert (known.clock in CLOCKS) and (known.role in ROLES) and (known.on_expiry in EXPIRIES), known.name
    assert all(beat.source for beat in SHIPPED.heartbeats)
    names = [known.name for known in SHIPPED.timeouts]
    assert len(set(names)) == len(names)


def test_general_knowledge_is_marked() -> None:
    assert any(not known.checked for known in SHIPPED.timeouts)
    assert all(("(unchecked)" in known.name) == (not known.checked) for known in SHIPPED.timeouts)


def test_all_ties_are_named() -> None:
    assert {"AWS ALB", "AWS CLB", "nginx"} <= systems(60.0)


@pytest.mark.parametrize(("value", "there"), [(349.0, True), (357.0, True), (357.1, False), (342.9, False)])
def test_two_percent(value: float, there: bool) -> None:
    assert ("AWS NLB" in systems(value)) is there


@pytest.mark.parametrize(("value", "there"), [(4.9, True), (6.0, True), (6.01, False), (4.89, False)])
def test_a_short_timer_runs_out_a_second_late_but_hardly_early(value: float, there: bool) -> None:
    assert ("uvicorn" in systems(value)) is there


def test_clock_and_role_narrow_it_down() -> None:
    assert systems(60.0, clocks=("wire",), roles=("path",)) == {"Linux conntrack"}
    assert "nginx to upstream" in systems(60.0, roles=("client",))
    assert "nginx to upstream" not in systems(60.0, roles=("server",))


def test_an_unknown_clock_fits_any() -> None:
    assert [known.clock for known in SHIPPED.matches(350, clocks=("age",))] == ["unknown"]


def test_what_a_program_adds_it_may_not_add_in_another_version() -> None:
    """Node closes a second after what it advertises, since it has a buffer for requests that cross the close."""
    assert ["Node http.Server" in systems(value, roles=("server",)) for value in (4.95, 5.01, 5.5, 6.9)] == [
        False, True, True, True
    ]  # fmt: skip


def test_beats() -> None:
    assert {beat.system for beat in SHIPPED.beats(25.01, "server")} == {"engine.io, socket.io 4", "SockJS"}
    assert {beat.system for beat in SHIPPED.beats(25.01, "client")} == {"engine.io, socket.io 4"}
    assert SHIPPED.beats(27, "client") == ()
    assert {beat.protocol for beat in SHIPPED.beats(20, "client", "websocket")} == {"websocket"}


def test_every_shape_has_a_source_and_says_whose_it_is() -> None:
    assert all(shape.source and shape.protocol != "unknown" for shape in SHIPPED.shapes)
    assert all(shape.most == 0 or shape.most > shape.bytes for shape in SHIPPED.shapes)


def test_shapes() -> None:
    def found(side: str, size: int, answer: int = 0) -> set[str]:
        shapes = SHIPPED.shaped(side, (size, size), (answer, answer) if answer else None)
        return {shape.protocol for shape in shapes if shape.exact}

    assert found("client", 17, 17) == {"http2", "grpc"}
    assert found("client", 14, 10) == {"websocket"}  # a ping that carries 8 bytes
    assert found("client", 14, 7) == {"redis"}
    assert found("server", 8) == {"amqp"}
    assert found("server", 8, 8) == {"amqp"}  # both sides beat at once
    assert found("client", 2, 2) == {"mqtt", "stomp"}
    assert found("server", 2, 2) == {"stomp"}
    assert found("client", 5) == found("client", 130, 2) == set()


# ------------------------------------------------------------------------------------------------ the user's file
def test_own_heartbeats_and_shapes(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[heartbeat]]\nsystem = "ours"\nperiod_s = 11\nchecked = true\n'
        '[[shape]]\nwhat = "our ping"\nbytes = 5\nby = "client"\n'
    )
    known = Knowledge.with_file(own)
    assert [beat.name for beat in known.beats(11.01, "client")] == ["ours 11 s"]
    assert [beat.name for beat in known.beats(11.01, "client", "redis")] == ["ours 11 s"]  # it does not say of what
    assert known.shaped("client", (5, 5))[0].name(5) == "our ping (by its size)"
    assert known.shaped("server", (5, 5))[0].what != "our ping"


def test_own_file_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[timeout]]\nsystem = "our proxy"\nvalue_s = 61\nclock = "payload"\nchecked = true\n')
    found = Knowledge.with_file(own).matches(60.5)
    assert found[0].name == "our proxy 61 s"
    assert "AWS ALB" in {known.system for known in found}


def test_no_file_is_the_shipped_knowledge() -> None:
    assert Knowledge.with_file(None) == SHIPPED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timeout = 5", "not a list"),
        ("[[timeout]]\nvalue_s = 3", "needs system"),
        ('[[timeout]]\nsystem = "x"', "needs system and value_s"),
        ('[[timeout]]\nsystem = "x"\nvalue_s = -1', "value_s = -1"),
        ('[[timeout]]\nsystem = "x"\nvalue_s = true', "value_s = True"),
        ('[[timeout]]\nsystem = "x"\nvalue_s = nan', "value_s = nan"),
        ('[[timeout]]\nsystem = "x"\nvalue_s = 5\nclock = "wall"', "clock = 'wall'"),
        ('[[timeout]]\nsystem = "x"\nvalue_s = 5\nperiod = 3', "unknown field period"),
        ('[[heartbeat]]\nsystem = "x"', "needs system and period_s"),
        ('[[shape]]\nwhat = "x"', "needs what and bytes"),
        ('[[shape]]\nwhat = "x"\nbytes = 2.5', "bytes = 2.5"),
        ('[[shape]]\nwhat = "x"\nbytes = true', "bytes = True"),
        ('[[shape]]\nwhat = "x"\nbytes = 2\nby = "path"', "by = 'path'"),
        ("[[limits]]\nx = 1", "limits"),
        ("\x00", "not TOML"),
        (" " * 2_000_000, "larger than"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, says: str) -> None:
    with pytest.raises(AnalyzerError, match=says) as caught:
        parse(text, "own.toml")
    assert "own.toml" in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError, match="No such file"):
        Knowledge.with_file(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"\xff\xfe")
    with pytest.raises(AnalyzerError, match="UTF-8"):
        Knowledge.with_file(os.fspath(latin))
