"""WebSocket frames against tshark, handshakes against Zeek, and the labels of the lab."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pandas as pd
import pytest

from analyzer import Analysis, analyze
from tests.corpus import CORPUS, LAB, catalogue, lab_scenarios, needs_corpus, truth
from tests.golden.test_lab import cases, flow_of, scenario

pytestmark = [needs_corpus, pytest.mark.corpus]

OPCODES = {"0": "continuation", "1": "text", "2": "binary", "8": "close", "9": "ping", "10": "pong"}


@cache
def ours(file: str) -> Analysis:
    return analyze(CORPUS / file)


# ------------------------------------------------------------------------------------------------ tshark
def with_websocket() -> list[str]:
    """Return the captures in which tshark sees WebSocket."""
    if not CORPUS.is_dir():
        return []
    files = [row["file"] for row in catalogue()]
    return [file for file in files if any(row["websocket.opcode"] for row in truth(file, "app"))]


def tshark_frames(file: str) -> Counter[Any]:
    """Return (stream, packet, opcode, fin, mask, length, close code) of each WebSocket frame."""
    found: Counter[Any] = Counter()
    for row in truth(file, "app"):
        opcodes = [word for word in row["websocket.opcode"].split("|") if word]
        fins, masks = ([w for w in row[f"websocket.{name}"].split("|") if w] for name in ("fin", "mask"))
        short = [int(word) for word in row["websocket.payload_length"].split("|") if word]
        longer = {
            126: [int(word) for word in row["websocket.payload_length_ext_16"].split("|") if word],
            127: [int(word) for word in row["websocket.payload_length_ext_64"].split("|") if word],
        }
        codes = [int(word) for word in row["websocket.payload.close.status_code"].split("|") if word]
        for opcode, fin, mask, first in zip(opcodes, fins, masks, short, strict=True):
            length = longer[first].pop(0) if first in longer else first
            code = codes.pop(0) if opcode == "8" and length >= 2 and codes else None
            stream = int(row["stream"].split("|")[0])
            found[
                stream, int(row["frame"]), OPCODES.get(opcode, "reserved"), fin == "1", mask == "1", length, code
            ] += 1
    return found


def test_there_is_something_to_compare() -> None:
    assert len(with_websocket()) >= 11


def our_frames(file: str) -> Counter[Any]:
    """Return the same of our frames; our flow_id is tshark's stream."""
    rows = ours(file).websocket_frames
    return Counter(
        (flow, frame, opcode, fin, masked, length, None if pd.isna(code) else code)
        for flow, frame, opcode, fin, masked, length, code in zip(
            rows.flow_id, rows.frame, rows.opcode, rows.fin, rows.masked, rows.payload_len, rows.close_code, strict=True
        )
    )


@pytest.mark.parametrize("file", with_websocket())
def test_tshark_sees_the_same_frames(file: str) -> None:
    assert our_frames(file) == tshark_frames(file)


# ------------------------------------------------------------------------------------------------ Zeek
def zeek_logs() -> list[tuple[str, str]]:
    found = sorted((CORPUS / "zeek").glob("*.expect/*/websocket.log"))
    return [(f"zeek/{path.parts[-3].removesuffix('.expect')}", path.parts[-2]) for path in found]


def zeek_pairs(file: str, test: str) -> tuple[Counter[Any], Counter[Any]]:
    """Return Zeek's handshakes and ours: port, host, target, subprotocol, extensions."""
    lines = (CORPUS / f"{file}.expect" / test / "websocket.log").read_text().splitlines()
    names = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    body = [line.split("\t") for line in lines if not line.startswith("#")]
    names = names or body.pop(0)
    theirs = Counter(
        (row["id.orig_p"], row["host"], row["uri"], row["subprotocol"], row["server_extensions"])
        for row in (dict(zip(names, values, strict=True)) for values in body)
    )
    result = ours(file)
    both = result.http_requests.merge(result.flows[["flow_id", "client_port"]], on="flow_id")
    both = both[both.websocket_accepted.notna()].fillna({"websocket_protocol": "-", "websocket_extensions": "-"})
    both = both[both.websocket_accepted == 1]
    mine = Counter(
        (str(port), host, target, protocol, extensions)
        for port, host, target, protocol, extensions in zip(
            both.client_port, both.host, both.target, both.websocket_protocol, both.websocket_extensions, strict=True
        )
    )
    return theirs, mine


@pytest.mark.parametrize(("file", "test"), zeek_logs() if CORPUS.is_dir() else [])
def test_zeek_logs_the_same_handshakes(file: str, test: str) -> None:
    theirs, mine = zeek_pairs(file, test)
    assert mine == theirs


# ------------------------------------------------------------------------------------------------ the lab
def lab_websocket() -> list[tuple[str, str, int]]:
    by_name = {s["name"]: s for s in lab_scenarios()} if LAB.is_dir() else {}
    return [case for case in cases() if by_name[case[0]]["connections"][case[2]].get("ws")]


@pytest.mark.parametrize(("name", "point", "index"), lab_websocket())
def test_lab_websocket(name: str, point: str, index: int) -> None:
    label, flow, result = flow_of(name, point, index)
    keys = scenario(name)["keylog"]
    if keys:  # inside TLS
        result = analyze(LAB / scenario(name)["captures"][point], keys=LAB / keys)
        rows = result.flows.merge(result.closes, on="flow_id", suffixes=("", "_close"))
        flow = rows[rows.flow_id == flow["flow_id"]].iloc[0].to_dict()
        assert result.websocket_frames.decrypted.all()
    assert flow["app_protocol"] == "websocket"
    ws = label["ws"]
    frames = result.websocket_frames[result.websocket_frames.flow_id == flow["flow_id"]]
    messages = result.websocket_messages[result.websocket_messages.flow_id == flow["flow_id"]]
    assert frames.error.isna().all() and messages.complete.all()
    for side, way in (("client", "c2s"), ("server", "s2c")):
        wanted = ws["messages"][side]
        for kind in ("text", "binary"):
            if wanted[kind] is not None:
                assert ((messages.dir == way) & (messages.kind == kind)).sum() == wanted[kind], (side, kind)
        for opcode in ("ping", "pong"):
            if wanted[opcode] is not None:
                assert ((frames.dir == way) & (frames.opcode == opcode)).sum() == wanted[opcode], (side, opcode)
    closes = frames[frames.opcode == "close"]
    said = [
        [{"c2s": "client", "s2c": "server"}[way], None if pd.isna(code) else code]
        for way, code in zip(closes.dir, closes.close_code, strict=True)
    ]
    assert said == ws["close_frames"]
    first = next((side for side, _ in said), None)
    assert (None if pd.isna(flow["ws_initiator"]) else flow["ws_initiator"]) == first
    for side, _ in said:
        (code,) = [code for who, code in ws["close_frames"] if who == side]
        assert flow[f"ws_code_{side[0]}"] == (code or 1005)
    if not said:
        assert {flow["ws_code_c"], flow["ws_code_s"]} == {1006}
    assert set(closes.close_reason.dropna()) == ({ws["close_reason"]} - {""})
    if "permessage_deflate" in ws:
        assert messages.compressed.any() == ws["permessage_deflate"]
    assert messages.len.notna().all() and (messages.utf8_ok | (messages.kind == "binary")).all()
    assert flow["websocket_messages"] == len(messages)
    if said:
        assert flow["trigger"] == "ws_close"
    pings = [beat for beat in label["heartbeats"] if beat["kind"] == "ws_ping"]
    for beat in pings:
        way = {"client": "c2s", "server": "s2c"}[beat["by"]]
        assert ((frames.dir == way) & (frames.opcode == "ping")).sum() == beat["count"]
        assert (frames.opcode.eq("pong") & frames.pong_of.notna()).sum() == beat["answered"]
