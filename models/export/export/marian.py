"""MarianMT checkpoints (opus-mt) to encoder.onnx, decoder.onnx, tokenizer and metadata.json."""

import json
import re
import shutil
from dataclasses import dataclass

import numpy as np
import sentencepiece
import torch
from transformers import MarianMTModel
from transformers.utils import logging as transformers_logging

from . import ExportError, install, languages, marian_graphs
from .linear import KINDS, graph_file
from .runtime import MarianGraphs, MarianRows, relative_error
from .source import fetch, required, sha256

PATTERNS = ["config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors",
            "pytorch_model.bin", "*.spm", "*vocab.json"]  # fmt: skip
TOKENIZER = ["source.spm", "target.spm", "vocab.json"]
MAX_SOURCE_LENGTH = 512  # Marian's own tokenizer stops there
PRECISIONS = ["fp32", "int8r"]

CHECKED_INPUTS, CHECKED_IDS = 24, 40
FLOAT_TOLERANCE = 1e-4  # of the largest logit
PRECISION_TOLERANCE = {"int8r": 0.15, "fp16": 0.01}  # relative RMS error of the logits


@dataclass
class Checkpoint:
    model: MarianMTModel
    folder: object
    vocabulary: dict
    source_name: str
    weights_sha256: str


def export(source, out, name=None, sources=None, targets=None, precisions=PRECISIONS, licence="CC-BY-4.0",
           revision=None, force=False):  # fmt: skip
    """Writes marian/<name> into the model folder `out` and returns its entry in the manifest."""
    checkpoint = load(fetch(source, revision, PATTERNS))
    name = name or pair_name(source)
    spoken = covered(name, checkpoint.vocabulary, sources, targets)
    directory = f"marian/{name}"
    with install.staged(out, directory, force) as folder:
        for file in TOKENIZER:
            shutil.copyfile(checkpoint.folder / file, folder / file)
        for precision in precisions:
            kind = KINDS[precision]
            marian_graphs.encoder_graph(checkpoint.model, kind).save(folder / graph_file("encoder", precision))
            marian_graphs.decoder_graph(checkpoint.model, kind).save(folder / graph_file("decoder", precision))
        facts = metadata(checkpoint, precisions, spoken)
        facts["parity"] = check(folder, checkpoint, facts, precisions)
        install.write_json(folder / "metadata.json", facts)
    entry = install.entry(out, directory, f"marian-{name}", "marian", licence, source=name.split("-")[0],
                          targets=sorted(spoken["target_languages"]))  # fmt: skip
    install.register(out, [entry])
    return entry


def load(source):
    """Reads a checkpoint in transformers' layout; what the graphs cannot express is refused."""
    folder = source.folder
    for file in TOKENIZER:
        required(folder, file)
    weights = required(folder, "model.safetensors", "pytorch_model.bin")
    config = json.loads(required(folder, "config.json").read_text(encoding="utf-8"))
    refuse = lambda what: ExportError(f"{folder}: {what}")
    if config.get("model_type") != "marian":
        raise refuse(f"model_type is {config.get('model_type')!r}, not 'marian'")
    if config.get("activation_function") not in ("swish", "silu", "relu"):
        raise refuse(f"activation {config.get('activation_function')!r} is not supported")
    if config.get("normalize_embedding") or not config.get("static_position_embeddings", True):
        raise refuse("normalized or learned position embeddings are not supported")
    if not config.get("share_encoder_decoder_embeddings", True) or (folder / "target_vocab.json").exists():
        raise refuse("separate source and target vocabularies are not supported")
    transformers_logging.disable_progress_bar()
    model, report = MarianMTModel.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    missing = [key for key in report["missing_keys"] if "embed_positions" not in key]
    if missing or report["mismatched_keys"]:
        raise refuse(f"the weights lack {', '.join(missing[:3]) or 'parts of the right size'}")
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    ids = {"</s>": model.config.eos_token_id, "<pad>": model.config.pad_token_id}
    if any(vocabulary.get(token) != index for token, index in ids.items()) or "<unk>" not in vocabulary:
        raise refuse("vocab.json does not belong to config.json: </s>, <pad> or <unk> differ")
    if max(vocabulary.values()) >= model.config.vocab_size:
        raise refuse("vocab.json has ids beyond vocab_size")
    if any(len(word) != 1 for word in model.generation_config.bad_words_ids or []):
        raise refuse("bad_words_ids holds a word of several ids")
    return Checkpoint(model.eval(), folder, vocabulary, source.name, sha256(weights))


def pair_name(source):
    """The languages at the end of a checkpoint's name: opus-mt-tc-big-fr-en gives fr-en."""
    found = re.search(r"([A-Za-z]{2,})-([A-Za-z_]{2,})/?$", source)
    if not found:
        raise ExportError(f"the name {source} does not end in two languages: give them as --name fr-en")
    return f"{found[1]}-{found[2]}"


def covered(name, vocabulary, sources, targets):
    """Returns the language keys of metadata.json: from the options, else from the name and the target tokens."""
    first, _, last = name.partition("-")
    if not last:
        raise ExportError(f"--name is <source>-<target>, such as fr-en or en-mul, not {name}")
    sources = sources or ([first] if languages.canonical(first) else [])
    if not sources:
        raise ExportError(f"{first} is no language: say which it stands for, as --source fr,es,it")
    tokens = languages.target_tokens(vocabulary)
    target = languages.canonical(last)
    if targets is None:
        targets = [target] if target else sorted(tokens)
    unknown = [code for code in targets if tokens and code not in tokens]
    if unknown or not targets:
        offered = ", ".join(sorted(tokens)) or "none"
        raise ExportError(f"no target token for {', '.join(unknown) or last}; the vocabulary has those of: {offered}")
    spoken = {"source_languages": sources, "target_languages": targets}
    if tokens:
        spoken["target_tokens"] = {code: tokens[code] for code in targets}
    return spoken


def metadata(checkpoint, precisions, spoken):
    config, generation = checkpoint.model.config, checkpoint.model.generation_config
    positions = config.max_position_embeddings
    return {
        "engine": "marian", "layout": "slots",
        "source_checkpoint": checkpoint.source_name, "source_sha256": checkpoint.weights_sha256,
        "precisions": precisions, "opset": marian_graphs.OPSET, **spoken,
        "layers": config.decoder_layers, "heads": config.decoder_attention_heads,
        "head_dim": config.d_model // config.decoder_attention_heads, "d_model": config.d_model,
        "vocab_size": config.vocab_size, "pad_token_id": config.pad_token_id, "eos_token_id": config.eos_token_id,
        "unk_token_id": checkpoint.vocabulary["<unk>"], "decoder_start_token_id": config.decoder_start_token_id,
        "forced_eos_token_id": generation.forced_eos_token_id, "suppressed_ids": suppressed_ids(checkpoint.model),
        "max_source_length": min(MAX_SOURCE_LENGTH, positions),
        "max_length": min(generation.max_length or MAX_SOURCE_LENGTH, positions),
        "num_beams": generation.num_beams or 1, "length_penalty": generation.length_penalty or 1.0,
        "early_stopping": generation.early_stopping or False,
    }  # fmt: skip


def suppressed_ids(model):
    """Ids that are never chosen: padding, and the checkpoint's bad words, which are single ids."""
    words = model.generation_config.bad_words_ids or []
    return sorted({model.config.pad_token_id, *(word[0] for word in words)})


def inputs(checkpoint, count=CHECKED_INPUTS, longest=48):
    """Returns source ids: random pieces of the vocabulary, of every length up to `longest`."""
    generator = np.random.default_rng(1)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.folder / "source.spm"))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    known = [checkpoint.vocabulary[piece] for piece in pieces if piece in checkpoint.vocabulary]
    lengths = np.linspace(1, longest, count).astype(int)
    return [[*generator.choice(known, length).tolist(), checkpoint.model.config.eos_token_id] for length in lengths]


def check(folder, checkpoint, facts, precisions):
    """Compares the graphs with transformers on the same ids; returns the figures.

    Greedy answers must be equal, logits under forced answers within FLOAT_TOLERANCE; a batch that is
    joined later must give what each row gives alone. Other precisions are compared with fp32 logits.
    """
    sources = inputs(checkpoint)
    references = [reference(checkpoint.model, ids) for ids in sources]
    figures = {"inputs": len(sources)}
    for precision in precisions:
        graphs = MarianGraphs(folder, facts, precision)
        logits = [graphs.forced_logits(ids, answer) for ids, (answer, _) in zip(sources, references)]
        found, wanted = np.concatenate(logits), np.concatenate([scores for _, scores in references])
        if precision == "fp32":
            figures["largest_logit_error"] = difference = float(np.abs(found - wanted).max())
            if difference > FLOAT_TOLERANCE * np.abs(wanted).max():
                raise ExportError(f"logits differ from the reference by {difference}")
            for ids, (answer, _) in zip(sources, references):
                if graphs.greedy(ids, limit=len(answer)) != answer:
                    raise ExportError("greedy answers differ from the reference")
            check_batch(graphs, sources[3:5], FLOAT_TOLERANCE * np.abs(wanted).max())
        else:
            error, same = relative_error(found, wanted), float((found.argmax(1) == wanted.argmax(1)).mean())
            figures[precision] = {"relative_logit_error": round(error, 5), "same_best_token": round(same, 4)}
            if error > PRECISION_TOLERANCE[precision]:
                raise ExportError(f"{precision}: logits are off by {error:.3f} of their size")
    return figures


def reference(model, ids):
    """Returns transformers' greedy answer (without a forced end) and its logits before each id."""
    source, limit = torch.tensor([ids]), CHECKED_IDS + 2
    with torch.no_grad():
        answer = model.generate(source, max_length=limit, num_beams=1, do_sample=False, early_stopping=False)[0]
        answer = answer[: CHECKED_IDS + 1]  # what comes next is forced to be the end
        scores = model(input_ids=source, decoder_input_ids=answer[None, :-1]).logits[0].numpy()
    return answer[1:].tolist(), scores


def check_batch(graphs, sources, tolerance):
    """Two sentences of two beams, the second of which joins later, must each go on as they do alone."""
    start, (first, second) = graphs.m["decoder_start_token_id"], sources
    rows = MarianRows(graphs, capacity=8, beams=2)
    rows.join(first)
    rows.step([start, start])
    rows.join(second)
    rows.step([5, 7, start, start])
    _, _, found = rows.step([7, 5, 9, 5])
    # The last token of each is not fed.
    answers = [(first, [5, 7, 0]), (first, [7, 5, 0]), (second, [9, 0]), (second, [5, 0])]
    for row, (source, answer) in zip(found, answers):
        if np.abs(row - graphs.forced_logits(source, answer)[-1]).max() > tolerance:
            raise ExportError("a row of a batch differs from the same row alone")
