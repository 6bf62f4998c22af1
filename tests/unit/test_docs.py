"""Reference pages are what the code says, and JSON output is what the shipped schema says."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from analyzer.cli.main import main
from analyzer.render.jsonschema import json_schema
from analyzer.tables.schema import TABLES
from docs.generate import ROOT, documents

CAPTURES = sorted(map(str, (ROOT / "captures").glob("*.pcap")))


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_generated_page_has_not_drifted(path: Path) -> None:
    assert path.exists() and path.read_text("utf-8") == documents()[path], "run: python -m docs.generate"


def test_every_column_and_command_is_documented() -> None:
    pages = {path.name: text for path, text in documents().items()}
    for table in TABLES.values():
        assert f"## {table.name}\n" in pages["columns.md"]
        assert all(f"| `{name}` |" in pages["columns.md"] for name in table.names)
    for command in ("analyze", "flows", "show", "report", "plot", "sql"):
        assert f"## longwire {command}\n" in pages["cli.md"]
    assert "`--ladder`" in pages["cli.md"] and "longwire show night.pcap --flow 7 --ladder" in pages["cli.md"]


def test_the_schema_is_shipped() -> None:
    shipped = json.loads((files("analyzer.render") / "tables.schema.json").read_text("utf-8"))
    assert shipped == json_schema()


def validator(name: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{name}"})


def test_json_output_satisfies_the_schema(tmp_path: Path) -> None:
    assert main(["analyze", *CAPTURES, "--out", str(tmp_path), "--format", "json", "--segments"]) == 0
    checked = 0
    for name in TABLES:
        check = validator(name)
        for line in (tmp_path / f"{name}.json").read_text("utf-8").splitlines():
            check.validate(json.loads(line))
            checked += 1
    assert checked > 150


@pytest.mark.parametrize(
    "change", [{"flow_id": None}, {"close_kind": "gone"}, {"ts": "2026-11-22"}, {"confidence": "1"}, {"more": 1}]
)
def test_the_schema_refuses_what_is_wrong(change: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["closes", CAPTURES[0], "--format", "json"]) == 0
    row = json.loads(capfd.readouterr().out)
    assert validator("closes").is_valid(row)
    assert not validator("closes").is_valid(row | change)
