"""Exports random checkpoints and runs the result in the engines. Needs the whole environment; see test.sh."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from export import ExportError, cli, graph, linear, marian, openvoice, runtime, weights, xtts
from export.source import Source

REPOSITORY = Path(__file__).resolve().parents[3]
RECORDING = REPOSITORY / "models/fixtures/audio/voice_message.ogg"
TRANSLATOR = os.environ.get("TRANSLATOR", str(REPOSITORY / "target/debug/translator"))


def translator(*arguments, models):
    environment = {
        "PATH": os.environ["PATH"], "MODELS_PATH": str(models),
        "ORT_DYLIB_PATH": str(REPOSITORY / ".local/onnxruntime/libonnxruntime.so"),
    }  # fmt: skip
    return subprocess.run([TRANSLATOR, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A model folder with everything, and the checkpoints it was made from."""
    folder = tmp_path_factory.mktemp("export")
    models, checkpoints = folder / "models", folder / "checkpoints"
    code = cli.main(["random", "--size", "tiny", "--out", str(models), "--checkpoints", str(checkpoints),
                     "--precisions", "fp32,int8r,fp16", "--int8-vocoder"])  # fmt: skip
    assert code == 0
    return models, checkpoints


def facts(models, engine):
    return json.loads((models / engine / "metadata.json").read_text(encoding="utf-8"))


def test_the_daemon_finds_every_model_intact(exported):
    result = translator("models", "verify", models=exported[0])
    assert result.returncode == 0, result.stdout + result.stderr
    listed = translator("models", "list", models=exported[0])
    assert listed.returncode == 0, listed.stderr
    for name in ("marian-fr-en", "openvoice", "xtts", "whisper-scripted-tiny", "vad-silero_vad"):
        assert name in listed.stdout


def test_the_engines_speak_with_them(exported, tmp_path):
    """With the fixtures' translations: those of random weights are none, and are refused."""
    models = shutil.copytree(REPOSITORY / "models/fixtures", tmp_path / "models")
    for engine, source in (("openvoice", "openvoice/converter"), ("xtts", "xtts/xtts")):
        licence = ["--licence", "MIT OR Apache-2.0"]
        assert cli.main([engine, str(exported[1] / source), "--out", str(models), "--force", *licence]) == 0
    result = translator("process", RECORDING, "--to", "fr", "--output", tmp_path / "speech", models=models)
    assert result.returncode == 0, result.stdout + result.stderr
    (spoken,) = (tmp_path / "speech").rglob("*.mp3")
    assert spoken.stat().st_size > 2000
    assert "cloned voice" in result.stdout


def test_the_engines_translate_with_them(exported, tmp_path):
    """That the translation of random weights is none is what the engine says after it has made one."""
    # The scripted Whisper answers in English: the way to French needs a model of that direction.
    checkpoint = exported[1] / "marian/fr-en"
    models = shutil.copytree(exported[0], tmp_path / "models")
    assert cli.main(["marian", str(checkpoint), "--out", str(models), "--name", "en-fr"]) == 0
    result = translator("process", RECORDING, "--to", "fr", "--output", tmp_path / "speech", models=models)
    assert result.returncode == 0 or "the model `en-fr` gave no usable translation" in result.stderr, result.stderr


def test_figures_of_the_comparison_are_kept(exported):
    models = exported[0]
    for engine in ("marian/fr-en", "openvoice", "xtts"):
        assert facts(models, engine)["parity"]
    assert facts(models, "xtts")["parity"]["codes_compared"] > 20
    assert facts(models, "xtts")["vocoder_context_frames"] == 13
    vocoder = facts(models, "xtts")["parity"]["int8_vocoder"]
    assert vocoder["signal_to_error_db"] > 20
    assert vocoder["written"] == (models / "xtts/vocoder_frames.int8.onnx").exists()
    assert facts(models, "marian/fr-en")["parity"]["int8r"]["relative_logit_error"] < 0.1
    for engine in ("marian/fr-en", "xtts"):
        assert 0 < facts(models, engine)["parity"]["fp16"]["relative_logit_error"] < 0.005


def test_the_same_checkpoint_gives_the_same_bytes(exported, tmp_path):
    models, checkpoints = exported
    again = tmp_path / "models"
    precisions = ["--precisions", "fp32,int8r,fp16"]
    assert cli.main(["marian", str(checkpoints / "marian/fr-en"), "--out", str(again), *precisions]) == 0
    for name in ("encoder.onnx", "decoder.onnx", "decoder.int8r.onnx", "decoder.fp16.onnx", "metadata.json"):
        assert (again / "marian/fr-en" / name).read_bytes() == (models / "marian/fr-en" / name).read_bytes()


@pytest.mark.parametrize("engine", ["marian", "openvoice", "xtts"])
def test_a_model_unlike_its_reference_is_not_written(exported, tmp_path, monkeypatch, capsys, engine):
    """The reference is bent a little: the comparison has to notice."""
    source = {"marian": "marian/fr-en", "openvoice": "openvoice/converter", "xtts": "xtts/xtts"}[engine]
    if engine == "marian":
        honest = marian.reference
        monkeypatch.setattr(marian, "reference", lambda *args: (honest(*args)[0], honest(*args)[1] + 0.01))
    elif engine == "openvoice":
        honest = openvoice.reference_embedding
        monkeypatch.setattr(openvoice, "reference_embedding", lambda *args: honest(*args) + 1e-3)
    else:
        honest = xtts.reference_speech
        monkeypatch.setattr(xtts, "reference_speech", lambda *args: bent(honest(*args)))
    assert cli.main([engine, str(exported[1] / source), "--out", str(tmp_path / "models")]) == 1
    assert "error:" in capsys.readouterr().err
    assert not list((tmp_path / "models").rglob("*.onnx"))
    assert not (tmp_path / "models" / "manifest.toml").exists()


def bent(speech):
    codes, latents, wav = speech
    return codes, latents + 0.01, wav


def test_weights_in_four_bits_answer_alike(exported, tmp_path):
    """Beside fp32 in the metadata, and within its own tolerance."""
    source = exported[1] / "xtts/xtts"
    assert cli.main(["xtts", str(source), "--out", str(tmp_path), "--precisions", "fp32,q4"]) == 0
    assert facts(tmp_path, "xtts")["precisions"] == ["fp32", "q4"]
    assert 0 < facts(tmp_path, "xtts")["parity"]["q4"]["relative_logit_error"] < xtts.PRECISION_TOLERANCE["q4"]
    model = tomllib.loads((tmp_path / "manifest.toml").read_text())["model"][0]
    assert (model["licence"], model["requires_acceptance"]) == ("cpml", True)


def test_what_sixteen_bits_cannot_hold_is_refused():
    g = graph.Graph("g", 17, real=graph.F16)
    with pytest.raises(ExportError, match="100000.0 is too large"):
        g.scalar(1e5)
    g.widen("x")
    g.scalar(1e5)


def test_four_bit_blocks_are_within_half_a_step():
    weight = np.random.default_rng(1).standard_normal((64, 5)).astype(np.float32)
    bytes_, scale = linear.int4_blocks(weight)
    values = np.stack([bytes_ & 15, bytes_ >> 4], axis=-1).reshape(5, 2, 32).astype(np.float32) - 8
    restored = (values * scale[..., None]).reshape(5, 64).T
    # The largest weight of a block is exact; the one opposite to it may be a whole step off.
    assert (np.abs(restored - weight) <= np.abs(scale).repeat(32, axis=1).T + 1e-6).all()
    assert runtime.relative_error(restored, weight) < 0.1


@pytest.mark.parametrize("change, message", [
    (lambda config: config.update(model_type="bart"), "model_type is 'bart'"),
    (lambda config: config.update(activation_function="tanh"), "activation 'tanh' is not supported"),
    (lambda config: config.update(normalize_embedding=True), "position embeddings are not supported"),
    (lambda config: config.update(share_encoder_decoder_embeddings=False), "separate source and target vocabularies"),
    (lambda config: config.update(eos_token_id=3), "vocab.json does not belong to config.json"),
])  # fmt: skip
def test_checkpoints_that_cannot_be_expressed_are_refused(exported, tmp_path, change, message):
    folder = shutil.copytree(exported[1] / "marian/fr-en", tmp_path / "fr-en")
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=message):
        marian.load(Source(folder, "x"))


def test_a_name_without_languages_needs_options(exported, tmp_path, capsys):
    folder = shutil.copytree(exported[1] / "marian/fr-en", tmp_path / "checkpoint")
    assert cli.main(["marian", str(folder), "--out", str(tmp_path / "models")]) == 1
    assert "--name fr-en" in capsys.readouterr().err


def test_target_tokens_come_from_the_vocabulary():
    vocabulary = {">>fra<<": 0, ">>spa<<": 1}
    spoken = marian.covered("en-ROMANCE", vocabulary, None, None)
    assert spoken["target_tokens"] == {"es": ">>spa<<", "fr": ">>fra<<"}
    assert marian.covered("en-fr", {}, None, None) == {"source_languages": ["en"], "target_languages": ["fr"]}
    with pytest.raises(ExportError, match="no target token for de"):
        marian.covered("en-ROMANCE", vocabulary, None, ["de"])
    with pytest.raises(ExportError, match="say which it stands for"):
        marian.covered("ROMANCE-en", {}, None, None)


def test_the_hub_is_not_asked_when_offline(tmp_path):
    command = [os.sys.executable, "-m", "export", "marian", "owner/opus-mt-fr-en", "--out", str(tmp_path)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "not in the local cache" in result.stderr


def test_other_weights_are_no_openvoice(exported, tmp_path):
    import torch

    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "checkpoint.pth")
    with pytest.raises(ExportError, match="does not hold OpenVoice's weights"):
        openvoice.load(Source(tmp_path, "x"))


def test_large_weights_lie_beside_the_graph_and_give_the_same(tmp_path):
    values = np.random.default_rng(1).standard_normal((600, 700)).astype(np.float32)

    def product(name, **options):
        g = graph.Graph(name, 18)
        x = g.input("x", graph.F32, ["rows", 600])
        scaled = g.op("Mul", g.op("MatMul", x, g.const(values)), g.const(np.array([2, 3] * 350, np.float32)))
        g.output(g.op("Reshape", scaled, g.ints(-1, 7, 100)), "y", graph.F32, ["rows", 7, 100])
        path = tmp_path / f"{name}.onnx"
        g.save(path, **options)
        return path, runtime.session(path).run(None, {"x": np.eye(3, 600, dtype=np.float32)})[0]

    inside, expected = product("inside")
    assert not weights.data_file(inside).exists()
    beside, found = product("beside", mapped_bytes=values.nbytes)
    assert np.array_equal(found, expected)
    # What is smaller than a page stays in the graph.
    assert beside.stat().st_size < 8192 and weights.data_file(beside).stat().st_size == values.nbytes

    moved = tmp_path / "other" / "moved.onnx"
    weights.rewrite(beside, moved)
    weights.data_file(beside).unlink()
    assert np.array_equal(runtime.session(moved).run(None, {"x": np.eye(3, 600, dtype=np.float32)})[0], expected)
