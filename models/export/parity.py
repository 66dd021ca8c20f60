#!/usr/bin/env python3
"""What the Python references answer with random weights of real dimensions, for the engines' tests.

    python parity.py goldens FOLDER    reads FOLDER/checkpoints, writes FOLDER/goldens
    python parity.py report OUTPUT     puts the figures that the tests printed into docs/fidelity.md

`make parity` runs all of it. The tests are those of the bundled models (cargo test parity finds none
of them by accident: they are named ..._of_real_dimensions_...), and read TRANSLATOR_PARITY_DIR.
"""

import argparse
import json
import os
import platform
import re
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures")]
FIDELITY = HERE.parents[1] / "docs" / "fidelity.md"
BEGIN, END = "<!-- parity: made by `make parity` -->", "<!-- end of parity -->"

INPUTS = 200
LIMIT = 40  # ids of an answer: most end before
SEARCHES = {
    "greedy": {"num_beams": 1, "max_length": LIMIT},
    "beams of 4": {"num_beams": 4, "max_length": LIMIT},
    "beams of 6": {"num_beams": 6, "max_length": LIMIT},
}
SAMPLER_ROWS = 12  # each with two penalties


def write_goldens(args):
    import goldens

    checkpoints, out = args.path / "checkpoints", args.path / "goldens"
    out.mkdir(exist_ok=True)
    for name in args.only or CHECKPOINTS:
        path = out / f"{name}.json"
        if path.exists():
            print(f"{name}: there already", file=sys.stderr)
            continue
        print(f"{name}: asking the reference", file=sys.stderr)
        folder, make = CHECKPOINTS[name]
        goldens.write(path, make(checkpoints / folder, out))


def marian(folder, _):
    import corpus
    import goldens
    import sentencepiece
    from export import marian as export
    from export.source import Source

    checkpoint = export.load(Source(folder, folder.name))
    processors = [
        sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm")) for side in ("source", "target")
    ]
    texts = list(dict.fromkeys(corpus.sentences("fr", 2 * INPUTS, seed=3)))[:INPUTS]
    asked = [(text, None, None) for text in texts]
    return goldens.marian_goldens(checkpoint.model, checkpoint.vocabulary, processors, asked, SEARCHES)


def openvoice(folder, _):
    import goldens
    from export import openvoice as export
    from export.source import Source

    checkpoint = export.load(Source(folder, folder.name))
    audio = checkpoint.audio
    return goldens.openvoice_goldens(checkpoint.encoder, audio.fft_size, audio.hop_length, audio.input_sample_rate)


def xtts(folder, out):
    import goldens
    from export import xtts as export
    from export.source import Source

    checkpoint = export.load(Source(folder, folder.name))
    answers = goldens.xtts_goldens(
        checkpoint.model.tokenizer.tokenizer, checkpoint.gpt, checkpoint.decoder.speaker_encoder, checkpoint.decoder,
        checkpoint.model.mel_stats, export.CONDITIONING_FFT, export.CONDITIONING_WINDOW,
    )  # fmt: skip
    rows = [json.dumps(row) for row in sampler_rows(checkpoint, answers)]
    (out / "xtts-sampler.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return answers


def sampler_rows(checkpoint, answers):
    """What transformers' processors leave of the model's own logits, after some codes of its own."""
    import torch
    from transformers import (
        RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
    )  # fmt: skip

    gpt = checkpoint.gpt
    for index in range(SAMPLER_ROWS):
        case = answers["cases"][index % len(answers["cases"])]
        codes = case["codes"][: 3 + 5 * index]
        with torch.no_grad():
            fed = torch.tensor([[gpt.start_audio_token, *codes]])
            text = torch.tensor([[gpt.start_text_token, *case["ids"], gpt.stop_text_token]])
            cond = torch.tensor(answers["conditioning"]["mean_cond_latents"]).reshape(1, -1, gpt.model_dim)
            rows = torch.cat([
                cond, gpt.text_embedding(text) + gpt.text_pos_embedding(text),
                gpt.mel_embedding(fed) + gpt.mel_pos_embedding(fed),
            ], dim=1)  # fmt: skip
            states = gpt.gpt(inputs_embeds=rows, return_dict=True).last_hidden_state[:, -1]
            logits = gpt.mel_head(gpt.final_norm(states))
        logits = torch.tensor([round(value, 6) for value in logits[0].tolist()])[None]
        history = [1, gpt.start_audio_token, *codes]
        row = {"id": f"row-{index}", "logits": logits[0].tolist(), "history": history, "by_repetition_penalty": {}}
        for penalty in (5.0, 10.0):
            seen = torch.tensor([history])
            penalized = RepetitionPenaltyLogitsProcessor(penalty)(seen, logits.clone())
            kept = TopKLogitsWarper(50)(seen, TemperatureLogitsWarper(0.75)(seen, penalized.clone()))
            last = TopPLogitsWarper(0.85)(seen, kept.clone())
            probabilities = last.softmax(dim=-1)[0].double()
            survivors = torch.isfinite(last[0]).nonzero()[:, 0].tolist()
            row["by_repetition_penalty"][f"{penalty:g}"] = {
                "after_top_k": int(torch.isfinite(kept).sum()), "greedy": int(penalized.argmax()),
                "survivors": [[code, float(probabilities[code])] for code in survivors],
            }  # fmt: skip
        yield row


CHECKPOINTS = {
    "marian-fr-en": ("marian/fr-en", marian),
    "openvoice": ("openvoice/converter", openvoice),
    "xtts": ("xtts/xtts", xtts),
}


def report(args):
    """Replaces the table between the markers of docs/fidelity.md."""
    import importlib.metadata

    lines = sorted(set(re.findall(r"^.*?parity (\| .* \| .* \|)$", args.path.read_text(encoding="utf-8"), re.MULTILINE)))
    if not lines:
        sys.exit("error: the tests printed no figures")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "coqui-tts", "torch"))
    table = ["", f"Against {versions}, on {platform.machine()}.", "", "| engine | figures |", "| --- | --- |", *lines, ""]
    text = FIDELITY.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"error: {FIDELITY} lacks the marker {BEGIN}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    FIDELITY.write_text(before + BEGIN + "\n" + "\n".join(table) + "\n" + END + after, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("goldens", write_goldens), ("report", report)):
        command = commands.add_parser(name)
        command.add_argument("path", type=Path)
        command.set_defaults(run=run)
        if run is write_goldens:
            command.add_argument("--only", action="append", choices=CHECKPOINTS)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
