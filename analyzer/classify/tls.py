"""What TLS says about a close: was it announced, and was it an alert that ended the connection?

What    Layer grace of definitions B5 and B9, and the trigger `tls_alert`.
Source  RFC 8446 sections 6.1 (each side says close_notify before it closes its writing side), 6.2 (error alerts).
Needs   app: how TLS ended in each direction; verdict: who closed
Gives   closes.graceful_tls, closes.trigger (tls_alert)
Limits  Without keys a close_notify is inferred from the last record. That the side which closes second sends none is
        common and harms nobody: only the one that closed is asked for it, both if both closed.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.facts import Facts
from analyzer.classify.verdict import late_bytes
from analyzer.kernel import I64, Mask
from analyzer.protocols.channel import TLS_CLOSE, TLS_GOODBYE
from analyzer.tables.build import Coded
from analyzer.tables.tcp import CLOSE_KINDS, GRACE, INITIATORS, TRIGGERS

_STILL_OPEN = tuple(CLOSE_KINDS.index(k) for k in ("open_active", "open_idle"))
_CLIENT, _SERVER = INITIATORS.index("client"), INITIATORS.index("server")


def graceful_tls(facts: Facts, kind: I64, initiator: I64) -> Coded:
    """Return whether the side that closed had said goodbye: yes, no, unknown, n/a (no TLS, or not closed)."""
    app = facts.app
    client, server = app["tls_close_c"].astype(np.int64), app["tls_close_s"].astype(np.int64)
    worst = np.maximum(client, server)
    asked = np.where(initiator == _CLIENT, client, np.where(initiator == _SERVER, server, worst))
    said = np.isin(asked, TLS_GOODBYE)
    codes = np.select(
        [
            (app["tls"] == 0) | np.isin(kind, _STILL_OPEN),
            app["tls_truncated"] != 0,
            said,
            asked == TLS_CLOSE.index("unknown"),
        ],
        [GRACE.index(word) for word in ("n/a", "no", "yes", "unknown")],
        GRACE.index("no"),
    )
    return Coded(codes, GRACE)


def alert_trigger(facts: Facts, trigger: I64, kind: I64) -> I64:
    """Return the triggers with `tls_alert` where a fatal alert came before the close."""
    alerted = (facts.app["tls_alert"] == 1) & ~np.isin(kind, _STILL_OPEN)
    result: I64 = np.where(alerted, TRIGGERS.index("tls_alert"), trigger)
    return result


def only_alert_late(facts: Facts, x: I64) -> Mask:
    """Return where all that came for x (n,) after its FIN was the other side's alert: goodbye, or that x said none."""
    app, y = facts.app, 1 - x
    late = late_bytes(facts, x)
    goodbye = np.isin(np.where(y == _CLIENT, app["tls_close_c"], app["tls_close_s"]), TLS_GOODBYE)
    one = late == np.where(y == _CLIENT, app["tls_last_c"], app["tls_last_s"])  # its last record, and no other
    result: Mask = (late > 0) & one & (goodbye | (app["tls_late_alert"] == 1))
    return result
