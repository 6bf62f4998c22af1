"""Time longwire beside `tshark -T fields` reading the same fields of HTTP and WebSocket.

    python -m tests.bench.http --date 2026-01-31

Three captures, made on first use under tests/bench/data/: pooled HTTP connections, WebSocket frames, and the mixed one
of `tests.bench.bench`. Whole processes, from start to exit, file in the page cache; interleaved rounds, medians.
longwire does its whole analysis and writes all tables; tshark writes the fields of packets that have HTTP or WebSocket.

Before anything is timed both are run once and asked how many requests, responses and frames they saw. On the captures
without losses requests and frames have to be equal, or there is no report; of pipelined responses, where a chunked one
ends inside a segment, tshark misses some. Writes `reports/http-DATE.md`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.bench import ROOT, Runs, capture, into_cache, longwire, machine, run
from tests.bench.websocket import capture as websocket_capture

HTTP_FIELDS = (
    "http.request.method", "http.request.uri", "http.request.version", "http.host", "http.connection", "http.upgrade",
    "http.response.code", "http.response.version", "http.content_length_header", "http.transfer_encoding", "http.time",
    "http.request_in",
)  # fmt: skip
WEBSOCKET_FIELDS = (
    "websocket.opcode", "websocket.fin", "websocket.mask", "websocket.payload_length",
    "websocket.payload_length_ext_16", "websocket.payload_length_ext_64", "websocket.payload.close.status_code",
    "websocket.payload.close.reason",
)  # fmt: skip
COUNTED = {"requests": "http.request.method", "responses": "http.response.code", "frames": "websocket.opcode"}
FIELDS = ("frame.number", "frame.time_epoch", "tcp.stream", *HTTP_FIELDS, *WEBSOCKET_FIELDS)
AIM = 40


def tshark(path: Path) -> list[str]:
    """Return tshark's command line; it too puts segments in order."""
    shown = [part for name in FIELDS for part in ("-e", name)]
    order = "tcp.reassemble_out_of_order:TRUE"
    return ["tshark", "-n", "-r", str(path), "-o", order, "-Y", "http || websocket", "-T", "fields", *shown]


@dataclass
class Case:
    """A capture, what both saw in it, and how long each program took."""

    name: str
    path: Path
    lossless: bool
    runs: dict[str, Runs] = field(default_factory=dict)
    ours: Counter[str] = field(default_factory=Counter)
    theirs: Counter[str] = field(default_factory=Counter)


def count_ours(folder: Path) -> Counter[str]:
    """Return what the tables hold; messages that the end of the capture cut are left out, as tshark does."""
    import pyarrow.parquet as pq

    def table(name: str, *columns: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pq.read_table(folder / f"{name}.parquet", columns=list(columns)).to_pylist()
        return rows

    exchanges = table("http_requests", "method", "status", "request_end_ts", "response_end_ts", "upgrade")
    ended = [row for row in exchanges if row["response_end_ts"] is not None or row["upgrade"] is not None]
    return Counter(
        requests=sum(row["method"] is not None and row["request_end_ts"] is not None for row in exchanges),
        responses=sum(row["status"] is not None for row in ended),
        frames=len(table("websocket_frames", "opcode")),
    )


def count_theirs(path: Path) -> Counter[str]:
    """Return what tshark prints; values of one packet are joined with commas, and a response shows where it ends."""
    answer = subprocess.run(tshark(path), capture_output=True, text=True, check=True)
    places = {what: FIELDS.index(name) for what, name in COUNTED.items()}
    found: Counter[str] = Counter()
    for line in answer.stdout.splitlines():
        values = line.split("\t")
        for what, place in places.items():
            found[what] += len(values[place].split(",")) if values[place] else 0
    return found


def measure(case: Case, rounds: int) -> None:
    """Compare what both see, then time them."""
    with tempfile.TemporaryDirectory() as out:
        analyze = longwire("analyze", str(case.path), "--out", out)
        subprocess.run(analyze, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        case.ours, case.theirs = count_ours(Path(out)), count_theirs(case.path)
        if case.lossless and any(case.ours[what] != case.theirs[what] for what in ("requests", "frames")):
            sys.exit(f"{case.name}: longwire saw {dict(case.ours)}, tshark {dict(case.theirs)}")
        commands = {
            "longwire": analyze, "tshark": tshark(case.path), "tcptrace": ["tcptrace", "-n", "-l", str(case.path)],
        }  # fmt: skip
        case.runs = {name: Runs() for name in commands}
        for n in range(rounds):
            for name, command in commands.items():
                print(f"{case.name}, round {n + 1}: {name}", file=sys.stderr)
                into_cache(case.path)
                run(command, case.runs[name], ok=(0, 1) if name == "longwire" else (0,))


def report(cases: list[Case], date: str, rounds: int, inside: str, again: str) -> str:
    """Return the measurements as Markdown."""
    lines = [
        f"# HTTP and WebSocket beside tshark, {date}",
        "",
        f"Machine: {machine()}.",
        f"Whole processes; median of {rounds} interleaved rounds, file in the page cache. longwire: `analyze --out`, "
        "all tables as Parquet.",
        f"tshark: `-T fields` with {len(HTTP_FIELDS)} fields of HTTP, {len(WEBSOCKET_FIELDS)} of WebSocket, number, "
        f"time and stream, of packets that have either. To reach: {AIM} times.",
        "",
        "| capture | size | longwire | tshark | tshark / longwire | processor time | tcptrace |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        own, other, trace = (case.runs[name] for name in ("longwire", "tshark", "tcptrace"))
        if own.failed or other.failed:
            lines.append(f"| {case.name} | | {own.failed} | {other.failed} | | | |")
            continue
        size = f"{case.path.stat().st_size / 1e6:,.0f} MB"
        lines.append(
            f"| {case.name} | {size} | {own.s:.2f} s | {other.s:.2f} s | {other.s / own.s:.1f} x | "
            f"{other.cpu / own.cpu:.1f} x | {trace.failed or f'{trace.s:.2f} s'} |"
        )
    lines += [
        "",
        "What both saw:",
        "",
        "| capture | requests | responses that ended | WebSocket frames |",
        "| --- | ---: | ---: | ---: |",
    ]
    for case in cases:
        cells = [
            f"{case.ours[what]:,}"
            + ("" if case.ours[what] == case.theirs[what] else f" (tshark {case.theirs[what]:,})")
            for what in COUNTED
        ]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    lines += ["", f"Inside the process: {inside}.", "", "## Again", "", f"    {again}", ""]
    return "\n".join(lines)


def main() -> None:
    """Make the captures, measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", required=True, help="as YYYY-MM-DD; names the report")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=1_000_000, help="of the WebSocket capture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="default: reports/http-DATE.md")
    options = parser.parse_args()
    cases = [
        Case("HTTP", capture("http", options.packets), True),
        Case("WebSocket", websocket_capture(options.frames), True),
        Case("mixed", capture("mixed", options.packets), False),
    ]
    for case in cases:
        measure(case, options.rounds)
    alone = [sys.executable, "-m", "tests.bench.websocket", "--frames", str(options.frames)]
    inside = subprocess.run(alone, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    again = f"python -m tests.bench.http --date {options.date} --packets {options.packets} --frames {options.frames}"
    out = options.out or ROOT / "reports" / f"http-{options.date}.md"
    out.write_text(report(cases, options.date, options.rounds, inside, again))
    print(out.read_text())


if __name__ == "__main__":
    main()
