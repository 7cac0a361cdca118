"""The errors of blob stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import Unavailable


class BlobMissing(Unavailable):
    """Raised when a blob is not in the store, although a row names it."""


@contextmanager
def os_errors_as_unavailable() -> Iterator[None]:
    """Raise errors of the file system as Unavailable, and a missing file as BlobMissing."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissing("The file is not in the store") from error
    except OSError as error:
        raise Unavailable("Files cannot be stored or read now") from error
