"""Filters: what libpcap compiles, joined for several interfaces, run here by an interpreter of classic BPF."""

from __future__ import annotations

import ctypes.util
import struct

import pytest

from analyzer.capture import ring_bpf
from analyzer.capture.ring_bpf import Program, combined, compiled, packed
from analyzer.errors import AnalyzerError
from tests.live.bpf import run
from tests.talk import Talk

needs_libpcap = pytest.mark.skipif(ctypes.util.find_library("pcap") is None, reason="libpcap is not installed")
LO = 1


HTTP = Talk(("10.0.0.1", 40000), ("10.0.0.2", 80)).syn().packets[0][1]
HTTPS = Talk(("10.0.0.1", 40000), ("10.0.0.2", 443)).syn().packets[0][1]


@needs_libpcap
def test_a_filter_says_what_passes() -> None:
    program = compiled("tcp port 443", 1, 128)
    assert (run(program, HTTPS), run(program, HTTP)) == (128, 0)
    raw = compiled("tcp port 443", 101, 128)
    assert (run(raw, HTTPS[14:]), run(raw, HTTP[14:])) == (128, 0)


def test_without_a_filter_everything_passes_and_no_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_bpf, "_libpcap", lambda: pytest.fail("asked"))
    assert compiled("  ", 1, 96) == [(6, 0, 0, 96)]


@needs_libpcap
@pytest.mark.parametrize("hatype", [1, 0xFFFE, 519])
def test_each_interface_gets_the_filter_of_its_link_layer(hatype: int) -> None:
    program = combined(compiled("tcp port 443", 1, 99), compiled("tcp port 443", 101, 99), [0xFFFE, 519], [], LO)
    cut = 0 if hatype == 1 else 14
    assert run(program, HTTPS[cut:], hatype=hatype) == 99
    assert run(program, HTTP[cut:], hatype=hatype) == 0


def test_only_chosen_interfaces_pass_and_loopback_once() -> None:
    everything: Program = [(6, 0, 0, 50)]
    program = combined(everything, everything, [], [3, 4, 7], LO)
    assert [run(program, HTTP, ifindex=index) for index in (2, 3, 4, 5, 7)] == [0, 50, 50, 0, 50]
    every = combined(everything, everything, [], [], LO)
    assert run(every, HTTP, ifindex=LO, pkttype=4) == 0
    assert run(every, HTTP, ifindex=LO, pkttype=0) == 50
    assert run(every, HTTP, ifindex=3, pkttype=4) == 50


@needs_libpcap
def test_a_wrong_filter_is_explained() -> None:
    with pytest.raises(AnalyzerError, match="the filter `tcp prt 80` is wrong"):
        compiled("tcp prt 80", 1, 100)


def test_a_missing_libpcap_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(AnalyzerError, match="needs libpcap") as caught:
        compiled("tcp", 1, 100)
    assert "libpcap0.8" in caught.value.hint


def test_instructions_are_eight_bytes() -> None:
    assert packed([(0x15, 1, 2, 7)]) == struct.pack("=HBBI", 0x15, 1, 2, 7)


def test_a_program_too_long_for_the_kernel_is_refused() -> None:
    with pytest.raises(AnalyzerError, match="too long"):
        combined([(6, 0, 0, 1)] * 5000, [(6, 0, 0, 1)], [], [], 0)
