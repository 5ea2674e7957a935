"""Options of a service that takes files. No Twisted."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.filestore.access import Access
from netsvc.filestore.terms import WEEK, Terms

_LARGEST = 1 << 60  # octets; ext4 ends at 2^44, XFS at 2^63


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class StoreSettings:
    """How much is taken, and what it may be called."""

    quota: int | None = option(
        values.optional(values.size(1, _LARGEST)),
        default=None,
        help="Octets in all files beneath one root together, those that are still coming too.",
    )
    keep_free: int = option(
        values.size(0, _LARGEST), default=64 << 20, help="Room that stays free on the disk: uploads end before that."
    )
    max_file_size: int | None = option(
        values.optional(values.size(1, _LARGEST)), default=None, help="The longest file that is taken."
    )
    keep_partials: float = option(
        values.duration(60, 52 * WEEK),
        default=WEEK,
        help="How long an upload that was cut off waits, hidden, for its rest.",
    )
    windows_names: bool = option(
        values.boolean(), default=False, help="Refuse names that Windows has not, such as aux.txt or a:b."
    )

    def terms(self, access: Access = Access.FULL, follow: str = "inside") -> Terms:
        """The terms of an account."""
        return Terms(
            access=access,
            quota=self.quota,
            keep_free=self.keep_free,
            max_file_size=self.max_file_size,
            keep_partials=self.keep_partials,
            windows_names=self.windows_names,
            follow=follow,
        )
