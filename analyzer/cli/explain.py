"""`longwire explain`: what a finding, an anomaly, a word of a verdict, a table or a column means, without a capture."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator

from analyzer.anomalies import CODES as ANOMALIES
from analyzer.classify.finding_codes import CODES, SEVERITIES, Code
from analyzer.classify.glossary import WORDS
from analyzer.errors import AnalyzerError
from analyzer.tables.kinds import TYPES, Column, Table
from analyzer.tables.schema import COMPARISON, TABLES

_WIDTH = 100
_TABLES = TABLES | COMPARISON
_COLUMNS = {column.name for table in _TABLES.values() for column in table.columns}


def explain(code: str | None) -> int:
    """Print what a code, a word, a table or a column means, or the list of findings; return the exit code.

    code  in any case; `race.race` or `closes.trigger` is a word or a column with the place where it stands
    Raises AnalyzerError for a code there is not.
    """
    if code is None:
        _print_all()
        return 0
    wanted = code.strip().casefold()
    place, _, word = wanted.rpartition(".")
    meanings = _meanings(wanted) or _meanings_in(place, word)
    if not meanings:
        raise _unknown(code, wanted)
    print("\n\n".join(meanings))
    return 0


def _meanings(wanted: str) -> list[str]:
    """Return what `wanted` means in each place where it stands."""
    if wanted in CODES:
        return [_finding(CODES[wanted])]
    if wanted in ANOMALIES:
        meaning = ANOMALIES[wanted]
        told = _wrapped(meaning[0].upper() + meaning[1:] + ".")
        return [f"{wanted}  (anomaly: input at odds with its specification)\n\n{told}"]
    found = _words(wanted)
    if wanted in _TABLES:
        found.append(_table(_TABLES[wanted]))
    found += _columns(wanted)
    return found or list(_columns_with(wanted))


def _meanings_in(place: str, word: str) -> list[str]:
    """Return what `word` means as a column of the table `place`, or as a word of the column `place`."""
    if place in _TABLES:
        return list(_columns(word, place))
    return _words(word) if place in _COLUMNS else []


def _unknown(code: str, wanted: str) -> AnalyzerError:
    known = dict.fromkeys(
        [*CODES, *ANOMALIES, *(word for words in WORDS.values() for word in words), *_TABLES, *_COLUMNS]
    )
    near = difflib.get_close_matches(wanted, known, 3, 0.6)
    near = near or difflib.get_close_matches(wanted.rpartition(".")[2], known, 3, 0.6)
    hint = "did you mean " + " or ".join(near) + "?" if near else "longwire explain lists the findings"
    return AnalyzerError(f"there is no code, word, table or column {code}", hint)


def _print_all() -> None:
    for severity in SEVERITIES:
        for code in CODES.values():
            if code.severity == severity:
                print(f"{severity:8} {code.code:26} {_plain(code.title)}")


def _finding(code: Code) -> str:
    lines = [f"{code.code}  ({code.severity})", _plain(code.title)]
    for title, text in (("Meaning", code.explanation), ("What to do", code.recommendation)):
        lines += ["", title, _wrapped(_plain(text))]
    if code.seconds:
        lines += ["", f"T = {code.seconds}"]
    return "\n".join([*lines, "", f"Reference  {code.reference}"])


def _words(wanted: str) -> list[str]:
    return [f"{wanted}  ({place})\n\n{_wrapped(words[wanted])}" for place, words in WORDS.items() if wanted in words]


def _table(table: Table) -> str:
    columns = ", ".join(table.names)
    return (
        f"{table.name}  (table)\n\n{_wrapped(f'One row per {table.row}. {table.doc}')}\n\nColumns\n{_wrapped(columns)}"
    )


def _columns(wanted: str, place: str = "") -> Iterator[str]:
    """Yield what the column `wanted` means, once for all tables in which it means the same; or in `place` alone."""
    found: dict[Column, list[str]] = {}
    for table in _TABLES.values():
        if wanted in table and place in ("", table.name):
            found.setdefault(table.column(wanted), []).append(table.name)
    yield from (_column(column, tables) for column, tables in found.items())


def _columns_with(word: str) -> Iterator[str]:
    """Yield the columns one of whose words is `word`."""
    found: dict[Column, list[str]] = {}
    for table in _TABLES.values():
        for column in table.columns:
            if word in map(str.casefold, column.values):
                found.setdefault(column, []).append(table.name)
    yield from (_column(column, tables) for column, tables in found.items())


def _column(column: Column, tables: list[str]) -> str:
    lines = [f"{column.name}  (column of {', '.join(tables)})", "", _wrapped(column.doc)]
    if column.values:
        more = ", ..." if column.open else ""
        lines += ["", "Words", _wrapped(", ".join(column.values) + more)]
    lines += ["", f"Type        {column.type}: {TYPES[column.type]}"]
    if column.unit not in ("", "s"):
        lines.append(f"Unit        {column.unit}")
    return "\n".join([*lines, f"Empty when  {column.null or 'never'}"])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _plain(text: str) -> str:
    """Return a template with letters in place of the numbers that a capture would give."""
    words = {
        "flows": "N", "low": "T", "median": "T (median)", "high": "T (longest)", "half": "T/2", "third": "T/3",
        "plus5": "T+5", "above5": "T (longest)+5", "minus1": "T-1", "span": "T to T (longest)",
    }  # fmt: skip
    return text.format(**words)
