"""Compiled kernels on disk, and how they are called without numba.

Numba compiles a kernel once; the machine code is kept in the user's cache directory and later runs map it into memory
(`image.py`), or where that cannot be done load it with llvmlite. Importing numba and preparing its dispatcher costs
half a second of every run, llvmlite and its loader 70 ms, the images 2 ms. The directory is named after a hash of
everything that can change the code: the sources that kernels are made of, and the versions of Python, numpy, numba and
the processor.

A kernel's arguments are C-contiguous arrays and integers; it returns an integer or None.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, update_wrapper
from importlib.machinery import PathFinder
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from analyzer.image import link, load

if TYPE_CHECKING:
    from analyzer.compiler import Signature

# Folders whose functions reach compiled code; a change in any of them makes all kernels anew.
_KERNEL_FOLDERS = ("capture", "decode", "flows", "streams", "protocols")

_DIGEST_BYTES = 32
_CPUINFO_MAX = 1 << 14  # the first processor's lines; the file has them for each of hundreds
_KEPT_S = 30 * 86400
_PATIENCE_S = 60.0  # several times what one kernel takes


# ------------------------------------------------------------------------------------------------ where it is kept
@cache
def _fingerprint() -> str:
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for part in (sys.version, platform.machine(), np.__version__, _release("numba"), _release("llvmlite"), _cpu()):
        digest.update(part.encode() + b"\0")
    for path in [root / f"{name}.py" for name in ("kernel", "native", "compiler", "image")]:
        digest.update(path.read_bytes())
    for folder in _KERNEL_FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _release(package: str) -> str:
    """Return what tells one version of a package from another, without importing it (importlib.metadata: 30 ms)."""
    found = PathFinder.find_spec(package)
    with contextlib.suppress(OSError):
        if found is not None and found.origin is not None:
            return (Path(found.origin).parent / "_version.py").read_text(encoding="utf-8")
    from importlib.metadata import version

    return version(package)


def _cpu() -> str:
    """Return the processor's model and what it can do; from Linux itself, as it costs 40 ms to ask LLVM."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        first, end, _ = file.read(_CPUINFO_MAX).partition("\n\n")
        if end:  # what changes from second to second says nothing about code
            return "\n".join(line for line in first.splitlines() if "MHz" not in line and "mips" not in line.lower())
    import llvmlite.binding as llvm

    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def _is_private(folder: Path) -> bool:
    """Make a folder that only this user can write to: code from it will be run. False if it is not, and cannot be."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not hasattr(os, "getuid"):
        return True
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        return False
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(0o700)
    return True


def _homes() -> Iterator[tuple[Path, ...]]:
    """Yield where the cache may be: folders from the outermost that must be ours to the cache itself."""
    leaf = f"kernels-{_fingerprint()}"
    named = os.environ.get("LONGWIRE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError, OSError):  # a user without a home
        home = Path(named) if named else Path.home() / ".cache"
        home.mkdir(parents=True, exist_ok=True)
        yield home / "longwire", home / "longwire" / leaf
    user = os.getuid() if hasattr(os, "getuid") else 0
    shared = Path(tempfile.gettempdir()) / f"longwire-{user}"
    yield shared, shared / leaf


@cache
def _cache_dir() -> Path | None:
    """Where compiled kernels are kept, or None if nothing safe is writable (then each run compiles anew)."""
    for folders in _homes():
        with contextlib.suppress(OSError):
            if all(_is_private(folder) for folder in folders) and os.access(folders[-1], os.W_OK):
                _forget_old(folders[-1])
                return folders[-1]
    return None


def _forget_old(folder: Path) -> None:
    """Remove the kernels of versions that were not used for a month. A folder's time is that of its last use."""
    os.utime(folder)
    for other in folder.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):  # another process may be doing the same
            if other != folder and time.time() - other.stat().st_mtime > _KEPT_S:
                shutil.rmtree(other, ignore_errors=True)


def is_cold() -> bool:
    """True if nothing is compiled yet."""
    folder = _cache_dir()
    return folder is None or not any(folder.glob("*.o"))


# ------------------------------------------------------------------------------------------------ kernels
def signature_of(args: tuple[Any, ...]) -> Signature:
    """Return the types of a kernel's arguments."""
    return tuple((arg.dtype, arg.ndim) if isinstance(arg, np.ndarray) else None for arg in args)


def _nobody() -> None:
    """Stand for the array of a call that never was."""


class Kernel:
    """A kernel as Python calls it. The first call decides the types; later calls must have the same."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self._signature: Signature = ()
        self._call: Callable[..., Any] | None = None
        self._places: list[tuple[Any, list[int]]] = []  # of each array of the last call: who it is, where it lies

    def __call__(self, *args: Any) -> Any:
        if self._call is None:
            with _compiling:
                if self._call is None:
                    self._prepare(args)
        if _CHECKED:
            return self._call(*args)  # type: ignore[misc]
        flat: list[int] = []
        places = self._places
        for k, (arg, wanted) in enumerate(zip(args, self._signature, strict=True)):
            if wanted is None:
                flat.append(arg)
                continue
            who, place = places[k]
            if who() is not arg:
                place = self._place_of(arg, wanted)
                places[k] = ref(arg), place
            flat += place
        return self._call(*flat)  # type: ignore[misc]

    def _place_of(self, array: Any, wanted: tuple[Any, int]) -> list[int]:
        """Return address and shape of an array. numpy takes a microsecond to tell, so they are kept (see `_places`)."""
        dtype, dimensions = wanted
        right = array.dtype is dtype or array.dtype == dtype
        if not right or array.ndim != dimensions or not array.flags.c_contiguous:
            raise TypeError(f"{self.function.__name__}: {array.ndim}-dimensional {array.dtype}, was {wanted}")
        return [array.ctypes.data, *array.shape]

    def _prepare(self, args: tuple[Any, ...]) -> None:
        self._signature = signature_of(args)
        self._places = [(_nobody, [])] * len(args)
        if _CHECKED:
            from analyzer.compiler import raising

            self._call = raising(self.function, args)
            return
        path = _object_path(self.function, self._signature)
        self._call = _prototype(self._signature)(_address(self.function, self._signature, path))


# One thread at a time, with everything around numba's compiler: of two kernels that were compiled at once, one came out
# with a helper that did nothing (seen as a hash table that stayed empty).
_compiling = threading.RLock()

# With NUMBA_BOUNDSCHECK=1 kernels raise IndexError, which only numba's own dispatcher can pass on.
_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")


# ------------------------------------------------------------------------------------------------ kept code
def _object_path(function: Callable[..., Any], signature: Signature) -> Path | None:
    folder = _cache_dir()
    words = f"{function.__module__}.{function.__qualname__}"
    types = hashlib.sha256(" ".join(map(_in_words, signature)).encode()).hexdigest()[:8]
    return None if folder is None else folder / f"{words}-{types}.o"


def _in_words(wanted: tuple[np.dtype[Any], int] | None) -> str:
    return "" if wanted is None else f"{_layout(wanted[0])} {wanted[1]}"


@cache
def _layout(dtype: np.dtype[Any]) -> str:
    return repr(dtype.descr)  # says as much as the dtype's own text, in a fifth of the time


def _compile(function: Callable[..., Any], signature: Signature, path: Path | None) -> bytes:
    """Compile a kernel, or wait for the process that does; return and keep its code."""
    claim = None if path is None else _claim(path, wait=True)
    with claim or contextlib.nullcontext():
        return _read(path) or _made(function, signature, path)


def compile_unless_busy(function: Callable[..., Any], signature: Signature) -> None:
    """Compile and keep a kernel that is not kept yet, and that no other process is compiling."""
    path = _object_path(function, signature)
    if path is None or path.exists():
        return
    claim = _claim(path, wait=False)
    if claim is not None:
        with claim:
            _made(function, signature, path)


def _claim(path: Path, *, wait: bool) -> IO[bytes] | None:
    """Return what keeps others from compiling a kernel while it is open; None if one of them has it, or it cannot be.

    The system lets go of it when a process dies. One that stands still (Ctrl-Z) is waited for _PATIENCE_S.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        file = path.with_suffix(".lock").open("wb")
    except OSError:
        return None
    until = time.monotonic() + (_PATIENCE_S if wait else 0.0)
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if time.monotonic() >= until:
                file.close()
                return None
        time.sleep(0.02)


def _made(function: Callable[..., Any], signature: Signature, path: Path | None) -> bytes:
    from analyzer.compiler import object_code

    name, outside, code = object_code(function, signature)
    packed = "\n".join([name, *outside]).encode() + b"\n\n" + code
    if path is not None:
        _write(path, hashlib.sha256(packed).digest() + packed)
    return packed


def _write(path: Path, content: bytes) -> None:
    """Write whole or not at all: several processes may compile at once."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError:
        return  # a full disk costs the next run its warm start, nothing else


def _read(path: Path | None) -> bytes | None:
    """Return a kernel's kept code, None if there is none or it is damaged."""
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    packed = content[_DIGEST_BYTES:]
    return packed if packed and hashlib.sha256(packed).digest() == content[:_DIGEST_BYTES] else None


# ------------------------------------------------------------------------------------------------ load
_engines: list[Any] = []  # they own the loaded code


def _address(function: Callable[..., Any], signature: Signature, path: Path | None) -> int:
    """Return where a kernel's code is in memory: from its image, its object file, or compiled now."""
    image_path = None if path is None else path.with_suffix(".image")
    image = _read(image_path)
    if image is not None and (address := load(image)) is not None:
        return address
    head, _, code = (_read(path) or _compile(function, signature, path)).partition(b"\n\n")
    name, *outside = head.decode().split("\n")
    image = link(code, name, set(outside))
    if image is not None and (address := load(image)) is not None:
        if image_path is not None:
            _write(image_path, hashlib.sha256(image).digest() + image)
        return address
    return _load(code, name, outside)


def _prototype(signature: Signature) -> Any:
    """Return the C type of a kernel's entry. Calls release the GIL."""
    arguments: list[Any] = []
    for wanted in signature:
        arguments += [ctypes.c_int64] if wanted is None else [ctypes.c_void_p, *([ctypes.c_int64] * wanted[1])]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)


def _load(code: bytes, name: str, outside: list[str]) -> int:
    """Load an object file with llvmlite and return its function's address."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for symbol in outside:
        llvm.add_symbol(symbol, ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    address: int = engine.get_function_address(name)
    return address
