"""Installed as a wheel, installed for development, and with a kind of a third party beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
BOUND = 180.0  # seconds for one pip run on a loaded machine

TWISTD = "from twisted.scripts.twistd import run; run()"

FINGER = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "netsvc-finger"
version = "1.0"

[project.entry-points."netsvc.services"]
finger = "netsvc_finger:KIND"

[tool.setuptools]
packages = ["netsvc_finger"]
""",
    "netsvc_finger/__init__.py": """\
from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="finger",
    summary="Tells who is who.",
    source="RFC 1288",
    settings="netsvc_finger.settings:FingerSettings",
    make_service="netsvc_finger.service:make_service",
)
""",
    "netsvc_finger/settings.py": """\
from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class FingerSettings(ServerSettings):
    plan: str = option(values.text(), default="No Plan.", help="What everybody is told.")
""",
    "netsvc_finger/service.py": """\
from twisted.internet.protocol import ServerFactory
from twisted.protocols.basic import LineOnlyReceiver


class Finger(LineOnlyReceiver):
    def lineReceived(self, line):
        self.sendLine(self.factory.plan.encode())
        self.transport.loseConnection()


class FingerFactory(ServerFactory):
    protocol = Finger

    def __init__(self, plan):
        self.plan = plan


def make_service(settings, runtime):
    return runtime.serve(settings, stream=FingerFactory(settings.plan))
""",
}


def run(*command: str | Path, **options: object) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, timeout=BOUND, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout)


class InstallTests(SynchronousTestCase):
    """twistd and netsvc find what was installed."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-install-"))
        self.addCleanup(shutil.rmtree, self.directory)
        # Without a pip of its own, which takes longer than all that is installed.
        run(sys.executable, "-m", "venv", "--without-pip", self.directory / "venv")
        self.python = self.directory / "venv" / "bin" / "python"
        # The dependencies of this environment, without netsvc: its own .pth file is not read from here.
        libraries = sysconfig.get_path("purelib")
        site = run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        Path(site, "dependencies.pth").write_text(libraries + "\n")

    def install(self, *arguments: str | Path) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.python, "--quiet", "--disable-pip-version-check")
        run(*pip, "install", "--no-deps", *arguments)

    def copied(self) -> Path:
        """A copy of the sources, so that a build leaves nothing in the checkout."""
        target = self.directory / "source"
        target.mkdir()
        for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, target)
        for name in ("netsvc", "twisted"):
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        return target

    def expect_netsvc(self, home: Path) -> None:
        elsewhere = self.directory
        found = run(self.python, "-c", "import netsvc; print(netsvc.__file__)", cwd=elsewhere)
        self.assertTrue(found.startswith(str(home)), found)
        self.assertIn(" netsvc ", run(self.python, "-c", TWISTD, "--help", cwd=elsewhere))
        self.assertIn(" web ", run(self.python, "-c", TWISTD, "--help", cwd=elsewhere))
        self.assertIn("echo", run(self.python.with_name("netsvc"), "kinds", cwd=elsewhere))
        run(self.python, "-c", TWISTD, "-n", "netsvc", "--help", cwd=elsewhere)

    def test_editable(self) -> None:
        """An editable install is seen by twistd from anywhere."""
        source = self.copied()
        self.install("--editable", source)
        self.expect_netsvc(source)

    def test_wheel(self) -> None:
        """A wheel carries the plugin, the command and py.typed; twistd and a kind of a third party see it."""
        self.install(self.copied())
        self.expect_netsvc(self.directory / "venv")
        run(
            self.python,
            "-c",
            "import netsvc, pathlib; assert (pathlib.Path(netsvc.__file__).parent / 'py.typed').exists()",
        )
        self.assert_third_party()

    def assert_third_party(self) -> None:
        """A kind from a package of its own is listed, checked and run."""
        for name, text in FINGER.items():
            file = self.directory / "finger" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.install(self.directory / "finger")
        command = self.python.with_name("netsvc")
        self.assertIn("RFC 1288", run(command, "kinds"))
        self.assertIn("What everybody is told.", run(command, "kinds", "finger"))
        ini = self.directory / "finger.ini"
        ini.write_text("[netsvc]\nstate_directory = state\n[finger]\nlisten = unix:finger.sock\nplan = Sleep.\n")
        run(command, "check", ini)
        log = self.directory / "log"
        with log.open("w") as out:
            daemon = subprocess.Popen(
                [self.python, "-c", TWISTD, "-n", "--pidfile=", "netsvc", "--config", ini],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
            )
        try:
            answer = run(
                "socat", "-t", "20", "-", f"UNIX-CONNECT:{self.directory / 'finger.sock'},retry=100,interval=0.2",
                input="who\r\n",
            )  # fmt: skip
        finally:
            daemon.terminate()
            daemon.wait(BOUND)
        self.assertEqual(answer, "Sleep.\n", log.read_text())
