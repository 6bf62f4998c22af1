"""How fast can live capture go, and does its memory stay flat: `python -m tests.bench.live_load --date 2026-11-25`.

Two network namespaces are joined by a veth pair. One sends the benchmark's connections (tests/bench/generate.py) as
fast as one core can, the other captures: tcpdump to /dev/null, longwire with its tables written, and longwire that
also records, in turns. A program that drops packets is given a lower rate until it drops none. Needs root and tcpdump.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import capture, machine
from tests.live.nets import Net, net
from tests.talk import Talk

ROOT = Path(__file__).parents[2]
SENDER = ROOT / "tests" / "bench" / "live_send.py"
TARGET_SHARE, TARGET_PPS = 0.8, 300_000
STEPS, STEP = 14, 0.85
RING_MB = 64
SOAK_PPS = 20_000


@dataclass(frozen=True)
class Run:
    """What one run gave: packets sent, packets a second, packets captured and dropped, the capturer's CPU seconds."""

    sent: int
    rate: float
    captured: int
    dropped: int
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """Return microseconds of CPU for each packet captured."""
        return self.cpu_s / max(self.captured, 1) * 1e6


def send(made: Net, frames: Path, seconds: float, rate: float) -> tuple[int, float]:
    """Send from host a; return (packets, packets a second)."""
    command = ["ip", "netns", "exec", made.ns("a"), sys.executable, str(SENDER), str(frames), "eth1"]
    done = subprocess.run([*command, str(seconds), str(rate)], capture_output=True, text=True, check=True)
    packets, took = done.stdout.split()
    return int(packets), int(packets) / float(took)


def tcpdump(made: Net, frames: Path, seconds: float, rate: float) -> Run:
    """Run tcpdump -w /dev/null with a buffer as large as longwire's ring."""
    command = ["tcpdump", "-i", "eth1", "-w", "/dev/null", "-B", str(RING_MB * 1024), "-n"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", made.ns("b"), *command], stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            break
    before = cpu_s(process.pid)
    packets, reached = send(made, frames, seconds, rate)
    time.sleep(1)
    used = cpu_s(process.pid) - before
    process.send_signal(signal.SIGINT)
    text = process.stderr.read()
    process.wait()
    counts = {word: int(number) for number, word in re.findall(r"(\d+) packets? (captured|dropped)", text)}
    return Run(packets, reached, counts["captured"], counts["dropped"], used)


def longwire(made: Net, frames: Path, seconds: float, rate: float, *more: str) -> Run:
    """Run longwire live with all tables written."""
    with tempfile.TemporaryDirectory() as folder:
        live = made.live("b", "eth1", "--out", f"{folder}/t", *more, quiet=True)
        before = cpu_s(live.process.pid)
        packets, reached = send(made, frames, seconds, rate)
        time.sleep(1)
        used = cpu_s(live.process.pid) - before
        live.end(code=live.process.poll() or 0)
        summary = json.loads((Path(folder) / "t" / "summary.json").read_text())
    return Run(packets, reached, summary["packets"], summary["dropped_reported"], used)


Program = Callable[[Net, Path, float, float], Run]
PROGRAMS: dict[str, Program] = {
    "tcpdump -w /dev/null": tcpdump,
    "longwire live --out": longwire,
    "longwire live --out --write /dev/null": lambda made, frames, seconds, rate: longwire(
        made, frames, seconds, rate, "--write", "/dev/null"
    ),
}


def without_drops(program: Program, made: Net, frames: Path, seconds: float) -> tuple[Run, int]:
    """Return the first run without drops, from full speed downwards, and the drops at full speed."""
    rate, full = 0.0, -1
    for _ in range(STEPS):
        run = program(made, frames, seconds, rate)
        full = run.dropped if full < 0 else full
        if run.dropped == 0:
            if run.captured < run.sent:
                raise RuntimeError(f"{run.sent - run.captured} packets are missing and were not reported as dropped")
            return run, full
        rate = run.rate * STEP
    raise RuntimeError("packets were dropped at every rate")


def short_connections(path: Path, count: int = 1000) -> None:
    """Write a pcap of whole connections of ten packets, which come in order."""
    with path.open("wb") as file:
        file.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
        for k in range(count):
            talk = Talk((f"10.1.{k // 250}.{k % 250 + 1}", 10_000 + k), ("10.2.0.1", 443)).handshake()
            talk = talk.orig(b"x" * 200).resp(b"y" * 400).orig_ack().orig_fin().resp_fin().orig_ack()
            for ts_ns, frame in talk.packets:
                head = (ts_ns // 10**9, ts_ns % 10**9 // 1000, len(frame), len(frame))
                file.write(b"".join(number.to_bytes(4, "little") for number in head) + frame)


@dataclass(frozen=True)
class Soak:
    """Connections analysed and resident memory in MB, second by second."""

    seconds: float
    connections: int
    dropped: int
    memory: list[float]

    @property
    def growth(self) -> float:
        """Return how much larger the second half's peak is than the first half's, as a share."""
        half = len(self.memory) // 2
        return max(self.memory[half:]) / max(self.memory[:half]) - 1


def soak(made: Net, seconds: float, rate: float, linger: float) -> Soak:
    """Run longwire under short connections, about a ninth of `rate` a second, and watch its memory."""
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "short.pcap"
        short_connections(frames)
        live = made.live("b", "eth1", "--out", f"{folder}/t", "--linger", str(linger), "--out-every", "10s", quiet=True)
        command = ["ip", "netns", "exec", made.ns("a"), sys.executable, str(SENDER), str(frames), "eth1"]
        sender = subprocess.Popen([*command, str(seconds), str(rate)], stdout=subprocess.PIPE, text=True)
        memory = []
        while sender.poll() is None:
            time.sleep(1)
            if live.process.poll() is not None:
                raise RuntimeError(f"longwire ended: {live.end(code=live.process.returncode)}{live.said}")
            memory.append(resident_mb(live.process.pid))
        sender.communicate()
        time.sleep(1)
        live.end()
        summary = json.loads((Path(folder) / "t" / "summary.json").read_text())
    return Soak(seconds, summary["rows"]["flows"], summary["dropped_reported"], memory)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return a process's memory without the pages of the ring, which are the kernel's and counted as shared."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return (int(status["RssAnon"].split()[0]) + int(status["RssFile"].split()[0])) / 1024


def report(date: str, results: dict[str, list[tuple[Run, int]]], soaked: Soak, command: str) -> str:
    """Return the report as Markdown."""
    lines = [
        f"# Live capture, {date}",
        "",
        f"Machine: {machine()}.",
        "One sender on one core, a veth pair, one capturing process; frames of 700 bytes on average, 3,000",
        "connections at a time, each time through as new ones. Every program has a buffer of 64 MB. Medians of",
        "interleaved rounds; where packets were dropped at full speed, the rate was lowered until none were.",
        "",
        "| program | packets/s without a drop | range | drops at full speed | CPU a packet |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    rates = {name: [run.rate for run, _ in runs] for name, runs in results.items()}
    for name, runs in results.items():
        drops = max(full for _, full in runs)
        low, high = min(rates[name]), max(rates[name])
        cpu = statistics.median(run.cpu_us for run, _ in runs)
        middle = statistics.median(rates[name])
        lines.append(f"| `{name}` | {middle:,.0f} | {low:,.0f}-{high:,.0f} | {drops:,} | {cpu:.2f} us |")
    dump, *ours = (statistics.median(found) for found in rates.values())
    share = [rate / dump for rate in ours]
    reached = "reached" if share[0] >= TARGET_SHARE and ours[0] >= TARGET_PPS else "not reached"
    memory = soaked.memory
    lines += [
        "",
        f"longwire reaches {share[0]:.2f} of tcpdump's rate, {share[1]:.2f} while it records too.",
        f"To reach: {TARGET_SHARE} of it and {TARGET_PPS:,} packets/s: {reached}.",
        f"Load average while it ran: {os.getloadavg()[2]:.1f} (15 minutes), on {os.cpu_count()} cores. Where that is",
        "more than the sender and the capturer need, the rates say what was left to them; CPU a packet does not.",
        "",
        "## Memory",
        "",
        f"{soaked.connections:,} connections in {soaked.seconds:.0f} s, all tables written every 10 s, closed ones "
        f"kept for 5 s, {soaked.dropped:,} packets dropped.",
        f"Resident memory without the ring: {memory[len(memory) // 4]:.0f} MB after a quarter, {max(memory):.0f} MB at "
        f"most, {memory[-1]:.0f} MB at the end; the second half's peak is {soaked.growth:+.1%} of the first half's.",
        "",
        "## Again",
        "",
        f"    {command}",
        "",
        "as root.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--date", required=True, help="as YYYY-MM-DD; names the report")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--soak", type=float, default=600.0, help="seconds")
    asked = parser.parse_args()
    frames = capture("mixed", 200_000)
    results: dict[str, list[tuple[Run, int]]] = {name: [] for name in PROGRAMS}
    with net() as made:
        for _ in range(asked.rounds):
            for name, program in PROGRAMS.items():
                results[name].append(without_drops(program, made, frames, asked.seconds))
                print(name, *results[name][-1], file=sys.stderr)
        soaked = soak(made, asked.soak, SOAK_PPS, 5.0)
    command = f"python -m tests.bench.live_load --date {asked.date} --rounds {asked.rounds}"
    command += f" --seconds {asked.seconds:g} --soak {asked.soak:g}"
    path = ROOT / "reports" / f"live-{asked.date}.md"
    path.write_text(report(asked.date, results, soaked, command), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
