"""What a resource is to the store, and what tells one collection from another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp


class Resource(Protocol):
    """What every resource message has, and what of protobuf is used on it."""

    name: str
    uid: str
    etag: str
    DESCRIPTOR: Descriptor

    @property
    def create_time(self) -> Timestamp:
        """When it was made."""

    @property
    def update_time(self) -> Timestamp:
        """When it was last written."""

    @property
    def labels(self) -> Any:
        """The user's own key-value pairs."""

    def CopyFrom(self, other_msg: Self) -> None:
        """Become equal to the other message."""

    def ParseFromString(self, serialized: bytes) -> int:
        """Become what the bytes say."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:
        """Return the message as bytes."""


M = TypeVar("M", bound=Resource)


@dataclass(frozen=True)
class Kind(Generic[M]):
    """A type of resource.

    Attributes:
        name: Name of the collection in the tables.
        message: Class of the message.
        index: Says for a resource under which word `list(index=...)` finds it.
    """

    name: str
    message: Callable[[], M]
    index: Callable[[M], str] | None = None
