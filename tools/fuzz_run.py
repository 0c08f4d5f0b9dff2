"""The work of `tools/fuzz`: damage, children that read, and the count of what happened."""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene import SceneFile
from h5scene.errors import H5SceneError
from h5scene.record import Bounds, DimSpec, FieldDescription, FieldRecord, TensorRecord
from h5scene.store import close_all
from h5scene.store.structures import lookup3

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_BYTES = 2 << 30
SECONDS = 20  # of processor time; a process that waits gets fifteen times as much
OUTCOMES = ("right", "refused", "missing", "wrong", "python", "signal", "hang")


def main() -> int:
    """Runs the cases, prints the counts, and returns the exit status."""
    parser = argparse.ArgumentParser(description="See tools/fuzz.")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="directory for files that did harm")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        counts = run(options.cases, options.seed, options.keep, directory)
    finally:
        shutil.rmtree(directory)
    print(f"{'damage':<12}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for kind in DAMAGE:
        print(f"{kind:<12}" + "".join(f"{counts[kind, outcome]:>10,}" for outcome in OUTCOMES))
    harmful = ("wrong", "python", "hang")
    return int(any(counts[kind, outcome] for kind in DAMAGE for outcome in harmful))


def run(cases: int, seed: int, keep: Path | None, directory: Path) -> Counter[tuple[str, str]]:
    """Returns how often each kind of damage had each outcome."""
    seeds = make_files(directory)
    # A forged header may make any of the two states of an interrupted commit count.
    states = {path: [path] for path in seeds}
    states[directory / "journal.h5"].append(directory / "before.h5")
    known = {path: [content(state) for state in states[path]] for path in seeds}
    close_all()
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(cases):
        chance = random.Random(f"{seed}:{number}")
        kind = chance.choice(list(DAMAGE))
        original = chance.choice(seeds)
        damaged = directory / "damaged.h5"
        damaged.write_bytes(DAMAGE[kind](bytearray(original.read_bytes()), chance))
        outcome, detail = outcome_of(damaged, known[original])
        counts[kind, outcome] += 1
        if outcome not in ("right", "refused"):
            print(f"case {number} of {original.stem}, {kind}: {outcome} {detail}", flush=True)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(damaged, keep / f"{seed}-{number}-{kind}-{outcome}.h5")
    return counts


# --- files ----------------------------------------------------------------------------------------


def make_files(directory: Path) -> list[Path]:
    """Writes a file of each kind: compressed, plain, of many scenes, and with a hot journal."""
    paths = []
    for name, compression in (("packed", "fast"), ("plain", None)):
        path = directory / f"{name}.h5"
        with SceneFile(path, compression=compression) as file:  # type: ignore[arg-type]
            fill(file, 2)
        paths.append(path)
    path = directory / "many.h5"
    with SceneFile(path) as file:
        fill(file, 10, frames=6)
    paths.append(path)
    paths.append(with_journal(directory))
    close_all()
    return paths


def fill(file: SceneFile, scenes: int, frames: int = 3) -> None:
    """Puts some of everything into a file."""
    chance = np.random.default_rng(1)
    for scene in file.create_scenes("sim", scenes):
        for frame in range(frames):
            smoke = chance.normal(size=(8, 8)).astype(np.float32)
            velocity = np.round(chance.normal(size=(33, 33, 2)), 1)
            fields = {"smoke": record(smoke, "xy"), "velocity": record(velocity, "xyv")}
            file.write_frame(frame, {scene: fields})
            file.put_times(frame, {scene: 0.5 * frame})
            file.log_scalars(frame, {scene: {"loss": [1.0 / (1 + frame)]}})
        file.put_properties({scene: {"dt": 0.5, "note": "a text", "long": "x" * 5000}})
        file.write_files({scene: {"src/plume.py": b"print('plume')\n" * 20}})


def record(values: Any, axes: str) -> FieldRecord:
    """Returns a field of these values."""
    corner = (DimSpec("vector", "channel", ("x", "y")),)
    bounds = Bounds(TensorRecord(corner, np.zeros(2)), TensorRecord(corner, np.array([1.0, 2.0])))
    dims = tuple(
        DimSpec("vector", "channel", ("x", "y")) if axis == "v" else DimSpec(axis, "spatial")
        for axis in axes
    )
    boundary: dict[str, Any] = {"type": "constant", "value": TensorRecord((), np.asarray(0.25))}
    return FieldRecord(FieldDescription("CenteredGrid", dims, bounds, boundary, {}), values)


def with_journal(directory: Path) -> Path:
    """Returns a file whose last commit was cut off behind its commit point."""
    from h5scene.store import pager

    path = directory / "journal.h5"
    with SceneFile(path) as file:
        fill(file, 2)
    close_all()
    shutil.copy(path, directory / "before.h5")
    child = os.fork()
    if child == 0:
        pager.apply = lambda *_, **__: os._exit(0)
        with SceneFile(path) as file:
            file.put_properties({"sim_000000": {"dt": 0.75}})
        os._exit(1)
    os.waitpid(child, 0)
    return path


def content(path: Path) -> dict[Any, Any]:
    """Returns all that a file holds, in a form that can be compared and pickled."""
    found: dict[Any, Any] = {}
    with SceneFile(path, "r", workers=1) as file:
        found["scenes"] = file.scenes
        for scene in file.scenes:
            for call in (file.fieldnames, file.frames, file.properties, file.times, file.files):
                tried(found, (scene, call.__name__), call, scene)
            tried(found, (scene, "curves"), curves, file, scene)
            for name, frames in plain(found[scene, "frames"]).items():
                for frame in frames:
                    tried(found, (scene, name, frame), file.read_frame, scene, name, frame)
            for name in plain(found[scene, "files"]):
                tried(found, (scene, name), file.read_file, scene, name)
    return found


def tried(found: dict[Any, Any], where: Any, call: Callable[..., Any], *arguments: Any) -> None:
    """Notes what a call returns, or that it was refused."""
    try:
        found[where] = call(*arguments)
    except H5SceneError as error:
        found[where] = error


def plain(value: Any) -> Any:
    """Returns a value, and nothing for an error."""
    return {} if isinstance(value, H5SceneError) else value


def curves(file: SceneFile, scene: str) -> Any:
    """Returns the curves of a scene."""
    return {
        name: (curve.steps.tobytes(), curve.values.tobytes())
        for name, curve in file.curves(scene).items()
    }


# --- damage ---------------------------------------------------------------------------------------


def some_bytes(data: bytearray, chance: random.Random) -> bytes:
    """Changes a few bytes anywhere."""
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def one_bit(data: bytearray, chance: random.Random) -> bytes:
    """Flips a bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def sector(data: bytearray, chance: random.Random) -> bytes:
    """Loses a sector, or puts another one in its place."""
    at = 512 * chance.randrange(max(1, len(data) // 512))
    other = 512 * chance.randrange(max(1, len(data) // 512))
    data[at : at + 512] = bytes(512) if chance.random() < 0.5 else data[other : other + 512]
    return bytes(data)


def cut(data: bytearray, chance: random.Random) -> bytes:
    """Cuts the end off, or pads it again with zeros."""
    end = chance.randrange(len(data))
    return bytes(data[:end]) + (bytes(len(data) - end) if chance.random() < 0.5 else b"")


def structure(data: bytearray, chance: random.Random) -> bytes:
    """Changes HDF5's own structures, and makes their checksums fit again."""
    places = [(at, signature) for signature in _SIGNATURES for at in _found(data, signature)]
    for _ in range(chance.choice((1, 1, 2))):
        at, signature = chance.choice(places)
        end = _SIGNATURES[signature](data, at)
        if not at + 5 < end <= len(data) - 4:
            continue
        position = chance.randrange(at + 5, end)
        width = chance.choice((1, 1, 1, 2, 4, 8))
        value = chance.choice((0, 1, 0xFF, 1 << 30, (1 << 63) - 1, chance.randrange(1 << 64)))
        data[position : min(position + width, end)] = struct.pack("<Q", value)[
            : min(width, end - position)
        ]
        data[end : end + 4] = struct.pack("<I", lookup3(bytes(data[at:end])))
    return bytes(data)


def header(data: bytearray, chance: random.Random) -> bytes:
    """Changes the store's own headers and journal, and makes their checksums fit again."""
    for slot in chance.choice(((1024,), (1536,), (1024, 1536))):
        field = chance.choice((24, 32, 40, 48, 56, 64, 72))
        value = chance.choice(
            (0, 1, 1 << 31, 1 << 62, (1 << 64) - 1, len(data), chance.randrange(len(data)))
        )
        data[slot + field : slot + field + 8] = struct.pack("<Q", value)
        data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
    return bytes(data)


DAMAGE: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "bytes": some_bytes,
    "bit": one_bit,
    "sector": sector,
    "cut": cut,
    "structure": structure,
    "header": header,
}


def _found(data: bytearray, signature: bytes) -> list[int]:
    places, at = [], data.find(signature, 2048)
    while at >= 0:
        places.append(at)
        at = data.find(signature, at + 1)
    return places


def _object_header_end(data: bytearray, at: int) -> int:
    """Returns where the checksum of a version 2 object header stands."""
    flags = data[at + 5]
    width = 1 << (flags & 3)
    start = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    return start + width + int.from_bytes(data[start : start + width], "little")


# HDF5's structures that end in a checksum, and where it stands.
_SIGNATURES: dict[bytes, Callable[[bytearray, int], int]] = {
    b"OHDR": _object_header_end,
    b"BTHD": lambda _, at: at + 34,
    b"FRHP": lambda _, at: at + 142,
    b"\x89HDF": lambda _, at: at + 44,
}


# --- children -------------------------------------------------------------------------------------


def outcome_of(path: Path, expected: list[dict[Any, Any]]) -> tuple[str, str]:
    """Returns what reading a file in a child led to, and a word on it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _read_in_child(path, expected, writing)
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


def _read_in_child(path: Path, expected: list[dict[Any, Any]], pipe: int) -> None:
    """Reads a file under limits, tells the outcome through the pipe, and ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    signal.alarm(15 * SECONDS)
    gc.disable()
    try:
        found = content(path)
        result = min((compared(found, state) for state in expected), key=_badness)
    except H5SceneError as error:
        result = ("refused", repr(error))
    except BaseException as error:  # noqa: BLE001 (that is what is counted)
        result = ("python", repr(error)[:300])
    os.write(pipe, pickle.dumps(result))
    os._exit(0)


def _badness(result: tuple[str, str]) -> int:
    return OUTCOMES.index(result[0])


def compared(found: dict[Any, Any], expected: dict[Any, Any]) -> tuple[str, str]:
    """Returns whether what was read is what was written, where it was read at all."""
    is_refused = False
    for where, value in found.items():
        if isinstance(value, H5SceneError):
            is_refused = True
        elif where not in expected or not same(value, expected[where]):
            return ("wrong" if is_value(where, value, expected) else "missing"), f"{where}"
    for where in expected.keys() - found.keys():
        if not is_refused:
            return "missing", f"{where} is not there"
    return ("refused" if is_refused else "right"), ""


def is_value(where: Any, value: Any, expected: dict[Any, Any]) -> bool:
    """Whether this is something else than what was written, and not a shorter list."""
    if where == "scenes" or where[-1] in ("fieldnames", "frames", "files"):
        return not _is_part(value, expected.get(where, ()))
    return True


def _is_part(value: Any, whole: Any) -> bool:
    if isinstance(value, dict) and isinstance(whole, dict):
        return all(name in whole and set(value[name]) <= set(whole[name]) for name in value)
    return set(value) <= set(whole)


def same(one: Any, other: Any) -> bool:
    """Whether two results are the same."""
    return bool(one == other)


if __name__ == "__main__":
    assert h5py.version  # loaded before the first fork
    sys.exit(main())
