"""Counters of a running capture for Prometheus.

Source  Prometheus text exposition format 0.0.4.
Limits  At most MAX_ENDPOINTS servers have a label of their own, in the order in which they closed first; the others
        share `other`, so that a scan cannot fill a monitoring system.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.compute as pc

from analyzer.errors import AnalyzerError
from analyzer.render.live import Now

MAX_ENDPOINTS = 100
OTHER = "other"
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts what a scrape will ask for; `text` may be called from another thread."""

    def __init__(self) -> None:
        self._closes: Counter[tuple[str, str]] = Counter()
        self._endpoints: set[str] = set()
        self._missed = 0
        self._text = b""
        self.update(Now())

    def closed(self, rows: pa.Table) -> None:
        """Take closes: an Arrow table with `close_kind` and `server`."""
        pairs = pa.table({"kind": rows["close_kind"], "server": rows["server"]})
        for row in pairs.group_by(["kind", "server"], use_threads=False).aggregate([([], "count_all")]).to_pylist():
            self._closes[row["kind"], self._label(row["server"])] += row["count_all"]

    def heartbeats(self, rows: pa.Table) -> None:
        """Take rows of `heartbeats`."""
        self._missed += pc.sum(pc.cast(rows["missed"], pa.int64())).as_py() or 0

    def update(self, now: Now) -> None:
        """Take the numbers of this moment; this is what scrapes get until the next call."""
        states = now.snapshot.states
        closed = ((f'kind="{_escaped(kind)}",endpoint="{_escaped(end)}"', n) for (kind, end), n in self._closes.items())
        parts = [
            _metric("longwire_open_connections", "gauge", "Connections by state.",
                    ((f'state="{state}"', count) for state, count in states.items() if state != "closed")),
            _metric("longwire_closes_total", "counter", "Closed connections by close kind and server.", closed),
            _metric("longwire_packets_total", "counter", "Packets captured.", [("", now.packets)]),
            _metric("longwire_tcp_segments_total", "counter", "TCP segments captured.", [("", now.segments)]),
            _metric("longwire_dropped_packets_total", "counter", "Packets the kernel dropped.", [("", now.dropped)]),
            _metric("longwire_unanswered_probes", "gauge",
                    "TCP keep-alive probes without answer on the connections that have most.",
                    [("", sum(flow.unanswered for flow in now.snapshot.probing))]),
            _metric("longwire_heartbeat_misses_total", "counter",
                    "Heartbeats above TCP without answer, on connections that ended.", [("", self._missed)]),
        ]  # fmt: skip
        self._text = "".join(parts).encode()

    def text(self) -> bytes:
        """Return the metrics in the exposition format."""
        return self._text

    def _label(self, endpoint: str) -> str:
        if endpoint not in self._endpoints:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                return OTHER
            self._endpoints.add(endpoint)
        return endpoint


def _metric(name: str, kind: str, words: str, values: Iterable[tuple[str, int]]) -> str:
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class MetricsServer:
    """Serves /metrics in a thread until `close`. address is where it listens: (host, port)."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a client that sends nothing must not hold a thread

            def do_GET(self) -> None:
                found = self.path.split("?")[0] in ("/", "/metrics")
                body = metrics.text() if found else b"see /metrics\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: stderr is for people."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

        try:
            self._server = Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a port is below 65536"
            raise AnalyzerError(
                f"metrics cannot be served on {host}:{port}: {reason}",
                "choose another port, or an address of this machine",
            ) from None
        self.address: tuple[str, int] = (host, int(self._server.server_address[1]))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
