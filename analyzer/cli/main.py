"""The `longwire` command.

Imports nothing that takes time: `--help`, `--version` and shell completion answer at once, and numba, pyarrow and rich
come in only when a capture is really analysed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import analyzer
from analyzer.cli.commands import IdleMin, Keys, Knowledge, register
from analyzer.cli.guard import OK, guarded
from analyzer.cli.live_request import InterfacesRequest, LiveRequest
from analyzer.cli.request import Explain, Job, Request
from analyzer.errors import AnalyzerError

_HELP = """Who closed this TCP connection, why, and what should have kept it alive.

Exit codes: 0 analysed, 1 analysed but the input was damaged, 2 wrong usage or unreadable input.
"""

_ANALYZE_EPILOG = """\b
Examples:
  longwire analyze night.pcap
  longwire analyze a.pcapng.gz b.pcapng.gz --out tables --format csv
  longwire analyze night.pcap --where "server_port == 443 and close_kind == 'rst_on_idle'"
  longwire analyze night.pcap --out tables --segments --idle-min 0.2
"""

_LIVE_EPILOG = """\b
Examples:
  longwire live eth0 tcp port 443
  longwire live any --out tables --write ring.pcapng --rotate 100MB --keep 20
  longwire live eth0,eth1 --json | jq 'select(.close_kind == "rst_on_idle")'
  longwire live eth0 --metrics 9464 --out tables --out-every 5min
  longwire live eth0 --processes 4 --out tables

\b
Needs CAP_NET_RAW. Started with sudo, longwire becomes the user who called sudo once the capture is open, and files
belong to that user; --user names another. A root that nobody called by sudo stays root unless --user is given.
"""

# rich_markup_mode=None: rich's help takes a third of a second and boxes that nobody pastes into a ticket
_NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(help=_HELP, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=_NAMES)


class Format(StrEnum):
    """How tables are written."""

    parquet = "parquet"
    csv = "csv"
    json = "json"
    xlsx = "xlsx"


def main(arguments: list[str], *, own_process: bool = False) -> int:
    """Run one command and return its exit code; errors are printed, bugs raise.

    own_process  True if nothing else will ever run in this process (see `analyze.prepare_process`)
    """
    return guarded(lambda: _obey(arguments, own_process))


def _obey(arguments: list[str], own_process: bool) -> int:
    try:
        # Typer only parses; commands run outside of it, so that it does not answer for broken pipes and interrupts.
        request = app(arguments, prog_name="longwire", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for wrong usage; its class moved between versions
            raise
        asked_for = getattr(getattr(error, "ctx", None), "command_path", "longwire analyze")
        raise AnalyzerError(_usage(error), f"{asked_for} --help shows the options with examples") from None
    asked = isinstance(request, Request | Job | Explain | LiveRequest | InterfacesRequest)
    return _run(request, own_process) if asked else OK


def _run(request: Request | Job | Explain | LiveRequest | InterfacesRequest, own_process: bool) -> int:
    if isinstance(request, Job):
        return request.run(own_process)
    if isinstance(request, Explain):
        from analyzer.cli.explain import explain

        return explain(request.code)
    if isinstance(request, LiveRequest):
        from analyzer.cli.live import run_live

        return run_live(request, own_process=own_process)
    if isinstance(request, InterfacesRequest):
        from analyzer.cli.live import list_interfaces

        return list_interfaces()
    from analyzer.cli.analyze import analyze_files

    return analyze_files(request, own_process=own_process)


def _usage(error: Any) -> str:
    return str(error.format_message()).rstrip(".")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"longwire {analyzer.__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def longwire(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Say what the command is for; the commands do the work."""
    if context.invoked_subcommand is None:
        raise AnalyzerError(
            "no command was given", "longwire analyze FILE... analyses captures; longwire --help says more"
        )


@app.command(epilog=_ANALYZE_EPILOG)
def analyze(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="pcap or pcapng, also compressed; several are read as one capture."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write every table to DIR instead of a summary.")
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="Format of the tables.")] = Format.parquet,
    segments: Annotated[
        bool, typer.Option("--segments", help="Also write the segments table: one row per TCP segment.")
    ] = False,
    payload: Annotated[
        bool, typer.Option("--payload", help="Also write the first bytes of WebSocket messages, escaped.")
    ] = False,
    records: Annotated[
        bool, typer.Option("--records", help="Also write a row per TLS record and HTTP/2 frame of bulk data.")
    ] = False,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="EXPR", help="Keep the flows whose columns satisfy EXPR."),
    ] = None,
    idle_min: IdleMin = None,
    knowledge: Knowledge = None,
    keys: Keys = None,
) -> Request:
    """Analyse captures: a summary on the terminal, or with --out every table as a file."""
    return Request(
        tuple(files), out, format.value, segments, where, idle_min, knowledge, tuple(keys or ()), payload, records
    )  # fmt: skip


@app.command()
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="A finding's or anomaly's code, a word of a verdict, a table or a column, e.g. rst_on_idle.",
        ),
    ] = None,
) -> Explain:
    """Say what a finding, a word of a verdict, a table or a column means; without CODE, list all findings."""
    return Explain(code)


@app.command(epilog=_LIVE_EPILOG)
def live(
    interface: Annotated[
        str, typer.Argument(metavar="INTERFACE", help="Name, several with commas between them, or any.")
    ],
    filter: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]", help="What to capture, in tcpdump's language.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write every table to DIR/<table>/part-*.parquet.")
    ] = None,
    out_every: Annotated[
        str | None, typer.Option("--out-every", metavar="SPAN", help="How often a part is written.  [default: 60s]")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Also record the packets as pcapng.")
    ] = None,
    rotate: Annotated[
        str | None, typer.Option("--rotate", metavar="SIZE|SPAN", help="Begin a new file after 100MB, or after 1h.")
    ] = None,
    keep: Annotated[
        int,
        typer.Option("--keep", metavar="N", min=0, show_default=False, help="Keep the last N files.  [default: all]"),
    ] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="A JSON line per closed connection and finding, on stdout.")
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", metavar="[HOST:]PORT", help="Serve Prometheus metrics, on 127.0.0.1 if no host is named."
        ),
    ] = None,
    segments: Annotated[bool, typer.Option("--segments", help="Also write the segments table.")] = False,
    idle_min: Annotated[
        float | None, typer.Option("--idle-min", metavar="SECONDS", help="Shortest silence to report.  [default: 1.0]")
    ] = None,
    keys: Keys = None,
    linger: Annotated[
        float | None,
        typer.Option("--linger", metavar="SECONDS", help="Rows are final this long after a close.  [default: 60]"),
    ] = None,
    snaplen: Annotated[int, typer.Option("--snaplen", metavar="BYTES", help="Bytes kept of each packet.")] = 262_144,
    promiscuous: Annotated[
        bool, typer.Option("--promiscuous", help="Also see frames that are not for this machine.")
    ] = False,
    backend: Annotated[
        str, typer.Option("--backend", metavar="ring|scapy", help="How to capture.  [default: ring on Linux]")
    ] = "",
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Become this user once the capture is open.")
    ] = "",
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="End by itself after this long.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="Share the work among N processes (Linux).")
    ] = 1,
) -> LiveRequest:
    """Capture from a network interface: closes as they happen, until Ctrl-C."""
    names = tuple(name for name in interface.split(",") if name)
    return LiveRequest(
        names, " ".join(filter or ()), out, out_every, write, rotate, keep, json, metrics, segments, idle_min,
        tuple(keys or ()), linger, snaplen, promiscuous, backend, user, for_s, processes,
    )  # fmt: skip


@app.command()
def interfaces() -> InterfacesRequest:
    """List the network interfaces that `live` can capture from."""
    return InterfacesRequest()


register(app)
