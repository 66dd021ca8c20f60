"""Trains the demo's translation model, English to French, on sentence pairs of Tatoeba.

  python train.py fra-eng.zip --out tiny-en-fr --bf16
  python train.py fra-eng.zip --out tiny-en-fr --bf16 --steps 12000  # goes on where it was

It runs in the Python environment of models/export (`make export-setup`); make.sh exports what it makes. OUT becomes a
MarianMT checkpoint in transformers' layout, of the averaged weights. Its state is saved on the way, and the same command
goes on from there; the rate falls over the last part of `--steps`, which may be changed as long as that has not begun.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import pairs
import sentencepiece
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

WIDTH, HEADS, INNER, ENCODER_LAYERS, DECODER_LAYERS = 128, 4, 512, 3, 2
POSITIONS = 128
SOURCE_PIECES, TARGET_PIECES = 1600, 2200
DROPOUT, SMOOTHING = 0.05, 0.1
PEAK_RATE, WARM_UP, COOL_DOWN = 3e-3, 500, 0.3  # the last part of all steps, in which the rate falls to nothing
AVERAGED = 0.998  # of the averaged weights stays at each step
STATE = "training.pt"


def main():
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    if not args.pairs.is_file():
        sys.exit(f"error: {args.pairs} is not there: it should be {pairs.WHERE}")
    args.out.mkdir(parents=True, exist_ok=True)
    sentences = pairs.read(args.pairs)
    print(f"{len(sentences.training)} pairs to learn, {len(sentences.held_out)} sentences held out")
    state = saved(args, sentences)
    tokenizer = Tokenizer(args.out, sentences.training, goes_on=state is not None)
    Training(tokenizer, sentences, args, state).run()


def parser():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("pairs", type=Path, metavar="PAIRS", help=pairs.WHERE)
    top.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the checkpoint")
    top.add_argument("--steps", type=int, default=8000, help="batches in all (default: 8000)")
    top.add_argument("--batch", type=int, default=2048, metavar="PIECES", help="pieces of a batch (default: 2048)")
    top.add_argument("--save-every", type=int, default=200, metavar="STEPS")
    top.add_argument("--threads", type=int, default=2)
    top.add_argument("--bf16", action="store_true", help="products in bfloat16: faster where the processor has them")
    top.add_argument("--seed", type=int, default=1)
    return top


def saved(args, sentences):
    """Returns the state that an earlier run has left, or nothing; one of other sentences or another seed is refused."""
    file = args.out / STATE
    if not file.is_file():
        return None
    state = torch.load(file)
    if (state.get("archive"), state.get("seed")) != (sentences.archive, args.seed):
        sys.exit(f"error: {file} is of another archive or seed: remove it, or name another folder with --out")
    return state


class Tokenizer:
    """Two SentencePiece models and the one vocabulary that numbers their pieces."""

    def __init__(self, folder, training, goes_on):
        # Varied, so that the names are learnt too: each is but a piece or two.
        generator = random.Random(0)
        english, french = zip(*(pairs.varied(pair, generator) for pair in training))
        signs = pairs.SAME_SIGNS
        source, target = folder / "source.spm", folder / "target.spm"
        if not goes_on:
            train_pieces(source, english, SOURCE_PIECES, signs | pairs.ENGLISH_CAPITALS)
            train_pieces(target, french, TARGET_PIECES, signs)
        self.source, self.target = (sentencepiece.SentencePieceProcessor(model_file=str(file))
                                    for file in (source, target))  # fmt: skip
        names = [model.id_to_piece(i) for model in (self.source, self.target) for i in range(3, model.get_piece_size())]
        names = ["</s>", "<unk>", *dict.fromkeys(names), "<pad>"]
        self.ids = {piece: index for index, piece in enumerate(names)}
        self.eos, self.unk, self.pad = (self.ids[name] for name in ("</s>", "<unk>", "<pad>"))
        self.tables = [[self.ids.get(model.id_to_piece(i), self.unk) for i in range(model.get_piece_size())]
                       for model in (self.source, self.target)]  # fmt: skip
        write_json(folder / "vocab.json", self.ids)

    def encode(self, told):
        """Returns the ids of both sides of pairs, each with the end."""
        sides = []
        for model, table, texts in zip((self.source, self.target), self.tables, zip(*told)):
            sides.append([[table[i] for i in row] + [self.eos] for row in model.encode(list(texts))])
        return list(zip(*sides))


def train_pieces(file, lines, count, signs):
    """Writes a SentencePiece unigram model that makes one of `signs`; the usual table would add 240 KB."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as table:
        for several, one in signs.items():
            for sign in several:
                table.write(f"{ord(sign):X}\t{' '.join(f'{ord(letter):X}' for letter in one)}\n")
        table.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=count, model_type="unigram",
            character_coverage=1.0, split_digits=True, normalization_rule_tsv=table.name, num_threads=1,
            minloglevel=2,
        )  # fmt: skip
    file.write_bytes(model.getvalue())


def new_model(tokenizer):
    config = MarianConfig(
        vocab_size=len(tokenizer.ids), d_model=WIDTH, encoder_layers=ENCODER_LAYERS, decoder_layers=DECODER_LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=INNER, decoder_ffn_dim=INNER,
        max_position_embeddings=POSITIONS, activation_function="relu", scale_embedding=True, dropout=DROPOUT,
        attention_dropout=0.0, activation_dropout=0.0, normalize_embedding=False, static_position_embeddings=True,
        share_encoder_decoder_embeddings=True, pad_token_id=tokenizer.pad, decoder_start_token_id=tokenizer.pad,
        eos_token_id=tokenizer.eos, forced_eos_token_id=tokenizer.eos,
    )  # fmt: skip
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(
        num_beams=4, max_length=POSITIONS, bad_words_ids=[[tokenizer.pad]], pad_token_id=tokenizer.pad,
        decoder_start_token_id=tokenizer.pad, eos_token_id=tokenizer.eos, forced_eos_token_id=tokenizer.eos,
    )  # fmt: skip
    return model


class Training:
    def __init__(self, tokenizer, sentences, args, state):
        self.tokenizer, self.args, self.training = tokenizer, args, sentences.training
        self.archive = sentences.archive
        self.held_out = tokenizer.encode([(english, french[0]) for english, french in sentences.held_out.items()])
        torch.manual_seed(args.seed)
        self.model = new_model(tokenizer)
        self.averaged = new_model(tokenizer).requires_grad_(False).eval()
        self.averaged.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.Adam(self.model.parameters(), betas=(0.9, 0.98), eps=1e-9)
        self.step = 0
        if state is not None:
            self.restore(state)

    def run(self):
        count = sum(parameter.numel() for parameter in self.model.parameters())
        print(f"{len(self.tokenizer.ids)} pieces, {count / 1e6:.1f} million weights")
        print(f"steps {self.step} to {self.args.steps}")
        self.model.train()
        started, first, loss = time.process_time(), self.step, 0.0
        for rows in self.batches():
            loss += self.learn(rows)
            if self.step % 50 == 0:
                each = (time.process_time() - started) / (self.step - first)
                print(f"step {self.step}: loss {loss / 50:.3f}, {each:.3f} s of processor time each", flush=True)
                loss = 0.0
            if self.step % self.args.save_every == 0 or self.step == self.args.steps:
                self.save()
        print(f"written: {self.args.out}")

    def batches(self):
        """Yields the batches from this step to the last; which they are depends on seed and step alone."""
        epoch, passed = 0, 0
        while self.step < self.args.steps:
            generator = random.Random(f"{self.args.seed}/{epoch}")
            rows = self.tokenizer.encode([pairs.varied(pair, generator) for pair in self.training])
            batches = batched(rows, self.args.batch, generator)
            for batch in batches[max(0, self.step - passed) :]:
                yield batch
                if self.step >= self.args.steps:
                    return
            passed += len(batches)
            epoch += 1

    def learn(self, rows):
        share = (self.args.steps - self.step) / (COOL_DOWN * self.args.steps)
        rate = PEAK_RATE * min(1.0, (self.step + 1) / WARM_UP, share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(self.model, rows, SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        kept = min(AVERAGED, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.model.parameters()):
                mean.lerp_(new, 1 - kept)
        return loss.item()

    def loss(self, model, rows, smoothing=0.0):
        pad = self.tokenizer.pad
        ids, wanted = (padded(side, pad) for side in zip(*rows))
        fed = torch.cat([torch.full((len(rows), 1), pad), wanted[:, :-1]], dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.args.bf16):
            states = model.model(input_ids=ids, attention_mask=(ids != pad).long(), decoder_input_ids=fed)
            is_real = wanted != pad
            logits = torch.nn.functional.linear(states.last_hidden_state[is_real], model.model.shared.weight)
        return torch.nn.functional.cross_entropy(logits.float(), wanted[is_real], label_smoothing=smoothing)

    def save(self):
        with torch.no_grad():
            parts = [self.held_out[at : at + 100] for at in range(0, len(self.held_out), 100)]
            held_out = sum(self.loss(self.averaged, part).item() for part in parts) / len(parts)
        print(f"step {self.step}: loss of the sentences held out {held_out:.3f}", flush=True)
        new = self.args.out / f"{STATE}.new"
        torch.save({"archive": self.archive, "seed": self.args.seed, "step": self.step, "model": self.model.state_dict(),
                    "averaged": self.averaged.state_dict(), "optimizer": self.optimizer.state_dict(),
                    "random": torch.get_rng_state()}, new)  # fmt: skip
        new.rename(self.args.out / STATE)
        self.averaged.save_pretrained(self.args.out)

    def restore(self, state):
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])


def batched(rows, size, generator):
    """Cuts rows into batches of about `size` pieces a side, alike in length so that little is padding."""
    rows = sorted(rows, key=lambda row: (len(row[1]), len(row[0]), generator.random()))
    batches, batch = [], []
    for row in rows:
        batch.append(row)
        if len(batch) * max(len(row[0]), len(row[1])) >= size:
            batches.append(batch)
            batch = []
    batches += [batch] if batch else []
    generator.shuffle(batches)
    return batches


def padded(rows, pad):
    width = max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
