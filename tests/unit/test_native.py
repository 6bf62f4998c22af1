"""Where compiled kernels are kept: private, found again whatever the umask, and keyed by their types."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

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
