"""MQTT and Redis: their own pings, their own patience.

Source  MQTT 3.1.1 section 3.1.2.10 (keep alive: 1.5 times the interval), 3.12 and 3.13 (PINGREQ, PINGRESP); redis.io on
        PING, `timeout` and `tcp-keepalive`.
"""

from __future__ import annotations

import re
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from captures.lab import Lab, closed, must_be, read_until, scenario

CLIENT_FIRST = closed("graceful", "fin_client_first", "client fin, server fin", initiator="client")
# MQTT section 3.14.4: after DISCONNECT the client closes; mosquitto closes as soon as it has read it
AFTER_DISCONNECT = closed(
    "graceful",
    ["fin_client_first", "fin_server_first", "fin_simultaneous"],
    "client fin, server fin",
    initiator=["client", "server", "both"],
)


def broker(lab: Lab) -> None:
    """Start mosquitto at port 1883."""
    path = lab.write("mosquitto.conf", f"listener 1883 {lab.server_ip}\nallow_anonymous true\nuser root\n")
    lab.start("server", "mosquitto", "-c", path, log="mosquitto.log")
    lab.wait_for(1883)


def subscriber(lab: Lab, name: str, keepalive_s: int) -> tuple[mqtt.Client, int, list[str]]:
    """Connect with paho and subscribe; return client, port, and the list that its log goes to."""
    log: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.on_log = lambda _client, _data, _level, text: log.append(text)
    client.on_connect = lambda client, *_: client.subscribe("prices")
    port = lab.next_port()
    lab.net.at("client", lambda: client.connect(lab.server_ip, 1883, keepalive_s, bind_port=port))
    client.loop_start()
    end = time.monotonic() + 5
    while not any("SUBACK" in line for line in log):
        if time.monotonic() > end:
            raise RuntimeError("the broker does not answer")
        time.sleep(0.02)
    return client, port, log


@scenario("mosquitto", "paho-mqtt")
def mqtt_ping(lab: Lab) -> None:
    """A subscriber without news: paho sends PINGREQ every 2 s (its keep-alive), mosquitto answers."""
    lab.look_for = "two bytes c0 00, two bytes d0 00: heartbeats of the client; DISCONNECT at the end"
    broker(lab)
    client, port, log = subscriber(lab, "quiet", 2)
    time.sleep(8.5)
    client.disconnect()
    client.loop_stop()
    sent = sum("Sending PINGREQ" in line for line in log)
    must_be(sum("Received PINGRESP" in line for line in log), sent)
    beats = {"kind": "mqtt_pingreq", "by": "client", "interval_s": 2.0, "count": sent, "answered": sent}
    lab.connection(port, 1883, AFTER_DISCONNECT, app="mqtt", heartbeats=[beats])


@scenario("mosquitto")
def mqtt_silent(lab: Lab) -> None:
    """A client that announced a keep-alive of 2 s and then says nothing: the broker closes after one and a half
    times that."""
    lab.look_for = "FIN by the broker 3 s or more after the last packet: no heartbeat came that had been promised"
    broker(lab)
    client = lab.dial(1883)
    client.sendall(bytes.fromhex("10 10 0004") + b"MQTT" + bytes.fromhex("04 02 0002 0004") + b"mute")
    must_be(read_until(client, b"\x00"), bytes.fromhex("20020000"))
    gap = lab.gap(lambda: must_be(client.recv(1), b""), survived=False)
    client.close()
    close = closed("heartbeat_timeout", "fin_server_first", "server fin, client fin", initiator="server")
    lab.connection(40001, 1883, close, app="mqtt", idle_gaps=[gap], heartbeats=[])


@scenario("mosquitto", "paho-mqtt")
def mqtt_taken_over(lab: Lab) -> None:
    """A second client connects with the same client id; the broker ends the first one's connection."""
    lab.look_for = "FIN by the broker at the moment another connection of the same name is accepted"
    broker(lab)
    first, first_port, _ = subscriber(lab, "twin", 30)
    first.reconnect_delay_set(30, 30)
    gap = lab.gap(2)
    second, second_port, _ = subscriber(lab, "twin", 30)
    time.sleep(0.5)
    second.disconnect()
    second.loop_stop()
    first.loop_stop()
    taken = closed(
        "graceful", "fin_server_first", "server fin, client fin", initiator="server", reason="session taken over"
    )
    lab.connection(first_port, 1883, taken, app="mqtt", idle_gaps=[gap], heartbeats=[])
    lab.connection(second_port, 1883, AFTER_DISCONNECT, app="mqtt", heartbeats=[])


def redis(lab: Lab, *settings: str) -> None:
    """Start redis-server at port 6379."""
    options = ("--bind", lab.server_ip, "--protected-mode", "no", "--save", "", *settings)
    lab.start("server", "redis-server", *options, log="redis.log")
    lab.wait_for(6379)


def command(*words: str) -> bytes:
    """Return a command as Redis wants it."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)])


@scenario("Redis")
def redis_ping(lab: Lab) -> None:
    """redis-cli sends PING every second, six times."""
    lab.look_for = "PING and +PONG a second apart, then FIN by the client"
    redis(lab)
    port = lab.next_port()
    must_be(lab.run("client", "redis-cli", "-h", lab.server_ip, "-r", "6", "-i", "1", "PING"), "PONG\n" * 6)
    beats = {"kind": "redis_ping", "by": "client", "interval_s": 1.0, "count": 6, "answered": 6}
    lab.connection(port, 6379, CLIENT_FIRST, app="redis", heartbeats=[beats], idle_gaps=[])


@scenario("Redis")
def redis_idle(lab: Lab) -> None:
    """Redis with `timeout 2` closes clients that have been idle for longer; a pool that keeps them finds out late."""
    lab.look_for = "FIN by the server 2 to 4 s after the last answer: Redis looks at its clients only now and then"
    redis(lab, "--timeout", "2")
    client = lab.dial(6379)
    client.sendall(command("GET", "price"))
    read_until(client, b"$-1\r\n")
    gap = lab.gap(lambda: must_be(client.recv(1), b""), survived=False)
    client.close()
    close = closed(
        "idle_timeout", "fin_server_first", "server fin, client fin", initiator="server", trigger="idle_timeout"
    )
    lab.connection(40001, 6379, close, app="redis", idle_gaps=[gap], heartbeats=[])


@scenario("Redis")
def redis_tcp_keepalive(lab: Lab) -> None:
    """A subscriber waits for messages that do not come; Redis probes it (`tcp-keepalive 2`)."""
    lab.look_for = "TCP probes by the server, with an interval of a third of the configured time once one is unanswered"
    redis(lab, "--tcp-keepalive", "2")
    client = lab.dial(6379)
    client.sendall(command("SUBSCRIBE", "prices"))
    must_be(bool(re.search(rb"subscribe", read_until(client, b":1\r\n"))), True)
    gap = lab.gap(7, survived=False)
    client.close()
    time.sleep(0.1)
    probes = lab.changes()["server"]["TCPKeepAlive"]
    sides: dict[str, Any] = {"client": {"probes": 0}, "server": {"probes": probes, "answered": probes}}
    lab.connection(40001, 6379, CLIENT_FIRST, app="redis", idle_gaps=[gap], tcp_keepalive=sides, heartbeats=[])
