"""The fork server: an interpreter that has started, and forks a child for every script that it is told to run.

Run by the interpreter of the scripts, CPython 3.11 and later on Linux; imports nothing of netsvc. It never runs a
script itself, and a child never comes back here.

Two stages. The first compiles this very file anew without the instruction that begins a frame (RESUME), and executes
the interpreter again with the outcome as its main program. Frames of such code are "incomplete" to CPython: no
sys._getframe, no traceback and no f_back shows them. So the child's interpreter runs the script the way it would run
a file: what is below the script's own frame cannot be seen, and what the script raises goes up to the interpreter's
own main loop, which prints it, exits with it, joins threads and flushes as always.

The second stage, in a loop: receive a request, fork, and fork again: the process between ends at once, so that the
script's parent is the daemon (a subreaper), as with exec. The child makes everything of its process and of its
interpreter as it would be had it been executed. Whatever it finds in its way, it executes the script instead, which
is right by definition, and says why.

What a script could still tell, if it looked for it: addresses (id()) and the hashes of str are those of its server,
which lives for `RUNS` scripts; /proc/self/cmdline ends with NULs; /proc/self/environ is the server's.
"""

# Every import is where it is used, and a child forgets it; no annotations, and no typing: nothing may be left in
# __main__. It compiles and runs what it is told to: that is what it is for.
# mypy: ignore-errors
# ruff: noqa: PLC0415, PLR0915, PLW2901, S102, S302, S606, BLE001, SIM105, UP031, B905

import sys

LONGEST = 1 << 17  # octets of a request
ROOM = 4096  # octets of the command line that /proc shows, for the command lines of scripts


def prepare():
    """The first stage: `INTERPRETER FLAGS this-file DESCRIPTOR PARENT` becomes the second."""
    import marshal
    import os

    if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        # Frames cannot be hidden. Said on the socket, in the words of the second stage.
        import socket

        reason = "its interpreter is %s %s, and warm needs CPython 3.11" % (
            sys.implementation.name,
            sys.version.split()[0],
        )
        socket.socket(fileno=int(sys.argv[1])).send(marshal.dumps((0, 0, reason.encode()), 2))
        os._exit(0)

    import dis
    import types
    from importlib.util import MAGIC_NUMBER

    def hidden(code):
        octets = bytearray(code.co_code)
        for instruction in dis.get_instructions(code):
            if instruction.opname == "RESUME":
                octets[instruction.offset] = dis.opmap["NOP"]
                octets[instruction.offset + 1] = 0
        constants = tuple(hidden(one) if isinstance(one, types.CodeType) else one for one in code.co_consts)
        return code.replace(co_code=bytes(octets), co_consts=constants)

    with open(__file__, "rb") as stream:
        code = hidden(compile(stream.read(), "netsvc-forkserver", "exec", dont_inherit=True, optimize=2))
    program = os.memfd_create("netsvc-forkserver", 0)
    os.write(program, MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
    os.set_inheritable(int(sys.argv[1]), True)
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    line = [sys.orig_argv[0], *flags, "/proc/self/fd/%d" % program, *sys.argv[1:], "-" * ROOM]
    with open("/proc/self/environ", "rb") as stream:  # as it was: the interpreter may have set LC_CTYPE
        environment = dict(one.split(b"=", 1) for one in stream.read().split(b"\0") if b"=" in one)
    os.execve(sys.argv[3], line, environment)


def identity(path):
    """What changes when a file is edited or replaced; None when there is none."""
    import posix

    try:
        found = posix.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def watched():
    """What the interpreter read when it started, or would have read: the files and directories of site."""
    import posix

    paths = {sys.executable, sys.prefix + "/pyvenv.cfg"}
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
    return {path: identity(path) for path in paths}


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


def remake_streams(unbuffered):
    """sys.stdin, sys.stdout and sys.stderr as the interpreter makes them when it starts (create_stdio)."""
    from _io import TextIOWrapper, open

    for number, name, letter in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        old = getattr(sys, name)
        raw_only = unbuffered and letter == "w"
        buffer = open(number, letter + "b", 0 if raw_only else -1, None, None, None, False)
        raw = buffer if raw_only else buffer.raw
        raw.name = "<" + name + ">"
        through = unbuffered
        lines = not through and (raw.isatty() or name == "stderr")
        stream = TextIOWrapper(buffer, old.encoding, old.errors, "\n", lines, through)
        stream.mode = letter
        setattr(sys, name, stream)
        setattr(sys, "__" + name + "__", stream)


def serve():
    """The second stage. Returns only in a child: the code of the script, and the namespace to run it in."""
    import _signal
    import marshal
    import posix
    from _io import open
    from time import sleep, tzset

    main = sys.modules["__main__"].__dict__
    importers = dict(sys.path_importer_cache)
    had_socket = "_socket" in sys.modules
    number, parent = int(sys.argv[1]), int(sys.argv[2])
    import _socket

    if not had_socket:
        del sys.modules["_socket"]
    posix.close(int(main["__file__"].rpartition("/")[2]))
    posix.set_inheritable(number, False)
    channel = _socket.socket(fileno=number)

    importers.pop(main["__file__"], None)
    sys.path_importer_cache.clear()
    sys.path_importer_cache.update(importers)

    with open("/proc/self/environ", "rb") as stream:
        given = {one.partition(b"=")[0] for one in stream.read().split(b"\0")}
    own = {name: value for name, value in posix.environ.items() if name not in given}  # LC_CTYPE, by coercion
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    # Where the kernel reads the command line and the environment that /proc shows (proc(5), 48 to 51).
    shown = [(int(fields[at]), int(fields[at + 1]) - int(fields[at])) for at in (45, 47)]
    state = watched()
    reason = unfit({number})
    channel.send(marshal.dumps((0, 0, b"" if reason is None else reason.encode()), 2))
    if reason is not None:
        posix._exit(0)
    kept = ("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__builtins__")
    kept += ("__file__", "__cached__")
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    safe_path = sys.flags.safe_path
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel reaps those between
    room = bytearray(LONGEST)
    while True:
        size, ancillary, _, _ = channel.recvmsg_into([room], _socket.CMSG_SPACE(12))
        if not size:
            posix._exit(0)  # the daemon is gone, or wants no more
        received = memoryview(ancillary[0][2]).cast("i").tolist()
        try:
            order = marshal.loads(room)
            failed = None
            if not posix.fork():
                break
        except OSError as error:
            failed = error.strerror.encode()
        if failed is not None:
            channel.send(marshal.dumps((order[0], 0, b"fork: " + failed), 2))
        for one in received:
            posix.close(one)

    # The process between.
    try:
        if posix.fork():
            posix._exit(0)
    except OSError:
        channel.send(marshal.dumps((order[0], 0, b"fork: no room"), 2))
        posix._exit(0)

    # The child.
    serial, argv, line, comm, directory, environment, umask, nice, cpu, memory, watch = order
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    shows = (
        b"\0".join(line) + b"\0",
        b"".join([name + b"=" + value + b"\0" for name, value in environment.items()]),
    )
    memory_file = posix.open("/proc/self/mem", posix.O_RDWR | posix.O_CLOEXEC)
    for (start, length), text in zip(shown, shows):
        if start:
            posix.pwrite(memory_file, text[: length - 1].ljust(length, b"\0"), start)
    posix.close(memory_file)
    posix.setsid()
    for target, source in enumerate(received):
        posix.dup2(source, target, True)
    for source in received:
        posix.close(source)
    code = None
    try:
        reason = b""
        posix.umask(umask)
        posix.chdir(directory)
        if nice:
            posix.setpriority(posix.PRIO_PROCESS, 0, nice)
        if cpu or memory:
            had = "resource" in sys.modules
            import resource

            for kind, soft, hard in ((resource.RLIMIT_CPU, cpu, cpu + 1), (resource.RLIMIT_AS, memory, memory)):
                if soft:
                    most = resource.getrlimit(kind)[1]
                    hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
                    resource.setrlimit(kind, (min(soft, hard), hard))
            if not had:
                del sys.modules["resource"]
            sys.path_importer_cache.clear()
            sys.path_importer_cache.update(importers)
        tzset()
        for path, was in state.items():
            if identity(path) != was:
                reason = b"stale: " + path.encode()
                break
        else:
            for path, was in watch:
                if identity(path) != was:
                    reason = b"stale: " + path
                    break
        if not reason:
            path = argv[0]
            script = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            size = posix.fstat(script).st_size
            source = b""
            while True:
                block = posix.read(script, max(size + 1 - len(source), 4096))
                if not block:
                    break
                source += block
            real = posix.readlink("/proc/self/fd/%d" % script)
            posix.close(script)
            if real.endswith(" (deleted)"):
                reason = b"it was replaced while it was read"
            elif b"\0" in source or b"PK\5\6" in source:
                reason = b"it is no Python source"
    except OSError as error:
        reason = b"cannot be prepared: " + error.strerror.encode()
    if not reason:
        for name in list(posix.environ):
            posix.unsetenv(name)
        posix.environ.clear()
        for name, value in environment.items():
            posix.putenv(name, value)
            posix.environ[name] = value
        for name, value in own.items():
            if name not in environment:
                posix.putenv(name, value)
                posix.environ[name] = value
        fs_encoding, fs_errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        line = [one.decode(fs_encoding, fs_errors) for one in line]
        words = [one.decode(fs_encoding, fs_errors) for one in argv]
        try:
            code = compile(source, words[0], "exec", 0, True)
        except BaseException:
            reason = b"it cannot be compiled"  # and the interpreter says it in its own words
    waited = 0
    while posix.getppid() != parent and waited < 2000:  # until the process between has gone
        sleep(0.0005)
        waited += 1
    try:
        channel.send(marshal.dumps((serial, posix.getpid(), reason), 2))
    except OSError:
        posix._exit(127)  # the daemon has given up on this server, and has executed the script itself
    channel.close()
    if reason:
        try:
            posix.execve(argv[0], argv, environment)
        except OSError:
            posix._exit(127)

    own_name = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
    posix.write(own_name, comm)
    posix.close(own_name)
    remake_streams(not sys.stdout.line_buffering and sys.stdout.write_through)
    sys.argv = words
    sys.orig_argv = line
    if not safe_path:
        sys.path[0] = real.rpartition("/")[0] or "/"
    sys.path_importer_cache[words[0]] = None
    for name in list(main):
        if name not in kept:
            del main[name]
    main["__doc__"] = None
    main["__file__"] = words[0]
    main["__loader__"] = loader("__main__", words[0])
    return code, main


if len(sys.argv) > 4:
    exec(*serve())
else:
    prepare()
