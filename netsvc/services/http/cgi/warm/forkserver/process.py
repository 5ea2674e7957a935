"""The part of the fork server that forks without clib.py, and that decides what /proc shows of a process."""

# mypy: ignore-errors
# ruff: noqa: PLC0415, B905


def fork_twice(failed):
    """Fork such that the child's parent becomes the daemon, a subreaper: the process between ends at once.

    :param failed: called with the reason when there is no child.
    :returns: whether this is the child.
    """
    import posix

    try:
        if posix.fork():
            return False
    except OSError as error:
        failed(error.strerror)
        return False
    try:
        if posix.fork():
            posix._exit(0)
    except OSError as error:
        failed(error.strerror)
        posix._exit(0)
    return True


def entitle(shown, title):
    """Make /proc show a title as this process's command line, and no environment, for its children to write over.

    :param shown: the addresses of the two and the octets that they have room for; an address of 0 is not known.
    :returns: the same, and how many octets a child has to write over.
    """
    import posix

    texts = (title[: shown[0][1] - 1], b"")
    for name in list(posix.environ):  # first: the strings that the C library knows are overwritten
        posix.unsetenv(name)
    for name, value in posix.environ.items():
        posix.putenv(name, value)
    memory = posix.open("/proc/self/mem", posix.O_RDWR | posix.O_CLOEXEC)
    for (start, length, *_), text in zip(shown, texts):
        if start:
            posix.pwrite(memory, text.ljust(length, b"\0"), start)
    posix.close(memory)
    return [(start, length, len(text)) for (start, length, *_), text in zip(shown, texts)]


def show(shown, texts, library):
    """Make /proc show a command line and an environment. The C library has no environment after that."""
    import posix

    places = [(start, text[: length - 1].ljust(least, b"\0")) for (start, length, least), text in zip(shown, texts)]
    if library is not None:
        library[1]()
        for start, text in places:
            if start:
                library[2](start, text)
        return
    for name in list(posix.environ):
        posix.unsetenv(name)
    memory = posix.open("/proc/self/mem", posix.O_RDWR | posix.O_CLOEXEC)
    for start, text in places:
        if start:
            posix.pwrite(memory, text, start)
    posix.close(memory)
