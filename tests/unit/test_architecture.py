"""The map, checked: data flows one way, the core is pure, an import costs nothing, files stay readable."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "analyzer"

# A stage may use itself, the stages before it in this list, and the leaves. `streams` is part of the flow stage: the
# flow kernel delivers bytes as it goes, so both may use each other. Classifiers make rows with `tables`.
ORDER = ("capture", "decode", "streams", "flows", "protocols", "classify", "twopoint", "render", "cli")
LEAVES = {"kernel", "ahead", "native", "compiler", "image", "settings", "errors", "anomalies", "tables", "knowledge"}
TOGETHER = {("streams", "flows")}
# What the table definitions themselves may use
LEAF_USES = {"tables": {"tables"}, "knowledge": {"tables", "knowledge"}}
# Top-level modules that put the stages together
TOP = {"engine", "api", "ahead", "live", "rehearsal", "__init__", "__main__"}
RIM = {"capture", "render", "cli"}

# Modules that reach outside: files, sockets, clocks, processes, colours
OUTSIDE = {
    "io", "pathlib", "shutil", "tempfile", "glob", "socket", "ssl", "select", "time", "datetime", "subprocess",
    "threading", "asyncio", "random", "logging", "rich", "typer", "gzip", "bz2", "lzma", "zstandard", "lz4", "scapy",
}  # fmt: skip
HEAVY = ("numba", "pandas", "pyarrow", "dpkt", "scapy", "rich", "typer")

# Deviations with their reason
ALLOWED = {
    ("native.py", "pathlib"),  # the directory of compiled kernels
    ("native.py", "tempfile"),
    ("native.py", "shutil"),  # removes those of old versions
    ("native.py", "time"),  # which nobody used for a month
    ("native.py", "threading"),  # one kernel compiles at a time: the next batch is followed by another thread
    ("compiler.py", "exec"),  # the function that numba wraps for C
    ("rehearsal.py", "subprocess"),  # the second compiler of a first run
    ("ahead.py", "threading"),  # reads the next batch meanwhile; the order of results does not depend on it
    ("classify/community.py", "socket"),  # inet_ntop: a function of its argument, no network
    ("tables/where.py", "datetime"),  # reads the time a user writes in a filter
    ("knowledge/load.py", "open"),  # the user's own file of known timeouts
}

MANY_LINES = 450


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def stage_of(path: Path) -> str:
    """Return the folder a file is in, or its own name at the top."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, needed at run time) of each import; `if TYPE_CHECKING` is for readers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    only_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" if module == "analyzer" else module for alias in node.names]
        for name in names:
            yield name, node not in only_types


def used_stages(path: Path) -> set[str]:
    return {name.split(".")[1] for name, _ in imports(path) if name.startswith("analyzer.")}


def may_use(stage: str) -> set[str]:
    """Return the stages and leaves that a stage may import from."""
    if stage in TOP:
        return {*ORDER, *LEAVES, *TOP}
    if stage not in ORDER:
        return {*LEAF_USES.get(stage, set()), *(LEAVES - {"tables", "knowledge"})}
    earlier = set(ORDER[: ORDER.index(stage) + 1])
    partners = {other for pair in TOGETHER if stage in pair for other in pair}
    top = {"api"} if stage == "cli" else set()
    return earlier | partners | LEAVES | top


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_stage_uses_earlier_stages_and_leaves(path: Path) -> None:
    assert used_stages(path) <= may_use(stage_of(path))


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= {*ORDER, *LEAVES}


@pytest.mark.parametrize("path", [p for p in modules() if stage_of(p) not in RIM], ids=name_of)
def test_only_the_rim_reaches_outside(path: Path) -> None:
    reached = {name.split(".")[0] for name, at_run_time in imports(path) if at_run_time} & OUTSIDE
    assert {name for name in reached if (name_of(path), name) not in ALLOWED} == set()


@pytest.mark.parametrize("path", [p for p in modules() if stage_of(p) not in RIM], ids=name_of)
def test_only_the_rim_opens_files_and_prints(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    done = calls & {"open", "print", "input", "exec", "eval"}
    assert {name for name in done if (name_of(path), name) not in ALLOWED} == set()


@pytest.mark.parametrize("path", [p for p in modules() if stage_of(p) in ORDER[:4]], ids=name_of)
def test_stages_before_the_tables_know_no_tables(path: Path) -> None:
    assert {name.split(".")[0] for name, _ in imports(path)}.isdisjoint({"pyarrow", "pandas"})
    assert "tables" not in used_stages(path)


def test_allowances_are_needed() -> None:
    """An exception that nobody uses any more goes."""
    there = {(name_of(path), name.split(".")[0]) for path in modules() for name, _ in imports(path)}
    there |= {("compiler.py", "exec"), ("knowledge/load.py", "open")}
    assert there >= ALLOWED


@pytest.mark.parametrize("module", ["analyzer", "analyzer.api", "analyzer.cli.main", "analyzer.tables.schema"])
def test_an_import_costs_nothing(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    loaded = set(done.stdout.split())
    assert loaded <= ({"typer", "rich"} if module == "analyzer.cli.main" else set())


def test_files_stay_readable() -> None:
    """A file that wants more than about 400 lines is often two ideas."""
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MANY_LINES:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(f"analyzer/{name_of(path)} has {lines} lines", stacklevel=1)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))
