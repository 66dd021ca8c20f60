"""Tests of pairs.py; the standard library is enough."""

import contextlib
import io
import random
import tempfile
import unittest
import zipfile
from pathlib import Path

import pairs


def archive(folder, rows):
    path = Path(folder) / "fra-eng.zip"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("fra.txt", "".join("\t".join(row) + "\n" for row in rows))
    return path


def word(number):
    """A word of letters: numbers are exchanged for others."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def read(rows):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return pairs.read(archive(folder, rows))


class Pairs(unittest.TestCase):
    def test_one_sign_stands_for_each_of_several(self):
        self.assertEqual(pairs.clean("It’s  “odd”\u202f…–\u00ad!"), "It's \"odd\" …-!")
        self.assertEqual(pairs.punctuated(pairs.clean("Où est-il? À 15:30\u202f!")), "Où est-il ? À 15:30 !")
        self.assertEqual(pairs.punctuated(pairs.clean("« Oui\xa0! » dit-il.")), '"Oui !" dit-il.')

    def test_nothing_of_what_is_held_out_is_learnt(self):
        words = [word(number) for number in range(pairs.HELD_OUT + 50)]
        rows = [(f"I see {name} cats.", f"Je vois {name} chats.") for name in words]
        rows += [(english.upper(), french) for english, french in rows]
        rows += [(english, f"{french[:-1]} là.") for english, french in rows[: pairs.HELD_OUT]]
        found = read(rows)
        self.assertEqual(len(found.held_out), pairs.HELD_OUT)
        self.assertTrue(found.training)
        learnt = {pairs.bare(english) for english, _ in found.training}
        self.assertFalse(learnt & {pairs.bare(english) for english in found.held_out})
        self.assertTrue(any(len(translations) > 1 for translations in found.held_out.values()))

    def test_what_is_learnt_with_another_name_or_number_is_not_held_out(self):
        words = [word(number) for number in range(pairs.HELD_OUT)]
        alone = [(f"I see {name}.", f"Je vois {name}.") for name in words]
        names = [(f"{name} is a {thing}.", f"{name} est un {thing}.") for name in ("Tom", "Paul") for thing in words]
        numbers = [(f"{number} of {thing}", f"{number} de {thing}") for number in (3, 1960) for thing in words]
        found = read(alone + names + numbers)
        learnt = {english for english, _ in found.training}
        exchanges = [("Tom", "Paul"), ("Paul", "Tom"), ("3", "1960"), ("1960", "3")]
        for english in found.held_out:
            others = {english.replace(*exchange) for exchange in exchanges}
            self.assertFalse((others - {english}) & learnt)
        # A fifth of the sentences stands alone; of the others only those stay whose likes are held out too.
        kinds = [sum(part in english for english in found.held_out) for part in ("I see", " is a ", " of ")]
        self.assertGreater(kinds[0], 100)
        self.assertLess(len(found.held_out), pairs.HELD_OUT - 300)
        self.assertTrue(all(kinds), kinds)

    def test_long_sentences_and_strange_signs_are_left_out(self):
        words = [word(number) for number in range(pairs.HELD_OUT + 1)]
        rows = [(f"Number {name}.", f"Numéro {name}.") for name in words]
        found = read(rows + [("word " * 15, "mot"), ("Ж", "Ж"), ("A", "")])
        self.assertEqual(len(found.training) + len(found.held_out), len(rows))

    def test_names_and_numbers_change_on_both_sides(self):
        told = {pairs.varied(("Tom has 12 dogs.", "Tom a 12 chiens."), random.Random(seed)) for seed in range(60)}
        self.assertGreater(len(told), 30)
        for english, french in told:
            name, _, number, *_ = english.split()
            self.assertEqual(french, f"{name} a {number} chiens.")

    def test_a_name_that_only_one_side_knows_stays(self):
        for seed in range(20):
            english, french = pairs.varied(("Mary is here!", "Marie est là !"), random.Random(seed))
            self.assertIn(english, {"Mary is here!", "Mary is here"})
            self.assertEqual(french, "Marie est là !")


if __name__ == "__main__":
    unittest.main()
