"""The part of the fork server that sees to the end of children.

The interpreter of a child ends as always: threads joined, atexit run, streams flushed, the modules cleared in the order
in which it does that. Most of that takes apart what has no effect but time, and it is most of what a short script
costs. So a child exits as soon as nothing is left whose end somebody could notice: at once when a script has made
nothing of the kind (`ended`), or else once the modules that it has imported are cleared, and the interpreter comes to
those that were there when it began (`watch_end`). Otherwise it goes on.
"""

# mypy: ignore-errors
# ruff: noqa: PLC0415, PLR0915, PLR0917

import sys

# Modules of the library whose objects do something at their end, and are not known to the collector: they flush or
# close what is not the kernel's to close. Those that register with atexit are found there.
DOERS = frozenset("_ctypes _curses _dbm _gdbm _tkinter faulthandler readline threading".split())  # noqa: SIM905


def hush(run, gone, ours):
    """Arrange that a script's own tracer and profiler see nothing of `program`, which has no frame to show them.

    They are taken away when `run` ends, and are put back when `gone` does, which is when the frame of `program` is
    cleared. Weak references tell; what they call is made of builtins alone, of which no tracer is told.

    :param ours: gets what `watch_end` does not look at.
    :returns: two lists that get what was taken away, and what has to live until then.
    """
    from _weakref import ref

    taken = [], []
    method = type(hush.__get__(0))
    held = []
    for get, put, kept in ((sys.gettrace, sys.settrace, taken[0]), (sys.getprofile, sys.setprofile, taken[1])):
        take = zip(map(kept.append, iter(get, None)), map(put, [None]))  # noqa: B905
        # next(take, the reference): the first step of `take`, if there is one.
        held += [ref(run, method(next, take)), ref(gone, method(next, map(put, kept)))]
    ours += held
    return (*taken, held)


def plain_types():
    """The types of objects whose end does nothing but free memory, and end what they alone refer to.

    :returns: these, and those of them that classes of scripts may be derived from.
    """
    from _io import BytesIO, StringIO

    function = type(plain_types)
    bootstrap = sys.modules["_frozen_importlib_external"]
    spec = getattr(sys.modules.get("codecs"), "__spec__", None)
    bases = {object, dict, list, tuple, set, frozenset, str, int, float, complex, bytes, bytearray}
    bases |= {BytesIO, StringIO}
    for module, names in (("_collections", "OrderedDict defaultdict deque"), ("_functools", "partial")):
        if module in sys.modules:
            bases.update(getattr(sys.modules[module], name) for name in names.split())
    for one in vars(sys.modules["builtins"]).values():
        if type(one) is type and issubclass(one, BaseException):
            bases.add(one)
    plain = {function, type(len), type(sys), type, type([].append), type((lambda: bases).__closure__[0])}
    plain |= {staticmethod, classmethod, property, type(plain_types.__get__(0)), type(sys.flags)}
    plain |= {type(vars(type)["__mro__"]), type(vars(list)["append"]), type(vars(list)["__len__"])}
    plain |= {type(vars(type)["__dict__"]), type(type.__dict__), type(vars(dict)["fromkeys"])}
    plain |= {type(sys.modules["abc"].ABC.__dict__.get("_abc_impl")), type(spec), type(getattr(spec, "loader", None))}
    plain |= {type(finder) for finder in sys.path_importer_cache.values()}
    plain |= {bootstrap.SourceFileLoader, bootstrap.ExtensionFileLoader}
    plain.update(kind for kind in object.__subclasses__() if kind.__name__ in ("frame", "traceback"))
    plain |= {map, zip, filter, enumerate, reversed, slice, type(iter(int, 1)), type(iter(range(0)))}
    plain |= {type(iter(kind())) for kind in (list, tuple, set, dict, str, bytes)}
    plain |= {type(view()) for view in ({}.keys, {}.values, {}.items)}
    return frozenset(plain | bases), frozenset(bases)


def watch_end(gc, library):
    """Arrange that a child which has ended, and has nothing left that could show, does not take the rest apart.

    The interpreter clears the modules that a script has imported before those that were there when it began. When it
    comes to the latter (a weak reference tells of the first of them), and no object that the script has made lives but
    plain ones, the process exits.

    :param library: files of modules whose classes have methods for their end (`__del__`) that are known to do nothing.
    :returns: a list that gets the exit status once it is known and this may be done, and some list that the child has
        made; a list of what is not looked at; and a function that exits with a status unless something is left.
    """
    import posix
    from _weakref import ref

    armed = [None, None]
    ours = []
    function = type(watch_end)
    builtin = type(len)
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
    plain, bases = plain_types()
    coders = (sys.modules["codecs"].IncrementalEncoder, sys.modules["codecs"].IncrementalDecoder)
    # The names of a class and what it is derived from, whatever its metaclass says.
    mro_of, names_of, flags_of = (vars(type)[name].__get__ for name in ("__mro__", "__dict__", "__flags__"))
    objects = gc.get_objects

    # What these need is theirs: when they are called, modules may be empty, and builtins replaced.
    def own_end(kind, type=type):
        """Whether a class has a method for the end of its instances that is not known to do nothing."""
        for one in mro_of(kind):
            end = names_of(one).get("__del__")
            if end is not None and (type(end) is not function or end.__code__.co_filename not in library):
                return True
        return False

    def harmless(kind, type=type, issubclass=issubclass):
        """Whether the end of an instance does nothing: none of its classes has a say in that."""
        if own_end(kind):
            return False
        if issubclass(kind, type) or (issubclass(kind, coders) and names_of(kind)["__module__"][:10] == "encodings."):
            return True
        for one in mro_of(kind):
            # Of C's are types that are not of the heap, not to be instantiated or changed, or have a constructor.
            if one not in bases and (flags_of(one) & 0x380 != 0x200 or type(names_of(one).get("__new__")) is builtin):
                return flags_of(one) & 0x80 and names_of(one).get("__module__") == "re"
        return True

    def leave(status, exit=posix._exit, type=type, issubclass=issubclass, set=set, sys=sys, every=BaseException):
        """Exit, unless something is left."""
        checked = set(plain)
        probe = armed[1]
        hidden = True  # from the collector, by the script
        for one in objects():
            kind = type(one)
            if kind in checked:
                if one is probe:
                    hidden = False
                continue
            if issubclass(kind, ref):
                back = one.__callback__
                # Of abstract classes: forgets who was asked about.
                if back is None or (type(back) is builtin and back.__name__ == "_destroy"):
                    continue
            elif harmless(kind):
                checked.add(kind)
                continue
            for known in ours:
                if one is known:
                    break
            else:
                return
        if hidden:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except every:
            return
        exit(status)

    def cleared(_):
        if armed[0] is not None:
            leave(armed[0])
            armed[0] = None

    held = [module for name, module in sys.modules.items() if name != "__main__"]
    # Out of everybody's sight; called without effect before forks.
    posix.register_at_fork(before=[held, chosen and ref(chosen, cleared), armed, ours, leave].copy)
    return armed, ours, leave


def watch_script():
    """What tells, at a script's end, whether its end can show: see `ended`."""
    from _thread import _count
    from _warnings import filters
    from atexit import _ncallbacks

    return filters, list(filters), _ncallbacks, _count


def ended(code, end, base, own, type=type, int=int, str=str, sys=sys):
    """A script has ended with this code: exit, or arm what `watch_end` has arranged.

    Only when no C code but the standard library's was loaded: such could have streams of its own to flush.

    :param own: the directory of the standard library's extension modules.
    """
    (armed, _, leave), (filters, had, callbacks, threads), (stdout, stderr) = end
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
    warnings = sys.modules.get("warnings")
    # Whether anybody is told of what was not closed.
    told = sys.warnoptions or filters != had or (warnings is not None and warnings.filters is not filters)
    replaced = sys.stdout is not stdout or sys.stderr is not stderr
    if not told and not replaced and DOERS.isdisjoint(sys.modules) and not callbacks() and not threads():
        leave(code or 0)
    armed[0] = code or 0
