"""Origins for downloads: nginx with a configuration of its own, and a server that does as its script says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import ssl
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port
from tests.runtime.certificates import make_certificate
from tests.waiting import wait_until

_NGINX = """\
daemon off; worker_processes 1; pid {state}/pid; error_log {state}/error.log; {user}
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; default_type application/octet-stream;
    client_body_temp_path {state}/a; proxy_temp_path {state}/b; fastcgi_temp_path {state}/c;
    uwsgi_temp_path {state}/d; scgi_temp_path {state}/e;
    server {{
        listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {state}/localhost.crt; ssl_certificate_key {state}/localhost.key;
        root {root};
        location /slow/ {{ alias {root}/; limit_rate 1m; }}
        location /down {{ return 302 http://localhost:{port}/a; }}
        location /busy {{ add_header Retry-After 7 always; return 503; }}
        {more}
    }}
}}
"""


class Nginx:
    """A running nginx.

    :ivar url: of its plain port.
    :ivar tls_url: of its port with TLS.
    :ivar ca_file: the certificate to believe.
    """

    def __init__(self, port: int, tls_port: int, ca_file: Path) -> None:
        self.url = f"http://localhost:{port}"
        self.tls_url = f"https://localhost:{tls_port}"
        self.ca_file = ca_file


@contextmanager
def nginx(root: Path, state: Path, more: str = "") -> Iterator[Nginx]:
    """Serve a directory. /slow/ is limited to 1 MB/s, /down leads from https to http, /busy is 503.

    :param state: an empty directory for what nginx writes.
    :param more: lines of the server's block.
    """
    port, tls_port = free_port(), free_port()
    ca_file, _ = make_certificate(state, "localhost")
    configuration = state / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(_NGINX.format(state=state, root=root, port=port, tls_port=tls_port, user=user, more=more))
    process = subprocess.Popen(["nginx", "-p", str(state), "-e", str(state / "error.log"), "-c", str(configuration)])
    try:
        wait_until(lambda: all(map(_answers, (port, tls_port))), "nginx does not start")
        yield Nginx(port, tls_port, ca_file)
    finally:
        process.terminate()
        process.wait(120)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def faulty(script: Callable[[socket.socket, bytes], None], pem: tuple[Path, Path] | None = None) -> Iterator[int]:
    """A server that runs a script for each connection, with the head of its request; the port.

    :param script: when it returns the TCP connection is closed, over TLS without close_notify.
    :param pem: certificate and key, for TLS.
    """
    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pem)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            one = connection if context is None else context.wrap_socket(connection, server_side=True)
            with one:
                head = b""
                while b"\r\n\r\n" not in head and (data := one.recv(65536)):
                    head += data
                script(one, head)
                one.shutdown(socket.SHUT_RDWR)

    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in (accepting, *threads):
                one.join(120)


def reset(connection: socket.socket) -> None:
    """Close with an RST, once all is there that was sent: it would take along what is not."""
    wait_until(lambda: not struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
