"""Send prepared frames into an interface as fast as it goes, or at a rate: `python tests/bench/live_send.py ...`.

    live_send.py FRAMES.pcap INTERFACE SECONDS PACKETS_PER_SECOND(0 = as fast as possible)

Frames are sent in batches by sendmmsg, around the queueing discipline. Each time through the file, two bytes of both
IP addresses are changed alike, so that its connections come again as new ones. Prints packets sent and seconds taken.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

BATCH = 256
_SOL_PACKET, _QDISC_BYPASS, _SNDBUF = 263, 20, 8 << 20
MTU = 1514


def frames_of(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Return (bytes, offsets, lengths) of a little-endian pcap file's frames, cut to what Ethernet carries."""
    data = np.fromfile(path, np.uint8)
    offsets, lengths = [], []
    at, raw = 24, data.tobytes()
    while at < len(raw):
        length = struct.unpack_from("<I", raw, at + 8)[0]
        offsets.append(at + 16)
        lengths.append(min(length, MTU))
        at += 16 + length
    return data, np.array(offsets), np.array(lengths)


def main() -> None:
    path, interface, seconds, rate = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    data, offsets, lengths = frames_of(path)
    n = offsets.size
    v4 = data[offsets + 12] == 8
    high = np.concatenate([offsets[v4] + 27, offsets[v4] + 31, offsets[~v4] + 25, offsets[~v4] + 41])
    base = data.ctypes.data
    vectors = np.stack([base + offsets, lengths], axis=1).astype(np.uint64)
    headers = np.zeros((n, 8), np.uint64)  # struct mmsghdr: name, namelen, iov, iovlen, control, controllen, flags, len
    headers[:, 2] = vectors.ctypes.data + 16 * np.arange(n, dtype=np.uint64)
    headers[:, 3] = 1
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF)
    sock.bind((interface, 0))
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    handle, first = sock.fileno(), headers.ctypes.data
    sent, loop, at = 0, 0, 0
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        if rate and sent > (now - start) * rate:
            time.sleep(0.0005)
            continue
        done = sendmmsg(handle, first + 64 * at, min(BATCH, n - at), 0)
        if done > 0:
            sent += done
            at += done
        if at >= n:
            at = 0
            change = loop ^ (loop + 1)  # from this loop's number to the next one's
            data[high] ^= change & 255
            data[high + 1] ^= change >> 8 & 255
            loop += 1
    print(sent, time.perf_counter() - start)


if __name__ == "__main__":
    main()
