"""Knows the MTA-STS policy of a domain: asks the DNS for its id, fetches what changed, keeps it as long as it holds.

A policy that was seen once counts until its max_age is over, whatever the DNS and the web server say meanwhile, so that
who can cut them off gains nothing (RFC 8461 10.2). So it is also kept on disk: a small JSON file, replaced as a whole.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from attrs import frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from netsvc.services.smtp_client.routing.answers import Resolve
from netsvc.services.smtp_client.routing.cache import Cache
from netsvc.services.smtp_client.routing.mta_sts import MAX_AGE, BadPolicy, Policy, policy_id, read_policy
from netsvc.services.smtp_client.routing.sts_fetch import FetchError

MAX_DOMAINS = 2000  # whose policies are kept, ours; who is not written to for longest goes first
RETRY = 300.0  # seconds after a failed fetch, RFC 8461 3.3: five minutes or longer

log = Logger()


@frozen
class Kept:
    """A policy as it is kept.

    :param fetched: seconds since 1970.
    """

    id: str
    fetched: float
    policy: Policy

    def holds(self, now: float) -> bool:
        """Whether it counts. What comes from the future, by a clock that was wrong, counts no longer than it may."""
        return now < self.fetched + self.policy.max_age and self.fetched <= now + MAX_AGE

    def fresh(self, now: float) -> bool:
        """Whether it need not be fetched again yet: in the second half of its time it is, while there is time."""
        return now < self.fetched + self.policy.max_age / 2


class StsPolicies:
    """Policies by domain.

    :param fetch: domain -> octets of its policy; raises FetchError.
    :param path: the file.
    :param now: seconds since 1970.
    :param seconds: seconds of a clock that never jumps.
    :param in_thread: runs blocking work elsewhere.
    """

    def __init__(
        self,
        resolver: Resolve,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        path: Path,
        now: Callable[[], float],
        seconds: Callable[[], float],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._resolver = resolver
        self._fetch = fetch
        self._path = path
        self._now = now
        self._in_thread = in_thread
        self._failed: Cache[tuple[str, str], bool] = Cache(seconds, MAX_DOMAINS)
        self._loaded: OrderedDict[str, Kept] | None = None
        self._saving = False
        self._changed = False
        self._locks: WeakValueDictionary[str, DeferredLock] = WeakValueDictionary()

    @property
    def _kept(self) -> OrderedDict[str, Kept]:
        """What is kept; the file is read when somebody asks first."""
        if self._loaded is None:
            self._loaded = load(self._path)
        return self._loaded

    async def policy(self, domain: str) -> Policy | None:
        """What a domain wants, or None; never raises but when it is cancelled.

        :param domain: in A-labels.
        """
        now = self._now()
        kept = self._kept.get(domain)
        if kept is not None and not kept.holds(now):
            kept = None
        elif kept is not None:
            self._kept.move_to_end(domain)
        answer = await self._resolver.txt(f"_mta-sts.{domain}")
        current = policy_id(answer.records)
        if current is not None and not (kept and kept.id == current and kept.fresh(now)):
            kept = await self._refreshed(domain, current) or kept
        return kept.policy if kept else None

    async def _refreshed(self, domain: str, current: str) -> Kept | None:
        lock = self._locks.setdefault(domain, DeferredLock())
        await lock.acquire()
        try:
            kept = self._kept.get(domain)
            if kept and kept.id == current and kept.fresh(self._now()):
                return kept  # somebody else's fetch has ended meanwhile
            return await self._fetched(domain, current)
        finally:
            lock.release()

    async def _fetched(self, domain: str, current: str) -> Kept | None:
        if self._failed.get((domain, current)):
            return None
        try:
            policy = read_policy(await self._fetch(domain))
        except (FetchError, BadPolicy) as error:
            self._failed.put((domain, current), True, RETRY)
            log.warn(
                "the MTA-STS policy of {domain} cannot be had: {reason}",
                event="mta-sts-failed",
                domain=domain,
                reason=str(error),
            )
            return None
        kept = Kept(current, self._now(), policy)
        self._kept[domain] = kept
        self._kept.move_to_end(domain)
        while len(self._kept) > MAX_DOMAINS:
            self._kept.popitem(last=False)
        await self._save()
        return kept

    async def _save(self) -> None:
        """Write the file; where that is under way, once more after it."""
        self._changed = True
        if self._saving:
            return
        self._saving = True
        try:
            while self._changed:
                self._changed = False
                await self._in_thread(save, self._path, dict(self._kept))
        except OSError as error:
            log.warn(
                "{path}: MTA-STS policies cannot be kept on disk: {reason}",
                event="mta-sts-not-kept",
                path=str(self._path),
                reason=error.strerror,
            )
        finally:
            self._saving = False


def save(path: Path, kept: dict[str, Kept]) -> None:
    """Replace the file by one with these, and with what others have put there meanwhile: delivery agents keep it, too.

    :raises OSError: it could not be written, and the old one stands.
    """
    there = load(path)
    newest = {
        domain: one if domain not in there or there[domain].fetched <= one.fetched else there[domain]
        for domain, one in kept.items()
    }
    others = {domain: one for domain, one in there.items() if domain not in kept}
    found = {
        domain: {
            "id": one.id,
            "fetched": one.fetched,
            "mode": one.policy.mode,
            "max_age": one.policy.max_age,
            "mx": one.policy.patterns,
        }
        for domain, one in list({**others, **newest}.items())[-MAX_DOMAINS:]
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")  # delivery agents write it as well
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"version": 1, "policies": found}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def load(path: Path) -> OrderedDict[str, Kept]:
    """What the file holds; nothing where there is none, and what can be read of one that is damaged."""
    kept: OrderedDict[str, Kept] = OrderedDict()
    try:
        found = json.loads(path.read_bytes())["policies"].items()
    except FileNotFoundError:
        return kept
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warn("{path}: the kept MTA-STS policies cannot be read", event="mta-sts-unreadable", path=str(path))
        return kept
    for domain, one in found:
        with suppress(ValueError, KeyError, TypeError):
            fields = [f"mode: {one['mode']}", f"max_age: {one['max_age']}", *(f"mx: {name}" for name in one["mx"])]
            policy = read_policy("\n".join(["version: STSv1", *fields]).encode())
            kept[domain] = Kept(str(one["id"]), float(one["fetched"]), policy)
    return kept
