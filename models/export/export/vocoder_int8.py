"""The vocoder in 8 bits: scales measured beforehand on its own frames, judged by the spectrum it gives."""

import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from . import ExportError
from .runtime import session

FILE = "vocoder_frames.int8.onnx"
MAX_SPECTRAL_DISTANCE_DB = 2.0  # RMS over time and frequency; above it the difference is easily heard
FFT, HOP, FLOOR_DB = 1024, 256, -60.0


class Frames(CalibrationDataReader):
    def __init__(self, frames, speaker):
        self.feeds = iter([{"frames": part[None], "speaker_embedding": speaker} for part in frames])

    def get_next(self):
        return next(self.feeds, None)


def export(path, frames, speaker):
    """Writes `FILE` beside the fp32 vocoder and returns how far it is off, on frames it has not been scaled by.

    Activations are unsigned and per tensor, weights per channel within 7 bits: without VNNI two products are
    added in 16 bits with saturation. Transposed convolutions stay fp32.
    """
    *known, unknown = frames
    target = path.with_name(FILE)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / FILE
        quantize_static(
            path, made, Frames(known, speaker), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "LeakyRelu", "Add"],
        )  # fmt: skip
        made.rename(target)
    run = lambda file: session(file).run(None, {"frames": unknown[None], "speaker_embedding": speaker})[0][0]
    found, wanted = run(target), run(path)
    figures = {
        "spectral_distance_db": round(spectral_distance_db(found, wanted), 3),
        "signal_to_error_db": round(float(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())), 2),
    }
    if figures["spectral_distance_db"] > MAX_SPECTRAL_DISTANCE_DB:
        raise ExportError(f"the 8-bit vocoder's spectrum is {figures['spectral_distance_db']} dB off")
    return figures


def spectral_distance_db(found, wanted):
    """Log-spectral distance: RMS difference of levels in dB, none below FLOOR_DB of the loudest."""
    first, second = levels(found), levels(wanted)
    floor = second.max() + FLOOR_DB
    return float(np.sqrt(np.square(np.maximum(first, floor) - np.maximum(second, floor)).mean()))


def levels(wav):
    parts = np.lib.stride_tricks.sliding_window_view(wav.astype(np.float64), FFT)[::HOP]
    power = np.square(np.abs(np.fft.rfft(parts * np.hanning(FFT), axis=1)))
    return 10 * np.log10(power + 1e-20)
