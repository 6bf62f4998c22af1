"""The schema declares what the contract says, and says something about every column."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from analyzer.tables.schema import TABLES, TYPES, Column, arrow_schema, empty_table, problems, table

CONTRACT = Path(__file__).parents[3].parent / "shared" / "tables.md"
ITEM = re.compile(r"`?([a-z][a-z0-9_/]*(?:, [a-z][a-z0-9_/]*)*)`?(?: (ts|s|n|str|bool|frames|enum)\b)?(?:\((.*)\))?")


def without_comments(text: str) -> str:
    """Drop every parenthesis but those right after `enum`."""
    out, depth, keep = "", 0, []
    for at, char in enumerate(text):
        if char == "(":
            keep.append(depth == 0 and text[:at].endswith("enum"))
            depth += 1
            out += char if keep == [True] else ""
        elif char == ")" and depth:
            depth -= 1
            out += char if keep == [True] else ""
            keep.pop()
        elif not keep or keep == [True]:
            out += char
    return out


def contract() -> dict[str, list[tuple[str, str | None, str | None]]]:
    """Read tables.md: table -> (column, type or None, enum list or None)."""
    sections: dict[str, str] = {}
    current = None
    for line in CONTRACT.read_text().splitlines():
        if line.startswith("## "):
            current = line[3:].split()[0]
            sections[current] = ""
        elif current and (inner := re.match(r"(captures|anomalies): (.*)", line)):
            current = inner[1]
            sections[current] = inner[2] + " "
        elif current:
            sections[current] += line + " "
    found = {}
    for name, section in sections.items():
        rows = []
        body = without_comments(section).replace("conn_state str, history str", "conn_state, history str")
        for item in body.split(" · "):
            if match := ITEM.match(item.strip()):
                for word in match[1].split(", "):
                    names = [word.removesuffix("_c/_s") + end for end in ("_c", "_s")] if "_c/_s" in word else [word]
                    rows += [(column, match[2], match[3]) for column in names]
        found[name] = rows
    return found


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not beside the repository")
def test_every_column_of_the_contract_exists_with_its_type() -> None:
    promised = contract()
    assert list(promised) == list(TABLES), "the tables, in the contract's order"
    for name, columns in promised.items():
        for column, kind, _ in columns:
            assert column in TABLES[name], f"{name}.{column}"
            if kind:
                assert TABLES[name].column(column).type == kind, f"{name}.{column}"
        kept = [column for column in TABLES[name].names if column in {word for word, _, _ in columns}]
        assert [column for column, _, _ in columns] == kept, f"{name}: columns may be added, not moved"


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not beside the repository")
def test_enum_words_are_those_of_the_contract() -> None:
    checked = 0
    for name, columns in contract().items():
        for column, _, words in columns:
            if words and re.fullmatch(r"[\w/]+(, [\w/]+)+(, \.\.\.)?", words):
                declared = TABLES[name].column(column).values
                missing = [word for word in words.split(", ") if word != "..." and word not in declared]
                assert not missing, f"{name}.{column}: {missing}"
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_it_holds(name: str) -> None:
    declared = table(name)
    assert declared.row and declared.doc
    assert len(set(declared.names)) == len(declared.names)
    assert set(declared.sort_key) <= set(declared.names)
    for column in declared.columns:
        assert column.type in TYPES
        assert column.doc and "{" not in column.doc, column.name
        assert (column.type == "enum") == bool(column.values), column.name
        assert len(set(column.values)) == len(column.values), column.name
        assert "\n" not in column.doc


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_is_typed_and_has_no_problems(name: str) -> None:
    empty = empty_table(name)
    assert empty.num_rows == 0
    assert problems(name, empty) == []
    assert arrow_schema(name).field(0).metadata[b"doc"]


def test_suffixes_name_their_unit() -> None:
    """A name ending in _s is seconds, or the server's half of a pair; _ts is a time."""
    for declared in TABLES.values():
        for column in declared.columns:
            if column.name.endswith("_ts") or column.name == "ts":
                assert column.type == "ts", column.name
            paired = column.name.endswith("_s") and column.name[:-2] + "_c" in declared
            if column.name.endswith("_s") and not paired:
                assert (column.type, column.unit) == ("s", "s"), f"{declared.name}.{column.name}"


def test_problems_names_nulls_words_and_order() -> None:
    schema = pa.schema(
        [
            pa.field("code", pa.string()),
            pa.field("count", pa.int64()),
            *list(arrow_schema("anomalies"))[2:],
        ]
    )
    rows = pa.Table.from_pydict(
        {
            "code": ["b", "a"],
            "count": [1, None],
            "first_flow_id": [None] * 2,
            "first_frame": [None] * 2,
            "detail": [""] * 2,
        },
        schema=schema,
    )
    assert [text.split(":")[0] for text in problems("anomalies", rows)] == ["anomalies.count", "anomalies"]
    assert "differ" in problems("flows", rows)[0]


def test_unknown_names_are_told() -> None:
    with pytest.raises(KeyError, match="flows, segments"):
        table("flow")
    with pytest.raises(KeyError, match="no column x"):
        table("flows").column("x")
    assert Column("a", "n", "b").null == ""


def test_importing_the_schema_imports_nothing_heavy() -> None:
    code = "import sys, analyzer.tables.schema; print({'numpy', 'pyarrow', 'pandas', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
