"""A few connections that make every kernel run once, so that each is compiled or loaded before it matters.

`live` rehearses before it opens the capture: a ring would be full by the time a kernel is compiled. On a first run a
second process rehearses in plain Python to learn with what each kernel is called, and compiles those that come later
while the first one compiles what it needs (`python -m analyzer.rehearsal`).
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

# What client and server say first, one pair for each protocol
_SAID = (
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",  # of RFC 6455 section 1.3
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n\x81\x02ok\xc1\x04\xca\xcf\x06\x00",
    ),
    (b"\x16\x03\x01\x00\x2a\x01\x00\x00\x26\x03\x03" + bytes(35) + b"\x01\x00", b"\x15\x03\x03\x00\x02\x02\x28"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
)
_SYN, _SYN_ACK, _ACK, _PUSH, _FIN = 0x02, 0x12, 0x10, 0x18, 0x11
_STEPS = ((0, _SYN), (1, _SYN_ACK), (0, _ACK), (0, _PUSH), (1, _PUSH), (1, _FIN), (0, _FIN), (1, _ACK))  # side, flags


def packets() -> list[bytes]:
    """Return raw IP packets of the connections."""
    made = []
    for number, said in enumerate(_SAID):
        sent = [0, 0]
        for k, (side, flags) in enumerate(_STEPS):
            text = said[side] if flags == _PUSH else b""
            head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(text), k + 1, 0, 64, 6, 0)
            head += bytes([10, 0, 0, 1 + side, 10, 0, 0, 2 - side])
            ports = (1025 + number, 80) if side == 0 else (80, 1025 + number)
            tcp = struct.pack("!HHIIBBHHH", *ports, sent[side], sent[1 - side], 0x50, flags, 1000, 0, 0)
            made.append(head + tcp + text)
            sent[side] += len(text) + (1 if flags & 3 else 0)
    return made


def rehearse(*, ring: bool) -> None:
    """Run the connections through an engine of their own; `ring`: and the kernels that read a live capture."""
    import numpy as np

    from analyzer.anomalies import Ledger
    from analyzer.capture.batch import PACKET, PacketBatch
    from analyzer.engine import Engine
    from analyzer.flows.track import rebuild
    from analyzer.kernel import records
    from analyzer.settings import Settings

    engine = Engine(Settings(), Ledger())
    frames = packets()
    rows = records(len(frames), PACKET)
    at = 0
    for k, frame in enumerate(frames):
        rows[k] = (k + 1, k + 1, at, len(frame), len(frame), 101, 0, 0)
        at += len(frame)
    list(engine.feed(PacketBatch(rows, np.frombuffer(b"".join(frames), np.uint8).copy())))
    list(engine.finish())
    rebuild(engine.tracker.flows, engine.tracker.slots, engine.tracker.meta, engine.tracker.limits)
    if ring:
        _rehearse_ring()


def _rehearse_ring() -> None:
    import numpy as np

    from analyzer.capture.batch import PACKET
    from analyzer.capture.ring_walk import PORT, RING, pack_packets, walk_ring
    from analyzer.capture.walk import WALK
    from analyzer.kernel import records

    nothing = np.zeros(64, np.uint8)
    pack_packets(records(0, PACKET), nothing, 0, records(1, RING), nothing)
    walk_ring(nothing, records(1, RING), records(1, WALK), records(0, PORT), records(1, PACKET))


# ------------------------------------------------------------------------------------------------ a second compiler
OWN = 3  # kernels that who asks compiles itself: decoding, the clock, and the large one that follows flows
_started: list[subprocess.Popen[bytes]] = []  # a process object that is forgotten while it runs warns of it


def help_compile() -> None:
    """Start a process that compiles kernels beside this one, if there is a processor for it. It ends with this one."""
    if (os.cpu_count() or 1) < 2 or not sys.executable or sys.platform == "win32":
        return
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    # It finds modules where this process does, and nowhere else: not in the folder where root happens to be.
    code = f"import sys; sys.path = {sys.path!r}; from analyzer.rehearsal import main; main({os.getpid()})"
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
    except OSError:
        return  # then it takes longer
    _started.append(process)


def learn() -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return kernels by their first call, each with its signature (see `compiler`). Needs NUMBA_DISABLE_JIT=1."""
    import numpy as np

    from analyzer import kernel
    from analyzer.native import signature_of

    calls: dict[Callable[..., Any], tuple[Any, ...]] = {}

    def witnessed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            calls.setdefault(function, signature_of(arguments))
            return function(*arguments)

        return run

    kernel.witness = witnessed
    rehearse(ring=False)
    found = []
    for function, types in calls.items():  # without the class that plain Python needs for the rows of records
        plain = [t if t is None or not t[0].names else (np.dtype((np.void, t[0])), t[1]) for t in types]
        found.append((function, tuple(plain)))
    return found


def main(parent: int) -> None:
    """Compile what that process will need, until it ends or all is done."""
    kernels = learn()
    os.environ["NUMBA_DISABLE_JIT"] = "0"  # from here on, before numba is imported
    from analyzer.native import compile_unless_busy

    # the first ones keep the other process busy for as long as those that it needs next take here
    for function, signature in [*kernels[OWN:], *kernels[:OWN]]:
        if os.getppid() != parent:
            return
        compile_unless_busy(function, signature)
