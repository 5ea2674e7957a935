"""What a script imports, from where, and under which interpreter and flags."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

import io
import zipfile

from tests.live.cgi_corpus.case import Cases, Link

CASES = Cases()
add = CASES.add


def zipped(files: dict[str, str], before: bytes = b"") -> bytes:
    """A zip file whose times are fixed."""
    made = io.BytesIO()
    made.write(before)
    with zipfile.ZipFile(made, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return made.getvalue()


SHOW = r"""
import sys
print(sys.flags, sys.path, sys.argv, sys.orig_argv, sys.warnoptions, sys._xoptions, sys.executable, sys.prefix)
print(sys.dont_write_bytecode, sys.stdout.line_buffering, sys.stdout.write_through, __debug__, __file__)
print(sorted(sys.modules))
"""
for _flags in (
    "-I",
    "-E",
    "-s",
    "-S",
    "-P",
    "-B",
    "-u",
    "-O",
    "-OO",
    "-b",
    "-bb",
    "-d",
    "-q",
    "-x",
    "-IB",
    "-Wignore",
    "-Xutf8",
    "-Xdev",
):
    add(
        f"flag{_flags}",
        SHOW,
        shebang=f"#!{{python}} {_flags}",
        expect="sys.flags" if _flags != "-x" else "",
        cold="the flag" if _flags in ("-d", "-q", "-x", "-Xdev") else "",
    )
add("flag-unknown", SHOW, shebang="#!{python} -Z", status=500, log="nknown option|unknown", cold="the flag")
add("flag-version", SHOW, shebang="#!{python} -V", status=500, log="no answer", cold="the flag")
add("flag-module", SHOW, shebang="#!{python} -mtokenize", status=500, log="no answer", cold="the flag")
add("flag-interactive", "print('x')\n", shebang="#!{python} -i", log=">>>", cold="the flag")
add("flag-two-words", SHOW, shebang="#!{python} -u -B", status=500, head=False, log="no answer", cold="the flag")
add("spaced-shebang", SHOW, shebang="#! \t{python}  ", expect="sys.flags", again=True)
add("env-shebang", SHOW, shebang="#!/usr/bin/env python3", variant="by-env", expect="sys.flags", again=True)
add("env-missing", SHOW, shebang="#!/usr/bin/env python9", variant="by-env", status=500, log="python9")
add("env-split", SHOW, shebang="#!/usr/bin/env -S {python} -u -B", expect="sys.flags", again=True)
add(
    "env-split-variables",
    SHOW + "import os; print(dict(os.environ))\n",
    shebang="#!/usr/bin/env -S -i A=b {python} -u",
    expect="'A': 'b'",
)
add("no-interpreter", SHOW, shebang="#!/no/such/python3", status=500, log="does not exist")
add(
    "venv",
    SHOW + "import in_venv, by_pth\nprint(in_venv.__file__, by_pth.__file__, sys.from_sitecustomize)\n",
    shebang="#!{venv}/bin/python",
    expect="in_venv",
)
add(
    "venv-changed",
    SHOW
    + "try:\n    import in_venv\n    print(in_venv.value)\nexcept ImportError as error:\n    print(error)\nprint(getattr(sys, 'added', 'no'))\n",
    shebang="#!{venv}-2/bin/python",
    edits={
        "{venv}-2/lib/python{version}/site-packages/in_venv.py": "value = 'changed'\n",
        "{venv}-2/lib/python{version}/site-packages/added.pth": "import sys; sys.added = 'yes'\n",
    },
    expect="in_venv|first",
)
add(
    "python-path",
    SHOW + "import on_path\nprint(on_path.__file__)\n",
    variant="python-path",
    expect="on_path.py",
    again=True,
)
add(
    "python-path-isolated",
    SHOW + "import on_path\n",
    shebang="#!{python} -I",
    variant="python-path",
    log="ModuleNotFoundError",
)
add(
    "safe-path",
    SHOW + "import beside\n",
    variant="safe-path",
    files={"beside.py": ""},
    log="ModuleNotFoundError",
)
add(
    "user-base",
    SHOW + "import site\nprint(site.USER_SITE, site.ENABLE_USER_SITE)\n",
    variant="user-base",
    expect="user",
)
for _variant in ("warnings", "no-bytecode", "bytecode-elsewhere", "optimised", "hash-seed", "linker"):
    add(
        f"import-{_variant}",
        SHOW + "import beside, warnings\nprint(beside.__cached__, beside.__doc__, hash('text'), warnings.filters)\n"
        "warnings.warn('user')\nwarnings.warn('old', DeprecationWarning)\n",
        variant=_variant,
        files={"beside.py": '"""Beside."""\nassert True\n'},
        expect="beside",
        normal=() if _variant == "hash-seed" else ((r" -?\d{15,} ", " N "),),
        again=_variant == "hash-seed",
    )
add(
    "hash-seeds",
    "import sys\nprint('seed', hash('text'), hash(b'octets'), hash(frozenset('abc')))\nprint(sys.flags.hash_randomization)\n",
    normal=((r"-?\d{9,}", "N"),),
    fresh=r"seed \S+",
    shared="the hashes of str are those of the fork server, which lives for so many runs (PYTHONHASHSEED is obeyed)",
    expect="seed",
)
add("inspect-variable", SHOW, variant="inspect", expect="inspect=1", cold="PYTHONINSPECT")
add(
    "imports-beside",
    r"""
import beside, package.inner, sys
from package import sibling
print(beside.value, beside.__file__, beside.__spec__, beside.__cached__, package.__path__, sibling.value)
print(sys.modules["beside"].__loader__, sys.path[0], sys.path_importer_cache[sys.path[0]])
""",
    files={
        "beside.py": "value = 'beside'\n",
        "package/__init__.py": "",
        "package/inner.py": "from . import sibling\n",
        "package/sibling.py": "value = 'sibling'\n",
    },
    expect="sibling",
    again=True,
)
add(
    "imports-edited",
    "import beside\nprint(beside.value)\n",
    files={"beside.py": "value = 'first'\n"},
    edits={"beside.py": "value = 'other'\n"},
    expect="first|other",
)
add("script-edited", "print('first')\n", edits={"": "print('second')\n"}, expect="first|second")
add("script-breaks", "print('first')\n", edits={"": "print('second'\n"}, expect="first", cold="compiled")
for _name, _text in (
    ("random", "value = 'mine'\nprint('shadowed')\n"),
    ("json", "print('shadowed')\n"),
    ("cgi", "print('shadowed')\n"),
    ("string", "print('shadowed')\n"),
    ("socket", "print('shadowed')\n"),
    ("threading", "from _thread import *\nprint('shadowed')\ndef _shutdown(): print('my shutdown')\n"),
    ("site", "print('shadowed')\n"),
    ("signal", "print('shadowed')\n"),
    ("encodings_fake", "print('shadowed')\n"),
):
    add(
        f"shadows-{_name}",
        f"import {_name}, sys\nprint({_name}.__file__, [n for n in vars({_name}) if not n.startswith('_')][:9])\n",
        files={f"{_name}.py": _text},
        expect=f"{_name}",
        again=_name in ("random", "json"),
    )
add(
    "shadows-inside",
    "import tempfile\nprint(tempfile._Random)\n",
    files={
        "random.py": "from _random import Random\nprint('shadowed by mine')\n",
    },
    expect="Random",
    normal=((r"<class .*?>", "<class>"),),
)
add("shadows-broken", "import queue\n", files={"queue.py": "1 / 0\n"}, log="ZeroDivisionError")
add(
    "script-shadows",
    "import statistics\nprint(__name__, __file__)\n",
    filename="fractions.py",
    log="Error",
)
add(
    "imports-itself",
    "import sys\nprint(__name__)\nif __name__ == '__main__':\n    import itself\n    print(itself.__file__, itself is sys.modules['__main__'])\n",
    filename="itself.py",
    expect="itself",
)
add(
    "path-tricks",
    r"""
import os, sys
sys.path.insert(0, "hidden")
import found
sys.path.append("archive.zip")
import zipped
print(found.__file__, zipped.__file__, zipped.__loader__, os.path.relpath(found.__file__))
import importlib, pkgutil
print([one.name for one in pkgutil.iter_modules([os.getcwd()])], importlib.import_module("found") is found)
importlib.reload(found)
print(importlib.util.find_spec("nowhere"), importlib.util.find_spec("found"))
with open("made_now.py", "w") as made:
    made.write("value = 5")
__import__("os").utime("made_now.py", (1e9, 1e9))
importlib.invalidate_caches()
import made_now
print(made_now.value)
""",
    files={"hidden/found.py": "print('imported')\n", "archive.zip": zipped({"zipped.py": "value = 1\n"})},
    expect="zipped",
    again=True,
)
add(
    "resources-of-package",
    "import importlib.resources as r\nprint(r.files('package').joinpath('data.txt').read_text(), [f.name for f in r.files('package').iterdir() if f.name[0] != '_'])\n",
    files={"package/__init__.py": "", "package/data.txt": "the data"},
    expect="the data",
)
add(
    "runs-itself",
    "import runpy, sys\nprint(__name__, len(sys.argv))\nif __name__ == '__main__':\n    print(sorted(runpy.run_path(__file__, run_name='other'))[:3])\n",
    expect="other",
)
add(
    "import-hooks",
    r"""
import sys
class Finder:
    def find_spec(self, name, path, target=None):
        print("asked for", name)
sys.meta_path.insert(0, Finder())
import json, csv, textwrap, no_such_thing
""",
    expect="asked for json.*asked for no_such_thing",
    log="ModuleNotFoundError",
)
add(
    "import-order",
    r"""
import sys
before = set(sys.modules)
import json
print(sorted(set(sys.modules) - before))
before = set(sys.modules)
import cgi, email.message, urllib.request, http.client, html, datetime, sqlite3, uuid, tempfile, shutil, subprocess, logging, random
print(sorted(set(sys.modules) - before))
print([getattr(sys.modules[one], "__file__", "-") for one in ("cgi", "json", "random")])
""",
    expect="'json'",
    again=True,
)
add(
    "import-attributes",
    r"""
import sys
import importlib, importlib.util, email, xml, concurrent, os, collections, urllib, http, logging, json, html, encodings
for module in (importlib, email, xml, concurrent, os, collections, urllib, http, logging, json, html, encodings):
    print(module.__name__, sorted(vars(module)))
""",
    expect="importlib",
    again=True,
)
add(
    "import-fresh",
    r"""
import cgi, json, random, tempfile, mimetypes, locale, re, decimal, socket, warnings, linecache, functools, fnmatch, threading
import datetime, uuid, logging, email.utils, urllib.parse, subprocess, http.client, string, calendar, gettext, struct, copyreg
print(tempfile.tempdir, mimetypes.inited, json._default_decoder, socket.getdefaulttimeout(), linecache.cache, decimal.getcontext())
print(re._cache if hasattr(re, "_cache") else "-", uuid._node, gettext._translations, sorted(map(str, copyreg.dispatch_table)))
print(fnmatch._compile_pattern.cache_info(), calendar.TextCalendar().formatmonth(2024, 1)[:10], len(warnings.filters))
print(urllib.parse.urlsplit.cache_info() if hasattr(urllib.parse.urlsplit, "cache_info") else "-", email.utils.localtime)
for module in list(__import__("sys").modules.values()):
    for name in ("__warningregistry__", "leak"):
        if hasattr(module, name):
            print(module.__name__, name)
""",
    expect="None False",
    normal=((r"<function .*?>", "<function>"),),
    again=True,
)
add(
    "leaves-traces",
    r"""
import builtins, json, os, sys, signal, decimal, random, locale, warnings, socket, threading, gc, atexit, codecs, tempfile, time
print([hasattr(one, "leak") for one in (builtins, json, os, sys, threading)], os.environ.get("LEAK"), "leak" in sys.modules)
print(os.getcwd(), sys.path, decimal.getcontext().prec, socket.getdefaulttimeout(), signal.getsignal(signal.SIGTERM), gc.isenabled())
print(len(warnings.filters), sys.getrecursionlimit(), sys.getswitchinterval(), locale.setlocale(locale.LC_ALL), tempfile.tempdir)
umask = os.umask(0o77); print(oct(umask), os.nice(0), signal.pthread_sigmask(signal.SIG_BLOCK, ()), time.tzname, str.leak if hasattr(str, "leak") else "")
try:
    print(codecs.lookup("leaky"))
except LookupError as error:
    print(error)
for one in (builtins, json, os, sys, threading):
    one.leak = True
os.environ["LEAK"] = "yes"; os.environ["TZ"] = "Asia/Tokyo"; time.tzset(); sys.modules["leak"] = sys
os.chdir("/"); sys.path.append("/leak"); decimal.getcontext().prec = 3; socket.setdefaulttimeout(3); os.nice(2)
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); gc.disable()
warnings.simplefilter("error"); sys.setrecursionlimit(500); sys.setswitchinterval(1); tempfile.tempdir = "/leak"
locale.setlocale(locale.LC_NUMERIC, "C"); atexit.register(print, "bye"); codecs.register(lambda name: None)
json.dumps = None; builtins.len = lambda _: 99; random.seed(5); sys.setprofile(None); import __main__; __main__.leak = 1
""",
    expect=r"\[False, False, False, False, False\] None False",
    again=True,
)
add("globals-of-others", "print(sorted(globals()), 'Thing' in globals())\n", expect="__file__", again=True)
add(
    "symlink",
    Link("real/target.py"),
    files={
        "real/target.py": "#!{python}\nimport os, sys\nprint('Content-Type: text/plain\\n')\n"
        "print(__file__, sys.path[0], os.getcwd(), sys.argv)\nimport near\n",
        "real/near.py": "print('near')\n",
    },
    fill=True,
    expect="near",
)
add(
    "zip-script",
    zipped({"__main__.py": "print('Content-Type: text/plain\\n')\nprint('from the zip', __file__)\n"}, b"#!{python}\n"),
    fill=True,
    expect="from the zip",
    cold="no Python source",
)
for _name, _file in (
    ("spaces", "with space.py"),
    ("umlaut", "grün 日本.py"),
    ("dash", "-x.py"),
    ("no-suffix", "plain"),
    ("dots", "a.b.c.cgi"),
    ("percent", "100%.py"),
    ("octets", "caf\udce9.py"),
):
    add(
        f"named-{_name}",
        "import os, sys\nprint(ascii((sys.argv, __file__, sys.path[0], os.environ['SCRIPT_NAME'], sys.orig_argv)))\n1 / 0\n",
        filename=_file,
        expect="argv|py|plain|cgi",
        log="ZeroDivisionError",
    )
add(
    "path-info",
    "import os\nprint(os.environ['PATH_INFO'], os.environ['PATH_TRANSLATED'])\n",
    path_info="/a/b.py",
    expect="/a/b.py",
)
