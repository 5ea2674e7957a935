"""A private Postfix for one test: plain, STARTTLS and implicit TLS, logins by Cyrus SASL, delivery into Maildirs.

It has a directory, a queue and ports of its own; a Postfix of the machine is neither used nor disturbed. Only root can
run one, so for others it runs under sudo.
"""

from __future__ import annotations

import mailbox
import os
import shutil
import socket
import subprocess
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType

from tests.ports import free_port
from tests.services.smtp_client.certs import authority, server
from tests.waiting import wait_until

HOST = "127.0.0.1"
NAME = "localhost"
USERNAME = "anna"
PASSWORD = "Tr0ub4dor&3-never-to-be-seen"
DOMAIN = "example.com"
MAILBOXES = ("b", "c", "d", "e")
OWNER = 65534  # nobody: virtual(8) delivers as no number below 100
START_BOUND = 180.0  # seconds

MASTER = """
{plain}      inet  n - n - - smtpd -o syslog_name=postfix/plain
{starttls}   inet  n - n - - smtpd -o syslog_name=postfix/starttls -o smtpd_tls_security_level=encrypt
    -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
{implicit}   inet  n - n - - smtpd -o syslog_name=postfix/implicit -o smtpd_tls_wrappermode=yes
    -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject{logins}
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
virtual   unix  - n n -     - virtual
anvil     unix  - - n -     1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""

LOGIN = """
{port}       inet  n - n - - smtpd -o syslog_name=postfix/{mechanism} -o smtpd_tls_wrappermode=yes
    -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
    -o smtpd_sasl_path={mechanism}"""

MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
mail_owner = postfix
setgid_group = postdrop
multi_instance_enable = no
myhostname = localhost
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{owner}
virtual_gid_maps = static:{owner}
virtual_mailbox_limit = 0
message_size_limit = 50000000
smtpd_tls_chain_files = {directory}/server.pem
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {directory}/sasl
smtpd_sasl_local_domain = localhost
smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
"""

SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {directory}/sasl/sasldb2
mech_list: {mechanisms}
"""


class Postfix:
    """A running Postfix; a context manager.

    :param mechanisms: of SASL, each of which a port of its own offers alone.
    :ivar plain: port without TLS and login.
    :ivar starttls: port that requires both.
    :ivar implicit: as `starttls`, but TLS from the first octet.
    :ivar logins: mechanism -> port, as `implicit`.
    :ivar roots: the PEM file of the authority that vouches for NAME.
    """

    def __init__(self, *mechanisms: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-postfix-"))
        self.directory.chmod(0o755)
        self.plain, self.starttls, self.implicit, *more = free_ports(3 + len(mechanisms))
        self.logins = dict(zip(mechanisms, more, strict=True))
        self.roots = self.directory / "roots.pem"
        self._root = [] if os.geteuid() == 0 else ["sudo", "-n"]

    def __enter__(self) -> Postfix:
        try:
            self._prepare()
            self._run("postfix", "-c", str(self.directory), "start")
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What it has logged."""
        self._run("chmod", "a+r", str(self.directory / "log"))
        return (self.directory / "log").read_text()

    def messages(self, name: str) -> list[EmailMessage]:
        """What lies in a mailbox."""
        place = self.directory / "mail" / name
        if self._root:
            self._run("chmod", "-R", "a+rX", str(self.directory / "mail"))
        if not (place / "new").exists():
            return []
        found = [message_from_bytes(each.as_bytes(), policy=policy.default) for each in mailbox.Maildir(place)]
        return [each for each in found if isinstance(each, EmailMessage)]

    def arrived(self, name: str, count: int = 1) -> list[EmailMessage]:
        """What lies in a mailbox once there is so much."""
        return wait_until(
            lambda: (found := self.messages(name)) and len(found) >= count and found, f"no mail for {name}"
        )

    def close(self) -> None:
        """Stop it and remove its files."""
        subprocess.run([*self._root, "postfix", "-c", str(self.directory), "stop"], capture_output=True)
        if self._root:
            self._run("rm", "-rf", str(self.directory))
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _prepare(self) -> None:
        here = self.directory
        (here / "sasl").mkdir()
        (here / "mail").mkdir()
        (here / "queue").mkdir()
        (here / "data").mkdir()
        ports = {"plain": self.plain, "starttls": self.starttls, "implicit": self.implicit}
        logins = "".join(
            LOGIN.format(port=f"{HOST}:{port}", mechanism=mechanism) for mechanism, port in self.logins.items()
        )
        (here / "master.cf").write_text(
            MASTER.format(logins=logins, **{key: f"{HOST}:{port}" for key, port in ports.items()})
        )
        (here / "main.cf").write_text(MAIN.format(directory=here, domain=DOMAIN, owner=OWNER))
        (here / "mailboxes").write_text("".join(f"{name}@{DOMAIN} {name}/\n" for name in MAILBOXES))
        for name, offered in {"smtpd": "PLAIN LOGIN", **{one: one for one in self.logins}}.items():
            (here / "sasl" / f"{name}.conf").write_text(SASL.format(directory=here, mechanisms=offered))
        issued = server(NAME, HOST)
        (here / "server.pem").touch(0o600)
        (here / "server.pem").write_bytes(issued.key_pem + issued.pem)
        self.roots.write_bytes(authority("test CA").pem)
        self._run("saslpasswd2", "-p", "-c", "-u", NAME, "-f", str(here / "sasl" / "sasldb2"), USERNAME, text=PASSWORD)
        self._run("chown", "postfix", str(here / "sasl" / "sasldb2"), str(here / "data"))
        self._run("chown", f"{OWNER}:{OWNER}", str(here / "mail"))
        self._run("chown", "root", str(here), str(here / "main.cf"), str(here / "master.cf"), str(here / "queue"))

    def _run(self, *command: str, text: str = "") -> None:
        done = subprocess.run([*self._root, *command], input=text, capture_output=True, text=True)
        if done.returncode:
            log = self.directory / "log"
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")

    def _wait(self) -> None:
        for port in (self.plain, self.starttls, self.implicit, *self.logins.values()):
            wait_until(lambda port=port: _answers(port), "Postfix does not answer")


def free_ports(count: int) -> list[int]:
    """Different ports that nobody has."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), 5):
            return True
    except OSError:
        return False
