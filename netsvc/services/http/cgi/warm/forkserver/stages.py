"""The fork server: an interpreter that has started, and forks a child for every script that it is told to run.

Run by the interpreter of the scripts, CPython 3.11 and later on Linux; imports nothing of netsvc. It never runs a
script itself, and a child never comes back here.

Two stages. The first compiles this file and those beside it anew without the instruction that begins a frame (RESUME),
and executes the interpreter again with the outcome as its main program; the names of all files are in one namespace.
Frames of such code are "incomplete" to CPython: no sys._getframe, no traceback and no f_back shows them. So the child's
interpreter runs the script the way it would run a file: what is below the script's own frame cannot be seen, and what
the script raises goes up to the interpreter's own main loop, which prints it, exits with it, joins threads and flushes
as always.

The second stage, in a loop: receive a request, see whether anything has changed that it depends on, and fork, such that
the script's parent is the daemon, as with exec. The child makes everything of its process and of its interpreter as it
would be had it been executed. Whatever it finds in its way, it executes the script instead, which is right by
definition, and says why.

Most of what a child costs is the copies of pages that it writes to, be it a reference count. So whatever is the same
for all children is done before they are forked.

What a script could still tell, if it looked for it: addresses (id()) and the hashes of str are those of its server,
which lives for 1000 scripts; /proc/self/cmdline and environ end with NULs; gc.get_freeze_count() is not 0, and
gc.get_objects() begins with its own; the subclasses of object include those of _ast and _ctypes; libraries that the
server has loaded are in /proc/self/maps; calls nest one or two fewer deep until RecursionError; faulthandler shows one
frame more; the C function Py_GetArgcArgv and new interpreters in the process have the server's command line.

A third stage is a layer: a server for one script, forked from the second, which has compiled it, and has done the
imports that it begins with, when that makes no difference. See `layer` and `VETTED`.
"""

# Every import is where it is used, and a child forgets it; no annotations, and no typing: nothing may be left in
# __main__. It compiles and runs what it is told to: that is what it is for.
# mypy: ignore-errors
# ruff: noqa: PLC0415, F821, PLW0603, PLR0915, PLW2901, S102, S302, S606, BLE001, UP031

import sys

LONGEST = 1 << 17  # octets of a request
LINGER = 2000  # half milliseconds that a child waits for the process between to go
TITLE = b"netsvc: warm "  # and what runs; for ps
ROOM = 4096  # octets of the command line that /proc shows, for the command lines of scripts


def report(serial, pid, reason):
    """A packet to the daemon: see wire.py."""
    return b"%d %d %s" % (serial, pid, reason)


def prepare():
    """The first stage: `INTERPRETER FLAGS this-file DESCRIPTOR PARENT` becomes the second."""
    import os

    if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        # Frames cannot be hidden. Said on the socket, in the words of the second stage.
        import socket

        reason = "its interpreter is %s %s, and warm needs CPython 3.11" % (
            sys.implementation.name,
            sys.version.split()[0],
        )
        socket.socket(fileno=int(sys.argv[1])).send(report(0, 0, reason.encode()))
        os._exit(0)

    sys.dont_write_bytecode = True  # what is imported here is no script's affair
    import dis
    import marshal
    import time
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

    directory = os.path.dirname(__file__)
    files = []
    for name in ("stages.py", "clib.py", "ending.py", "layers.py", "process.py", "state.py", "streams.py"):
        with open(os.path.join(directory, name), "rb") as stream:
            files.append(hidden(compile(stream.read(), "netsvc-forkserver", "exec", dont_inherit=True, optimize=2)))
    # The program is the body of a function: its names are no names of __main__, and one frame is below the script's.
    main = next(one for one in files[0].co_consts if isinstance(one, types.CodeType) and one.co_name == "program")
    code = main.replace(co_consts=tuple(tuple(files) if one == "CODE" else one for one in main.co_consts))
    program = os.memfd_create("netsvc-forkserver", 0)
    os.write(program, MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
    os.set_inheritable(int(sys.argv[1]), True)
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    line = [sys.orig_argv[0], *flags, "/proc/self/fd/%d" % program, *sys.argv[1:], str(time.time_ns()), "-" * ROOM]
    with open("/proc/self/environ", "rb") as stream:  # as it was: the interpreter may have set LC_CTYPE
        environment = dict(one.split(b"=", 1) for one in stream.read().split(b"\0") if b"=" in one)
    os.execve(sys.argv[3], line, environment)


def program():
    """The main program of the second stage: serves, and in a child runs a script; what that raises goes on.

    The constant is the code of this whole file. Builtins have names of its own: those of __main__ are the script's.
    """
    gone = set()  # cleared first of all when this frame is left
    names = {"__name__": "netsvc"}
    for file in "CODE":
        exec(file, names)
    del file
    ended = names["ended"]
    kind = type
    leave = SystemExit
    code, main, end, base, own = names["serve"]()
    run = [kind(ended.__get__(0))(exec, code)]  # exec, bound to the code
    traced, profiled, _held = names["hush"](run[0], gone, end[0][1])
    del names
    try:
        run.pop()(*(main,))  # this way the method ends with the call, before what it has raised is seen here
    except leave as error:
        if kind(error) is leave and not traced and not profiled:
            ended(error.code, end, base, own)
        raise
    if not traced and not profiled:
        ended(None, end, base, own)


def serve():
    """The second stage. Returns only in a child: what `program` needs to run the script."""
    global time_ns  # for others here: `time` is forgotten below, and no layer may import it for its script
    import posix

    main = sys.modules["__main__"].__dict__
    importers = dict(sys.path_importer_cache)
    had = set(sys.modules)
    number, parent = int(sys.argv[1]), int(sys.argv[2])
    places = sys.path[:]  # of the scripts: what this program imports is not to be found there
    sys.path[:] = [place for place in places if place.endswith("/lib-dynload")]
    import _signal
    import _socket
    import gc
    import marshal
    from _io import open
    from time import monotonic_ns, sleep, time_ns

    program = main["__file__"]
    importers.pop(program, None)

    def put_away():
        """Empty the namespace of the script, so that the collector forgets it too and no freeze holds it."""
        names = dict(main)
        main.clear()
        gc.collect()
        return names

    def forget():
        """Whatever was imported by this code alone was not."""
        for name in sys.modules.keys() - had:
            del sys.modules[name]
        sys.path_importer_cache.clear()
        sys.path_importer_cache.update(importers)

    library = c_library()
    sys.path[:] = places
    forget()
    posix.close(int(program.rpartition("/")[2]))
    posix.set_inheritable(number, False)
    channel = _socket.socket(fileno=number)
    with open("/proc/self/environ", "rb") as stream:
        given = {one.partition(b"=")[0] for one in stream.read().split(b"\0")}
    own = {name: value for name, value in posix.environ.items() if name not in given}  # LC_CTYPE, by coercion
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    # Where the kernel reads the command line and the environment that /proc shows (proc(5), 48 to 51).
    shown = [(int(fields[at]), int(fields[at + 1]) - int(fields[at])) for at in (45, 47)]
    state = watched(int(sys.argv[4]))
    reason = unfit({number})
    channel.send(report(0, 0, (reason or "").encode()))
    if reason:
        posix._exit(0)
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    unbuffered = sys.stdout.write_through
    own_library = getattr(sys.modules.get("os"), "__file__", "/").rpartition("/")[0] + "/lib-dynload/"
    complaints = b""  # what the imports of a layer have written to stderr
    layered = None  # the script that this is the layer of: its file without links
    compiled = code = None  # its source, and what became of that
    shown = entitle(shown, TITLE + sys.executable.encode(encoding, errors))
    parts, kinds = make_streams(unbuffered)
    namespace = put_away()
    compile("", "", "exec")  # makes the types of its syntax trees, which is not for every child to do
    end = watch_end(gc, frozenset()), watch_script()
    end[0][1].extend(parts)
    forget()
    base = frozenset(sys.modules)
    room = memoryview(bytearray(LONGEST))
    looked = 0  # when the last look at what this depends on began
    seen = reason = source = real = path = None  # what was looked at beside `state`, and what was found

    def failed(why):
        if serial:
            channel.send(report(serial, 0, b"its interpreter cannot fork: " + why.encode()))

    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel reaps those between
    while True:
        size, ancillary, _, _ = channel.recvmsg_into([room], _socket.CMSG_SPACE(12))
        if not size:
            posix._exit(0)  # the daemon is gone, or wants no more
        # As HEAD of wire.py says. The child reads the rest: what this process writes to, it shares with no child.
        serial, sent, own_part = (int.from_bytes(room[a:b], "big") for a, b in ((0, 8), (8, 16), (16, 20)))
        received = memoryview(ancillary[0][2]).cast("i").tolist() if ancillary else []
        if len(received) != (3 if serial else 1):
            posix._exit(1)  # it has no room for descriptors: what was asked for is executed
        if serial and (sent >= looked or room[20 : 20 + own_part] != seen):
            looked, seen = monotonic_ns(), bytes(room[20 : 20 + own_part])
            reason = changed([*state.items(), *marshal.loads(seen)])
            if layered is not None and not reason:
                source, real, reason = read_script(path, layered)
        if not gc.is_tracked(main):
            gc.freeze()  # what is here already is nobody's garbage, and no child looks through it
        pid = -1 if library is None else library[0]()
        if pid > 0 or (pid < 0 and not fork_twice(failed)):
            for one in received:
                posix.close(one)
            continue
        order = marshal.loads(room[20 + own_part :])
        if serial:
            break

        # A layer: a fork server for one script, which has imported already what that imports first.
        channel.close()
        channel = _socket.socket(fileno=received[0])
        posix.set_inheritable(received[0], False)
        posix.setsid()
        main.update(namespace)
        path, legacy = (one.decode(encoding, errors) for one in order)
        errand = posix.memfd_create("netsvc-stderr")
        posix.dup2(errand, 2, True)
        try:
            was = identity(path)
            compiled, layered = read(path)
            if not sys.flags.safe_path:
                sys.path[0] = layered.rpartition("/")[0] or "/"
            main["__doc__"] = None
            main["__file__"] = path
            main["__loader__"] = loader("__main__", path)
            sys.argv = [path]
            sys.path_importer_cache[path] = None
            code = compile(compiled, path, "exec", 0, True)
            sys.stderr.flush()
            if posix.fstat(errand).st_size:
                compiled = None  # the compiler warns: it has to do so each time
                posix.ftruncate(errand, 0)
                posix.lseek(errand, 0, 0)
            found = layer(path, compiled or read(path)[0], legacy)
            shown = entitle(shown, TITLE + order[0])
            if type(found) is dict:
                found[path] = was
        except BaseException as error:
            found = type(error).__name__
        sys.stderr.flush()
        complaints = posix.pread(errand, 1 << 16, 0)
        posix.close(errand)
        null = posix.open("/dev/null", posix.O_RDWR)
        posix.dup2(null, 2, True)
        posix.close(null)
        if type(found) is str:
            channel.send(report(0, posix.getpid(), found.encode()))
            posix._exit(0)
        state.update(found)
        namespace = put_away()
        importers = dict(sys.path_importer_cache)
        had = set(sys.modules)
        end = watch_end(gc, form_files(found)), watch_script()
        end[0][1].extend(parts)
        forget()
        base = frozenset(sys.modules)
        looked = 0
        channel.send(report(0, posix.getpid(), b""))

    # The child.
    main.update(namespace)
    argv, line, comm, directory, environment, umask, nice, cpu, memory = order
    try:
        show(
            shown,
            (b"\0".join(line) + b"\0", b"".join([b"%b=%b\0" % one for one in environment.items()])),
            library,
        )
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        if "threading" in sys.modules:  # it takes the number of the main thread when it is imported
            sys.modules["threading"].main_thread()._set_native_id()
        posix.setsid()
        for target, descriptor in enumerate(received):
            posix.dup2(descriptor, target, True)
        for descriptor in received:
            posix.close(descriptor)
        posix.umask(umask)
        posix.chdir(directory)
        if nice:
            posix.setpriority(posix.PRIO_PROCESS, 0, nice)
        if cpu or memory:
            import resource

            for kind, soft, hard in ((resource.RLIMIT_CPU, cpu, cpu + 1), (resource.RLIMIT_AS, memory, memory)):
                if soft:
                    most = resource.getrlimit(kind)[1]
                    hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
                    resource.setrlimit(kind, (min(soft, hard), hard))
            forget()
        if layered is None and not reason:
            source, real, reason = read_script(argv[0], None)
    except Exception as error:
        reason = b"its process cannot be prepared: " + str(getattr(error, "strerror", error)).encode()
    if not reason:
        posix.environ.clear()
        posix.environ.update(environment)
        for name, value in own.items():
            posix.environ.setdefault(name, value)
        for name, value in posix.environ.items():
            posix.putenv(name, value)
        words = [one.decode(encoding, errors) for one in argv]
        try:
            if source != compiled:
                code = compile(source, words[0], "exec", 0, True)
        except BaseException:
            reason = b"it cannot be compiled"  # and the interpreter says it in its own words
    waited = 0
    while posix.getppid() != parent and waited < LINGER:  # until the process between has gone
        sleep(0.0005)
        waited += 1
    try:
        channel.send(report(serial, posix.getpid(), reason))
    except OSError:
        posix._exit(127)  # the daemon has given up on this server, and has executed the script itself
    channel.close()
    if reason:
        try:
            posix.execve(argv[0], argv, environment)
        except OSError:
            posix._exit(127)
    if library is None:
        own_name = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
        posix.write(own_name, comm)
        posix.close(own_name)
    else:
        library[3](comm)
    for descriptor in range(3):
        if kind_of(descriptor) != kinds[descriptor]:
            end[0][1].extend(remake_stream(descriptor, unbuffered))
    end[0][0][1] = []
    sys.argv = words
    sys.orig_argv = [one.decode(encoding, errors) for one in line]
    if not sys.flags.safe_path:
        sys.path[0] = real.rpartition("/")[0] or "/"
    if complaints:
        posix.write(2, complaints)
    if layered is None:
        sys.path_importer_cache[words[0]] = None
        main["__doc__"] = None
        main["__file__"] = words[0]
        main["__loader__"] = loader("__main__", words[0])
    return code, main, (*end, (sys.stdout, sys.stderr)), base, own_library


if __name__ == "__main__":
    prepare()
