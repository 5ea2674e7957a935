"""Options of routing, and the router that is made of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.errors import BadValue
from netsvc.services.smtp_client.routing.places import place
from netsvc.services.smtp_client.routing.route import Hops
from netsvc.services.smtp_client.routing.service import make_router
from netsvc.services.smtp_client.routing.settings import RoutingSettings, logins, routing_faults
from netsvc.services.smtp_client.routing.table import routes, tls_policies
from netsvc.services.smtp_client.terms import Relay
from tests.services.smtp_client.routing.names import now

HERE = Context(Path("/"), {"P": "geheim"})


class Runtime:
    """What a service is handed."""

    name = "smtp_client:a"

    def __init__(self, directory: str) -> None:
        self.reactor = Clock()
        self.state_directory = Path(directory)

    def in_thread(self, function: Any, *arguments: Any) -> Any:
        return succeed(function(*arguments))


class Options(SynchronousTestCase):
    def test_defaults(self) -> None:
        """Every default is read as it is shown, and they stand together."""
        for one in options(RoutingSettings):
            self.assertEqual(one.value.parse(one.default_text, HERE), one.default, one.key)
        self.assertEqual(list(routing_faults(RoutingSettings())), [])

    def test_logins(self) -> None:
        """A login has a name, a user and a secret by reference, which is not shown."""
        text = "work anna@a.example env:P\n  home anna literal:a b c"
        work, home = logins().parse(text, HERE)
        self.assertEqual((work.name, work.username, work.password.reveal()), ("work", "anna@a.example", "geheim"))
        self.assertEqual(home.password.reveal(), "a b c")
        self.assertNotIn("geheim", f"{work} {work!r} {logins().show((work, home))}")

    def test_bad_logins(self) -> None:
        """A fault stands at its position, and no line is repeated in it, for it may hold a password."""
        for text, at in (
            ("work anna", 0),
            ("\n  work geheim\n", 3),
            ("work anna geheim", 10),
            ("work anna env:Q", 14),
            ("a/b anna env:P", 0),
            ("work a env:P\nwork b env:P", 13),
        ):
            with self.assertRaises(BadValue, msg=text) as caught:
                logins().parse(text, HERE)
            self.assertEqual(caught.exception.at, at, text)
            self.assertNotIn("geheim", str(caught.exception))

    def test_together(self) -> None:
        """A login that nobody gave is a fault, in routes and in the default place."""
        settings = RoutingSettings(
            routes=routes().parse("* smtp:x login=work smtp:y login=home", HERE),
            credentials=logins().parse("work a env:P", HERE),
        )
        faults = routing_faults(settings, [place("smtp:z login=other")])
        self.assertEqual([key for key, _ in faults], ["routes", "relay"])


class Made(SynchronousTestCase):
    def test_router(self) -> None:
        """A router goes by its settings, and looks nothing up for smarthosts; our own address is a loop."""
        with TemporaryDirectory() as directory:
            settings = RoutingSettings(
                routes=routes().parse("a.example smtps:x.example login=work", HERE),
                credentials=logins().parse("work anna env:P", HERE),
                tls_policies=tls_policies().parse("x.example require", HERE),
                own_names=("192.0.2.7",),
            )
            runtime: Any = Runtime(directory)
            router = make_router(
                settings,
                runtime,
                default=place("mx"),
                smarthost=Relay(host="", port=25, tls="verify"),
                names=["here.example"],
            )
            hops = now(router.route("a.example", ""))
            assert isinstance(hops, Hops)
            (relay,) = hops.relays
            self.assertEqual((relay.host, relay.username, relay.tls), ("x.example", "anna", "require"))
            loop: Any = now(router.route("[192.0.2.7]", ""))
            self.assertEqual(loop.enhanced, "5.4.6")
            self.assertEqual(list(Path(directory).iterdir()), [])
