"""Runs one Python reference on what standard input asks for and tells what it cost.

  python references.py xtts|marian|ctranslate2|openvoice|whisper|cascade CHECKPOINTS THREADS

It speaks as engine.rs does: a line `{"ready": …}`, then for each line of JSON a line of JSON with
`wall_s` and `cpu_s`.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

KIND, CHECKPOINTS, THREADS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np  # noqa: E402

NEVER = -1e9
VOICE_RATE, SPEAKER_RATE, WHISPER_RATE = 22_050, 16_000, 16_000
# Whisper tiny, as the scripted model of models/export.
WHISPER_TINY = dict(d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
                    decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536)  # fmt: skip


def torch_threads():
    import torch

    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    return torch


def sound(seconds, rate):
    """A tone that swells, which is loud all along: that of engine.rs."""
    at = np.arange(int(seconds * rate), dtype=np.float32) / rate
    return np.sin(at * 900) * (0.3 + 0.1 * np.sin(at * 9))


class Xtts:
    """coqui-tts on PyTorch, as its `inference` runs. Every sentence has the wanted number of codes."""

    def __init__(self):
        self.torch = torch_threads()
        from export import source, xtts

        self.model = xtts.load(source.fetch(str(CHECKPOINTS / "xtts" / "xtts"), None, [])).model
        gpt = self.model.gpt
        with self.torch.no_grad():
            gpt.mel_head.bias[gpt.stop_audio_token] = NEVER
        self.parts = {}
        self.count_part(gpt, "generate", "gpt_cpu_s")
        self.count_part(gpt, "forward", "second_pass_cpu_s")
        self.count_part(self.model.hifigan_decoder, "forward", "vocoder_cpu_s")
        self.voice = self.torch.sin(self.torch.arange(32 * 1024) * 0.61).reshape(1, 32, 1024)
        self.speaker = self.torch.sin(self.torch.arange(512) * 0.61).reshape(1, 512, 1) * 0.06

    def count_part(self, module, name, part):
        inner = getattr(module, name)

        def counted(*args, **kwargs):
            before = time.process_time()
            result = inner(*args, **kwargs)
            self.parts[part] = self.parts.get(part, 0.0) + time.process_time() - before
            return result

        setattr(module, name, counted)

    def run(self, request):
        self.parts.clear()
        self.model.gpt.max_gen_mel_tokens = request["codes"]
        seconds = 0.0
        for language in request["languages"]:
            spoken = self.model.inference(
                request["text"], language, request.get("voice", self.voice), request.get("speaker", self.speaker)
            )
            seconds += len(spoken["wav"]) / 24_000
        return {"speech_s": seconds, **self.parts}

    def condition(self, recording):
        """Latents and speaker embedding of a recording, as `get_conditioning_latents` makes them."""
        audio = self.torch.from_numpy(recording)[None]
        config = self.model.config
        latents = self.model.get_gpt_cond_latents(
            audio, VOICE_RATE, length=config.gpt_cond_len, chunk_length=config.gpt_cond_chunk_len
        )
        speaker = self.model.get_speaker_embedding(audio, VOICE_RATE)
        return latents, speaker


class Marian:
    """transformers on PyTorch."""

    def __init__(self):
        self.torch = torch_threads()
        from transformers import MarianMTModel, MarianTokenizer

        folder = pair()
        self.tokenizer = MarianTokenizer.from_pretrained(folder)
        self.model = MarianMTModel.from_pretrained(folder).eval()

    def run(self, request):
        batch = self.tokenizer(request["sentences"], return_tensors="pt", padding=True)
        tokens = request["tokens"]
        answer = self.model.generate(
            **batch, num_beams=request["beams"], do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens
        )
        return {"source_ids": int(batch["attention_mask"].sum()), "generated_ids": answer[:, 1:].numel()}


class CTranslate2:
    """CTranslate2 in 8 bits, in a process without PyTorch."""

    def __init__(self):
        import ctranslate2
        import sentencepiece

        folder = pair()
        converted = folder.parent / f"{folder.name}.ctranslate2-int8"
        if not converted.exists():
            convert(folder, converted)
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self.translator = ctranslate2.Translator(
            str(converted), device="cpu", compute_type="int8", inter_threads=1, intra_threads=THREADS
        )

    def run(self, request):
        sentences = [[*self.pieces.encode(text, out_type=str), "</s>"] for text in request["sentences"]]
        tokens = request["tokens"]
        results = self.translator.translate_batch(
            sentences, beam_size=request["beams"], min_decoding_length=tokens, max_decoding_length=tokens,
            max_batch_size=len(sentences),
        )  # fmt: skip
        generated = sum(len(result.hypotheses[0]) for result in results)
        return {"source_ids": sum(map(len, sentences)), "generated_ids": generated}


def convert(folder, target):
    """In a process of its own: with PyTorch loaded CTranslate2 is slower."""
    import subprocess

    code = (
        "import sys, ctranslate2.converters as c; "
        "c.TransformersConverter(sys.argv[1]).convert(sys.argv[2], quantization='int8')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(target)], check=True, stdout=sys.stderr)


def pair():
    """The folder of the one MarianMT checkpoint."""
    folders = [path for path in sorted((CHECKPOINTS / "marian").iterdir()) if (path / "config.json").exists()
               and (path / "source.spm").exists()]  # fmt: skip
    return folders[0]


class OpenVoice:
    """The reference encoder of OpenVoice on PyTorch, with its spectrogram."""

    def __init__(self):
        self.torch = torch_threads()
        from export import openvoice, source

        loaded = openvoice.load(source.fetch(str(CHECKPOINTS / "openvoice" / "converter"), None, []))
        self.model = getattr(loaded, "model", loaded)

    def run(self, request):
        self.embed(sound(request["seconds"], VOICE_RATE))
        return {}

    def embed(self, recording):
        torch = self.torch
        audio = torch.nn.functional.pad(torch.from_numpy(recording)[None, None], (384, 384), mode="reflect")[0]
        parts = torch.stft(audio, 1024, hop_length=256, win_length=1024, window=torch.hann_window(1024), center=False,
                           onesided=True, return_complex=True)  # fmt: skip
        spectrogram = (parts.abs().square() + 1e-6).sqrt()
        return self.model.ref_enc(spectrogram.transpose(1, 2))


class Whisper:
    """transformers on PyTorch, with random weights of Whisper tiny."""

    def __init__(self):
        self.torch = torch_threads()
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

        config = WhisperConfig(**WHISPER_TINY)
        self.model = WhisperForConditionalGeneration(config).eval()
        self.features = WhisperFeatureExtractor()

    def run(self, request):
        self.hear(sound(request["seconds"], WHISPER_RATE), request["tokens"])
        return {}

    def hear(self, recording, tokens):
        features = self.features(recording, sampling_rate=WHISPER_RATE, return_tensors="pt").input_features
        states = self.model.model.encoder(features).last_hidden_state
        ids, past = self.torch.tensor([[50_258, 50_259, 50_359]]), None
        for _ in range(tokens):
            step = self.model(encoder_outputs=(states,), decoder_input_ids=ids, past_key_values=past, use_cache=True)
            past, ids = step.past_key_values, step.logits[:, -1:].argmax(-1)


class Cascade:
    """A voice message, as a Python service does it: hear it, learn the voice, speak each language."""

    def __init__(self):
        self.whisper, self.openvoice, self.xtts = Whisper(), OpenVoice(), Xtts()

    def run(self, request):
        seconds = request["seconds"]
        self.whisper.hear(sound(seconds, WHISPER_RATE), request["tokens"])
        recording = sound(seconds, VOICE_RATE)
        self.openvoice.embed(recording)
        voice, speaker = self.xtts.condition(recording)
        return self.xtts.run({**request, "voice": voice, "speaker": speaker})


def main():
    kinds = dict(xtts=Xtts, marian=Marian, ctranslate2=CTranslate2, openvoice=OpenVoice, whisper=Whisper,
                 cascade=Cascade)  # fmt: skip
    # Libraries print to standard output; what is said there is for run.py only.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    reference = kinds[KIND]()
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        before, started = time.process_time(), time.perf_counter()
        told = reference.run(request)
        wall_s = time.perf_counter() - started
        cpu_s = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_memory_bytes": peak, "told": told}), file=answers)


if __name__ == "__main__":
    main()
