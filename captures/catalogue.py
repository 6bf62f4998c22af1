"""The catalogue: a table made from the truth files, and whether the files are the ones it speaks of."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import struct
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- catalogue -->", "<!-- end of catalogue -->"
MAX_BYTES = 300_000
NETWORK = ipaddress.ip_network("10.77.0.0/16")
LICENCE = "MIT"  # that of this repository: scripts and captures are its own work
GROUPS = {
    "tcp": "TCP: keep-alive, windows, peers that are gone",
    "closing": "TCP: ways to end",
    "middlebox": "Boxes on the way: NAT, firewalls, proxies",
    "http": "HTTP/1",
    "websocket": "WebSocket",
    "tls": "TLS",
    "http2": "HTTP/2 and gRPC",
    "messaging": "MQTT and Redis",
    "heartbeat": "Heartbeats known only by their timing, and what looks like them",
}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def truths() -> list[dict[str, Any]]:
    """Return the truth files, in the order of the groups, then by name."""
    found = [json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))]
    order = list(GROUPS)
    return sorted(found, key=lambda truth: order.index(truth["group"]))


def table() -> str:
    """Return the catalogue as Markdown, one table per group."""
    out = []
    every = truths()
    for group, title in GROUPS.items():
        mine = [truth for truth in every if truth["group"] == group]
        if mine:
            out += [
                f"### {title}",
                "",
                "| capture | what happened | what to look for | programs | bytes | SHA-256 | licence |",
            ]
            out += ["| --- | --- | --- | --- | --- | --- | --- |", *map(row, mine), ""]
    return "\n".join(out).rstrip()


def row(truth: dict[str, Any]) -> str:
    """Return one line of the catalogue."""
    keys = ", keys" if truth["keylog"] else ""
    second = f", [second point]({second_of(truth)})" if "second" in truth else ""
    name = f"[{truth['name']}]({truth['name']}.pcap){keys}{second}"
    cells = (
        name,
        truth["what"],
        truth["look_for"],
        ", ".join(truth["tools"]),
        str(truth["bytes"]),
        truth["sha256"][:16],
        LICENCE,
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def second_of(truth: dict[str, Any]) -> str:
    """Return the name of the capture that was taken at the second point."""
    return f"{truth['name']}.{truth['second']['captured_at']}.pcap"


def files(truth: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the captures of one scenario: name -> its hash and size."""
    return {f"{truth['name']}.pcap": truth} | ({second_of(truth): truth["second"]} if "second" in truth else {})


def write_readme() -> None:
    """Put the table between the two marks of README.md."""
    path = HERE / "README.md"
    head, _, rest = path.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    path.write_text(f"{head}{BEGIN}\n{len(truths())} captures.\n\n{table()}\n\n{END}{tail}")


def check() -> list[str]:
    """Return what is wrong with the files: size, hash, place in the catalogue, addresses, strangers."""
    wrong = []
    readme = (HERE / "README.md").read_text()
    for truth in truths():
        name = truth["name"]
        for file, facts in files(truth).items():
            wrong += check_file(HERE / file, facts)
        if row(truth) not in readme:
            wrong.append(f"{name}: its line in README.md is not up to date")
        if (HERE / f"{name}.keys").exists() != bool(truth["keylog"]):
            wrong.append(f"{name}: key log missing or not mentioned")
    named = {file for truth in truths() for file in files(truth)}
    wrong += [f"{path.name}: no truth" for path in sorted(HERE.glob("*.pcap")) if path.name not in named]
    return wrong


def check_file(path: Path, facts: dict[str, Any]) -> list[str]:
    """Return what is wrong with one capture."""
    if not path.exists():
        return [f"{path.name}: no capture"]
    wrong = []
    if sha256(path) != facts["sha256"] or path.stat().st_size != facts["bytes"]:
        wrong.append(f"{path.name}: not the file that the truth is about")
    if path.stat().st_size > MAX_BYTES:
        wrong.append(f"{path.name}: larger than {MAX_BYTES} bytes")
    strangers = [ip for ip in sorted(addresses(path)) if ipaddress.ip_address(ip) not in NETWORK]
    return wrong + [f"{path.name}: address {ip}" for ip in strangers]


def addresses(path: Path) -> set[str]:
    """Return the IPv4 addresses of a little-endian Ethernet pcap; anything else in it is an error."""
    data = path.read_bytes()
    found: set[str] = set()
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        frame = data[at + 16 : at + 16 + length]
        if frame[12:14] != b"\x08\x00":
            raise ValueError(f"{path.name}: a frame that is not IPv4")
        found |= {str(ipaddress.ip_address(frame[26:30])), str(ipaddress.ip_address(frame[30:34]))}
        at += 16 + length
    return found
