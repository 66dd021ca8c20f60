"""Runs written graphs in ONNX Runtime, as the engines do: greedy search, slots, interpolation."""

import numpy as np
import onnxruntime

from .linear import graph_file


def real_of(graph):
    """What the caches of a decoder's session are."""
    (kind,) = {value.type for value in graph.get_inputs() if value.name.startswith("past_")}
    return {"tensor(float)": np.float32, "tensor(float16)": np.float16}[kind]


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class SlotDecoder:
    """Greedy decoding over the slots of one cache, past and present bound to the same memory."""

    def __init__(self, graph, metadata, slots, capacity):
        self.session, self.m, self.capacity, self.real = graph, metadata, capacity, real_of(graph)
        shape = (slots, metadata["heads"], capacity, metadata["head_dim"])
        # NaN everywhere: nothing beyond a row's length may ever be read.
        self.caches = {
            f"{part}_{layer}": np.full(shape, np.nan, self.real)
            for layer in range(metadata["layers"])
            for part in ("key", "value")
        }
        self.rows = []
        self.forced = None  # codes that are fed in place of the chosen ones

    def run(self, first, rows, cond, ids, pos, last_index, lengths, total):
        binding = self.session.io_binding()
        feeds = {
            "cond_latents": cond, "ids": np.array(ids, np.int64), "pos": np.array(pos, np.int64),
            "last_index": np.array(last_index, np.int64), "seqlens_k": np.array(lengths, np.int32),
            "total_sequence_length": np.array(total, np.int32),
        }  # fmt: skip
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for name, cache in self.caches.items():
            view = cache[first : first + rows]
            for bind, side in ((binding.bind_input, "past"), (binding.bind_output, "present")):
                bind(f"{side}_{name}", "cpu", 0, self.real, view.shape, view.ctypes.data)
        binding.bind_output("logits")
        binding.bind_output("latent")
        self.session.run_with_iobinding(binding)
        return [value.numpy() for value in binding.get_outputs()[-2:]]

    def join(self, cond, text_ids):
        """Prefills the next free slot and returns its row."""
        m, slot = self.m, len(self.rows)
        text = [m["start_text_id"], *text_ids, m["stop_text_id"]]
        ids = [text + [m["text_vocab_size"] + m["start_audio_id"]]]
        pos = [[*range(len(text)), m["text_positions"]]]
        length = cond.shape[1] + len(ids[0])
        logits, latent = self.run(slot, 1, cond, ids, pos, [[length - 1]], [length - 1], length)
        row = {"length": length, "codes": [], "seen": {m["placeholder_audio_id"], m["start_audio_id"]},
               "chosen": [], "logits": [], "latents": []}  # fmt: skip
        self.rows.append(row)
        self.take(row, logits[0], latent[0])
        return row

    def take(self, row, logits, latent):
        penalty = self.m["sampling"]["repetition_penalty"]
        scores = logits.copy()
        for code in row["seen"]:
            scores[code] = scores[code] * penalty if scores[code] < 0 else scores[code] / penalty
        code = int(scores.argmax())
        row["chosen"].append(code)
        if self.forced:
            code = self.forced[len(row["codes"])]
        row["codes"].append(code)
        row["seen"].add(code)
        row["logits"].append(logits)
        row["latents"].append(latent)

    def step(self):
        m, count = self.m, len(self.rows)
        ids = [[m["text_vocab_size"] + row["codes"][-1]] for row in self.rows]
        pos = [[m["text_positions"] + len(row["codes"])] for row in self.rows]
        lengths = [row["length"] for row in self.rows]
        empty = np.zeros((count, 0, m["width"]), np.float32)
        logits, latents = self.run(0, count, empty, ids, pos, [[0]] * count, lengths, self.capacity)
        for row, row_logits, row_latent in zip(self.rows, logits, latents):
            row["length"] += 1
            self.take(row, row_logits, row_latent)


def greedy(graph, metadata, cond, text_ids, limit=None, forced=None):
    """Decodes one text alone until its stop code, with the session of a gpt_batched graph.

    With `forced`, these codes are fed whatever the graph chooses (`chosen`).
    """
    decoder = SlotDecoder(graph, metadata, slots=1, capacity=700)
    decoder.forced = forced
    row = decoder.join(cond, text_ids)
    limit = len(forced) if forced else limit or metadata["max_codes"]
    while row["codes"][-1] != metadata["stop_audio_id"] and len(row["codes"]) < limit:
        decoder.step()
    return row


def frames_from_latents(latents, metadata):
    """x4, then x160/147, linear with half-pixel centres, clamped at both ends. [N, width] to [width, F]."""
    up, ratio = metadata["latent_upsample"], metadata["frame_resample"]
    numerator, denominator = ratio["numerator"], ratio["denominator"]
    once = resize(latents.astype(np.float64), len(latents) * up, 1 / up)
    twice = resize(once, len(once) * numerator // denominator, denominator / numerator)
    return twice.T.astype(np.float32)


def resize(rows, count, scale):
    at = np.clip((np.arange(count) + 0.5) * scale - 0.5, 0, None)
    low = np.minimum(np.floor(at).astype(int), len(rows) - 1)
    high = np.minimum(low + 1, len(rows) - 1)
    part = (at - low)[:, None]
    return rows[low] * (1 - part) + rows[high] * part


def vocode(vocoder, frames, speaker, emit=None):
    """Samples of the frames [first, last + 1] of [width, frames], or of all."""
    return vocoder.run(None, vocoder_feeds(frames, speaker, emit))[0][0]


def vocoder_feeds(frames, speaker, emit=None):
    emit = np.array(emit or [0, frames.shape[1]], np.int64)
    return {"frames": frames[None], "speaker_embedding": speaker, "emit": emit}


def check_windows(vocoder, metadata, frames, speaker):
    """Returns how far windows with the stated context are off the samples of the whole run."""
    hop, context, count = metadata["frame_samples"], metadata["vocoder_context_frames"], frames.shape[1]
    whole, worst = vocode(vocoder, frames, speaker), 0.0
    # At the beginning, in the middle, at the end; the shortest; with context that begins and ends with the whole.
    for first, end in ((0, 30), (40, 70), (count - 30, count), (40, 41), (context - 1, count - context + 1)):
        start = max(first - context, 0)
        part = np.ascontiguousarray(frames[:, start : end + context])
        window = vocode(vocoder, part, speaker, [first - start, end - start])
        worst = max(worst, float(np.abs(window - whole[first * hop : end * hop]).max()))
    return worst


class MarianGraphs:
    """encoder.onnx and decoder.onnx of a model directory, in one precision."""

    def __init__(self, folder, metadata, precision="fp32"):
        self.m = metadata
        self.encoder, self.decoder = (session(folder / graph_file(name, precision)) for name in ("encoder", "decoder"))
        self.real = real_of(self.decoder)
        self.caches = [f"{part}_{layer}" for layer in range(metadata["layers"]) for part in ("key", "value")]

    def encode(self, source):
        """Returns the keys and values of one sentence, [caches][1, heads, ids, head_dim]."""
        ids = np.array([source], np.int64)
        names = [f"cross_{name}" for name in self.caches]
        return self.encoder.run(names, {"input_ids": ids, "attention_mask": np.ones_like(ids)})

    def greedy(self, source, limit=None):
        """Returns the ids that greedy search gives for one source; at the limit no </s> is forced."""
        limit = limit or self.m["max_length"] - 2
        rows, answer, last = MarianRows(self, limit), [], self.m["decoder_start_token_id"]
        rows.join(source)
        while last != self.m["eos_token_id"] and len(answer) < limit:
            _, (best,), _ = rows.step([last], count=1 + len(self.m["suppressed_ids"]))
            last = next(int(token) for token in best if token not in self.m["suppressed_ids"])
            answer.append(last)
        return answer

    def forced_logits(self, source, answer):
        """Logits [ids, vocabulary] before each id of `answer`, which is fed whatever they say."""
        rows = MarianRows(self, len(answer))
        rows.join(source)
        fed = [self.m["decoder_start_token_id"], *answer[:-1]]
        return np.concatenate([rows.step([token])[2] for token in fed])


class MarianRows:
    """Sentences of `beams` rows each that join at any step; past and present are bound to the same memory."""

    def __init__(self, graphs, capacity, beams=1):
        self.graphs, self.capacity, self.beams = graphs, max(capacity, 2), beams
        self.lengths, self.sources = [], []
        self.past = [self.room(0, self.capacity, np.nan) for _ in graphs.caches]
        self.cross = [self.room(0, 0, 0) for _ in graphs.caches]

    def room(self, rows, positions, value):
        shape = rows, self.graphs.m["heads"], positions, self.graphs.m["head_dim"]
        return np.full(shape, value, self.graphs.real)

    def join(self, source):
        self.lengths += [0] * self.beams
        self.sources.append(len(source))
        # NaN where nothing was written yet: it may never be read.
        self.past = [np.concatenate([past, self.room(self.beams, self.capacity, np.nan)]) for past in self.past]
        width = max(self.sources)
        wider = lambda cross: np.pad(cross, [(0, 0), (0, 0), (0, width - cross.shape[2]), (0, 0)])
        encoded = self.graphs.encode(source)
        self.cross = [np.concatenate([wider(old), wider(new)]) for old, new in zip(self.cross, encoded)]

    def step(self, ids, count=1):
        """Returns log-probabilities and ids of the best tokens, suppressed ones among them, and all logits."""
        binding = self.graphs.decoder.io_binding()
        width = self.cross[0].shape[2]
        feeds = {
            "input_ids": np.array(ids, np.int64)[:, None], "position_ids": np.array(self.lengths, np.int64)[:, None],
            # The length after this step, minus one; as total any value but 1 says that this is no prompt.
            "seqlens_k": np.array(self.lengths, np.int32), "total_sequence_length": np.array(self.capacity, np.int32),
            "attention_mask": (np.arange(width) < np.array(self.sources)[:, None]).astype(np.int64),
            "top_k": np.array([count], np.int64),
        }  # fmt: skip
        for name, value in [*feeds.items(), *((f"cross_{n}", v) for n, v in zip(self.graphs.caches, self.cross))]:
            binding.bind_cpu_input(name, value)
        for name, cache in zip(self.graphs.caches, self.past):
            for bind, side in ((binding.bind_input, "past"), (binding.bind_output, "present")):
                bind(f"{side}_{name}", "cpu", 0, self.graphs.real, cache.shape, cache.ctypes.data)
        for name in ("topk_logprobs", "topk_ids", "logits"):
            binding.bind_output(name)
        self.graphs.decoder.run_with_iobinding(binding)
        self.lengths = [length + 1 for length in self.lengths]
        return [value.numpy() for value in binding.get_outputs()[-3:]]


def relative_error(found, wanted):
    """RMS of the difference over RMS of what is wanted."""
    return float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))


def sung_vowel(seconds, rate, seed):
    """Returns audio [1, samples] like a sung vowel: gliding harmonics and some noise, within -1..1."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (110 + 40 * seed) * (time + 0.02 * np.sin(3 * time))
    harmonics = sum(np.sin(order * phase) / order for order in range(1, 12))
    signal = 0.2 * harmonics * (0.6 + 0.4 * np.sin(5 * time)) + 0.01 * generator.standard_normal(len(time))
    return np.clip(signal, -1, 1).astype(np.float32)[None]
