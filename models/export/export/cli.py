"""The command line."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from . import ExportError

DESCRIPTION = """\
Turns original checkpoints into the model folder that the translator runs.

  python -m export marian Helsinki-NLP/opus-mt-fr-en --out models-store
  python -m export openvoice myshell-ai/OpenVoiceV2 --out models-store
  python -m export xtts coqui/XTTS-v2 --out models-store --default-voice voice.ogg

SOURCE is a folder or a repository on the hub (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE are respected).
Every graph is compared with the original on the way; a model that differs is not written. The
folder's manifest.toml gets an entry with the licence and the SHA-256 of each file."""


def main(arguments=None):
    args = parser().parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    try:
        for entry in args.run(args):
            size = sum(file["size_bytes"] for file in entry["file"])
            print(f"{entry['id']}: {len(entry['file'])} files, {size / 1e6:.1f} MB, {entry['licence']}")
            if entry["requires_acceptance"]:
                print(f'  its licence limits use: after reading it, add "{entry["licence"]}" to accept_licenses')
    except (ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {args.out / 'manifest.toml'}")
    return 0


def parser():
    top = argparse.ArgumentParser(
        prog="python -m export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="ENGINE")

    def command(name, run, help, source=True):
        sub = commands.add_parser(name, help=help, description=help)
        if source:
            sub.add_argument("source", metavar="SOURCE", help="folder, or repository on the hub as owner/name")
            sub.add_argument("--revision", help="commit, tag or branch of the repository")
            sub.add_argument("--licence", help="licence of these weights, if not that of the published ones")
        sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder")
        sub.add_argument("--force", action="store_true", help="replace the model if it is there")
        sub.add_argument("--threads", type=int, help="processor threads, default all")
        sub.set_defaults(run=run)
        return sub

    codes = lambda text: [part for part in text.split(",") if part]
    sub = command("marian", run_marian, "a MarianMT checkpoint (opus-mt)")
    sub.add_argument("--name", help="<source>-<target>, default from the checkpoint's name")
    sub.add_argument("--source", dest="languages", type=codes, metavar="fr,es", help="languages that it translates from")
    sub.add_argument("--targets", type=codes, metavar="fr,es", help="languages that it translates to")
    precisions(sub, ["fp32", "int8r", "fp16"])
    command("openvoice", run_openvoice, "OpenVoice V2's tone colour converter")
    sub = command("xtts", run_xtts, "an XTTS v2 checkpoint")
    precisions(sub, ["fp32", "int8r", "fp16", "q4"])
    sub.add_argument("--int8-vocoder", action="store_true", help="also the vocoder in 8 bits")
    sub.add_argument("--default-voice", type=Path, metavar="FILE", help="recording of the voice that speaks when none "
                     "may be cloned, .ogg")  # fmt: skip

    sub = command("random", run_random, "all engines with random weights, for measurements", source=False)
    sub.add_argument("--size", choices=["real", "tiny"], default="tiny", help="dimensions (default: tiny)")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--only", type=codes, default=["marian", "openvoice", "xtts", "whisper", "vad"], metavar="ENGINE,…")
    sub.add_argument("--marian-tokenizer", type=Path, metavar="DIR", help="folder with source.spm, target.spm, vocab.json")
    precisions(sub, ["fp32", "int8r", "fp16"])
    sub.add_argument("--pair", default="fr-en", help="name of the translation model (default: fr-en)")
    sub.add_argument("--xtts-vocabulary", type=Path, metavar="FILE", help="a vocab.json of XTTS")
    sub.add_argument("--default-voice", type=Path, metavar="FILE", help="recording for xtts/default_voice")
    sub.add_argument("--int8-vocoder", action="store_true", help="also the vocoder in 8 bits")
    sub.add_argument("--checkpoints", type=Path, metavar="DIR", help="keep the checkpoints, for comparisons")
    return top


def precisions(sub, known):
    def parse(text):
        chosen = text.split(",")
        if not chosen or any(part not in known for part in chosen):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}")
        return chosen

    sub.add_argument("--precisions", type=parse, default=known[:2], metavar=",".join(known),
                     help=f"default: {','.join(known[:2])}")  # fmt: skip


def given(args, *names):
    """The options that were given, for a function's own defaults to fill in the others."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def run_marian(args):
    from . import marian

    options = given(args, "name", "targets", "precisions", "licence", "revision")
    return [marian.export(args.source, args.out, sources=args.languages, force=args.force, **options)]


def run_openvoice(args):
    from . import openvoice

    return [openvoice.export(args.source, args.out, force=args.force, **given(args, "licence", "revision"))]


def run_xtts(args):
    from . import xtts

    if args.default_voice is None:
        print("no --default-voice: nobody speaks where no voice may be cloned", file=sys.stderr)
    options = given(args, "precisions", "int8_vocoder", "default_voice", "licence", "revision")
    # A licence of one's own is one that one may use.
    return [xtts.export(args.source, args.out, requires_acceptance=args.licence is None, force=args.force, **options)]


def run_random(args):
    from . import random_set

    with tempfile.TemporaryDirectory(prefix="checkpoints-", dir=args.out.resolve().parent) as scratch:
        checkpoints = args.checkpoints or Path(scratch)
        return random_set.write(args, checkpoints)
