"""Make the sample captures: `sudo python -m captures.make [NAME...]`. Linux, root; `captures/README.md` says what else.

Each scenario runs real programs in network namespaces of its own, while tcpdump listens beside one of them. `NAME.pcap`
is what tcpdump wrote, `NAME.server.pcap` what another one wrote at a second point, `NAME.keys` are TLS secrets where
the programs gave them, `NAME.json` is what the scenario did.
A scenario that fails leaves the files of its last success alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import captures.scenarios  # noqa: F401  (fills SCENARIOS)
from captures.catalogue import HERE, MAX_BYTES, check, sha256, write_readme
from captures.lab import PROGRAMS, SCENARIOS, Lab, Scenario, tool
from captures.net import Net

# command -> Debian package that has it
DEBIAN = {
    "curl": "curl", "haproxy": "haproxy", "ip": "iproute2", "mosquitto": "mosquitto", "nft": "nftables",
    "nginx": "nginx-light", "node": "nodejs", "npm": "npm", "openssl": "openssl", "redis-server": "redis-server",
    "tcpdump": "tcpdump",
}  # fmt: skip


def make(entry: Scenario) -> None:
    """Run one scenario and write its capture and its truth."""
    net = Net(entry.topology)
    with tempfile.TemporaryDirectory(prefix="longwire-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # programs that drop root still read their configuration
        points = {f"{entry.name}.pcap": entry.captured_at}
        if entry.also_at:
            points[f"{entry.name}.{entry.also_at}.pcap"] = entry.also_at
        try:
            net.up()
            lab = Lab(entry, net, folder)
            try:
                began = time.time()
                with contextlib.ExitStack() as captures:
                    for file, role in points.items():
                        captures.enter_context(net.capturing(role, folder / file))
                    entry.action(lab)
                document = truth(lab, began)
            finally:
                lab.end()
        finally:
            net.down()
        for file in points:
            refuse(folder / file, file)
        facts = [{"sha256": sha256(folder / file), "bytes": (folder / file).stat().st_size} for file in points]
        document |= facts[0]
        if entry.also_at:
            document["second"] = {"captured_at": entry.also_at, **facts[1], "differences": lab.between}
        for file in points:
            shutil.copyfile(folder / file, HERE / file)
        if lab.keys.exists():
            shutil.copyfile(lab.keys, HERE / f"{entry.name}.keys")
        (HERE / f"{entry.name}.json").write_text(json.dumps(document, indent=1) + "\n")


def truth(lab: Lab, began: float) -> dict[str, Any]:
    """Return the content of NAME.json, but for what is about the file itself."""
    changes = lab.changes()
    nobody_probed = not any(change["TCPKeepAlive"] for change in changes.values())
    for connection in lab.connections:
        if nobody_probed:  # the kernels' word
            connection.setdefault(
                "tcp_keepalive", {side: {"probes": 0, "answered": 0} for side in ("client", "server")}
            )
    return {
        "name": lab.entry.name,
        "group": lab.entry.group,
        "what": lab.entry.what,
        "look_for": lab.look_for,
        "tools": [tool(name) for name in lab.entry.uses] or ["plain sockets"],
        "captured_at": lab.entry.captured_at,
        "keylog": f"{lab.entry.name}.keys" if lab.keys.exists() else None,
        "capture_start_epoch": round(began, 3),
        "capture_end_epoch": round(time.time(), 3),
        "connections": lab.connections,
        "kernel_counters": {role: {key: n for key, n in change.items() if n} for role, change in changes.items()},
        "notes": lab.notes,
    }


def refuse(pcap: Path, name: str) -> None:
    """Stop if a capture is too large, or shows where it was made."""
    if pcap.stat().st_size > MAX_BYTES:
        raise RuntimeError(f"{name}: {pcap.stat().st_size} bytes are more than {MAX_BYTES}")
    data = pcap.read_bytes()
    places = {socket.gethostname(), os.environ.get("USER", ""), os.environ.get("SUDO_USER", "")} - {"root", "localhost"}
    for word in (*places, str(Path(__file__).parents[1]), str(pcap.parent)):
        if len(word) > 4 and word.encode() in data:  # shorter ones turn up by chance
            raise RuntimeError(f"{name}: the capture contains {word!r}")


def install() -> None:
    """Install what is missing: Debian packages, Python packages for this interpreter, npm packages below programs/."""
    missing = [package for command, package in DEBIAN.items() if not shutil.which(command)]
    if missing:
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", *missing], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-r", HERE / "requirements.txt"], check=True)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", PROGRAMS], check=True)


def attempt(entry: Scenario) -> str | None:
    """Make one capture; return what went wrong, if anything did."""
    began = time.monotonic()
    try:
        make(entry)
    except Exception:
        return f"{entry.name}: {traceback.format_exc()}"
    print(f"{entry.name} ({time.monotonic() - began:.1f} s)", file=sys.stderr)
    return None


def main() -> None:
    """Make the captures named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Make the sample captures (Linux, root).")
    parser.add_argument("names", nargs="*", metavar="NAME", help="captures, or groups of them; default: all")
    parser.add_argument("--install", action="store_true", help="first install what the scenarios run")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (default 4; they mostly wait)")
    parser.add_argument("--check", action="store_true", help="make nothing: check the files against the catalogue")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit("\n".join(check()) or None)
    wanted = [e for e in SCENARIOS.values() if not arguments.names or {e.name, e.group} & set(arguments.names)]
    known = set(SCENARIOS) | {entry.group for entry in SCENARIOS.values()}
    if unknown := set(arguments.names) - known:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if arguments.install:
        install()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        failures = [failure for failure in pool.map(attempt, wanted) if failure]
    write_readme()
    sys.exit("\n".join(failures) or None)


if __name__ == "__main__":
    main()
