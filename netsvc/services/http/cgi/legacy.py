"""Offers the modules cgi and cgitb to Python scripts whose Python has none (3.13 removed both).

One directory goes on the scripts' PYTHONPATH. It holds nothing but a cgi.py and a cgitb.py that step aside: each
looks for the module of its name everywhere else first, so that an older Python uses its own and a script's own
installation wins, and only then takes the copy of legacy-cgi that is in a directory beside it. What else netsvc has
installed is not on anybody's path.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

MODULES = ("cgi", "cgitb")

# Runs on whatever Python a script names, 2.7 as well. PYTHONPATH stands before the standard library, so this
# module is found first; it hands its name over to the other one, which import then returns.
_STEP_ASIDE = '''\
"""Made by netsvc: the module of this name from elsewhere, or else from legacy-cgi (cgi_legacy = no turns this off)."""
import os
import sys


def _step_aside(name, here):
    path = sys.path[:]
    myself = sys.modules.pop(name, None)  # kept: Python 2 empties a module that nobody holds
    sys.path[:] = [one for one in path if os.path.realpath(one or os.curdir) != here]
    if sys.version_info >= (3, 8):
        sys.path.append(os.path.join(here, "legacy-cgi"))
    try:
        __import__(name)
    finally:
        sys.path[:] = path
        del myself


_step_aside(__name__, os.path.dirname(os.path.realpath(__file__)))
'''


def _installed() -> dict[str, bytes] | None:
    """The text of legacy-cgi's modules, or None when it is not installed."""
    try:
        package = distribution("legacy-cgi")
    except PackageNotFoundError:
        return None
    return {f"{name}.py": Path(str(package.locate_file(f"{name}.py"))).read_bytes() for name in MODULES}


def _write(file: Path, content: bytes) -> None:
    """Replace a file at once: scripts of an earlier engine may be reading it."""
    try:
        if file.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def offer(directory: Path) -> bool:
    """Make the directory; False when legacy-cgi is not installed.

    :raises OSError: it cannot be made.
    """
    modules = _installed()
    if modules is None:
        return False
    copies = directory / "legacy-cgi"
    copies.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, content in modules.items():
        _write(copies / name, content)
        _write(directory / name, _STEP_ASIDE.encode())
    return True
