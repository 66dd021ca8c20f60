"""The vocoder in 8 bits: scales measured beforehand on its own frames, judged by the spectrum it gives."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from . import weights
from .runtime import session, vocode, vocoder_feeds

FILE = "vocoder_frames.int8.onnx"
MAX_SPECTRAL_DISTANCE_DB = 2.0  # RMS over time and frequency; above it the difference is easily heard
FFT, HOP = 1024, 256
FLOOR_DB = -50.0  # under the loudest: where the noise of recordings is


class Frames(CalibrationDataReader):
    def __init__(self, frames, speaker):
        self.feeds = iter([vocoder_feeds(part, speaker) for part in frames])

    def get_next(self):
        return next(self.feeds, None)


def export(path, frames, speaker):
    """Writes `FILE` beside the fp32 vocoder and returns how far it is off, on frames it has not been scaled by.

    Where that is too far, it says so and writes nothing.

    Activations are unsigned and per tensor, weights per channel within 7 bits: without VNNI two products are
    added in 16 bits with saturation. Transposed convolutions stay fp32.
    """
    *known, unknown = frames
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / FILE
        quantize_static(
            path, made, Frames(known, speaker), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "LeakyRelu", "Add"],
        )  # fmt: skip
        run = lambda file: vocode(session(file), unknown, speaker)
        found, wanted = run(made), run(path)
        distance = spectral_distance_db(found, wanted)
        written = distance <= MAX_SPECTRAL_DISTANCE_DB
        if written:
            weights.rewrite(made, path.with_name(FILE))
        else:
            print(f"{FILE} is left out: its spectrum is {distance:.2f} dB off", file=sys.stderr)
    return {
        "written": written, "spectral_distance_db": round(distance, 3),
        "signal_to_error_db": round(float(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())), 2),
    }  # fmt: skip


def spectral_distance_db(found, wanted):
    """Log-spectral distance: RMS difference of levels in dB, none below FLOOR_DB of the loudest."""
    first, second = levels(found), levels(wanted)
    floor = second.max() + FLOOR_DB
    return float(np.sqrt(np.square(np.maximum(first, floor) - np.maximum(second, floor)).mean()))


def levels(wav):
    parts = np.lib.stride_tricks.sliding_window_view(wav.astype(np.float64), FFT)[::HOP]
    power = np.square(np.abs(np.fft.rfft(parts * np.hanning(FFT), axis=1)))
    return 10 * np.log10(power + 1e-20)
