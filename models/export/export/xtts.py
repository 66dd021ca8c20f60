"""XTTS v2 checkpoints to the graphs, vocab.json and metadata.json of a model folder's xtts/."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts, _legacy_safe_globals, wav_to_mel_cloning

from . import ExportError, install, vocoder_int8, xtts_graphs
from .linear import KINDS, graph_file
from .runtime import check_windows, frames_from_latents, greedy, relative_error, session, sung_vowel, vocode
from .source import fetch, required, sha256

PATTERNS = ["config.json", "model.pth", "vocab.json"]
PRECISIONS = ["fp32", "int8r"]

# What coqui-tts' get_gpt_cond_latents has in its code.
CONDITIONING_FFT, CONDITIONING_WINDOW, MIN_CHUNK_S = 2048, 1024, 0.33
PLACEHOLDER_CODE = 1  # fills the reference's prefix, so that its repetition penalty sees it

# Characters that one piece of text may have (coqui-tts' tokenizer).
CHAR_LIMITS = {
    "en": 250, "de": 253, "fr": 273, "es": 239, "it": 213, "pt": 203, "pl": 224, "zh": 82, "ar": 166, "cs": 186,
    "ru": 182, "nl": 251, "tr": 226, "ja": 71, "hu": 224, "ko": 95, "hi": 150,
}  # fmt: skip

CHECKED_CODES = 48
TEXTS = [("en", "see you at six."), ("fr", "bonjour, à demain matin !"), ("de", "wo ist der bahnhof?")]
TOLERANCE = 1e-4  # of conditioning, speaker embedding and waveform
LATENT_TOLERANCE = 1e-4  # of the largest latent
PRECISION_TOLERANCE = {"int8r": 0.15, "fp16": 0.01, "q4": 0.3}  # relative RMS error of the logits


@dataclass
class Checkpoint:
    model: Xtts
    folder: Path
    source_name: str
    weights_sha256: str

    @property
    def gpt(self):
        return self.model.gpt

    @property
    def decoder(self):
        return self.model.hifigan_decoder


def export(source, out, precisions=PRECISIONS, int8_vocoder=False, default_voice=None, licence="cpml", revision=None,
           requires_acceptance=True, force=False):  # fmt: skip
    """Writes xtts/ into the model folder `out` and returns its entry in the manifest."""
    if default_voice and Path(default_voice).suffix != ".ogg":
        raise ExportError(f"the default voice is an .ogg file: ffmpeg -i {default_voice} -c:a libopus voice.ogg")
    checkpoint = load(fetch(source, revision, PATTERNS))
    gpt, decoder = checkpoint.gpt, checkpoint.decoder
    with install.staged(out, "xtts", force) as folder:
        shutil.copyfile(checkpoint.folder / "vocab.json", folder / "vocab.json")
        if default_voice:
            shutil.copyfile(default_voice, folder / "default_voice.ogg")
        xtts_graphs.conditioning_graph(
            gpt, checkpoint.model.mel_stats, CONDITIONING_FFT, CONDITIONING_WINDOW
        ).save(folder / "conditioning.onnx")  # fmt: skip
        encoder = decoder.speaker_encoder
        xtts_graphs.speaker_encoder_graph(encoder, encoder.audio_config).save(folder / "speaker_encoder.onnx")
        vocoder = decoder.waveform_decoder
        xtts_graphs.vocoder_graph(vocoder, gpt.model_dim).save(folder / "vocoder_frames.onnx")
        for precision in precisions:
            xtts_graphs.gpt_graph(gpt, KINDS[precision]).save(folder / graph_file("gpt_batched", precision))
        facts = metadata(checkpoint, precisions)
        facts["parity"] = check(folder, checkpoint, facts, int8_vocoder)
        install.write_json(folder / "metadata.json", facts)
    entry = install.entry(out, "xtts", "xtts", "xtts", licence, requires_acceptance)
    install.register(out, [entry])
    return entry


def load(source):
    """Reads config.json, model.pth and vocab.json; the files stay as they are."""
    folder = source.folder
    weights, vocabulary = required(folder, "model.pth"), required(folder, "vocab.json")
    config = XttsConfig()
    config.load_json(str(required(folder, "config.json")))
    if not config.model_args.gpt_use_perceiver_resampler:
        raise ExportError(f"{folder} is XTTS v1: its conditioning is not supported")
    with _legacy_safe_globals():
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    state = state.get("model", state)
    # A trainer's prefix and extra networks, and second names of tables that inference makes itself.
    state = {key.removeprefix("xtts."): value for key, value in state.items()}
    extra = ("dvae.", "torch_mel_spectrogram_", "gpt.gpt_inference.", "gpt.gpt.wte.")
    state = {key: value for key, value in state.items() if not key.startswith(extra)}
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(vocabulary))
    model.init_models()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{weights} does not hold XTTS v2's weights: {error}") from None
    model.eval()
    model.gpt.init_gpt_for_inference(kv_cache=True)
    return Checkpoint(model, folder, source.name, sha256(weights))


def metadata(checkpoint, precisions):
    gpt, decoder, config = checkpoint.gpt, checkpoint.decoder, checkpoint.model.config
    vocabulary = checkpoint.model.tokenizer.tokenizer.get_vocab()
    spoken = [language for language in config.languages if f"[{language}]" in vocabulary]
    ratio = frame_ratio(decoder)
    return {
        "engine": "xtts",
        "source_checkpoint": checkpoint.source_name, "source_sha256": checkpoint.weights_sha256,
        "opset": xtts_graphs.OPSET, "precisions": precisions,
        "input_sample_rate_hz": decoder.input_sample_rate,
        "speaker_sample_rate_hz": decoder.speaker_encoder.audio_config["sample_rate"],
        "output_sample_rate_hz": decoder.output_sample_rate,
        "text_vocab_size": gpt.number_text_tokens, "audio_vocab_size": gpt.num_audio_tokens,
        "text_positions": gpt.text_pos_embedding.emb.num_embeddings,
        "audio_positions": gpt.mel_pos_embedding.emb.num_embeddings,
        "start_text_id": gpt.start_text_token, "stop_text_id": gpt.stop_text_token,
        "start_audio_id": gpt.start_audio_token, "stop_audio_id": gpt.stop_audio_token,
        "placeholder_audio_id": PLACEHOLDER_CODE,
        "layers": gpt.layers, "heads": gpt.heads, "head_dim": gpt.model_dim // gpt.heads, "width": gpt.model_dim,
        "cond_len": gpt.conditioning_perceiver.latents.shape[0],
        "max_text_ids": gpt.text_pos_embedding.emb.num_embeddings - 3, "max_codes": gpt.max_gen_mel_tokens,
        "speaker_dim": decoder.waveform_decoder.cond_layer.in_channels, "vocoder_channels": gpt.model_dim,
        "code_samples": gpt.code_stride_len, "frame_samples": decoder.output_hop_length,
        "latent_upsample": gpt.code_stride_len // decoder.output_hop_length,
        "frame_resample": ratio, "vocoder_context_frames": xtts_graphs.vocoder_context(decoder.waveform_decoder),
        "sampling": {
            "temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p,
            "repetition_penalty": float(config.repetition_penalty), "do_sample": True,
        },
        "gpt_cond_len_s": config.gpt_cond_len, "gpt_cond_chunk_len_s": config.gpt_cond_chunk_len,
        "min_cond_chunk_s": MIN_CHUNK_S, "max_ref_len_s": config.max_ref_len,
        "languages": spoken, "char_limits": {code: CHAR_LIMITS[code.split("-")[0]] for code in spoken},
    }  # fmt: skip


def frame_ratio(decoder):
    """Output rate over input rate in lowest terms: 24000 / 22050 = 160 / 147."""
    divisor = np.gcd(decoder.output_sample_rate, decoder.input_sample_rate)
    return {"numerator": int(decoder.output_sample_rate // divisor),
            "denominator": int(decoder.input_sample_rate // divisor)}  # fmt: skip


def check(folder, checkpoint, facts, int8_vocoder):
    """Compares every graph with coqui-tts on a made-up voice and a few texts; returns the figures."""
    rate = facts["input_sample_rate_hz"]
    voice = sung_vowel(facts["gpt_cond_chunk_len_s"], rate, seed=2)
    cond = session(folder / "conditioning.onnx").run(None, {"audio_22k": voice})[0]
    speaker_audio = sung_vowel(3, facts["speaker_sample_rate_hz"], seed=2)
    speaker = session(folder / "speaker_encoder.onnx").run(None, {"audio_16k": speaker_audio})[0]
    wanted_cond, wanted_speaker = reference_voice(checkpoint, voice, speaker_audio)
    figures = {
        "conditioning_error": within(TOLERANCE, cond, wanted_cond, "conditioning"),
        "speaker_embedding_error": within(TOLERANCE, speaker, wanted_speaker, "speaker embedding"),
    }
    texts = [text_ids(checkpoint, text, language) for language, text in TEXTS]
    references = [reference_speech(checkpoint, wanted_cond, wanted_speaker, ids) for ids in texts]
    figures["codes_compared"] = sum(len(codes) for codes, _, _ in references)
    vocoder = folder / "vocoder_frames.onnx"
    wanted = np.concatenate([reference_logits(checkpoint, latents) for _, latents, _ in references])
    for precision in facts["precisions"]:
        gpt = session(folder / graph_file("gpt_batched", precision))
        rows = [greedy(gpt, facts, wanted_cond, ids, forced=codes) for ids, (codes, _, _) in zip(texts, references)]
        if precision == "fp32":
            figures |= check_float(rows, references, facts, session(vocoder), wanted_speaker)
            continue
        found = np.concatenate([row["logits"] for row in rows])
        error, same = relative_error(found, wanted), float((found.argmax(1) == wanted.argmax(1)).mean())
        figures[precision] = {"relative_logit_error": round(error, 5), "same_best_code": round(same, 4)}
        if error > PRECISION_TOLERANCE[precision]:
            raise ExportError(f"{precision}: logits are off by {error:.3f} of their size")
    frames = [frames_from_latents(latents, facts) for _, latents, _ in references]
    figures["window_error"] = check_windows(session(vocoder), facts, frames[0], wanted_speaker)
    if figures["window_error"] > TOLERANCE / 100:
        raise ExportError(f"a vocoder window differs from the whole run by {figures['window_error']}")
    if int8_vocoder:
        figures["int8_vocoder"] = vocoder_int8.export(vocoder, frames, wanted_speaker)
    return figures


def check_float(rows, references, facts, vocoder, speaker):
    latent_error = wav_error = 0.0
    for row, (codes, latents, wav) in zip(rows, references):
        if row["chosen"] != codes:
            raise ExportError("greedy codes differ from the reference")
        size = np.abs(latents).max()
        latent_error = max(latent_error, within(LATENT_TOLERANCE * size, np.array(row["latents"]), latents, "latents"))
        frames = frames_from_latents(np.array(row["latents"]), facts)
        found = vocode(vocoder, frames, speaker)
        wav_error = max(wav_error, within(TOLERANCE, found, wav, "waveform"))
    return {"latent_error": latent_error, "waveform_error": wav_error}


def within(tolerance, found, wanted, what):
    if found.shape != wanted.shape:
        raise ExportError(f"{what}: shape {found.shape}, the reference {wanted.shape}")
    difference = float(np.abs(found - wanted).max())
    if not difference <= tolerance:
        raise ExportError(f"{what} against the reference: off by {difference}, more than {tolerance}")
    return difference


def reference_logits(checkpoint, latents):
    """Logits [codes, audio vocabulary] that chose the codes of latents [codes, width]."""
    with torch.no_grad():
        return checkpoint.gpt.mel_head(torch.from_numpy(latents)).numpy()


def text_ids(checkpoint, text, language):
    tokens = checkpoint.model.tokenizer.tokenizer
    return tokens.encode(f"[{language}]{text.replace(' ', '[SPACE]')}").ids


def reference_voice(checkpoint, voice, speaker_audio):
    """Conditioning [1, cond_len, width] and speaker embedding [1, dim, 1] by coqui-tts."""
    model = checkpoint.model
    mel = wav_to_mel_cloning(
        torch.from_numpy(voice), mel_norms=model.mel_stats, n_fft=CONDITIONING_FFT, hop_length=256,
        win_length=CONDITIONING_WINDOW, power=2, sample_rate=model.hifigan_decoder.input_sample_rate, f_min=0,
        f_max=8000, n_mels=80,
    )  # fmt: skip
    with torch.no_grad():
        cond = model.gpt.get_style_emb(mel).transpose(1, 2)
        speaker = model.hifigan_decoder.speaker_encoder(torch.from_numpy(speaker_audio), l2_norm=True)[:, :, None]
    return cond.contiguous().numpy(), speaker.numpy()


def reference_speech(checkpoint, cond, speaker, ids, limit=CHECKED_CODES):
    """Greedy codes, latents [codes, width] by the second pass, and waveform, by coqui-tts."""
    gpt, decoder = checkpoint.gpt, checkpoint.decoder
    cond, text = torch.from_numpy(cond), torch.tensor([ids])
    penalty = float(checkpoint.model.config.repetition_penalty)
    longest, gpt.max_gen_mel_tokens = gpt.max_gen_mel_tokens, limit
    try:
        with torch.no_grad():
            codes = gpt.generate(cond, text, do_sample=False, num_beams=1, repetition_penalty=penalty)
            samples = torch.tensor([codes.shape[-1] * gpt.code_stride_len])
            latents = gpt(text, torch.tensor([len(ids)]), codes, samples, cond_latents=cond, return_latent=True)
            wav = decoder(latents, g=torch.from_numpy(speaker))[0, 0]
    finally:
        gpt.max_gen_mel_tokens = longest
    return codes[0].tolist(), latents[0].numpy(), wav.numpy()
