"""The scenarios, one file per group; importing this enters all of them into the catalogue."""

from captures.scenarios import closing, heartbeat, http, http2, messaging, middlebox, tcp, tls, tls_openssl, websocket

__all__ = [
    "closing", "heartbeat", "http", "http2", "messaging", "middlebox", "tcp", "tls", "tls_openssl", "websocket",
]  # fmt: skip
