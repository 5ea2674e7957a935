"""A gateway on this machine that answers as ihuyi, Twilio, Vonage, Jasmin and Kannel document, or not at all."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

ACCOUNT, PASSWORD = "AC4711", "pa55-never-to-be-seen"
BARRED = "13900139000"  # the end of a number that every gateway refuses


@frozen
class Asked:
    """A request that came in.

    :param fields: of the form, or of the query when there is no form.
    """

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    headers: dict[str, str]
    at: float = field(factory=time.monotonic)


Answer = tuple[int, Any, dict[str, str]]


def ihuyi(asked: Asked) -> Answer:
    """One JSON object; code 2 is taken."""
    one = asked.fields
    if asked.query.get("method") != "Submit" or one.get("format") != "json":
        return 404, "", {}
    if (one.get("account"), one.get("password")) != (ACCOUNT, PASSWORD):
        return 200, {"code": 405, "msg": "API ID 或 API KEY 不正确", "smsid": "0"}, {}
    if len(one.get("mobile", "")) != 11:
        return 200, {"code": 406, "msg": f"手机号码格式不正确 {one.get('mobile')}", "smsid": "0"}, {}
    if one["mobile"] == BARRED:
        return (
            200,
            {"code": 4030, "msg": f"手机号码 {one['mobile']} 已被列入黑名单: {one['content']}", "smsid": "0"},
            {},
        )
    return 200, {"code": 2, "msg": "提交成功", "smsid": "16236519862951234567"}, {}


def twilio(asked: Asked) -> Answer:
    """201 and a resource, or an error with its own code."""
    if not asked.headers.get("authorization", "").startswith("Basic "):
        return 401, {"code": 20003, "message": "Authenticate", "status": 401}, {}
    if asked.fields["To"].endswith(BARRED):
        words = f"The 'To' number {asked.fields['To']} is not a valid phone number."
        return 400, {"code": 21211, "message": words, "status": 400}, {}
    return 201, {"sid": "SM0123456789abcdef0123456789abcdef", "status": "queued", "error_code": None}, {}


def vonage(asked: Asked) -> Answer:
    """200 always; a status for each part."""
    one = asked.fields
    if one["to"].endswith(BARRED):
        return 200, {"message-count": "1", "messages": [{"status": "7", "error-text": "Number barred"}]}, {}
    part = {"to": one["to"], "message-id": "0A0000000123ABCD1", "status": "0"}
    return 200, {"message-count": "2", "messages": [part, dict(part)]}, {}


def jasmin(asked: Asked) -> Answer:
    """A line of text."""
    if asked.fields["to"].endswith(BARRED):
        return 412, 'Error "No route found"', {}
    if ("content" in asked.fields) == ("hex-content" in asked.fields):
        return 400, 'Error "content and hex-content are both or neither there"', {}
    return 200, 'Success "07033084-5cfd-4812-90a4-e4d24ffb6e3d"', {}


def kannel(asked: Asked) -> Answer:
    """A line of text with 202."""
    if asked.method != "GET" or asked.query.get("username") != ACCOUNT:
        return 403, "Authorization failed for sendsms", {}
    return 202, "0: Accepted for delivery", {}


class Gateway:
    """Runs it; a context manager.

    :param answer: decides what to say; None is silence.
    :param certificate: PEM file of certificate and key, for https.
    :ivar asked: every request, in order.
    """

    def __init__(self, answer: Callable[[Asked], Answer | None], certificate: str | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._silence = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                gateway.serve(self)

            do_GET = do_POST

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Refused handshakes and connections that were cut are what the tests want."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._silence.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        """A URL here."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        parsed = urlsplit(handler.path)
        query = _flat(parse_qs(parsed.query, keep_blank_values=True))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        kind = handler.headers.get("Content-Type", "")
        form = json.loads(body) if "json" in kind else _flat(parse_qs(body, keep_blank_values=True))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, parsed.path, query, form or query, headers)
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer is None:
            self._silence.wait(60)
            handler.close_connection = True
            return
        status, content, more = answer
        octets = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in more.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(octets)))
        handler.end_headers()
        handler.wfile.write(octets)


def _flat(query: dict[str, list[str]]) -> dict[str, str]:
    return {name: found[0] for name, found in query.items()}
