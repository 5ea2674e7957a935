"""The submission listener without a network: what is allowed when, line ends, limits, and arbitrary octets."""

from __future__ import annotations

import base64
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.listener import wire
from netsvc.services.smtp_client.listener.events import End, Login, Message, Room, StartTls, Terms
from netsvc.services.smtp_client.listener.octets import DotReader, has_bare_line_end
from netsvc.services.smtp_client.listener.wire import Conversation
from netsvc.services.smtp_client.terms import Notice
from netsvc.services.smtp_client.wire import CANONICAL, LARGE
from netsvc.services.smtp_client.wishes import to_envelope

TERMS = Terms(host="here.example", max_message=1000, max_recipients=3, login=False, starttls=False)
WITH_LOGIN = Terms(host="here.example", max_message=1000, max_recipients=3, login=True, starttls=True)
ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"
REPLIES = re.compile(rb"(?:(?:[2-5][0-9][0-9]-[ -~]*\r\n)*[2-5][0-9][0-9] [ -~]*\r\n)*")


class Talk:
    """A conversation whose events are answered at once: every message is taken, every password is 'right'."""

    def __init__(self, terms: Terms = TERMS, *, secure: bool = False, near: bool = True) -> None:
        self.wire = Conversation(terms, secure=secure, near=near)
        self.messages: list[Message] = []
        self.events: list[Any] = []
        self.greeting = self.wire.output()
        self.refusal: Refusal | None = None

    def say(self, *pieces: bytes) -> list[bytes]:
        """Send octets; the replies."""
        for piece in pieces:
            self.wire.receive(piece)
            self.run()
        return self.wire.output().splitlines()

    def run(self) -> None:
        while (event := self.wire.next()) is not None:
            self.events.append(event)
            match event:
                case Room():
                    self.wire.go_ahead()
                case Login():
                    if event.password == "right":
                        self.wire.logged_in(event.user)
                    else:
                        self.wire.login_refused(535, "5.7.8", "wrong")
                case Message():
                    self.messages.append(event)
                    if self.refusal is None:
                        self.wire.taken("q1")
                    else:
                        self.wire.refused(self.refusal)
                case StartTls():
                    self.wire.secured()
                case End():
                    return

    def codes(self, *pieces: bytes) -> list[int]:
        """Send octets; the codes of the replies, one of each reply."""
        return [int(line[:3]) for line in self.say(*pieces) if line[3:4] == b" "]

    @property
    def ended(self) -> bool:
        return self.wire.closed


def message(body: bytes) -> list[Message]:
    """What comes of a message's octets behind DATA."""
    talk = Talk()
    talk.say(ENVELOPE, b"DATA\r\n", body)
    return talk.messages


class Order(SynchronousTestCase):
    def test_a_message(self) -> None:
        """A message comes out as it was, with its envelope, and is answered with its queue id."""
        talk = Talk()
        self.assertEqual(talk.greeting, b"220 here.example ESMTP netsvc\r\n")
        self.assertEqual(talk.codes(ENVELOPE), [250, 250, 250])
        self.assertEqual(talk.codes(b"DATA\r\n"), [354])
        self.assertEqual(talk.say(b"Subject: x\r\n\r\n..\r\n.\r\n"), [b"250 2.0.0 kept as q1"])
        (found,) = talk.messages
        self.assertEqual((found.sender, found.recipients), ("a@x", ("b@y",)))
        self.assertEqual(found.content, b"Subject: x\r\n\r\n.\r\n")
        self.assertEqual(found.meta, {"protocol": "ESMTP", "helo": "me"})
        self.assertEqual(talk.codes(b"QUIT\r\n"), [221])
        self.assertTrue(talk.ended)

    def test_pipelined(self) -> None:
        """Whole, octet by octet, and with more behind it: the same replies."""
        octets = ENVELOPE + b"DATA\r\nhello\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@z>\r\nDATA\r\n.\r\nNOOP\r\n"
        whole = Talk()
        replies = whole.say(octets)
        self.assertEqual(
            [one[:3] for one in replies[-9:]], [b"250"] * 2 + [b"354"] + [b"250"] * 3 + [b"354"] + [b"250"] * 2
        )
        single = Talk()
        self.assertEqual(single.say(*[octets[at : at + 1] for at in range(len(octets))]), replies)
        self.assertEqual([one.content for one in single.messages], [b"hello\r\n", b""])
        self.assertEqual([one.sender for one in single.messages], ["a@x", ""])

    def test_what_is_allowed_when(self) -> None:
        """The table at the head of the module."""
        states = {
            "start": b"",
            "greeted": b"EHLO me\r\n",
            "mail": b"EHLO me\r\nMAIL FROM:<a@x>\r\n",
            "rcpt": ENVELOPE,
            "chunk": ENVELOPE + b"BDAT 2\r\nhi",
        }
        expected = {
            b"EHLO me": [250] * 5,
            b"HELO me": [250] * 5,
            b"RSET": [250] * 5,
            b"NOOP x": [250] * 5,
            b"HELP": [214] * 5,
            b"VRFY b": [252] * 5,
            b"QUIT": [221] * 5,
            b"MAIL FROM:<a@x>": [503, 250, 503, 503, 503],
            b"RCPT TO:<c@y>": [503, 503, 250, 250, 503],
            b"DATA": [503, 503, 554, 354, 503],
            b"BDAT 0 LAST": [503, 503, 554, 250, 250],
            b"EXPN x": [502] * 5,
            b"STARTTLS": [502] * 5,
            b"AUTH PLAIN": [502] * 5,
            b"NONSENSE": [500] * 5,
            b"": [500] * 5,
            b"DATA now": [501, 501, 501, 501, 503],
        }
        for command, codes in expected.items():
            for (state, before), code in zip(states.items(), codes, strict=True):
                talk = Talk()
                talk.say(before)
                self.assertEqual(talk.codes(command + b"\r\n"), [code], (command, state))

    def test_what_is_allowed_when_there_are_users(self) -> None:
        """In clear on this machine: AUTH once after EHLO, MAIL after it; from afar: nothing before TLS."""
        login = b"AUTH PLAIN " + base64.b64encode(b"\0joe\0right") + b"\r\n"
        near = Talk(WITH_LOGIN)
        self.assertEqual(near.codes(login), [503])
        self.assertIn(b"250-AUTH PLAIN LOGIN", near.say(b"EHLO me\r\n"))
        self.assertEqual(near.codes(b"MAIL FROM:<a@x>\r\n"), [530])
        self.assertEqual(near.codes(login, login, b"MAIL FROM:<a@x>\r\n"), [235, 503, 250])
        far = Talk(WITH_LOGIN, near=False)
        greeting = far.say(b"EHLO me\r\n")
        self.assertIn(b"250-STARTTLS", greeting)
        self.assertFalse([one for one in greeting if b"AUTH" in one])
        self.assertEqual(far.codes(login, b"MAIL FROM:<a@x>\r\n"), [538, 530])
        self.assertEqual(far.codes(b"STARTTLS\r\n"), [220])
        self.assertEqual(far.codes(b"MAIL FROM:<a@x>\r\n"), [503])
        greeting = far.say(b"EHLO me\r\n")
        self.assertIn(b"250-AUTH PLAIN LOGIN", greeting)
        self.assertNotIn(b"250-STARTTLS", greeting)
        self.assertEqual(far.codes(b"STARTTLS\r\n", login, b"MAIL FROM:<a@x>\r\n"), [503, 235, 250])
        far.say(b"RCPT TO:<b@y>\r\nDATA\r\n.\r\n")
        self.assertEqual(far.messages[0].meta["protocol"], "ESMTPSA")

    def test_a_stranger_where_nobody_logs_in(self) -> None:
        """Without users, who is not on this machine is sent away: this is no open relay."""
        talk = Talk(near=False)
        self.assertTrue(talk.greeting.startswith(b"554 5.7.1"))
        self.assertEqual(talk.say(ENVELOPE), [])
        self.assertTrue(talk.ended)

    def test_starttls_discards(self) -> None:
        """What came in clear behind STARTTLS, and all that was said before, counts for nothing (RFC 3207 4.2)."""
        talk = Talk(WITH_LOGIN)
        self.assertEqual(talk.codes(b"EHLO evil\r\n", b"STARTTLS\r\nEHLO evil\r\nNOOP\r\n"), [250, 220])
        self.assertEqual(talk.codes(b"AUTH PLAIN\r\n"), [503])

    def test_shut_down(self) -> None:
        """Between transactions it is 421 at once; within one, when that is over."""
        talk = Talk()
        talk.say(b"EHLO me\r\n")
        talk.wire.shut_down()
        talk.run()
        self.assertTrue(talk.wire.output().startswith(b"421 4.3.2"))
        talk = Talk()
        talk.say(ENVELOPE)
        talk.wire.shut_down()
        self.assertEqual(talk.codes(b"DATA\r\n", b"x\r\n.\r\nMAIL FROM:<a@x>\r\n"), [354, 250, 421])
        self.assertTrue(talk.ended)

    def test_time_out(self) -> None:
        """Who takes too long hears 421."""
        talk = Talk()
        talk.wire.time_out()
        talk.run()
        self.assertEqual(talk.wire.output(), b"421 4.4.2 it took too long\r\n")
        self.assertTrue(talk.ended)


class LineEnds(SynchronousTestCase):
    def test_in_commands(self) -> None:
        """A bare LF or CR in a command ends the conversation, wherever it is; nothing behind it is obeyed."""
        for octets in (b"NOOP\n", b"\n", b"NO\rOP\r\n", b"NOOP\r\r\n", b"NOOP\nNOOP\r\n", b"\r\r\n", b"\rx"):
            for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))]):
                talk = Talk()
                self.assertEqual(talk.codes(*pieces), [554], octets)
                self.assertTrue(talk.ended)

    def test_smuggling(self) -> None:
        """Only CRLF . CRLF ends a message: what others took for an end (CVE-2023-51764) ends the conversation."""
        inner = b"MAIL FROM:<evil@x>\r\nRCPT TO:<c@y>\r\nDATA\r\nsmuggled\r\n.\r\n"
        for end in (
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\n.\r",
            b"\r.\n",
            b"\r\n.\r\r\n",
        ):
            octets = b"Subject: x\r\n\r\nhello" + end + inner
            for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))]):
                talk = Talk()
                self.assertEqual(talk.codes(ENVELOPE, b"DATA\r\n", *pieces)[3:], [354, 554], end)
                self.assertEqual(talk.messages, [], end)
                self.assertTrue(talk.ended, end)

    def test_like_an_end_at_the_beginning(self) -> None:
        """The same at the very beginning of a message."""
        for end in (b".\n", b".\rx"):
            talk = Talk()
            self.assertEqual(talk.codes(ENVELOPE, b"DATA\r\n", end)[3:], [354, 554])

    def test_in_a_message(self) -> None:
        """Within a message a bare CR or LF makes no line, and so no dot behind one is stuffed; it passes as it is."""
        for body in (b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n\r\n", b"..\n\r\n", b"\n.a\r\n"):
            octets = body + b".\r\nRSET\r\n"
            for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))]):
                talk = Talk()
                self.assertEqual(talk.codes(ENVELOPE, b"DATA\r\n", *pieces)[3:], [354, 250, 250], body)
                self.assertEqual(talk.messages[0].content, body.removeprefix(b".") if body[:1] == b"." else body)

    def test_in_chunks(self) -> None:
        """Chunks are counted, so that their octets are what they are."""
        talk = Talk()
        self.assertEqual(talk.codes(ENVELOPE, b"BDAT 2\r\na\r", b"BDAT 4 LAST\r\n\n.\r\nNOOP\r\n")[3:], [250, 250, 250])
        self.assertEqual(talk.messages[0].content, b"a\r\n.\r\n")

    def test_an_empty_chunk(self) -> None:
        """What is pipelined behind a chunk of no octets is looked at at once, whether the chunk is taken or not."""
        self.assertEqual(Talk().codes(b"BDAT 0\r\nNOOP\r\n"), [503, 250])
        self.assertEqual(Talk().codes(ENVELOPE + b"BDAT 0\r\nBDAT 0 LAST\r\nQUIT\r\n")[3:], [250, 250, 221])

    def test_dots(self) -> None:
        """Every line's stuffed dot goes, and nothing else does."""
        self.assertEqual(message(b"..\r\n...\r\n.a\r\na.\r\n.\r\n")[0].content, b".\r\n..\r\na\r\na.\r\n")

    @given(st.binary(max_size=60), st.integers(1, 7))
    @settings(deadline=None)
    def test_any_message(self, octets: bytes, size: int) -> None:
        """A message with CRLF alone arrives as it was sent, in pieces of any size, and its end is seen."""
        content = b"\r\n".join(re.split(rb"[\r\n]+", octets)) + b"\r\n"
        stuffed = re.sub(rb"(?m)(\A|(?<=\r\n))\.", b"..", content) + b".\r\nNOOP\r\n"
        pieces = [stuffed[at : at + size] for at in range(0, len(stuffed), size)]
        talk = Talk()
        self.assertEqual(talk.codes(ENVELOPE, b"DATA\r\n", *pieces)[3:], [354, 250, 250])
        self.assertEqual(talk.messages[0].content, content)

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\r\n.\r\n"]), max_size=14), st.integers(1, 4))
    @settings(deadline=None)
    def test_the_end_does_not_depend_on_the_pieces(self, parts: list[bytes], size: int) -> None:
        """In pieces of any size a reader finds the same end, the same faults and the same message."""

        def read(pieces: list[bytes]) -> Any:
            reader = DotReader(100)
            for number, piece in enumerate(pieces):
                rest = reader.feed(piece)
                if reader.ambiguous:
                    return "ambiguous"
                if rest is not None:
                    return rest + b"".join(pieces[number + 1 :]), reader.message()
            return None

        octets = b"".join(parts)
        self.assertEqual(read([octets[at : at + size] for at in range(0, len(octets), size)]), read([octets]))

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"."]), max_size=10))
    @settings(deadline=None)
    def test_bare_line_ends(self, parts: list[bytes]) -> None:
        """A CR or an LF stands alone if one is left without all CRLF."""
        octets = b"".join(parts)
        self.assertEqual(
            has_bare_line_end(octets, 0, len(octets)), bool(re.search(rb"(?<!\r)\n|\r(?!\n)", octets)), octets
        )

    def test_known_line_ends(self) -> None:
        """Of a large message that came with DATA it is kept that all its lines end with CRLF, if they do."""
        terms = Terms(host="here.example", max_message=1 << 20, max_recipients=3, login=False, starttls=False)
        for line, known in ((b"x\r\n", True), (b"x\n", False), (b"x\r", False)):
            for size in (2, LARGE):
                talk = Talk(terms)
                talk.say(ENVELOPE, b"DATA\r\n", line, b"x\r\n" * (size // 3), b"\r\n.\r\n")
                self.assertEqual(CANONICAL in talk.messages[0].meta, known and size == LARGE)
        talk = Talk(terms)
        talk.say(ENVELOPE, b"BDAT %d LAST\r\n" % LARGE, b"x" * (LARGE - 2) + b"\r\n")
        self.assertNotIn(CANONICAL, talk.messages[0].meta)


class Limits(SynchronousTestCase):
    def test_size(self) -> None:
        """A message that is announced as too large is refused at MAIL; one that is, at its end."""
        talk = Talk()
        self.assertEqual(
            talk.codes(b"EHLO me\r\nMAIL FROM:<a@x> SIZE=1001\r\nMAIL FROM:<a@x> SIZE=1000\r\n"), [250, 552, 250]
        )
        for body, code in (
            (b"x" * 998 + b"\r\n", 250),
            (b"x" * 999 + b"\r\n", 552),
            (b"..\r\n" * 333, 250),
            (b"x" * 9999 + b"\r\n", 552),
        ):
            talk = Talk()
            self.assertEqual(talk.codes(ENVELOPE, b"DATA\r\n", body, b".\r\nNOOP\r\n")[3:], [354, code, 250])

    def test_a_large_message_is_not_kept(self) -> None:
        """What is too large takes no memory."""
        talk = Talk()
        talk.say(ENVELOPE, b"DATA\r\n")
        for _ in range(100):
            talk.say(b"x" * 1000)
            self.assertLess(talk.wire.held, 3000)
        self.assertEqual(talk.codes(b"\r\n.\r\n"), [552])

    def test_chunks_too_large(self) -> None:
        """So do chunks, and what was refused is read over."""
        talk = Talk()
        self.assertEqual(
            talk.codes(ENVELOPE, b"BDAT 600\r\n", b"x" * 600, b"BDAT 600 LAST\r\n" + b"y" * 600, b"NOOP\r\n")[3:],
            [250, 552, 250],
        )
        talk = Talk()
        self.assertEqual(talk.codes(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), [503, 250])

    def test_a_chunk_without_a_size(self) -> None:
        """Where BDAT has no size nobody knows where its octets end."""
        talk = Talk()
        self.assertEqual(talk.codes(ENVELOPE, b"BDAT x\r\nMAIL"), [250, 250, 250, 501])
        self.assertTrue(talk.ended)

    def test_recipients(self) -> None:
        """One recipient too many is asked to come later (RFC 5321 4.5.3.1.10); one that came before counts once."""
        talk = Talk()
        talk.say(b"EHLO me\r\nMAIL FROM:<a@x>\r\n")
        self.assertEqual(
            talk.codes(b"RCPT TO:<b@y>\r\n" * 2 + b"RCPT TO:<c@y>\r\nRCPT TO:<d@y>\r\nDATA\r\n.\r\n"),
            [250] * 3 + [452, 354, 250],
        )
        self.assertEqual(talk.messages[0].recipients, ("b@y", "c@y"))

    def test_long_lines(self) -> None:
        """A long command is refused, a very long one ends the conversation; a line of AUTH may be longer."""
        self.assertEqual(Talk().codes(b"NOOP " + b"x" * 2042 + b"\r\nNOOP " + b"x" * 2041 + b"\r\n"), [500, 250])
        talk = Talk()
        self.assertEqual(talk.codes(b"NOOP " + b"x" * 20000), [500])
        self.assertTrue(talk.ended)
        talk = Talk(WITH_LOGIN)
        self.assertEqual(talk.codes(b"EHLO me\r\nAUTH PLAIN " + b"AAAA" * 3000 + b"\r\n"), [250, 535])

    def test_errors(self) -> None:
        """Who makes too many errors, or only talks, is sent away."""
        self.assertEqual(Talk().codes(b"X\r\n" * 30), [500] * wire.MAX_ERRORS + [421])
        self.assertEqual(Talk().codes(b"NOOP\r\n" * 300), [250] * wire.MAX_IDLE_COMMANDS + [421])
        talk = Talk()
        talk.refusal = Refusal("4.3.0", "later")
        self.assertEqual(talk.codes(*[ENVELOPE + b"DATA\r\n.\r\n"] * 30)[-1], 421)

    def test_browsers(self) -> None:
        """A browser that was sent here gets one reply, and its form's text is not obeyed."""
        for octets in (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n", b"Subject: x\r\nEHLO x\r\n"):
            talk = Talk()
            self.assertEqual(talk.codes(octets), [554])
            self.assertTrue(talk.ended)

    def test_no_memory(self) -> None:
        """When there is no memory for what comes, the message is refused for now, and read to its end."""
        talk = Talk()
        talk.say(ENVELOPE, b"DATA\r\nhello\r\n")
        talk.wire.no_room()
        self.assertEqual(talk.codes(b"more\r\n.\r\nNOOP\r\n"), [452, 250])
        self.assertEqual(talk.messages, [])

    def test_refusals(self) -> None:
        """A refusal's RFC 3463 status becomes the reply code of RFC 5321."""
        for status, code in (("4.3.1", 452), ("4.3.0", 451), ("5.6.0", 554), ("5.3.4", 552), ("5.5.4", 554)):
            talk = Talk()
            talk.refusal = Refusal(status, "because\r\nof\u20ac")
            self.assertEqual(
                talk.say(ENVELOPE, b"DATA\r\n", b".\r\n")[-1], b"%d %s because??of\\u20ac" % (code, status.encode())
            )


class Arguments(SynchronousTestCase):
    def codes(self, *lines: bytes) -> list[int]:
        return [Talk().codes(b"EHLO me\r\n" + one + b"\r\n")[-1] for one in lines]

    def test_mail(self) -> None:
        """MAIL takes the extensions that are offered, each once, and nothing else."""
        right = (b"MAIL FROM:<>", b"mail from: <a@x>", b"MAIL FROM:<@r,@s:a@x>", b'MAIL FROM:<"a b>"@x>  BODY=8bitmime')
        right += (b"MAIL FROM:<a@x> RET=HDRS ENVID=QQ+2B AUTH=<> SIZE=0 BODY=7BIT", b"MAIL FROM:<a@x> AUTH=b+3D@x")
        right += (b"MAIL FROM:<j\xc3\xb6@x> SMTPUTF8",)
        self.assertEqual(self.codes(*right), [250] * len(right))
        parameters = (
            b"SMTPUTF8=1",
            b"SIZE",
            b"SIZE=-1",
            b"SIZE=" + b"1" * 21,
            b"BODY=BINARYMIME",
            b"RET=ALL",
            b"ENVID",
        )
        parameters += (b"ENVID=" + b"x" * 101, b"ENVID=+0A", b"ENVID=+G0", b"AUTH", b"SIZE=1 SIZE=1", b"=", b"a=\x01")
        self.assertEqual(self.codes(*(b"MAIL FROM:<a@x> " + one for one in parameters)), [501] * len(parameters))
        self.assertEqual(self.codes(b"MAIL FROM:<a@x> FOO=1", b"MAIL FROM:<a@x> NOTIFY=NEVER"), [555, 555])
        broken = (
            b"MAIL",
            b"MAIL a@x",
            b"MAIL FROM:a@x",
            b"MAIL FROM:<a@x>SIZE=1",
            b"MAIL TO:<a@x>",
            b"MAIL FROM:<a@x",
            b"MAIL FROM:<\xff@x>",
        )
        self.assertEqual(self.codes(*broken), [501] * len(broken))
        wrong = (b"MAIL FROM:<a>", b"MAIL FROM:<a b@x>", b"MAIL FROM:<j\xc3\xb6@x>", b"MAIL FROM:<a@-x>")
        self.assertEqual(self.codes(*wrong), [553] * len(wrong))

    def test_rcpt(self) -> None:
        """RCPT takes an address and the wishes of RFC 3461."""
        mail = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y> "
        right = (b"", b"NOTIFY=NEVER", b"NOTIFY=success,FAILURE,delay ORCPT=rfc822;b+2By@z", b"ORCPT=utf-8;b@z")
        self.assertEqual(self.codes(*(mail + one for one in right)), [250] * len(right))
        wrong = (
            b"NOTIFY",
            b"NOTIFY=NEVER,DELAY",
            b"NOTIFY=DELAY,DELAY",
            b"NOTIFY=X",
            b"ORCPT=rfc822",
            b"ORCPT=;x",
            b"ORCPT=rfc822;+0A",
            b"ORCPT=a;" + b"x" * 500,
            b"ORCPT=utf-8;\xc3\xb6@z",
        )
        self.assertEqual(self.codes(*(mail + one for one in wrong)), [501] * len(wrong))
        self.assertEqual(self.codes(b"MAIL FROM:<a@x>\r\nRCPT TO:<>", b"MAIL FROM:<a@x>\r\nRCPT TO:<b>"), [501, 553])
        self.assertEqual(self.codes(b"MAIL FROM:<a@x> SMTPUTF8\r\nRCPT TO:<b@y> ORCPT=utf-8;\xc3\xb6@z"), [250])

    def test_postmaster(self) -> None:
        """A postmaster needs no domain (RFC 5321 4.1.1.3)."""
        talk = Talk()
        talk.say(b"HELO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<Postmaster>\r\nDATA\r\n.\r\n")
        self.assertEqual(talk.messages[0].recipients, ("Postmaster@here.example",))
        self.assertEqual(talk.messages[0].meta["protocol"], "SMTP")

    def test_wishes_are_kept(self) -> None:
        """RET, ENVID, NOTIFY and ORCPT pass through the meta of a submission into the envelope of a delivery."""
        talk = Talk()
        talk.say(
            b"EHLO me\r\nMAIL FROM:<a@x> RET=HDRS ENVID=Q+2B1\r\n",
            b"RCPT TO:<b@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bd@z\r\nRCPT TO:<c@y>\r\nDATA\r\n.\r\n",
        )
        found = talk.messages[0]
        envelope = to_envelope(found.sender, found.recipients, found.meta)
        self.assertEqual((envelope.ret, envelope.envid), ("hdrs", "Q+1"))
        self.assertEqual(envelope.notices, {"b@y": Notice(notify=("success", "delay"), orcpt="rfc822;c+d@z")})
        plain = to_envelope("a@x", ["b@y"], {"pid": "1"})
        self.assertEqual((plain.ret, plain.envid, plain.notices), (None, "", {}))

    def test_requiretls(self) -> None:
        """Under TLS a sender may demand TLS for the whole way, which is kept, and no notice returns the body then."""
        talk = Talk(secure=True)
        self.assertIn(b"250-REQUIRETLS", talk.say(b"EHLO me\r\n"))
        lines = (b"MAIL FROM:<a@x> REQUIRETLS RET=FULL\r\n", b"RCPT TO:<b@y>\r\n", b"DATA\r\n", b"\r\nx\r\n.\r\n")
        self.assertEqual(talk.codes(*lines), [250, 250, 354, 250])
        envelope = to_envelope("a@x", ("b@y",), talk.messages[0].meta)
        self.assertEqual((envelope.require_tls, envelope.ret), (True, "hdrs"))
        self.assertEqual(talk.codes(b"MAIL FROM:<a@x> REQUIRETLS=YES\r\n"), [501])
        talk = Talk()
        self.assertNotIn(b"REQUIRETLS", b"".join(talk.say(b"EHLO me\r\n")))
        self.assertEqual(talk.codes(b"MAIL FROM:<a@x> REQUIRETLS\r\n"), [555])
        talk = Talk(WITH_LOGIN, near=False)
        talk.say(b"EHLO me\r\n", b"STARTTLS\r\n")
        self.assertIn(b"250-REQUIRETLS", talk.say(b"EHLO me\r\n"))

    def test_helo(self) -> None:
        """EHLO wants one name."""
        for name in (b"", b" ", b"a b", b"\xff", b"\x01", b"x" * 256):
            self.assertEqual(Talk().codes(b"EHLO " + name + b"\r\n"), [501], name)


class LoggingIn(SynchronousTestCase):
    def login(self, *lines: bytes) -> Talk:
        talk = Talk(WITH_LOGIN)
        talk.say(b"EHLO me\r\n")
        self.replies = talk.codes(*lines)
        return talk

    def test_plain(self) -> None:
        """PLAIN with its words at once or behind a challenge; empty, or one's own, is the identity to act as."""
        octets = base64.b64encode(b"joe\0joe\0right")
        self.assertEqual(self.login(b"AUTH PLAIN " + octets + b"\r\n").wire.user, "joe")
        self.assertEqual(self.login(b"auth plain\r\n", octets + b"\r\n").wire.user, "joe")
        self.assertEqual(self.replies, [334, 235])

    def test_login(self) -> None:
        """LOGIN asks for both, or is given the name at once."""
        user, password = base64.b64encode("jö".encode()), base64.b64encode(b"right")
        talk = self.login(b"AUTH LOGIN\r\n", user + b"\r\n", password + b"\r\n")
        self.assertEqual((talk.wire.user, self.replies), ("jö", [334, 334, 235]))
        talk = self.login(b"AUTH LOGIN " + user + b"\r\n", password + b"\r\n")
        self.assertEqual((talk.wire.user, self.replies), ("jö", [334, 235]))

    def test_malformed(self) -> None:
        """What is no base64, given up, or nobody is refused; three refusals end the conversation."""
        for line, code in (
            (b"???", 501),
            (b"*", 501),
            (b"=", 535),
            (base64.b64encode(b"a\0b\0right"), 535),
            (base64.b64encode(b"\0\xff\0right"), 535),
        ):
            self.assertIsNone(self.login(b"AUTH PLAIN\r\n", line + b"\r\n").wire.user)
            self.assertEqual(self.replies, [334, code])
        self.login(b"AUTH CRAM-MD5\r\n")
        self.assertEqual(self.replies, [504])
        wrong = b"AUTH PLAIN " + base64.b64encode(b"\0joe\0wrong") + b"\r\n"
        self.assertTrue(self.login(wrong, wrong, wrong, b"NOOP\r\n").ended)
        self.assertEqual(self.replies, [535, 535, 535, 421])

    def test_a_password_is_not_shown(self) -> None:
        """The repr of a login has no password in it."""
        self.assertNotIn("right", repr(Login("joe", "right")))


WORDS = [
    b"EHLO me\r\n",
    b"MAIL FROM:<a@x>\r\n",
    b"RCPT TO:<b@y>\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"BDAT 3\r\n",
    b"BDAT 1 LAST\r\n",
    b"RSET\r\n",
]
WORDS += [
    b"AUTH PLAIN\r\n",
    b"AUTH LOGIN AA==\r\n",
    b"AGEAcmlnaHQ=\r\n",
    b"STARTTLS\r\n",
    b"BDAT 0\r\n",
    b"\r\n",
    b"\n",
    b"x",
    b"QUIT\r\n",
]


class Anything(SynchronousTestCase):
    @given(
        st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(WORDS)), max_size=20), st.booleans(), st.booleans()
    )
    @settings(deadline=None)
    def test_never_raises(self, pieces: list[bytes], login: bool, secure: bool) -> None:
        """Whatever is sent, it is answered with well-formed replies."""
        talk = Talk(WITH_LOGIN if login else TERMS, secure=secure)
        for piece in pieces:
            talk.wire.receive(piece)
            talk.run()
            out = talk.wire.output()
            self.assertTrue(REPLIES.fullmatch(out), out)
            self.assertLessEqual(max(map(len, out.split(b"\n"))), 512)

    @given(st.lists(st.sampled_from(WORDS), max_size=25))
    @settings(deadline=None)
    def test_pieces_make_no_difference(self, words: list[bytes]) -> None:
        """Octet by octet and whole: the same replies, but for what STARTTLS discards."""
        octets = b"".join(one for one in words if one != b"STARTTLS\r\n")
        single = Talk().say(*[octets[at : at + 1] for at in range(len(octets))])
        self.assertEqual(single, Talk().say(octets))
