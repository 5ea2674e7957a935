"""On which terms a store takes files."""

from __future__ import annotations

from attrs import frozen

from netsvc.filestore.access import Access

WEEK = 7 * 86400.0  # seconds


@frozen(kw_only=True)
class Terms:
    """What holds for one root and one account.

    :param quota: octets in all files beneath the root, partial ones too; None for any.
    :param keep_free: octets that stay free on the disk.
    :param max_file_size: octets; None for any.
    :param keep_partials: seconds that an upload which was cut off waits for its rest.
    :param unfinished: lasting uploads that one owner may have begun and not finished; None for any number.
        Of uploads that are nobody's in particular, each source.
    :param windows_names: whether names that Windows has not are refused.
    :param case_twins: whether two names in one directory may differ in case only.
    :param follow: ``inside`` follows symbolic links that stay beneath the root, ``no`` follows none.
    :param file_mode: permissions of published files.
    :param directory_mode: permissions of new directories.
    """

    access: Access = Access.FULL
    quota: int | None = None
    keep_free: int = 0
    max_file_size: int | None = None
    keep_partials: float = WEEK
    unfinished: int | None = None
    windows_names: bool = False
    case_twins: bool = False
    follow: str = "inside"
    file_mode: int = 0o644
    directory_mode: int = 0o755
