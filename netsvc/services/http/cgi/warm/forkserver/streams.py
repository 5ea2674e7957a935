"""The part of the fork server that makes the standard streams of children."""

# mypy: ignore-errors
# ruff: noqa: PLC0415

import sys


def remake_stream(number, unbuffered):
    """sys.stdin, sys.stdout or sys.stderr as the interpreter makes it when it starts (create_stdio).

    :returns: what it is made of.
    """
    from _io import TextIOWrapper, open

    name, letter = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[number]
    old = getattr(sys, name)
    raw_only = unbuffered and letter == "w"
    buffer = open(number, letter + "b", 0 if raw_only else -1, None, None, None, False)
    raw = buffer if raw_only else buffer.raw
    raw.name = "<" + name + ">"
    lines = not unbuffered and (raw.isatty() or name == "stderr")
    stream = TextIOWrapper(buffer, old.encoding, old.errors, "\n", lines, unbuffered)
    stream.mode = letter
    setattr(sys, name, stream)
    setattr(sys, "__" + name + "__", stream)
    return [stream, buffer, raw]


def kind_of(number):
    """What kind of file a descriptor is: streams differ by it."""
    import posix

    found = posix.fstat(number)
    return found.st_mode & 0o170000, found.st_rdev, found.st_blksize


def make_streams(unbuffered):
    """The streams of most scripts: stdin is /dev/null, the others are pipes.

    :returns: what they are made of, and the kinds of their files.
    """
    import posix

    reading, writing = posix.pipe()
    posix.dup2(writing, 1)
    posix.dup2(writing, 2)
    streams = [one for number in range(3) for one in remake_stream(number, unbuffered)]
    kinds = [kind_of(number) for number in range(3)]
    for number in (1, 2):
        posix.dup2(0, number)
    posix.close(reading)
    posix.close(writing)
    return streams, kinds
