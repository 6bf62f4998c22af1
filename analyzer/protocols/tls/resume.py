"""Which earlier connection a resumed session came from.

Source  RFC 5246 section 7.3 (session ids), RFC 5077 (tickets), RFC 8446 section 2.2 (PSK).
Limits  In TLS 1.3 tickets are issued under encryption: the latest connection of the same client to the same name is
        then only the likely one.
"""

from __future__ import annotations

from analyzer.kernel import Records
from analyzer.protocols.tls.sealed import Record
from analyzer.protocols.tls.session import Session

# Sessions that may be resumed later, some 200 bytes each: as many as there may be flows; the oldest are forgotten.
MAX_ISSUED = 1 << 17

Key = tuple[object, ...]


class Issued:
    """What servers gave out, and on which flow."""

    def __init__(self) -> None:
        self.flows: dict[Key, int] = {}

    def link(self, session: Session, record: Record, flows: Records) -> None:
        """Find the flow whose session this one resumes, and remember what this one gives out.

        record  at which that became known    flows  by slot
        """
        client = session.client
        if session.choice is None:
            return
        likely = ("psk", record.client_hi, record.client_lo, session.sni or _server(flows[session.slot]))
        if session.resumed_from is None:
            if client is not None and session.resumption == "session_id":
                self._found(session, ("id", client.session_id), sure=True)
            elif client is not None and session.resumption == "ticket":
                self._found(session, ("ticket", client.ticket), sure=True)
            elif session.resumption == "psk":
                self._found(session, likely, sure=False)
        if session.tls13:
            self._remember(likely, session.flow_id)
        elif session.terms.session_id and session.resumption != "ticket":
            self.flows.setdefault(("id", session.terms.session_id), session.flow_id)
        for ticket in session.tickets:
            self._remember(("ticket", ticket), session.flow_id)
        session.tickets.clear()
        while len(self.flows) > MAX_ISSUED:
            del self.flows[next(iter(self.flows))]

    def _found(self, session: Session, key: Key, *, sure: bool) -> None:
        flow_id = self.flows.get(key)
        if flow_id is not None and flow_id != session.flow_id:
            session.resumed_from, session.resumed_sure = flow_id, sure

    def _remember(self, key: Key, flow_id: int) -> None:
        self.flows.pop(key, None)
        self.flows[key] = flow_id


def _server(flow: Records) -> Key:
    return int(flow["server_hi"]), int(flow["server_lo"]), int(flow["server_port"])
