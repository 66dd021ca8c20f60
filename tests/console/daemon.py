"""A daemon with the tiny models, in a process and a folder of its own."""

import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target/debug/translator"
RECORDING = ROOT / "models/fixtures/audio/voice_message.ogg"
PATIENCE_SECONDS = 120
KEPT = ("PATH", "HOME", "RUST_BACKTRACE")


class Daemon:
    """`translator serve`; `with Daemon(CONSOLE="false") as daemon` ends it too."""

    def __init__(self, **settings: str):
        self.folder = tempfile.TemporaryDirectory(prefix="translator-console-")
        self.settings = settings
        self.port = 0
        self.start()

    def start(self, **settings: str) -> None:
        """Starts it, again on the same port and data, and waits until it is ready."""
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {
            "ORT_DYLIB_PATH": os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".local/onnxruntime/libonnxruntime.so")),
            "MODELS_PATH": str(ROOT / "models/fixtures"),
            "TRANSLATOR_ZMQ_BIND_ADDRESS": "127.0.0.1",
            "TRANSLATOR_HTTP_BIND_ADDRESS": "127.0.0.1",
            "TRANSLATOR_ZMQ_PULL_PORT": "0",
            "TRANSLATOR_ZMQ_PUB_PORT": "0",
            "HTTP_PORT": str(self.port),
            # Tests must not depend on what the machine has beside the models, nor on each other.
            "TRANSLATOR_BASE_VOICE": "off",
            "TRANSLATION_CACHE_TTL": "0",
        }
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [BINARY, "serve"], cwd=self.folder.name, env=environment | self.settings | settings,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        self.port = self._wait("its port", self._told_port)
        self._wait("readiness", self._is_answered)

    def _read(self, process: subprocess.Popen) -> None:
        with process.stderr as lines:
            for line in lines:
                self.log.append(line)

    def _told_port(self) -> int | None:
        for line in self.log:
            if found := re.search(r"translator is listening.*http=\S*?:(\d+)\b", re.sub(r"\x1b\[[0-9;]*m", "", line)):
                return int(found[1])
        return None

    def _is_answered(self) -> bool:
        # One with models of its own may never get ready.
        path = "/live" if "MODELS_PATH" in self.settings else "/ready"
        try:
            return self.status(path) == 200
        except OSError:
            return False

    def status(self, path: str) -> int:
        """What a GET is answered with."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def _wait(self, what: str, probe):
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found := probe()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the daemon has not told {what}:\n{''.join(self.log)}")
            time.sleep(0.05)
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ends it without warning."""
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        self.folder.cleanup()
