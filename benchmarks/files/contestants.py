"""Servers of files on free loopback ports, each with a directory of its own: netsvc, OpenSSH, nginx as an origin."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.contestants import Running, started, twistd

INI = """\
[http]
listen = tcp:{http}:interface=127.0.0.1
docroot = {root}
upload = yes
upload_anonymous = yes
keep_free = 0B

[sftp]
listen = tcp:{sftp}:interface=127.0.0.1
root = {root}
users = bench
authorized_keys = {keys}
keep_free = 0B
"""
SSHD = """\
ListenAddress 127.0.0.1
Port {ssh}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {keys}
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp /usr/lib/openssh/sftp-server
"""
NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{http}; root {root}; }}
}}
"""


def make_key(path: Path) -> Path:
    """An ed25519 key without a passphrase; its public half has the suffix .pub."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def netsvc(root: Path, keys: Path) -> Running:
    """netsvc, which takes files into a directory by HTTP and SFTP.

    :param keys: an authorized_keys file.
    """

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        (directory / "netsvc.ini").write_text(INI.format(root=root, keys=keys, **ports))
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started("netsvc", command, ("http", "sftp"))


def openssh(keys: Path) -> Running:
    """OpenSSH's own server for whoever runs this, with its sftp-server."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        if os.getuid() == 0:  # its privilege separation
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        make_key(directory / "host_key")
        (directory / "sshd_config").write_text(SSHD.format(directory=directory, keys=keys, **ports))
        return [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(directory / "sshd_config")]

    return started("openssh", command, ("ssh",))


def nginx(root: Path) -> Running:
    """nginx, which serves a directory."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        config = NGINX.format(directory=directory, root=root, **ports)
        if os.getuid() == 0:
            config = f"user {getpass.getuser()};\n" + config
        (directory / "nginx.conf").write_text(config)
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]

    return started("nginx", command, ("http",))
