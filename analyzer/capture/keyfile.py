"""TLS key log files, also while they are being written.

Source  draft-ietf-tls-keylogfile: lines of text, appended to.
Gives   whole lines, in pieces of up to a mebibyte; `protocols.tls.keylog` knows what they mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from analyzer.errors import AnalyzerError

_CHUNK = 1 << 20

WHICH = "it is the file that SSLKEYLOGFILE named when the client or server ran"
"""What a user is told who named another file."""


class KeyFile:
    """A key log file that may still grow: `read` takes what was added since the last time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.offset = 0  # just past the last line that was taken

    def read(self, *, final: bool = False) -> Iterator[bytes]:
        """Yield the new whole lines.

        A last line without its end stays for the next time, because its writer may be in the middle of it; with
        `final` it counts as whole. A file that became shorter was begun anew and is read from its start. A mebibyte
        without a line end is no key log: it is yielded as if it were a line. Raises AnalyzerError if the file cannot
        be read.
        """
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset = 0
                yield from self._lines(file, final)
        except OSError as error:
            reason = error.strerror or str(error)
            raise AnalyzerError(f"cannot read key log `{self.path}`: {reason}", WHICH) from error

    def beginning(self) -> bytes:
        """Return up to a mebibyte from the start of the file, b"" if it cannot be read: `read` will say so."""
        try:
            with self.path.open("rb") as file:
                return file.read(_CHUNK) if file.seekable() else b""
        except OSError:
            return b""

    def _lines(self, file: BinaryIO, final: bool) -> Iterator[bytes]:
        while True:
            file.seek(self.offset)
            chunk = file.read(_CHUNK)
            last = len(chunk) < _CHUNK
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
            if (last and final) or (end == 0 and not last):
                end = len(chunk)
            self.offset += end
            if end:
                yield chunk[:end]
            if last:
                return
