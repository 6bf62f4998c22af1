"""TLS between `openssl s_server` and `s_client`: KeyUpdate, early data, renegotiation.

Source  RFC 8446 sections 4.2.10 (early data) and 4.6.3 (KeyUpdate); RFC 5246 section 7.4.1.1 (renegotiation).
"""

from __future__ import annotations

import contextlib
import subprocess
import time

from captures.lab import Lab, closed, must_be, scenario
from captures.scenarios.tls import certificate, facts

# openssl answers close_notify with its own and closes at once, while the other end does the same
BY_OPENSSL = closed(
    "graceful",
    ["fin_client_first", "fin_server_first", "fin_simultaneous"],
    "client fin, server fin",
    initiator=["client", "server", "both"],
)


class OpenSSL:
    """`openssl s_server` at port 443, and `s_client`s that type what they are told."""

    def __init__(self, lab: Lab, *options: str) -> None:
        """Start the server."""
        self.lab = lab
        key, cert = certificate(lab)
        command = ("openssl", "s_server", "-accept", f"{lab.server_ip}:443", "-key", key, "-cert", cert)
        self.server = lab.start("server", *command, *options, log="s_server.log")
        lab.wait_for(443)

    def client(self, *options: str, log: str = "s_client.log") -> tuple[int, subprocess.Popen[str]]:
        """Connect; return the client's port and the program after its handshake."""
        port = self.lab.next_port()
        name = (
            "-connect",
            f"{self.lab.server_ip}:443",
            "-servername",
            "example.com",
            "-keylogfile",
            str(self.lab.keys),
        )
        program = self.lab.start("client", "openssl", "s_client", *name, *options, log=log)
        time.sleep(0.7)
        return port, program

    def log(self, name: str = "s_client.log") -> str:
        """Return what a program has printed."""
        return (self.lab.scratch / name).read_text(errors="replace")


def types(program: subprocess.Popen[str], *lines: str) -> None:
    """Type lines half a second apart; K, k, R and Q alone on a line are commands."""
    assert program.stdin is not None
    for line in lines:
        with contextlib.suppress(BrokenPipeError):
            program.stdin.write(line + "\n")
            program.stdin.flush()
        time.sleep(0.4)


@scenario("OpenSSL")
def tls13_key_update(lab: Lab) -> None:
    """TLS 1.3 KeyUpdate: the client updates and asks the server to (K), updates alone (k), then the server does
    both."""
    lab.look_for = "lone records of 22 bytes, answered or not by another; the keys tell them from 1-byte data"
    openssl = OpenSSL(lab, "-tls1_3")
    port, program = openssl.client()
    types(program, "one", "K", "two", "k", "three")
    types(openssl.server, "x", "k", "y", "K", "z")
    types(program, "four", "Q")
    must_be(program.wait(5), 0)
    # client: K, k and its answer to the server's K; server: its answer to the client's K, k and K
    tls = facts("1.3") | {"key_updates": {"client": 3, "server": 3}}
    lab.connection(port, 443, BY_OPENSSL, app="tls", tls=tls)


@scenario("OpenSSL")
def tls13_early_data(lab: Lab) -> None:
    """TLS 1.3 0-RTT: the second connection sends its first data together with its ClientHello, and the server
    takes it."""
    lab.look_for = "application_data by the client before the server's hello; early_data accepted"
    openssl = OpenSSL(lab, "-tls1_3", "-early_data", "-no_anti_replay")
    session, early = str(lab.scratch / "session"), lab.write("early", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    first, program = openssl.client("-sess_out", session)
    types(program, "hello", "Q")
    program.wait(5)
    second, program = openssl.client("-sess_in", session, "-early_data", early, log="second.log")
    types(program, "hello", "Q")
    program.wait(5)
    must_be("Early data was accepted" in openssl.log("second.log"), True)
    lab.connection(first, 443, BY_OPENSSL, app="tls", tls=facts("1.3", early_data="no"))
    lab.connection(second, 443, BY_OPENSSL, app="tls", tls=facts("1.3", "psk", early_data="accepted"))


@scenario("OpenSSL")
def tls12_renegotiation(lab: Lab) -> None:
    """TLS 1.2: the client asks for a new handshake in the middle of the connection."""
    lab.look_for = "handshake records (type 22) after both Finished, encrypted like everything else by then"
    openssl = OpenSSL(lab, "-tls1_2", "-client_renegotiation")
    port, program = openssl.client()
    types(program, "one", "R", "two", "Q")
    program.wait(5)
    must_be("RENEGOTIATING" in openssl.log(), True)
    lab.connection(port, 443, BY_OPENSSL, app="tls", tls=facts("1.2", renegotiations=1))
