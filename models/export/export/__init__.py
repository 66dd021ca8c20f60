"""Turns original checkpoints into the graphs that the translator runs. Run once, never at run time."""


class ExportError(Exception):
    """What the user has to know: printed without a trace."""
