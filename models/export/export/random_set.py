"""A whole model folder of random checkpoints, exported as originals are."""

import importlib.util
import shutil
from pathlib import Path

from . import ExportError, install, marian, openvoice, random_models, xtts

LICENCE = "MIT OR Apache-2.0"  # of made-up numbers
NOTE = "random weights for measurements: translations and speech are noise, transcripts are scripted"
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
# Width, heads and layers of Whisper tiny.
WHISPER = {"real": dict(width=384, heads=6, layers=4), "tiny": {}}


def write(args, checkpoints):
    """Writes the engines of `args.only` and returns their entries; checkpoints stay in the folder given."""
    common = dict(out=args.out, licence=LICENCE, force=args.force)
    entries = []

    def checkpoint(engine, name, make, **options):
        folder = checkpoints / engine / name
        if folder.exists():
            print(f"{engine}: from the checkpoint that is there, {folder}", flush=True)
        else:
            print(f"{engine}: drawing weights", flush=True)
            make(folder, args.size, args.seed, **options)
        print(f"{engine}: writing and checking graphs", flush=True)
        return str(folder)

    for engine in args.only:
        if engine == "marian":
            source = checkpoint(engine, args.pair, random_models.write_marian, tokenizer=args.marian_tokenizer)
            entries.append(marian.export(source, precisions=args.precisions, **common))
        elif engine == "openvoice":
            source = checkpoint(engine, "converter", random_models.write_openvoice)
            entries.append(openvoice.export(source, **common))
        elif engine == "xtts":
            source = checkpoint(engine, "xtts", random_models.write_xtts, vocabulary=args.xtts_vocabulary)
            voice = args.default_voice or FIXTURES / "audio" / "second_speaker.ogg"
            entries.append(xtts.export(source, args.out, args.precisions, args.int8_vocoder, voice, LICENCE,
                                       requires_acceptance=False, force=args.force))  # fmt: skip
        elif engine == "whisper":
            entries.append(write_whisper(args.out, args.size, args.force))
        elif engine == "vad":
            entries.append(copy_vad(args.out, args.force))
        else:
            raise ExportError(f"there is no engine {engine}")
    install.register(args.out, [], fixture=True, note=NOTE)
    return entries


def write_whisper(out, size, force):
    """A Whisper of the real dimensions that hears the fixtures' sentences whatever is said."""
    spec = importlib.util.spec_from_file_location("whisper", FIXTURES / "whisper.py")
    whisper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(whisper)
    name = f"whisper/scripted-{size}.bin"
    with install.staged(out, name, force, is_folder=False) as path:
        whisper.write_scripted(path, **WHISPER[size])
    entry = install.entry(out, name, f"whisper-scripted-{size}", "whisper", LICENCE)
    install.register(out, [entry])
    return entry


def copy_vad(out, force):
    name = "vad/silero_vad.onnx"
    with install.staged(out, name, force, is_folder=False) as path:
        shutil.copyfile(FIXTURES / name, path)
    entry = install.entry(out, name, "vad-silero_vad", "vad", LICENCE)
    install.register(out, [entry])
    return entry
