"""Which certificate answers for a host name. No I/O; the time is a parameter.

An exact name wins over a wildcard, which stands for one label (RFC 6125 6.4.3). Of several certificates for one name
the one that is valid, and stays so longest, answers; one of each kind of key, so that the peer's taste decides between
RSA and ECDSA. Who asks for no name, or for one that nobody has, gets the certificate called ``default``, or
else the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable

from netsvc.runtime.certificates import Certificate

DEFAULT = "default"

Chosen = tuple[Certificate, ...]  # of one kind of key each, in the order of their names


class ServerNames:
    """The choice among some certificates, at least one, at one time.

    :param now: seconds since the epoch.
    """

    def __init__(self, certificates: Iterable[Certificate], now: float) -> None:
        by_name: dict[bytes, list[Certificate]] = {}
        ordered = sorted(certificates, key=lambda one: (one.source.stem != DEFAULT, one.source.name))
        for certificate in ordered:
            for name in certificate.names:
                by_name.setdefault(name, []).append(certificate)
        self._by_name = {name: best(some, now) for name, some in by_name.items()}
        first = ordered[0]
        alike = [one for one in ordered[1:] if one.algorithm != first.algorithm and one.names >= first.names]
        self.default: Chosen = best([first, *alike], now) if first.names and first.valid_at(now) else (first,)

    def choose(self, name: bytes | None) -> Chosen:
        """The certificates for a name as a peer sends it (RFC 6066 3: A-form)."""
        if name is None:
            return self.default
        name = name.lower().rstrip(b".")
        found = self._by_name.get(name)
        if found is None:
            _, dot, parent = name.partition(b".")
            found = self._by_name.get(b"*." + parent) if dot else None
        return self.default if found is None else found

    def every_choice(self) -> set[Chosen]:
        """All that can be chosen."""
        return {self.default, *self._by_name.values()}


def best(certificates: Iterable[Certificate], now: float) -> Chosen:
    """The best of each kind of key; those that are not valid only if none is."""
    chosen: dict[str, Certificate] = {}
    for one in certificates:
        other = chosen.get(one.algorithm)
        if other is None or _rank(one, now) > _rank(other, now):
            chosen[one.algorithm] = one
    valid = [one for one in chosen.values() if one.valid_at(now)]
    if not valid:
        valid = [max(chosen.values(), key=lambda one: one.ends)]
    return tuple(sorted(valid, key=lambda one: one.source.name))


def _rank(certificate: Certificate, now: float) -> tuple[bool, float]:
    return certificate.valid_at(now), certificate.ends
