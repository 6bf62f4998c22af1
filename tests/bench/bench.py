"""Time longwire beside other programs on the same capture, and write `reports/bench-DATE.md`.

    python -m tests.bench.bench --date 2026-01-31 --nfstream-python /path/to/python

Whole processes, from start to exit, file in the page cache: it is read once before each, since some systems page out
what was not read for seconds, and who comes first in a round would wait for disks. Rounds are interleaved: each program
runs once a round, so that a slow minute of the machine slows all of them. Medians are reported, and ratios within the
same run. What is not installed is skipped and named. Captures are made on first use under tests/bench/data/.

Python may keep its bytecode, as it does for every installed package: without, each start compiles 0.15 s of source.

Peak memory is `ru_maxrss` of the process (of the largest one, where a program forks). It cannot be less than this
script's own few megabytes, which a child inherits until it execs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "bench" / "data"
SLICE = 20  # slow programs read the first 1/20 of the packets, and their time is multiplied
LIMIT_S = 600.0

_DPKT = """
import sys, dpkt
n = 0
with open(sys.argv[1], "rb") as f:
    for _, frame in dpkt.pcap.Reader(f):
        ip = dpkt.ethernet.Ethernet(frame).data
        n += isinstance(ip.data, dpkt.tcp.TCP)
print(n)
"""
_SCAPY = """
import sys
from scapy.layers.inet import TCP
from scapy.utils import PcapReader
with PcapReader(sys.argv[1]) as packets:
    print(sum(TCP in packet for packet in packets))
"""
_NFSTREAM = """
import sys
from nfstream import NFStreamer
if __name__ == "__main__":
    print(sum(1 for _ in NFStreamer(source=sys.argv[1])))
"""


@dataclass
class Runs:
    """What was measured of one command: seconds, processor seconds and peak memory of each round, or why none."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_seconds)

    @property
    def mb(self) -> float:
        return max(self.peak_mb)


@dataclass
class Program:
    """A program of the comparison. `command` reads `{file}`; `sliced` ones read the first 1/20."""

    name: str
    does: str
    command: list[str]
    sliced: bool = False
    version: str = ""
    runs: Runs = field(default_factory=Runs)


def into_cache(path: Path) -> None:
    """Read a file once."""
    room = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def run(command: Sequence[str], into: Runs, env: dict[str, str] | None = None, ok: Sequence[int] = (0,)) -> None:
    """Run a command once, output to nowhere, and note its wall time and peak memory."""
    if into.failed:
        return
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env={**kept, **(env or {})}
    )
    timer = threading.Timer(LIMIT_S, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == -signal.SIGKILL:
        into.failed = f"stopped after {took:.0f} s"
    elif process.returncode not in ok:
        into.failed = f"exit code {process.returncode}"
    else:
        into.seconds.append(took)
        into.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        into.peak_mb.append(usage.ru_maxrss / 1024)


# --- what is compared


def longwire(*arguments: str) -> list[str]:
    """Return the command line of the longwire installed beside this Python."""
    beside = Path(sys.executable).parent / "longwire"
    return [str(beside) if beside.exists() else "longwire", *arguments]


def programs(nfstream_python: str) -> list[Program]:
    """Return what can run here; the rest has `runs.failed` set."""
    python = sys.executable
    found = [
        Program("longwire", "flows, verdicts, tables as Parquet", longwire("analyze", "{file}", "--out", "{out}")),
        Program("cat", "reads the file: the floor", ["cat", "{file}"]),
        Program("tcptrace", "TCP connections, long report", ["tcptrace", "-n", "-l", "{file}"]),
        Program("tshark", "TCP conversations", ["tshark", "-n", "-q", "-z", "conv,tcp", "-r", "{file}"]),
        Program("NFStream", "flows with application names (defaults)", [nfstream_python, "-c", _NFSTREAM, "{file}"]),
        Program("dpkt", "loop over headers, no analysis", [python, "-c", _DPKT, "{file}"], sliced=True),
        Program("scapy", "PcapReader loop, no analysis", [python, "-c", _SCAPY, "{file}"], sliced=True),
    ]
    for program in found:
        program.version = version_of(program)
        if not program.version:
            program.runs.failed = "not installed"
    return found


def version_of(program: Program) -> str:
    """Return the program's version, empty if it is not there."""
    ask = {
        "longwire": longwire("--version"),
        "cat": ["cat", "--version"],
        "tcptrace": ["tcptrace", "-version"],
        "tshark": ["tshark", "--version"],
    }.get(program.name)
    if ask is None:
        module = program.name.lower()
        ask = [program.command[0], "-c", f"import importlib.metadata as m; print(m.version({module!r}))"]
    if shutil.which(ask[0]) is None:
        return ""
    answer = subprocess.run(ask, capture_output=True, text=True, check=False, cwd=ROOT)
    match = re.search(r"\d+\.\d+(\.\d+)*", answer.stdout + answer.stderr)
    return match[0] if match and (answer.returncode == 0 or program.name == "tcptrace") else ""


def capture(kind: str, packets: int, scale: int = 1) -> Path:
    """Return a generated capture, made now if it was not."""
    path = DATA / f"{kind}-{packets * scale}.pcap"
    if not path.exists():
        generate = [sys.executable, "-m", "tests.bench.generate", str(path), "--kind", kind]
        subprocess.run([*generate, "--packets", str(packets), "--scale", str(scale)], check=True, cwd=ROOT)
    return path


# --- the measurements


@dataclass
class Bench:
    """All measurements of one run."""

    file: Path
    compared: list[Program]
    more: dict[str, tuple[str, Runs]] = field(default_factory=dict)  # label -> (what was run, measured)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)


def compare(found: list[Program], file: Path, sliced: Path, rounds: int) -> None:
    """Run each program once a round, after one longwire run that is not counted."""
    with tempfile.TemporaryDirectory() as out:
        for n in range(rounds + 1):
            for program in found if n else found[:1]:
                print(f"round {n}: {program.name}", file=sys.stderr)
                path = sliced if program.sliced else file
                command = [part.format(file=path, out=out) if part in ("{file}", "{out}") else part
                           for part in program.command]  # fmt: skip
                into_cache(path)
                run(command, program.runs if n else Runs(), ok=(0, 1) if program.name == "longwire" else (0,))


def also(bench: Bench, packets: int, rounds: int) -> None:
    """Measure longwire alone: a capture four times as long, a scan, and how fast it starts."""
    with tempfile.TemporaryDirectory() as out:

        def measure(label: str, command: list[str], times: int = rounds, fresh: bool = False) -> None:
            runs = Runs()
            if not fresh:
                run(command, Runs())  # compiles what no earlier capture needed: half a minute, and 100 MB
            for _ in range(times):
                with tempfile.TemporaryDirectory() as cache:
                    run(command, runs, env={"LONGWIRE_CACHE_DIR": cache} if fresh else None)
            shown = " ".join(re.sub(r"^.*/", "", part) for part in command).replace(Path(out).name, "OUT")
            bench.more[label] = (shown, runs)
            print(label, file=sys.stderr)

        analyze = longwire("analyze", "--out", out)
        small = capture("small", 10)
        measure(
            "the same connections, 4 times the packets", [*analyze, str(capture("mixed", packets, 4))], min(rounds, 3)
        )
        measure("a SYN scan, one flow a packet", [*analyze, str(capture("synscan", packets))], min(rounds, 3))
        measure("ten packets, kernels compiled before", [*analyze, str(small)])
        measure("ten packets, to the terminal", longwire("analyze", str(small)))
        measure("help", longwire("--help"))
        measure("ten packets, first run ever (compiles)", [*analyze, str(small)], 1, fresh=True)
    stages = [sys.executable, "-m", "tests.bench.kernels", str(bench.file), "--json", "--rounds", str(rounds)]
    answer = subprocess.run(stages, capture_output=True, text=True, check=False, cwd=ROOT)
    if answer.returncode == 0:
        bench.stages = json.loads(answer.stdout)


# --- the report


def machine() -> str:
    """Describe the machine, without its name."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    kernel = re.match(r"[\d.]+", platform.release())
    cpu = f"{os.cpu_count()} cores {model[1] if model else platform.machine()}"
    return (
        f"{cpu}, {memory_gb:.0f} GB, {platform.system()} {kernel[0] if kernel else ''}, Python {sys.version.split()[0]}"
    )


def report(bench: Bench, date: str, packets: int, rounds: int) -> str:
    """Return the measurements as Markdown."""
    size = bench.file.stat().st_size
    ours = bench.compared[0].runs
    lines = [
        f"# Benchmark, {date}",
        "",
        f"Machine: {machine()}.",
        f"Capture: {packets:,} packets, {size / 1e6:,.0f} MB, 3,000 connections at a time (HTTP, TLS, WebSocket; "
        "losses, IPv6, keep-alives), made by `tests/bench/generate.py`, in the page cache.",
        f"Whole processes; median of {rounds} interleaved rounds; peak memory is the largest process's.",
        "",
        "Processor time is user and system, all threads: says less than wall time, but depends less on what else ran.",
        "",
        "| program | what it does | wall | range | of longwire | processor | of longwire | peak memory |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for program in bench.compared:
        runs, factor = program.runs, SLICE if program.sliced else 1
        name = f"{program.name} {program.version}".strip() + (" (*)" if program.sliced else "")
        if runs.failed or not runs.seconds:
            lines.append(f"| {name} | {program.does} | skipped: {runs.failed} | | | | | |")
            continue
        wall = runs.s * factor
        spread = f"{min(runs.seconds) * factor:.2f}-{max(runs.seconds) * factor:.2f} s"
        ratio = f"{wall / ours.s:.2f} x" if ours.seconds else ""
        cpu = f"{runs.cpu * factor:.2f} s | " + (f"{runs.cpu * factor / ours.cpu:.2f} x" if ours.seconds else "")
        lines.append(f"| {name} | {program.does} | {wall:.2f} s | {spread} | {ratio} | {cpu} | {runs.mb:,.0f} MB |")
    lines += [
        "",
        f"(*) read the first 1/{SLICE} of the packets only; times are multiplied by {SLICE}, start-up included. Peak "
        "memory is that of the slice. NFStream spreads over several processes.",
        "",
        "## longwire alone",
        "",
        "| case | command | wall | processor | peak memory |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for label, (shown, runs) in bench.more.items():
        result = f"{runs.s:.2f} s | {runs.cpu:.2f} s | {runs.mb:,.0f} MB" if runs.seconds else f"{runs.failed} | | "
        lines.append(f"| {label} | `{shown}` | {result} |")
    if bench.stages:
        lines += ["", "## Inside the process", "", "Medians, kernels compiled, nothing written.", ""]
        lines += ["| stage | time | capture | packets |", "| --- | ---: | ---: | ---: |"]
        for name, row in bench.stages.items():
            lines.append(f"| {name} | {row['s']:.3f} s | {row['gb_per_s']:.2f} GB/s | {row['mpps']:.2f} M/s |")
        lines += [
            "",
            "`walk` finds the packets, `labels` adds all work per packet, `engine` verdicts and tables in memory.",
        ]
    lines += [
        "",
        "## Again",
        "",
        f"    python -m tests.bench.bench --date {date} --packets {packets} --rounds {rounds}",
        "",
        "with tcptrace and tshark installed, and `--nfstream-python` naming a Python that has NFStream.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Make the captures, measure, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", required=True, help="as YYYY-MM-DD; names the report")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nfstream-python", default=sys.executable, help="a Python that has NFStream")
    parser.add_argument("--out", type=Path, help="default: reports/bench-DATE.md")
    options = parser.parse_args()
    file = capture("mixed", options.packets)
    sliced = capture("mixed", options.packets // SLICE)  # the same seed gives the same first packets
    bench = Bench(file, programs(options.nfstream_python))
    compare(bench.compared, file, sliced, options.rounds)
    also(bench, options.packets, options.rounds)
    out = options.out or ROOT / "reports" / f"bench-{options.date}.md"
    out.write_text(report(bench, options.date, options.packets, options.rounds))
    print(out.name, file=sys.stderr)


if __name__ == "__main__":
    main()
