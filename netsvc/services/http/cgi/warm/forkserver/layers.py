"""The part of the fork server that imports for a script what it begins with."""

# mypy: ignore-errors
# ruff: noqa: PLC0415, F821, S102, SIM905

import sys

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


def form_files(found):
    """The file of the module cgi, if a layer has imported the library's. A form's own end closes what is in memory.

    :param found: what `layer` gave: modules in it are the library's or netsvc's own.
    """
    spec = getattr(sys.modules.get("cgi"), "__spec__", None)
    return frozenset([spec.origin]) & found.keys() if spec is not None else frozenset()


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
