"""The sentence pairs: read, cleaned, held out, and varied anew for each pass."""

import hashlib
import random
import re
import zipfile
from dataclasses import dataclass

EDITION = "16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04"
WHERE = """\
the archive fra-eng.zip of manythings.org/anki (sentences of tatoeba.org, CC BY 2.0), whose fra.txt holds a
pair a line: English, tab, French"""

LONGEST = 14  # words, on either side
HELD_OUT = 1000  # English sentences, with all their translations; those that are learnt as variants do not count
SPLIT_SEED = 1

# What both tokenizers make one sign of. The source's also writes capitals small.
SAME_SIGNS = {"’‘ʼ": "'", "“”„«»": '"', "\u00a0\u202f\u2009\u3000\t\n\r": " ", "–—‐−": "-", "\u00ad\u200b": ""}
ENGLISH_CAPITALS = {letter: letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZÀÁÂÄÇÈÉÊËÍÎÏÑÓÔÖÙÚÛÜ"}
QUOTED = re.compile(r'" *([^"]*?) *"')
FRENCH_SPACE = re.compile(r"\s*([?!:;])(?=\s|$|\")")

# Names that a sentence about Tom or Mary may be told with: each begins with a sounded consonant, as they do, so that
# nothing else of the French sentence changes.
MEN = """
Paul Peter David Daniel Michael Martin Thomas Lucas Nicolas Simon Samuel Benjamin Robert Richard Charles James George
Mark Philip Bruno Karim Mohamed Jean Pierre Louis Laurent Vincent Victor Mathieu Sam Max Ben Jack Bob Bill Mike Nick
Kevin Brian Carlos Pablo Diego Luca Marco Leo Noah Liam Ryan Tony Jim Frank Steve Chris Pascal Gabriel Raphael
""".split()
WOMEN = """
Sarah Sara Laura Julia Julie Sophie Marie Maria Claire Camille Charlotte Caroline Lucy Lucie Lisa Linda Sandra Susan
Kate Jane Nina Nora Fatima Leila Rosa Sofia Paula Martha Nicole Michelle Jessica Jennifer Rachel Rebecca Diana Clara
Chloe Zoe Louise Mia Lily Daisy Betty Nancy Barbara Patricia Victoria Veronica Valerie Natalie Marina Monica
""".split()
ROLES = {"Tom": MEN, "Mary": WOMEN}
NAME = re.compile(rf"\b(?:{'|'.join([*ROLES, *MEN, *WOMEN])})\b")
NUMBER = re.compile(r"(?<![\d.,:])\d{1,4}(?![\d.,:]\d|\d)")


@dataclass
class Pairs:
    training: list  # of (English, French)
    held_out: dict  # English to all its translations
    archive: str  # SHA-256


def read(archive):
    """Returns the cleaned pairs of the archive; the split depends on nothing but its content."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != EDITION:
        print(f"{archive} is another edition than that of 2017-09-29: figures will differ")
    with zipfile.ZipFile(archive) as files, files.open("fra.txt") as lines:
        rows = [line.decode("utf-8").rstrip("\n").split("\t")[:2] for line in lines]
    translations = {}
    for english, french in rows:
        english, french = clean(english), punctuated(clean(french))
        if is_usable(english, french):
            translations.setdefault(english, set()).add(french)
    sentences = sorted(translations)
    chosen = set(random.Random(SPLIT_SEED).sample(sentences, HELD_OUT))
    # A sentence that differs in capitals or signs alone would be known all the same.
    known = {bare(english) for english in chosen}
    training = [(english, french) for english in sentences if bare(english) not in known
                for french in sorted(translations[english])]  # fmt: skip
    learnt = {masked(english) for english, _ in training}
    held_out = {english: sorted(translations[english]) for english in sorted(chosen) if masked(english) not in learnt}
    return Pairs(training, held_out, digest)


def clean(text):
    for signs, sign in SAME_SIGNS.items():
        text = re.sub(f"[{signs}]", sign, text)
    return re.sub(" +", " ", text).strip()


def punctuated(french):
    """With one space before high marks, which contributors write in four ways, and none within quotes."""
    return QUOTED.sub(r'"\1"', FRENCH_SPACE.sub(r" \1", french))


def is_usable(english, french):
    is_plain = re.fullmatch(r"[A-Za-zÀ-ÿœŒ0-9 .,;:?!'\"%$€()-]+", english + french)
    return bool(is_plain) and all(0 < len(side.split()) <= LONGEST for side in (english, french))


def bare(text):
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def masked(text):
    """What is left of a sentence whatever names and numbers `varied` gives it."""
    return bare(NUMBER.sub("0", NAME.sub("Tom", text)))


def varied(pair, generator):
    """One pair as it may also be told: with another name, another number, no mark at its end."""
    english, french = pair
    for known, others in ROLES.items():
        if generator.random() < 0.5 and all(is_once(known, side) for side in pair):
            name = generator.choice(others)
            english, french = (re.sub(rf"\b{known}\b", name, side) for side in (english, french))
    numbers = NUMBER.findall(english)
    if len(numbers) == 1 and NUMBER.findall(french) == numbers and generator.random() < 0.7:
        number = str(generator.randrange(2, 10 ** len(numbers[0]) if len(numbers[0]) > 1 else 30))
        english, french = (NUMBER.sub(number, side) for side in (english, french))
    if generator.random() < 0.1:
        english = english.rstrip(".?!") or english
    return english, french


def is_once(name, text):
    return len(re.findall(rf"\b{name}\b", text)) == 1
