"""The reference pages, made from the code: `python -m docs.generate` writes them, `--check` says which have drifted."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from inspect import Parameter as Declared
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo

from analyzer.anomalies import CODES
from analyzer.classify.finding_codes import CODES as FINDINGS
from analyzer.classify.finding_codes import SEVERITIES
from analyzer.cli.main import app
from analyzer.cli.main import main as run
from analyzer.render.jsonschema import json_schema
from analyzer.settings import Settings
from analyzer.tables.schema import COMPARISON, TABLES, TYPES

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "who-closed-my-websocket.md"
MADE = "<!-- made by `python -m docs.generate`; change the code, not this page -->"


def documents() -> dict[Path, str]:
    """Return every generated file with its text."""
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=True)
    return {
        ROOT / "docs" / "columns.md": _page(columns()),
        ROOT / "docs" / "cli.md": _page(cli()),
        ROOT / "docs" / "anomalies.md": _page(anomalies()),
        ROOT / "docs" / "findings.md": _page(findings()),
        TUTORIAL: shown(TUTORIAL.read_text("utf-8")),
        ROOT / "analyzer" / "render" / "tables.schema.json": schema + "\n",
    }


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


# ------------------------------------------------------------------------------------------ columns


def columns() -> Iterator[str]:
    """Yield the column reference: every table, every column, its type, unit, meaning and when it is empty."""
    yield from ("# Tables and columns", "", MADE, "")
    yield "The same names, types and meanings hold in the API, in every file format, in reports and for `--where`."
    yield from ("", "| type | what it is |", "|---|---|")
    yield from (f"| `{name}` | {_cell(doc)} |" for name, doc in TYPES.items())
    yield from ("", "Tables: " + ", ".join(f"[{name}](#{name})" for name in TABLES) + ".")
    yield "Of a comparison of two captures: " + " and ".join(f"[{name}](#{name})" for name in COMPARISON) + "."
    for table in (TABLES | COMPARISON).values():
        order = ", ".join(table.sort_key) or "the order in which they were read"
        yield from ("", f"## {table.name}", "", f"One row per {table.row}. {table.doc}", "", f"Sorted by {order}.", "")
        yield from ("| column | type | unit | meaning | empty when |", "|---|---|---|---|---|")
        for column in table.columns:
            meaning = column.doc
            if column.values:
                meaning += ": " + ", ".join(f"`{word}`" for word in column.values) + (" ..." if column.open else "")
            null = column.null or "never"
            yield f"| `{column.name}` | {column.type} | {_cell(column.unit)} | {_cell(meaning)} | {_cell(null)} |"


def anomalies() -> Iterator[str]:
    """Yield the anomaly codes."""
    yield from ("# Anomalies", "", MADE, "")
    yield "Input at odds with its specification is counted by these codes; it never stops an analysis."
    yield from ("", "| code | meaning |", "|---|---|")
    yield from (f"| `{code}` | {_cell(meaning)} |" for code, meaning in CODES.items())


def findings() -> Iterator[str]:
    """Yield every finding: what it means, what to do, and what it rests on."""
    yield from ("# Findings", "", MADE, "")
    yield "What `longwire explain CODE` prints. Numbers in braces are those of the connections behind a finding."
    for severity in SEVERITIES:
        for code in (code for code in FINDINGS.values() if code.severity == severity):
            yield from ("", f"## {code.code}", "", f"**{severity}**: {code.title}", "", code.explanation, "")
            yield from (f"What to do: {code.recommendation}", "", f"Reference: {code.reference}")
            if code.seconds:
                yield from ("", f"The seconds are {code.seconds}.")


# ------------------------------------------------------------------------------------------ tutorials

_COMMAND = re.compile(r"^```console\n\$ longwire (.+)\n(?:.*\n)*?```$", re.MULTILINE)


def shown(text: str) -> str:
    """Return a tutorial with what its commands print now. They run in the repository's folder."""
    return _COMMAND.sub(lambda block: f"```console\n$ longwire {block[1]}\n{_output(block[1])}```", text)


def _output(arguments: str) -> str:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(out):
        if code := run(shlex.split(arguments)):
            raise SystemExit(f"longwire {arguments}: exit code {code}")
    out.flush()
    printed = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return "".join(line.rstrip() + "\n" for line in printed.splitlines())


# ------------------------------------------------------------------------------------------ command line


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument or option as it is declared: an annotated parameter of a command's function."""

    spelling: str
    usage: str
    meaning: str
    default: str


def cli() -> Iterator[str]:
    """Yield the reference of commands, from their declarations rather than from help texts, whose layout varies."""
    commands = {info.name or info.callback.__name__: info for info in app.registered_commands if info.callback}
    yield from ("# The command line", "", MADE, "", *_paragraphs(str(app.info.help)), "")
    yield "Commands: " + ", ".join(f"[{name}](#longwire-{name})" for name in commands) + "."
    for name, info in commands.items():
        parameters = list(_parameters(info.callback))
        usage = " ".join(parameter.usage for parameter in parameters)
        words = info.help or info.callback.__doc__ or ""
        yield from ("", f"## longwire {name}", "", *_paragraphs(words), "", f"    longwire {name} {usage}", "")
        yield from ("| argument | meaning | default |", "|---|---|---|")
        for one in parameters:
            yield f"| `{_cell(one.spelling)}` | {_cell(one.meaning)} | {_cell(one.default)} |"
        examples = [line.strip() for line in (info.epilog or "").splitlines() if line.strip().startswith("longwire ")]
        if examples:
            yield from ("", *(f"    {line}" for line in examples))
    yield from ("", "## Settings", "", "What no option sets is in `analyzer.settings`:", "")
    yield from ("| setting | value |", "|---|---|")
    yield from (f"| `{name}` | {value:,} |" for name, value in Settings().as_dict().items())


def _paragraphs(text: str) -> list[str]:
    parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    return [line for part in parts for line in (part, "")][:-1]


def _parameters(command: Any) -> Iterator[Parameter]:
    hints = get_type_hints(command, include_extras=True)
    for name, declared in signature(command).parameters.items():
        kind, info = get_args(hints[name])
        meaning, _, said = (info.help or "").partition("  [default:")
        required = declared.default is Declared.empty
        value = getattr(declared.default, "value", declared.default)
        default = said.rstrip("] ").strip() or (
            "required" if required else "" if value in (None, False) else str(value)
        )
        words = _words(kind)
        shown = "|".join(words) if words else info.metavar or name.upper()
        if isinstance(info, ArgumentInfo):
            yield Parameter(shown, shown + ("..." if get_origin(kind) is list else ""), meaning, default)
            continue
        # In an annotation typer keeps the first spelling where a default would be.
        first = (info.default,) if isinstance(info.default, str) and info.default.startswith("-") else ()
        names = (*first, *(info.param_decls or ())) or (f"--{name.replace('_', '-')}",)
        value_shown = "" if kind is bool else f" {shown}"
        usage = f"{names[0]}{value_shown}"
        yield Parameter(", ".join(names) + value_shown, usage if required else f"[{usage}]", meaning, default)


def _words(kind: Any) -> list[str]:
    """Return the values of an enum type, none for another type."""
    return [str(word.value) for word in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the pages, or say which have drifted (exit code 1)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page has drifted")
    check = parser.parse_args(arguments).check
    drifted = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in drifted:
        print(f"{path.relative_to(ROOT)} {'has drifted' if check else 'written'}")
        if not check:
            path.write_text(documents()[path], encoding="utf-8")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
