"""Header blocks read: HPACK by connection and direction, and the fields that tables show.

Source  RFC 7541 (HPACK); RFC 9113 sections 8.2, 8.3 (pseudo-header fields); RFC 9110 section 15.2 (1xx);
        gRPC over HTTP/2 (content-type application/grpc, grpc-status in the trailers).
Limits  After a loss, or joined midstream, the dynamic table holds lines that are not known. Newer lines stand before
        older ones, so a line read since then is always found right; one from before is null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analyzer.protocols.http2.upgrade import Upgraded

UNKNOWN = b"\0?"
"""The name and value of a line that is not known; compared by identity, for the wire may say this too."""

# Browsers use 64 KiB; a larger table is forgotten as if it were lost.
TABLE_MAX = 1 << 16
_LINE_MIN = 32  # what an empty line counts for (RFC 7541 section 4.1), hence how many there can be

# A block that says more than this was not meant to be read: the same limit as servers have for HTTP/1 heads.
LIST_MAX = 1 << 16

METHOD_MAX, HOST_MAX, TARGET_MAX, WORD_MAX = 64, 262, 8192, 256


Fields = Iterable[tuple[bytes, bytes]]


class BlockError(Exception):
    """A header block that cannot be read: TOO_LONG, NOT_KNOWN (a line outside the table) or BAD."""

    TOO_LONG, NOT_KNOWN, BAD = range(3)

    def __init__(self, why: int) -> None:
        super().__init__(why)
        self.why = why


class HeaderTable:
    """HPACK of one direction: what its blocks put into the table, and blocks read with it."""

    def __init__(self, *, known: bool) -> None:
        """Begin with an empty table, or with one full of lines that are not known."""
        import hpack  # only once a header block comes

        self._known = known
        self._decoder = hpack.Decoder(max_header_list_size=LIST_MAX)
        self._decoder.max_allowed_table_size = TABLE_MAX
        if not known:
            self._decoder.header_table_size = TABLE_MAX
            table = self._decoder.header_table
            for _ in range(TABLE_MAX // (_LINE_MIN + 2 * len(UNKNOWN))):
                table.add(UNKNOWN, UNKNOWN)

    def read(self, block: bytes) -> Fields:
        """Return the fields of a block; raises BlockError, and is of no use then."""
        from hpack.exceptions import HPACKError, InvalidTableIndex, InvalidTableSizeError, OversizedHeaderListError

        try:
            return self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise BlockError(BlockError.TOO_LONG) from error
        except InvalidTableIndex as error:
            raise BlockError(BlockError.BAD if self._known else BlockError.NOT_KNOWN) from error
        except InvalidTableSizeError as error:  # more than we keep: which lines have left it cannot be told
            raise BlockError(BlockError.NOT_KNOWN) from error
        except (HPACKError, IndexError) as error:
            raise BlockError(BlockError.BAD) from error


@dataclass(slots=True)
class Said:
    """What the header blocks of one exchange said."""

    method: str | None = None
    target: str | None = None
    host: str | None = None
    protocol: str | None = None  # :protocol of an extended CONNECT (RFC 8441)
    status: int | None = None
    grpc: bool = False
    grpc_status: int | None = None
    events: bool = False  # the response is an event stream that can be read
    interim: bool = False  # a 1xx came before the response
    response_ts: int = 0  # of the response, where an interim one came before
    response_frame: int = 0
    websocket_protocol: str | None = None
    websocket_extensions: str | None = None
    unknown: bool = False  # a line was not known
    asked: bool = False  # for a WebSocket or a tunnel, and not answered yet

    @property
    def is_tunnel(self) -> bool:
        """True for CONNECT as RFC 9113 section 8.5 has it; RFC 8441 adds :protocol."""
        return self.method == "CONNECT" and self.protocol is None

    @property
    def switched(self) -> str | None:
        """What the stream turned to."""
        if self.status is None or self.status >= 300:
            return None
        return "CONNECT" if self.is_tunnel else self.protocol

    @property
    def size(self) -> int:
        """Characters that are held."""
        return sum(len(text) for text in (self.method, self.target, self.host, self.websocket_extensions) if text)


def _text(value: bytes, longest: int) -> str:
    return value[:longest].decode("utf-8", "backslashreplace")


def _code(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= 9 else None


def said_by(upgraded: Upgraded) -> Said:
    """Return what an HTTP/1 request said, as if header blocks had."""
    method, target, host = (
        None if text is None else _text(text, longest)
        for text, longest in ((upgraded.method, METHOD_MAX), (upgraded.target, TARGET_MAX), (upgraded.host, HOST_MAX))
    )
    return Said(method, target, host)


def take_request(said: Said, fields: Fields) -> None:
    """Read the fields of a request, or of its trailers."""
    host = None
    for name, value in fields:
        if name is UNKNOWN or value is UNKNOWN:
            said.unknown = True
        elif name == b":method":
            said.method = _text(value, METHOD_MAX)
        elif name == b":path":
            said.target = _text(value, TARGET_MAX)
        elif name == b":authority":
            said.host = _text(value, HOST_MAX)
        elif name == b":protocol":
            said.protocol = _text(value, METHOD_MAX)
        elif name == b"host":
            host = _text(value, HOST_MAX)
        elif name == b"content-type" and value.startswith(b"application/grpc"):
            said.grpc = True
    if said.host is None:
        said.host = host


def take_response(said: Said, fields: Fields, ts: int, frame: int) -> None:
    """Read the fields of a response, of an interim one, or of trailers."""
    status, events, packed = None, False, False
    for name, value in fields:
        if name is UNKNOWN or value is UNKNOWN:
            said.unknown = True
        elif name == b":status":
            status = _code(value)
        elif name == b"grpc-status":
            said.grpc_status = _code(value)
        elif name == b"content-type" and value.startswith(b"application/grpc"):
            said.grpc = True
        elif name == b"content-type" and value.partition(b";")[0].strip().lower() == b"text/event-stream":
            events = True
        elif name == b"content-encoding":
            packed = value.lower() != b"identity"
        elif name == b"sec-websocket-protocol":
            said.websocket_protocol = _text(value, WORD_MAX)
        elif name == b"sec-websocket-extensions":
            said.websocket_extensions = _text(value, WORD_MAX)
    if status is not None:  # trailers have none
        said.events = events and not packed
    if status is not None and status < 200:
        said.interim = True
    elif said.status is None and (status is not None or said.interim):
        said.status = status
        if said.interim:
            said.response_ts, said.response_frame = ts, frame
