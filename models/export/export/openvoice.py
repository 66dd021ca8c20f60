"""OpenVoice V2's converter checkpoint to tone_embedding.onnx (who speaks) and converter.onnx (speak like)."""

import json
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from TTS.utils.audio.torch_transforms import wav_to_spec
from TTS.vc.configs.openvoice_config import OpenVoiceConfig
from TTS.vc.models.openvoice import OpenVoice, ReferenceEncoder

from . import ExportError, install, openvoice_graphs
from .runtime import session, sung_vowel
from .source import fetch, required, sha256

PATTERNS = ["converter/config.json", "converter/checkpoint.pth"]
TOLERANCE = 1e-5  # of embedding and waveform, both below 1 in size
TAU = 0.3  # OpenVoice's default


@dataclass
class Checkpoint:
    """`model` is None where the file holds the reference encoder only."""

    encoder: ReferenceEncoder
    model: OpenVoice
    audio: object
    source_name: str
    weights_sha256: str


def export(source, out, licence="MIT", revision=None, force=False):
    """Writes openvoice/ into the model folder `out` and returns its entry in the manifest."""
    checkpoint = load(fetch(source, revision, PATTERNS))
    audio = checkpoint.audio
    with install.staged(out, "openvoice", force) as folder:
        graph = openvoice_graphs.tone_embedding_graph(checkpoint.encoder, audio.fft_size, audio.hop_length)
        graph.save(folder / "tone_embedding.onnx")
        if checkpoint.model:
            graph = openvoice_graphs.converter_graph(checkpoint.model, audio.fft_size, audio.hop_length)
            graph.save(folder / "converter.onnx")
        facts = metadata(checkpoint)
        facts["parity"] = check(folder, checkpoint)
        install.write_json(folder / "metadata.json", facts)
    entry = install.entry(out, "openvoice", "openvoice", "openvoice", licence)
    install.register(out, [entry])
    return entry


def load(source):
    """Reads config.json and checkpoint.pth of the converter, or a file of the reference encoder's weights alone."""
    folder = source.folder / "converter" if (source.folder / "converter").is_dir() else source.folder
    weights = required(folder, "checkpoint.pth", "speaker_embedding_extractor.pt")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state.get("model", state)
    config = OpenVoiceConfig()
    if (folder / "config.json").is_file():
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        data = written["data"]
        config.audio.input_sample_rate = config.audio.output_sample_rate = data["sampling_rate"]
        config.audio.fft_size, config.audio.hop_length = data["filter_length"], data["hop_length"]
        config.audio.win_length = data["win_length"]
        for key, value in written["model"].items():
            if key in config.model_args:
                config.model_args[key] = value
    if config.audio.win_length != config.audio.fft_size:
        raise ExportError(f"{folder}: a window shorter than the transform is not supported")
    identity = source.name, sha256(weights)
    alone = {key.removeprefix("ref_enc."): value for key, value in state.items() if key.startswith("ref_enc.")}
    try:
        if len(alone) == len(state):
            encoder = ReferenceEncoder(config.audio.fft_size // 2 + 1, config.model_args.gin_channels)
            encoder.load_state_dict(alone)
            return Checkpoint(encoder.eval(), None, config.audio, *identity)
        model = OpenVoice(config)
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{weights} does not hold OpenVoice's weights: {error}") from None
    model.eval()
    return Checkpoint(model.ref_enc, model, config.audio, *identity)


def metadata(checkpoint):
    audio = checkpoint.audio
    facts = {
        "engine": "openvoice",
        "source_checkpoint": checkpoint.source_name, "source_sha256": checkpoint.weights_sha256,
        "precision": "fp32", "opset": openvoice_graphs.OPSET, "sample_rate_hz": audio.input_sample_rate,
        "n_fft": audio.fft_size, "win_length": audio.win_length, "hop_length": audio.hop_length,
        "embedding_dim": checkpoint.encoder.proj.out_features, "min_samples": audio.fft_size,
    }  # fmt: skip
    if checkpoint.model:
        facts["converter"] = {"noise_channels": checkpoint.model.inter_channels, "tau": TAU}
    return facts


def check(folder, checkpoint):
    """Compares the graphs with coqui-tts on made-up voices; returns the largest differences."""
    audio = checkpoint.audio
    signals = [sung_vowel(seconds, audio.input_sample_rate, seed) for seed, seconds in enumerate((0.5, 3, 10))]
    embeddings = [reference_embedding(checkpoint, signal) for signal in signals]
    graph = session(folder / "tone_embedding.onnx")
    found = [graph.run(None, {"audio": signal})[0] for signal in signals]
    figures = {"embedding_error": largest(found, embeddings)}
    if checkpoint.model:
        signal, voices = signals[1], (embeddings[1], embeddings[2])
        frames = signal.shape[1] // audio.hop_length
        noise = np.random.default_rng(1).standard_normal((1, checkpoint.model.inter_channels, frames), np.float32)
        wav = session(folder / "converter.onnx").run(None, {
            "audio": signal, "src_se": voices[0], "tgt_se": voices[1], "noise": noise,
            "tau": np.array([TAU], np.float32),
        })[0]  # fmt: skip
        figures["waveform_error"] = largest([wav], [reference_conversion(checkpoint, signal, *voices, noise)])
    for name, difference in figures.items():
        if not difference <= TOLERANCE:
            raise ExportError(f"{name} against the reference is {difference}, more than {TOLERANCE}")
    return figures


def largest(found, wanted):
    return max(float(np.abs(a - b).max()) for a, b in zip(found, wanted))


def spectrum(checkpoint, signal):
    audio = checkpoint.audio
    return wav_to_spec(torch.from_numpy(signal)[None], audio.fft_size, audio.hop_length, audio.win_length)


def reference_embedding(checkpoint, signal):
    """The embedding [1, dim, 1] of audio [1, samples]."""
    with torch.no_grad():
        return checkpoint.encoder(spectrum(checkpoint, signal).transpose(1, 2))[..., None].numpy()


def reference_conversion(checkpoint, signal, source, target, noise):
    """The waveform [1, samples] that coqui-tts gives with the same noise."""
    voices = {"g_src": torch.from_numpy(source), "g_tgt": torch.from_numpy(target)}
    model, spec = checkpoint.model, spectrum(checkpoint, signal)
    with mock.patch("torch.randn_like", lambda like: torch.from_numpy(noise)), mock.patch.object(model, "tau", TAU):
        return model.inference(spec, voices)["model_outputs"][0].numpy()
