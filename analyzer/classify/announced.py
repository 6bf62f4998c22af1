"""What WebSocket's close frames and HTTP/2's GOAWAY gave as the reason, in words behind the explanation.

Source  RFC 6455 sections 7.1.5 to 7.1.7 and 7.4.1 (close codes); RFC 9113 sections 6.8 and 7 (error codes)
Needs   app: the codes of both sides, and who sent the first close frame
Gives   closes.explanation of these protocols
Limits  Texts beside the codes are in `websocket_frames` and `http2_frames` alone. That there was no close frame is said
        only where nothing of the connection is missing. Of several GOAWAYs the one with the largest error is told:
        some programs say NO_ERROR after any error.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from analyzer.classify.exchange import END_UNSEEN, unseen
from analyzer.classify.facts import Array, Facts
from analyzer.classify.wording import followed_by
from analyzer.kernel import I64, Mask
from analyzer.protocols.channel import HTTP2, UNSEEN_CODE, WEBSOCKET
from analyzer.protocols.websocket.codes import ABNORMAL, named
from analyzer.tables.tcp import CLOSE_KINDS, SIDES

_END_ELSEWHERE = (*END_UNSEEN, CLOSE_KINDS.index("implicit_port_reuse"))
_NOBODY, _NONE = 0, 0  # of APP.ws_close_first, and of the codes


def with_announcement(explanation: pa.Array, facts: Facts, kind: I64) -> pa.Array:
    """Return the explanations with a sentence about close frames, or GOAWAY."""
    more = np.full(facts.n, "", object)
    _tell_close_frames(facts, kind, more)
    _tell_goaways(facts, more)
    return followed_by(explanation, more)


def _tell_close_frames(facts: Facts, kind: I64, more: Array) -> None:
    app = facts.app
    websocket = app["reader"] == WEBSOCKET
    whole = ~np.isin(kind, _END_ELSEWHERE) & ~unseen(facts) & ~np.any(facts.both("missing_bytes") > 0, axis=0)
    here: Mask = websocket & (whole | (app["ws_close_first"] != _NOBODY))
    if not here.any():
        return
    first = np.maximum(app["ws_close_first"].astype(np.int64) - 1, -1)
    mine = np.where(first == 1, app["ws_close_s"], app["ws_close_c"]).astype(np.int64)
    theirs = np.where(first == 1, app["ws_close_c"], app["ws_close_s"]).astype(np.int64)
    said, which = np.unique(np.stack([first, mine, theirs, whole], axis=1)[here], axis=0, return_inverse=True)
    more[here] = np.array([_close_frames(*row) for row in said.tolist()], object)[which.reshape(-1)]


def _close_frames(first: int, mine: int, theirs: int, whole: int) -> str:
    """Return the sentence. first  who sent the first close frame    mine, theirs  its code, and the other side's"""
    if first < 0:
        return f"Neither side sent a close frame: {named(ABNORMAL)}."
    who, other = SIDES[first], SIDES[1 - first]
    code = "whose code was not captured" if mine == UNSEEN_CODE else named(mine)
    sentence = f"The {who} sent the first close frame, {code}"
    if theirs == _NONE:
        return sentence + (f"; the {other} sent none." if whole else ".")
    return sentence + ("." if theirs in (mine, UNSEEN_CODE) else f"; the {other} answered {named(theirs)}.")


def _tell_goaways(facts: Facts, more: Array) -> None:
    app = facts.app
    client, server = app["goaway_c"], app["goaway_s"]  # the error + 1
    here: Mask = (app["reader"] == HTTP2) & (np.maximum(client, server) > 0)
    if not here.any():
        return
    from analyzer.protocols.http2.rows import error_name

    said, which = np.unique(np.stack([client, server], axis=1)[here], axis=0, return_inverse=True)
    sentences = []
    for of_client, of_server in said.tolist():
        who = "Both sides" if of_client == of_server else "The server" if of_server > of_client else "The client"
        sentences.append(f"{who} said GOAWAY ({error_name(max(of_client, of_server) - 1)}).")
    more[here] = np.array(sentences, object)[which.reshape(-1)]
