"""Zeek's view of a connection: `history` letters and the endpoint states behind `conn_state`.

Source  Zeek, src/packet_analysis/protocol/tcp (update_history, UpdateStateMachine), scripts/base/protocols/conn.
Gives   one letter per kind of packet and direction, upper case from the client; frequent ones on a logarithmic scale.
Limits  Zeek forgets connections by timers and may flip directions (`^`); here neither happens.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, FIN, RST, SYN
from analyzer.flows.state import HISTORY_MAX
from analyzer.kernel import Records, helper

# Endpoint states, in Zeek's words
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)

_SEEN_SYN, _SEEN_DATA, _SEEN_ACK, _SEEN_FIN, _SEEN_RST, _SEEN_MULTI, _SEEN_FIN_RST = 1, 2, 4, 8, 16, 32, 64


@helper
def add_letter(f: Records, direction: int, letter: int) -> None:
    """Append a letter: upper case for the client, lower case for the server."""
    if f.history_len < HISTORY_MAX:
        f.history[f.history_len] = letter if direction == 0 else letter + 32
        f.history_len += 1


@helper
def scaled_letter(f: Records, direction: int, letter: int, count: int) -> None:
    """Append a letter for the 1st, 10th, 100th ... occurrence."""
    power = 1
    while power < count:
        power *= 10
    if power == count:
        add_letter(f, direction, letter)


@helper
def _once(f: Records, me: Records, direction: int, bit: int, letter: int) -> bool:
    """Append the letter the first time; return whether it was there already."""
    if me.hist_bits & bit:
        return True
    me.hist_bits |= bit
    add_letter(f, direction, letter)
    return False


@helper
def note_packet(f: Records, me: Records, direction: int, flags: int, length: int, seq_rel: int) -> None:
    """Add the letters for one segment's flags and payload; a repeated S, H, F or R counts if its sequence differs."""
    syn, fin, rst = flags & SYN != 0, flags & FIN != 0, flags & RST != 0
    if fin and rst:
        _once(f, me, direction, _SEEN_FIN_RST, 73)  # I
    elif syn and (fin or rst):
        _once(f, me, direction, _SEEN_MULTI, 81)  # Q
    elif syn:
        letter = 72 if flags & ACK else 83  # H, S
        if _once(f, me, direction, _SEEN_SYN, letter) and me.hist_syn != seq_rel:
            add_letter(f, direction, letter)
        me.hist_syn = seq_rel
    elif fin:
        if _once(f, me, direction, _SEEN_FIN, 70) and me.hist_fin != seq_rel + length:  # F
            add_letter(f, direction, 70)
        me.hist_fin = seq_rel + length
    elif rst:
        if _once(f, me, direction, _SEEN_RST, 82) and me.hist_rst != seq_rel:  # R
            add_letter(f, direction, 82)
        me.hist_rst = seq_rel
    elif length:
        _once(f, me, direction, _SEEN_DATA, 68)  # D
    elif flags & ACK:
        _once(f, me, direction, _SEEN_ACK, 65)  # A


@helper
def _set(me: Records, state: int) -> None:
    if me.zeek_state != state:
        me.zeek_prev = me.zeek_state
        me.zeek_state = state


@helper
def _from_inactive(me: Records, peer: Records, direction: int, flags: int, length: int) -> None:
    if flags & SYN:
        if direction == 0:
            _set(me, SYN_ACK_SENT if flags & ACK else SYN_SENT)
        else:
            if peer.zeek_state == SYN_SENT:
                _set(peer, ESTABLISHED)
            _set(me, ESTABLISHED)
    if flags & FIN:
        _set(me, CLOSED)
    if flags & RST:
        _set(me, RESET)
    if me.zeek_state == INACTIVE:
        if direction == 1 and length == 0 and peer.zeek_state == SYN_SENT:
            return  # some stacks acknowledge a SYN before they answer it
        if flags & ACK and peer.zeek_state == ESTABLISHED:
            _set(me, ESTABLISHED)  # the SYN itself was missed
        else:
            _set(me, PARTIAL)


@helper
def was_established(side: Records) -> bool:
    """True for an end that is established, or closed in order after it was: only there Zeek notes a hole (G)."""
    return bool(side.zeek_state == ESTABLISHED or (side.zeek_state == CLOSED and side.zeek_prev == ESTABLISHED))


@helper
def advance_state(me: Records, peer: Records, direction: int, flags: int, length: int) -> None:
    """One step of Zeek's endpoint state machine for the sender of a segment."""
    state = me.zeek_state
    if state == INACTIVE:
        _from_inactive(me, peer, direction, flags, length)
    elif state in (SYN_SENT, SYN_ACK_SENT):
        if flags & FIN:
            _set(me, CLOSED)
        if flags & RST:
            _set(me, RESET)
    elif state in (ESTABLISHED, PARTIAL):
        if flags & SYN and state == PARTIAL and peer.zeek_state == INACTIVE and not flags & ACK:
            _set(me, SYN_SENT)
        if flags & FIN and not flags & RST:
            _set(me, CLOSED)
            if peer.zeek_state == RESET and peer.zeek_prev == CLOSED:
                _set(peer, CLOSED)  # the peer's FIN then RST was a normal end after all
        if flags & RST:
            _set(me, RESET)
    elif state == CLOSED and flags & RST and peer.zeek_state != CLOSED:
        _set(me, RESET)
