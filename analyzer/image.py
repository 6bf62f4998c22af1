"""Machine code without llvmlite: an object file linked once into an image that later runs map and jump to.

Importing llvmlite and letting it load five kernels takes 70 ms of every start; mapping five images takes two. This
knows the one kind of object that numba's large code model makes on x86-64 Linux (ELF: System V ABI, AMD64 supplement,
section 4.4). For anything else `link` and `load` return None, and llvmlite does it.

An image is position dependent: the places that hold addresses are listed, and `load` adds where it was mapped to.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ELF64_X86_64_RELOCATABLE = (b"\x7fELF\x02\x01\x01", 1, 62)
_RELA, _SYMBOLS, _NO_BITS = 4, 2, 8  # section types
_WRITE, _ALLOCATED = 1, 2  # section flags
_ADDRESS_64, _RELATIVE_32, _CALL_32, _RELATIVE_64 = 1, 2, 4, 24  # relocation types
_RELATIVE = {_RELATIVE_32: "<i", _CALL_32: "<i", _RELATIVE_64: "<q"}
_ALIGNMENT = 64

_mapped: list[Any] = []  # what was loaded, until the process ends


@dataclass(slots=True)
class _Section:
    kind: int
    flags: int
    content: bytes
    size: int
    link: int
    about: int
    name: bytes
    place: int = -1  # in the image, -1 = not part of it


def link(code: bytes, entry: str, never_called: set[str]) -> bytes | None:
    """Return the image of an object file whose function `entry` is to be called, None if it has anything unusual.

    never_called  symbols of what the code cannot reach: calling one ends the process
    """
    if not sys.platform.startswith("linux"):
        return None
    magic, kind, machine = struct.unpack_from("<7s9xHH", code)
    if (magic, kind, machine) != _ELF64_X86_64_RELOCATABLE:
        return None
    sections = _sections(code)
    image = bytearray()
    for section in sections:
        if section.flags & _ALLOCATED and section.size and section.name != b".eh_frame":  # nothing unwinds it
            if section.flags & _WRITE:
                return None  # it could not be written to once it may be run
            image += bytes(-len(image) % _ALIGNMENT)
            section.place = len(image)
            image += bytes(section.size) if section.kind == _NO_BITS else section.content
    table = next(section for section in sections if section.kind == _SYMBOLS)
    names = sections[table.link].content
    symbols = []  # (name, place in the image or None)
    for name_at, _, home, value, _ in struct.iter_unpack("<IHHQQ", table.content):
        known = 0 < home < len(sections) and sections[home].place >= 0
        symbols.append((_text(names, name_at), sections[home].place + value if known else None))
    addresses: list[int] = []
    outside: list[tuple[int, str]] = []
    for section in sections:
        if section.kind != _RELA or (home := sections[section.about].place) < 0:
            continue
        for offset, packed, addend in struct.iter_unpack("<QQq", section.content):
            (name, place), kind, at = symbols[packed >> 32], packed & 0xFFFFFFFF, home + offset
            if kind == _ADDRESS_64 and place is not None:
                struct.pack_into("<q", image, at, place + addend)
                addresses.append(at)
            elif kind == _ADDRESS_64 and addend == 0 and name:
                outside.append((at, "Py_FatalError" if name in never_called else name))
            elif kind in _RELATIVE and place is not None:
                struct.pack_into(_RELATIVE[kind], image, at, place + addend - at)
            else:
                return None
    start = next((place for name, place in symbols if name == entry and place is not None), None)
    if start is None:
        return None
    head = {"start": start, "size": len(image), "outside": outside}
    return json.dumps(head).encode() + b"\n" + bytes(image) + np.array(addresses, "<i8").tobytes()


def _sections(code: bytes) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", code, 40)
    size, count, names = struct.unpack_from("<HHH", code, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", code, table + k * size) for k in range(count)]
    at = heads[names][4]
    return [
        _Section(kind, flags, code[start : start + length], length, link, about, _text(code, at + name).encode())
        for name, kind, flags, _, start, length, link, about, _, _ in heads
    ]


def _text(code: bytes, at: int) -> str:
    return code[at : code.index(b"\0", at)].decode()


def load(packed: bytes) -> int | None:
    """Map an image and return its function's address, None if the system forbids it or a symbol is missing."""
    line, _, rest = packed.partition(b"\n")
    head = json.loads(line)
    try:
        room = mmap.mmap(-1, head["size"], flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:
        return None
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    image: NDArray[np.uint8] = np.frombuffer(room, np.uint8)
    image[:] = np.frombuffer(rest, np.uint8, head["size"])
    places = np.frombuffer(rest, "<i8", offset=head["size"])[:, None] + np.arange(8)
    image[places] = (np.ascontiguousarray(image[places]).view("<i8") + base).view(np.uint8)
    for at, name in head["outside"]:
        address = _address(name)
        if address is None:
            return None
        struct.pack_into("<q", room, at, address)
    # Never writable and executable at once
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(base), ctypes.c_size_t(len(room)), mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    _mapped.append(room)
    return base + int(head["start"])


def _address(name: str) -> int | None:
    try:
        return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    except AttributeError:
        return None
