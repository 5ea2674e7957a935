"""The options of mounted resources, which every scope of an http service has. Imports no Twisted."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class MountSettings:
    """What answers beside files and scripts."""
