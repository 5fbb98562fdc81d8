"""Regions of shared memory that clients on the same machine lay tensors in.

A client makes a POSIX shared memory object and registers a part of it under a name; requests then say where
in that region a tensor is, or is to go. Names are global: the protocol has no owner of a region.

The bytes are copied, by reads and writes of the object's file. A mapping would end the server (SIGBUS) when
a client makes the object shorter, and would let it change a tensor after it was checked. The copy costs
nothing extra: tensors are copied into batches anyway.

Not thread-safe: belongs to one event loop.
"""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lepton_common.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidField,
    NotFound,
    PermissionDenied,
    TooLarge,
    WrongState,
)

FOLDER = Path("/dev/shm")
"""Where Linux shows POSIX shared memory objects, as files."""

MOST_REGIONS = 256
"""Each holds a file open."""

MOST_NAME_LENGTH = 255
"""Characters of the name of a region."""

# As `shm_open` takes them: slashes in front mean nothing, and there are no others.
_KEY = re.compile(r"/*([^/\0]{1,255})")


@dataclass(frozen=True)
class Region:
    """A part of a shared memory object: `byte_size` bytes from `offset` on."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int
    """Of the object's open file."""


@dataclass(frozen=True)
class Place:
    """Where a tensor is in a region, in bytes from the region's start."""

    region: Region
    offset: int
    byte_size: int


class Regions:
    """The regions that are registered, by name.

    Args:
        most_request_bytes: what the inputs of one request may bring in; all of it is copied before the
            model is asked whether it wants them.
        folder: where the objects are.
    """

    def __init__(self, *, most_request_bytes: int, folder: Path = FOLDER) -> None:
        self._most_request_bytes = most_request_bytes
        self._folder = folder
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, *, offset: int, byte_size: int) -> None:
        """Makes a part of the object with this key known under a name.

        The object stays open: one that is made anew with the same key is another one.

        Raises:
            InvalidField: the name is empty or too long, the key is none, or the part is not in the object.
            AlreadyExists: the name is taken.
            TooLarge: there are too many regions.
            NotFound: no object has this key.
            PermissionDenied: the server may not read and write it.
        """
        if not 0 < len(name) <= MOST_NAME_LENGTH:
            raise _invalid("name", f"must have 1 to {MOST_NAME_LENGTH} characters")
        if name in self._regions:
            raise AlreadyExists(f"a shared memory region is named {name!r} already: unregister it first")
        if len(self._regions) >= MOST_REGIONS:
            raise TooLarge(
                f"{MOST_REGIONS} shared memory regions are registered, as many as may be: unregister some",
                metadata={"limit": str(MOST_REGIONS), "count": str(len(self._regions))},
            )
        descriptor = self._open(key)
        try:
            _check_part(os.fstat(descriptor), offset=offset, byte_size=byte_size)
        except BaseException:
            os.close(descriptor)
            raise
        self._regions[name] = Region(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str) -> None:
        """Forgets a region. From then on its memory is not touched; one that is not known is no error."""
        if region := self._regions.pop(name, None):
            os.close(region.descriptor)

    def unregister_all(self) -> None:
        """Forgets all regions."""
        for name in [*self._regions]:
            self.unregister(name)

    def all(self) -> list[Region]:
        """The regions that are registered."""
        return [*self._regions.values()]

    def find(self, name: str) -> Region:
        """The region of this name.

        Raises:
            NotFound: there is none.
        """
        if name not in self._regions:
            raise NotFound(f"no shared memory region is named {name[:64]!r}: register it first")
        return self._regions[name]

    def place(self, name: str, *, offset: int, byte_size: int) -> Place:
        """A part of the region of this name.

        Raises:
            NotFound: there is no such region.
            InvalidField: the part is not inside of it.
        """
        region = self.find(name)
        if offset < 0 or byte_size < 1 or offset + byte_size > region.byte_size:
            raise _invalid(
                "shared_memory_byte_size",
                f"{byte_size} bytes from {offset} on are not inside the region {name!r}, "
                f"which has {region.byte_size}",
            )
        return Place(region, offset, byte_size)

    def check_total(self, places: Iterable[Place]) -> None:
        """Holds the inputs of a request against what one may bring in.

        Raises:
            TooLarge: they are more.
        """
        total = sum(place.byte_size for place in places)
        if total > self._most_request_bytes:
            raise TooLarge(
                f"the inputs in shared memory have {total} bytes together; a request may have "
                f"{self._most_request_bytes}, as many as a message",
                metadata={"limit_bytes": str(self._most_request_bytes), "bytes": str(total)},
            )

    def read(self, place: Place) -> bytes:
        """A copy of what is there.

        Raises:
            NotFound: the region was unregistered.
            WrongState: the object was made shorter.
        """
        region = self._still_there(place.region)
        data = os.pread(region.descriptor, place.byte_size, region.offset + place.offset)
        if len(data) != place.byte_size:
            raise _shorter(region)
        return data

    def write(self, place: Place, data: bytes) -> None:
        """Puts bytes there.

        Raises:
            InvalidField: the place has no room for them.
            NotFound: the region was unregistered.
            WrongState: the object was made shorter, or the machine has no memory for it.
        """
        region = self._still_there(place.region)
        if len(data) > place.byte_size:
            raise _invalid(
                "shared_memory_byte_size",
                f"{place.byte_size} bytes of the region {region.name!r} do not hold an output of {len(data)}",
            )
        start = region.offset + place.offset
        # Beyond its end a write would make the object longer again.
        if os.fstat(region.descriptor).st_size < start + len(data):
            raise _shorter(region)
        try:
            written = os.pwrite(region.descriptor, data, start)
        except OSError as error:
            raise WrongState(f"there is no room for the region {region.name!r}: {error.strerror}") from error
        if written != len(data):
            raise WrongState(f"there is no room for all of the region {region.name!r}")

    def _still_there(self, region: Region) -> Region:
        """The region, unless its name went meanwhile: a descriptor that was closed may be another file's."""
        if self._regions.get(region.name) is not region:
            raise NotFound(f"the shared memory region {region.name!r} was unregistered meanwhile")
        return region

    def _open(self, key: str) -> int:
        found = _KEY.fullmatch(key)
        if not found or found[1] in (".", ".."):
            raise _invalid("key", "must be that of a shared memory object: up to 255 bytes without a slash")
        file = found[1]
        # Neither a link out of the folder nor a pipe that nobody writes to.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self._folder / file, flags)
        except FileNotFoundError as error:
            raise NotFound(f"the server sees no shared memory object with the key {file!r}") from error
        except PermissionError as error:
            raise PermissionDenied(
                f"the server may not read and write the shared memory object {file!r}"
            ) from error
        except OSError as error:
            raise _invalid("key", f"is not that of a shared memory object: {error.strerror}") from error


def _check_part(status: os.stat_result, *, offset: int, byte_size: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _invalid("key", "is not that of a shared memory object")
    if byte_size < 1 or offset < 0 or offset + byte_size > status.st_size:
        raise _invalid(
            "byte_size",
            f"{byte_size} bytes from {offset} on are not inside the object, which has {status.st_size}",
        )


def _shorter(region: Region) -> WrongState:
    return WrongState(
        f"the object of the shared memory region {region.name!r} is shorter than when it was registered"
    )


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField(f"{field}: {rule}", violations=[FieldViolation(field, rule)])
