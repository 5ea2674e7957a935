"""The faults of spec/mail.md that lie within one session, played against the delivery protocol on a clock."""

from __future__ import annotations

from base64 import b64encode

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.smtp_client.terms import Envelope, Notice, Relay, Timeouts
from tests.services.smtp_client.stage import EHLO, GO, GREETING, LOGIN, MESSAGE, OK, PASSWORD, PIPELINING, PLAIN, Stage

THREE = ("a@there.example", "b@there.example", "c@there.example")
REQUIRED = Relay(host="mail.example", port=25, tls="require")


class HappyTests(SynchronousTestCase):
    def test_a_message_is_delivered_command_by_command(self) -> None:
        """Without PIPELINING each command waits for its reply; the message ends with one dot; QUIT follows."""
        stage = Stage()
        self.assertEqual(stage.sent(), b"")
        self.assertEqual(stage.say(GREETING), b"EHLO client.example\r\n")
        self.assertEqual(stage.say(EHLO), b"MAIL FROM:<me@here.example> SIZE=21\r\n")
        self.assertEqual(stage.say(OK), b"RCPT TO:<a@there.example>\r\n")
        self.assertEqual(stage.say(OK), b"DATA\r\n")
        self.assertEqual(stage.say(GO), MESSAGE + b".\r\n")
        self.assertEqual(stage.fired, [])
        self.assertEqual(stage.say(b"250 2.0.0 queued as 1\r\n"), b"QUIT\r\n")
        self.assertEqual(
            (stage.only.result, stage.only.code, stage.only.enhanced, stage.only.text, stage.only.phase),
            ("delivered", 250, "2.0.0", "queued as 1", "dot"),
        )
        self.assertEqual((stage.only.code, stage.only.enhanced, stage.only.text), (250, "2.0.0", "queued as 1"))
        self.assertTrue(stage.pipe.disconnecting)
        stage.lose(clean=True)
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_pipelining_sends_one_group(self) -> None:
        """With PIPELINING, MAIL, every RCPT and DATA leave together."""
        stage = Stage(to=THREE[:2])
        self.assertEqual(
            stage.say(GREETING, PIPELINING).partition(b"MAIL")[2],
            b" FROM:<me@here.example>\r\nRCPT TO:<a@there.example>\r\nRCPT TO:<b@there.example>\r\nDATA\r\n",
        )
        self.assertEqual(stage.say(OK + OK + OK + GO), MESSAGE + b".\r\n")
        stage.say(OK)
        self.assertEqual(stage.results, ["delivered", "delivered"])

    def test_every_split_of_the_replies_delivers(self) -> None:
        """Replies cut anywhere mean the same."""
        stage = Stage()
        script = GREETING + EHLO + OK + OK + GO + b"250 2.0.0 done\r\n"
        for at in range(len(script)):
            stage.say(script[at : at + 1])
        self.assertEqual(stage.results, ["delivered"])

    def test_8bit_content_is_declared(self) -> None:
        """8-bit content goes as it is where 8BITMIME is offered, and MAIL says so."""
        content = "Content-Type: text/plain; charset=utf-8\r\n\r\nhällo\r\n".encode()
        stage = Stage(content=content)
        self.assertTrue(stage.say(GREETING, EHLO).endswith(b"SIZE=51 BODY=8BITMIME\r\n"))
        self.assertEqual(stage.say(OK, OK, GO).partition(b"DATA\r\n")[2], content + b".\r\n")

    def test_the_null_sender(self) -> None:
        """A bounce goes out from <>."""
        stage = Stage(sender="")
        self.assertIn(b"MAIL FROM:<> SIZE", stage.say(GREETING, EHLO))

    def test_a_peer_that_ignores_quit_is_cut(self) -> None:
        """Five seconds after QUIT the connection is cut, whatever the peer does."""
        stage = Stage()
        stage.to_data()
        stage.say(GO, OK)
        stage.say(b"221 bye\r\n")
        self.assertFalse(stage.pipe.aborted)
        stage.clock.advance(5)
        self.assertTrue(stage.pipe.aborted)

    def test_cancel(self) -> None:
        """A delivery that is stopped before the dot is retried, after it ambiguous."""
        stage = Stage()
        stage.say(GREETING)
        stage.delivery.cancel()
        self.assertEqual((stage.only.result, stage.only.text), ("retry", "the delivery was stopped here"))
        stage = Stage()
        stage.to_data()
        stage.say(GO)
        stage.delivery.cancel()
        stage.lose()
        self.assertEqual(stage.results, ["ambiguous"])

    def test_a_fault_of_ours_loses_nothing(self) -> None:
        """An exception inside netsvc becomes a retry and one logged failure."""
        stage = Stage(content=None)  # type: ignore[arg-type]
        stage.say(GREETING, EHLO)
        self.assertEqual((stage.only.result, stage.only.enhanced), ("retry", "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class ConnectFaultTests(SynchronousTestCase):
    def test_mail_fault_03_accepted_and_silent(self) -> None:
        """A server that says nothing for five minutes is given up; the mail is retried."""
        stage = Stage()
        stage.clock.advance(299)
        self.assertEqual(stage.fired, [])
        stage.clock.advance(1)
        self.assertEqual((stage.only.result, stage.only.phase, stage.only.code), ("retry", "greeting", None))
        self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_04_banner_421(self) -> None:
        """A 421 banner is retried with its words."""
        stage = Stage()
        stage.say(b"421 4.3.2 busy\r\n")
        self.assertEqual((stage.only.result, stage.only.code, stage.only.text), ("retry", 421, "busy"))

    def test_mail_fault_05_banner_554(self) -> None:
        """A 554 banner speaks of the server, not of the message: retry, politely ended."""
        stage = Stage()
        self.assertEqual(stage.say(b"554 no service\r\n"), b"QUIT\r\n")
        self.assertEqual((stage.only.result, stage.only.code, stage.only.phase), ("retry", 554, "greeting"))

    def test_a_banner_that_is_neither(self) -> None:
        """A banner of 250 is no greeting."""
        stage = Stage()
        stage.say(b"250 hi\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 250))

    def test_mail_fault_06_banner_by_drips(self) -> None:
        """Octets that drip in prolong no phase."""
        stage = Stage()
        for _ in range(10):
            stage.say(b"220-x\r\n")
            stage.clock.advance(29.9)
        self.assertEqual(stage.fired, [])
        stage.clock.advance(1)
        self.assertEqual(stage.results, ["retry"])

    def test_mail_fault_07_binary_rubbish(self) -> None:
        """Rubbish ends the session at once."""
        for rubbish in (
            b"\x00\xff\x16\x03\x01\n",
            b"\x80" * 5000,
            b"hello\r\n",
            b"99 x\r\n",
            b"1234 x\r\n",
            b"150 x\r\n",
        ):
            stage = Stage()
            stage.say(rubbish)
            self.assertEqual((stage.only.result, stage.only.code), ("retry", None), rubbish)
            self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_08_endless_multiline(self) -> None:
        """A reply without end is cut after 128 lines."""
        stage = Stage()
        for _ in range(127):
            stage.say(b"220-x\r\n")
        self.assertEqual(stage.fired, [])
        stage.say(b"220-x\r\n")
        self.assertEqual(stage.results, ["retry"])

    def test_mail_fault_09_bare_lf_replies(self) -> None:
        """Replies that end in LF alone are understood."""
        stage = Stage()
        stage.say(*(reply.replace(b"\r\n", b"\n") for reply in (GREETING, EHLO, OK, OK, GO, OK)))
        self.assertEqual(stage.results, ["delivered"])

    def test_mail_fault_10_mixed_codes(self) -> None:
        """A reply whose lines bear different codes is none."""
        stage = Stage()
        stage.say(b"220-x\r\n250 y\r\n")
        self.assertEqual(stage.results, ["retry"])
        stage = Stage()
        stage.to_data()
        stage.say(GO, b"250-x\r\n550 y\r\n")
        self.assertEqual(stage.results, ["ambiguous"])


class HelloFaultTests(SynchronousTestCase):
    def test_mail_fault_11_helo(self) -> None:
        """A server without EHLO is spoken to with HELO and without extensions."""
        stage = Stage()
        self.assertEqual(stage.say(GREETING, b"500 what?\r\n"), b"EHLO client.example\r\nHELO client.example\r\n")
        self.assertEqual(stage.say(b"250-x\r\n250 PIPELINING\r\n"), b"MAIL FROM:<me@here.example>\r\n")

    def test_mail_fault_11_helo_refused_too(self) -> None:
        """HELO refused ends it; there is no loop."""
        stage = Stage()
        self.assertEqual(stage.say(GREETING, b"502 no\r\n", b"502 no\r\n").count(b"LO "), 2)
        self.assertEqual((stage.only.result, stage.only.code, stage.only.phase), ("retry", 502, "ehlo"))

    def test_mail_fault_12_ehlo_421(self) -> None:
        """421 to EHLO ends the session without HELO."""
        stage = Stage()
        self.assertEqual(stage.say(GREETING, b"421 off\r\n"), b"EHLO client.example\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 421))

    def test_mail_fault_13_starttls_454(self) -> None:
        """STARTTLS refused where TLS is required: retry, nothing of the mail was sent. Where it may be: in clear."""
        offer = b"250-x\r\n250 STARTTLS\r\n"
        stage = Stage(REQUIRED)
        self.assertTrue(stage.say(GREETING, offer).endswith(b"STARTTLS\r\n"))
        self.assertEqual(stage.say(b"454 4.7.0 not now\r\n"), b"QUIT\r\n")
        self.assertEqual((stage.only.result, stage.only.code, stage.only.phase), ("retry", 454, "starttls"))
        stage = Stage(evolve(REQUIRED, tls="may"))
        self.assertTrue(stage.say(GREETING, offer, b"454 no\r\n").endswith(b"MAIL FROM:<me@here.example>\r\n"))

    def test_mail_fault_14_starttls_stripped(self) -> None:
        """Without the offer of STARTTLS nothing is sent where TLS is required."""
        for tls in ("require", "verify"):
            stage = Stage(evolve(REQUIRED, tls=tls))
            self.assertNotIn(b"MAIL", stage.say(GREETING, EHLO))
            self.assertEqual((stage.only.result, stage.only.enhanced), ("retry", "4.7.4"))
        stage = Stage(REQUIRED)
        stage.say(GREETING, b"502 no\r\n", b"250 x\r\n")
        self.assertEqual(stage.results, ["retry"])
        stage = Stage(evolve(REQUIRED, tls="may"))
        self.assertIn(b"MAIL", stage.say(GREETING, EHLO))

    def test_mail_fault_15_replies_injected_after_220(self) -> None:
        """Anything in clear behind the 220 of STARTTLS, a whole reply or part of one, ends the session."""
        for injected in (b"250 x\r\n250 x\r\n250 x\r\n354 x\r\n250 x\r\n", b"2", b"\r\n", b"250-x\r\n"):
            for tls in ("may", "require", "verify"):
                stage = Stage(evolve(REQUIRED, tls=tls))
                sent = stage.say(GREETING, b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n" + injected)
                self.assertTrue(sent.endswith(b"STARTTLS\r\n"))
                self.assertEqual((stage.only.result, stage.only.code), ("retry", None))
                self.assertFalse(stage.session.tls_failed)
                self.assertTrue(stage.pipe.aborted)


class AuthFaultTests(SynchronousTestCase):
    OFFER = b"250-x\r\n250 AUTH LOGIN PLAIN\r\n"

    def test_plain_then_mail(self) -> None:
        """PLAIN is preferred and sent with the command."""
        stage = Stage(LOGIN)
        token = b64encode(f"\0anna\0{PASSWORD}".encode())
        self.assertTrue(stage.say(GREETING, self.OFFER).endswith(b"AUTH PLAIN " + token + b"\r\n"))
        self.assertIn(b"MAIL", stage.say(b"235 2.7.0 in\r\n"))

    def test_login_answers_two_questions(self) -> None:
        """LOGIN answers name and password in this order; the old form AUTH= counts as an offer."""
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, b"250-x\r\n250 AUTH=LOGIN\r\n").endswith(b"AUTH LOGIN\r\n"))
        self.assertEqual(stage.say(b"334 VXNlcm5hbWU6\r\n"), b64encode(b"anna") + b"\r\n")
        self.assertEqual(stage.say(b"334 UGFzc3dvcmQ6\r\n"), b64encode(PASSWORD.encode()) + b"\r\n")
        self.assertIn(b"MAIL", stage.say(b"235 in\r\n"))

    def test_the_next_mechanism_after_504(self) -> None:
        """A mechanism that is offered and then not known gives way to the next."""
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, self.OFFER, b"504 no\r\n").endswith(b"AUTH LOGIN\r\n"))

    def test_mail_fault_22_535(self) -> None:
        """535 is retried, once a session, and the password that the server says back does not get out."""
        stage = Stage(LOGIN)
        token = b64encode(f"\0anna\0{PASSWORD}".encode()).decode()
        stage.say(GREETING, self.OFFER)
        stage.sent()
        self.assertEqual(stage.say(f"535-5.7.8 no {PASSWORD}\r\n535 5.7.8 {token} bad\r\n".encode()), b"QUIT\r\n")
        self.assertEqual(stage.only.text, "no [secret] [secret] bad")
        self.assertEqual((stage.only.result, stage.only.code, stage.only.enhanced), ("retry", 535, "5.7.8"))
        self.assertNotIn(PASSWORD, repr(stage.outcomes) + repr(LOGIN) + repr(vars(stage.session)))

    def test_mail_fault_23_454(self) -> None:
        """454 is retried."""
        stage = Stage(LOGIN)
        stage.say(GREETING, self.OFFER, b"454 4.7.0 later\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 454))

    def test_mail_fault_24_no_common_mechanism(self) -> None:
        """No common mechanism, or none at all: retry, and nothing of the mail is sent."""
        for offer in (b"250-x\r\n250 AUTH GSSAPI NTLM\r\n", EHLO):
            stage = Stage(LOGIN)
            self.assertTrue(stage.say(GREETING, offer).endswith(b"QUIT\r\n"))
            self.assertEqual((stage.only.result, stage.only.phase), ("retry", "auth"))

    def test_mail_fault_25_bad_challenge(self) -> None:
        """A challenge that is no base64, or one too many, is cancelled with a star."""
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, self.OFFER, b"334 one more?\r\n").endswith(b"*\r\n"))
        self.assertEqual(stage.say(b"501 cancelled\r\n"), b"QUIT\r\n")
        self.assertEqual(stage.results, ["retry"])
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, b"250-x\r\n250 AUTH LOGIN\r\n", b"334 $$$\r\n").endswith(b"*\r\n"))
        stage.say(b"501 cancelled\r\n")
        self.assertEqual(stage.only.text, "LOGIN: the server's challenge is not base64")
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, self.OFFER, b"334 \xff\xff\r\n").endswith(b"*\r\n"))

    def test_mail_fault_26_offered_only_before_tls(self) -> None:
        """Credentials never go in clear unless told: with TLS optional and absent, nothing is sent."""
        stage = Stage(evolve(LOGIN, tls="may", auth_without_tls=False))
        self.assertNotIn(b"AUTH", stage.say(GREETING, self.OFFER))
        self.assertEqual((stage.only.result, stage.only.enhanced), ("retry", "4.7.11"))

    def test_no_password(self) -> None:
        """A name without a password is said to be so."""
        stage = Stage(evolve(LOGIN, password=None))
        stage.say(GREETING, self.OFFER)
        self.assertEqual(stage.only.text, "a user name is given and no password")


class EnvelopeFaultTests(SynchronousTestCase):
    def test_mail_fault_27_mail_refused(self) -> None:
        """MAIL 4yz is retried, 5yz permanent, 530 (log in first) speaks of the session; all recipients share it."""
        for reply, result in (
            (b"451 4.3.0 x\r\n", "retry"),
            (b"550 5.1.7 x\r\n", "permanent"),
            (b"530 x\r\n", "retry"),
        ):
            stage = Stage(to=THREE)
            self.assertTrue(stage.say(GREETING, EHLO, reply).endswith(b"QUIT\r\n"))
            self.assertEqual(stage.results, [result] * 3)
            self.assertEqual(stage.outcomes[0].phase, "mail")

    def test_mail_fault_27_mail_refused_pipelined(self) -> None:
        """Pipelined replies behind a refused MAIL change nothing, and a 354 is answered with a dot alone."""
        stage = Stage(to=THREE[:1])
        stage.say(GREETING, PIPELINING)
        self.assertEqual(stage.say(b"451 x\r\n503 y\r\n354 go\r\n"), b".\r\n")
        self.assertEqual(stage.say(b"554 nobody\r\n"), b"QUIT\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 451))
        stage = Stage(to=THREE[:1])
        stage.say(GREETING, PIPELINING)
        self.assertEqual(stage.say(b"550 x\r\n503 y\r\n503 z\r\n"), b"QUIT\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("permanent", 550))

    def test_an_empty_message_never_reaches_anybody(self) -> None:
        """A server that refuses MAIL and takes RCPT and DATA is cut, not sent a dot."""
        stage = Stage()
        stage.say(GREETING, PIPELINING)
        self.assertEqual(stage.say(b"451 x\r\n250 y\r\n354 go\r\n"), b"")
        self.assertTrue(stage.pipe.aborted)
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 451))

    def test_mail_fault_28_over_size(self) -> None:
        """A message over the server's SIZE is refused here, with both numbers."""
        stage = Stage(content=b"x" * 99 + b"\n", to=THREE)
        self.assertTrue(stage.say(GREETING, b"250-x\r\n250 SIZE 100\r\n").endswith(b"QUIT\r\n"))
        self.assertEqual(stage.results, ["permanent"] * 3)
        self.assertEqual((stage.outcomes[0].enhanced, stage.outcomes[0].code), ("5.3.4", None))
        self.assertIn("101 octets", stage.outcomes[0].text)

    def test_mail_fault_28_size_unlimited_or_unreadable(self) -> None:
        """SIZE 0, SIZE alone and a SIZE that is no number limit nothing."""
        for size in (b"SIZE 0", b"SIZE", b"SIZE many", b"SIZE -1"):
            stage = Stage()
            self.assertIn(
                b"MAIL FROM:<me@here.example> SIZE=21\r\n", stage.say(GREETING, b"250-x\r\n250 " + size + b"\r\n")
            )

    def test_mail_fault_29_rcpt_mix(self) -> None:
        """Each recipient gets what was said of it; the accepted share the reply to the dot."""
        for ehlo in (EHLO, PIPELINING):
            stage = Stage(to=THREE)
            stage.say(GREETING, ehlo, OK, OK, b"450 4.2.0 grey\r\n", b"550 5.1.1 who?\r\n")
            self.assertEqual(stage.say(GO), MESSAGE + b".\r\n")
            stage.say(b"250 2.0.0 ok\r\n")
            self.assertEqual(stage.results, ["delivered", "retry", "permanent"])
            self.assertEqual([outcome.code for outcome in stage.outcomes], [250, 450, 550])
            self.assertEqual([outcome.recipient for outcome in stage.outcomes], list(THREE))

    def test_mail_fault_30_all_greylisted(self) -> None:
        """All refused for now: no DATA, all retried."""
        stage = Stage(to=THREE)
        sent = stage.say(GREETING, EHLO, OK, *[b"451 4.7.1 grey\r\n"] * 3)
        self.assertTrue(sent.endswith(b"QUIT\r\n"))
        self.assertNotIn(b"DATA", sent)
        self.assertEqual(stage.results, ["retry"] * 3)

    def test_mail_fault_30_all_refused_and_data_taken(self) -> None:
        """A server that takes pipelined DATA with nobody to send to gets a dot alone."""
        stage = Stage(to=THREE[:2])
        stage.say(GREETING, PIPELINING, OK + b"550 a\r\n550 b\r\n")
        self.assertEqual(stage.say(GO), b".\r\n")
        stage.lose()
        self.assertEqual(stage.results, ["permanent", "permanent"])
        self.assertEqual(stage.outcomes[1].text, "b")

    def test_mail_fault_31_452_after_n(self) -> None:
        """452 after some were taken: those get the mail, and the others have the next transaction at once."""
        for reply in (b"452 4.5.3 enough\r\n", b"552 too many\r\n"):
            stage = Stage(to=THREE)
            self.assertTrue(stage.say(GREETING, EHLO, OK, OK, reply).endswith(b"DATA\r\n"))
            self.assertTrue(stage.say(GO, OK).endswith(b"\r\n.\r\nMAIL FROM:<me@here.example> SIZE=21\r\n"))
            self.assertEqual(
                stage.say(OK, OK, OK), b"RCPT TO:<b@there.example>\r\nRCPT TO:<c@there.example>\r\nDATA\r\n"
            )
            self.assertEqual(stage.fired, [])
            stage.say(GO, b"250 2.0.0 both\r\n")
            self.assertEqual(stage.results, ["delivered"] * 3)
            self.assertEqual([outcome.text for outcome in stage.outcomes], ["fine", "both", "both"])

    def test_mail_fault_31_452_to_the_first(self) -> None:
        """452 to the first of a transaction is retried later: there would be no end."""
        stage = Stage(to=THREE)
        stage.say(GREETING, EHLO, OK, OK, b"452 4.5.3 enough\r\n", GO, OK, OK)
        stage.say(b"452 4.5.3 enough\r\n", b"452 4.5.3 enough\r\n")
        self.assertEqual(stage.results, ["delivered", "retry", "retry"])
        self.assertEqual(stage.outcomes[2].phase, "rcpt")

    def test_mail_fault_31_452_and_the_message_refused(self) -> None:
        """Where the message was not taken from those before, the others wait for a later time."""
        for reply, result in ((b"451 x\r\n", "retry"), (b"554 x\r\n", "permanent")):
            stage = Stage(to=THREE)
            stage.say(GREETING, EHLO, OK, OK, b"452 4.5.3 enough\r\n", GO, reply)
            self.assertEqual(stage.results, [result, "retry", "retry"])
            self.assertEqual(stage.outcomes[1].code, 452)

    def test_a_cut_in_a_later_transaction(self) -> None:
        """A cut after the second dot is ambiguous for its recipients only."""
        stage = Stage(to=THREE)
        stage.say(GREETING, EHLO, OK, OK, b"452 4.5.3 enough\r\n", GO, OK, OK, OK, b"452 4.5.3 enough\r\n", GO)
        stage.lose()
        self.assertEqual(stage.results, ["delivered", "ambiguous", "retry"])

    def test_mail_fault_31_552_is_not_always_too_many(self) -> None:
        """552 5.2.2 (mailbox full) is permanent, as is a 552 to the first."""
        stage = Stage(to=THREE[:2])
        stage.say(GREETING, EHLO, OK, OK, b"552 5.2.2 full\r\n", GO, OK)
        self.assertEqual(stage.results, ["delivered", "permanent"])
        stage = Stage()
        stage.say(GREETING, EHLO, OK, b"552 x\r\n")
        self.assertEqual(stage.results, ["permanent"])

    def test_mail_fault_31_452_pipelined(self) -> None:
        """In a pipeline each has its own 452, and the next transaction is for them."""
        stage = Stage(to=THREE)
        stage.say(GREETING, PIPELINING, OK + OK + b"452 x\r\n" * 2 + GO)
        self.assertEqual(
            stage.say(OK),
            b"MAIL FROM:<me@here.example>\r\nRCPT TO:<b@there.example>\r\nRCPT TO:<c@there.example>\r\nDATA\r\n",
        )
        stage.say(OK + OK + b"550 5.1.1 who?\r\n" + GO, OK)
        self.assertEqual(stage.results, ["delivered", "delivered", "permanent"])

    def test_a_thousand_recipients(self) -> None:
        """A thousand recipients go in transactions of a hundred; RCPTMAX of RFC 9422 makes them smaller."""
        limited = b"250-x\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=99 RCPTMAX=40\r\n"
        for ehlo, most in ((PIPELINING, 100), (limited, 40)):
            stage = Stage(to=tuple(f"n{number}@there.example" for number in range(1000)))
            sent = stage.say(GREETING, ehlo)
            transactions = 0
            while not stage.fired:
                count = sent.count(b"RCPT TO")
                self.assertLessEqual(count, most)
                transactions += 1
                sent = stage.say(OK * (count + 1) + GO, b"250 2.0.0 taken\r\n")
            self.assertEqual((transactions, stage.results), (1000 // most, ["delivered"] * 1000))

    def test_a_server_that_takes_few_transactions(self) -> None:
        """After MAILMAX transactions the rest is retried, and the session ends politely."""
        stage = Stage(to=THREE)
        stage.say(GREETING, b"250-x\r\n250 LIMITS RCPTMAX=1 MAILMAX=2\r\n", OK, OK, GO, OK, OK, OK, GO)
        self.assertEqual(stage.say(OK), b"QUIT\r\n")
        self.assertEqual(stage.results, ["delivered", "delivered", "retry"])

    def test_a_transaction_refused_stops_no_other(self) -> None:
        """With all of one transaction refused the next is made, behind a RSET; 4yz at DATA or dot ends it for now."""
        limits = b"250-x\r\n250 LIMITS RCPTMAX=1\r\n"
        stage = Stage(to=THREE[:2])
        self.assertTrue(stage.say(GREETING, limits, OK, b"550 5.1.1 x\r\n").endswith(b"\r\nRSET\r\n"))
        stage.say(OK, OK, OK, GO, OK)
        self.assertEqual(stage.results, ["permanent", "delivered"])
        stage = Stage(to=THREE[:2])
        stage.say(GREETING, limits, OK, OK, GO, b"452 4.3.1 full\r\n")
        self.assertEqual(stage.results, ["retry", "retry"])

    def test_dsn(self) -> None:
        """RET, ENVID, NOTIFY and ORCPT go to a server that offers DSN, as xtext; the server then owes the notices."""
        notices = {
            "a@there.example": Notice(notify=("success", "delay"), orcpt="rfc822;a+b=c@there.example"),
            "b@there.example": Notice(notify=("never",), orcpt="utf-8;用\\户@there.example"),
        }
        envelope = Envelope(sender="me@x", recipients=THREE, ret="hdrs", envid="id +1=2", notices=notices)
        stage = Stage(envelope=envelope)
        self.assertTrue(
            stage.say(GREETING, b"250-x\r\n250 DSN\r\n").endswith(b"MAIL FROM:<me@x> RET=HDRS ENVID=id+20+2B1+3D2\r\n")
        )
        self.assertEqual(
            stage.say(OK, OK, OK),
            b"RCPT TO:<a@there.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb+3Dc@there.example\r\n"
            b"RCPT TO:<b@there.example> NOTIFY=NEVER ORCPT=utf-8;\\x{7528}\\x{5C}\\x{6237}@there.example\r\n"
            b"RCPT TO:<c@there.example>\r\n",
        )
        stage.say(b"550 5.1.1 x\r\n", GO, OK)
        self.assertEqual([outcome.notified for outcome in stage.outcomes], [True, True, False])
        stage = Stage(envelope=envelope)
        self.assertTrue(stage.say(GREETING, b"250 x\r\n").endswith(b"MAIL FROM:<me@x>\r\n"))
        stage.say(OK, OK, OK, OK, GO, OK)
        self.assertFalse(any(outcome.notified for outcome in stage.outcomes))

    def test_wishes_that_cannot_be_said(self) -> None:
        """NEVER with others, an ORCPT without its type and an ENVID with line ends are refused where they are made."""
        for orcpt in ("a@x", "rfc822;a b", "rfc822;ü@x", "rfc822;a\r\nQUIT", "utf-8;\ud800", "x" * 600 + ";a"):
            with self.assertRaises(ValueError):
                Notice(orcpt=orcpt)
        for notify in (("never", "delay"), ("delay", "delay")):
            with self.assertRaises(ValueError):
                Notice(notify=notify)  # type: ignore[arg-type]
        for envid in ("a\r\nb", "ü", "x" * 101):
            with self.assertRaises(ValueError):
                Envelope(sender="", recipients=(), envid=envid)

    def test_requiretls(self) -> None:
        """REQUIRETLS goes nowhere without TLS that was verified; the phase says that another relay may be tried."""
        stage = Stage(envelope=Envelope(sender="me@x", recipients=THREE, require_tls=True))
        sent = stage.say(GREETING, b"250-x\r\n250 REQUIRETLS\r\n")
        self.assertNotIn(b"MAIL", sent)
        self.assertEqual(stage.results, ["permanent"] * 3)
        self.assertEqual((stage.outcomes[0].enhanced, stage.outcomes[0].phase), ("5.7.10", "tls"))
        relay = evolve(PLAIN, tls="verify")
        for required, result, status in ((True, "permanent", "5.7.10"), (False, "retry", "4.7.4")):
            stage = Stage(relay, envelope=Envelope(sender="me@x", recipients=("a@x",), require_tls=required))
            stage.say(GREETING, EHLO)
            self.assertEqual((stage.only.result, stage.only.enhanced, stage.only.phase), (result, status, "ehlo"))

    def test_requiretls_of_a_bounce(self) -> None:
        """REQUIRETLS hinders no message of the null sender: it goes to a server without it, too (RFC 8689 5)."""
        stage = Stage(envelope=Envelope(sender="", recipients=("a@x",), require_tls=True))
        self.assertNotIn(b"REQUIRETLS", stage.say(GREETING, EHLO, OK, OK, GO, OK))
        self.assertEqual(stage.results, ["delivered"])

    def test_mail_fault_32_421_at_rcpt(self) -> None:
        """421 at RCPT retries all but those already refused for good."""
        stage = Stage(to=THREE)
        stage.say(GREETING, EHLO, OK, b"550 5.1.1 x\r\n", OK, b"421 4.3.2 bye\r\n")
        self.assertEqual(stage.results, ["permanent", "retry", "retry"])
        self.assertEqual(stage.outcomes[1].code, 421)

    def test_mail_fault_33_no_smtputf8(self) -> None:
        """Without SMTPUTF8 an address that needs it is refused, and only that one."""
        stage = Stage(to=("用户@there.example", "a@there.example", "b@bücher.example"))
        sent = stage.say(GREETING, EHLO, OK, OK)
        self.assertNotIn("用户".encode(), sent)
        self.assertIn(b"RCPT TO:<b@xn--bcher-kva.example>\r\n", sent)
        stage.say(OK, GO, OK)
        self.assertEqual(stage.results, ["permanent", "delivered", "delivered"])
        self.assertEqual((stage.outcomes[0].enhanced, stage.outcomes[0].phase), ("5.6.7", "content"))

    def test_mail_fault_33_sender_needs_smtputf8(self) -> None:
        """A sender that needs it refuses all."""
        stage = Stage(sender="我@here.example", to=THREE)
        stage.say(GREETING, EHLO)
        self.assertEqual([outcome.enhanced for outcome in stage.outcomes], ["5.6.7"] * 3)

    def test_smtputf8_offered(self) -> None:
        """With SMTPUTF8 the address goes as it is and MAIL says so."""
        stage = Stage(to=("用户@there.example",))
        sent = stage.say(GREETING, b"250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n", OK)
        self.assertIn(b"MAIL FROM:<me@here.example> SMTPUTF8\r\n", sent)
        self.assertIn("RCPT TO:<用户@there.example>\r\n".encode(), sent)

    def test_an_address_cannot_hold_a_command(self) -> None:
        """Addresses with line ends, brackets or blanks are refused before anything is sent of them."""
        bad = ("a@x>\r\nRCPT TO:<b@x", "a b@x", "<a@x>", "a@x\0", "", "a@" + "x" * 300, "\ud800@x", 'a"@x')
        stage = Stage(to=(*bad, '"a b>"@x.example'))
        sent = stage.say(GREETING, EHLO, OK)
        self.assertEqual(sent.count(b"RCPT"), 1)
        self.assertIn(b'RCPT TO:<"a b>"@x.example>\r\n', sent)
        stage.say(OK, GO, OK)
        self.assertEqual(stage.results, ["permanent"] * len(bad) + ["delivered"])
        stage = Stage(sender="a\r\nDATA")
        stage.say(GREETING, EHLO)
        self.assertEqual((stage.only.result, stage.only.enhanced), ("permanent", "5.1.7"))
        stage = Stage(to=("a b",))
        self.assertTrue(stage.say(GREETING, EHLO).endswith(b"example\r\nQUIT\r\n"))

    def test_replies_that_ask_for_more(self) -> None:
        """A 3yz where nothing more is to come ends the session."""
        for script in ([b"354 x\r\n"], [OK, b"354 x\r\n"], [OK, OK, b"250 x\r\n"]):
            stage = Stage()
            stage.say(GREETING, EHLO, *script)
            self.assertEqual(stage.results, ["retry"])
            self.assertTrue(stage.pipe.aborted)


class DataFaultTests(SynchronousTestCase):
    def test_mail_fault_34_data_refused(self) -> None:
        """DATA 4yz is retried, 5yz permanent."""
        for ehlo in (EHLO, PIPELINING):
            for reply, result in ((b"451 x\r\n", "retry"), (b"554 5.7.1 x\r\n", "permanent")):
                stage = Stage()
                stage.say(GREETING, ehlo, OK, OK, reply)
                self.assertEqual((stage.only.result, stage.only.phase), (result, "data"))

    def test_mail_fault_35_early_552_in_the_body(self) -> None:
        """A refusal in the middle of the body is final: the dot is never sent, the connection cut."""
        big = b"x" * 70 + b"\r\n"
        for reply, result in (
            (b"552 5.3.4 big\r\n", "permanent"),
            (b"452 full\r\n", "retry"),
            (b"421 off\r\n", "retry"),
        ):
            stage = Stage(content=big * 5000, open_window=False)
            stage.to_data(b"250 x\r\n")
            stage.say(GO)
            stage.pipe.producer.resumeProducing()
            self.assertNotIn(b"\r\n.\r\n", stage.say(reply))
            self.assertEqual((stage.only.result, stage.only.phase), (result, "body"))
            self.assertTrue(stage.pipe.aborted)
            self.assertIsNone(stage.pipe.producer)

    def test_mail_fault_35_early_refusal_of_a_part(self) -> None:
        """Refused in the body, the message is tried later for those who were not in that transaction."""
        stage = Stage(content=b"x\r\n" * 100_000, open_window=False, to=THREE)
        stage.say(GREETING, b"250 x\r\n", OK, OK, b"452 4.5.3 enough\r\n", GO, b"552 5.3.4 big\r\n")
        self.assertEqual(stage.results, ["permanent", "retry", "retry"])
        self.assertEqual([outcome.code for outcome in stage.outcomes], [552, 452, 452])

    def test_mail_fault_36_zero_window(self) -> None:
        """A block that the peer does not take in three minutes ends it; memory holds two blocks at most."""
        stage = Stage(content=b"x" * 70 + b"\r\n" * 1_000_000, open_window=False)
        stage.to_data(b"250 x\r\n")
        self.assertLess(len(stage.say(GO)), 70 * 1024)
        stage.clock.advance(179)
        stage.pipe.producer.resumeProducing()
        stage.clock.advance(179)
        self.assertEqual(stage.fired, [])
        stage.clock.advance(1)
        self.assertEqual((stage.only.result, stage.only.phase), ("retry", "body"))
        self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_37_cut_in_the_body(self) -> None:
        """A cut while the kernel has not taken the whole dot is a plain retry, even if we had written it."""
        for drained, result in ((False, "retry"), (True, "ambiguous")):
            stage = Stage(open_window=False)
            stage.to_data()
            self.assertTrue(stage.say(GO).endswith(b"\r\n.\r\n"))
            if drained:
                stage.drain()
            stage.lose()
            self.assertEqual(stage.results, [result])

    def test_mail_fault_38_cut_after_the_dot(self) -> None:
        """A cut between dot and reply is ambiguous, whether by FIN or by RST; those refused before stay refused."""
        for clean in (True, False):
            stage = Stage(to=THREE[:2])
            stage.say(GREETING, EHLO, OK, OK, b"550 no\r\n", GO)
            stage.lose(clean)
            self.assertEqual(stage.results, ["ambiguous", "permanent"])
            self.assertIn("never acknowledged", stage.outcomes[0].text)

    def test_mail_fault_39_reply_after_the_time_limit(self) -> None:
        """No reply to the dot in ten minutes is ambiguous; a reply that comes later changes nothing."""
        stage = Stage()
        stage.to_data()
        stage.say(GO)
        stage.clock.advance(599)
        self.assertEqual(stage.fired, [])
        stage.clock.advance(1)
        stage.say(OK)
        self.assertEqual(stage.results, ["ambiguous"])

    def test_mail_fault_40_4xx_at_the_dot(self) -> None:
        """4yz at the dot is retried; so is 421."""
        for reply in (b"451 4.3.0 x\r\n", b"421 4.3.2 x\r\n"):
            stage = Stage()
            stage.to_data()
            stage.say(GO, reply)
            self.assertEqual((stage.only.result, stage.only.phase), ("retry", "dot"))

    def test_mail_fault_41_5xx_at_the_dot(self) -> None:
        """5yz at the dot is permanent, with the server's words cleaned and bounded."""
        stage = Stage()
        stage.to_data()
        stage.say(GO, b"554-5.7.1 spam\x1b[31m\r\n554 5.7.1 " + b"x" * 1000 + b"\r\n")
        self.assertEqual((stage.only.result, stage.only.code, stage.only.enhanced), ("permanent", 554, "5.7.1"))
        self.assertTrue(stage.only.text.startswith("spam [31m xxx"))
        self.assertEqual(len(stage.only.text), 512)

    def test_mail_fault_42_25_then_cut(self) -> None:
        """Half a reply is none."""
        for part in (b"25", b"250-ok\r\n", b"250 ok"):
            stage = Stage()
            stage.to_data()
            stage.say(GO, part)
            stage.lose(clean=True)
            self.assertEqual(stage.results, ["ambiguous"])

    def test_mail_fault_43_extra_reply(self) -> None:
        """A reply that no command asked for ends the session as deferred, wherever it stands before the dot."""
        for at in range(4):
            script = [GREETING, EHLO, OK, OK]
            script[at] += OK
            stage = Stage()
            stage.say(*script, GO, OK)
            self.assertEqual((stage.only.result, stage.only.code), ("retry", None), at)
            self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_43_extra_reply_in_a_pipeline(self) -> None:
        """In a pipeline an extra reply shifts the others, and the body is not begun."""
        stage = Stage()
        self.assertNotIn(b"Subject", stage.say(GREETING, PIPELINING, OK + OK + OK + GO))
        self.assertEqual(stage.results, ["retry"])

    def test_mail_fault_43_a_reply_to_the_dot_before_the_dot(self) -> None:
        """A 250 with or before the body is a lie: cut, and retried."""
        stage = Stage()
        stage.to_data()
        self.assertEqual(stage.say(GO + OK), b"")
        self.assertEqual(stage.results, ["retry"])
        stage = Stage(open_window=False)
        stage.to_data()
        stage.say(GO, OK)
        self.assertEqual(stage.results, ["retry"])
        self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_43_an_extra_421(self) -> None:
        """An unasked 421 is heard."""
        stage = Stage()
        stage.say(GREETING, EHLO + b"421 4.3.2 going down\r\n")
        self.assertEqual((stage.only.result, stage.only.code), ("retry", 421))

    def test_mail_fault_43_extra_reply_after_the_dot(self) -> None:
        """After the reply to the dot the message is delivered; an extra one only ends the connection."""
        stage = Stage()
        stage.to_data()
        self.assertEqual(stage.say(GO, OK + OK).partition(b"\r\n.\r\n")[2], b"")
        self.assertEqual(stage.results, ["delivered"])
        self.assertTrue(stage.pipe.aborted)

    def test_mail_fault_44_250_then_rst(self) -> None:
        """250, then RST: delivered."""
        stage = Stage()
        stage.to_data()
        stage.say(GO, OK)
        stage.lose()
        self.assertEqual(stage.results, ["delivered"])

    def test_mail_fault_50_empty_body(self) -> None:
        """Nothing at all is sent as a dot, and delivered."""
        stage = Stage(content=b"")
        stage.to_data()
        self.assertEqual(stage.say(GO), b".\r\n")
        stage.say(OK)
        self.assertEqual(stage.results, ["delivered"])

    def test_mail_fault_51_nul(self) -> None:
        """A NUL in the message is refused for good."""
        stage = Stage(content=b"a: b\r\n\r\n\0")
        stage.say(GREETING, EHLO)
        self.assertEqual((stage.only.result, stage.only.enhanced), ("permanent", "5.6.0"))

    def test_mail_fault_52_received_fields(self) -> None:
        """101 Received fields pass, a hundred and our own; 102 are a loop."""
        for count, result in ((101, None), (102, "permanent")):
            stage = Stage(content=b"Received: x\r\n" * count + b"\r\nhi")
            stage.say(GREETING, EHLO)
            self.assertEqual([outcome[0].result for outcome in stage.fired], [result] if result else [])

    def test_every_phase_has_its_limit(self) -> None:
        """Each phase ends by its own limit, and dripping prolongs none."""
        limits = Timeouts(greeting=1, ehlo=2, mail=3, rcpt=4, data=5, termination=6)
        script = [GREETING, EHLO, OK, OK, GO]
        for count, phase in enumerate(("greeting", "ehlo", "mail", "rcpt", "data", "dot")):
            stage = Stage(timeouts=limits)
            stage.say(*script[:count])
            stage.clock.advance(count + 0.5)
            stage.say(b"25")
            self.assertEqual(stage.fired, [])
            stage.clock.advance(0.5)
            self.assertEqual(stage.only.phase, phase)
            self.assertEqual(stage.only.result, "ambiguous" if phase == "dot" else "retry")

    def test_lost_at_every_point(self) -> None:
        """Wherever the connection ends before the dot is out, by FIN or RST, the mail is retried."""
        script = [GREETING, EHLO, OK, OK]
        for count in range(len(script) + 1):
            for clean in (True, False):
                stage = Stage(to=THREE[:1])
                stage.say(*script[:count])
                stage.lose(clean)
                self.assertEqual((stage.only.result, stage.only.enhanced), ("retry", "4.4.2"))


REPLIES = [
    GREETING,
    EHLO,
    PIPELINING,
    OK,
    OK,
    OK,
    GO,
    GO,
    b"250-x\r\n",
    b"421 x\r\n",
    b"450 x\r\n",
    b"550 x\r\n",
    b"503 x\r\n",
]
STEPS = st.one_of(
    st.lists(st.sampled_from([*REPLIES, b"\xff", b"\r\n", b"235 x\r\n", b"334 \r\n"]), min_size=1, max_size=4).map(
        b"".join
    ),
    st.sampled_from(["drain", 1, 200, 700]),
)
BEGINNINGS = st.sampled_from([[], [GREETING], [GREETING, EHLO, OK, OK], [GREETING, PIPELINING, OK + OK + OK + GO]])


class AnyServerTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None, max_examples=400)
    @given(BEGINNINGS, st.lists(STEPS, max_size=12), st.integers(1, 9), st.sampled_from([PLAIN, LOGIN]), st.booleans())
    def test_any_server(
        self, beginning: list[bytes], steps: list[bytes | int | str], cut: int, relay: Relay, big: bool
    ) -> None:
        """Whatever a server does, each recipient gets one outcome, and `delivered` only by a 2yz behind the dot."""
        content = MESSAGE + b"x\r\n" * (100_000 if big else 0)
        stage = Stage(relay, to=THREE[:2], content=content, open_window=False)
        wrote = b""
        acknowledged = taken = False
        for step in (*beginning, *steps):
            if step == "drain":
                stage.drain()
                wrote += stage.sent()
                taken = taken or (b"\r\n.\r\n" in wrote and stage.pipe.producer is None)
            elif isinstance(step, int):
                stage.clock.advance(step)
            elif isinstance(step, bytes):
                acknowledged = acknowledged or taken
                for at in range(0, len(step), cut):
                    wrote += stage.say(step[at : at + cut])
        stage.lose()
        self.assertEqual([outcome.recipient for outcome in stage.outcomes], list(THREE[:2]))
        self.assertEqual(stage.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
        if "delivered" in stage.results:
            self.assertTrue(acknowledged)
        if "ambiguous" in stage.results:
            self.assertTrue(taken)


class PlainRelayTests(SynchronousTestCase):
    def test_tls_none_ignores_the_offer(self) -> None:
        """Where TLS is off its offer is not taken."""
        stage = Stage(PLAIN)
        self.assertNotIn(b"STARTTLS", stage.say(GREETING, b"250-x\r\n250 STARTTLS\r\n"))
