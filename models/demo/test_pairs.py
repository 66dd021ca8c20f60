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


def read(rows):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return pairs.read(archive(folder, rows))


class Pairs(unittest.TestCase):
    def test_one_sign_stands_for_each_of_several(self):
        self.assertEqual(pairs.clean("It’s  “odd”\u202f…–\u00ad!"), "It's \"odd\" …-!")
        self.assertEqual(pairs.punctuated(pairs.clean("Où est-il? À 15:30\u202f!")), "Où est-il ? À 15:30 !")
        self.assertEqual(pairs.punctuated(pairs.clean("« Oui\xa0! » dit-il.")), '"Oui !" dit-il.')

    def test_nothing_of_what_is_held_out_is_learnt(self):
        rows = [(f"I see {number} cats.", f"Je vois {number} chats.") for number in range(pairs.HELD_OUT + 50)]
        rows += [(english.upper(), french) for english, french in rows]
        rows += [(english, f"{french[:-1]} là.") for english, french in rows[: pairs.HELD_OUT]]
        found = read(rows)
        self.assertEqual(len(found.held_out), pairs.HELD_OUT)
        self.assertTrue(found.training)
        learnt = {pairs.bare(english) for english, _ in found.training}
        self.assertFalse(learnt & {pairs.bare(english) for english in found.held_out})
        self.assertTrue(any(len(translations) > 1 for translations in found.held_out.values()))

    def test_long_sentences_and_strange_signs_are_left_out(self):
        rows = [(f"Number {number}.", f"Numéro {number}.") for number in range(pairs.HELD_OUT + 1)]
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
