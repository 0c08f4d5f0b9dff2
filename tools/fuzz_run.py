"""The work of `tools/fuzz`: damage, children that read, and the count of what happened."""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import h5py

import fuzz_damage
from fuzz_files import Seed, content, make_seeds
from h5scene.errors import H5SceneError
from h5scene.store import close_all

MEMORY_BYTES = 2 << 30
SECONDS = 20  # of processor time; a process that waits gets fifteen times as much
OUTCOMES = ("right", "refused", "names", "other", "wrong", "python", "signal", "hang", "sandbox")
HARMFUL = ("wrong", "python", "hang", "sandbox")


def main() -> int:
    """Runs the cases, prints the counts, and returns the exit status."""
    parser = argparse.ArgumentParser(description="See tools/fuzz.")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes that work side by side")
    parser.add_argument("--seconds", type=float, default=1e9, help="when to stop, done or not")
    parser.add_argument("--kind", action="append", choices=list(fuzz_damage.KINDS))
    parser.add_argument("--keep", type=Path, help="directory for files that did harm")
    options = parser.parse_args()
    kinds = options.kind or list(fuzz_damage.KINDS)
    start_s = time.monotonic()
    end_s = start_s + options.seconds
    counts = run(options.cases, options.seed, kinds, options.keep, options.jobs, end_s)
    print(f"{'damage':<12}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for kind in kinds:
        print(f"{kind:<12}" + "".join(f"{counts[kind, outcome]:>10,}" for outcome in OUTCOMES))
    print(f"{sum(counts.values()):,} cases in {time.monotonic() - start_s:,.0f} s", file=sys.stderr)
    return int(any(counts[kind, outcome] for kind in kinds for outcome in HARMFUL))


def run(
    cases: int, seed: int, kinds: list[str], keep: Path | None, jobs: int, end_s: float
) -> Counter[tuple[str, str]]:
    """Returns how often each kind of damage had each outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    readers = []
    for part in range(jobs):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                found = _run_part(range(part, cases, jobs), seed, kinds, keep, end_s)
                json.dump([[*key, count] for key, count in found.items()], pipe)
            sys.stdout.flush()
            os._exit(0)
        os.close(writing)
        readers.append((child, os.fdopen(reading)))
    for child, pipe in readers:
        told = pipe.read()
        os.waitpid(child, 0)
        if not told:
            raise RuntimeError("a process of the fuzzer itself ended early")
        counts.update({(kind, outcome): count for kind, outcome, count in json.loads(told)})
    return counts


def _run_part(
    numbers: range, seed: int, kinds: list[str], keep: Path | None, end_s: float
) -> Counter[tuple[str, str]]:
    """Runs some of the cases, in a directory of their own."""
    counts: Counter[tuple[str, str]] = Counter()
    shared = Path("/dev/shm")  # in memory, where there is one
    parent = str(shared) if shared.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=parent) as directory:
        seeds = make_seeds(Path(directory))
        close_all()
        for number in numbers:
            if time.monotonic() > end_s:
                break
            chance = random.Random(f"{seed}:{number}")
            kind = chance.choice(kinds)
            make, of = fuzz_damage.KINDS[kind]
            original = chance.choice([one for one in seeds if one.form == of])
            damaged = Path(directory) / f"damaged{original.path.suffix}"
            _remove(damaged)
            make(original.path, damaged, chance)
            outcome, detail = outcome_of(original, damaged, kind in fuzz_damage.REWRITTEN)
            if outcome == "wrong" and kind in fuzz_damage.FORGED:
                outcome = "other"
            counts[kind, outcome] += 1
            if outcome in ("signal", "hang") and of == "hdf5":
                in_sandbox = _sandboxed(damaged)
                if in_sandbox:
                    counts[kind, "sandbox"] += 1
                    detail += f"; in the sandbox: {in_sandbox}"
            if outcome not in ("right", "refused", "names"):
                print(f"case {number} of {original.name}, {kind}: {outcome} {detail}", flush=True)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    target = keep / f"{seed}-{number}-{kind}-{outcome}{damaged.suffix}"
                    _remove(target)
                    (shutil.copytree if damaged.is_dir() else shutil.copy)(damaged, target)
    return counts


def _remove(path: Path) -> None:
    """Removes a file or directory, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- children -------------------------------------------------------------------------------------


def outcome_of(seed: Seed, damaged: Path, is_rewritten: bool) -> tuple[str, str]:
    """Returns what reading damaged data in a child led to, and a word on it.

    Of files that were rewritten as anybody may write them, any content is right.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _read_in_child(seed, damaged, is_rewritten, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        is_slow = number in (signal.SIGALRM, signal.SIGXCPU)
        return ("hang" if is_slow else "signal"), signal.Signals(number).name
    if not told:
        return "signal", f"exit status {os.WEXITSTATUS(status)}"
    outcome, detail = pickle.loads(told)  # noqa: S301 (our own child's)
    return str(outcome), str(detail)


def _read_in_child(seed: Seed, damaged: Path, is_rewritten: bool, pipe: int) -> None:
    """Reads a file under limits, tells the outcome through the pipe, and ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    signal.alarm(15 * SECONDS)
    gc.disable()
    try:
        found = seed.read(damaged)
        if is_rewritten:
            result = ("refused" if any(map(_is_error, found.values())) else "right", "")
        else:
            result = min((compared(found, state) for state in seed.states), key=_badness)
    except H5SceneError as error:
        result = ("refused", repr(error))
    except BaseException as error:  # noqa: BLE001 (that is what is counted)
        result = ("python", repr(error))
    os.write(pipe, pickle.dumps((result[0], result[1][:300])))
    os._exit(0)


def _sandboxed(path: Path) -> str:
    """Returns what went wrong where a sandbox reads the same file; nothing if nothing did."""
    try:
        content(path, sandbox=True)
    except H5SceneError:
        return ""
    except Exception as error:  # noqa: BLE001 (that is what is counted)
        return repr(error)
    return ""


def _is_error(value: Any) -> bool:
    return isinstance(value, H5SceneError)


def _badness(result: tuple[str, str]) -> int:
    return ("right", "refused", "names", "wrong").index(result[0])


def compared(found: dict[Any, Any], expected: dict[Any, Any]) -> tuple[str, str]:
    """Returns whether what was read is what was written, where it was read at all."""
    is_refused, other_names = False, ""
    for where, value in found.items():
        whole = expected.get(where)
        if _is_error(value):
            is_refused = True
        elif where == "scenes" or where[-1] in ("fieldnames", "files"):
            other_names = other_names if value == whole else f"{where}"
        elif isinstance(value, dict) and isinstance(whole, dict):
            for name in value.keys() & whole.keys():
                if where[-1] != "frames" and value[name] != whole[name]:
                    return "wrong", f"{where}, {name}"
            other_names = other_names if value == whole else f"{where}"
        elif where not in expected:
            other_names = f"{where}"
        elif not bool(value == whole):
            return "wrong", f"{where}"
    other_names = other_names or ", ".join(map(str, [*(expected.keys() - found.keys())][:3]))
    if is_refused:
        return "refused", ""
    return ("names", other_names) if other_names else ("right", "")


if __name__ == "__main__":
    assert h5py.version  # loaded before the first fork
    sys.exit(main())
