"""Scores the demo's translation model: chrF and BLEU of the sentences held out, as a daemon translates them.

  MODELS_PATH=models/demo translator serve &
  python evaluate.py fra-eng.zip --url http://127.0.0.1:8000

Each translation is compared with all those that Tatoeba has. It needs sacrebleu (requirements.txt)."""

import argparse
import json
import sys
import urllib.request
from pathlib import Path

import pairs
import sacrebleu

BATCH = 10  # texts that /translate/batch takes
PATIENCE = 120  # seconds for the answer to a batch


def main():
    args = parser().parse_args()
    if not args.pairs.is_file():
        sys.exit(f"error: {args.pairs} is not there: it should be {pairs.WHERE}")
    held_out = pairs.read(args.pairs).held_out
    sentences, references = list(held_out), list(held_out.values())
    for level in args.level:
        translations = translated(sentences, level, args.url)
        apart = max(1, len(sentences) // args.show)
        for english, found, wanted in list(zip(sentences, translations, references))[::apart][: args.show]:
            print(f"{english}\n  {found}\n  ({' / '.join(wanted)})")
        print(f"{level}, {len(sentences)} sentences: {scores(translations, references)}")


def parser():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("pairs", type=Path, metavar="PAIRS", help=pairs.WHERE)
    top.add_argument("--url", default="http://127.0.0.1:8000", help="the daemon (default: http://127.0.0.1:8000)")
    top.add_argument("--level", nargs="+", default=["basic", "premium"], choices=["basic", "premium"],
                     help="greedy search, beam search (default: both)")  # fmt: skip
    top.add_argument("--show", type=int, default=10, metavar="COUNT", help="translations that are shown (default: 10)")
    return top


def translated(sentences, level, url):
    """Returns what the daemon makes of each sentence; what it refuses to give out counts as nothing."""
    answers = []
    for at in range(0, len(sentences), BATCH):
        body = [{"text": text, "source_language": "en", "target_language": "fr", "model_type": level}
                for text in sentences[at : at + BATCH]]  # fmt: skip
        request = urllib.request.Request(f"{url}/translate/batch", json.dumps(body).encode(),
                                         {"content-type": "application/json"})  # fmt: skip
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answers += json.load(answer)
    refused = sum("error" in answer for answer in answers)
    print(f"{level}: {refused} refused")
    return ["" if "error" in answer else answer["translated_text"] for answer in answers]


def scores(translations, references):
    most = max(map(len, references))
    columns = [[row[at] if at < len(row) else None for row in references] for at in range(most)]
    chrf, bleu = sacrebleu.CHRF(), sacrebleu.BLEU()
    return f"{chrf.corpus_score(translations, columns)}, {bleu.corpus_score(translations, columns)}"


if __name__ == "__main__":
    main()
