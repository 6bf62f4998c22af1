"""Network namespaces for a test: a line of hosts joined by veth pairs, and longwire running in one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analyzer import api
from analyzer.settings import Settings
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


def why_not() -> str:
    """Return why no namespace can be made here, empty if one can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "needs root: network namespaces are made"
    if shutil.which("ip") is None:
        return "needs ip (iproute2)"
    name = f"lw{os.getpid()}probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def sh(words: str) -> str:
    """Run a command; its failure is the test's."""
    done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@dataclass
class Net:
    """Hosts by letter; `a` and `b` are joined, with a middle `m` between them if there is a router.

    a 10.9.1.1 -- 10.9.1.2 b        or        a 10.9.1.1 -- 10.9.1.254 m 10.9.2.254 -- 10.9.2.2 b
    """

    tag: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def ns(self, host: str) -> str:
        return f"{self.tag}{host}"

    def ip(self, host: str, words: str) -> str:
        return sh(f"ip -n {self.ns(host)} {words}")

    def run(self, host: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python script on a host."""
        command = ["ip", "netns", "exec", self.ns(host), sys.executable, "-c", script, *arguments]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> str:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return out

    def live(self, host: str, *arguments: str, within: str = "", quiet: bool = False) -> Live:
        """Start `longwire live` on a host and wait until it captures; `within` is a command to run it under.

        quiet  throw its stdout away: it would wait for a reader once a pipe is full of closes
        """
        command = ["ip", "netns", "exec", self.ns(host), *within.split(), sys.executable, "-m", "analyzer", "live"]
        command += arguments
        process = subprocess.Popen(
            command, text=True, cwd=ROOT, stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1", "SUDO_UID": ""},
        )  # fmt: skip
        self.processes.append(process)
        assert process.stderr is not None
        said = ""
        while line := process.stderr.readline():
            said += line
            if line.startswith("capturing on"):
                return Live(process, said)
        raise AssertionError(said)


@dataclass
class Live:
    """A running `longwire live`."""

    process: subprocess.Popen[str]
    said: str

    def end(self, number: int = signal.SIGINT, code: int = 0) -> str:
        """Wait a moment for what is under way, end it, and return its stdout."""
        time.sleep(0.3)
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.said += err
        assert self.process.returncode == code, self.said
        return out or ""

    def closes(self, **how: int) -> list[dict[str, Any]]:
        """End it and return the closes that it printed as JSON, by flow."""
        rows = [json.loads(line) for line in self.end(**how).splitlines()]
        return sorted((row for row in rows if row["event"] == "close"), key=lambda row: row["flow_id"])


@contextmanager
def net(router: bool = False) -> Iterator[Net]:
    """Make the hosts; leaving ends their processes and removes them."""
    made = Net(f"lw{os.getpid()}{time.monotonic_ns() % 10**6}")
    hosts = "amb" if router else "ab"
    try:
        for host in hosts:
            sh(f"ip netns add {made.ns(host)}")
            made.ip(host, "link set lo up")
        links = [("a", "m", 1), ("m", "b", 2)] if router else [("a", "b", 1)]
        for left, right, number in links:
            sh(f"ip link add eth{number} netns {made.ns(left)} type veth peer name eth{number} netns {made.ns(right)}")
            last = (".254", ".2") if left == "m" else (".1", ".254" if router else ".2")
            for host, end in ((left, last[0]), (right, last[1])):
                made.ip(host, f"addr add 10.9.{number}{end}/24 dev eth{number}")
                made.ip(host, f"link set eth{number} up")
        if router:
            made.ip("a", "route add default via 10.9.1.254")
            made.ip("b", "route add default via 10.9.2.254")
            sh(f"ip netns exec {made.ns('m')} sysctl -qw net.ipv4.ip_forward=1")
        yield made
    finally:
        for process in made.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for host in hosts:
            subprocess.run(["ip", "netns", "del", made.ns(host)], check=False, capture_output=True)


def tables_in(folder: Path, process: int = 0) -> dict[str, pa.Table]:
    """Return the tables that a live run wrote, or one of its processes did, each in its order."""
    read = {}
    for name in TABLES:
        own = folder / name / (f"process={process}" if process else "")
        paths = sorted(own.glob("part-*.parquet"))
        read[name] = in_order(name, [pq.read_table(path, partitioning=None) for path in paths])
    return read


def assert_same(live: dict[str, pa.Table], recorded: list[Path], settings: Settings | None = None) -> None:
    """Assert that live tables are, row for row, what `analyze` says of the recording. The source's name differs."""
    again = api.analyze(recorded, segments=True, settings=settings)
    for name in TABLES:
        if name not in ("captures", "anomalies"):
            assert live[name].equals(again.arrow(name)), name
    counts = ["packets", "tcp_segments", "snaplen_clipped", "dropped_reported", "duplicates"]
    for column in counts:
        assert pc.sum(live["captures"][column]).equals(pc.sum(again.arrow("captures")[column])), column
    codes = ["code", "count", "first_flow_id", "first_frame"]
    assert live["anomalies"].select(codes).equals(again.arrow("anomalies").select(codes))


netns = [pytest.mark.live, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


def self_signed(path: Path) -> Path:
    """Write the key and certificate of a server to `path`."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "h")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(form))
    return path
