"""What every part of a store stands on: the root, the account's terms, what is shared with other stores of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

from netsvc.filestore.access import Access
from netsvc.filestore.commons import Commons, commons_of
from netsvc.filestore.errors import NotFoundError, NotPermittedError, WrongTypeError, store_error
from netsvc.filestore.names import check_name, check_readable
from netsvc.filestore.root import DIRECTORY, Root, way_of
from netsvc.filestore.terms import Terms

T = TypeVar("T")


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the system become the store's."""
    try:
        yield
    except OSError as error:
        raise store_error(error) from error


class Ground:
    """See :class:`.store.FileStore`."""

    def __init__(
        self,
        root: Path,
        terms: Terms,
        *,
        wall_clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = root
        self.terms = terms
        self._clocks = (wall_clock, steady_clock)
        self._commons: tuple[os.stat_result, Commons] | None = None
        self.beneath = Root(root, way_of(terms.follow))

    @property
    def commons(self) -> Commons:
        """That of the directory which is the root at this moment."""
        with translated():
            found = os.stat(self.path)
            if self._commons is None or not os.path.samestat(found, self._commons[0]):
                self._commons = found, commons_of(self.path, *self._clocks)
            return self._commons[1]

    def may_read(self) -> None:
        """The account may see what is there."""
        if self.terms.access is Access.UPLOAD_ONLY:
            raise NotPermittedError("the account may only upload")

    def may_write(self) -> None:
        """The account may bring something."""
        if self.terms.access is Access.READ_ONLY:
            raise NotPermittedError("the account may only read")

    def may_change(self, names: tuple[str, ...]) -> None:
        """The account may change or remove what is there."""
        self.may_read()
        self.may_write()
        if not names:
            raise NotPermittedError("the root itself stays as it is")

    def new(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The way to something new: an existing directory, and a name that may be given."""
        self.may_write()
        if not names:
            raise WrongTypeError("a directory")
        above, _ = self.composed(names[:-1], self.beneath.look)
        return (*above, check_name(names[-1], windows=self.terms.windows_names))

    def open_new(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The way to a new file, and the directory that it will be in, open; the caller closes it."""
        self.may_write()
        if not names:
            raise WrongTypeError("a directory")
        above, directory = self.composed(names[:-1], lambda way: self.beneath.open(way, DIRECTORY))
        try:
            return (*above, check_name(names[-1], windows=self.terms.windows_names)), directory
        except BaseException:
            os.close(directory)
            raise

    def composed(self, names: tuple[str, ...], look: Callable[[tuple[str, ...]], T]) -> tuple[tuple[str, ...], T]:
        """Look at names as they were given or, since some systems decompose what they send, in NFC."""
        check_readable(names)
        try:
            return names, look(names)
        except NotFoundError:
            composed = tuple(normalize("NFC", name) for name in names)
            if composed == names:
                raise
            return composed, look(composed)

    def lstat(self, names: tuple[str, ...]) -> os.stat_result:
        """What has a name; of a link, the link."""
        if not names:
            return self.beneath.look(names)
        with self.beneath.directory(names[:-1]) as directory, translated():
            return os.stat(names[-1], dir_fd=directory, follow_symlinks=False)
