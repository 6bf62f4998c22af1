"""Where compiled kernels are kept: private, found again whatever the umask, and keyed by their types."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analyzer import native
from analyzer.image import link, load

WHERE = "import os; os.umask({umask}); from analyzer.native import _cache_dir; print(_cache_dir())"


def cache_dir(home: Path, umask: int = 0o022, **env: str) -> Path:
    """Ask a new process."""
    done = subprocess.run(
        [sys.executable, "-c", WHERE.format(umask=umask)],
        env=os.environ | {"LONGWIRE_CACHE_DIR": str(home)} | env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(done.stdout.strip())


def test_a_group_writable_umask_still_has_a_cache(tmp_path: Path) -> None:
    """Debian's and Fedora's private groups: 002 must not cost a compilation at every start."""
    found = cache_dir(tmp_path, 0o002)
    assert found.parent == tmp_path / "longwire"
    for folder in (found, found.parent):
        assert not folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def test_a_folder_that_others_could_write_to_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "longwire").mkdir()
    (tmp_path / "longwire").chmod(0o777)
    found = cache_dir(tmp_path)
    assert found.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "longwire").mkdir()
    os.chown(tmp_path / "longwire", 12345, 12345)
    assert tmp_path not in cache_dir(tmp_path, TMPDIR=str(tmp_path / "elsewhere")).parents


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "longwire").symlink_to(tmp_path / "target")
    assert tmp_path / "longwire" not in cache_dir(tmp_path).parents


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_process_that_stands_still_while_it_compiles_does_not_stop_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_PATIENCE_S", 0.1)
    path = tmp_path / "kernel.o"
    held = native._claim(path, wait=True)
    assert held is not None
    with held:
        assert native._claim(path, wait=True) is None
    again = native._claim(path, wait=False)
    assert again is not None
    again.close()


# ------------------------------------------------------------------------------------------------ images
RUN = """
import sys
from analyzer.capture.pcap import walk_pcap  # noqa: F401
import analyzer, analyzer.native as native
if {forbidden}:
    native.load = lambda image: None
tables = analyzer.analyze({path!r})
print(tables.flows.to_json(), tables.closes.to_json(), "llvmlite" in sys.modules, "numba" in sys.modules)
"""
CAPTURE = str(Path(__file__).parents[2] / "captures" / "keepalive_dead_peer.pcap")
LINUX = sys.platform.startswith("linux") and platform.machine() == "x86_64"


def outcome(forbidden: bool = False) -> list[str]:
    code = RUN.format(forbidden=forbidden, path=CAPTURE)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.rsplit(
        " ", 2
    )


@pytest.mark.skipif(not LINUX, reason="images are made of x86-64 Linux objects only")
def test_images_need_neither_numba_nor_llvmlite_and_compute_the_same() -> None:
    outcome()  # compiles what is not compiled yet
    mapped, loaded = outcome(), outcome(forbidden=True)
    assert mapped[0] == loaded[0]
    assert (mapped[1:], loaded[1:]) == (["False", "False\n"], ["True", "False\n"])


@pytest.mark.skipif(not LINUX, reason="images are made of x86-64 Linux objects only")
def test_a_damaged_or_foreign_object_is_not_linked() -> None:
    assert link(b"\xcf\xfa\xed\xfe" + bytes(60), "entry", set()) is None  # Mach-O
    assert link(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\x00\xb7\x00" + bytes(60), "entry", set()) is None  # aarch64


@pytest.mark.skipif(not LINUX, reason="images are made of x86-64 Linux objects only")
def test_an_image_runs_where_it_is_mapped() -> None:
    """`lea rax, [rdi + 1]; movabs rcx, start; ret` with an address to add, and one of a symbol that is not there."""
    code = bytes.fromhex("488d4701 48b90000000000000000 c3".replace(" ", ""))
    head = {"start": 0, "size": len(code), "outside": []}
    image = json.dumps(head).encode() + b"\n" + code + np.array([6], "<i8").tobytes()
    address = load(image)
    assert address is not None
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(41) == 42
    assert ctypes.c_int64.from_address(address + 6).value == address
    missing = json.dumps(head | {"outside": [[6, "no_such_symbol"]]}).encode() + b"\n" + code
    assert load(missing) is None
