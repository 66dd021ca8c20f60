"""Compares the engines with the Python references: same weights, inputs, numbers of steps and threads.

  make bench-peer                       everything, with random weights of the real sizes
  make bench-peer CASES=marian,whisper  some cases
  python benches/peer/run.py --help

Ours and the reference take turns, so that whatever else the machine does hits both. What counts is the
median of the ratios of neighbouring runs. Writes docs/performance.json and docs/performance.md.
"""

import argparse
import contextlib
import ctypes
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import prepare
import report

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

SENTENCE = "A sentence of ordinary length, as people say it to each other all day long."
# Words for the sentences of a batch; a few more ids each way do not matter, both sides get the same.
WORDS = "le la un petit grand chat chien maison jardin rue ville demain hier toujours peut venir manger voir partir".split()
LANGUAGES = ["en", "fr", "de", "es", "it", "pt", "nl", "pl"]
MESSAGE_LANGUAGES = ["fr", "es", "de"]
MESSAGE_SECONDS, MESSAGE_CODES = 12, 250
CODES, TOKENS, BATCH = 100, 40, 16
WHISPER_TOKENS = 12
MOST_USED = 0.05  # share of the cores that others may use where cores have to be idle


class Worker:
    """A program that answers a line of JSON with a line of JSON."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        self.answer()

    def run(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args[:3])} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch = args, scratch
        self.rows = []

    @contextlib.contextmanager
    def workers(self, *commands):
        workers = []
        try:
            for command in commands:
                workers.append(Worker(command, self.environment(command)))
            yield workers
        finally:
            for worker in workers:
                worker.close()

    def environment(self, command):
        environment = dict(os.environ)
        if command[0] == sys.executable:
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "models" / "export"), *sys.path])
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return environment

    def engine(self, name, path, precision="int8", threads=None):
        return [str(self.args.engine), name, str(path), str(threads or self.args.threads), precision]

    def reference(self, kind, threads=None):
        threads = str(threads or self.args.threads)
        return [sys.executable, str(HERE / "references.py"), kind, str(self.args.checkpoints), threads]

    def alternate(self, *turns, repeats=None):
        """Calls each of the turns once without counting, then all of them again and again, one after the other."""
        for turn in turns:
            turn()
        return [[turn() for turn in turns] for _ in range(repeats or self.args.repeats)]

    def compare(self, case, runs, figure, target, at_least=False, sides=(0, 1), what="CPU-s", peer=""):
        """Adds a row: the median over the runs of one side's figure over the other's."""
        ours, theirs = ([figure(run[side]) for run in runs] for side in sides)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        row = {
            "case": case, "peer": peer, "figure": what,
            "ours": statistics.median(ours), "theirs": statistics.median(theirs), "ratio": ratio,
            "spread": [min(a / b for a, b in zip(ours, theirs)), max(a / b for a, b in zip(ours, theirs))],
            "target": target, "at_least": at_least, "met": ratio >= target if at_least else ratio <= target,
        }  # fmt: skip
        self.rows.append(row)
        print(report.line(row), flush=True)


def cpu(run):
    return run["cpu_s"]


def wall(run):
    return run["wall_s"]


def xtts(bench):
    folder = bench.scratch / "xtts"
    prepare.xtts(bench.args.models, folder, CODES)
    one = dict(languages=["en"], text=SENTENCE)
    with bench.workers(bench.engine("xtts", folder), bench.reference("xtts")) as (ours, theirs):
        runs = bench.alternate(lambda: ours.run(**one), lambda: theirs.run(**one, codes=CODES))
        peer = "coqui-tts fp32"
        bench.compare(f"XTTS, 1 language of {CODES} codes", runs, cpu, 0.25, peer=peer)
        vocoder = lambda run: (run.get("cpu_by_thread_s") or run["told"]).get("vocoder") or run["told"]["vocoder_cpu_s"]
        is_int8 = (folder / "vocoder_frames.int8.onnx").exists()
        precision, target = ("8 bits", 0.4) if is_int8 else ("fp32", 0.7)
        bench.compare(f"its vocoder in {precision}", runs, vocoder, target, peer=peer)
    with bench.workers(bench.engine("xtts", folder)) as (ours,):
        eight = dict(languages=LANGUAGES, text=SENTENCE)
        runs = bench.alternate(lambda: ours.run(**eight), lambda: ours.run(**one))
    gpt = lambda run: run["cpu_by_thread_s"]["xtts"]
    bench.compare("XTTS decoder, 8 languages over 1", runs, gpt, 3.0, peer="ours")
    bench.compare("whole XTTS, 8 languages over 1", runs, cpu, 8.0, peer="ours")
    if is_int8:
        exact_vocoder(bench, folder, one)


def xtts_wall(bench):
    """Ours has a thread for the decoder and one for the vocoder; theirs gets as many for each operator."""
    folder, both = bench.scratch / "xtts", 2 * bench.args.threads
    prepare.xtts(bench.args.models, folder, CODES)
    one = dict(languages=["en"], text=SENTENCE)
    with bench.workers(bench.engine("xtts", folder), bench.reference("xtts", both)) as (ours, theirs):
        runs = bench.alternate(lambda: ours.run(**one), lambda: theirs.run(**one, codes=CODES))
    name, what = f"XTTS, 1 language of {CODES} codes", f"seconds on {both} cores"
    bench.compare(name, runs, wall, 0.25, what=what, peer="coqui-tts fp32")


def exact_vocoder(bench, folder, one):
    """The fp32 vocoder, which is used where there is no other."""
    exact = bench.scratch / "xtts-exact-vocoder"
    prepare.linked_folder(folder, exact, {"vocoder_frames.int8.onnx"})
    with bench.workers(bench.engine("xtts", exact), bench.reference("xtts")) as (ours, theirs):
        runs = bench.alternate(lambda: ours.run(**one), lambda: theirs.run(**one, codes=CODES))
    vocoder = lambda run: (run.get("cpu_by_thread_s") or run["told"]).get("vocoder") or run["told"]["vocoder_cpu_s"]
    bench.compare("its vocoder in fp32", runs, vocoder, 0.7, peer="coqui-tts fp32")
    bench.compare(f"XTTS, 1 language of {CODES} codes, fp32 vocoder", runs, cpu, 0.25, peer="coqui-tts fp32")


def marian(bench):
    folder = bench.scratch / "marian"
    prepare.marian(bench.args.models, folder)
    sentences = [" ".join(WORDS[(start + 3 * i) % len(WORDS)] for i in range(24)) for start in range(BATCH)]
    speed = lambda run: run["told"]["generated_ids"] / run["cpu_s"]
    commands = bench.engine("marian", folder), bench.reference("marian"), bench.reference("ctranslate2")
    with bench.workers(*commands) as workers:
        for beams, searched, target in ((1, "", 1.1), (4, ", 4 beams", 1.0)):
            name = f"Marian, {BATCH} sentences of {TOKENS} tokens{searched}"
            batch = dict(sentences=sentences, tokens=TOKENS, beams=beams)
            runs = bench.alternate(*(lambda w=w: w.run(**batch) for w in workers))
            assert len({run["told"]["generated_ids"] for turn in runs for run in turn}) == 1, "unequal numbers of tokens"
            what = "tokens for each CPU-s"
            bench.compare(name, runs, speed, 4.0, at_least=True, what=what, peer="transformers fp32")
            bench.compare(name, runs, speed, target, at_least=True, sides=(0, 2), what=what, peer="CTranslate2 int8")


def openvoice(bench):
    model = bench.args.models / "openvoice" / "tone_embedding.onnx"
    with bench.workers(bench.engine("openvoice", model), bench.reference("openvoice")) as (ours, theirs):
        ten = dict(seconds=10)
        runs = bench.alternate(lambda: ours.run(**ten), lambda: theirs.run(**ten), repeats=20)
    bench.compare("OpenVoice embedding of 10 s", runs, cpu, 0.6, peer="OpenVoice on PyTorch")


def whisper(bench):
    (model,) = sorted((bench.args.models / "whisper").glob("*.bin"))
    with bench.workers(bench.engine("whisper", model), bench.reference("whisper")) as (ours, theirs):
        runs = bench.alternate(lambda: ours.run(seconds=5), lambda: ours.run(seconds=29.5), repeats=7)
        bench.compare("Whisper tiny, 5 s over 30 s", runs, cpu, 0.35, peer="ours")
        five = lambda: theirs.run(seconds=5, tokens=WHISPER_TOKENS)
        runs = bench.alternate(lambda: ours.run(seconds=5), five, repeats=7)
    bench.compare("Whisper tiny, 5 s", runs, cpu, 1.0, peer="transformers fp32")


def whisper_at_once(bench):
    """Two threads: each hears a recording of its own, or both hear the same one."""
    (model,) = sorted((bench.args.models / "whisper").glob("*.bin"))
    both, count = 2 * bench.args.threads, 4
    with bench.workers(bench.engine("whisper", model, threads=both)) as (ours,):
        one_by_one = lambda: {"wall_s": sum(ours.run(seconds=5)["wall_s"] for _ in range(count))}
        runs = bench.alternate(lambda: ours.run(seconds=5, recordings=count), one_by_one, repeats=7)
    speed = lambda run: count * 3600 / run["wall_s"]
    name = f"Whisper tiny, {count} recordings of 5 s at once over one by one"
    bench.compare(name, runs, speed, 1.0, at_least=True, what=f"recordings/h on {both} cores", peer="ours")


def message(bench):
    folder, recording = bench.scratch / "message", bench.scratch / "message.wav"
    translator = str(bench.args.translator)
    prepare.message(bench.args.models, folder, MESSAGE_CODES, MESSAGE_SECONDS, translator, recording)
    once = workload(bench, recording, "message", MESSAGE_LANGUAGES, messages=1, concurrency=1, new_voices=True)
    ask = dict(seconds=MESSAGE_SECONDS, tokens=WHISPER_TOKENS, languages=MESSAGE_LANGUAGES, codes=MESSAGE_CODES,
               text=SENTENCE)  # fmt: skip
    with bench.workers(bench.reference("cascade")) as (theirs,):
        ours = lambda: whole(bench, folder, once)
        runs = bench.alternate(ours, lambda: theirs.run(**ask), repeats=min(3, bench.args.repeats))
    name = f"message of {MESSAGE_SECONDS} s in {len(MESSAGE_LANGUAGES)} languages"
    bench.compare(name, runs, cpu, 0.18, peer="Python cascade, without its translations")


def many(bench):
    folder, recording = bench.scratch / "many", bench.scratch / "many.wav"
    prepare.message(bench.args.models, folder, CODES, MESSAGE_SECONDS, str(bench.args.translator), recording)
    together = workload(bench, recording, "together", ["fr"], messages=16, concurrency=16)
    alone = workload(bench, recording, "alone", ["fr"], messages=16, concurrency=1)
    runs = bench.alternate(lambda: whole(bench, folder, together), lambda: whole(bench, folder, alone), repeats=2)
    speed = lambda run: 16 * 3600 / run["wall_s"]
    bench.compare("16 messages at once over one by one", runs, speed, 2.5, at_least=True, what="messages/h", peer="ours")


def workload(bench, recording, name, languages, messages, concurrency, new_voices=False):
    path = bench.scratch / f"{name}.toml"
    path.write_text(
        f"messages = {messages}\nthreads = {bench.args.threads}\n[[workload]]\nname = {json.dumps(name)}\n"
        f"audio = {json.dumps(str(recording))}\nto = {json.dumps(languages)}\nconcurrency = {concurrency}\n"
        f"new_voices = {json.dumps(new_voices)}\n"
    )
    return path


def whole(bench, folder, workload):
    """One run of `translator bench`; it has loaded and warmed up before it measures."""
    figures = bench.scratch / "figures.json"
    environment = {**os.environ, "MODELS_PATH": str(folder), "TTS_SYNTH_TIMEOUT_S": "3600"}
    subprocess.run([bench.args.translator, "bench", workload, "--json", figures], check=True, env=environment,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)  # fmt: skip
    measured = json.loads(figures.read_text())["workloads"][0]
    return {**measured, "cpu_s": measured["cpu_secs"], "wall_s": measured["wall_secs"]}


def daemon(bench):
    """The daemon at rest with the tiny models: what it takes beside the weights."""
    goal = dict(ready_s=1, resident_mb=150)
    runs = bench.alternate(lambda: resting(bench), lambda: goal)
    for figure, what in (("ready_s", "seconds until ready"), ("resident_mb", "MB of memory at rest")):
        bench.compare("daemon with tiny models", runs, lambda run: run[figure], 1.0, what=what, peer="the goal")


def resting(bench):
    ports = dict(zip(("TRANSLATOR_ZMQ_PULL_PORT", "TRANSLATOR_ZMQ_PUB_PORT", "HTTP_PORT"), map(str, free_ports(3))))
    environment = {**os.environ, **ports, "MODELS_PATH": str(prepare.FIXTURES)}
    get = lambda path: http_get(f"http://127.0.0.1:{ports['HTTP_PORT']}{path}")
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        started = time.perf_counter()
        process = subprocess.Popen([bench.args.translator, "serve"], cwd=folder, env=environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            wait_until(process, lambda: get("/ready") is not None)
            ready_s = time.perf_counter() - started
            wait_until(process, lambda: json.loads(get("/health"))["models_loading"] is False)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
            process.wait()
    (resident_kib,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    return {"ready_s": ready_s, "resident_mb": resident_kib * 1024 / 1e6}


def free_ports(count):
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def http_get(url):
    """The body of a good answer, else None."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read()
    except OSError:  # nobody listens yet, or the answer is an error
        return None


def wait_until(process, is_so):
    while not is_so():
        if process.poll() is not None:
            raise SystemExit(f"the daemon ended with {process.returncode}")
        time.sleep(0.01)


CASES = {
    "openvoice": openvoice, "whisper": whisper, "whisper-at-once": whisper_at_once, "marian": marian, "xtts": xtts, "xtts-wall": xtts_wall,
    "message": message, "many": many, "daemon": daemon,
}  # fmt: skip
# Where threads wait for each other, one that has to share its core holds all of them up.
NEED_IDLE_CORES = {"xtts-wall", "whisper-at-once", "many"}


def arguments():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--models", type=Path, required=True, help="folder of `python -m export random --size real`")
    top.add_argument("--checkpoints", type=Path, required=True, help="its --checkpoints")
    top.add_argument("--engine", type=Path, required=True, help="the bench target `peer`")
    top.add_argument("--translator", type=lambda path: Path(path).resolve(), required=True, help="the program, optimised")
    top.add_argument("--threads", type=int, default=1, help="inside an operator, for both sides (default: 1)")
    top.add_argument("--repeats", type=int, default=5, help="counted runs of each side (default: 5)")
    top.add_argument("--cases", type=lambda text: text.split(",") if text else list(CASES), default=list(CASES),
                     help=f"some of {','.join(CASES)}")  # fmt: skip
    top.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of performance.json and performance.md")
    args = top.parse_args()
    unknown = [case for case in args.cases if case not in CASES]
    if unknown:
        top.error(f"there is no case {', '.join(unknown)}")
    return args


def machine():
    return {"cores": os.cpu_count(), "architecture": platform.machine().replace("_", "-")}


def used_share(seconds=3):
    """The share of all cores that is used while nothing is measured."""
    def ticks():
        # What the host of a virtual machine takes counts as used; guests are in the first two already.
        values = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
        idle = values[3] + values[4]
        return sum(values) - idle, idle

    before = ticks()
    time.sleep(seconds)
    used, idle = (new - old for new, old in zip(ticks(), before))
    return used / (used + idle)


def versions(translator):
    packages = ["torch", "transformers", "coqui-tts", "ctranslate2"]
    found = {name: importlib.metadata.version(name) for name in packages}
    own = subprocess.run([translator, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    return {"translator": own, "onnxruntime": onnxruntime_version(os.environ["ORT_DYLIB_PATH"]), **found}


def onnxruntime_version(library):
    class ApiBase(ctypes.Structure):
        _fields_ = [("get_api", ctypes.c_void_p), ("version", ctypes.CFUNCTYPE(ctypes.c_char_p))]

    base = ctypes.CDLL(library).OrtGetApiBase
    base.restype = ctypes.POINTER(ApiBase)
    return base().contents.version().decode()


def main():
    args = arguments()
    conditions = {
        "machine": machine(), "versions": versions(args.translator), "threads": args.threads, "repeats": args.repeats,
    }  # fmt: skip
    # Beside the models, so that their files need no second copy.
    with tempfile.TemporaryDirectory(prefix=".bench-peer-", dir=args.models.resolve().parent) as scratch:
        for part in args.cases:
            others = used_share()
            if part in NEED_IDLE_CORES and others > MOST_USED:
                print(f"{part} is left out: others use {others:.0%} of the cores", file=sys.stderr)
                continue
            bench = Bench(args, Path(scratch))
            measured = {"part": part, "date": datetime.date.today().isoformat(), "others": round(others, 2)}
            CASES[part](bench)
            report.write(args.out, conditions, [{**measured, **row} for row in bench.rows], list(CASES))
            for path in bench.scratch.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
