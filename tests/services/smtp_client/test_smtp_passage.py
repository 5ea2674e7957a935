"""Facts about the envelope on its way in, and the message on its way out."""

from __future__ import annotations

import base64
from email import message_from_bytes
from types import MappingProxyType
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.net.json_lines import Refusal
from netsvc.outbox.model import Item
from netsvc.services.smtp_client.aliases import Aliases
from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.departure import Departure, by_queue_name
from netsvc.services.smtp_client.dkim_keys import DkimKey
from netsvc.services.smtp_client.rewriting.rules import Masquerade, Rewriting
from netsvc.services.smtp_client.rewriting.tables import Table
from netsvc.services.smtp_client.terms import Envelope, Notice, Outcome
from netsvc.services.smtp_client.transcode import prepare

KEY = Ed25519PrivateKey.generate()
SEED = base64.b64encode(KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
RECORD = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
RULES = Rewriting(
    origin="web.corp.example",
    canonical=Table((("jo", "jo.doe@corp.example"),)),
    masquerade=Masquerade(domains=("corp.example",)),
    generic=Table((("@corp.example", "corp@isp.example"),)),
)
PLAIN = Rewriting(origin="")


class Arriving(SynchronousTestCase):
    ARRIVAL = Arrival(
        rewriting=RULES,
        aliases=Aliases((("all", tuple(f"u{at}" for at in range(999))), ("root", ("jo", "ops@else.example")))),
        local_domains=frozenset({"web.corp.example"}),
    )

    def test_envelope(self) -> None:
        """Aliases lead to names, names to addresses; each recipient stands once, with the wishes for who he was."""
        wish = Notice(notify=("success",), orcpt="rfc822;root@web.corp.example")
        made = self.ARRIVAL.envelope("cron", ["root", "jo", "x@y.example"], {"root": wish})
        self.assertEqual(made.sender, "cron@corp.example")
        self.assertEqual(made.recipients, ("jo.doe@corp.example", "ops@else.example", "x@y.example"))
        self.assertEqual(made.notices, {"jo.doe@corp.example": wish, "ops@else.example": wish})

    def test_null_sender(self) -> None:
        """The null sender stays the null sender."""
        self.assertEqual(self.ARRIVAL.envelope("", ["x@y.example"], {}).sender, "")

    def test_domain(self) -> None:
        """Who hands a message in may say what completes names, where no origin does; aliases know them first."""
        bare = Arrival(rewriting=PLAIN, aliases=Aliases((("root", ("ann@x.example",)),)))
        recipients = ["root", "jo", "b@y.example"]
        self.assertEqual(
            bare.envelope("", recipients, {}, "box.example").recipients,
            ("ann@x.example", "jo@box.example", "b@y.example"),
        )
        self.assertEqual(bare.envelope("", ["jo"], {}).recipients, ("jo",))
        whole = self.ARRIVAL.envelope("", ["nobody"], {}, "box.example").recipients
        self.assertEqual(whole, self.ARRIVAL.envelope("", ["nobody"], {}).recipients)

    def test_too_many(self) -> None:
        """Aliases that make more than a thousand recipients of few are refused; a thousand as they came are not."""
        huge = Arrival(rewriting=PLAIN, aliases=Aliases((("all", tuple(f"u{at}" for at in range(1001))),)))
        for arrival, recipients in ((self.ARRIVAL, ["all", "root"]), (huge, ["all"])):
            with self.assertRaises(Refusal) as caught:
                arrival.envelope("", recipients, {})
            self.assertEqual(caught.exception.code, "5.5.3")
        many = [f"a{at}@x.example" for at in range(1000)]
        self.assertEqual(self.ARRIVAL.envelope("", many, {}).recipients, tuple(many))


class Departing(SynchronousTestCase):
    def departure(self, **changed: Any) -> Departure:
        keys = (DkimKey("isp.example", "s", Secret("literal", SEED)),)
        return Departure(**{"host": "web.corp.example", "rewriting": RULES, "keys": keys, "by_smtp": True, **changed})

    def item(self, **changed: Any) -> Item:
        facts: dict[str, Any] = {
            **{"queue_id": "q1", "submitter": "uid:0", "sender": "root@corp.example", "key": None},
            **{"meta": MappingProxyType({}), "size": 1, "sha256": "", "accepted_at": 1.7e9, "state": "leased"},
            **{"attempts": 0, "recoveries": 0, "waited": 0.0, "scheduled_at": 0.0, "next_at": 0.0},
        }
        return Item(**{**facts, **changed})

    def test_signed_last(self) -> None:
        """The signature covers what we added and what we changed, and nothing that a server needs breaks it."""
        content = "To: root, Jo <jo>\nBcc: x@y\nSubject: hä\n\nhällo\n".encode()
        made = self.departure().message(self.item(), content)
        for octets in (made, prepare(made, eight_bit_mime=False, smtputf8=False).content):
            self.assertTrue(dkim.verify(octets, dnsfunc=lambda name, timeout=5: RECORD))
        parsed = message_from_bytes(made)
        self.assertEqual(parsed["From"], "<corp@isp.example>")
        self.assertEqual(parsed["To"], "corp@isp.example, Jo <corp@isp.example>")
        self.assertEqual((parsed["Bcc"], parsed["Message-ID"]), (None, "<q1@web.corp.example>"))
        self.assertEqual(self.departure().message(self.item(), content), made)

    def test_maildir(self) -> None:
        """What goes into a Maildir is rewritten for us, not for the world, and is not signed."""
        made = message_from_bytes(self.departure(by_smtp=False).message(self.item(), b"From: jo\n\nx\n"))
        self.assertEqual((made["From"], made["DKIM-Signature"]), ("jo.doe@corp.example", None))

    def test_no_rules(self) -> None:
        """Without rules and keys a whole message gets its Received field and nothing else."""
        content = b"From: jo\r\nDate: d\r\nMessage-ID: <m@x>\r\nTo: a,b\r\n\r\n.\r\n"
        made = self.departure(rewriting=PLAIN, keys=()).message(self.item(), content)
        self.assertTrue(made.startswith(b"Received: "))
        self.assertEqual(made[made.index(b"From:") :], content)

    def test_envelope(self) -> None:
        """The generic table changes the envelope too; what comes of it is known by the queue's names."""
        wish = Notice(notify=("never",))
        envelope = Envelope(
            sender="a@corp.example",
            recipients=("b@corp.example", "c@corp.example", "d@x"),
            notices={"c@corp.example": wish},
            envid="e",
        )
        made, names = self.departure().envelope(envelope)
        self.assertEqual(
            (made.sender, made.recipients, made.envid), ("corp@isp.example", ("corp@isp.example", "d@x"), "e")
        )
        self.assertEqual(made.notices, {"corp@isp.example": wish})
        outcomes = [Outcome(one, "delivered", 250, None, "ok") for one in made.recipients]
        self.assertEqual(
            [one.recipient for one in by_queue_name(outcomes, names)], ["b@corp.example", "c@corp.example", "d@x"]
        )
        same, names = self.departure(by_smtp=False).envelope(envelope)
        self.assertEqual((same, tuple(names)), (envelope, envelope.recipients))
