"""Twisted resources behind our HTTP: what they see of a request, what a peer gets of their answers and faults."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory

from netsvc.config.options import Context, options
from netsvc.errors import BadValue, StartError
from netsvc.services.http.mount import body as body_module
from netsvc.services.http.mount import resource as resource_module
from netsvc.services.http.mount.forms import BadFormError, kind_of, read_form
from netsvc.services.http.mount.resource import MountedResource
from netsvc.services.http.mount.settings import MountSettings, MountTarget, mount_target
from netsvc.services.http.mount.wsgi import Pace, WsgiResource
from netsvc.services.http.site.paths import Refused, split
from tests.services.http.http_rig import Peer, Rig, request

with warnings.catch_warnings():  # it warns of itself
    warnings.simplefilter("ignore", DeprecationWarning)
    from twisted.web.static import File

MODULE = "netsvc_test_mounted"


class Root(Resource):
    """Hands each request to a function of the test.

    :param answer: request -> what render returns.
    """

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[Any] = []

    def render_GET(self, request: Any) -> Any:
        self.requests.append(request)
        return self.answer(request)

    render_POST = render_GET


class Reactor(MemoryReactorClock):
    """Threads are this one."""

    def callFromThread(self, call: Callable[..., object], *arguments: Any) -> None:
        call(*arguments)


class Threads:
    """Runs at once."""

    def callInThread(self, call: Callable[..., object]) -> None:
        call()


class Case(SynchronousTestCase):
    """A resource at /app of a service without a network."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.reactor = Reactor()
        self.in_thread: Callable[..., Deferred[Any]] = maybeDeferred
        make = tempfile.SpooledTemporaryFile

        def closed_at_last(*arguments: Any, **named: Any) -> Any:  # many tests leave a request as it is
            made = make(*arguments, **named)
            self.addCleanup(made.close)
            return made

        self.patch(body_module.tempfile, "SpooledTemporaryFile", closed_at_last)

    def mount(self, resource: Any, prefix: tuple[bytes, ...] = (b"app",), **some: Any) -> Rig:
        sys.modules[MODULE] = type(sys)(MODULE)
        self.addCleanup(sys.modules.pop, MODULE, None)
        sys.modules[MODULE].found = resource  # type: ignore[attr-defined]

        def in_thread(*arguments: Any) -> Deferred[Any]:
            return self.in_thread(*arguments)

        chosen = MountSettings(mount=MountTarget(MODULE, "found"), **some)
        self.mounted = MountedResource(chosen, self.reactor, in_thread)
        self.mounted.start()
        self.addCleanup(self.mounted.stop)

        def route(exchange: Any) -> None:
            found = split(exchange.head.path)
            assert not isinstance(found, Refused)
            names, directory = found
            self.mounted.answer(exchange, prefix, names[len(prefix) :], directory)

        return Rig(route=route)

    def seen(self, octets: bytes, look: Callable[[Any], Any], **some: Any) -> Any:
        """What a resource sees in a request."""
        found = []

        def answer(one: Any) -> bytes:
            found.append(look(one))
            return b"ok"

        answers = self.mount(Root(answer), **some).ask(octets)
        self.assertEqual([one.body for one in answers], [b"ok"])
        return found[0]


class SettingsTests(SynchronousTestCase):
    def test_paths_mount_names(self) -> None:
        """A dotted name is read for its form only; what is none is refused with what it should be."""
        kind = mount_target()
        for text, target in (
            ("package.module:name", MountTarget("package.module", "name")),
            ("m:a.b", MountTarget("m", "a.b")),
            ("wsgi:m:app", MountTarget("m", "app", wsgi=True)),
            ("none", None),
        ):
            self.assertEqual(kind.parse(text, Context(Path("/"))), target)
            self.assertEqual(kind.parse(kind.show(target), Context(Path("/"))), target)
        for text in ("", "module", "module:", ":name", "a b:c", "a..b:c", "a:b:c", "a/b:c", "1a:b", "wsgi:a"):
            with self.assertRaises(BadValue):
                kind.parse(text, Context(Path("/")))
        self.assertEqual(options(MountSettings)[0].default_text, "none")


class StartTests(Case):
    def start(self, name: str, text: str | None = None, wsgi: bool = False) -> MountedResource:
        module = f"netsvc_test_{self.id().rpartition('.')[2]}"
        if text is not None:
            (self.directory / f"{module}.py").write_text(text)
        target = MountTarget(module, name, wsgi)
        mounted = MountedResource(MountSettings(mount=target, mount_path=self.directory), self.reactor, maybeDeferred)
        self.addCleanup(sys.modules.pop, module, None)
        self.addCleanup(lambda: str(self.directory) in sys.path and sys.path.remove(str(self.directory)))
        self.addCleanup(mounted.stop)
        sys.modules.pop(module, None)
        mounted.start()
        mounted.start()
        return mounted

    def refused(self, *arguments: Any) -> str:
        text = str(self.assertRaises(StartError, self.start, *arguments))
        self.assertEqual(len(text.splitlines()), 1)
        return text

    def test_forms_of_a_name(self) -> None:
        """A resource, what returns one, what has one as Klein does, an attribute of a class: each can be named."""
        text = (
            "from twisted.web.resource import Resource\n"
            "found = Resource()\n"
            "def make(): return found\n"
            "class Klein:\n  def resource(self): return found\n  inner = found\n"
            "app = Klein()\n"
        )
        for name in ("found", "make", "app", "Klein.inner"):
            self.start(name, text)

    def test_not_found(self) -> None:
        """What cannot be imported ends the start, with one line that names it."""
        self.assertIn("cannot be imported: ModuleNotFoundError", self.refused("found"))

    def test_no_such_name(self) -> None:
        """So does a name that the module does not have."""
        self.assertIn("cannot be imported: AttributeError", self.refused("found", ""))

    def test_broken(self) -> None:
        """So does a module that raises, or that ends the process."""
        self.assertIn("SyntaxError", self.refused("found", "(\n"))
        self.assertIn("SystemExit: 3", self.refused("found", "raise SystemExit(3)\n"))

    def test_gives_none(self) -> None:
        """So does what is no resource and gives none."""
        text = "found = 1\ndef other(): return 2\ndef bad(): raise ValueError('a\\nb')\n"
        self.assertIn("gives no resource: TypeError", self.refused("found", text))
        self.assertIn("gives no resource: int provides no IResource", self.refused("other", text))
        self.assertIn("gives no resource: ValueError: a b", self.refused("bad", text))

    def test_wsgi_threads(self) -> None:
        """A WSGI application gets threads of its own, which end with the service and hold nothing."""
        mounted = self.start("app", "def app(environ, start_response): return []\n", True)
        self.assertIsNotNone(mounted._threads)
        mounted.stop()
        mounted.stop()
        self.assertIsNone(mounted._threads)

    def test_nothing(self) -> None:
        """Without the option nothing is imported; after the end everybody gets 503."""
        mounted = MountedResource(MountSettings(), self.reactor, maybeDeferred)
        mounted.start()
        rig = Rig(route=lambda exchange: mounted.answer(exchange, (), (), directory=True))
        self.assertEqual(rig.get("/").status, 503)


class RequestTests(Case):
    def test_paths_mount_prefix(self) -> None:
        """Prepath is the place, postpath what is behind it, both decoded; a slash at the end is an empty last one."""

        def look(one: Any) -> Any:
            return one.prepath, one.postpath, one.path, one.uri, one.prePathURL()

        self.assertEqual(
            self.seen(request("/app/a%20b/c/?q=1"), look),
            ([b"app"], [b"a b", b"c", b""], b"/app/a%20b/c/", b"/app/a%20b/c/?q=1", b"http://example.com:8000/app"),
        )
        self.assertEqual(self.seen(request("/app"), look)[:2], ([b"app"], []))
        self.assertEqual(self.seen(request("/"), look, prefix=())[:2], ([], [b""]))
        absolute = b"GET http://other.example/app/x HTTP/1.1\r\nHost: example.com\r\n\r\n"
        self.assertEqual(self.seen(absolute, look)[3:], (b"/app/x", b"http://other.example:8000/app"))

    def test_children(self) -> None:
        """A tree of resources is gone through, and what is not in it is 404."""
        root, leaf = Resource(), Root(lambda one: b"/".join(one.prepath) + b"|" + b"/".join(one.postpath))
        root.putChild(b"leaf", leaf)
        rig = self.mount(root)
        self.assertEqual(rig.get("/app/leaf/x/y").body, b"app/leaf|x/y")
        with warnings.catch_warnings():  # twisted.web warns of its own page
            warnings.simplefilter("ignore", DeprecationWarning)
            self.assertEqual(rig.get("/app/none").status, 404)
        self.assertEqual(rig.get("/app").status, 405)

    def test_addresses(self) -> None:
        """The peer, the address it came to and whether it came by TLS are there."""

        def look(one: Any) -> Any:
            return one.getClientAddress().host, one.getHost().port, one.isSecure(), one.transport.getPeer().port

        self.assertEqual(self.seen(request("/app"), look), ("192.0.2.7", 8000, False, 40000))
        rig = self.mount(Root(lambda one: one.getClientAddress().host.encode()))
        peer = rig.connect()
        peer.transport.peerAddr = type("Six", (), {"host": "2001:db8::1", "port": 1})()
        peer.send(request("/app"))
        self.assertEqual(peer.answers()[0].body, b"2001:db8::1")

    def test_fields(self) -> None:
        """Header fields and cookies are there; Proxy and names with an underscore are not (httpoxy)."""

        def look(one: Any) -> Any:
            names = {name.lower() for name, _ in one.requestHeaders.getAllRawHeaders()}
            return one.getCookie(b"a"), one.getHeader("x-two"), one.clientproto, names

        fields = ("Cookie: a=1; b=2", "X-Two: 2", "Proxy: http://evil", "X_Two: 3")
        self.assertEqual(
            self.seen(request("/app", *fields), look), (b"1", "2", b"HTTP/1.1", {b"host", b"cookie", b"x-two"})
        )

    def test_forms(self) -> None:
        """Query and form are in args, the form wins; the body is in content as well."""

        def look(one: Any) -> Any:
            return one.args, one.content.read()

        url = "Content-Type: application/x-www-form-urlencoded; charset=utf-8"
        body = b"a=2&a=3&c=%C3%A9&d="
        got = self.seen(request("/app?a=1&b=x", url, f"Content-Length: {len(body)}", method="POST", body=body), look)
        self.assertEqual(got, ({b"a": [b"2", b"3"], b"b": [b"x"], b"c": [b"\xc3\xa9"], b"d": [b""]}, body))
        head = b'--X\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\n'
        parts = head + b"\x00\xff\r\n--X\r\n\r\nno name\r\n--X--\r\n"
        got = self.seen(
            request(
                "/app", "Content-Type: multipart/form-data; boundary=X", f"Content-Length: {len(parts)}",
                method="POST", body=parts,
            ),
            look,
        )  # fmt: skip
        self.assertEqual(got, ({b"f": [b"\x00\xff"]}, parts))
        got = self.seen(request("/app", "Content-Type: a/b", "Content-Length: 3", method="POST", body=b"x=1"), look)
        self.assertEqual(got, ({}, b"x=1"))
        self.assertEqual(self.seen(request("/app", url, "Content-Length: 0", method="POST"), look), ({}, b""))

    def test_bad_forms(self) -> None:
        """A broken form is its sender's fault: 400, and the resource hears of nothing."""
        for kind in ("multipart/form-data", "multipart/form-data; boundary=\xff"):
            rig = self.mount(Root(lambda _: b"no"))
            octets = request("/app", f"Content-Type: {kind}", "Content-Length: 1", method="POST", body=b"x")
            self.assertEqual([one.status for one in rig.ask(octets)], [400])
            self.assertEqual(self.mounted._site.resource.requests, [])
        self.patch(resource_module, "kind_of", self.raises)
        self.assertEqual([one.status for one in rig.ask(octets)], [400])

    @staticmethod
    def raises(*_: object) -> Any:
        raise BadFormError

    def test_large_forms(self) -> None:
        """A form longer than mount_form is 413, before its body where its length was told; other bodies are not."""
        rig = self.mount(Root(lambda one: b"%d" % len(one.content.read())), mount_form=4)
        url = "Content-Type: application/x-www-form-urlencoded"
        chunked = "Transfer-Encoding: chunked"
        for fields, body, status in (
            ((url, "Content-Length: 5"), b"", 413),
            ((url, chunked), b"5\r\nabcde\r\n0\r\n\r\n", 413),
            ((url, chunked), b"4\r\nabcd\r\n0\r\n\r\n", 200),
            ((chunked,), b"5\r\nabcde\r\n0\r\n\r\n", 200),
        ):
            answers = rig.ask(request("/app", *fields, method="POST", body=body))
            self.assertEqual([one.status for one in answers], [status], fields)

    def test_forms_in_a_thread(self) -> None:
        """A form that takes longer to read is read in a thread; a peer that leaves meanwhile has left."""
        waiting: list[tuple[Deferred[Any], Any]] = []

        def in_thread(call: Any, *arguments: Any) -> Deferred[Any]:
            made: Deferred[Any] = Deferred()
            waiting.append((made, lambda: call(*arguments)))
            return made

        self.in_thread = in_thread
        rig = self.mount(Root(lambda one: b"%d" % len(one.args[b"a"][0])))
        length = resource_module.AT_ONCE
        octets = request(
            "/app", "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {length + 2}",
            method="POST", body=b"a=" + b"x" * length,
        )  # fmt: skip
        peer, other = rig.connect(), rig.connect()
        peer.send(octets)
        other.send(octets)
        other.leave()
        self.assertEqual(peer.received, b"")
        for made, call in waiting:
            made.callback(call())
        self.assertEqual(peer.answers()[0].body, b"%d" % length)
        self.assertEqual(other.received, b"")
        self.assertEqual(len(self.mounted._site.resource.requests), 1)
        other = rig.connect()
        other.send(octets)
        waiting[-1][0].errback(BadFormError())
        self.assertEqual(other.statuses, [400])

    def test_chunked(self) -> None:
        """A chunked body is whole, and has a length, when the resource is asked."""

        def look(one: Any) -> Any:
            return one.getHeader("content-length"), one.getHeader("transfer-encoding"), one.content.read()

        octets = request("/app", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.assertEqual(self.seen(octets, look), ("5", None, b"abcde"))

    def test_spooled(self) -> None:
        """A long body is in a file of no name, a short one in memory."""
        for length, in_file in ((100, False), (body_module.IN_MEMORY + 1, True)):
            octets = request("/app", f"Content-Length: {length}", method="POST", body=bytes(length))
            self.assertEqual(
                self.seen(octets, lambda one: (one.content._rolled, len(one.content.read()))), (in_file, length)
            )

    def test_no_room(self) -> None:
        """Without room on the disk the answer is 503, and the rest of the body is dropped."""

        class Full:
            def write(self, _: bytes) -> None:
                raise OSError(28, "No space left on device")

            def close(self) -> None:
                """As a file has it."""

        self.patch(body_module.tempfile, "SpooledTemporaryFile", lambda *_, **__: Full())
        rig = self.mount(Root(lambda _: b"no"))
        peer = rig.connect()
        peer.send(request("/app", "Content-Length: 9", method="POST", body=b"x"))
        peer.send(b"12345678")
        self.assertEqual(peer.statuses, [503])

    def test_collected(self) -> None:
        """What comes behind the end of a body that is not wanted any more is dropped."""
        got: list[Any] = []
        collected = body_module.Collected(None, got.append)
        collected.body_received(b"x")
        collected.body_lost()
        collected.body_received(b"y")
        collected.body_finished()
        collected.body_lost()
        self.assertEqual(got, [])

    def test_body_lost(self) -> None:
        """A peer that leaves within the body costs nothing."""
        rig = self.mount(Root(lambda _: b"no"))
        peer = rig.connect()
        peer.send(request("/app", "Content-Length: 9", method="POST", body=b"x"))
        peer.leave()
        self.assertEqual(self.mounted._site.resource.requests, [])

    def test_sessions(self) -> None:
        """Sessions last from request to request and end with the service; nobody fills the memory with them."""
        self.patch(resource_module, "MOST_SESSIONS", 3)
        rig = self.mount(Root(lambda one: one.getSession().uid))
        first = rig.get("/app")
        cookie = first.headers[b"set-cookie"].partition(b";")[0].decode()
        self.assertTrue(cookie.startswith("TWISTED_SESSION_app="))
        self.assertEqual(rig.get("/app/other", f"Cookie: {cookie}").body, first.body)
        for _ in range(9):
            rig.get("/app")
        self.assertEqual(len(self.mounted._site.sessions), 3)
        self.assertNotEqual(rig.get("/app", f"Cookie: {cookie}").body, first.body)
        self.mounted.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AnswerTests(Case):
    def test_whole(self) -> None:
        """Status, reason, fields and body are the resource's; the connection's fields and Date are not its to say."""

        def answer(one: Any) -> bytes:
            one.setResponseCode(201, b"Made")
            for name, value in (("X-A", "1"), ("Connection", "close"), ("Transfer-Encoding", "x"), ("Server", "me")):
                one.setHeader(name, value)
            one.responseHeaders.addRawHeader("Set-Cookie", "a=1")
            return b"body"

        peer = self.mount(Root(answer)).connect()
        for _ in range(2):
            peer.send(request("/app"))
        self.assertTrue(peer.received.startswith(b"HTTP/1.1 201 Made\r\n"))
        for one in peer.answers():
            self.assertEqual(one.body, b"body")
            self.assertEqual(one.headers[b"x-a"], b"1")
            self.assertEqual(one.headers[b"content-type"], b"text/html")
            self.assertEqual(one.headers[b"server"], b"netsvc")
            self.assertNotIn(b"connection", one.headers)
            self.assertEqual(one.headers[b"content-length"], b"4")

    def test_later(self) -> None:
        """NOT_DONE_YET: the answer comes when it comes, chunked when its length is not told; notifyFinish fires."""
        rig = self.mount(Root(lambda _: NOT_DONE_YET))
        peer = rig.connect()
        peer.send(request("/app") * 2)
        [one] = self.mounted._site.resource.requests
        done = one.notifyFinish()
        one.write(b"a")
        one.write(b"bc")
        self.assertNoResult(done)
        one.finish()
        self.assertIsNone(self.successResultOf(done))
        second = self.mounted._site.resource.requests[1]
        second.setHeader(b"content-length", b"2")
        second.write(b"xyz")
        second.finish()
        first, other = peer.answers()
        self.assertEqual((first.body, first.headers[b"transfer-encoding"]), (b"abc", b"chunked"))
        self.assertEqual((other.body, other.headers[b"content-length"]), (b"xy", b"2"))

    def test_old_peers(self) -> None:
        """HTTP/1.0 gets no chunks."""
        rig = self.mount(Root(lambda _: NOT_DONE_YET))
        peer = rig.connect()
        peer.send(b"GET /app HTTP/1.0\r\nHost: x\r\n\r\n")
        [one] = self.mounted._site.resource.requests
        one.setHeader(b"content-length", b"nonsense")
        one.write(b"abc")
        one.finish()
        self.assertEqual(one.clientproto, b"HTTP/1.0")
        self.assertEqual(peer.answers()[0].body, b"abc")

    def test_head(self) -> None:
        """HEAD has GET's fields and no body, whether the resource knows HEAD or not."""

        class NoHead(Root):
            def render_HEAD(self, request: Any) -> Any:
                raise UnsupportedMethod([b"GET"])

        class OwnHead(Root):
            def render_HEAD(self, request: Any) -> Any:
                request.setHeader(b"Content-Length", b"4")
                return b""

        for kind in (Root, NoHead, OwnHead):
            rig = self.mount(kind(lambda _: b"body"))
            answer = rig.get("/app", method="HEAD")
            self.assertEqual((answer.status, answer.headers[b"content-length"], answer.body), (200, b"4", b""), kind)
        rig = self.mount(NoHead(lambda _: NOT_DONE_YET))
        peer = rig.connect()
        peer.send(request("/app", method="HEAD"))
        one = self.mounted._site.resource.requests[0]
        one.write(b"body")
        one.finish()
        self.assertNotIn(b"body", peer.received)

    def test_methods(self) -> None:
        """A method that the resource has not is 405 with Allow, whatever octets the target has."""
        rig = self.mount(Root(lambda _: b""))
        for path in ("/app", "/app/%ff?%ff"):
            [answer] = rig.ask(request(path, method="DELETE"))
            self.assertEqual((answer.status, answer.headers[b"allow"]), (405, b"GET, HEAD, POST"))

    def test_no_content(self) -> None:
        """204 and 304 have no body."""
        for code in (204, 304):

            def answer(one: Any, code: int = code) -> bytes:
                one.setResponseCode(code)
                return b"body"

            found = self.mount(Root(answer)).get("/app")
            self.assertEqual((found.status, found.body), (code, b""))

    def test_files(self) -> None:
        """twisted.web's own File works: whole, ranges, conditions, a producer with back-pressure, HEAD."""
        octets = bytes(range(256)) * 1024
        (self.directory / "a.bin").write_bytes(octets)
        rig = self.mount(File(str(self.directory)))
        self.assertEqual(rig.get("/app/a.bin").body, octets)
        part = rig.get("/app/a.bin", "Range: bytes=1-4")
        self.assertEqual((part.status, part.body), (206, octets[1:5]))
        modified = part.headers[b"last-modified"].decode()
        self.assertEqual(rig.get("/app/a.bin", f"If-Modified-Since: {modified}").status, 304)
        self.assertEqual(rig.get("/app/a.bin", method="HEAD").headers[b"content-length"], b"262144")
        self.assertEqual(rig.get("/app/none").status, 404)
        peer = rig.connect()
        peer.transport.blocked = True
        peer.send(request("/app/a.bin"))
        self.assertLess(len(peer.transport.dataBuffer), 1 << 17)
        peer.transport.unblock()
        self.assertEqual(peer.answers()[0].body, octets)

    def test_encoders(self) -> None:
        """twisted.web's encoder of answers works."""
        rig = self.mount(EncodingResourceWrapper(Root(lambda _: b"x" * 999), [GzipEncoderFactory()]))
        answer = rig.get("/app", "Accept-Encoding: gzip")
        self.assertEqual(gzip.decompress(answer.body), b"x" * 999)
        self.assertEqual(answer.headers[b"content-encoding"], b"gzip")
        self.assertEqual(rig.get("/app").body, b"x" * 999)

    def test_producer(self) -> None:
        """A producer feels the peer's pace, and is told when the peer has left."""
        rig = self.mount(Root(lambda _: NOT_DONE_YET))
        for leaves in (False, True):
            peer = rig.connect()
            peer.send(request("/app"))
            one = self.mounted._site.resource.requests[-1]
            pace = Pace()
            one.registerProducer(pace, True)
            self.assertIs(peer.transport.producer, pace)
            self.assertRaises(ValueError, one.registerProducer, pace, True)
            if leaves:
                peer.leave()
                self.assertTrue(pace._over)
            else:
                one.unregisterProducer()
                self.assertIsNone(peer.transport.producer)


class FaultTests(Case):
    def pages(self, answer: Callable[[Any], Any], *fields: str) -> Any:
        [found] = self.mount(Root(answer)).ask(request("/app", *fields))
        return found

    def test_raises(self) -> None:
        """Whatever a resource raises: 500 with the request's id and no word of what happened; the daemon goes on."""
        for error in (ValueError("secret"), SystemExit("secret"), KeyboardInterrupt("secret")):

            def answer(_: Any, error: BaseException = error) -> bytes:
                raise error

            rig = self.mount(Root(answer))
            peer = rig.connect()
            peer.send(request("/app") * 2)
            for one in peer.answers():
                self.assertEqual(one.status, 500)
                self.assertNotIn(b"secret", one.body)
            self.assertIn(rig.exchanges[0].request_id.encode(), peer.answers()[0].body)
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 2)

    def test_raises_on_the_way(self) -> None:
        """So it is when a resource fails while it looks for its child."""

        class Bad(Resource):
            def getChild(self, path: bytes, request: Any) -> Any:
                raise ValueError(path)

        self.assertEqual(self.mount(Bad()).get("/app/x").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_not_octets(self) -> None:
        """What is not octets is a fault, and its repr is nobody's to see."""
        found = self.pages(lambda _: "secret")
        self.assertEqual(found.status, 500)
        self.assertNotIn(b"secret", found.body)

        def writes(one: Any) -> Any:
            one.write("secret")

        found = self.pages(writes)
        self.assertEqual(found.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_raises_within(self) -> None:
        """A fault after the head is no second page: the answer is cut, notifyFinish fails, the producer is let go."""
        failed = []

        def answer(one: Any) -> bytes:
            one.notifyFinish().addErrback(failed.append)
            one.write(b"begin")
            one.registerProducer(Pace(), True)
            raise ValueError

        rig = self.mount(Root(answer))
        peer = rig.connect()
        peer.send(request("/app"))
        self.assertTrue(peer.transport.closed)
        self.assertNotIn(b"500", peer.received)
        self.assertEqual(failed[0].type, ConnectionAborted)
        self.assertIsNone(peer.transport.producer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_raises_after_the_end(self) -> None:
        """A fault behind a whole answer is logged, and the answer stays."""

        def answer(one: Any) -> bytes:
            one.finish()
            raise ValueError

        self.assertEqual(self.pages(answer).status, 200)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_bad_field(self) -> None:
        """A field that would split the answer is not sent."""

        def answer(one: Any) -> bytes:
            one.responseHeaders.addRawHeader(b"bad name", b"x")
            return b"body"

        self.assertEqual(self.pages(answer).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_loses_connection(self) -> None:
        """A resource may break its answer off; a second time does nothing."""
        rig = self.mount(Root(lambda _: NOT_DONE_YET))
        for how in ("loseConnection", "transport.loseConnection"):
            peer = rig.connect()
            peer.send(request("/app"))
            one: Any = self.mounted._site.resource.requests[-1]
            if how == "loseConnection":
                done = one.notifyFinish()
                one.loseConnection()
                one.loseConnection()
                self.failureResultOf(done, ConnectionAborted)
            else:
                one.transport.loseConnection()
            self.assertTrue(peer.transport.closed)

    def test_peer_leaves(self) -> None:
        """When the peer leaves, notifyFinish fails; what is still written goes nowhere, and finish says so."""
        rig = self.mount(Root(lambda _: NOT_DONE_YET))
        peer = rig.connect()
        peer.send(request("/app"))
        [one] = self.mounted._site.resource.requests
        done = one.notifyFinish()
        peer.leave(clean=False)
        self.failureResultOf(done, ConnectionLost)
        one.write(b"x")
        self.assertRaises(RuntimeError, one.finish)
        one.loseConnection()
        one.refuse(500)
        self.assertTrue(one.content.closed)

    def test_empty_500(self) -> None:
        """A resource that says 500 and no more is given netsvc's page."""

        def answer(one: Any) -> Any:
            one.setResponseCode(500)
            one.finish()
            return NOT_DONE_YET

        found = self.pages(answer)
        self.assertEqual(found.status, 500)
        self.assertIn(b"Request ", found.body)


class WsgiTests(Case):
    def ask(self, application: Any, octets: bytes) -> Peer:
        rig = self.mount(WsgiResource(self.reactor, Threads(), application))
        peer = rig.connect()
        peer.send(octets)
        return peer

    def test_application(self) -> None:
        """An application gets its environment (PEP 3333) and what it returns or writes is the answer; it is closed."""
        closed = []

        class Parts(list[bytes]):
            def close(self) -> None:
                closed.append(True)

        def application(environ: dict[str, Any], start_response: Any) -> Parts:
            write = start_response("201 Made", [("Content-Type", "text/plain"), ("X-A", "1")])
            write(b"first ")
            shown = [
                environ[name] for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "CONTENT_LENGTH")
            ]
            return Parts(["|".join(shown).encode(), b" ", environ["wsgi.input"].read()])

        octets = request(
            "/app/a%20b/?q=1", "Transfer-Encoding: chunked", "Content-Type: application/x-www-form-urlencoded",
            method="POST", body=b"3\r\na=1\r\n0\r\n\r\n",
        )  # fmt: skip
        [answer] = self.ask(application, octets).answers()
        self.assertEqual((answer.status, answer.headers[b"x-a"]), (201, b"1"))
        self.assertEqual(answer.body, b"first /app|/a b/|q=1|192.0.2.7|3 a=1")
        self.assertEqual(closed, [True])

    def test_user(self) -> None:
        """An application is told whom netsvc has let in, and not what a peer claims."""

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [repr((environ.get("AUTH_TYPE"), environ.get("REMOTE_USER"))).encode()]

        claim = "Authorization: Basic am9lOnB3"
        rig = self.mount(WsgiResource(self.reactor, Threads(), application))
        for user, body in (("", b"(None, None)"), ("zo\u00eb", repr(("Basic", "zo\u00c3\u00ab")).encode())):
            route = rig.factory.route

            def named(exchange: Any, user: str = user, route: Any = route) -> None:
                exchange.user = user
                route(exchange)

            rig.factory.route = named
            peer = rig.connect()
            peer.send(request("/app", claim))
            [answer] = peer.answers()
            self.assertEqual(answer.body, body)
            rig.factory.route = route

    def test_faults(self) -> None:
        """An application that raises is 500 with netsvc's page before its head, and a cut answer behind."""

        def early(_: Any, __: Any) -> Any:
            raise ValueError("secret")

        def late(_: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"begin"
            raise ValueError("secret")

        peer = self.ask(early, request("/app"))
        [answer] = peer.answers()
        self.assertEqual(answer.status, 500)
        self.assertIn(b"Request ", answer.body)
        self.assertNotIn(b"secret", answer.body)
        peer = self.ask(late, request("/app"))
        self.assertTrue(peer.transport.closed)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_pace(self) -> None:
        """The application's thread waits while the peer does not read, and never once it has left."""
        pace = Pace()
        pace.wait()
        pace.pauseProducing()
        self.assertFalse(pace._may_go_on.is_set())
        pace.resumeProducing()
        pace.wait()
        pace.pauseProducing()
        pace.stopProducing()
        pace.pauseProducing()
        pace.wait()

    def test_no_children(self) -> None:
        """It has no children and takes none."""
        resource = WsgiResource(self.reactor, Threads(), None)  # type: ignore[arg-type]
        self.assertRaises(RuntimeError, resource.getChildWithDefault, b"a", None)
        self.assertRaises(RuntimeError, resource.putChild, b"a", None)


class FormTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.binary(max_size=60).map(lambda tail: b"multipart/form-data; boundary=" + tail) | st.binary(max_size=40),
        st.binary(max_size=300),
    )
    def test_any_form(self, content_type: bytes, body: bytes) -> None:
        """Any type and any body are a form, none, or a BadFormError."""
        try:
            kind = kind_of("POST", content_type)
            if kind is not None:
                read_form(kind, content_type, body)
        except BadFormError:
            pass
        self.assertIsNone(kind_of("GET", content_type))
