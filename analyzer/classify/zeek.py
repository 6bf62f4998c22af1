"""`conn_state` and `history` in Zeek's vocabulary, from the endpoint states that the kernel kept.

Source  Zeek, scripts/base/protocols/conn/main.zeek (function conn_state).
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.flows.history import CLOSED, ESTABLISHED, INACTIVE, PARTIAL, RESET, SYN_ACK_SENT, SYN_SENT
from analyzer.flows.state import HISTORY_MAX
from analyzer.kernel import Mask
from analyzer.tables.build import Coded

STATES = ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH")


def conn_state(facts: Facts) -> Coded:
    """Return Zeek's summary of each flow; the first case that applies decides."""
    o, r = facts.client["zeek_state"], facts.server["zeek_state"]
    o_inactive, r_inactive = (o == INACTIVE) | (o == PARTIAL), (r == INACTIVE) | (r == PARTIAL)
    nothing_sent = (facts.client["payload_bytes"] == 0) & (facts.server["payload_bytes"] == 0)
    r_reset, o_reset = r == RESET, o == RESET
    o_opening = (o == SYN_SENT) | (o == SYN_ACK_SENT)
    cases = (
        (r_reset & (o_opening | (o_reset & nothing_sent)), "REJ"),
        (r_reset & o_inactive, "RSTRH"),
        (r_reset, "RSTR"),
        (_syn_then_rst(facts, o_reset & r_inactive), "RSTOS0"),
        (o_reset & r_inactive, "OTH"),
        (o_reset, "RSTO"),
        ((r == CLOSED) & (o == CLOSED), "SF"),
        ((o == CLOSED) & r_inactive, "SH"),
        (o == CLOSED, "S2"),
        ((r == CLOSED) & o_inactive, "SHR"),
        (r == CLOSED, "S3"),
        ((o == SYN_SENT) & (r == INACTIVE), "S0"),
        ((o == ESTABLISHED) & (r == ESTABLISHED), "S1"),
    )
    codes = np.select([c for c, _ in cases], [STATES.index(s) for _, s in cases], STATES.index("OTH"))
    return Coded(codes, STATES)


def _syn_then_rst(facts: Facts, among: Mask) -> Mask:
    """History matches /S[^HAFGIQ]*R/: a SYN, nothing that would make it a connection, a RST."""
    result = among.copy()
    letters = facts.flow["history"][among]
    is_rst = letters == ord("R")
    before_rst = np.cumsum(is_rst, axis=1) == 0
    spoils = np.isin(letters, np.frombuffer(b"HAFGIQ", np.uint8)) & before_rst
    result[among] = (letters[:, 0] == ord("S")) & is_rst.any(axis=1) & ~spoils.any(axis=1)
    return result


def history(facts: Facts) -> Coded:
    """Return the history letters as text."""
    packed = np.ascontiguousarray(facts.flow["history"]).view(f"S{HISTORY_MAX}").ravel()
    words, codes = np.unique(packed, return_inverse=True)
    return Coded(codes, [word.decode("ascii") for word in words.tolist()])
