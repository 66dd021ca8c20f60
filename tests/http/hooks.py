"""What schemathesis sends in the place of recordings: bytes that it makes up are none, so no answer would be reached
that tells what is said."""

import os
import pathlib
import zlib

import schemathesis
from schemathesis.core.parameters import ParameterLocation

RECORDING = pathlib.Path(os.environ["RECORDING"]).read_bytes()
FIELDS = ("audio", "file")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes about every other recording a real one, the same ones in each run. A body that is to be wrong stays so."""
    meta = case.meta
    if not isinstance(case.body, dict) or (meta and meta.is_negative_at(ParameterLocation.BODY)):
        return
    for field in FIELDS:
        if field in case.body and zlib.crc32(repr(case.body).encode()) % 2 == 0:
            case.body = {**case.body, field: RECORDING}
            if meta:
                # To schemathesis bytes are no text, and a body with them would be one that is to be wrong.
                meta.clear_dirty(ParameterLocation.BODY)
