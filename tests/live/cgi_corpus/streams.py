"""What a script reads and prints."""

# ruff: noqa: E501 - the lines of scripts

from __future__ import annotations

from tests.live.cgi_corpus.case import Cases

CASES = Cases()
add = CASES.add

COUNT = r"""
import hashlib, os, sys
data = sys.stdin.buffer.read()
print(len(data), hashlib.sha256(data).hexdigest(), os.environ.get("CONTENT_LENGTH"))
print(sys.stdin.buffer.read(), sys.stdin.read(), os.read(0, 1))
"""
BINARY = bytes(range(256))
for _size in (0, 1, 65_536, 10_000_000):
    add(
        f"body-{_size}",
        COUNT,
        method="POST",
        body=BINARY * (_size // 256) or b"x" * _size,
        expect=rf"^{_size - _size % 256 if _size > 256 else _size} ",
    )
add("body-chunked", COUNT, method="PUT", body=BINARY * 1000, chunked=True, expect="^256000 ")
add(
    "body-text",
    r"""
import sys
print(ascii(sys.stdin.readline()), ascii(sys.stdin.read(3)), [ascii(line) for line in sys.stdin])
""",
    method="POST",
    body="erste\r\nzweite €\nüü".encode(),
    expect="erste",
)
add("body-no-text", "import sys\nsys.stdin.read()\n", method="POST", body=b"\xff\xfe\xfd")
add(
    "body-partly",
    r"""
import os, sys
print(sys.stdin.buffer.read(10), os.read(0, 5))
""",
    method="POST",
    body=b"0123456789abcdef" * 20_000,
    expect="b'0123456789'",
)
add("body-unread", 'print("not read")\n', method="POST", body=b"x" * 3_000_000, expect="not read")
add(
    "body-by-others",
    r"""
import subprocess, sys
print(sys.stdin.buffer.raw.read(4))
sys.stdout.flush()
subprocess.run(["/usr/bin/wc", "-c"])
""",
    method="POST",
    body=b"x" * 1000,
    expect="996",
)
add(
    "input",
    r"""
print(input(), input("what? "))
try:
    input("more? ")
except EOFError as error:
    print(repr(error))
""",
    method="POST",
    body=b"one\ntwo",
    expect="EOFError",
)
add("input-none", 'input("name? ")\n', log="EOFError")
add("breakpoint", 'value = 3\nbreakpoint()\nprint("after")\n', log="BdbQuit")
add("breakpoint-post", 'value = 3\nbreakpoint()\nprint("after")\n', method="POST", body=b"p value\nc\n", expect="3")
add("large", 'import sys\nfor n in range(200_000):\n    print("line", n)\n', expect="line 199999")
add("large-binary", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 20_000)\n", expect="\x00\x01")
add(
    "no-newline-at-end",
    b'#!{python}\nprint("Content-Type: text/plain\\n")\nprint("end", end="")',
    fill=True,
    expect="end$",
)
add("head-only", 'print("Content-Type: text/plain\\n")\n', head=False)
add("silent", "pass\n", head=False, status=500, log="it printed nothing; exit status 0")
add("empty-script", b"#!{python}", fill=True, head=False, status=500, log="it printed nothing; exit status 0")
add("head-method", 'print("unseen")\n', method="HEAD")
add(
    "status",
    'print("Status: 418 Teapot\\nX-One: 1\\nX-One: 2\\nSet-Cookie: a=b\\nSet-Cookie: c=d\\nContent-Type: text/html\\n\\nhi")\n',
    head=False,
    status=418,
    expect="hi",
)
add(
    "status-line", 'print("HTTP/1.1 404 Nope\\nContent-Type: text/html\\n\\nno")\n', head=False, status=404, expect="no"
)
add("redirect", 'print("Location: https://example.org/\\n")\n', head=False, status=302)
add(
    "redirect-local",
    'print("Location: /file.txt\\n")\n',
    head=False,
    expect="a file",
)
add(
    "nph-answer",
    'print("HTTP/1.1 201 Own\\r\\nContent-Type: text/plain\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nown", end="")\n',
    head=False,
    filename="nph-answer.py",
    status=201,
    expect="own",
)
add("bad-head", 'print("no header at all")\n', head=False, status=500)
add("crlf-output", 'print("Content-Type: text/plain", end="\\r\\n\\r\\n")\nprint("x")\n', head=False, expect="x")
add(
    "order-of-streams",
    r"""
import os, sys
print("first, buffered")
os.write(1, b"second, at once\n")
sys.stdout.buffer.write(b"third\n")
sys.stderr.write("half a line, ")
os.write(2, b"the rest\n")
""",
    expect="second.*first",
    log="half a line, ",
)
add("stdout-closed", 'import sys\nsys.stdout.close()\nprint("x")\n', log="closed file")
add("stdout-closed-quietly", "import sys\nsys.stdout.close()\n")
add("stdout-none", 'import sys\nsys.stdout = None\nprint("x")\n')
add("stdout-deleted", 'import sys\ndel sys.stdout\nprint("x")\n', log="lost sys.stdout")
add(
    "stdout-taken-away",
    'import os\nprint("lost")\nos.close(1)\n',
    log="Exception ignored.*Bad file descriptor",
)
add("stdout-detached", 'import sys\nsys.stdout.detach()\nsys.stderr.write("gone")\n', log="gone")
add("stderr-closed", 'import sys\nsys.stderr.close()\nraise ValueError("unseen")\n')
add("stderr-none", 'import sys\nsys.stderr = None\nraise ValueError("unseen")\n')
add("stdin-closed", 'import sys\nsys.stdin.close()\nprint("x")\n', expect="x")
add(
    "streams-replaced",
    r"""
import io, sys
class Shouting(io.TextIOWrapper):
    def write(self, text):
        return super().write(text.upper())
sys.stdout = Shouting(sys.stdout.buffer, "utf-8")
print("loud")
sys.stderr = sys.stdout
raise ValueError("on stdout")
""",
    expect="LOUD",
)
add(
    "reconfigured",
    r"""
import sys
sys.stdout.reconfigure(encoding="utf-16", newline="\r\n", line_buffering=True)
print("wide")
open(1, "wb", closefd=False).write(b"raw")
""",
    expect="raw",
)
add(
    "descriptors-moved",
    r"""
import os, sys
os.dup2(1, 2)
print("on stderr", file=sys.stderr)
nothing = os.open("/dev/null", os.O_WRONLY)
os.dup2(nothing, 1)
print("to nobody")
""",
    expect="on stderr",
)
add("unflushed", 'import os, sys\nsys.stdout.write("lost")\nos._exit(0)\n')
add(
    "flushed-late",
    'import sys\nsys.stdout.write("kept")\nsys.stderr.write("kept, too")\n',
    expect="kept",
    log="kept, too",
)
add("stderr-binary", "import sys\nsys.stderr.buffer.write(bytes(range(1, 256)) + b'\\n')\n", log=".")
add("stderr-much", 'import sys\nfor n in range(1200):\n    print("line", n, file=sys.stderr)\n', log="line 999")
add(
    "logging",
    r"""
import logging
logging.warning("%s to stderr", "straight")
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s %(processName)s %(threadName)s %(module)s")
logging.getLogger("a.b").debug("fine")
print(logging.root.handlers, logging.getLogger("a.b").parent, sorted(logging.root.manager.loggerDict), logging._handlers.valuerefs())
""",
    log="straight",
    again=True,
)
