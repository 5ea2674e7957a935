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
which lives for 1000 scripts; /proc/self/cmdline and environ end with NULs; gc.get_freeze_count() is not 0, and
gc.get_objects() begins with its own; the subclasses of object include those of _ast; libraries that the server has
loaded are in /proc/self/maps; calls nest one or two fewer deep until RecursionError; faulthandler shows one frame more;
the C function Py_GetArgcArgv and new interpreters in the process have the server's command line.

A third stage is a layer: a server for one script, forked from the second, which has compiled it, and has done the
imports that it begins with, when that makes no difference. See `layer` and `VETTED`.
"""

# Every import is where it is used, and a child forgets it; no annotations, and no typing: nothing may be left in
# __main__. It compiles and runs what it is told to: that is what it is for.
# mypy: ignore-errors
# ruff: noqa: PLC0415, PLR0917, PLW0603, SIM905, PLR0915, PLW2901, S102, S302, S606, BLE001, SIM105, UP031, B905

import sys

LONGEST = 1 << 17  # octets of a request
LINGER = 2000  # half milliseconds that a child waits for the process between to go
ROOM = 4096  # octets of the command line that /proc shows, for the command lines of scripts
TICK = 20_000_000  # ns that the time of a file can be behind the clock: more than a tick of the kernel

# What scripts import first and most. Importing these depends on the interpreter alone: not on the time, the process,
# the request or its environment (but for PYTHON*, TZ and the locale, which are the server's own). What has a random
# state (random, tempfile) begins it anew in every child. Not logging (it notes when it was imported), multiprocessing
# (it draws a key), or whatever opens files, starts threads or reads the environment.
VETTED = frozenset(
    """
    __future__ _ast _bisect _blake2 _bz2 _codecs _collections _collections_abc _compression _csv _datetime
    _decimal _elementtree _functools _hashlib _heapq _io _json _locale _lzma _md5 _opcode _operator _pickle _posixshmem
    _posixsubprocess _pydatetime _pydecimal _queue _random _sha1 _sha2 _sha256 _sha3 _sha512 _signal _socket _sqlite3
    _sre _stat _string _strptime _struct _thread _tokenize _typing _uuid _warnings _weakref _weakrefset _zoneinfo abc
    argparse array ast atexit base64 binascii bisect bz2 calendar cgi cgitb codecs collections colorsys contextlib copy
    copyreg csv dataclasses datetime decimal difflib dis email encodings enum errno fcntl fnmatch fractions functools
    genericpath glob grp gzip hashlib heapq hmac html http importlib inspect io ipaddress itertools json keyword
    linecache locale lzma marshal math mimetypes ntpath numbers opcode operator os pathlib pickle platform posix
    posixpath pprint pwd queue quopri random re reprlib resource secrets select selectors shlex shutil signal
    socket sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sys
    sysconfig syslog tempfile textwrap threading time timeit token tokenize traceback types typing unicodedata urllib uu
    uuid warnings weakref xml zipfile zlib zoneinfo
    """.split()
)


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

    with open(__file__, "rb") as stream:
        code = hidden(compile(stream.read(), "netsvc-forkserver", "exec", dont_inherit=True, optimize=2))
    # The program is the body of a function: its names are no names of __main__, and one frame is below the script's.
    main = next(one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == "program")
    code = main.replace(co_consts=tuple(code if one == "CODE" else one for one in main.co_consts))
    program = os.memfd_create("netsvc-forkserver", 0)
    os.write(program, MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
    os.set_inheritable(int(sys.argv[1]), True)
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    line = [sys.orig_argv[0], *flags, "/proc/self/fd/%d" % program, *sys.argv[1:], str(time.time_ns()), "-" * ROOM]
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
    """What the interpreter read when it started, or would have read: the files and directories of site.

    :param since: when it started, in ns.
    """
    import posix

    paths = {sys.executable, sys.prefix + "/pyvenv.cfg"} | mapped()
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


def watch_end(gc):
    """Arrange that a child which has ended, and has nothing left that could show, does not take the rest apart.

    The interpreter ends as always: threads joined, atexit run, streams flushed, the modules cleared in the order in
    which it does that. It clears the modules that a script has imported before those that were there when it began.
    Taking those apart has no effect but time: most of what a script costs that prints a page. So when the last of them
    is cleared (a weak reference tells), and no object that the script has made lives but plain ones, the process
    exits. Otherwise nothing happens, and the interpreter goes on.

    :returns: a list that holds the exit status once it is known and this may be done, and who is not looked at.
    """
    import posix
    from _weakref import ref

    armed = [None]
    streams = []
    function = type(watch_end)
    chosen = None
    for module in reversed(list(sys.modules.values())):
        if module is sys.modules["__main__"]:
            continue
        for value in list(vars(module).values()):
            # One reference is the module's; the others are of the list, value and the argument.
            if type(value) is function and value.__globals__ is vars(module) and sys.getrefcount(value) == 4:
                chosen = value
                break
        value = None
        if chosen is not None:
            break
    plain = {dict, list, tuple, set, frozenset, function, type(len), type(sys), type, type([].append)}
    plain |= {staticmethod, classmethod, property, type((lambda: armed).__closure__[0]), type(watched.__get__(0))}
    plain |= {type(vars(type)["__mro__"]), type(vars(list)["append"]), type(vars(list)["__len__"])}
    plain |= {type(vars(type)["__dict__"]), type(type.__dict__), type(sys.flags)}
    plain |= {type(finder) for finder in sys.path_importer_cache.values()}
    spec = getattr(sys.modules.get("codecs"), "__spec__", None)
    plain |= {type(spec), type(getattr(spec, "loader", None))}
    plain |= {sys.modules["_frozen_importlib_external"].SourceFileLoader}
    plain.add(sys.modules["_frozen_importlib_external"].ExtensionFileLoader)

    plain |= {type(vars(dict)["fromkeys"]), type(sys.modules["abc"].ABC.__dict__.get("_abc_impl"))}
    coders = (sys.modules["codecs"].IncrementalEncoder, sys.modules["codecs"].IncrementalDecoder)

    def cleared(_, exit=posix._exit, type=type, hasattr=hasattr, issubclass=issubclass):
        if armed[0] is None:
            return
        for one in gc.get_objects():
            kind = type(one)
            if kind is ref and one.__callback__ is None:
                continue
            if kind in plain or (issubclass(kind, type) and not hasattr(kind, "__del__")):
                continue
            if issubclass(kind, coders) and kind.__module__[:10] == "encodings." and not hasattr(kind, "__del__"):
                continue
            for stream in streams:
                if one is stream:
                    break
            else:
                armed[0] = None
                return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            return
        exit(armed[0])

    if chosen is not None:
        # Out of everybody's sight; called without effect before forks.
        held = [module for name, module in sys.modules.items() if name != "__main__"]
        posix.register_at_fork(before=[held, ref(chosen, cleared), armed, streams].copy)
    return armed, streams


def program():
    """The main program of the second stage: serves, and in a child runs a script; what that raises goes on.

    The constant is the code of this whole file. Builtins have names of its own: those of __main__ are the script's.
    """
    gone = set()  # cleared first of all when this frame is left
    names = {"__name__": "netsvc"}
    exec("CODE", names)
    ended = names["ended"]
    kind = type
    leave = SystemExit
    code, main, armed, base, own = names["serve"]()
    run = [kind(ended.__get__(0))(exec, code)]  # exec, bound to the code
    traced, profiled, _held = names["hush"](run[0], gone)
    del names
    try:
        run.pop()(*(main,))  # this way the method ends with the call, before what it has raised is seen here
    except leave as error:
        if kind(error) is leave and not traced and not profiled:
            ended(error.code, armed, base, own)
        raise
    if not traced and not profiled:
        ended(None, armed, base, own)


def hush(run, gone):
    """Arrange that a script's own tracer and profiler see nothing of `program`, which has no frame to show them.

    They are taken away when `run` ends, and are put back when `gone` does, which is when the frame of `program` is
    cleared. Weak references tell; what they call is made of builtins alone, of which no tracer is told.

    :returns: two lists that get what was taken away, and what has to live until then.
    """
    from _weakref import ref

    taken = [], []
    method = type(hush.__get__(0))
    held = []
    for get, put, kept in ((sys.gettrace, sys.settrace, taken[0]), (sys.getprofile, sys.setprofile, taken[1])):
        take = zip(map(kept.append, iter(get, None)), map(put, [None]))
        # next(take, the reference): the first step of `take`, if there is one.
        held += [ref(run, method(next, take)), ref(gone, method(next, map(put, kept)))]
    return (*taken, held)


def ended(code, armed, base, own, type=type, int=int, str=str, sys=sys):
    """A script has ended with this code: arm what `watch_end` has arranged.

    Only when no C code but the standard library's was loaded: such could have streams of its own to flush.

    :param own: the directory of the standard library's extension modules.
    """
    if not (code is None or (type(code) is int and 0 <= code <= 255)) or type(sys.modules) is not type(sys.__dict__):
        return
    for name, module in [*sys.modules.items()]:
        if name in base:
            continue
        if type(module) is not type(sys):
            return
        file = module.__dict__.get("__file__")
        if name in ("_ctypes", "readline", "faulthandler"):
            return
        if type(file) is str and file[-3:] == ".so" and file[: len(own)] != own:
            return
    armed[0] = code or 0


def leading(source, script):
    """What a script does first of all, as long as that is to import modules of the library: a syntax tree.

    :returns: None when it does something else first.
    """
    tree = compile(source, script, "exec", 0x400, True)  # PyCF_ONLY_AST
    wanted = 0
    for at, statement in enumerate(tree.body):
        kind = type(statement).__name__
        if kind == "Import":
            names = [one.name for one in statement.names]
        elif kind == "ImportFrom" and not statement.level and statement.names[0].name != "*":
            names = [statement.module]
        elif kind == "Expr" and at == 0 and type(statement.value).__name__ == "Constant":
            continue
        else:
            break
        if not VETTED.issuperset([name.partition(".")[0] for name in names]):
            break
        wanted = at + 1
    del tree.body[wanted:]
    return tree if wanted else None


def hides(library, legacy, depends):
    """Whether something can hide a module of the library from a script: a module of its name, or another finder.

    :param legacy: a directory of the daemon's own, whose cgi and cgitb are as good as the library's.
    :param depends: gets the directories that this depends on.
    """
    import posix

    finders = [getattr(one, "__name__", type(one).__name__) for one in sys.meta_path]
    if finders[0] == "DistutilsMetaFinder":  # of setuptools: distutils, pip and its own tests
        del finders[0]
    # Whoever looks after these three finds nothing of the library.
    if finders[:3] != ["BuiltinImporter", "FrozenImporter", "PathFinder"]:
        return True
    for place in sys.path:
        if place == library or place[-4:] == ".zip":
            continue
        if place.startswith(library + "/"):
            break
        depends.add(place)
        try:
            names = {name.partition(".")[0] for name in posix.listdir(place)}
        except OSError:
            continue
        if place == legacy:
            names -= {"cgi", "cgitb"}
        if not names.isdisjoint(VETTED):
            return True
    return False


def layer(script, source, legacy):
    """Import what a script imports first of all, in its own namespace, if that makes no difference to a later import.

    Its leading statements, while they are imports of modules of the standard library whose import depends on nothing
    but the interpreter, and which nothing hides. The script itself imports them again, which then is no work.

    :returns: the files that this depends on, or the reason why this process is no good.
    """
    import posix

    since = time_ns()
    depends = {script}
    library = getattr(sys.modules.get("os"), "__file__", "/").rpartition("/")[0]
    tree = leading(source, script)
    sys.stderr.flush()
    posix.ftruncate(2, 0)  # what the parser warns of, it warns of again when the script is compiled
    posix.lseek(2, 0, 0)
    if tree is None or not library or hides(library, legacy, depends):
        return {script: identity(script)}
    before = set(sys.modules)
    exec(compile(tree, script, "exec", 0, True), sys.modules["__main__"].__dict__)
    for name in sys.modules.keys() - before:
        spec = getattr(sys.modules[name], "__spec__", None)
        if name.partition(".")[0] not in VETTED or spec is None:
            return "it imports " + name
        if spec.has_location:
            if not spec.origin.startswith((library + "/", legacy + "/")) or "-packages/" in spec.origin:
                return "it imports " + spec.origin
            depends.add(spec.origin)
            depends.add(spec.origin.rpartition("/")[0])
    if len(posix.listdir("/proc/self/task")) > 1:
        return "what it imports starts threads"
    return identities(depends | mapped(), since)


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


def serve():
    """The second stage. Returns only in a child: what `program` needs to run the script."""
    global time_ns  # for others here: `time` is forgotten below, and no layer may import it for its script
    import _signal
    import marshal
    import posix
    from _io import open
    from time import sleep, time_ns, tzset

    main = sys.modules["__main__"].__dict__
    importers = dict(sys.path_importer_cache)
    had = set(sys.modules)
    number, parent = int(sys.argv[1]), int(sys.argv[2])
    import _socket
    import gc

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
    namespace = put_away()
    compile("", "", "exec")  # makes the types of its syntax trees, which is not for every child to do
    armed, streams = watch_end(gc)
    base = frozenset(sys.modules)
    room = bytearray(LONGEST)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel reaps those between
    while True:
        size, ancillary, _, _ = channel.recvmsg_into([room], _socket.CMSG_SPACE(12))
        if not size:
            posix._exit(0)  # the daemon is gone, or wants no more
        order = marshal.loads(room)
        received = memoryview(ancillary[0][2]).cast("i").tolist() if ancillary else []
        if len(received) != (1 if order[0] == 0 else 3):
            posix._exit(1)  # it has no room for descriptors: what was asked for is executed
        if not gc.is_tracked(main):
            gc.freeze()  # what is here already is nobody's garbage, and no child looks through it
        try:
            child = not posix.fork()
        except OSError as error:
            child = False
            if len(received) == 3:
                channel.send(report(order[0], 0, b"its interpreter cannot fork: " + error.strerror.encode()))
        if not child:
            for one in received:
                posix.close(one)
            continue
        # The process between.
        try:
            if posix.fork():
                posix._exit(0)
        except OSError:
            if len(received) == 3:
                channel.send(report(order[0], 0, b"its interpreter cannot fork"))
            posix._exit(0)
        if len(received) == 3:
            break

        # A layer: a fork server for one script, which has imported already what that imports first.
        channel.close()
        channel = _socket.socket(fileno=received[0])
        posix.set_inheritable(received[0], False)
        posix.setsid()
        main.update(namespace)
        path, legacy = order[1].decode(encoding, errors), order[2].decode(encoding, errors)
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
        armed, streams = watch_end(gc)
        base = frozenset(sys.modules)
        channel.send(report(0, posix.getpid(), b""))

    # The child.
    main.update(namespace)
    serial, argv, line, comm, directory, environment, umask, nice, cpu, memory, watch = order
    shows = (
        b"\0".join(line) + b"\0",
        b"".join([name + b"=" + value + b"\0" for name, value in environment.items()]),
    )
    reason = b""
    try:
        for name in list(posix.environ):  # first: the strings that the C library knows are overwritten next
            posix.unsetenv(name)
        memory_file = posix.open("/proc/self/mem", posix.O_RDWR | posix.O_CLOEXEC)
        for (start, length), text in zip(shown, shows):
            if start:
                posix.pwrite(memory_file, text[: length - 1].ljust(length, b"\0"), start)
        posix.close(memory_file)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        if "threading" in sys.modules:  # it takes the number of the main thread when it is imported
            sys.modules["threading"].main_thread()._set_native_id()
        posix.setsid()
        for target, source in enumerate(received):
            posix.dup2(source, target, True)
        for source in received:
            posix.close(source)
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
        for path, was in [*state.items(), *watch]:
            if identity(path) != was:
                reason = b"stale: " + (path if type(path) is bytes else path.encode(encoding, errors))
                break
        if not reason:
            source, real = read(argv[0])
            if real.endswith(" (deleted)"):
                reason = b"it was replaced while it was read"
            elif layered is not None and real != layered:
                reason = b"stale: " + argv[0]
            elif b"\0" in source or b"PK\5\6" in source:
                reason = b"it is no Python source"
    except Exception as error:
        reason = b"its process cannot be prepared: " + str(getattr(error, "strerror", error)).encode()
    if not reason:
        posix.environ.clear()
        posix.environ.update(environment)
        for name, value in own.items():
            posix.environ.setdefault(name, value)
        for name, value in posix.environ.items():
            posix.putenv(name, value)
        tzset()  # TZ is there again; without it, /etc/localtime may have changed
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
    own_name = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
    posix.write(own_name, comm)
    posix.close(own_name)
    remake_streams(unbuffered)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        streams += [stream, stream.buffer, getattr(stream.buffer, "raw", None)]
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
    return code, main, armed, base, own_library


if __name__ == "__main__":
    prepare()
