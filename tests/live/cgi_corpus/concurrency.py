"""Threads, processes and interpreters that a script starts."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import Cases

CASES = Cases()
add = CASES.add

add(
    "threads",
    r"""
import _thread, os, threading
main = threading.main_thread()
print(main is threading.current_thread(), main.ident == threading.get_ident(), main.native_id == os.getpid(), main)
print(threading.active_count(), threading.enumerate(), _thread._count(), threading.stack_size(), main.daemon)
one = threading.Thread(target=lambda: print(threading.current_thread().name, threading.active_count()))
one.start(); one.join()
print(one.name, threading.Thread().name, threading.Timer(1, print).name, threading.excepthook is threading.__excepthook__)
print(threading.gettrace(), threading.getprofile(), len(threading._dangling), threading._shutdown)
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    print(list(pool.map(lambda n: threading.current_thread().name.rpartition("_")[0], range(2))))
print(threading.local().__dict__)
""",
    expect="MainThread.*Thread-1",
    normal=((r"\b\d{9,}\b", "N"),),
    again=True,
)
add(
    "thread-goes-on",
    r"""
import threading, time
def work():
    until = time.monotonic() + 30
    while threading.main_thread().is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    print("after the end", threading.main_thread().is_alive(), threading.current_thread())
threading.Thread(target=work, name="worker").start()
print("end")
""",
    expect="end.*after the end",
    normal=((r"\b\d{9,}\b", "N"),),
)
add(
    "thread-daemon",
    r"""
import threading, time
threading.Thread(target=lambda: (time.sleep(2), print("never")), daemon=True).start()
print("end")
""",
    expect="end$",
)
add(
    "thread-error",
    "import threading\ndef f():\n    1 / 0\nthreading.Thread(target=f).start()\n",
    log="Exception in thread Thread-1",
)
add(
    "thread-exit",
    "import sys, threading\nthreading.Thread(target=sys.exit, args=(3,)).start()\nprint('on')\n",
    expect="on",
)
add(
    "thread-leaves",
    "import os, threading\nt = threading.Thread(target=os._exit, args=(3,))\nt.start()\nt.join()\n",
    variant="strict",
    log="exit status 3",
)
add(
    "thread-error-in-main",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.02), print('on'))).start()\n1 / 0\n",
    expect="on",
    log="ZeroDivisionError",
)
add(
    "subprocess",
    r"""
import os, subprocess, sys
print(subprocess.run(["/bin/echo", "hello"], capture_output=True), subprocess.getoutput("echo $0 $SCRIPT_NAME"))
print(subprocess.run(["/bin/sh", "-c", "cat /proc/self/status | grep -E 'Sig(Blk|Ign|Cgt)'; umask; ls -l /proc/self/fd | wc -l"],
                     capture_output=True, text=True).stdout)
print(subprocess.run([sys.executable, "-c", "import sys; print(sys.flags, sys.argv)"], capture_output=True, text=True).stdout)
sys.stdout.flush()
subprocess.run("echo inherited; echo on stderr >&2", shell=True)
print(subprocess.run("exit 3", shell=True), subprocess.run("kill -9 $$", shell=True).returncode, os.system("exit 5"))
with os.popen("echo popen") as stream:
    print(stream.read())
print(subprocess.Popen(["sleep", "0"]).wait(), subprocess._USE_VFORK, subprocess._USE_POSIX_SPAWN, subprocess._active)
""",
    expect="inherited",
    log="on stderr",
    again=True,
)
add(
    "fork",
    r"""
import os, sys, threading
os.register_at_fork(before=lambda: print("before"), after_in_parent=lambda: print("parent"), after_in_child=lambda: print("child"))
sys.stdout.flush()
pid = os.fork()
if not pid:
    print("in the child", os.getpid() != os.getsid(0), threading.current_thread().name, threading.active_count())
    sys.exit(4)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "in the parent")
""",
    expect="in the child.*in the parent",
)
add(
    "fork-buffers",
    "import os\nprint('buffered')\nif os.fork():\n    os.wait()\nelse:\n    print('child')\n",
    expect="buffered\nchild\nbuffered",
)
add(
    "fork-left-behind",
    "import os, time\nprint('end', flush=True)\nif not os.fork():\n    time.sleep(20)\n    print('never')\n",
    expect="end",
)
add(
    "fork-hooks",
    "import os, random, logging, threading\nif os.fork():\n    print(os.wait()[1])\nelse:\n    os._exit(0)\n",
    expect="0",
)
add(
    "exec",
    "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo from sh; ls /proc/self/fd | wc -l; exit 3'])\n",
    expect="from sh",
    variant="strict",
    log="exit status 3",
)
add(
    "exec-itself",
    "import os, sys\nif len(sys.argv) < 2:\n    os.execv(sys.executable, sys.orig_argv + ['again'])\nprint(sys.argv, sys.orig_argv)\n",
    expect="again",
)
MULTI = r"""
import multiprocessing, os, sys
def work(n):
    return n * n, __name__, multiprocessing.current_process().name, sys.argv
class Thing:
    def __init__(self, n): self.n = n
def use(thing):
    return thing.n
if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    print(multiprocessing.current_process(), multiprocessing.parent_process(), multiprocessing.active_children(),
          multiprocessing.get_start_method())
    with context.Pool(1) as pool:
        print(pool.map(work, [3]), pool.map(use, [Thing(5)]))
    queue = context.Queue()
    one = context.Process(target=queue.put, args=("through",))
    one.start(); print(queue.get()); one.join()
    print(one.exitcode, one.name)
    failing = context.Process(target=sys.exit, args=(2,))
    failing.start(); failing.join(); print(failing.exitcode)
"""
for _method in ("fork", "spawn", "forkserver"):
    add(
        f"multiprocessing-{_method}",
        MULTI.replace("METHOD", _method),
        expect="through",
        normal=((r"ForkServerP", "P"),),
    )
add(
    "futures",
    r"""
import concurrent.futures, multiprocessing
def work(n): return n + 1
if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        print(list(pool.map(work, range(3))))
""",
    expect=r"\[1, 2, 3\]",
)
add(
    "asyncio",
    r"""
import asyncio, signal
async def main():
    print(asyncio.current_task().get_name(), asyncio.get_running_loop().get_debug())
    tasks = [asyncio.create_task(asyncio.sleep(0.001, n)) for n in range(3)]
    print(await asyncio.gather(*tasks), tasks[0].get_name())
    process = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=asyncio.subprocess.PIPE)
    print(await process.communicate(), process.returncode)
    print(await asyncio.to_thread(lambda: "thread"))
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, done.set_result, "signal")
    signal.raise_signal(signal.SIGUSR1)
    print(await done)
print(asyncio.run(main()) or asyncio.get_event_loop_policy().__class__)
""",
    expect="Task-1 False",
    again=True,
)
add(
    "sub-interpreter",
    r"""
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
one = interpreters.create()
sys.stdout.flush()
print(interpreters.run_string(one, "import sys; print('inside', sys.argv, sys.path[:1], sorted(sys.modules)); sys.stdout.flush()"))
interpreters.destroy(one)
print(len(interpreters.list_all()))
""",
    expect="inside",
    normal=((r"^inside \[.*?\] \[.*?\]", "inside ARGV PATH"),),
    declared="another interpreter of the process begins with the command line of the fork server",
)
add(
    "traced",
    r"""
import sys
seen = []
def trace(frame, event, argument):
    seen.append((event, frame.f_code.co_name, frame.f_lineno))
    return trace
def f():
    return 1
sys.settrace(trace)
f()
sys.settrace(None)
print(seen, sys.gettrace())
import sys
if hasattr(sys, "monitoring"):
    print([sys.monitoring.get_tool(n) for n in range(6)])
""",
    expect="call",
)
add(
    "profiled-to-the-end",
    r"""
import atexit, sys
seen = []
def profile(frame, event, argument):
    seen.append((event, getattr(argument, "__name__", frame.f_code.co_name), frame.f_code.co_filename.rpartition("/")[2]))
atexit.register(lambda: (sys.setprofile(None), print(seen)))
def f():
    return 1
sys.setprofile(profile)
f()
""",
    expect="call",
    normal=((r"\('c_(call|return)', 'locked', 'threading.py'\), ", ""),),
    declared="Python 3.11's threading does not list the main thread's lock after a fork",
)
add(
    "traced-error",
    "import sys\nsys.settrace(lambda *a: print(a[1], a[0].f_code.co_name) and None)\ndef f(): 1 / 0\nf()\n",
    expect="call f",
    log="ZeroDivisionError",
)
