"""A real unbound on loopback that validates with the test's own trust anchors, and has its zones from files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import dns.dnssec
import dns.dnssecalgs
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import free_port
from tests.waiting import wait_until

PROGRAM = shutil.which("unbound", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or "unbound"
LIFETIME = 86400  # seconds of signatures
HEAD = "$TTL 300\n@ SOA ns admin 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
CONF = """\
server:
    interface: 127.0.0.1@{port}
    port: {port}
    do-ip6: no
    do-daemonize: no
    use-syslog: no
    logfile: ""
    chroot: ""
    username: ""
    pidfile: ""
    directory: "{directory}"
    do-not-query-localhost: no
    module-config: "validator iterator"
{anchors}
remote-control:
    control-enable: no
{zones}
"""
ANCHOR = '    trust-anchor: "{key}"\n'
ZONE = """\
auth-zone:
    name: "{name}"
    zonefile: "{file}"
    for-downstream: no
    for-upstream: yes
    fallback-enabled: no
"""


class Unbound:
    """A resolver; a context manager.

    :param zones: name -> records in zone file form, without SOA and NS.
    :param signed: the names of those that are signed, and whose keys are trusted.
    :param forged: (zone, record's owner) whose MX was changed after the zone was signed.
    """

    def __init__(
        self, zones: dict[str, str], *, signed: tuple[str, ...], forged: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-unbound-"))
        self.log = self.directory / "log"
        self.port = free_port()
        anchors, parts = "", ""
        for name, records in zones.items():
            zone = dns.zone.from_text(HEAD + records, origin=name, relativize=False)
            if name in signed:
                anchors += ANCHOR.format(key=_sign(zone))
            for owner in (owner for where, owner in forged if where == name):
                mx = zone.find_rdataset(owner, "MX")
                (true,) = mx
                mx.clear()
                mx.add(true.replace(preference=true.preference + 1))
            file = self.directory / f"{name}zone"
            zone.to_file(str(file), relativize=False)
            parts += ZONE.format(name=name, file=file)
        conf = self.directory / "unbound.conf"
        conf.write_text(CONF.format(port=self.port, directory=self.directory, anchors=anchors, zones=parts))
        self._known = next(iter(zones))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Unbound:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-d", "-c", self.directory / "unbound.conf"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            wait_until(self._answers, f"unbound does not answer: {self.log.read_text()}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self.directory)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        query = dns.message.make_query(self._known, "SOA")
        try:
            return dns.query.udp(query, "127.0.0.1", timeout=1.0, port=self.port).rcode() == dns.rcode.NOERROR
        except (OSError, dns.exception.Timeout):
            return False


def _sign(zone: dns.zone.Zone) -> str:
    """Sign all of a zone with a new key; the key as a record."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssecalgs.Algorithm.ECDSAP256SHA256, flags=257)
    dns.dnssec.sign_zone(zone, keys=[(private, key)], lifetime=LIFETIME, dnskey_ttl=300)
    return f"{zone.origin} 300 IN DNSKEY {key}"
