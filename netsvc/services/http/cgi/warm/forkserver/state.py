"""The part of the fork server that knows what it depends on: files, their identities, and what makes it unfit."""

# mypy: ignore-errors
# ruff: noqa: PLC0415, F821, SIM105, UP031

import sys

TICK = 20_000_000  # ns that the time of a file can be behind the clock: more than a tick of the kernel


def identity(path):
    """What changes when a file is edited or replaced; None when there is none."""
    import posix

    try:
        found = posix.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def identities(paths, since):
    """Of each path. What was changed while it was read, since a time in ns, gets one that no file has: it is stale."""
    found = {path: identity(path) for path in paths}
    now = time_ns()
    # Not what has its time from a clock that was set back since.
    return {path: () if was and since - TICK <= was[4] <= now else was for path, was in found.items()}


def mapped():
    """The files of this process's code: the interpreter, its libraries, and theirs."""
    with open("/proc/self/maps", "rb") as stream:
        names = [line.split(None, 5)[5:] for line in stream.read().splitlines()]
    paths = {name[0].decode("utf-8", "surrogateescape") for name in names if name and name[0][:1] == b"/"}
    return {path[: -len(" (deleted)")] if path.endswith(" (deleted)") else path for path in paths}


def watched(since):
    """What the interpreter and its C library read when they started, or would have read: also those of site.

    :param since: when it started, in ns.
    """
    import posix

    paths = {sys.executable, sys.prefix + "/pyvenv.cfg", "/etc/localtime"} | mapped()
    if "/" in sys.executable:
        paths.add(sys.executable.rpartition("/")[0] + "/pyvenv.cfg")
    site = sys.modules.get("site")
    places = [place for place in sys.path if place != "/proc/self/fd"]
    if site is not None:
        places += site.getsitepackages()
        if site.ENABLE_USER_SITE and site.USER_SITE:
            places.append(site.USER_SITE)
    for place in places:
        paths.add(place)
        try:
            paths.update(place + "/" + name for name in posix.listdir(place) if name.endswith(".pth"))
        except OSError:
            pass
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.has_location:
            paths.add(spec.origin)
    return identities(paths, since)


def unfit(descriptors):
    """Why this interpreter cannot be forked without a difference, or None."""
    import posix

    if sys.modules.get("__main__").__dict__.get("__loader__") is None:
        return "its interpreter has no loader"
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, "__" + name + "__"):
            return "its site replaces sys." + name
    if len(posix.listdir("/proc/self/task")) > 1:
        return "its site starts threads"
    for name in posix.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in descriptors:
            try:
                posix.readlink("/proc/self/fd/" + name)
            except OSError:
                continue  # the listing itself
            return "its site opens files"
    return None


def read(path):
    """A file's octets, and the file's own name, without links."""
    import posix

    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    size = posix.fstat(descriptor).st_size
    source = b""
    while True:
        block = posix.read(descriptor, max(size + 1 - len(source), 4096))
        if not block:
            break
        source += block
    real = posix.readlink("/proc/self/fd/%d" % descriptor)
    posix.close(descriptor)
    return source, real


def read_script(path, layered):
    """A script as it is now.

    :param layered: what its file must be, without links; None when that is open.
    :returns: its source, its file's own name, and the reason why it is not run warm, or empty.
    """
    try:
        source, real = read(path)
    except OSError as error:
        return b"", "", b"its process cannot be prepared: " + error.strerror.encode()
    if real.endswith(" (deleted)"):
        return source, real, b"it was replaced while it was read"
    if layered is not None and real != layered:
        return source, real, b"stale: " + (path if type(path) is bytes else path.encode("utf-8", "surrogateescape"))
    if b"\0" in source or b"PK\5\6" in source:
        return source, real, b"it is no Python source"
    return source, real, b""


def changed(state):
    """Which of these files and directories is not what it was, as a report says it; empty for none.

    :param state: pairs of a path and what `identity` was.
    """
    for path, was in state:
        if identity(path) != was:
            return b"stale: " + (path if type(path) is bytes else path.encode("utf-8", "surrogateescape"))
    return b""
