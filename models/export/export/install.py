"""Puts a finished model into a model folder: its directory first, then its entry in manifest.toml."""

import contextlib
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path

from . import ExportError
from .source import sha256

MANIFEST = "manifest.toml"


@contextlib.contextmanager
def staged(out, name, force, is_folder=True):
    """Gives a path whose content takes the place of `out`/`name` when the block ends without an error.

    Nothing is left of it otherwise: no engine ever finds half a model.
    """
    place = out / name
    if place.exists() and not force:
        raise ExportError(f"{place} exists; --force replaces it")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as scratch:
        made = Path(scratch) / place.name
        if is_folder:
            made.mkdir()
        yield made
        if place.is_dir():
            shutil.rmtree(place)
        made.replace(place)


def entry(out, directory, identifier, engine, licence, requires_acceptance=False, source=None, targets=()):
    """Returns a model's entry for the manifest, with the files of its directory (or the one file that it is)."""
    place = out / directory
    paths = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    files = [
        {"path": path.relative_to(out).as_posix(), "sha256": sha256(path), "size_bytes": path.stat().st_size}
        for path in paths
    ]
    model = {"id": identifier, "engine": engine, "licence": licence, "requires_acceptance": requires_acceptance}
    if source:
        model["source"] = source
    if targets:
        model["targets"] = list(targets)
    return {**model, "file": files}


def register(out, models, fixture=None, note=None):
    """Adds models to the manifest of `out`; those with the same id make room."""
    path = out / MANIFEST
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} is not a valid manifest ({error})") from None
    new = {model["id"] for model in models}
    kept = [model for model in manifest.get("model", []) if model["id"] not in new]
    manifest["model"] = sorted(kept + models, key=lambda model: model["id"])
    if fixture is not None:
        manifest["fixture"] = fixture
    if note:
        manifest["note"] = note
    descriptor, temporary = tempfile.mkstemp(prefix=".manifest-", dir=out)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(rendered(manifest))
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def rendered(manifest):
    """The manifest as TOML, in the form that `translator models lock` writes."""
    lines = [f"fixture = {value(manifest.get('fixture', False))}"]
    if "note" in manifest:
        lines.append(f"note = {value(manifest['note'])}")
    for model in manifest["model"]:
        lines += ["", "[[model]]"]
        lines += [f"{key} = {value(part)}" for key, part in model.items() if key != "file"]
        for file in model["file"]:
            lines += ["", "[[model.file]]"] + [f"{key} = {value(part)}" for key, part in file.items()]
    return "\n".join(lines) + "\n"


def value(part):
    if isinstance(part, list):
        return "[" + ", ".join(map(value, part)) + "]"
    # Strings, numbers and truth values are written as in JSON.
    return json.dumps(part, ensure_ascii=False)


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
