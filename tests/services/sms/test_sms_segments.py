"""Segments: counted as networks do, cut where phones join them again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sms.segments import ROOM, alphabet_of, cut, foreign

GSM = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡AZÄÖÑÜ§¿azäöñüà"
EXTENSION = "\f^{}\\[~]|€"

any_case = settings(derandomize=True, deadline=None)


def units(text: str) -> int:
    """An independent count: by encoding."""
    if alphabet_of(text) == "ucs2":
        return len(text.encode("utf-16-be")) // 2
    return len(text) + sum(text.count(one) for one in EXTENSION)


class SegmentTests(SynchronousTestCase):
    def test_boundaries(self) -> None:
        """160 septets or 70 units are one segment, one more are two; then each has 153 or 67."""
        for one, (alone, each) in (("a", ROOM["gsm7"]), ("验", ROOM["ucs2"])):
            self.assertEqual([len(cut(one * n).parts) for n in (0, 1, alone, alone + 1)], [1, 1, 1, 2])
            self.assertEqual([len(cut(one * n).parts) for n in (2 * each, 2 * each + 1, 3 * each + 1)], [2, 3, 4])
            self.assertEqual(cut(one * alone).left, 0)
            self.assertEqual([len(part) for part in cut(one * (alone + 1)).parts], [each, alone + 1 - each])

    def test_alphabets(self) -> None:
        """One character outside GSM 7-bit makes the whole text UCS-2; é is in, ê and ` are not."""
        self.assertEqual(alphabet_of(GSM + EXTENSION), "gsm7")
        self.assertEqual([alphabet_of(f"aé{one}") for one in ("ê", "`", "ç", "“", "\t", "\x1b", "😀")], ["ucs2"] * 7)
        self.assertEqual(foreign("aêbêc“"), ("ê", "“"))

    def test_extension_is_two_septets(self) -> None:
        """80 euro signs are one segment, 81 two; of two segments the first takes 76 and leaves a septet free."""
        self.assertEqual([len(cut("€" * n).parts) for n in (80, 81)], [1, 2])
        self.assertEqual(len(cut("€" * 81).parts[0]), 76)
        self.assertEqual(cut("a" * 152 + "€" * 10).parts[0], "a" * 152)

    def test_surrogate_pairs_stay_together(self) -> None:
        """A character beyond the basic plane is two units and is never cut."""
        self.assertEqual([len(cut("😀" * n).parts) for n in (35, 36)], [1, 2])
        self.assertEqual(cut("验" * 66 + "😀" * 5).parts[0], "验" * 66)

    @any_case
    @given(st.text(alphabet=GSM + EXTENSION, max_size=400) | st.text(alphabet="a€验😀é\n", max_size=400))
    def test_nothing_is_lost(self, text: str) -> None:
        """The parts are the text again, none is too long, none but the last could take the next character."""
        found = cut(text)
        alone, each = ROOM[found.alphabet]
        self.assertEqual("".join(found.parts), text)
        self.assertEqual(found.units, units(text))
        room = alone if len(found.parts) == 1 else each
        widths = [found.units] if len(found.parts) == 1 else [self.width(found.alphabet, part) for part in found.parts]
        self.assertTrue(all(width <= room for width in widths))
        self.assertEqual(found.left, room - widths[-1])
        for width, following in zip(widths, found.parts[1:], strict=False):
            self.assertGreater(width + self.width(found.alphabet, following[0]), room)

    def width(self, alphabet: str, part: str) -> int:
        if alphabet == "ucs2":
            return len(part.encode("utf-16-be")) // 2
        return len(part) + sum(part.count(one) for one in EXTENSION)
