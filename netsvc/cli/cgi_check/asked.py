# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-globals
# ruff: noqa: C402 - any Python from 2.7 on reads this
"""Run by the interpreter of scripts, any Python from 2.7 on: what is wrong with them for it. Nothing of them is run.

Reads a JSON list of files from stdin; prints one JSON object: the version, and for each file its syntax error (line and
text) or null, and the modules that it imports at its top and that are not there (name and line).
"""

import ast
import json
import os
import sys
import warnings


def _names(node):
    """The first names of the modules that a statement imports, and its line."""
    if isinstance(node, ast.Import):
        return [(one.name.split(".")[0], node.lineno) for one in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [(node.module.split(".")[0], node.lineno)]
    return []


def _top(body):
    """The imports that are certain to run: not those in functions, conditions, or a try that expects them to fail."""
    for node in body:
        for found in _names(node):
            yield found
        if isinstance(node, ast.With):
            for found in _top(node.body):
                yield found


def _is_there(name, directory):
    if name in sys.builtin_module_names or name in sys.modules:
        return True
    mine = os.path.dirname(os.path.abspath(__file__))
    path = [directory] + [one for one in sys.path if one and os.path.abspath(one) != mine]
    try:
        from importlib.machinery import PathFinder
    except ImportError:  # pragma: no cover - Python 2
        import imp

        try:
            imp.find_module(name, path)
        except ImportError:
            return False
        return True
    from importlib.util import find_spec

    if PathFinder.find_spec(name, path) is not None:
        return True
    sys.path[:] = path[1:]
    return find_spec(name) is not None


def look(file):
    """What is wrong with one script."""
    with open(file, "rb") as stream:
        source = stream.read()
    if b"PK\x05\x06" in source[-65558:]:  # a zip file with a first line, as zipapp makes them
        return {"error": None, "missing": []}
    try:
        tree = ast.parse(source, file)
        compile(source, file, "exec", 0, True)
    except SyntaxError as error:
        return {"error": [error.lineno or 0, str(error.msg)], "missing": []}
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:  # a NUL in it, too deep
        return {"error": [0, str(error)], "missing": []}
    missing = []  # type: list[tuple[str, int]]
    for name, line in _top(tree.body):
        try:
            there = _is_there(name, os.path.dirname(os.path.realpath(file)))
        except Exception:  # noqa: BLE001
            there = True  # a finder of somebody's own: not to be judged from here
        if not there and name not in [one for one, _ in missing]:
            missing.append((name, line))
    return {"error": None, "missing": missing}


def main():
    """Answer."""
    warnings.simplefilter("ignore")
    files = json.loads(sys.stdin.read())
    sys.stdout.write(json.dumps({"version": list(sys.version_info[:3]), "files": dict((f, look(f)) for f in files)}))


if __name__ == "__main__":
    main()
