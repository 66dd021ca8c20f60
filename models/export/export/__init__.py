"""Turns original checkpoints into the graphs that the translator runs. Run once, never at run time."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is there, which else tells its makers


class ExportError(Exception):
    """What the user has to know: printed without a trace."""
