"""Precision and recall of all that is inferred, as a report: `python -m tests.calibration.report > reports/FILE.md`.

Under a minute on one processor.
"""

from __future__ import annotations

from tests.calibration import heartbeats, lab, resets, timeouts

PARTS = (
    ("Idle timeouts (definitions B12)", "tests.calibration.timeouts", timeouts.lines),
    ("Heartbeats (B8)", "tests.calibration.heartbeats", heartbeats.lines),
    ("Resets of middleboxes (B6)", "tests.calibration.resets", resets.lines),
    ("The labelled captures", "tests.calibration.lab", lab.lines),
)

HEAD = """# Precision and recall of what is inferred

Made by `python -m tests.calibration.report`; each part can be had by itself by the command in its heading. Populations
are generated with known truth, from fixed seeds, so that the figures come out the same again. Recall is the share of
what is there that is found, precision the share of what is claimed that is there, with as many connections of every
kind with something to find as of every kind without. Smaller versions of all of them are held by the unit tests.
"""


def main() -> None:
    """Print the report."""
    print(HEAD)
    for title, module, lines in PARTS:
        print(f"## {title}: `python -m {module}`\n\n```", *lines(), "```\n", sep="\n")


if __name__ == "__main__":
    main()
