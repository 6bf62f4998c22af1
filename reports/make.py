"""The sample reports, from the sample captures: `python -m reports.make` writes them, `--check` says what drifted."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from analyzer.cli.main import main as longwire

ROOT = Path(__file__).parents[1]
# without those of a second point, which have the same connections once more
CAPTURES = [f"captures/{path.name}" for path in sorted((ROOT / "captures").glob("*.pcap")) if "." not in path.stem]

CARDS = {
    "sample-dead-peer.txt": "captures/keepalive_dead_peer.pcap",
    "sample-stale-reuse.txt": "captures/stale_reuse.pcap",
    "sample-zero-window.txt": "captures/zero_window.pcap",
}
"""Card and ladder of one connection each."""


def samples() -> dict[Path, str]:
    """Return every sample with its text."""
    made = {ROOT / "reports" / "sample.html": _page()}
    for name, capture in CARDS.items():
        shown = [_printed(["show", capture, "--flow", "0", *more]) for more in ([], ["--ladder"])]
        made[ROOT / "reports" / name] = "\n".join(shown)
    return made


def _page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sample.html"
        _run(["report", *CAPTURES, "-o", str(out), "--title", "longwire: the sample captures"])
        return out.read_text(encoding="utf-8")


def _printed(words: list[str]) -> str:
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        _run(words)
    return page.getvalue()


def _run(words: list[str]) -> None:
    """Run a command with the paths that a reader would type, quietly."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            assert longwire(words) == 0, words
    finally:
        os.chdir(before)


def main(arguments: list[str]) -> int:
    """Write the samples, or say which have drifted (exit code 1)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a sample has drifted")
    check = parser.parse_args(arguments).check
    drifted = {path: text for path, text in samples().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in drifted.items():
        print(f"{path.relative_to(ROOT)} {'has drifted' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
