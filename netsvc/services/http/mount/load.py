"""Finds the resource that a setting names. Runs the code of whoever wrote it: only when the service starts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from twisted.web.resource import IResource

from netsvc.errors import StartError
from netsvc.services.http.mount.settings import MountTarget


def load_named(target: MountTarget, path: Path | None) -> Any:
    """What stands under the dotted name.

    :param path: a directory where modules are looked for after all others, or None.
    :raise StartError: it cannot be imported, whatever the module raises; or has no such name.
    """
    if path is not None and str(path) not in sys.path:
        sys.path.append(str(path))
    try:
        found: Any = importlib.import_module(target.module)
        for name in target.name.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise StartError(f"mount: {target} cannot be imported: {_told(error)}") from error
    return found


def resource_of(target: MountTarget, found: Any) -> Any:
    """The IResource that was meant: the thing itself, its ``resource()`` as Klein has one, or what it returns.

    :raise StartError: there is none.
    """
    try:
        if not IResource.providedBy(found):
            make = getattr(found, "resource", None)
            found = make() if callable(make) else found()
    except (Exception, SystemExit) as error:
        raise StartError(f"mount: {target} gives no resource: {_told(error)}") from error
    if not IResource.providedBy(found):
        raise StartError(f"mount: {target} gives no resource: {type(found).__name__} provides no IResource")
    return found


def _told(error: BaseException) -> str:
    """One line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
