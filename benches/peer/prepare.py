"""Model folders of which every run has the same number of steps.

With random weights a sentence ends by chance. Here it never ends by itself: the end of sentence and the
stop code are suppressed, and the limits of metadata.json say how long everything is.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import soundfile
from onnx import numpy_helper

NEVER = -1e9
FIXTURES = Path(__file__).resolve().parents[2] / "models" / "fixtures"


def link(source, target):
    """Gives a large file a second name, or copies it where that is not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def linked_folder(source, target, without=()):
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name not in without:
            link(path, target / path.relative_to(source))


def marian(models, out):
    """The one MarianMT model, whose answers are as long as they may be."""
    (source,) = [path for path in sorted((models / "marian").iterdir()) if (path / "metadata.json").exists()]
    linked_folder(source, out, {"metadata.json"})
    metadata = json.loads((source / "metadata.json").read_text())
    metadata["suppressed_ids"] += [metadata["eos_token_id"]]
    (out / "metadata.json").write_text(json.dumps(metadata))


def xtts(models, out, codes):
    """XTTS, whose every sentence has `codes` codes."""
    source = models / "xtts"
    decoders = [path for path in sorted(source.glob("gpt_batched*.onnx")) if ".q4" not in path.name]
    linked_folder(source, out, {path.name for path in source.glob("gpt_batched*.onnx")} | {"metadata.json"})
    metadata = json.loads((source / "metadata.json").read_text())
    stop, metadata["max_codes"] = metadata["stop_audio_id"], codes
    (out / "metadata.json").write_text(json.dumps(metadata))
    for path in decoders:
        graph = onnx.load(path, load_external_data=False)
        makers = {output: node for node in graph.graph.node for output in node.output}
        (sum_,) = makers["logits"].input  # its maker only gives it that name
        tables = {part.name: part for part in graph.graph.initializer}
        (bias,) = [tables[name] for name in makers[sum_].input if name in tables]
        values = numbers(bias, source).copy()
        values[..., stop] = NEVER
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        onnx.save(graph, out / path.name)


def numbers(tensor, folder):
    """What a tensor holds, from the file beside its graph in `folder` if it is there: onnx opens none with two names."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    where = {part.key: part.value for part in tensor.external_data}
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = int(where["length"]) // kind.itemsize
    return np.fromfile(folder / where["location"], kind, count, offset=int(where["offset"])).reshape(tensor.dims)


def message(models, out, codes, seconds, translator, recording):
    """A folder for whole messages, and the recording of one.

    Whisper, the voices and the speech have their real sizes. Translations are the toys of the fixtures: those
    of random weights are no translations, and are refused.
    """
    for engine in ("whisper", "openvoice"):
        linked_folder(models / engine, out / engine)
    linked_folder(FIXTURES / "vad", out / "vad")
    linked_folder(FIXTURES / "marian", out / "marian")
    xtts(models, out / "xtts", codes)
    lock = [translator, "models", "lock", str(out), "--force"]
    for engine in ("whisper", "marian", "openvoice", "xtts", "vad"):
        lock += ["--licence", f"{engine}=MIT OR Apache-2.0"]
    subprocess.run(lock, check=True, stdout=subprocess.DEVNULL)
    samples, rate = soundfile.read(FIXTURES / "audio" / "voice_message.ogg", dtype="float32")
    samples = np.resize(samples if samples.ndim == 1 else samples.mean(axis=1), int(seconds * rate))
    soundfile.write(recording, samples, rate)
