"""`longwire explain`: what a finding, an anomaly or a word of a verdict means, and what to do, without a capture."""

from __future__ import annotations

import difflib
import textwrap

from analyzer.anomalies import CODES as ANOMALIES
from analyzer.classify.finding_codes import CODES, SEVERITIES, Code
from analyzer.classify.glossary import WORDS
from analyzer.errors import AnalyzerError

_WIDTH = 100


def explain(code: str | None) -> int:
    """Print what one code or word means, or the list of findings; return the exit code.

    Raises AnalyzerError for a code there is not.
    """
    if code is None:
        _print_all()
    elif code in CODES:
        _print_finding(CODES[code])
    elif code in ANOMALIES:
        print(f"{code}  (anomaly: input at odds with its specification)\n")
        print(_wrapped(ANOMALIES[code][0].upper() + ANOMALIES[code][1:] + "."))
    elif any(code in words for words in WORDS.values()):
        _print_word(code)
    else:
        known = [*CODES, *ANOMALIES, *(word for words in WORDS.values() for word in words)]
        near = difflib.get_close_matches(code, known, 3, 0.5)
        hint = "did you mean " + " or ".join(near) + "?" if near else "longwire explain lists the findings"
        raise AnalyzerError(f"there is no code {code}", hint)
    return 0


def _print_all() -> None:
    for severity in SEVERITIES:
        for code in CODES.values():
            if code.severity == severity:
                print(f"{severity:8} {code.code:26} {_plain(code.title)}")


def _print_finding(code: Code) -> None:
    print(f"{code.code}  ({code.severity})")
    print(_plain(code.title))
    for title, text in (("Meaning", code.explanation), ("What to do", code.recommendation)):
        print(f"\n{title}")
        print(_wrapped(_plain(text)))
    if code.seconds:
        print(f"\nT = {code.seconds}")
    print(f"\nReference  {code.reference}")


def _print_word(word: str) -> None:
    """Print what a word of the tables means, in each place where it stands."""
    print("\n\n".join(
        f"{word}  ({place})\n\n{_wrapped(words[word])}" for place, words in WORDS.items() if word in words
    ))  # fmt: skip


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _plain(text: str) -> str:
    """Return a template with letters in place of the numbers that a capture would give."""
    words = {
        "flows": "N", "low": "T", "median": "T (median)", "high": "T (longest)", "half": "T/2", "third": "T/3",
        "plus5": "T+5", "above5": "T (longest)+5", "minus1": "T-1", "span": "T to T (longest)",
    }  # fmt: skip
    return text.format(**words)
