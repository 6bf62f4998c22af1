"""Write tests/AGREEMENT.md: how far we agree with other programs, and why not where we do not.

Run as `python -m tests.golden.agreement`. The same functions decide in the tests.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.golden import test_arkime as arkime
from tests.golden import test_arkime_http as arkime_http
from tests.golden import test_har as har
from tests.golden import test_http as http
from tests.golden import test_ndpi as ndpi
from tests.golden import test_suricata as suricata
from tests.golden import test_tshark_flows as flows
from tests.golden import test_tshark_labels as labels
from tests.golden import test_websocket as websocket
from tests.golden import test_zeek as zeek
from tests.golden.runs import captures_with_truth, run

PLACE = Path(__file__).parents[1] / "AGREEMENT.md"

HEAD = """# Agreement

How far longwire agrees with six other programs about the captures of `../shared/corpus`, and the reason wherever it
does not. Written by `python -m tests.golden.agreement`; a test holds it to date. The reasons are not opinions: those
about labels are conditions checked on each segment (`tests/golden/test_tshark_labels.py`).
"""


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def summary() -> str:
    """Return what was compared, and how much of it agrees."""
    files = captures_with_truth()
    rows = []
    streams = differing = 0
    for file in files:
        theirs = len(flows.truth(file, "streams"))
        streams += theirs
        differing += (
            theirs if flows.stopped_early(file) else len(flows.differing(file)) + abs(theirs - len(flows.rows(file)))
        )
    rows.append(
        ("tshark 4.0.17", "streams: number, ends, frames, bytes, SYN, FIN, RST", len(files), streams, differing)
    )
    segments = sum(len(labels.compared(file)[0]) for file in files)
    unlike = {(c.file, c.before.row.frame) for file in files for c, *_ in labels.differences(file)}
    rows.append(("tshark 4.0.17", "segments: all labels the same", len(files), segments, len(unlike)))
    pairs = [p for file, test in zeek.logs() if test not in zeek.LOGS_LEFT_OUT for p in zeek.pairs(file, test)[0]]
    logs = {file for file, test in zeek.logs() if test not in zeek.LOGS_LEFT_OUT}
    for name in zeek.COLUMNS:
        told = [p for p in pairs if p.zeek[name] is not None]
        unequal = sum(name in p.differing() for p in told)
        rows.append(("Zeek", f"connections: {name}", len(logs), len(told), unequal))
    ways = sum(len(ndpi.theirs(file)) for file in ndpi.results())
    unequal = sum(ndpi.ours(file)[way] != n for file in ndpi.results() for way, n in ndpi.theirs(file).items())
    rows.append(("nDPI", "packets by sender and receiver", len(ndpi.results()), ways, unequal))
    sessions = [pair for file in arkime.results() for pair in arkime.compared(file)]
    what = "sessions: packets, bytes and payload per side, SYN, ACK, PSH, FIN, RST"
    rows.append(("Arkime", what, len(arkime.results()), len(sessions), sum(a != b for a, b in sessions)))
    return table(("with", "what", "captures", "compared", "differ"), [*rows, *applications()])


Pair = tuple["Counter[object]", "Counter[object]"]


def counted(program: str, what: str, captures: int, pairs: list[Pair]) -> tuple[object, ...]:
    """Return a line about (theirs, ours) counters: how many things there are, and how many only one side has."""
    unlike = sum(((a - b) + (b - a)).total() for a, b in pairs)
    return program, what, captures, sum(a.total() for a, _ in pairs), unlike


def applications() -> list[tuple[object, ...]]:
    """Return what was compared of HTTP and WebSocket."""
    with_http, with_websocket = http.with_http(), websocket.with_websocket()
    logs = [one for one in http.zeek_logs() if one[1] not in http.LOGS_LEFT_OUT]
    checks = suricata.checks()
    told = [(a, b) for _, _, a, b in arkime_http.compared()]
    return [
        counted("tshark 4.0.17", "HTTP/1: requests and statuses by stream", len(with_http),
                [http.counted(file) for file in with_http]),
        counted("tshark 4.0.17", "WebSocket: frames, all fields", len(with_websocket),
                [(websocket.tshark_frames(file), websocket.our_frames(file)) for file in with_websocket]),
        counted("Zeek", "http.log: method, target, host, status", len({file for file, _ in logs}),
                [http.zeek_pairs(*log) for log in logs]),
        counted("Zeek", "websocket.log: handshakes", len({file for file, _ in websocket.zeek_logs()}),
                [websocket.zeek_pairs(*log) for log in websocket.zeek_logs()]),
        ("Suricata", "counts of HTTP and WebSocket records", len({c.file for c in checks}), len(checks),
         sum(suricata.number(c) != c.count for c in checks)),
        counted("pcap2har", "HTTP exchanges", len(har.files()), [(har.theirs(f), har.mine(f)) for f in har.files()]),
        ("Arkime", "HTTP fields of sessions", len({file for file, _ in arkime_http.sessions()}), len(told),
         sum(a != b for a, b in told)),
    ]  # fmt: skip


def label_agreement() -> str:
    """Return how often both, or only one, give each label."""
    both: Counter[str] = Counter()
    alone: Counter[tuple[str, str]] = Counter()
    for file in captures_with_truth():
        both.update(labels.agreed(file))
        alone.update((who, label) for _, who, label, _ in labels.differences(file))
    names = sorted({*both, *(label for _, label in alone)})
    return table(
        ("label", "both", "only tshark", "only longwire"),
        [(name, both[name], alone["tshark", name], alone["longwire", name]) for name in names],
    )


def label_differences() -> str:
    """Return the classes of differences with their counts and an example."""
    met: Counter[labels.Difference] = Counter()
    example: dict[labels.Difference, str] = {}
    for file in captures_with_truth():
        for c, _, _, difference in labels.differences(file):
            if difference is not None:
                met[difference] += 1
                example.setdefault(difference, f"`{file}` {c.before.row.frame}")
    rows = [(d.who, d.label, met[d], d.reason, example[d]) for d in labels.DIFFERENCES if met[d]]
    return table(("only", "label", "segments", "reason", "first example"), rows) if rows else "None.\n"


def exceptions() -> str:
    """Return the captures that are exempt from a comparison, by name."""
    rows: list[tuple[str, str, str]] = []
    rows += [("tshark streams", f"`{file}`", reason) for file, reason in flows.COUNTS_DIFFER.items()]
    rows += [("tshark streams", f"`{file}`", reason) for file, (_, reason) in flows.ROWS_DIFFER.items()]
    stopped = [file for file in captures_with_truth() if flows.stopped_early(file)]
    rows += [
        ("tshark streams", f"`{file}`", f"tshark stops at damage, we go on: {run(file).damage}") for file in stopped
    ]
    rows += [("tshark labels", f"`{file}`", reason) for file, reason in labels.GARBAGE.items()]
    rows += [("Zeek", test, reason) for test, reason in zeek.LOGS_LEFT_OUT.items()]
    rows += [("Zeek", f"`{file}`", reason) for file, (_, reason) in zeek.FLOWS_DIFFER.items()]
    rows += [("Zeek", f"`{file}`", f"no flow of ours: {reason}") for file, reason in zeek.NOT_OURS.items()]
    rows += [("nDPI", f"`{file}`", reason) for file, reason in ndpi.DIFFER.items()]
    rows += [("Arkime", f"`{file}`", reason) for file, reason in arkime.PAYLOAD_DIFFERS.items()]
    rows += [("tshark HTTP", f"`{file}`", reason) for file, reason in http.TSHARK_DIFFERS.items()]
    rows += [("Zeek HTTP", f"`{file}`", reason) for file, reason in http.ZEEK_DIFFERS.items()]
    rows += [("Zeek HTTP", test, reason) for test, reason in http.LOGS_LEFT_OUT.items()]
    rows += [("Suricata", f"{test}: {match}", reason) for (test, match), reason in suricata.DIFFERS.items()]
    rows += [("pcap2har", f"`{file}`", reason) for file, reason in har.STATUS_DIFFERS.items()]
    rows += [("pcap2har, lengths", f"`{file}`", reason) for file, reason in har.LENGTH_DIFFERS.items()]
    return table(("compared with", "capture or test", "why it differs"), rows)


def duplicates() -> str:
    """Return how many copies of frames were left out of the comparison of labels."""
    left_out = sum(labels.compared(file)[1] for file in captures_with_truth())
    return (
        f"{left_out} segments are copies of a frame captured a moment before (`duplicate_frame`); tshark has no such "
        "label and\ncalls them retransmissions and duplicate ACKs. They are left out of the comparison of labels.\n"
    )


def render() -> str:
    """Return the document."""
    return "\n".join(
        (
            HEAD,
            "## Figures\n",
            summary(),
            "## Labels of segments, against tshark\n",
            label_agreement(),
            duplicates(),
            "### Why tshark and we differ\n",
            label_differences(),
            "## Captures with an exception\n",
            exceptions(),
        )
    )


if __name__ == "__main__":
    PLACE.write_text(render())
