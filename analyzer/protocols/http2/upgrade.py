"""What HTTP/1 hands over when it switches to HTTP/2 (Upgrade: h2c).

Source  RFC 7540 section 3.2 (RFC 9113 deprecates it): the request is stream 1, half closed by the client.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A request that a 101 answered: its place on the connection, its texts, and when it was made.

    channel  whose bytes are HTTP/2 from here on    idle_before  ns, -1 = unknown
    """

    channel: int
    index: int
    method: bytes | None
    target: bytes | None
    host: bytes | None
    request_ts: int
    request_end_ts: int
    request_frame: int
    request_bytes: int
    idle_before: int
