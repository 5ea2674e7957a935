"""How a script ends: exit statuses, exceptions, signals, and what runs on the way out."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import Cases

CASES = Cases()
add = CASES.add

# What is below a script's own frame is seen by two alone: the counter of nested calls, and faulthandler.
DEEP = "calls nest one or two fewer deep until RecursionError"
SHOWN = "faulthandler shows the frame of the fork server below the script's"
BELOW = ((r'\n  File "netsvc-forkserver", line \d+ in program', ""),)
REPEATED = ((r"repeated 99[456] more times", "repeated"),)

for _name, _code, _bad in (
    ("0", "0", 0),
    ("1", "1", 1),
    ("3", "3", 3),
    ("255", "255", 255),
    ("256", "256", 0),
    ("257", "257", 1),
    ("minus-1", "-1", 255),
    ("huge", "2**70", 255),
    ("true", "True", 1),
    ("none", "None", 0),
    ("text", "'said so: é'", 1),
    ("float", "1.5", 1),
    ("list", "[1]", 1),
    ("empty", "", 0),
):
    add(
        f"exit-{_name}",
        f"import sys\nprint('before')\nsys.exit({_code})\n",
        expect="before",
        variant="strict",
        log=f"exit status {_bad}" if _bad else "",
    )
add("exit-silent", "import sys\nsys.exit(7)\n", head=False, status=500, log="it printed nothing; exit status 7")
add("exit-builtin", "print('x')\nexit(4)\n", variant="strict", log="exit status 4")
add("exit-at-once", "import os\nprint('lost')\nos._exit(5)\n", variant="strict", log="exit status 5")
add(
    "exit-subclass",
    "class Mine(SystemExit):\n    code = 9\n    def __init__(self): pass\nraise Mine\n",
    variant="strict",
    log="exit status 9",
)
ERRORS = {
    "plain": "def one():\n    return two(1, 0)\ndef two(a, b):\n    return (a + 1) / b + one()\nprint('before')\none()",
    "chained": (
        "try:\n    {}['key']\nexcept KeyError as error:\n    try:\n        raise ValueError('second') from error\n"
        "    except ValueError:\n        raise TypeError('third')"
    ),
    "suppressed": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('alone') from None",
    "group": "raise ExceptionGroup('several', [ValueError(1), ExceptionGroup('in', [TypeError(2), OSError(2, 'x', 'f')])])",
    "notes": "error = ValueError('noted')\nerror.add_note('one note\\nof two lines')\nraise error",
    "no-text": "class Bad(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Bad",
    "nothing": "class Empty(Exception): pass\nraise Empty()",
    "wide": "naïve = '日本語', undefined_name_ü + 1",
    "suggestion": "import sys\nfirst_value = 1\nprint(first_valeu)",
    "attribute": "import json\njson.dump_s",
    "import": "import no_such_module.at_all",
    "import-name": "from json import no_such_name",
    "keyboard": "raise KeyboardInterrupt",
    "generator-exit": "raise GeneratorExit('odd')",
    "stop": "next(iter(()))",
    "memory": "x = [0] * (1 << 60)",
    "recursion": "def down(n):\n    return down(n + 1)\ndown(0)",
    "assertion": "assert 1 == 2, 'no'",
    "in-eval": "eval('1 +\\n 1 / 0', {})",
    "in-exec": "exec(compile('def f():\\n  raise ValueError(1)\\nf()', 'made-up.py', 'exec'))",
    "syntax-eval": "eval('1 +')",
    "syntax-import": "import broken",
    "lambda": "sorted([1, 'a'], key=lambda one: one.x)",
    "multi-line": "value = (\n    1\n    + len(\n        5\n    )\n)",
    "decorated": "def keep(f):\n    return f\n@keep\ndef f(*, a): pass\nf()",
    "not-an-exception": "raise 'text'",
    "huge-integer": "print(10 ** 5000)",
    "unicode-output": "print('\\udcff')",
}
for _name, _text in ERRORS.items():
    add(
        f"error-{_name}",
        _text + "\n",
        log="" if _name == "unicode-output" else ".",
        files={"broken.py": "def f(:\n    pass\n"},
        again=_name == "plain",
        normal=REPEATED if _name == "recursion" else (),
        declared=DEEP if _name == "recursion" else "",
    )
    if _name in ("plain", "keyboard", "recursion"):
        declared = {"normal": REPEATED, "declared": DEEP} if _name == "recursion" else {}
        add(f"error-{_name}-first", _text + "\n", head=False, status=500, log=".", **declared)
SOURCES: dict[str, bytes] = {
    "syntax": b"print('Content-Type: text/plain\\n')\nif True print(1)\n",
    "indentation": b"def f():\nreturn 1\n",
    "tab": b"if 1:\n        x = 1\n\ty = 2\n",
    "not-utf-8": b"x = '\xff\xfe'\n",
    "nul": b"x = 1\0\n",
    "unclosed": b"print((1, 2\nx = 3\n",
    "unknown-cookie": b"# -*- coding: klingon -*-\nx = 1\n",
    "contradicting-cookie": b"# -*- coding: ascii -*-\nx = '\xc3\xa9'\n",
    "return-outside": b"return 3\n",
    "future-late": b"x = 1\nfrom __future__ import annotations\n",
    "control-z": b"x = 1\n\x1a\n",
    "unterminated": b'x = """abc\n',
    "deep": b"x = " + b"(" * 300 + b")" * 300 + b"\n",
}
for _name, _source in SOURCES.items():
    add(
        f"source-{_name}",
        b"#!{python}\n" + _source,
        fill=True,
        status=500,
        log="Error|exit status",
        cold="compiled|no Python source",
    )
add(
    "source-latin-1",
    b"#!{python}\n# vim: set fileencoding=latin-1 :\nprint('Content-Type: text/plain\\n')\nprint(ascii('\xe9\xfc'), '\xe9')\n1/0 # \xe9\n",
    fill=True,
    expect=r"xe9",
    log="ZeroDivisionError",
)
add(
    "source-bom",
    b"\xef\xbb\xbf#!{python}\nprint('Content-Type: text/plain\\n')\n",
    fill=True,
    status=500,
    log="neither a program",
)
add("source-crlf", b"#!{python}\r\nprint('Content-Type: text/plain\\n')\r\n", fill=True, status=500, log="CR LF")
add(
    "source-crlf-later",
    b"#!{python}\nprint('Content-Type: text/plain\\n')\r\nprint('''a\r\nb'''.encode())\r\n1/0\r\n",
    fill=True,
    expect=r"b'a\\nb'",
    log="ZeroDivisionError",
)
add("source-form-feed", "\f\nx = 1 # \f\nprint(__import__('sys')._getframe().f_lineno)\n", expect="5")
add(
    "source-warnings",
    "x = 1 is 1\ny = '\\d'\nassert (1, 'always')\nprint('x')\n",
    log="SyntaxWarning",
    again=True,
)
add(
    "source-warnings-are-errors",
    "x = 1 is 1\n",
    shebang="#!{python} -Werror",
    cold="compiled",
    head=False,
    status=500,
    log="SyntaxError",
)
add(
    "source-seen",
    r"""
import inspect, linecache, sys, traceback
def f(): return 1
class C: pass
print(inspect.getsource(f), inspect.getsource(C), inspect.getsourcefile(f), inspect.getmodule(f), inspect.getfile(C))
print(len(inspect.getsource(sys.modules["__main__"])), linecache.getline(__file__, 3), sorted(linecache.cache))
traceback.print_stack()
print(traceback.format_stack(), inspect.stack(), inspect.currentframe().f_back)
print(f.__module__, f.__qualname__, f.__code__, C.__module__)
def depth(n):
    try:
        return depth(n + 1)
    except RecursionError:
        return n
print(depth(0))
""",
    expect="def f",
    log="print_stack",
    again=True,
    normal=((r"^99[678]$", "DEPTH"),),
    declared=DEEP,
)
add(
    "hooks",
    r"""
import sys, threading
sys.excepthook = lambda kind, value, traceback: print("hook:", kind, value, traceback.tb_lineno, traceback.tb_next)
threading.excepthook = lambda args: print("thread:", args.exc_value)
sys.unraisablehook = lambda args: print("unraisable:", args.exc_value, args.err_msg)
class Noisy:
    def __del__(self): raise ValueError("in del")
Noisy()
one = threading.Thread(target=lambda: 1 / 0)
one.start(); one.join()
raise KeyError("last")
""",
    expect="hook: .*'last'",
)
add(
    "hook-breaks",
    'import sys\nsys.excepthook = lambda *a: 1 / 0\nraise ValueError("first")\n',
    log="excepthook",
)
add("hook-gone", 'import sys\ndel sys.excepthook\nraise ValueError("first")\n', log="missing")
add(
    "unraisable",
    'class Noisy:\n    def __del__(self): raise ValueError("in del")\nNoisy()\nprint("on")\n',
    log="Exception ignored in: .*__del__",
)
add(
    "at-exit",
    r"""
import atexit, threading, weakref
atexit.register(print, "first registered, last run")
class Thing: pass
thing = Thing()
weakref.finalize(thing, print, "finalised")
@atexit.register
def second():
    atexit.register(print, "registered late")
    print("second", threading.current_thread().name, threading.main_thread().is_alive())
threading._register_atexit(print, "threads' own")
print("end", atexit._ncallbacks())
""",
    expect="end 3.*threads' own.*second.*registered late.*finalised.*first registered|end",
    again=True,
)
add(
    "at-exit-raises",
    'import atexit\natexit.register(print, "on")\natexit.register(lambda: 1 / 0)\n',
    expect="on",
    log="ZeroDivisionError",
)
add("at-exit-exits", 'import atexit, sys\natexit.register(print, "on")\natexit.register(sys.exit, 6)\n', expect="on")
add(
    "at-exit-leaves",
    'import atexit, os\natexit.register(print, "not")\natexit.register(os._exit, 6)\n',
    variant="strict",
    log="exit status 6",
)
add(
    "at-exit-after-error",
    'import atexit\natexit.register(print, "on")\n1 / 0\n',
    expect="on",
    log="ZeroDivisionError",
)
add("at-exit-after-exit", 'import atexit, sys\natexit.register(print, "on")\nsys.exit(3)\n', expect="on")
add(
    "torn-down",
    r"""
import sys
class Last:
    def __init__(self, name): self.name = name
    def __del__(self): print("deleted", self.name, sys is None, sys.is_finalizing() if sys else "-", __name__)
one, two, _three = Last("global"), Last("other"), Last("underscore")
sys.in_sys = Last("in sys")
import json
json.kept = Last("in a module")
cycle = Last("cycle"); cycle.me = cycle
def suspended():
    try:
        yield Last("in a generator")
    finally:
        print("closed")
waiting = suspended(); next(waiting)
file = open("unclosed.txt", "w")
file.write("is written")
""",
    expect="deleted",
)
for _name in (
    "TERM",
    "KILL",
    "SEGV",
    "ABRT",
    "HUP",
    "INT",
    "PIPE",
    "ALRM",
    "USR1",
    "BUS",
    "QUIT",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "SYS",
):
    add(
        f"signal-{_name.lower()}",
        f"import os, signal, sys\nsys.stdout.write('before')\nsys.stdout.flush()\nprint(signal.getsignal(signal.SIG{_name}))\n"
        f"os.kill(os.getpid(), signal.SIG{_name})\nimport time\ntime.sleep(0.01)\nprint('after')\n",
        expect="before",
        log="" if _name in ("PIPE", "XFSZ") else f"signal SIG{_name}",
    )
add(
    "signals-at-start",
    r"""
import signal
for number in sorted(signal.valid_signals()):
    print(number, signal.getsignal(number))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending(), signal.set_wakeup_fd(-1))
""",
    expect="default_int_handler",
    again=True,
)
add(
    "signals-handled",
    r"""
import os, signal, time
signal.signal(signal.SIGTERM, lambda number, frame: print("handled", number, frame.f_code.co_name, frame.f_back))
os.kill(os.getpid(), signal.SIGTERM)
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(5)
""",
    expect="handled 15",
    log="ZeroDivisionError",
)
add(
    "signal-interrupts",
    "import os, signal, time\nos.kill(os.getpid(), 2)\ntime.sleep(1)\n",
    log="KeyboardInterrupt",
)
add(
    "alarm",
    "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.02)\ntime.sleep(5)\n",
    log="SIGALRM",
)
add("abort", "import os\nprint('lost')\nos.abort()\n", log="SIGABRT")
add(
    "fault",
    "import faulthandler, os, signal\nfaulthandler.enable()\ndef f():\n    os.kill(os.getpid(), signal.SIGSEGV)\nf()\n",
    log="Segmentation fault",
    normal=BELOW,
    declared=SHOWN,
)
add(
    "fault-by-flag",
    "import os\ndef f():\n    os.kill(os.getpid(), 11)\nf()\n",
    shebang="#!{python} -Xfaulthandler",
    cold="the flag",
    log="Segmentation fault",
)
add(
    "fault-dump",
    "import faulthandler\nfaulthandler.dump_traceback()\n",
    log="most recent call first",
    normal=BELOW,
    declared=SHOWN,
)
add(
    "crash-half",
    "import os\nprint('half', flush=True)\nos.kill(os.getpid(), 9)\n",
    expect="half",
    log="SIGKILL",
)
