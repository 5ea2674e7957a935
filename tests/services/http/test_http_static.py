"""Files as a peer gets them: fields, conditions, ranges, from memory and from disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.answer import http_date
from netsvc.services.http.site.paths import Script
from netsvc.services.http.static import files as static_module
from netsvc.services.http.static.ready import Ready, ReadyAnswers
from tests.services.http.http_rig import NOW, Rig, request, write

BIG = bytes(range(256)) * 1000  # longer than what is kept in memory


class StaticCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        write(self.root, "a.txt", b"0123456789")
        write(self.root, "big.bin", BIG)
        write(self.root, "d/index.html", b"<p>index")
        (self.root / "list").mkdir()
        self.rig = Rig(self.root)

    def descriptors(self) -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if str(self.root) in link:
                found.append(link)
        return found

    def tearDown(self) -> None:
        self.assertEqual(self.descriptors(), [], "a descriptor is left open")


class FileTests(StaticCase):
    def test_static_fields(self) -> None:
        """A file has type, length, strong tag, date, and says that it has ranges."""
        answer = self.rig.get("/a.txt")
        self.assertEqual((answer.status, answer.body), (200, b"0123456789"))
        found = os.stat(self.root / "a.txt")
        self.assertEqual(
            answer.headers,
            {
                b"server": b"netsvc",
                b"date": http_date(NOW),
                b"content-type": b"text/plain; charset=utf-8",
                b"last-modified": http_date(NOW - 1000),
                b"etag": b'"%x-a-%x"' % (found.st_ino, found.st_mtime_ns),
                b"accept-ranges": b"bytes",
                b"x-content-type-options": b"nosniff",
                b"content-length": b"10",
            },
        )

    def test_static_modified_in_the_future(self) -> None:
        """Last-Modified is never later than Date."""
        write(self.root, "a.txt", b"x", age=-1000.0)
        self.assertEqual(self.rig.get("/a.txt").headers[b"last-modified"], http_date(NOW))

    def test_static_tag_changes_with_the_file(self) -> None:
        """A new content of the same length has a new tag."""
        first = self.rig.get("/a.txt").headers[b"etag"]
        path = write(self.root, "a.txt", b"9876543210")
        os.utime(path, ns=(0, int((NOW - 1000) * 1e9) + 1))
        second = self.rig.get("/a.txt")
        self.assertNotEqual(second.headers[b"etag"], first)
        self.assertEqual(second.body, b"9876543210")

    def test_core_08_head(self) -> None:
        """HEAD of a file has the fields of GET, small and large."""
        for path in ("/a.txt", "/big.bin", "/d/", "/nothing"):
            get, head = self.rig.get(path), self.rig.get(path, method="HEAD")
            self.assertEqual((head.status, head.headers, head.body), (get.status, get.headers, b""))

    def test_static_large_file(self) -> None:
        """A large file comes whole, and the next request after it."""
        peer = self.rig.connect()
        peer.send(request("/big.bin") + request("/a.txt"))
        self.assertEqual([one.body for one in peer.answers()], [BIG, b"0123456789"])

    def test_static_peer_leaves(self) -> None:
        """A peer that leaves in the middle of a file leaves nothing open."""
        peer = self.rig.connect()
        peer.transport.blocked = True
        peer.send(request("/big.bin"))
        self.assertEqual(len(self.descriptors()), 1)
        peer.leave(clean=False)
        self.assertEqual(self.descriptors(), [])

    def test_static_file_changes_while_it_is_sent(self) -> None:
        """A large file that is changed or cut while it is sent breaks the answer visibly."""
        for data in (BIG[:-1] + b"x", BIG[: len(BIG) // 2]):
            peer = self.rig.connect()
            peer.transport.blocked = True
            peer.send(request("/big.bin"))
            write(self.root, "big.bin", data, age=500.0)
            peer.transport.unblock()
            self.assertTrue(peer.transport.closed)
            self.assertLess(len(peer.received.partition(b"\r\n\r\n")[2]), len(BIG))
            write(self.root, "big.bin", BIG)

    def test_static_download_while_replaced(self) -> None:
        """A large file that is replaced, removed, linked or made unreadable while it is sent arrives as it was."""

        def replace(path: Path) -> None:
            os.replace(write(self.root, "new", b"x" * len(BIG)), path)

        for change in (replace, Path.unlink, lambda path: path.chmod(0), lambda path: os.link(path, f"{path}.2")):
            write(self.root, "big.bin", BIG)
            peer = self.rig.connect()
            peer.transport.blocked = True
            peer.send(request("/big.bin"))
            change(self.root / "big.bin")
            peer.transport.unblock()
            self.assertEqual(peer.answers()[0].body, BIG)
            (self.root / "big.bin").unlink(missing_ok=True)

    def test_static_unreadable_while_sent(self) -> None:
        """A disk that fails in the middle of a file breaks the answer, and the log has the reason."""
        peer = self.rig.connect()
        peer.transport.blocked = True
        peer.send(request("/big.bin"))
        with (
            mock.patch.object(static_module.os, "pread", side_effect=OSError(errno.EIO, "Input/output error")),
            capturedLogs() as logs,
        ):
            peer.transport.unblock()
        self.assertTrue(peer.transport.closed)
        (event,) = [one for one in logs if one.get("event") == "http-file-failed"]
        self.assertIn("Input/output error", event["reason"])

    def test_static_small_file_that_changes_once(self) -> None:
        """A small file that changes while it is read is read again, and all fields are of what is sent."""
        real = os.pread
        states = iter((b"longer than before", None))

        def moving(*arguments: int) -> bytes:
            data = real(*arguments)
            if (content := next(states, None)) is not None:
                write(self.root, "a.txt", content, age=500.0)
            return data

        with mock.patch.object(static_module.os, "pread", moving):
            answer = self.rig.get("/a.txt")
        self.assertEqual((answer.status, answer.body), (200, b"longer than before"))
        self.assertEqual(answer.headers[b"last-modified"], http_date(NOW - 500))
        self.assertEqual(self.rig.get("/a.txt").headers[b"etag"], answer.headers[b"etag"])

    def test_static_small_file_that_never_rests(self) -> None:
        """A small file that changes with every look is 503."""
        count = 0
        real = os.fstat

        def moving(descriptor: int) -> Any:
            nonlocal count
            count += 1
            os.utime(self.root / "a.txt", ns=(0, count))
            return real(descriptor)

        with mock.patch.object(static_module.os, "fstat", moving):
            self.assertEqual(self.rig.get("/a.txt").status, 503)

    def test_static_short_parts_of_a_file_that_changes(self) -> None:
        """Short parts are of one version of a file: read again when it changes, cut or not, and of the new one then."""
        for content, status in ((b"x" * len(BIG), 206), (b"short", 416)):
            write(self.root, "big.bin", BIG)
            real = os.pread
            states = iter((content, None))

            def moving(*arguments: int, real: Any = real, states: Any = states) -> bytes:
                if (content := next(states, None)) is not None:
                    write(self.root, "big.bin", content, age=500.0)
                data: bytes = real(*arguments)
                return data

            with mock.patch.object(static_module.os, "pread", moving):
                answer = self.rig.get("/big.bin", "Range: bytes=100-199,100000-100099")
            self.assertEqual(answer.status, status)
            if status == 206:
                self.assertEqual(answer.body.count(b"x" * 100), 2)
                self.assertEqual(answer.headers.get(b"last-modified"), http_date(NOW - 500))

    def test_static_short_parts_of_a_file_that_grows(self) -> None:
        """What is appended meanwhile changes nothing of short parts."""
        real = os.pread

        def growing(*arguments: int) -> bytes:
            with (self.root / "big.bin").open("ab") as log:
                log.write(b"more")
            return real(*arguments)

        with mock.patch.object(static_module.os, "pread", growing):
            answer = self.rig.get("/big.bin", "Range: bytes=10-19")
        self.assertEqual((answer.status, answer.body), (206, BIG[10:20]))
        self.assertEqual(answer.headers[b"content-range"], b"bytes 10-19/%d" % len(BIG))

    def test_static_unreadable(self) -> None:
        """A disk that fails before anything was sent is 500, and the log has the reason."""
        for fields in ((), ("Range: bytes=1-2",)):
            with (
                mock.patch.object(static_module.os, "pread", side_effect=OSError(errno.EIO, "Input/output error")),
                capturedLogs() as logs,
            ):
                self.assertEqual(self.rig.get("/a.txt", *fields).status, 500)
            (event,) = [one for one in logs if one.get("event") == "http-file-failed"]
            self.assertIn("Input/output error", event["reason"])

    def test_static_methods(self) -> None:
        """OPTIONS tells the methods, others are 405 with Allow; CONNECT as well."""
        for path in ("/a.txt", "/d/", "/d", "/list/"):
            answer = self.rig.get(path, method="OPTIONS")
            self.assertEqual((answer.status, answer.headers[b"allow"]), (204, b"GET, HEAD, OPTIONS"))
            self.assertNotIn(b"content-length", answer.headers)
            for method in ("POST", "PUT", "DELETE", "TRACE", "PATCH"):
                answer = self.rig.get(path, method=method)
                self.assertEqual((answer.status, answer.headers[b"allow"]), (405, b"GET, HEAD, OPTIONS"))
        self.assertEqual(self.rig.get("*", method="OPTIONS").status, 204)
        self.assertEqual(self.rig.get("/nothing", method="POST").status, 404)
        self.assertEqual(self.rig.get("example.com:443", method="CONNECT").status, 405)

    def test_static_nothing_is_taken(self) -> None:
        """Where no files are taken, what would change one is the same 405 whatever is there, or may not be seen."""
        for method in ("PUT", "DELETE", "MKCOL"):
            found = [
                self.rig.get(path, method=method)
                for path in ("/a.txt", "/nothing", "/a.txt/x", "/d", "/d/", "/no/d/", "/.hidden", "/.git/config")
            ]
            self.assertEqual(
                {(one.status, one.headers[b"allow"], one.headers[b"content-length"]) for one in found},
                {(405, b"GET, HEAD, OPTIONS", found[0].headers[b"content-length"])},
            )
            for path in ("/cgi-bin/nothing", "/cgi-bin/", "/CGI-BIN/x"):
                self.assertIn(self.rig.get(path, method=method).status, (403, 404))
            self.assertEqual(self.rig.get("/a%5cb", method=method).status, 404)

    def test_static_absolute_form(self) -> None:
        """An absolute target leads to the same file."""
        self.assertEqual(self.rig.get("http://example.com/a.txt?x").body, b"0123456789")

    def test_static_directories(self) -> None:
        """An index answers for its directory; without slash it is a redirect with the query; without index 403."""
        self.assertEqual(self.rig.get("/d/").body, b"<p>index")
        answer = self.rig.get("//d?a=b")
        self.assertEqual((answer.status, answer.headers[b"location"]), (301, b"/d/?a=b"))
        self.assertEqual(self.rig.get("/d").headers[b"location"], b"/d/")
        self.assertEqual(self.rig.get("/list/").status, 403)

    def test_static_listing(self) -> None:
        """A directory without index is listed when that is asked for: no hidden names, no CGI directories."""
        write(self.root, "list/b&c.txt", b"x" * 2048)
        for name in ("list/.git", "list/sub", "list/cgi-bin"):
            (self.root / name).mkdir()
        (self.root / "list/link").symlink_to("sub")
        (self.root / "list/dangling").symlink_to("nothing")
        os.mkfifo(self.root / "list/fifo")
        answer = Rig(self.root, listing=True).get("/list/")
        text = answer.body.decode()
        self.assertEqual(answer.status, 200)
        for shown in ("b&amp;c.txt", "2.0 KiB", "sub/", "link/", "dangling", "2027-01-15<span> 07:43</span>"):
            self.assertIn(shown, text)
        for hidden in (".git", "cgi-bin", "fifo"):
            self.assertNotIn(hidden, text)
        plain = Rig(self.root, listing=True, follow_symlinks="no").get("/list/").body.decode()
        self.assertNotIn("link", plain.partition("<table")[2])
        self.assertIn("default-src 'none'", answer.headers[b"content-security-policy"].decode())

    def test_faults_of_ours_are_logged(self) -> None:
        """A docroot that is gone is 500, and the log says why."""
        with capturedLogs() as logs:
            self.assertEqual(Rig(self.root / "gone").get("/").status, 500)
        self.assertEqual([one["reason"] for one in logs if one.get("event") == "http-path-failed"],
                         ["the docroot cannot be opened"])  # fmt: skip


class ConditionTests(StaticCase):
    def test_core_09_not_modified(self) -> None:
        """304 carries the tag and the date and no length; 412 is an error page."""
        tag = self.rig.get("/a.txt").headers[b"etag"].decode()
        answer = self.rig.get("/a.txt", f"If-None-Match: {tag}")
        self.assertEqual(answer.status, 304)
        self.assertEqual(answer.headers[b"etag"].decode(), tag)
        self.assertIn(b"date", answer.headers)
        self.assertNotIn(b"content-length", answer.headers)
        self.assertEqual(self.rig.get("/a.txt", f"If-Match: {tag}").status, 200)
        self.assertEqual(self.rig.get("/a.txt", 'If-Match: "x"').status, 412)

    def test_core_09_stale_if_range(self) -> None:
        """A stale If-Range gets the whole file: no resume is corrupted."""
        tag = self.rig.get("/a.txt").headers[b"etag"].decode()
        self.assertEqual(self.rig.get("/a.txt", "Range: bytes=5-", f"If-Range: {tag}").body, b"56789")
        answer = self.rig.get("/a.txt", "Range: bytes=5-", 'If-Range: "old"')
        self.assertEqual((answer.status, answer.body), (200, b"0123456789"))


class RangeTests(StaticCase):
    def test_core_10_single(self) -> None:
        """One range is 206 with Content-Range, of small files and of large ones."""
        answer = self.rig.get("/a.txt", "Range: bytes=2-4")
        self.assertEqual((answer.status, answer.body), (206, b"234"))
        self.assertEqual(answer.headers[b"content-range"], b"bytes 2-4/10")
        answer = self.rig.get("/big.bin", "Range: bytes=1000-200000")
        self.assertEqual(answer.body, BIG[1000:200001])
        self.assertEqual(self.rig.get("/big.bin", "Range: bytes=-5").body, BIG[-5:])
        self.assertEqual(self.rig.get("/a.txt", "Range: bytes=-500").body, b"0123456789")

    def test_core_10_only_get(self) -> None:
        """HEAD takes no range; two Range fields are as if absent."""
        self.assertEqual(self.rig.get("/a.txt", "Range: bytes=2-4", method="HEAD").status, 200)
        self.assertEqual(self.rig.get("/a.txt", "Range: bytes=2-4", "Range: bytes=0-1").status, 200)

    def test_core_10_unsatisfiable(self) -> None:
        """416 tells the length."""
        write(self.root, "empty", b"")
        for path, value, length in (("/a.txt", "10-", b"10"), ("/a.txt", "-0", b"10"), ("/empty", "0-", b"0")):
            answer = self.rig.get(path, f"Range: bytes={value}")
            self.assertEqual((answer.status, answer.headers[b"content-range"]), (416, b"bytes */" + length))
        self.assertEqual(self.rig.get("/empty").body, b"")

    def test_core_10_syntax(self) -> None:
        """What cannot be read is as if absent."""
        for value in ("bytes=", "bytes=+1-1_0", "items=0-1", "bytes=\xe9", "bytes=5-4"):
            self.assertEqual(self.rig.get("/a.txt", f"Range: {value}").status, 200)

    def test_core_10_multipart(self) -> None:
        """Several ranges are multipart/byteranges of the declared length."""
        for path, data in (("/a.txt", b"0123456789"), ("/big.bin", BIG)):
            answer = self.rig.get(path, "Range: bytes=0-1,5-7,9-9")
            kind = answer.headers[b"content-type"]
            self.assertEqual(answer.status, 206)
            self.assertTrue(kind.startswith(b"multipart/byteranges; boundary="))
            boundary = kind.partition(b"boundary=")[2]
            parts = answer.body.split(b"--" + boundary)
            self.assertEqual((parts[0], parts[-1]), (b"", b"--\r\n"))
            self.assertNotIn(b"content-range", answer.headers)
            for part, (first, last) in zip(parts[1:-1], ((0, 1), (5, 7), (9, 9)), strict=True):
                head, _, body = part.partition(b"\r\n\r\n")
                self.assertIn(b"Content-Range: bytes %d-%d/%d" % (first, last, len(data)), head)
                self.assertEqual(body, data[first : last + 1] + b"\r\n")


class MemoryTests(StaticCase):
    def test_small_files_are_kept(self) -> None:
        """A small file is answered from memory the second time, and the answer is the same."""
        first = self.rig.get("/a.txt")
        self.assertGreater(self.rig.ready.size, 0)
        self.assertEqual(len(self.rig.exchanges), 1)
        peer = self.rig.connect()
        peer.send(request("/a.txt"))
        peer.send(request("/a.txt") + request("/a.txt"))
        self.assertEqual(peer.answers(), [first] * 3)
        self.assertEqual(len(self.rig.exchanges), 1)

    def test_the_last_from_memory(self) -> None:
        """A peer that wants no further answer is answered from memory too, is told so, and nothing more is read."""
        first = self.rig.get("/a.txt")
        tag = first.headers[b"etag"].decode()
        for fields, rest, status in (
            ((), b"", 200),
            ((), request("/a.txt"), 200),
            ((f"If-None-Match: {tag}",), b"", 304),
        ):
            for _ in range(2):  # the second time the head is known as well
                peer = self.rig.connect()
                peer.send(request("/a.txt", "Connection: close", *fields) + rest)
                (answer,) = peer.answers()
                self.assertEqual((answer.status, answer.headers[b"connection"]), (status, b"close"))
                self.assertEqual(answer.body, first.body if status == 200 else b"")
                self.assertTrue(peer.transport.closed)
                peer.send(request("/a.txt"))
                self.assertEqual(len(peer.answers()), 1)
        self.assertEqual(len(self.rig.exchanges), 1)

    def test_never_stale(self) -> None:
        """A change of content, length, mode or existence is seen at the next request."""
        peer = self.rig.connect()
        path = self.root / "a.txt"
        for change in (
            lambda: path.write_bytes(b"new"),
            lambda: path.write_bytes(b"wen"),
            lambda: os.utime(path, (NOW - 5, NOW - 5)),
            path.unlink,
            lambda: write(self.root, "a.txt", b"back"),
            lambda: os.rename(write(self.root, "b.txt", b"over"), path),
        ):
            peer.send(request("/a.txt"))
            change()
            peer.send(request("/a.txt"))
            answer = peer.answers()[-1]
            if path.exists():
                self.assertEqual(answer.body, path.read_bytes())
            else:
                self.assertEqual(answer.status, 404)

    def test_young_files_are_not_kept(self) -> None:
        """A file that was just changed is not kept: a coarse clock could hide the next change."""
        write(self.root, "a.txt", b"x", age=1.0)
        self.rig.get("/a.txt")
        self.assertEqual(self.rig.ready.size, 0)

    def test_the_way_is_walked_again(self) -> None:
        """A directory that becomes a link out of the root, to the same file, is noticed within a second."""
        peer = self.rig.connect()
        peer.send(request("/d/"))
        os.rename(self.root / "d", self.root.parent / f"{self.root.name}-out")
        (self.root / "d").symlink_to(self.root.parent / f"{self.root.name}-out")
        peer.wait(1.0)
        peer.send(request("/d/"))
        self.assertEqual(peer.statuses, [200, 404])

    def test_the_way_is_walked_again_when_the_clock_was_set_back(self) -> None:
        """A clock that jumps back an hour does not keep an answer for an hour without a look at the way to it."""
        self.assertEqual(self.rig.get("/d/").status, 200)
        key, _ = self.rig.ready.keys(self.rig.exchanges[0].head)
        entry = self.rig.ready.find(key, NOW)
        assert entry is not None
        self.assertIs(self.rig.ready.find(key, NOW - 1.5), entry)
        self.assertIsNone(self.rig.ready.find(key, NOW - 3600.0))

    def test_one_spelling(self) -> None:
        """Other spellings of a path are answered and not kept."""
        for path in ("/./a.txt", "//a.txt", "/%61.txt"):
            self.assertEqual(self.rig.get(path).status, 200)
        self.assertEqual(self.rig.ready.size, 0)

    def test_memory_is_bounded(self) -> None:
        """The least recently used answers go first; one that is too large is not kept at all."""
        ready = ReadyAnswers(5200)
        path = os.fsencode(self.root / "a.txt")
        found = os.stat(path)
        who = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)

        def entry(size: int = 100) -> Ready:
            return Ready(path, who, headers=(), body=b"x" * size, walked=0.0)

        for key in (b"a", b"b", b"c", b"d"):
            ready.add(key, entry())
        self.assertIsNotNone(ready.find(b"a", 0.5))
        ready.add(b"e", entry())
        self.assertIsNone(ready.find(b"b", 0.5))
        self.assertIsNotNone(ready.find(b"a", 0.5))
        ready.add(b"f", entry(10_000))
        self.assertIsNone(ready.find(b"f", 0.5))
        self.assertLessEqual(ready.size, 5200)
        for key in (b"a", b"b", b"c", b"d", b"e"):
            ready.drop(key)
        self.assertEqual(ready.size, 0)

    def test_memory_off(self) -> None:
        """A cache of 0 keeps nothing."""
        rig = Rig(self.root, cache=0)
        rig.get("/a.txt")
        self.assertEqual(rig.ready.size, 0)

    def test_from_memory_to_a_peer_that_does_not_read(self) -> None:
        """Answers from memory obey back-pressure too."""
        write(self.root, "k.bin", b"x" * 40_000)
        self.rig.get("/k.bin")
        peer = self.rig.connect()
        peer.transport.blocked = True
        for _ in range(5):
            peer.send(request("/k.bin"))
        self.assertLess(len(peer.transport.dataBuffer), 100_000)
        peer.transport.unblock()
        self.assertEqual(peer.statuses, [200] * 5)


class ScriptTests(StaticCase):
    def setUp(self) -> None:
        super().setUp()
        write(self.root, "cgi-bin/x", b"source")

    def test_scripts(self) -> None:
        """A path in a CGI directory goes to the engine with any method but TRACE."""
        seen: list[Script] = []

        def run(exchange: Any, script: Script) -> None:
            seen.append(script)
            exchange.answer(200, (), b"ran")

        rig = Rig(self.root, run_script=run)
        self.assertEqual(rig.get("/cgi-bin/x/info?q").body, b"ran")
        self.assertEqual(rig.get("/cgi-bin/x", method="DELETE").body, b"ran")
        self.assertEqual(rig.get("/cgi-bin/x", method="TRACE").status, 405)
        self.assertEqual((seen[0].script_name, seen[0].path_info, len(seen)), ("/cgi-bin/x", "/info", 2))

    def test_scripts_without_engine(self) -> None:
        """Where no engine is, scripts are refused and not shown."""
        self.assertEqual(self.rig.get("/cgi-bin/x").status, 403)
