"""The sockets that systemd bound and passed in (sd_listen_fds(3)), found by index or by name.

Parsed here and not with Twisted's ListenFDs, which folds two descriptors of one name into one (a .socket that
listens on v4 and v6 always has two), yields none without LISTEN_FDNAMES, and leaves LISTEN_FDNAMES to children.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping, Sequence

from netsvc.config.listen import SystemdAddress
from netsvc.errors import StartError, printable

FIRST = 3  # SD_LISTEN_FDS_START
MOST = 65536  # descriptors; the kernel's default ceiling is lower (fs.nr_open is 1048576, a unit's limit 524288)
UNKNOWN = "unknown"  # what systemd calls a descriptor without a name

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class Inherited:
    """Descriptors in the order in which systemd passed them; each can be taken once.

    :param descriptors: file descriptor numbers.
    :param names: their FileDescriptorName; those that are missing are ``unknown``.
    """

    def __init__(self, descriptors: Sequence[int] = (), names: Sequence[str] = ()) -> None:
        self.descriptors = tuple(descriptors)
        padded = (*names, *(UNKNOWN for _ in self.descriptors))
        self.names = tuple(name or UNKNOWN for name in padded[: len(self.descriptors)])
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return len(self.descriptors)

    @property
    def untaken(self) -> tuple[tuple[int, str], ...]:
        """(descriptor, name) of each that no listen line asked for."""
        pairs = zip(self.descriptors, self.names, strict=True)
        return tuple((descriptor, name) for descriptor, name in pairs if descriptor not in self._taken)

    def take(self, address: SystemdAddress) -> list[int]:
        """The descriptors of a listen line: the one with its index, or all with its name, in order.

        :raise StartError: there is none, or another listen line took it.
        """
        found = self._find(address)
        for descriptor in found:
            if descriptor in self._taken:
                raise StartError(f"cannot listen on {address}: another listen line has that socket already")
        self._taken.update(found)
        return found

    def _find(self, address: SystemdAddress) -> list[int]:
        if not self.descriptors:
            raise StartError(f"cannot listen on {address}: systemd passed no sockets in (is the .socket unit started?)")
        if address.index is not None:
            if address.index < len(self.descriptors):
                return [self.descriptors[address.index]]
            raise StartError(
                f"cannot listen on {address}: systemd passed {len(self.descriptors)} in, counted from 0 to "
                f"{len(self.descriptors) - 1}"
            )
        pairs = zip(self.descriptors, self.names, strict=True)
        found = [descriptor for descriptor, name in pairs if name == address.name]
        if not found:
            known = ", ".join(dict.fromkeys(self.names))
            raise StartError(
                printable(f"cannot listen on {address}: systemd passed no socket of that name in (but {known})")
            )
        return found


def inherited(
    environ: MutableMapping[str, str],
    pid: int,
    set_inheritable: Callable[[int, bool], None] = os.set_inheritable,
) -> Inherited:
    """Take over the descriptors that systemd passed to this process.

    They become close-on-exec, and the variables leave the environment, so that no child finds them. Variables that
    are meant for another process (a parent's, left over) count as none.

    :param environ: the environment, changed in place.
    :param pid: this process.
    :raise StartError: the variables make no sense, or a descriptor is not open.
    """
    read = {name: environ.pop(name, "") for name in _VARIABLES}
    if not read["LISTEN_PID"] or not read["LISTEN_FDS"]:
        return Inherited()
    if _number("LISTEN_PID", read["LISTEN_PID"]) != pid:
        return Inherited()
    count = _number("LISTEN_FDS", read["LISTEN_FDS"])
    if count > MOST:
        raise StartError(f"LISTEN_FDS {count} is more than {MOST}")
    descriptors = range(FIRST, FIRST + count)
    for descriptor in descriptors:
        try:
            set_inheritable(descriptor, False)
        except OSError as error:
            raise StartError(
                f"LISTEN_FDS is {count}, but descriptor {descriptor} cannot be used: {error.strerror}"
            ) from None
    names = read["LISTEN_FDNAMES"].split(":") if read["LISTEN_FDNAMES"] else []
    if len(names) > count:
        raise StartError(f"LISTEN_FDNAMES has {len(names)} names for {count} descriptors")
    return Inherited(descriptors, names)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise StartError(printable(f"{name} {value!r} is not a number"))
    return int(value)
