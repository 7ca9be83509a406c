"""A long run: random faults, acts and callers, one after the other for as long as is wanted.

    python -m tests.faults.soak --minutes 30 --seed 7

What must hold: no answer is wrong, whatever happens; after each fault everything is answered again; and the server that
is never killed has about as much memory and as many descriptors at the end as at the beginning. Says on standard output
what came of it as JSON, and ends with 1 if anything did not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tests.faults.harness.resources import descriptors, resident_bytes
from tests.faults.harness.table import Row
from tests.faults.harness.trial import FIRST, Trial, prepare
from tests.integration.serving import Background
from tests.integration.world import small_limits

# After the last fault everything must be answered within this, in seconds.
RECOVERY = 5.0
# What the server that is never killed may have more at the end. The first samples are of caches that fill.
MEMORY_SLACK = 1.15
DESCRIPTOR_SLACK = 8
_WARM_UP = 0.2
_ACT_INTERVAL = 0.5
_SECOND = "server-2"
_MEBIBYTE = 1 << 20


def paused(trial: Trial, chosen: random.Random) -> None:
    """The store stands still."""
    trial.store.pause()
    wait(chosen, 0.5, 4)
    trial.store.resume()


def killed(trial: Trial, chosen: random.Random) -> None:
    """The store dies and is started again."""
    trial.store.kill()
    wait(chosen, 0.1, 3)
    trial.store.start()


def emptied(trial: Trial, chosen: random.Random) -> None:
    """The store loses everything."""
    trial.store.run("FLUSHALL")
    wait(chosen, 0.1, 1)


def harmed(trial: Trial, chosen: random.Random) -> None:
    """Blocks are deleted and flipped."""
    with closing(trial.store.client()) as client:
        for key in client.scan_iter("hashmatch:b:*", count=1_000):
            value = client.get(key)
            match chosen.randrange(4):
                case 0:
                    client.delete(key)
                case 1 if value:
                    client.set(key, value[:-1] + bytes([value[-1] ^ 1]))
                case _:
                    pass
    wait(chosen, 0.1, 1)


def weather(trial: Trial, chosen: random.Random) -> None:
    """The way to the store is slow, silent or damages what passes."""
    trial.proxy.suffer(**chosen.choice([{"delay": 0.2}, {"delay": 6.0}, {"corrupted_down": 0.05}, {"silent": 1}]))
    wait(chosen, 0.5, 4)
    trial.proxy.clear()


def cut_off(trial: Trial, chosen: random.Random) -> None:
    """Connections to the store are closed or reset, and new ones refused."""
    trial.proxy.cut(reset=chosen.random() < 0.5)
    wait(chosen, 0.2, 3)
    trial.proxy.clear()


def interrupted(trial: Trial, chosen: random.Random) -> None:
    """Connections to the store are reset, again and again."""
    for _ in range(chosen.randint(3, 15)):
        trial.proxy.interrupt()
        wait(chosen, 0.01, 0.2)


def short_of_memory(trial: Trial, chosen: random.Random) -> None:
    """The store has no room for anything more."""
    trial.store.set(maxmemory="1mb")
    wait(chosen, 0.5, 3)
    trial.store.set(maxmemory="0")


def server_dies(trial: Trial, chosen: random.Random) -> None:
    """The server that only follows is killed, or told to stop, and started again."""
    process = trial.servers[_SECOND].process
    process.send(chosen.choice([signal.SIGKILL, signal.SIGTERM]))
    process.wait()
    trial.servers[_SECOND].start()


Fault = Callable[[Trial, random.Random], None]
FAULTS: tuple[Fault, ...] = (
    paused,
    killed,
    emptied,
    harmed,
    weather,
    cut_off,
    interrupted,
    short_of_memory,
    server_dies,
)


def wait(chosen: random.Random, least: float, most: float) -> None:
    """Let the fault last: a soak is over when its time is, so that it may."""
    time.sleep(chosen.uniform(least, most))


@dataclass
class Soak:
    """What a run came to. Times are in seconds, sizes in bytes."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    acts: int = 0
    acts_failed: int = 0
    answers_checked: int = 0
    wrong_answers: int = 0
    recoveries: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What did not hold."""
        found = [f"wrong answers: {self.wrong_answers}"] if self.wrong_answers else []
        if not self.answers_checked or not self.recoveries:
            return [*found, "nothing was tried"]
        if self.recoveries[-1] > RECOVERY:
            found.append(f"after the last fault it took {self.recoveries[-1]:.1f} s to answer everything")
        before, after = thirds(self.memory)
        if after > before * MEMORY_SLACK:
            found.append(f"memory grew from {before / _MEBIBYTE:.0f} to {after / _MEBIBYTE:.0f} MiB")
        before, after = thirds(self.descriptors)
        if after > before + DESCRIPTOR_SLACK:
            found.append(f"descriptors grew from {before:.0f} to {after:.0f}")
        return found

    def document(self) -> dict[str, object]:
        """For the report."""
        memory, descriptors_ = thirds(self.memory), thirds(self.descriptors)
        return {
            "seed": self.seed,
            "minutes": round(self.seconds / 60, 1),
            "faults": dict(self.faults),
            "acts": self.acts,
            "acts_failed": self.acts_failed,
            "answers_checked": self.answers_checked,
            "wrong_answers": self.wrong_answers,
            "recovery_seconds": {
                "median": round(statistics.median(self.recoveries), 2),
                "worst": round(max(self.recoveries), 2),
                "last": round(self.recoveries[-1], 2),
            },
            "memory_mib": [round(each / _MEBIBYTE, 1) for each in memory],
            "descriptors": list(descriptors_),
            "problems": self.problems,
            "complaints": self.complaints,
        }


def thirds(samples: Sequence[int]) -> tuple[float, float]:
    """The medians of the first and of the last third of what was measured once everything had warmed up."""
    warm = samples[int(len(samples) * _WARM_UP) :]
    size = max(1, len(warm) // 3)
    return statistics.median(warm[:size]), statistics.median(warm[-size:])


def run(directory: Path, minutes: float, seed: int) -> Soak:
    """Soak for so long."""
    background, chosen, soak = Background(), random.Random(seed), Soak(seed)
    trial = Trial(background, directory / "trial", Row("soak", ""))
    try:
        for name in ("prepared", "trial"):
            (directory / name).mkdir()
        trial.begin(prepare(background, directory / "prepared"), servers=2)
        began = time.monotonic()
        with trial.acts.going_on(_ACT_INTERVAL) as outcomes:
            while time.monotonic() - began < minutes * 60:
                _one_fault(trial, chosen, soak)
        soak.seconds = time.monotonic() - began
        soak.acts, soak.acts_failed = len(outcomes), sum(map(bool, outcomes))
        trial.finish()
    except AssertionError as error:
        soak.complaints.append(str(error))
    finally:
        account = trial.history.account
        soak.answers_checked, soak.wrong_answers = account.checked, account.wrong
        soak.complaints += account.complaints
        trial.close()
        background.close()
    return soak


def _one_fault(trial: Trial, chosen: random.Random, soak: Soak) -> None:
    fault = chosen.choice(FAULTS)
    soak.faults[fault.__name__] += 1
    fault(trial, chosen)
    began = time.monotonic()
    trial.settled()
    soak.recoveries.append(time.monotonic() - began)
    trial.load.more(40)
    # So that what was answered need not be kept for longer.
    trial.history.check()
    pid = trial.servers[FIRST].process.pid
    soak.memory.append(resident_bytes(pid))
    soak.descriptors.append(descriptors(pid))
    print(
        f"{fault.__name__}: well after {soak.recoveries[-1]:.2f} s, {soak.memory[-1] / _MEBIBYTE:.0f} MiB, "
        f"{soak.descriptors[-1]} descriptors, {trial.history.account.checked:,} answers checked",
        file=sys.stderr,
        flush=True,
    )


def main() -> int:
    """Run as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="what to try in which order (default: any)")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", file=sys.stderr)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    # A short name, for the sockets in it.
    directory = Path(tempfile.mkdtemp(prefix="hm-"))
    try:
        with small_limits():
            soak = run(directory, arguments.minutes, seed)
    finally:
        shutil.rmtree(directory)
    if not soak.recoveries:
        print("\n".join(soak.complaints) or "nothing was tried", file=sys.stderr)
        return 1
    print(json.dumps(soak.document(), indent=2))
    return 1 if soak.problems or soak.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
