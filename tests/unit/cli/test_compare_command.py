"""`longwire compare`: two captures side by side on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzer.cli.main import main
from tests.talk import Talk, write_pcap
from tests.twopoint import seen_twice, translated

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return two captures of a connection through a NAT, in which the client gets a RST that the server never sent."""
    talk = Talk().handshake().orig(b"ask", at="1s").resp(b"answer").orig_ack().resp_rst(at="9s")
    points = seen_twice(talk.orig(b"x", at="10s"), not_there={7}, change=translated(61000))
    paths = [tmp_path / "client.pcap", tmp_path / "server.pcap"]
    for path, packets in zip(paths, points, strict=True):
        path.write_bytes(write_pcap(packets))
    return [str(path) for path in paths]


def test_text(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("1 connection in both captures; 0 only in client.pcap and 0 only in server.pcap.\n")
    assert "client.pcap is nearer the client; server.pcap's clock is 3600000.000 ms ahead" in out
    assert "flow 0  10.0.0.1:40000 -> 10.0.0.2:80 (192.0.2.1:61000 in server.pcap)" in out
    assert "rst_not_sent: A RST in the server's name is in client.pcap (frame 7)" in out
    assert max(map(len, out.splitlines())) <= 110


def test_json(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["names"] == ["client.pcap", "server.pcap"]
    assert [row["code"] for row in told["differences"]] == ["rst_not_sent"]
    assert told["pairs"][0]["client_2"] == "192.0.2.1:61000"
    assert told["differences"][0]["ts"] == "2023-11-14T22:13:29.000000000Z"  # as in every other JSON


def test_captures_of_other_connections(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.pcap"
    other.write_bytes(Talk(client=("10.9.9.9", 1), isn=(5, 6)).handshake().orig(b"x", at="1s").pcap())
    assert main(["compare", files[0], str(other)]) == 0
    assert "No connection is in both." in capsys.readouterr().out


def test_what_cannot_be_read(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", files[0], "-"]) == 2
    assert "hint: write it to a file first" in capsys.readouterr().err
    assert main(["compare", files[0], files[1] + ".gone"]) == 2
    assert main(["compare", files[0]]) == 2


def test_a_damaged_capture_is_compared_as_far_as_it_goes(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(files[1])
    path.write_bytes(path.read_bytes()[:-5])
    assert main(["compare", *files]) == 1
    assert "damaged" in capsys.readouterr().err


def test_what_a_difference_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "path_dead"]) == 0
    assert "difference of two captures" in capsys.readouterr().out
