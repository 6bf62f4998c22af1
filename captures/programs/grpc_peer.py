"""A gRPC server or client without generated code: grpc_peer.py server|client ADDRESS SECONDS PINGS_ALLOWED.

The client calls once, then keeps the channel for some seconds with a keep-alive PING every second.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc  # type: ignore[import-untyped]

ROLE, ADDRESS, SECONDS, ALLOWED = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "allowed"

if ROLE == "server":
    patient = [
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.server(ThreadPoolExecutor(2), options=patient if ALLOWED else [])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", {"Say": echo}),))
    server.add_insecure_port(ADDRESS)
    server.start()
    server.wait_for_termination()
else:
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 2000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    states: list[str] = []
    with grpc.insecure_channel(ADDRESS, options=options) as channel:
        channel.subscribe(lambda state: states.append(state.name))
        say = channel.unary_unary("/demo.Echo/Say")
        assert say(b"hello", timeout=5) == b"hello"
        time.sleep(SECONDS)
        print(",".join(states), flush=True)
