"""Every threshold, with its unit and the reason for its default. Output records the settings used."""

from __future__ import annotations

from dataclasses import asdict, dataclass

NS = 1_000_000_000
MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds and caps of one analysis. Frozen, so that the whole run uses the same."""

    # --- what counts as silence
    idle_min_ns: int = 1 * NS
    """Shortest payload silence that becomes a row of `idle_gaps`. Below a second, think time is noise."""

    # --- keep-alive probes (definitions B1, B2)
    probe_quiet_ns: int = 900 * MS
    """Silence before a keep-alive probe. The smallest KEEPIDLE a kernel accepts is 1 s; timers may be a tick early."""
    probe_answer_ns: int = 1 * NS
    """A probe sent less than max(3 srtt, this) before the capture ended is `pending`, not unanswered."""
    dead_peer_tries: int = 3
    """Unanswered probes or retransmissions that make a peer dead (RFC 1122 4.2.3.6: one lost answer proves nothing)."""

    # --- duplicates and reordering (B3)
    duplicate_ns: int = 1 * MS
    """Two copies of one frame are seen within this (`-i any`, mirror ports); a retransmission takes an RTT or RTO."""
    reorder_ns: int = 3 * MS
    """A segment this late is reordered rather than sent again, if the initial RTT is unknown (Wireshark's value)."""
    fast_retransmit_ns: int = 20 * MS
    """A retransmission this soon after the third duplicate ACK is a fast one (Wireshark's value)."""

    # --- closes (B5)
    stimulus_ns: int = 50 * MS
    """A RST within max(1.5 srtt, this) of a segment of the other side was provoked by it."""
    half_close_wait_ns: int = 60 * NS
    """A FIN acknowledged and not returned for this long is a half-closed leak (CLOSE_WAIT)."""

    zombie_ns: int = 900 * NS
    """An open connection without any segment for this long at the end of a capture: longer than what most load
    balancers and NATs remember (60 to 600 s), so nobody knows whether the other end is still there."""

    linger_ns: int = 0
    """A closed flow that stayed quiet for this is over: its rows are final, and a later segment begins another flow.
    0 = as usual: 60 s after both FINs were acknowledged, Linux's TIME-WAIT, when the port pair is free again. After a
    RST the same live, but never in a file: it may be lost, and the other side go on hours later."""

    # --- caps: each buffer ends somewhere, and reaching it is counted in `anomalies`
    max_flows: int = 131_072
    """Flows open at once: some 4 kB each with what belongs to them, 10 kB with protocols that are read."""
    max_fragment_bytes: int = 16 << 20
    """IP fragments waiting for the rest: 256 whole 64 kB packets."""

    def as_dict(self) -> dict[str, int]:
        """Return the settings as plain numbers, for `summary.json`."""
        return asdict(self)
