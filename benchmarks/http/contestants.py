"""The HTTP servers, each an ordinary process on loopback with a configuration of its own in a temporary directory.

One worker each, no access log, the same site. What a peer has for speed by its own manual is on; what it would limit
(requests of a connection, connections of an address) is off.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks.contestants import HERE, Running, started, twistd
from benchmarks.http.site import Site
from benchmarks.processes import ServerFailedError

PORTS = ("http", "https")


@cache
def offers(option: str) -> bool:
    """Whether netsvc's http kind has an option."""
    program = str(Path(sys.executable).parent / "netsvc")
    text = subprocess.run([program, "kinds", "http"], capture_output=True, text=True, check=True).stdout
    return f"\n{option} = " in text


NETSVC_INI = """\
[http]
listen =
    tcp:{http}:interface=127.0.0.1
    ssl:{https}:interface=127.0.0.1:certKey={site.directory}/server.crt:privateKey={site.directory}/server.key
docroot = {site.root}
listing = yes
access_log = no
max_connections = 50000
max_connections_per_source = 50000
cgi_crash_on = signal
"""


def netsvc(site: Site, warm: str = "auto", name: str = "netsvc") -> Running:
    """netsvc as users run it, with its admission, limits and counters; only the limits are raised."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        text = NETSVC_INI.format(site=site, **ports)
        if offers("cgi_warm"):
            text += f"cgi_warm = {warm}\n"
        (directory / "netsvc.ini").write_text(text)
        return [twistd(), "-n", "--pidfile=", "netsvc", "--config", "netsvc.ini"]

    return started(name, command, PORTS)


def netsvc_exec(site: Site) -> Running:
    """netsvc that starts an interpreter for each request."""
    return netsvc(site, "off", "netsvc-exec")


NGINX = """\
daemon off;
worker_processes 1;
{user}
pid {directory}/pid;
error_log {directory}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
    types {{ text/plain txt; text/html html; }}
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 60;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} ssl http2 backlog=4096;
        http2_max_concurrent_streams 256;
        ssl_certificate {site.directory}/server.crt;
        ssl_certificate_key {site.directory}/server.key;
        root {site.root};
        autoindex on;
    }}
}}
"""


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise ServerFailedError(f"{name} is not installed: see benchmarks/install-peers")
    return found


def _user(line: str) -> str:
    """A line of a configuration that is for root only."""
    import os

    return line if os.getuid() == 0 else ""


def nginx(site: Site) -> Running:
    """nginx, one worker, sendfile."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        text = NGINX.format(site=site, directory=directory, user=_user("user root;"), **ports)
        (directory / "nginx.conf").write_text(text)
        return [_program("nginx"), "-p", str(directory), "-e", str(directory / "error.log"), "-c", "nginx.conf"]

    return started("nginx", command, PORTS)


APACHE = """\
ServerRoot {directory}
ServerName localhost
DefaultRuntimeDir {directory}
PidFile {directory}/pid
ErrorLog {directory}/error.log
Listen 127.0.0.1:{http}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule cgid_module {modules}/mod_cgid.so
{user}
ScriptSock {directory}/cgid.sock
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
DocumentRoot {site.root}
ScriptAlias /cgi-bin/ {site.root}/cgi-bin/
<Directory {site.root}>
    Require all granted
</Directory>
"""


def apache(site: Site) -> Running:
    """Apache with mod_cgid, one process of 64 threads."""
    modules = next((one for one in ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules") if Path(one).is_dir()), "")

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        directory.chmod(0o755)
        user = _user("User nobody\nGroup nogroup")  # Apache is not built to serve as root
        (directory / "apache.conf").write_text(
            APACHE.format(site=site, directory=directory, modules=modules, user=user, **ports)
        )
        return [_program("apache2"), "-DFOREGROUND", "-d", str(directory), "-f", str(directory / "apache.conf")]

    return started("apache", command, ("http",))


LIGHTTPD = """\
server.document-root = "{site.root}"
server.bind = "127.0.0.1"
server.port = {http}
server.modules = ( "mod_dirlisting", "mod_cgi" )
server.errorlog = "{directory}/error.log"
server.upload-dirs = ( "{directory}" )
server.max-keep-alive-requests = 100000000
server.max-keep-alive-idle = 60
server.max-fds = 16384
server.listen-backlog = 4096
server.max-request-size = 0
dir-listing.activate = "enable"
mimetype.assign = ( ".txt" => "text/plain", "" => "application/octet-stream" )
$HTTP["url"] =~ "^/cgi-bin/" {{ cgi.assign = ( "" => "" ) }}
"""


def lighttpd(site: Site) -> Running:
    """lighttpd with mod_cgi, one worker."""

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        (directory / "lighttpd.conf").write_text(LIGHTTPD.format(site=site, directory=directory, **ports))
        return [_program("lighttpd"), "-D", "-f", "lighttpd.conf"]

    return started("lighttpd", command, ("http",))


def _python(name: str, script: str) -> Callable[[Site], Running]:
    def start(site: Site) -> Running:
        def command(ports: dict[str, int], _: Path) -> list[str]:
            return [sys.executable, str(HERE / "peers" / script), str(ports["http"]), str(site.root)]

        return started(name, command, ("http",))

    start.__doc__ = f"See peers/{script}."
    return start


def twisted_web(site: Site) -> Running:
    """The static server that Twisted ships. Its access log cannot be turned off; it goes to a file.

    Not to /dev/null: Twisted renames what it logs to when that has grown, and /dev/null is gone.
    """

    def command(ports: dict[str, int], directory: Path) -> list[str]:
        listen = f"tcp:{ports['http']}:interface=127.0.0.1"
        web = ["web", "--logfile", str(directory / "access.log"), "--listen", listen, "--path", str(site.root)]
        return [twistd(), "-n", "--pidfile=", *web]

    return started("twisted-web", command, ("http",))


PYTHON: dict[str, Callable[[Site], Running]] = {
    "aiohttp": _python("aiohttp", "http_aiohttp.py"),
    "starlette": _python("starlette", "http_starlette.py"),
    "http.server": _python("http.server", "http_server.py"),
    "twisted-web": twisted_web,
}
ALL: dict[str, Callable[[Site], Running]] = {
    "netsvc": netsvc,
    "netsvc-exec": netsvc_exec,
    "nginx": nginx,
    "apache": apache,
    "lighttpd": lighttpd,
    **PYTHON,
}
