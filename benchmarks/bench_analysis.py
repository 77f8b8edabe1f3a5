"""What analyses cost the hub: recordings sent to a stand-in for Gemini, through the seam and through the bare package.

Each peer runs in a process of its own, in turn, several rounds; the figures are medians. How late a ticker of 1 ms gets
while recordings of 1 MB are under way, four at a time, each answered after 200 ms; the processor time of one of them,
as a ratio to google-genai alone doing the same upload (google-generativeai alone cannot: its upload has one fixed
address); and for a stereo recording of an hour, the same lateness, and by how much the process grew meanwhile.

    python benchmarks/bench_analysis.py [--quick] [--rounds 3] [--recordings 200]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import callengine.patched  # noqa: F401

import argparse
import array
import gc
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable
from typing import Self

import gevent
import greenlet
from gevent.pool import Pool

from callengine.ai.sdk import Ask, Audio, load
from callengine.standin.gemini import launch

PEERS = ("idle", "bare google-genai", "google-genai", "google-generativeai")
KEY = "benchmark"
LATENCY_MS = 200
CONCURRENCY = 4
RATE = 8000
SHORT_S, LONG_S = 33, 3600  # stereo: 1.06 MB and 115 MB
SCHEMA = {
    "type": "object",
    "properties": {
        "statements": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "quote": {"type": "string"}},
                "required": ["text", "quote"],
            },
        },
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "transcript": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"offset_ms": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["offset_ms", "text"],
            },
        },
    },
    "required": ["statements", "sentiment", "transcript"],
}


def record(path: Path, seconds: int) -> None:
    """A stereo WAV file whose channels take turns."""
    tone = [int(8000 * math.sin(at / 5)) for at in range(RATE)]
    turns = [array.array("h", [v if c == turn else 0 for v in tone for c in (0, 1)]).tobytes() for turn in (0, 1)]
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        for at in range(seconds):
            out.writeframesraw(turns[at % 2])


class Ticker:
    """How late a greenlet comes that sleeps 1 ms at a time; a context manager.

    On a busy machine that tells of the others too, so the longest turn of any greenlet is taken besides, in processor
    time of the hub's thread.
    """

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._turn_ms = 0.0

    def __enter__(self) -> Self:
        self._greenlet = gevent.spawn(self._tick)
        self._since_s = time.thread_time()
        greenlet.settrace(self._switched)
        return self

    def __exit__(self, *_: object) -> None:
        greenlet.settrace(None)
        self._greenlet.kill()

    def _switched(self, event: str, parties: tuple[object, object]) -> None:
        now_s = time.thread_time()
        self._turn_ms = max(self._turn_ms, (now_s - self._since_s) * 1000)
        self._since_s = now_s

    def _tick(self) -> None:
        while True:
            began = time.perf_counter()
            gevent.sleep(0.001)
            self.late_ms.append((time.perf_counter() - began) * 1000 - 1)

    def figures(self) -> dict[str, float]:
        late = sorted(self.late_ms)
        return {"p99_ms": late[int(len(late) * 0.99)], "max_ms": late[-1], "turn_ms": self._turn_ms}


class NoUploads:
    """Nobody writes down what is uploaded."""

    def began(self, name: str) -> None: ...

    def ended(self, name: str) -> None: ...


def seam(name: str, base_url: str) -> Callable[[Path], None]:
    """One analysis through callengine.ai."""
    sdk = load(name, KEY, base_url)  # type: ignore[arg-type]

    def analyse(path: Path) -> None:
        audio = Audio(lambda: path.open("rb"), path.stat().st_size, "audio/wav", 0, "recording")
        sdk.ask(Ask("What was said?", SCHEMA, (audio,), "gemini-3.5-flash-lite", 8192, 120.0), NoUploads())

    return analyse


def bare(base_url: str) -> Callable[[Path], None]:
    """The same with google-genai alone, as its own documentation has it, but for deleting the file."""
    from google import genai
    from google.genai import types

    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=base_url, api_version="v1beta"))

    def analyse(path: Path) -> None:
        file = client.files.upload(file=str(path), config={"mime_type": "audio/wav"})
        while file.state is not None and file.state.name == "PROCESSING":
            gevent.sleep(0.1)
            file = client.files.get(name=file.name or "")
        config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
        client.models.generate_content(model="gemini-3.5-flash-lite", contents=[file, "What was said?"], config=config)
        client.files.delete(name=file.name or "")

    return analyse


def many(analyse: Callable[[Path], None], path: Path, count: int) -> None:
    pool = Pool(CONCURRENCY)
    for _ in range(count):
        pool.spawn(analyse, path)
    pool.join(timeout=600, raise_error=True)


def peak_kb() -> int:
    """The most memory since ``forget_peak``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def run_peer(peer: str, base_url: str, folder: Path, recordings: int) -> dict[str, float]:
    """All figures of one peer."""
    short, long = folder / "short.wav", folder / "long.wav"
    if peer == "idle":
        with Ticker() as ticker:
            gevent.sleep(3)
        return {f"short_{name}": value for name, value in ticker.figures().items()}
    sys.setswitchinterval(0.0005)  # as the daemon has it
    analyse = bare(base_url) if peer.startswith("bare") else seam(peer, base_url)
    many(analyse, short, CONCURRENCY)
    gc.collect()
    gc.freeze()
    cpu_s = time.process_time()
    many(analyse, short, recordings)
    cpu_s = time.process_time() - cpu_s
    with Ticker() as ticker:
        many(analyse, short, recordings)
    figures = {f"short_{name}": value for name, value in ticker.figures().items()}
    gc.collect()
    forget_peak()
    before_kb = peak_kb()
    with Ticker() as ticker:
        analyse(long)
    figures |= {f"long_{name}": value for name, value in ticker.figures().items()}
    return {"cpu_ms": cpu_s * 1000 / recordings, **figures, "long_grown_mb": (peak_kb() - before_kb) / 1024}


def one_round(peer: str, base_url: str, folder: str, recordings: int) -> dict[str, float]:
    """The peer in a process of its own."""
    own = [sys.executable, "-W", "ignore", __file__, "--peer", peer, "--url", base_url, "--folder", folder]
    done = subprocess.run(
        [*own, "--recordings", str(recordings)], stdout=subprocess.PIPE, text=True, timeout=900, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def report(found: dict[str, list[dict[str, float]]], recordings: int) -> None:
    """The table, and the same as one line of JSON."""
    medians = {
        peer: {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
        for peer, rounds in found.items()
    }
    rounds = len(found["idle"])
    print(f"{recordings} recordings of 1 MB, {CONCURRENCY} at a time, {LATENCY_MS} ms; one of 115 MB; {rounds} rounds")
    print(
        f"  {'':22}{'stall p99':>10}{'max':>8}{'turn':>9}{'CPU':>9}{'ratio':>7}"
        f"{'hour: p99':>12}{'max':>8}{'turn':>9}{'grown':>8}"
    )
    base_ms = medians["bare google-genai"]["cpu_ms"]
    for peer, figures in medians.items():
        line = f"  {peer:22}{figures['short_p99_ms']:7.2f} ms{figures['short_max_ms']:5.1f} ms"
        line += f"{figures['short_turn_ms']:6.1f} ms"
        if "cpu_ms" in figures:
            figures["cpu_ratio"] = figures["cpu_ms"] / base_ms
            line += f"{figures['cpu_ms']:6.1f} ms{figures['cpu_ratio']:7.2f}"
            line += f"{figures['long_p99_ms']:9.2f} ms{figures['long_max_ms']:5.1f} ms"
            line += f"{figures['long_turn_ms']:6.1f} ms{figures['long_grown_mb']:5.0f} MB"
        print(line)
    print(json.dumps({"recordings": recordings, "rounds": rounds, "median": medians}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="one round of 40 recordings")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(run_peer(args.peer, args.url, Path(args.folder), args.recordings)))
        return
    rounds, recordings = (1, 40) if args.quick else (args.rounds, args.recordings)
    os.environ |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": sys.path[0]}
    with tempfile.TemporaryDirectory() as folder, launch(["--key", KEY, "--latency-ms", str(LATENCY_MS)]) as gemini:
        record(Path(folder, "short.wav"), SHORT_S)
        record(Path(folder, "long.wav"), LONG_S)
        found: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
        for _ in range(rounds):
            for peer, figures in found.items():
                figures.append(one_round(peer, gemini.base_url, folder, recordings))
    report(found, recordings)


if __name__ == "__main__":
    main()
