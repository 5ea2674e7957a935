"""What a script is given: environment, arguments, streams, locale, and what the kernel knows of its process."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import LIMITED, Cases

CASES = Cases()
add = CASES.add

ENVIRONMENT = r"""
import os, posix, sys
for name, value in os.environ.items():
    print(name, ascii(value))
print(list(os.environ) == [os.fsdecode(name) for name in os.environb])
print(posix.environ == os.environb._data if hasattr(os.environb, "_data") else "?")
print(list(posix.environ))
print(type(os.environ), type(posix.environ), os.environ.encodekey, os.get_exec_path())
print(open("/proc/self/environ", "rb").read() if os.environ.get("QUERY_STRING") == "proc" else "")
"""
add(
    "environment",
    ENVIRONMENT,
    path_info="/a%20b/%C3%BC",
    query="q=%C3%BC&x",
    headers={"Cookie": "a=b", "X-Odd": "\xe9", "Accept-Language": "de"},
    expect="GATEWAY_INTERFACE 'CGI/1.1'",
    normal=((r"<function .*?>", "<function>"),),
    again=True,
)
add(
    "environment-c",
    r"""
import ctypes, os, subprocess
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
for name in ("PATH", "SCRIPT_NAME", "QUERY_STRING", "HTTP_COOKIE", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "USER", "NONE"):
    print(name, libc.getenv(name.encode()))
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
index = 0
while environ[index]:
    print(environ[index])
    index += 1
os.environ["NEW"] = "new"
os.unsetenv("PATH")
del os.environ["SCRIPT_NAME"]
print(libc.getenv(b"NEW"), libc.getenv(b"PATH"), libc.getenv(b"SCRIPT_NAME"))
print(subprocess.run(["/usr/bin/env"], capture_output=True).stdout)
""",
    query="a=b",
    headers={"Cookie": "a=b"},
    expect=r"b'SCRIPT_NAME=",
    again=True,
)
add(
    "environment-proc",
    r"""
import os
print(sorted(open("/proc/self/environ", "rb").read().split(b"\0")))
""",
    declared="the kernel shows the room of the fork server's environment: NULs follow the script's",
    normal=((r"(b'', )+", ""),),
    expect="GATEWAY_INTERFACE",
)
add(
    "posted-environment",
    ENVIRONMENT,
    method="POST",
    body=b"a=b",
    headers={"Content-Type": "application/x-www-form-urlencoded"},
    expect="CONTENT_LENGTH '3'",
    normal=((r"<function .*?>", "<function>"),),
)
add(
    "arguments",
    r"""
import sys
print(sys.argv, sys.orig_argv, sys.executable, sys._base_executable)
print(sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, sys.platlibdir)
print(sys._xoptions, sys.warnoptions, __file__)
""",
    variant="arguments",
    query="one+two%20words+%C3%BC+%FF",
    headers={"Authorization": "Basic eDp5"},
    expect="two words",
    again=True,
)
add(
    "arguments-none",
    "import sys\nprint(sys.argv, sys.orig_argv, sys.flags)\n",
    variant="arguments",
    query="one+-x",
    expect=r"\['/\S*script\.py'\] ",
)
add(
    "sys-module",
    r"""
import sys
skip = {"modules", "path_importer_cache", "exc_info", "_git", "stdin", "stdout", "stderr", "__stdin__", "__stdout__",
        "__stderr__", "builtin_module_names", "stdlib_module_names", "__doc__"}
print(dir(sys))
for name in dir(sys):
    value = getattr(sys, name)
    if name not in skip and not callable(value):
        print(name, "=", value)
for hook in ("excepthook", "unraisablehook", "displayhook", "breakpointhook"):
    print(hook, getattr(sys, hook) is getattr(sys, f"__{hook}__"), getattr(sys, hook))
for name in ("getrecursionlimit", "getswitchinterval", "gettrace", "getprofile", "getfilesystemencoding",
             "getfilesystemencodeerrors", "getdefaultencoding", "get_asyncgen_hooks", "is_finalizing",
             "get_coroutine_origin_tracking_depth", "getdlopenflags", "get_int_max_str_digits", "exc_info"):
    print(name, getattr(sys, name)())
""",
    expect="recursionlimit 1000",
    again=True,
)
add(
    "modules-at-start",
    r"""
import sys
for name in list(sys.modules):
    module = sys.modules[name]
    print(name, getattr(module, "__file__", "-"), type(getattr(module, "__loader__", None)).__name__)
""",
    expect="__main__",
    again=True,
)
add(
    "import-machinery",
    r"""
import sys
print(sys.path, sys.meta_path, sys.path_hooks)
for name in sys.path_importer_cache:
    print(name, type(sys.path_importer_cache[name]).__name__)
import importlib, site
print(sys.flags.no_user_site, site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE, site.getsitepackages())
print(sys.dont_write_bytecode, sys.pycache_prefix)
""",
    normal=((r"<function .*?>", "<function>"),),
    expect="zipimport",
    again=True,
)
add(
    "main-module",
    r'''
"""Its docstring."""
import __main__, builtins, sys
first = list(vars())
print(first)
for name in first:
    if name != "__builtins__":
        print(name, "=", vars()[name])
print(__builtins__ is builtins, __main__.__dict__ is globals(), sys.modules["__main__"] is __main__)
print(__loader__.name, __loader__.path, __loader__.get_data(__file__)[:20], __loader__.is_package("__main__"))
print(__loader__.get_source("__main__")[:20], __spec__, __name__, __package__)
print(repr(__main__), type(__main__), dir(__main__))
print(sys._getframe().f_back, sys._getframe().f_code, sys._getframe().f_code.co_filename, sys._getframe().f_lineno)
print(globals() is locals(), __debug__)
''',
    normal=(),
    expect="__main__",
    again=True,
)
add(
    "builtins",
    r"""
import builtins
print(dir(builtins))
print([name for name in vars(builtins)])
print(type(exit), exit, quit, copyright is not None, help, _ if "_" in vars(builtins) else "no _")
""",
    expect="AttributeError",
)
add(
    "warning-filters",
    r"""
import sys, warnings
print(warnings.filters, warnings.defaultaction, warnings.onceregistry, warnings._filters_version if hasattr(warnings, "_filters_version") else "-")
print(globals().get("__warningregistry__"))
warnings.warn("look", DeprecationWarning)
warnings.warn("hidden", PendingDeprecationWarning)
warnings.warn("user")
for _ in range(3):
    warnings.warn("once a place")
print(sorted(map(str, __warningregistry__)))
""",
    log="DeprecationWarning: look",
    normal=((r"_filters_version.*|, \d+, None\)", ""),),
    again=True,
)
STREAMS = r"""
import io, os, sys
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream)
    for name in ("encoding", "errors", "line_buffering", "write_through", "newlines", "name", "mode", "closed"):
        print(" ", name, getattr(stream, name, "-"))
    print("  fileno", stream.fileno(), stream.isatty(), stream.readable(), stream.writable(), os.get_inheritable(stream.fileno()))
    for inner in (stream.buffer, getattr(stream.buffer, "raw", None)):
        print(" ", type(inner).__name__, getattr(inner, "mode", "-"), getattr(inner, "name", "-"), getattr(inner, "closefd", "-"))
    print("  seekable", stream.seekable() if stream is not sys.stdin else "?", os.isatty(stream.fileno()))
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)
print(io.text_encoding(None), io.DEFAULT_BUFFER_SIZE, sys.flags.utf8_mode, sys.getfilesystemencoding())
with open("made", "w") as made:
    print(made.encoding, made.errors)
import locale
print(locale.getpreferredencoding(), locale.getpreferredencoding(False), locale.getlocale())
print(locale.setlocale(locale.LC_ALL), [locale.setlocale(one) for one in (locale.LC_CTYPE, locale.LC_NUMERIC)])
print(locale.nl_langinfo(locale.CODESET), locale.localeconv()["decimal_point"])
print(ascii(sys.argv), ascii(os.fsdecode(b"\xff\xc3\xa9")), os.environ.get("LC_CTYPE"), os.environ.get("LC_ALL"))
import ctypes
print(ctypes.CDLL(None).__getattr__("nl_langinfo") and ctypes.pythonapi.Py_GetVersion is not None)
"""
for _variant in (
    "plain",
    "lang-c",
    "lang-c-utf8",
    "lang-posix",
    "lang-nowhere",
    "utf8-mode",
    "io-encoding",
    "unbuffered",
    "dev-mode",
):
    add(
        f"streams-{_variant}",
        STREAMS,
        variant=_variant,
        expect="<stdin>",
        again=_variant == "lang-c",
        cold="PYTHON" if _variant == "dev-mode" else "",
    )
for _variant in ("plain", "lang-c", "lang-posix", "lang-nowhere", "io-encoding", "utf8-mode"):
    add(
        f"umlauts-{_variant}",
        r"""
import sys
print("grün €", ascii(open(__file__, "rb").read(5)))
print("schlecht: é", file=sys.stderr)
sys.stdout.flush()
raise ValueError("ünd €  \udcff")
""",
        variant=_variant,
        log="Error",
    )
add(
    "process",
    r"""
import os, sys, stat
print(os.getcwd(), os.getpid() == os.getpgrp() == os.getsid(0), os.getuid(), os.geteuid(), os.getgid(), os.getegid())
print(os.getresuid(), os.getresgid(), os.getgroups())
umask = os.umask(0); os.umask(umask)
print(oct(umask), os.nice(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0))
for try_it in (os.getlogin, lambda: os.open("/dev/tty", os.O_RDWR), lambda: os.ttyname(0), os.setsid,
               lambda: os.tcgetpgrp(0), lambda: os.get_terminal_size()):
    try:
        print(try_it())
    except OSError as error:
        print(error)
import resource
for name in dir(resource):
    if name.startswith("RLIMIT_"):
        print(name, resource.getrlimit(getattr(resource, name)))
print(os.readlink("/proc/self/cwd"), os.readlink("/proc/self/root"), os.readlink("/proc/self/exe"))
for name in ("oom_score_adj", "coredump_filter", "timerslack_ns", "personality", "cgroup", "loginuid", "limits", "autogroup"):
    try:
        print(name, open(f"/proc/self/{name}").read())
    except OSError as error:
        print(name, error)
""",
    again=True,
    expect="RLIMIT_NOFILE",
    normal=((r"/autogroup-\d+", "/autogroup"),),
)
add(
    "process-limited",
    f"{LIMITED}{CASES[-1].script}",
    variant="limited",
    again=True,
    expect=r"0o77 5",
    normal=CASES[-1].normal,
)
add(
    "process-status",
    r"""
keep = ("Name", "Umask", "State", "TracerPid", "Uid", "Gid", "Groups", "Threads", "SigQ", "SigPnd", "ShdPnd", "SigBlk",
        "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed")
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in keep:
        print(name, value.strip() if name != "SigQ" else "")
import ctypes
libc = ctypes.CDLL(None)
number = ctypes.c_int()
for option in (1, 2, 3, 7, 27, 30, 36, 37, 39, 42):  # prctl(2): the PR_GET_* that a child can inherit
    print(option, libc.prctl(option, ctypes.byref(number), 0, 0, 0))
print(number.value)
""",
    expect="SigCgt",
    again=True,
)
add(
    "process-names",
    r"""
import os
print(open("/proc/self/cmdline", "rb").read().split(b"\0"))
print(open("/proc/self/comm").read(), open("/proc/self/stat").read().split()[1])
print([open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")])
""",
    expect="script.py",
    declared="the kernel shows the room of the fork server's command line: NULs follow the script's",
    normal=((r"(, b'')+\]", "]"),),
)
add(
    "descriptors",
    r"""
import fcntl, os, re, stat
for descriptor in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL), fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        continue  # the listing's own
    print(descriptor, re.sub(r"\[\d+\]", "", target), flags, stat.S_IFMT(os.fstat(descriptor).st_mode))
print(os.open("/dev/null", os.O_RDONLY))
""",
    expect="^0 ",
    again=True,
)
add(
    "descriptors-posted",
    CASES[-1].script,
    method="POST",
    body=b"x" * 100_000,
    expect="^0 ",
    normal=((r"/tmp/\S+|memfd:\S+|/\S*/#\d+", "a file"),),
)
PARENT = r"""
import os
def line(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
mine = line(os.getpid())
print(os.getppid() == int(mine[1]), mine[2] == mine[3] == str(os.getpid()), mine[4:6])
print(b"twistd" in open(f"/proc/{os.getppid()}/cmdline", "rb").read())
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError as error:
    print(error)
print(open(f"/proc/self/task/{os.getpid()}/children").read())
"""
add(
    "parent",
    PARENT,
    expect="True True",
    again=True,
)
add(
    "parent-of-two-forks",
    PARENT,
    variant="no-ctypes",
    expect="True True",
    again=True,
)
add(
    "address-space",
    """
for line in open("/proc/self/maps"):
    print(line.split()[0], line.split()[-1])
""",
    fresh=r".*\[stack\]",
    shared="a fork has the addresses of the process that it is a fork of",
    normal=((r"(?s).*", ""),),
    more=4,
)
add(
    "time-zone",
    r"""
import datetime, os, time
print(time.tzname, time.timezone, time.daylight, time.localtime(0), os.environ.get("TZ"))
print(datetime.datetime.fromtimestamp(0).astimezone())
print(time.strftime("%Z %z", time.localtime(86400 * 180)))
""",
    variant="time-zone",
    expect="JST",
)
add("time-zone-none", CASES[-1].script, again=True)
add(
    "system",
    r"""
import os, platform, sys, sysconfig
print(sysconfig.get_paths(), sysconfig.get_config_var("prefix"), sysconfig.get_platform(), sysconfig.get_scheme_names())
print(platform.python_version(), platform.python_implementation(), sys.version, platform.node())
""",
    normal=(),
    expect="purelib",
)
add(
    "collector",
    r"""
import gc, sys
print(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug(), gc.garbage, gc.callbacks)
import faulthandler, tracemalloc
print(faulthandler.is_enabled(), tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())
print(sys.getrefcount(None) > 100, sys.getallocatedblocks() > 100)
""",
    expect=r"True \(",
    again=True,
    declared="the collector does not look through what was there before the script: get_freeze_count is not 0",
    normal=((r"^(True \(.*?\)) \d+", r"\1 N"),),
)
for _variant in ("tracemalloc", "malloc", "linker", "dev-mode", "optimised"):
    add(
        f"switches-{_variant}",
        r'''
"""Documented."""
import gc, faulthandler, os, sys, tracemalloc
print(sys.flags, sys.warnoptions, sys._xoptions, __doc__, __debug__)
print(faulthandler.is_enabled(), tracemalloc.is_tracing(), tracemalloc.get_traceback_limit(), sys.get_int_max_str_digits())
assert False, "seen when not optimised"
''',
        variant=_variant,
        cold="PYTHON" if _variant in ("tracemalloc", "dev-mode") else "",
        expect="sys.flags",
    )
add(
    "resources",
    r"""
import os, resource, time
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
print(own.ru_utime < 5, own.ru_maxrss > 1000, tuple(children))
print(os.times()[2:4], time.process_time() < 5, time.thread_time() < 5)
import signal
print([signal.getitimer(one) for one in (0, 1, 2)])
""",
    expect=r"\(0\.0, 0\.0, 0, 0",
)
