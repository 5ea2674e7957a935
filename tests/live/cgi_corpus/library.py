"""What scripts do with the library: forms, files, databases, numbers, and what has state of its own."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import LIMITED, Cases

CASES = Cases()
add = CASES.add

FORM = r"""
import cgi
form = cgi.FieldStorage()
for key in sorted(form):
    print(ascii(key), ascii(form.getlist(key)), form[key])
print(ascii(form.getfirst("name")), sorted(form.keys()), cgi.__file__, sorted(n for n in vars(cgi) if n[0] != "_"))
"""
add("form-get", FORM, query="name=%E5%8C%97&a=1&a=2&empty=&plus=a+b", expect=r"u5317", again=True)
add(
    "form-post",
    FORM,
    method="POST",
    query="a=3",
    body=b"name=Tracy&a=1",
    headers={"Content-Type": "application/x-www-form-urlencoded"},
    expect="Tracy",
    again=True,
)
add(
    "form-multipart",
    FORM,
    method="POST",
    body=b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nSarah\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n' + bytes(range(256)) + b"\r\n--x--\r\n",
    headers={"Content-Type": "multipart/form-data; boundary=x"},
    expect="Sarah",
)
add("form-latin", FORM, query="name=%FF&name=%E9", expect="name")
add("form-test", "import cgi\ncgi.test()\n", head=False, expect="Shell Environment")
add(
    "cgitb",
    "import cgitb\ncgitb.enable()\ndef f(value):\n    return value / 0\nf(5)\n",
    status=200,
    expect="ZeroDivisionError",
    normal=((r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", "now"),),
)
add(
    "cgitb-text",
    "import cgitb\ncgitb.enable(display=1, format='text', logdir='.')\ndef f(value):\n    return value / 0\nf(5)\n",
    expect="ZeroDivisionError",
    normal=((r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", "now"), (r"tmp\w{8}", "name")),
)
add(
    "cookies",
    "import http.cookies, os\nprint(http.cookies.SimpleCookie(os.environ['HTTP_COOKIE']))\n",
    headers={"Cookie": "b=2; a=1"},
    expect="a=1",
)
add(
    "side-effects",
    r"""
import os, shutil, sys
open("plain.txt", "a").write("line\n")
with open("private.txt", "w", opener=lambda path, flags: os.open(path, flags, 0o666)) as stream:
    stream.write("€")
os.makedirs("a/b", exist_ok=True)
os.open("fd.txt", os.O_CREAT | os.O_WRONLY, 0o777)
if not os.path.lexists("link"):
    os.symlink("plain.txt", "link"); os.mkfifo("fifo"); os.link("plain.txt", "hard")
shutil.copy(__file__, "a/copy.py")
os.chmod("a", 0o711)
print(sorted(os.listdir()))
""",
    expect="plain.txt",
    again=True,
)
add(
    "side-effects-masked",
    "import os\nopen('made.txt', 'w').write('x')\nos.mkdir('made')\nprint(oct(os.stat('made.txt').st_mode))\n",
    variant="limited",
    expect="0o100600",
)
add(
    "files-left-open",
    "kept = [open(f'left-{n}.txt', 'w') for n in range(3)]\nfor one in kept:\n    one.write('data')\nimport sys\nsys.exit(0)\n",
)
add(
    "files-left-open-dev",
    "kept = open('left.txt', 'w')\nkept.write('data')\nopen('lost.txt', 'w')\n",
    shebang="#!{python} -Xdev",
    cold="the flag",
    log="ResourceWarning",
)
add("memory-limit", f"{LIMITED}x = bytearray(6 << 30)\n", variant="limited", log="MemoryError")
add(
    "random-state",
    r"""
import random, secrets, uuid, os, tempfile, numbers, ssl
print("random", random.random(), random.Random().random(), random.getrandbits(64))
print("secrets", secrets.token_hex(8), uuid.uuid4(), os.urandom(4).hex(), ssl.RAND_bytes(4).hex())
print("names", tempfile.mktemp(), next(tempfile._get_candidate_names()))
""",
    fresh=r"random \S+ \S+ \S+",
    normal=((r"^(random|secrets|names) .*", r"\1"),),
    expect="^random",
)
add(
    "random-secrets",
    "import secrets, uuid\nprint('value', secrets.token_hex(), uuid.uuid4())\n",
    fresh=r"value \S+ \S+",
    normal=((r"^value .*", ""),),
)
add(
    "random-names",
    "import tempfile, os\nprint('value', os.path.basename(tempfile.mktemp()), tempfile.gettempdir())\n",
    fresh=r"value \S+",
    normal=((r"tmp\w+", "name"),),
)
add(
    "random-ssl",
    "import ssl\nprint('value', ssl.RAND_bytes(16).hex())\n",
    fresh=r"value \S+",
    normal=((r"^value .*", ""),),
)
add(
    "random-seeded",
    "import random\nrandom.seed(7)\nprint(random.random(), random.sample(range(99), 5), random.Random(3).gauss(0, 1))\n",
    expect="0.32",
)
add(
    "temporary",
    "import tempfile, os\nwith tempfile.NamedTemporaryFile('w+', dir='.') as f:\n    f.write('x'); f.flush()\n"
    "    print(oct(os.stat(f.name).st_mode))\nkept = tempfile.TemporaryDirectory(dir='.')\nprint(os.path.isdir(kept.name))\n",
    log="ResourceWarning|",
    expect="0o100600",
    normal=((r"tmp\w{8}", "name"),),
)
add(
    "database",
    r"""
import sqlite3
with sqlite3.connect("data.db") as connection:
    connection.execute("create table if not exists t (n integer, at text)")
    connection.execute("insert into t values (?, 'x')", (1,))
    print(connection.execute("select count(*), sum(n) from t").fetchall(), sqlite3.sqlite_version)
connection.close()
print(sqlite3.connect(":memory:").execute("select 1").fetchone(), sqlite3.adapters and len(sqlite3.adapters))
""",
    expect=r"\[\(\d, \d\)\]",
    again=True,
)
add(
    "numbers",
    r"""
import decimal, fractions, math, statistics
print(decimal.getcontext(), decimal.Decimal(1) / 3, decimal.DefaultContext.prec)
decimal.getcontext().prec = 5
print(decimal.Decimal(1) / 7, f"{1234567.891:n}", math.pi, 0.1 + 0.2, fractions.Fraction("0.1"))
import threading
threading.Thread(target=lambda: print(decimal.getcontext().prec)).start()
import contextvars
print(list(contextvars.copy_context()))
""",
    expect="prec=28",
    again=True,
)
add(
    "pickles",
    r"""
import copyreg, dataclasses, enum, pickle, typing
@dataclasses.dataclass
class Point:
    x: int
    y: "int" = 2
class Colour(enum.Enum):
    RED = 1
print(pickle.loads(pickle.dumps(Point(1))), pickle.dumps(Colour.RED), typing.get_type_hints(Point), __annotations__ if "__annotations__" in globals() else "-")
print(Point.__module__, pickle.whichmodule(Point, "Point"), pickle.loads(b"c__main__\nPoint\n."))
value: int = 5
print(globals().get("__annotations__"))
""",
    expect="Point",
)
add(
    "doctest",
    '"""\n>>> twice(2)\n4\n>>> twice("a")\n\'b\'\n"""\nimport doctest\ndef twice(x):\n    """\n    >>> twice(0)\n    0\n    """\n    return x * 2\nprint(doctest.testmod())\n',
    expect="failed=0",
)
add(
    "unittest",
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): self.fail('x')\nunittest.main(argv=['x'])\n",
    normal=((r"in \d\.\d+s", "in no time"),),
    log="FAILED",
)
add(
    "C-library",
    r"""
import ctypes, ctypes.util
libc = ctypes.CDLL(None, use_errno=True)
print(libc.getpid() == __import__("os").getpid(), libc.strlen(b"four"), libc.close(-1), ctypes.get_errno())
libc.printf(b"by printf %d\n", 5); libc.fflush(None)
libc.printf(b"flushed at exit\n")
print(ctypes.pythonapi.Py_IsInitialized(), ctypes.string_at(ctypes.pythonapi.Py_GetVersion and b"x"))
argc, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_wchar_p)()
ctypes.pythonapi.Py_GetArgcArgv(ctypes.byref(argc), ctypes.byref(argv))
print([argv[n] for n in range(argc.value)])
""",
    expect="by printf 5",
    normal=((r"^\['/.*\]$", "COMMAND LINE"),),
    declared="Py_GetArgcArgv gives the command line of the fork server",
)
add(
    "C-exit",
    "import ctypes\nlibc = ctypes.CDLL(None)\ncall = ctypes.CFUNCTYPE(None)(lambda: None)\nlibc.printf(b'end\\n')\nlibc.exit(6)\n",
    variant="strict",
    log="exit status 6",
)
add(
    "times",
    r"""
import time, datetime, email.utils, logging
print(abs(time.time() - datetime.datetime.now().timestamp()) < 5, time.time() - logging._startTime < 5, time.perf_counter() > 0)
print(time.process_time() < 3, time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) < 3, time.get_clock_info("monotonic"))
started = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / __import__("os").sysconf("SC_CLK_TCK")
print(time.clock_gettime(time.CLOCK_BOOTTIME) - started < 5)
""",
    expect="True True True",
    again=True,
)
add(
    "network",
    r"""
import socket, select, selectors
one, two = socket.socketpair()
one.send(b"x"); print(two.recv(1), select.select([one], [], [], 0), socket.gethostname() != "", socket.getdefaulttimeout())
server = socket.create_server(("127.0.0.1", 0)); print(socket.create_connection(server.getsockname()).family, server.get_inheritable())
""",
    expect="b'x'",
)
add(
    "type-cache",
    r"""
import collections, re, functools, enum, abc, json, collections.abc
print(re.compile("a") is re.compile("a"), sorted(c.__name__ for c in BaseException.__subclasses__()))
print(isinstance({}, collections.abc.Mapping), sorted(c.__module__ + c.__name__ for c in json.JSONDecoder.__mro__))
print(sorted({c.__module__ for c in object.__subclasses__()}) if False else "")
""",
    expect="True",
)
add(
    "subclasses",
    "print(sorted({f'{c.__module__}.{c.__name__}' for c in object.__subclasses__() if 'netsvc' in c.__module__}))\n",
    expect=r"\[\]",
    again=True,
)
add(
    "modules-in-memory",
    "import gc, types\nprint([m.__name__ for m in gc.get_objects() if isinstance(m, types.ModuleType) and 'netsvc' in m.__name__])\n",
    expect=r"\[\]",
)
add(
    "codecs",
    r"""
import codecs, encodings, unicodedata
print(sorted(encodings._cache), "x".encode("idna"), codecs.lookup("cp1252").name, unicodedata.name("é"))
print(codecs.lookup_error("strict"), codecs.getencoder("rot13")("abc"))
""",
    expect="utf_8|cp1252",
)
add(
    "html-page",
    r"""
import datetime, html, json, os, urllib.parse
query = urllib.parse.parse_qs(os.environ["QUERY_STRING"])
print("Content-Type: text/html; charset=utf-8\nCache-Control: no-store\n")
print(f"<title>{html.escape(query['title'][0])}</title>{json.dumps(query)}{datetime.date(2024, 2, 29):%A %d %B}")
""",
    head=False,
    query="title=%3Cb%3E&n=1",
    expect="&lt;b&gt;",
    again=True,
)
add(
    "readline",
    "import readline, rlcompleter, sys\nprint(readline.get_current_history_length(), hasattr(sys, '__interactivehook__'), hasattr(sys, 'ps1'))\n",
    expect="0 True False",
)
add(
    "code",
    "import code\ncode.interact(banner='hi', local={'x': 5}, exitmsg='bye')\n",
    method="POST",
    body=b"print(x + 1)\n",
    expect="6",
    log="hi",
)
add(
    "posix-names",
    "import os, pwd\nprint(pwd.getpwuid(os.getuid()).pw_name, os.path.expanduser('~'), os.environ.get('HOME'), os.cpu_count())\n",
    expect="None",
)
