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
from analyzer.cli.commands import register
from analyzer.cli.guard import OK, guarded
from analyzer.cli.request import Job, Request
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

# rich_markup_mode=None: rich's help takes a third of a second and boxes that nobody pastes into a ticket
app = typer.Typer(help=_HELP, rich_markup_mode=None, pretty_exceptions_enable=False)


class Format(StrEnum):
    """How tables are written."""

    parquet = "parquet"
    csv = "csv"
    json = "json"
    xlsx = "xlsx"


def main(arguments: list[str], *, own_process: bool = False) -> int:
    """Run one command and return its exit code; errors are printed, bugs raise.

    own_process  True if nothing else will ever run in this process (see `analyze.spare_pandas`)
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
        raise AnalyzerError(_usage(error), "longwire analyze --help shows the options with examples") from None
    return _run(request, own_process) if isinstance(request, Request | Job) else OK


def _run(request: Request | Job, own_process: bool) -> int:
    if isinstance(request, Job):
        return request.run(own_process)
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
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="EXPR", help="Keep the flows whose columns satisfy EXPR."),
    ] = None,
    idle_min: Annotated[
        float | None, typer.Option("--idle-min", metavar="SECONDS", help="Shortest silence to report.  [default: 1.0]")
    ] = None,
) -> Request:
    """Analyse captures: a summary on the terminal, or with --out every table as a file."""
    return Request(tuple(files), out, format.value, segments, where, idle_min)


register(app)
