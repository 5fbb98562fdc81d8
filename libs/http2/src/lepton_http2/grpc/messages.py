"""Messages with their prefixes: one octet that tells whether it is compressed, four of size."""

import zlib
from collections.abc import Iterator

from lepton_http2.grpc.status import RpcError, StatusCode
from lepton_http2.sending import MESSAGE_PREFIX

__all__ = ["PREFIX_BYTES", "Reassembly", "compress", "decompress", "read_prefix"]

PREFIX_BYTES = MESSAGE_PREFIX.size
read_prefix = MESSAGE_PREFIX.unpack_from

# zlib's name for the format of gzip with the largest window.
_GZIP = 16 + zlib.MAX_WBITS
# A piece that is kept is copied if it is shorter: it would hold all that was received with it. Large messages
# come in frames of just this size.
_COPIED_BYTES = 16 << 10


class Reassembly:
    """Puts the messages of one stream together.

    Args:
        max_message_bytes: what a message may have on the wire.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._parts: list[bytes | memoryview] = []
        self.buffered_bytes = 0
        """What is here of a message that is not whole, its prefix included."""
        self.messages = 0
        """How many have begun."""
        self._needed = PREFIX_BYTES
        self._compressed: int | None = None

    def feed(self, payload: memoryview) -> Iterator[tuple[bool, bytes]]:
        """Takes a piece of the body; gives each message that is now whole, and whether it is compressed.

        Raises:
            RpcError: a message is too large, or its prefix is none.
        """
        while self.buffered_bytes + len(payload) >= self._needed:
            taken = self._needed - self.buffered_bytes
            whole = b"".join([*self._parts, payload[:taken]])
            payload = payload[taken:]
            self._parts.clear()
            self.buffered_bytes = 0
            if self._compressed is None:
                self._compressed, self._needed = self._begin(whole)
            else:
                compressed, self._compressed = self._compressed, None
                self._needed = PREFIX_BYTES
                yield bool(compressed), whole
        self.keep(payload)

    def is_part(self, payload: memoryview) -> bool:
        """Whether a piece of the body completes nothing, and needs only be kept."""
        return self.buffered_bytes + len(payload) < self._needed

    def keep(self, payload: memoryview) -> None:
        """Takes a piece that completes nothing."""
        if payload:
            self._parts.append(payload if len(payload) >= _COPIED_BYTES else bytes(payload))
            self.buffered_bytes += len(payload)

    def _begin(self, whole: bytes) -> tuple[int, int]:
        self.messages += 1
        compressed, size = read_prefix(whole)
        if compressed > 1:
            raise RpcError(StatusCode.INTERNAL, "the prefix of a message has unknown flags")
        if size > self._max_message_bytes:
            raise too_large(size, self._max_message_bytes)
        return compressed, size

    @property
    def complete(self) -> bool:
        """Whether the stream may end here."""
        return self._compressed is None and not self.buffered_bytes


def too_large(size: int, limit: int) -> RpcError:
    """What ends a call whose message is too large."""
    return RpcError(StatusCode.RESOURCE_EXHAUSTED, f"the message is larger than max ({size} vs. {limit})")


def compress(message: bytes) -> bytes:
    """Compresses a message with gzip, rather fast than well."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return packer.compress(message) + packer.flush()


def decompress(message: bytes, *, max_message_bytes: int) -> bytes:
    """Decompresses a message, and no more of it than is allowed.

    Raises:
        RpcError: it is too large, or no gzip.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(message, max_message_bytes + 1)
    except zlib.error as error:
        raise RpcError(StatusCode.INTERNAL, "a message is no gzip") from error
    if len(plain) > max_message_bytes:
        raise RpcError(
            StatusCode.RESOURCE_EXHAUSTED,
            f"the message is larger than max (decompressed, {max_message_bytes} allowed)",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise RpcError(StatusCode.INTERNAL, "a message is no whole gzip")
    return plain
