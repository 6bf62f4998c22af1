"""The one door: paths in, tables out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer import AnalyzerError, Settings, analyze, stream
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES, problems
from tests.property.harness import fingerprint, run
from tests.talk import Talk, merge, write_pcap, write_pcapng


def conversation() -> Talk:
    talk = Talk().handshake().orig(b"request", at="1s").resp(b"response").orig_ack()
    return talk.orig_probe(at="61s").resp_ack().orig_fin(at="62s").resp_fin().orig_ack()


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "talk.pcap"
    path.write_bytes(write_pcap(conversation().packets, nano=True))
    return path


def test_tables_as_frames(capture: Path) -> None:
    result = analyze(capture)
    assert set(result) == set(result.tables) == set(TABLES)
    assert len(result) == len(TABLES)
    assert result.closes.close_kind.tolist() == ["fin_client_first"]
    assert result["closes"] is result.closes
    assert result.arrow("keepalives").num_rows == len(result.keepalives) == 1
    assert len(result.segments) == 0
    assert repr(result).startswith("Analysis(flows 1")


def test_the_file_gives_what_the_frames_give(capture: Path) -> None:
    from_file, direct = analyze(capture, segments=True), run(conversation())
    for name in set(TABLES) - {"captures"}:
        assert fingerprint(from_file.arrow(name)) == fingerprint(direct.tables[name]), name


def test_formats_are_the_same_capture(capture: Path, tmp_path: Path) -> None:
    other = tmp_path / "talk.pcapng"
    other.write_bytes(write_pcapng(conversation().packets))
    one, two = analyze(capture, segments=True), analyze(other, segments=True)
    for name in set(TABLES) - {"captures"}:
        assert fingerprint(one.arrow(name)) == fingerprint(two.arrow(name)), name


def test_stream_gives_the_same_rows_in_pieces(capture: Path) -> None:
    chunks: dict[str, list[object]] = {name: [] for name in TABLES}
    names = []
    for name, rows in stream(capture, segments=True):
        chunks[name].append(rows)
        names.append(name)
    assert names[-3:] == ["endpoints", "captures", "anomalies"]
    whole = analyze(capture, segments=True)
    for name, parts in chunks.items():
        assert fingerprint(in_order(name, parts)) == fingerprint(whole.arrow(name))  # type: ignore[arg-type]


def test_stream_says_at_once_that_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError):
        stream(tmp_path / "missing.pcap")


def test_a_stream_can_be_left(capture: Path) -> None:
    chunks = stream(capture)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]


def test_stream_gives_the_same_rows_when_flows_leave_early(tmp_path: Path) -> None:
    talks = [Talk(("10.0.0.1", 1000 + k), t0=100 + k / 10).handshake().orig(b"x").resp_rst() for k in range(50)]
    path = tmp_path / "many.pcap"
    path.write_bytes(write_pcap(merge(*talks)))
    settings = Settings(max_flows=4)
    chunks: dict[str, list[object]] = {name: [] for name in TABLES}
    for name, rows in stream(path, settings=settings):
        chunks[name].append(rows)
    whole = analyze(path, settings=settings)
    for name, parts in chunks.items():
        assert fingerprint(in_order(name, parts)) == fingerprint(whole.arrow(name))  # type: ignore[arg-type]
    assert len(whole.flows) == len(whole.closes) == 50


def test_a_capture_of_several_buffers(tmp_path: Path) -> None:
    """Four times what is read at once: read and decoded ahead, in each buffer twice, with the result of one batch."""
    talks = [Talk(("10.0.0.1", 1000 + k), t0=100 + k / 1000).handshake() for k in range(4)]
    for talk in talks:
        for k in range(210):
            talk.resp(bytes([k]) * 20_000).orig_ack().resp_drop(5)
        talk.resp_fin().orig_fin().resp_ack()
    packets = merge(*talks)
    path = tmp_path / "large.pcap"
    path.write_bytes(write_pcap(packets, nano=True))
    assert path.stat().st_size > 4 * (4 << 20)
    whole = run(packets)
    for _ in range(3):
        from_file = analyze(path, segments=True)
        for name in set(TABLES) - {"captures"}:
            assert fingerprint(from_file.arrow(name)) == fingerprint(whole.tables[name]), name


def test_a_capture_cut_into_files_is_one(capture: Path, tmp_path: Path) -> None:
    packets = conversation().packets
    parts = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    parts[0].write_bytes(write_pcap(packets[:5], nano=True))
    parts[1].write_bytes(write_pcap(packets[5:], nano=True))
    one, two = analyze(capture, segments=True), analyze(parts[::-1], segments=True)
    for name in set(TABLES) - {"captures"}:
        assert fingerprint(one.arrow(name)) == fingerprint(two.arrow(name)), name
    assert two.captures.tcp_segments.tolist() == [6, 5] or two.captures.tcp_segments.tolist() == [len(packets) - 5, 5]


def test_frames_of_several_files_are_counted_through_in_the_order_of_time(tmp_path: Path) -> None:
    """As in the file that mergecap makes of them, which is what the column says of itself."""
    packets = conversation().packets
    early, late = tmp_path / "early.pcap", tmp_path / "late.pcap"
    early.write_bytes(write_pcap(packets[:4], nano=True))
    late.write_bytes(write_pcap(packets[4:], nano=True))
    frames = analyze([late, early], segments=True).segments["frame"]
    assert frames.tolist() == list(range(1, len(packets) + 1))
    assert analyze(late, segments=True).segments["frame"].iloc[0] == 1
    assert "mergecap" in TABLES["segments"].column("frame").doc


def test_every_table_keeps_the_schema(capture: Path) -> None:
    result = analyze(capture, segments=True)
    for name in result:
        assert problems(name, result.arrow(name)) == []


def test_two_runs_are_the_same(capture: Path) -> None:
    one, two = analyze(capture), analyze(capture)
    assert {name: fingerprint(one.arrow(name)) for name in one} == {name: fingerprint(two.arrow(name)) for name in two}


def test_progress_ends_at_the_end(capture: Path) -> None:
    seen: list[tuple[int, int]] = []
    analyze(capture, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (capture.stat().st_size,) * 2


def test_settings_are_kept(capture: Path) -> None:
    result = analyze(str(capture), settings=Settings(idle_min_ns=120 * 10**9))
    assert result.settings.idle_min_ns == 120 * 10**9
    assert len(result.idle_gaps) == 0


def test_an_empty_capture_has_every_table(tmp_path: Path) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes(write_pcap([]))
    result = analyze(path)
    assert all(problems(name, result.arrow(name)) == [] for name in result)
    assert result.captures.packets.tolist() == [0]
    assert repr(result) == "Analysis(captures 1)"


def test_a_capture_without_tcp(tmp_path: Path) -> None:
    path = tmp_path / "arp.pcap"
    path.write_bytes(write_pcap([(0, bytes(12) + b"\x08\x06" + bytes(28))]))
    assert len(analyze(path).flows) == 0


def test_a_mistake_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError):
        analyze(tmp_path / "nowhere.pcap")


@pytest.mark.parametrize("paths", [b"\xd4\xc3\xb2\xa1", 5, None, io.BytesIO(b"x"), [b"a.pcap"], ["a.pcap", 5]])
@pytest.mark.parametrize("call", [analyze, stream])
def test_what_is_no_path_is_said_to_be_none(call: Any, paths: Any) -> None:
    with pytest.raises(AnalyzerError, match="is no path of a file") as caught:
        call(paths)
    assert "file's name" in caught.value.hint


def test_nor_is_a_key_logs_text(capture: Path) -> None:
    with pytest.raises(AnalyzerError, match="bytes is no path of a file"):
        analyze(capture, keys=b"CLIENT_RANDOM")  # type: ignore[arg-type]


@pytest.mark.parametrize("flow", ["x", "0", 0.0, None, b"0"])
def test_what_is_no_number_is_no_connection(flow: Any, capture: Path) -> None:
    with pytest.raises(AnalyzerError, match="is no connection's number") as caught:
        analyze(capture).flow(flow)
    assert "flow_id" in caught.value.hint


def test_no_such_table(capture: Path) -> None:
    result = analyze(capture)
    with pytest.raises(AttributeError, match="no table 'floes'"):
        _ = result.floes
    with pytest.raises(KeyError):
        result.arrow("flow")


def test_public_names() -> None:
    assert set(analyzer.__all__) <= set(dir(analyzer))
    assert analyzer.__version__
    with pytest.raises(AttributeError):
        _ = analyzer.nothing  # type: ignore[attr-defined]
