"""Checkpoints with random weights, in the layout of the originals: what the export reads next.

They have the real dimensions (or tiny ones), so that speed, memory and arithmetic can be measured where
no original may be downloaded. Their output is noise. Scales are chosen so that activations stay in the
range of trained networks; no weight is an outlier, as some of trained ones are.
"""

import io
import json
import math
import random
import shutil

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import GenerationConfig, MarianConfig, MarianMTModel
from transformers.pytorch_utils import Conv1D
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.perceiver_encoder import RMSNorm
from TTS.tts.models.xtts import Xtts
from TTS.vc.configs.openvoice_config import OpenVoiceConfig
from TTS.vc.models.openvoice import OpenVoice

from .install import write_json

SIZES = {
    "real": {
        "marian": dict(vocab_size=58101, d_model=512, layers=6, heads=8, ffn=2048, positions=512),
        "xtts": dict(gpt_layers=30, gpt_n_model_channels=1024, gpt_n_heads=16, text_ids=6681),
        "openvoice": {},
    },
    "tiny": {
        "marian": dict(vocab_size=600, d_model=32, layers=2, heads=4, ffn=64, positions=128),
        "xtts": dict(gpt_layers=2, gpt_n_model_channels=64, gpt_n_heads=2, text_ids=300),
        "openvoice": dict(inter_channels=16, hidden_channels=16, upsample_initial_channel=64),
    },
}
LANGUAGES = ["en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh-cn", "ja", "hu", "ko", "hi"]
START_CODE, STOP_CODE = 1024, 1025
ENDS_AFTER = 80  # codes, about: 3.7 s of speech
EOS_SHARE = 0.06  # of the steps of a translation


def draw(module, generator):
    """Draws all weights: outputs have the variance of inputs, no bias or statistic is zero."""
    normal = lambda shape, scale: torch.randn(shape, generator=generator) * scale
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, Conv1D)):
                # The assignment goes through weight norm where there is one.
                part.weight = shaped(part, normal(part.weight.shape, fan_in(part) ** -0.5))
                if part.bias is not None:
                    part.bias.copy_(normal(part.bias.shape, 0.02))
            elif isinstance(part, nn.Embedding):
                part.weight.copy_(normal(part.weight.shape, 1.0))
            elif isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)):
                part.weight.copy_(1.0 + normal(part.weight.shape, 0.1))
                part.bias.copy_(normal(part.bias.shape, 0.1))
                if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    part.running_mean.copy_(normal(part.running_mean.shape, 0.1))
                    part.running_var.copy_(1.0 + normal(part.running_var.shape, 0.2).abs())
            elif isinstance(part, nn.GRU):
                for parameter in part.parameters():
                    parameter.copy_(normal(parameter.shape, parameter.shape[-1] ** -0.5))
            elif isinstance(part, RMSNorm):
                part.gamma.copy_(1.0 + normal(part.gamma.shape, 0.1))


def shaped(part, weight):
    return weight if nn.utils.parametrize.is_parametrized(part, "weight") else nn.Parameter(weight)


def fan_in(part):
    if isinstance(part, Conv1D):  # GPT-2's linear layer, [in, out]
        return part.weight.shape[0]
    if isinstance(part, nn.ConvTranspose1d):
        return part.weight.shape[0] * part.kernel_size[0] / part.stride[0]
    return part.weight[0].numel()


# MarianMT


def write_marian(folder, size, seed, tokenizer=None):
    """Writes a checkpoint with the tokenizer of the folder `tokenizer`, or one trained on made-up words."""
    sizes = SIZES[size]["marian"]
    folder.mkdir(parents=True)
    if tokenizer:
        for name in ("source.spm", "target.spm", "vocab.json"):
            shutil.copyfile(tokenizer / name, folder / name)
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    else:
        vocabulary = write_marian_tokenizer(folder, sizes["vocab_size"], seed)
    pad, eos = vocabulary["<pad>"], vocabulary["</s>"]
    special = dict(pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=eos, forced_eos_token_id=eos)
    config = MarianConfig(
        vocab_size=max(vocabulary.values()) + 1, d_model=sizes["d_model"],
        encoder_layers=sizes["layers"], decoder_layers=sizes["layers"],
        encoder_attention_heads=sizes["heads"], decoder_attention_heads=sizes["heads"],
        encoder_ffn_dim=sizes["ffn"], decoder_ffn_dim=sizes["ffn"], max_position_embeddings=sizes["positions"],
        activation_function="swish", scale_embedding=True, normalize_embedding=False, static_position_embeddings=True,
        share_encoder_decoder_embeddings=True, **special,
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    draw(model.model.encoder.layers, generator)
    draw(model.model.decoder.layers, generator)
    with torch.no_grad():
        # Times the square root of the width, which is what the model does, they have variance 1.
        model.model.shared.weight.copy_(
            torch.randn(model.model.shared.weight.shape, generator=generator) * config.d_model**-0.5
        )
    balance_logits(model, generator)
    model.generation_config = GenerationConfig(
        num_beams=4, max_length=sizes["positions"], bad_words_ids=[[pad]], **special
    )
    model.save_pretrained(folder)


def balance_logits(model, generator, rows=16, length=24):
    """Sets the output biases so that answers vary and end.

    Without that the part that all states have in common decides: one token for ever. The bias takes its
    share away, and lifts the end of sentence to win EOS_SHARE of the steps.
    """
    config = model.config
    ids = torch.randint(10, config.vocab_size - 10, (2, rows, length), generator=generator)
    with torch.no_grad():
        states = model.model(input_ids=ids[0], decoder_input_ids=ids[1]).last_hidden_state.flatten(0, 1)
        table = model.model.shared.weight
        model.final_logits_bias.copy_(-(table @ states.mean(0))[None])
        logits = states @ table.T + model.final_logits_bias
        eos, pad = config.eos_token_id, config.pad_token_id
        lead = logits[:, eos].clone()
        logits[:, [eos, pad]] = -torch.inf
        model.final_logits_bias[0, eos] += torch.quantile(logits.max(dim=1).values - lead, EOS_SHARE)


def made_text(count, seed):
    """Returns lines of made-up words in Latin and accented letters."""
    generator = random.Random(seed)
    syllables = [a + b for a in "bcdfghjklmnpqrstvwxyzçñß" for b in ("a", "e", "i", "o", "u", "é", "ü", "on", "er")]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(4000)]
    lines = (" ".join(generator.choices(words, k=generator.randint(3, 12))) for _ in range(count))
    return [line.capitalize() + generator.choice(".!?,") for line in lines]


def write_marian_tokenizer(folder, vocab_size, seed):
    """Writes source.spm, target.spm and vocab.json, filled up with tokens that no text has, and returns the last."""
    names = ["</s>", "<unk>"]
    for index, name in enumerate(("source", "target")):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(made_text(3000, seed + index)), model_writer=model,
            vocab_size=min(4000, vocab_size // 2 - 10), model_type="unigram", character_coverage=1.0,
            hard_vocab_limit=False, normalization_rule_name="identity", num_threads=1, minloglevel=2,
        )  # fmt: skip
        (folder / f"{name}.spm").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        names += [processor.id_to_piece(piece) for piece in range(3, processor.get_piece_size())]
    names = list(dict.fromkeys(names))
    names += [f"<unused_{index}>" for index in range(vocab_size - 1 - len(names))] + ["<pad>"]
    vocabulary = {piece: index for index, piece in enumerate(names)}
    write_json(folder / "vocab.json", vocabulary)
    return vocabulary


# OpenVoice


def write_openvoice(folder, size, seed):
    folder.mkdir(parents=True)
    config = OpenVoiceConfig()
    for key, value in SIZES[size]["openvoice"].items():
        config.model_args[key] = value
    model = OpenVoice(config).eval()
    draw(model, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        quieten(model.dec)
        for flow in model.flow.flows:
            if hasattr(flow, "post"):
                flow.post.weight.mul_(0.3)
        model.enc_q.proj.weight.mul_(0.3)  # keeps e^log_scale near one
        latents = torch.randn(1, model.inter_channels, 200, generator=torch.Generator().manual_seed(seed))
        silent = torch.zeros(1, model.gin_channels, 1)
        make_audible(model.dec, lambda: model.dec(latents, g=silent))
    audio, args = config.audio, config.model_args
    write_json(folder / "config.json", {
        "data": {"sampling_rate": audio.input_sample_rate, "filter_length": audio.fft_size,
                 "hop_length": audio.hop_length, "win_length": audio.win_length, "n_speakers": 0},
        "model": {key: args[key] for key in ("zero_g", "inter_channels", "hidden_channels", "resblock",
                  "resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates", "upsample_initial_channel",
                  "upsample_kernel_sizes", "gin_channels")},
    })  # fmt: skip
    torch.save({"model": model.state_dict()}, folder / "checkpoint.pth")


def quieten(generator):
    """Residual branches of a HiFi-GAN add a little each, as trained ones do, instead of doubling the power."""
    for block in generator.resblocks:
        for conv in block.convs2:
            conv.weight = conv.weight * 0.3


def make_audible(generator, run, level=0.1):
    """Scales the last convolution so that speech has the given RMS before it is bounded by tanh."""
    loud = torch.atanh(run().clamp(-0.999, 0.999)).square().mean().sqrt()
    weight = generator.conv_post.weight * (level / loud)
    generator.conv_post.weight = shaped(generator.conv_post, weight)


# XTTS


def write_xtts(folder, size, seed, vocabulary=None):
    """Writes a checkpoint with the given vocab.json, or a tokenizer trained on made-up words."""
    folder.mkdir(parents=True)
    sizes = dict(SIZES[size]["xtts"])
    text_ids = sizes.pop("text_ids")
    if vocabulary:
        shutil.copyfile(vocabulary, folder / "vocab.json")
    else:
        write_xtts_tokenizer(folder / "vocab.json", text_ids, seed)
    config = XttsConfig()
    args = dict(gpt_num_audio_tokens=STOP_CODE + 1, gpt_start_audio_token=START_CODE, gpt_stop_audio_token=STOP_CODE,
                gpt_use_perceiver_resampler=True, decoder_input_dim=sizes["gpt_n_model_channels"], **sizes)  # fmt: skip
    for key, value in args.items():
        config.model_args[key] = value
    for key, value in dict(temperature=0.75, top_k=50, top_p=0.85, repetition_penalty=5.0, gpt_cond_len=30,
                           gpt_cond_chunk_len=4, max_ref_len=30, languages=LANGUAGES).items():  # fmt: skip
        config[key] = value
    config.save_json(str(folder / "config.json"))
    tokens = Tokenizer.from_file(str(folder / "vocab.json"))
    config.model_args.gpt_number_text_tokens = max(tokens.get_vocab().values()) + 1
    config.model_args.gpt_start_text_token = tokens.token_to_id("[START]")
    config.model_args.gpt_stop_text_token = tokens.token_to_id("[STOP]")
    model = Xtts(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        draw(model.hifigan_decoder, generator)
        draw(model.gpt, generator)
        tune_gpt(model.gpt.eval(), generator)
        tune_vocoder(model.hifigan_decoder.eval().waveform_decoder, generator)
        model.mel_stats.copy_(2.0 + torch.rand(80, generator=generator))
    torch.save({"model": model.state_dict()}, folder / "model.pth")


def tune_gpt(gpt, generator):
    """Residual branches as GPT-2 starts with; logits as spread as trained ones; an end after about ENDS_AFTER codes."""
    width = gpt.model_dim
    gpt.conditioning_perceiver.latents.copy_(torch.randn(gpt.conditioning_perceiver.latents.shape, generator=generator))
    for layer in gpt.gpt.h:
        for part in (layer.attn.c_proj, layer.mlp.c_proj):
            part.weight.mul_((2 * gpt.layers) ** -0.5)
        layer.attn.c_proj.weight.mul_(3.0)  # attention averages, which makes its output small
    for positions in (gpt.text_pos_embedding, gpt.mel_pos_embedding):
        positions.emb.weight.mul_(0.5)
    gpt.mel_head.weight.mul_(2.5)
    gpt.mel_head.bias.zero_()
    # Positions drift along one direction, which the stop code's row looks for.
    drift = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0)
    steps = torch.arange(gpt.mel_pos_embedding.emb.num_embeddings) / ENDS_AFTER
    gpt.mel_pos_embedding.emb.weight.add_(0.18 * math.sqrt(width) * steps.clamp(max=2.0)[:, None] * drift)
    gpt.mel_head.weight[STOP_CODE] = 2.5 * drift
    gpt.mel_head.bias[START_CODE] = -20.0


def tune_vocoder(vocoder, generator):
    quieten(vocoder)
    latents = torch.randn(1, vocoder.conv_pre.in_channels, 200, generator=generator)
    speaker = torch.nn.functional.normalize(torch.randn(1, vocoder.cond_layer.in_channels, 1, generator=generator), dim=1)
    make_audible(vocoder, lambda: vocoder(latents, g=speaker))


def write_xtts_tokenizer(path, text_ids, seed):
    """Writes a BPE tokenizer of the real file's form: special tokens have the ids that they have there."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=261, special_tokens=["[STOP]", "[UNK]", "[SPACE]"], show_progress=False)
    tokenizer.train_from_iterator([line.lower() for line in made_text(3000, seed)], trainer)
    tokenizer.add_special_tokens(["[START]"] + [f"[{language}]" for language in LANGUAGES])
    missing = text_ids - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"[unused_{index}]" for index in range(missing)])
    path.write_text(tokenizer.to_str(), encoding="utf-8")
