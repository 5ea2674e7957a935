"""The other half of the fork server's program: what it asks of the C library and the kernel past the interpreter.

Read by forkserver.py, under the same rules: no imports but where they are used, nothing of netsvc. Everything here
saves time, and everything has a slower equivalent in forkserver.py for interpreters without _ctypes.
"""

# mypy: ignore-errors
# ruff: noqa: PLC0415

# clone(2): the new process is a child of the caller's parent, and the C library of both knows its thread's number.
CLONE = 0x8000 | 0x0020_0000 | 0x0100_0000  # CLONE_PARENT | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID
CALLS = {  # of clone, set_robust_list and get_robust_list
    "x86_64": (56, 273, 274),
    "aarch64": (220, 99, 100),
    "riscv64": (220, 99, 100),
}
PR_SET_NAME = 15
PR_GET_TID_ADDRESS = 40
ROBUST = 24  # octets of struct robust_list_head


def c_library():
    """Four functions, or None when this is not a C library or a machine that is known here.

    - fork(): as os.fork(), but the child's parent is the parent of this process, at once. Without a second fork, or a
      process between that has to end first. -1 when there is none. What else fork(3) does is for other threads, which
      there are not, and the handlers of pthread_atfork(3), which neither the interpreter nor what a layer may import
      relies on: OpenSSL and the library's own random numbers look at the process's number instead.
    - clear_environment(): as unsetenv(3) for each variable.
    - write(address, octets): into this process's own memory.
    - rename(octets): as to /proc/self/comm.
    """
    import posix
    import sys

    calls = CALLS.get(posix.uname().machine)
    if calls is None or sys.maxsize < 1 << 32:
        return None
    try:
        posix.confstr("CS_GNU_LIBC_VERSION")
        import _ctypes
    except (ValueError, OSError, ImportError):
        return None

    class Long(_ctypes._SimpleCData):
        _type_ = "l"

    class Octets(_ctypes._SimpleCData):
        _type_ = "z"

    class Call(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_PYTHONAPI  # holds the interpreter's lock
        _restype_ = Long

    library = _ctypes.dlopen(None, 2)

    def function(name, *arguments):
        found = Call(_ctypes.dlsym(library, name))
        found.argtypes = arguments
        return found

    try:
        syscall = function("syscall", *[Long] * 6)
        prctl = function("prctl", Long, Octets, Long, Long, Long)
        control = function("prctl", *[Long] * 5)
        clear = function("clearenv")
        write = function("memmove", Long, Octets, Long)
        before, child, parent = (
            function("PyOS_" + name) for name in ("BeforeFork", "AfterFork_Child", "AfterFork_Parent")
        )
    except OSError:
        return None
    clone, set_robust, get_robust = calls
    told = Long(0), Long(0)
    at = [_ctypes.addressof(one) for one in told]
    if control(PR_GET_TID_ADDRESS, at[0], 0, 0, 0) or not told[0].value:
        return None
    thread = told[0].value
    number = Long(0)
    write_from = function("memmove", Long, Long, Long)
    write_from(_ctypes.addressof(number), thread, 4)
    if number.value != posix.getpid():  # as in musl, where it is not what a thread has for its number
        return None
    if syscall(get_robust, 0, at[0], at[1], 0, 0) or told[1].value != ROBUST:
        return None
    robust = told[0].value

    def fork():
        before()
        pid = syscall(clone, CLONE | 17, 0, 0, thread, thread)  # SIGCHLD; the last two stand in either order
        if pid:
            parent()
        else:
            syscall(set_robust, robust, ROBUST, 0, 0, 0)
            child()
        return pid

    return (
        fork,
        clear,
        lambda address, octets: write(address, octets, len(octets)),
        lambda octets: prctl(PR_SET_NAME, octets, 0, 0, 0),
    )
