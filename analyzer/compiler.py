"""How a kernel becomes machine code: numba, asked for what a kernel needs and for nothing else.

Numba makes every function fit to be called from Python by itself: optimised, turned into machine code, wrapped twice.
A helper is only ever a part of kernels, which are optimised as a whole. Leaving the rest out is what this adds: the
kernels of a WebSocket capture take 31 s instead of 73 s to compile, and run as before. It rests on names inside numba;
where one is missing, numba does all that it would.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from analyzer.kernel import helpers, is_routine

Signature = tuple[tuple[Any, int] | None, ...]  # (numpy dtype, dimensions) of each array, None for each integer

# Numba counts references to arrays at every call of a helper, with atomic instructions, unless told that a kernel
# allocates nothing. Measured: the flow kernel takes twice as long with them (600 against 300 ns a segment).
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
_PART = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_ENTRY = "entry"


def raising(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return a kernel for arguments of these types as numba calls it: it can raise."""
    _know_helpers()
    numba = _numba()
    compiled = numba.njit(function, **_OPTIONS)
    with _parts_of(function.__qualname__):
        compiled.compile(tuple(numba.typeof(argument) for argument in arguments))
    return compiled


def object_code(function: Callable[..., Any], signature: Signature) -> tuple[str, list[str], bytes]:
    """Compile a kernel behind a plain C function (pointer and length for each array).

    Returns that function's name, the names outside that the code would call if it raised (a kernel never does: it
    allocates nothing, and indexes are not checked), and a relocatable object file.
    """
    numba = _numba()
    _know_helpers()
    types = numba.types
    names: list[str] = []
    parts: list[str] = []
    arguments: list[Any] = []
    for k, wanted in enumerate(signature):
        if wanted is None:
            names.append(f"i{k}")
            parts.append(f"i{k}")
            arguments.append(types.int64)
        else:
            lengths = [f"n{k}_{d}" for d in range(wanted[1])]
            names += [f"p{k}", *lengths]
            parts.append(f"carray(p{k}, ({', '.join(lengths)},))")
            arguments += [types.CPointer(numba.from_dtype(wanted[0])), *([types.intp] * wanted[1])]
    call = f"kernel({', '.join(parts)})"
    body = f"def {_ENTRY}({', '.join(names)}):\n    result = {call}\n    return 0 if result is None else result\n"
    scope: dict[str, Any] = {"kernel": numba.njit(function, **_OPTIONS, **_PART), "carray": numba.carray}
    exec(body, scope)
    with _parts_of(_ENTRY):
        compiled = numba.cfunc(types.int64(*arguments))(scope[_ENTRY])
    library = compiled._library
    outside = re.findall(r'^declare .*?@"?((?:numba|NRT)_\w+)"?\(', library.get_llvm_str(), re.MULTILINE)
    return compiled.native_name, sorted(set(outside)), library.serialize_using_object_code()[2][0]


def _numba() -> Any:
    return importlib.import_module("numba")  # it has no types that mypy could use


_known: dict[int, Any] = {}  # helpers as numba compiles them, by the identity of the plain function


def _know_helpers() -> None:
    """Tell numba what to compile where a kernel calls a helper. In Python a helper stays what it is.

    An array is seven words as an argument, so a helper that takes ten costs more to call than to run: helpers are
    inlined by LLVM (`forceinline`; numba's own `inline` would type them again at each call). Measured: 240 to 175 ns a
    segment.
    """
    numba = _numba()
    context = importlib.import_module("numba.core.registry").cpu_target.typing_context
    for plain in helpers():
        if id(plain) not in _known:
            _known[id(plain)] = numba.njit(plain, **_OPTIONS, **_PART, forceinline=not is_routine(plain))
            context.insert_global(plain, numba.types.Dispatcher(_known[id(plain)]))


# ------------------------------------------------------------------------------------------------ parts of kernels
@cache
def _part_library(base: Any, whole: str) -> Any:
    """Return a code library that is only linked into `whole`: not optimised by itself, never machine code."""

    class Part(base):  # type: ignore[misc]
        def _optimize_final_module(self) -> None:
            if self.name == whole:
                super()._optimize_final_module()

        def _finalize_final_module(self) -> None:
            if self.name == whole:
                super()._finalize_final_module()
            else:
                self._finalize_dynamic_globals()
                self._finalized = True

    return Part


@contextmanager
def _parts_of(whole: str) -> Iterator[None]:
    """Compile everything but the function `whole` as parts of it. Whoever else compiles with numba waits."""
    try:
        context = importlib.import_module("numba.core.registry").cpu_target.target_context
        lock = importlib.import_module("numba.core.compiler_lock").global_compiler_lock
        codegen, get_executable = context.codegen(), context.get_executable
        base = codegen._library_class
        _ = base._optimize_final_module, base._finalize_final_module, base._finalize_dynamic_globals
    except (ImportError, AttributeError):
        yield
        return

    def executable(library: Any, *about: Any) -> Any:
        # for a part: something that numba can tell from others, and that nobody calls
        return get_executable(library, *about) if library.name == whole else [].append

    with lock:
        codegen._library_class, context.get_executable = _part_library(base, whole), executable
        try:
            yield
        finally:
            del context.get_executable, codegen._library_class
