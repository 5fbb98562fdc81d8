"""What reflection finds by name."""

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

_POOL = descriptor_pool.Default()


class Symbols:
    """The pool of all descriptors, in which methods are found, too.

    Reflection's contract has symbols of methods (`package.Service.Method`), and some clients ask for nothing
    else. The pool of the protobuf library knows messages, fields, enums and services.
    """

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that defines a symbol.

        Raises:
            KeyError: none does.
        """
        try:
            return _POOL.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = _POOL.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file

    def __getattr__(self, name: str) -> Any:
        return getattr(_POOL, name)
