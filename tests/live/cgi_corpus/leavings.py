"""What a script leaves open or half done, which the end of the interpreter finishes: files, archives, databases."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import Cases

CASES = Cases()
add = CASES.add

# Where an open file can be held when a script ends.
HOLDERS = {
    "global": "f = open_one()",
    "list": "held = [[open_one()]]",
    "closure": "def make():\n    f = open_one()\n    return lambda: f\nkept = make()",
    "default": "def kept(f=open_one()): pass",
    "class": "class Kept:\n    f = open_one()",
    "slot": "class Kept:\n    __slots__ = ('f',)\nkept = Kept(); kept.f = open_one()",
    "cycle": "class Kept: pass\nkept = Kept(); kept.f = open_one(); kept.me = kept; del kept",
    "generator": "def make():\n    f = open_one()\n    yield f\nkept = make(); next(kept)",
    "module": "import string\nstring.kept = open_one()",
    "sys": "import sys\nsys.kept = open_one()",
    "builtins": "import builtins\nbuiltins.kept = open_one()",
    "thread-local": "import threading\nkept = threading.local(); kept.f = open_one()",
    "context": "import contextvars\nkept = contextvars.ContextVar('kept'); kept.set(open_one())",
    "cache": "import functools\n@functools.lru_cache\ndef kept(): return open_one()\nkept()",
    "at-exit": "import atexit\natexit.register(lambda f: f.write('at exit'), open_one())",
    "exception": "try:\n    f = open_one()\n    1 / 0\nexcept ZeroDivisionError as error:\n    kept = error\ndel f",
    "traceback": "def g(f): 1 / 0\ng(open_one())",
    "partial": "import functools\nkept = functools.partial(print, file=open_one())",
    "stack": "import contextlib\nkept = contextlib.ExitStack(); kept.enter_context(open_one())",
    "weak-key": "import weakref\nclass K: pass\nk = K(); kept = weakref.WeakKeyDictionary({k: open_one()})",
    "stdout": "import sys\nsys.stdout = open_one()\nprint('printed')",
    "exit": "f = open_one()\nraise SystemExit(0)",
    "exit-3": "f = open_one()\nraise SystemExit(3)",
}
for _name, _text in HOLDERS.items():
    add(
        f"left-in-{_name}",
        "def open_one():\n    f = open('left.txt', 'w')\n    f.write('written')\n    return f\n" + _text + "\n",
    )
add("left-binary", "f = open('left.bin', 'wb')\nf.write(b'x' * 100)\ng = open('both.bin', 'w+b')\ng.write(b'y')\n")
add("left-gzip", "import gzip\nf = gzip.GzipFile('left.gz', 'wb', mtime=0)\nf.write(b'x' * 1000)\n")
add("left-bz2", "import bz2\nf = bz2.open('left.bz2', 'wt')\nf.write('x' * 1000)\n")
add("left-zip", "import zipfile\nf = zipfile.ZipFile('left.zip', 'w')\nf.writestr(zipfile.ZipInfo('a'), 'x')\n")
add(
    "left-shelf",
    "import dbm.dumb, shelve\nf = shelve.Shelf(dbm.dumb.open('left'), writeback=True)\nf['a'] = [1]\nf['a'].append(2)\n",
)
add(
    "left-database",
    "import sqlite3\nc = sqlite3.connect('left.db')\nc.execute('pragma journal_mode=wal')\nc.execute('create table t (n)')\nc.execute('insert into t values (1)')\nc.commit()\nc.execute('insert into t values (2)')\n",
)
add("left-csv", "import csv\nw = csv.writer(open('left.csv', 'w'))\nw.writerow([1, 'a'])\n")
add(
    "left-log",
    "import logging, logging.handlers\nlogging.basicConfig(filename='left.log', format='%(message)s')\nm = logging.handlers.MemoryHandler(99, target=logging.root.handlers[0])\nm.emit(logging.makeLogRecord({'msg': 'in memory'}))\nlogging.error('straight')\n",
)
add(
    "left-temporary",
    "import tempfile, os\nf = tempfile.NamedTemporaryFile(dir='.')\nd = tempfile.TemporaryDirectory(dir='.')\ns = tempfile.SpooledTemporaryFile(5, dir='.')\ns.write(b'x' * 10)\nprint(len(os.listdir()))\n",
    expect="^[34]$",
    normal=((r"tmp\w{8}", "name"),),
)
add(
    "left-own-stream",
    "import io\nclass Raw(io.RawIOBase):\n    def writable(self): return True\n    def write(self, data):\n        print('raw got', bytes(data)); return len(data)\n"
    "    def close(self):\n        if not self.closed: print('raw closed')\n        super().close()\nf = io.TextIOWrapper(io.BufferedWriter(Raw()))\nf.write('kept back')\n",
    expect="raw got",
)
add(
    "left-own-file",
    "import io\nclass Mine(io.FileIO):\n    def __del__(self): print('mine deleted'); super().__del__() if hasattr(io.FileIO, '__del__') else None\nf = Mine('left.txt', 'w')\nf.write(b'x')\n",
)
add(
    "left-deleters",
    "class Base:\n    def __del__(self): print('deleted', type(self).__name__)\nclass Sub(Base):\n    __slots__ = ()\none = Base(); held = [Sub()]\nclass Meta(type):\n    def __del__(cls): print('class deleted')\nclass Made(metaclass=Meta): pass\ndel Made\n",
    expect="deleted",
)
add(
    "left-weak-callbacks",
    "import weakref\nclass T: pass\nt = T()\nr = weakref.ref(t, lambda _: print('callback'))\nweakref.finalize(t, print, 'finalised')\n",
    expect="finalised",
)
add(
    "left-pool",
    "from concurrent.futures import ThreadPoolExecutor\nimport time\np = ThreadPoolExecutor(1)\np.submit(lambda: (time.sleep(0.02), print('done late')))\n",
    expect="done late",
)
add(
    "left-process",
    "import multiprocessing, time\nif __name__ == '__main__':\n    p = multiprocessing.get_context('fork').Process(target=lambda: (time.sleep(0.02), print('child done', flush=True)))\n    p.start()\n    print('parent done', flush=True)\n",
    expect="parent done.*child done",
)
add(
    "left-daemon-process",
    "import multiprocessing, time\np = multiprocessing.get_context('fork').Process(target=time.sleep, args=(9,), daemon=True)\np.start()\nprint('done')\n",
    expect="done",
)
add(
    "left-loop",
    "import asyncio\nloop = asyncio.new_event_loop()\nasync def f():\n    try:\n        await asyncio.sleep(9)\n    finally:\n        print('cleaned')\nt = loop.create_task(f())\nloop.run_until_complete(asyncio.sleep(0))\n",
    expect="cleaned|^$",
)
add(
    "left-subprocess",
    # Into a file: cat may be ended with the script before it has written what it got.
    "import os, subprocess\np = subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE)\nos.dup2(os.open('left.txt', os.O_WRONLY | os.O_CREAT), p.stdin.fileno())\np.stdin.write(b'not flushed')\n",
)
for _name, _end in {"": "", "-exit": "import sys\nsys.exit(4)\n", "-error": "1 / 0\n"}.items():
    add(
        f"left-hidden{_name}",  # from the collector
        "import gc\nf = open('left.txt', 'w')\nf.write('written')\ngc.freeze()\n" + _end,
    )
add(
    "left-unhidden",
    "import gc\nclass Kept:\n    def __del__(self): print('deleted')\nkept = Kept()\ngc.freeze()\ngc.unfreeze()\n",
    expect="deleted",
)
add(
    "left-warned-of",
    "import warnings\nwarnings.simplefilter('always')\nf = open('left.txt', 'w')\nimport socket\ns = socket.socket()\n",
    variant="strict",
)
add(
    "left-warned-of-elsewhere",
    "import warnings\nc = warnings.catch_warnings()\nc.__enter__()\nwarnings.simplefilter('always')\nimport socket\ns = socket.socket()\nraw = __import__('_socket').socket()\n",
)
add(
    "left-deleter-put-later",
    "class Kept: pass\nkept = Kept()\nKept.__del__ = lambda self: print('deleted', self.__class__.__name__)\n",
    expect="deleted Kept",
)
add(
    "left-deleter-of-a-metaclass",
    "class Meta(type):\n    def __getattribute__(cls, name): raise AttributeError(name)\n    def __del__(cls): print('class deleted')\n"
    "class Kept(metaclass=Meta): pass\nkept = Kept()\n",
)
add(
    "left-instances",
    "import collections, re\nclass Plain:\n    __slots__ = ('a',)\nclass Mine(collections.OrderedDict): pass\nclass Error(ValueError): pass\n"
    "p = [Plain(), Mine(a=1), Error('x'), re.compile('a').match('a'), collections.deque([1]), iter([1]), map(str, [1]), {}.keys()]\n"
    "try:\n    raise p[2]\nexcept Error as error:\n    kept = error\nprint('plain')\n",
    expect="plain",
)
add(
    "left-generator",
    "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nkept = [map(str, g())]\nnext(kept[0])\n",
    expect="closed",
)
add(
    "left-at-exit-anew",
    "import atexit\natexit._clear()\natexit.register(print, 'at exit')\n",
    expect="at exit",
)
add("left-coroutine", "async def f(): pass\nkept = f()\n", variant="strict")
add(
    "left-replaced-builtins",
    "import builtins, sys\nclass Kept:\n    def __del__(self): sys.__stdout__.write('deleted')\nkept = Kept()\nbuiltins.set = builtins.type = builtins.issubclass = builtins.len = None\n",
    expect="deleted",
)
add(
    "left-exit-now",
    "import sys\nx = [1]\nprint('out', end='')\nprint('err', file=sys.stderr)\nsys.exit(3)\n",
    variant="strict",
)
add(
    "left-closed-stdout",
    "import sys\nprint('out', flush=True)\nsys.stdout.close()\nsys.exit(2)\n",
    expect="out",
    variant="strict",
)
add(
    "left-C-stream",
    "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.fopen.restype = ctypes.c_void_p\nf = ctypes.c_void_p(libc.fopen(b'left.txt', b'w'))\nlibc.fputs(b'by C', f)\n",
)
add(
    "left-C-at-exit",
    "import ctypes\nlibc = ctypes.CDLL(None)\ncall = ctypes.CFUNCTYPE(None)(lambda: None)\nlibc.puts(b'buffered by C')\n",
    expect="buffered by C",
)
add(
    "left-memory-map",
    "import mmap\nf = open('left.bin', 'w+b')\nf.write(b'0' * 10)\nf.flush()\nm = mmap.mmap(f.fileno(), 10)\nm[:2] = b'ab'\n",
)
