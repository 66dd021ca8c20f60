"""Where a checkpoint comes from: a folder, or a repository on a model hub."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from . import ExportError


@dataclass
class Source:
    folder: Path
    name: str  # as metadata.json shall name it


def fetch(name, revision, patterns):
    """Returns the folder `name`, or downloads the files of the repository `name` that match `patterns`.

    huggingface_hub does the download: HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are its settings.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Source(folder, folder.resolve().name)
    if folder.is_file() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ExportError(f"{name} is neither a folder nor a repository of the form owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError:
        raise ExportError(f"{name} asks you to accept its terms: do so on its page, then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise ExportError(f"no repository {name}; if it is private, set HF_TOKEN") from None
    except LocalEntryNotFoundError as error:
        raise ExportError(f"{name} is not in the local cache and the hub cannot be reached ({error})") from None
    except (HfHubHTTPError, OSError) as error:
        raise ExportError(f"{name} cannot be downloaded: {error}") from None
    return Source(folder, f"{name}@{folder.name}")


def required(folder, *names):
    """Returns the path of the first of the files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ExportError(f"{folder} has no {' or '.join(names)}")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
