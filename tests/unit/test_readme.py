"""The README's transcript is what the command prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_transcript_is_current() -> None:
    text = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- transcript -->\n```\n(.*?)\n```", text, re.DOTALL)
    command = re.search(r"longwire (analyze captures/\S+)$", text, re.MULTILINE)
    assert shown and command
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *command[1].split()],
        cwd=ROOT, env=os.environ | {"COLUMNS": "110", "NO_COLOR": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.rstrip() == shown[1]
