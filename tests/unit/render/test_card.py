"""The card and the ladder of one connection: traces in, words out."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from analyzer.render import flowrows
from analyzer.render.card import make_card
from analyzer.render.cardtext import card_text
from analyzer.render.causes import rejected
from analyzer.render.ladder import ladder, ladder_lines
from tests.talk import Talk
from tests.unit.render.flow_views import rows_of
from tests.websocket import PING, PONG, frame, of_client, request, response


def idle_reset() -> Talk:
    return Talk().handshake().orig(b"x" * 10).resp(b"y" * 20).orig_ack().resp_rst(at="61s")


def test_the_verdict_line_says_who_why_and_how_sure(tmp_path: Path) -> None:
    card = make_card(rows_of(idle_reset(), tmp_path))
    assert card.verdict.startswith("rst_on_idle: A reset in the name of the server after 60.9")
    assert "Graceful: TCP no" in card.verdict and "Confidence 0.80, inferred." in card.verdict
    assert card.client == "10.0.0.1:40000" and card.server == "10.0.0.2:80"
    assert card.frames[-1] == 7


def test_advice_comes_with_the_numbers_of_the_connection(tmp_path: Path) -> None:
    card = make_card(rows_of(idle_reset(), tmp_path))
    assert "heartbeat at least every 30.4" in card.advice[0]
    assert any("second capture" in text for text in card.unknowns)


def test_a_finding_overrides_the_advice_of_the_kind(tmp_path: Path) -> None:
    rows = rows_of(idle_reset(), tmp_path)
    finding = {"code": "a.b", "severity": "error", "title": "T", "recommendation": "Do this.", "flow_ids": "0"}
    rows.rows["findings"] = [finding]
    card = make_card(rows)
    assert card.advice == ("Do this.",)
    assert card.findings == (("error", "T"),)


def test_rejected_causes_name_a_fact_that_holds(tmp_path: Path) -> None:
    same_ttl = rejected(rows_of(idle_reset(), tmp_path))
    assert same_ttl[0].cause == "a RST made by a middlebox"
    assert same_ttl[0].fact == "the RST came with TTL 58, as all other segments of the server [frame 7]"
    other_ttl = Talk().handshake().orig(b"x").resp(b"y").orig_ack().resp_rst(at="61s", ttl=255)
    assert "a RST made by a middlebox" not in [reason.cause for reason in rejected(rows_of(other_ttl, tmp_path))]


def test_a_quick_close_is_no_idle_timeout_and_the_later_fin_did_not_close_first(tmp_path: Path) -> None:
    talk = Talk().handshake().orig(b"x").resp(b"y").orig_ack().resp_fin().orig_ack().orig_fin().resp_ack()
    reasons = {reason.cause: reason.fact for reason in rejected(rows_of(talk, tmp_path))}
    assert "before the close" in reasons["an idle timeout"]
    assert "after the other side's [frames 7 9]" in reasons["the client closed first"]


def test_a_dead_peer_is_not_said_to_have_answered(tmp_path: Path) -> None:
    talk = Talk().handshake().orig(b"x").resp(b"y").orig_ack()
    for at in ("10s", "11s", "12s"):
        talk.orig_probe(at=at, lost=True)
    talk.orig_rst(at="13s")
    rows = rows_of(talk, tmp_path)
    assert rows.close["close_kind"] == "abort_keepalive"
    assert {reason.cause for reason in rejected(rows)}.isdisjoint(
        {"a dead peer or path", "unanswered keep-alive probes"}
    )
    assert "3 keep-alive probes, 3 unanswered" in dict(make_card(rows).silence).values()


def test_a_long_connection_is_counted_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows only some are kept, but their numbers, the longest pause and the longest silence are of all."""
    monkeypatch.setattr(flowrows, "MAX_ROWS", 4)
    talk = Talk().handshake()
    for n in range(30):
        talk.wait(50 if n == 15 else 2)
        talk.orig(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").resp(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").orig_ack()
    talk.wait(2).orig(request()).resp(response())
    for _ in range(20):
        talk.wait(1.5).orig(of_client(PING)).resp(frame(PONG)).orig_ack()
    card = make_card(rows_of(talk, tmp_path))
    layers, silence = dict(card.layers), dict(card.silence)
    assert layers["HTTP"].startswith("31 requests, longest pause between them 50")
    assert "20 pings, 20 pongs" in layers["WebSocket"]
    assert silence["silences"].startswith("51 in all, 51 survived")
    assert card.life.silence_count == 51
    assert max(end - begin for begin, end, _, _ in card.life.silences) == pytest.approx(50, abs=1)


def test_where_it_was_captured_is_read_from_the_handshake(tmp_path: Path) -> None:
    for where, words in (("client", "near the client"), ("server", "near the server"), ("middle", "between both")):
        talk = Talk(capture=where).handshake().orig(b"x").resp(b"y")  # type: ignore[arg-type]
        assert dict(make_card(rows_of(talk, tmp_path)).facts)["captured"].startswith(words)


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_text_keeps_to_its_width_and_to_one_screen(tmp_path: Path, width: int) -> None:
    rows = rows_of(idle_reset(), tmp_path)
    lines = card_text(make_card(rows), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 60
    assert max(map(len, ladder_lines(ladder(rows), width))) <= width


def test_the_lifeline_draws_silence_probes_and_the_close(tmp_path: Path) -> None:
    talk = Talk().handshake().orig(b"x" * 100).resp(b"y" * 100).orig_ack()
    talk.orig_probe(at="30s").resp_ack().resp_fin(at="60s").orig_ack().orig_fin().resp_ack()
    text = card_text(make_card(rows_of(talk, tmp_path)), 110)
    client = next(line for line in text.splitlines() if line.startswith("  client  S"))
    server = next(line for line in text.splitlines() if line.startswith("  server  S"))
    assert 40 < client.index("k") < 70
    assert server.endswith("F")
    assert "59.9" in next(line for line in text.splitlines() if line.startswith("  silence"))


def test_a_card_is_plain_data(tmp_path: Path) -> None:
    assert json.loads(json.dumps(asdict(make_card(rows_of(idle_reset(), tmp_path)))))["flow_id"] == 0


def test_words_from_the_wire_cannot_command_the_terminal(tmp_path: Path) -> None:
    card = make_card(rows_of(idle_reset(), tmp_path))
    hostile = replace(card, layers=(("TLS", "SNI \x1b[2J\u202eevil"),), findings=(("error", "\x07\r\n"),))
    text = card_text(hostile)
    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    assert "\\x1b[2J" in text


def test_colour_adds_nothing_that_the_words_do_not_say(tmp_path: Path) -> None:
    card = replace(make_card(rows_of(Talk().handshake().orig(b"x").resp_ack(), tmp_path)), findings=(("error", "bad"),))
    coloured = card_text(card, 100, colour=True)
    assert "\x1b[31m  error: bad\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == card_text(card, 100)


# ------------------------------------------------------------------------------------------ ladder


def test_the_ladder_is_the_figure_of_an_rfc(tmp_path: Path) -> None:
    lines = ladder_lines(ladder(rows_of(idle_reset(), tmp_path)), 80)
    arrows = [line[21:] for line in lines[1:]]
    assert arrows[0].startswith("|-- SYN seq 0 ---") and arrows[0].endswith("->|")
    assert arrows[1].startswith("|<---") and arrows[1].endswith("- SYN,ACK seq 0 ack 1 --|")
    assert any("... 60.9" in line and line.rstrip().endswith(":") for line in lines)
    assert arrows[-1].endswith(" RST,ACK seq 21 ack 11 --|")
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_long_middle_is_folded_and_accounted_for(tmp_path: Path) -> None:
    talk = Talk().handshake()
    for _ in range(200):
        talk.orig(b"x" * 100).resp_ack()
    talk.orig_fin().resp_ack().resp_fin().orig_ack()
    rows = rows_of(talk, tmp_path)
    made = ladder(rows)
    drawn = [step for step in made.steps if step.kind == "segment"]
    folds = [step for step in made.steps if step.kind == "fold"]
    assert len(made.steps) < 60
    assert [step.frame for step in drawn][:3] == [1, 2, 3] and drawn[-1].frame == 407
    hidden = sum(int(step.text.split()[0]) for step in folds)
    assert hidden + len(drawn) == 407
    assert "kB ->" in folds[0].text


def test_repeated_probes_are_shown_a_few_times_only(tmp_path: Path) -> None:
    talk = Talk().handshake().orig(b"x").resp(b"y").orig_ack()
    for n in range(1, 61):
        talk.orig_probe(at=f"{10 * n}s").resp_ack()
    talk.orig_fin(at="605s").resp_ack().resp_fin().orig_ack()
    made = ladder(rows_of(talk, tmp_path))
    probes = [step for step in made.steps if "keep-alive probe, answered" in step.note]
    assert 3 < len(probes) < 20
    assert len(made.steps) < 80


def test_notes_of_protocols_stand_on_their_frames(tmp_path: Path) -> None:
    rows = rows_of(idle_reset(), tmp_path)
    request = dict.fromkeys(("stream_id", "response_frame", "response_ts", "status"))
    rows.rows["http_requests"] = [
        {**request, "method": "GET", "target": "/\x1b]0;x\x07", "request_frame": 4, "request_ts": 0}
    ]
    step = next(step for step in ladder(rows).steps if step.frame == 4)
    assert step.note == "GET /\x1b]0;x\x07"
    assert "\x1b" not in str(ladder(rows))
