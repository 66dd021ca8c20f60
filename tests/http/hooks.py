"""What schemathesis sends in the place of recordings: bytes that it makes up are none, so no answer would be reached
that tells what is said."""

import base64
import os
import pathlib
import zlib

import schemathesis
from schemathesis.core.parameters import ParameterLocation

RECORDING = pathlib.Path(os.environ["RECORDING"]).read_bytes()
BASE64 = base64.b64encode(RECORDING).decode()
FIELDS = {
    "audio": RECORDING,
    "file": RECORDING,
    "audio_base64": BASE64,
    "audio_base64_1": BASE64,
    "audio_base64_2": BASE64,
}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes about every other recording a real one, the same ones in each run. A body that is to be wrong stays so."""
    meta = case.meta
    if not isinstance(case.body, dict) or (meta and meta.is_negative_at(ParameterLocation.BODY)):
        return
    for field, recording in FIELDS.items():
        if field in case.body and zlib.crc32(repr(case.body).encode()) % 2 == 0:
            case.body = {**case.body, field: recording}
            if meta:
                # To schemathesis bytes are no text, and a body with them would be one that is to be wrong.
                meta.clear_dirty(ParameterLocation.BODY)


@schemathesis.hook
def filter_case(context, case):
    """Leaves out forms whose fields are to be wrong by being numbers or flags: written in a form they are texts."""
    is_form = (case.media_type or "").startswith(("multipart/", "application/x-www-form-urlencoded"))
    is_wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
    if not (is_form and is_wrong and isinstance(case.body, dict)):
        return True
    return not any(isinstance(value, (bool, int, float)) for value in case.body.values())
