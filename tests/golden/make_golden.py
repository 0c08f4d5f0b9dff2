"""Makes the golden file of the format version that this h5scene writes. Run by hand, once:

    python -m tests.golden.make_golden

It never replaces one: files of a released format stay as they were written.
"""

from __future__ import annotations

import json
from pathlib import Path

from h5scene import SceneFile
from h5scene.format import layout
from tests.golden.content import CURVES, FILES, PROPERTIES, TIMES, as_json, fields

HERE = Path(__file__).parent


def make(folder: Path) -> None:
    """Writes `runs.h5` and what must be read from it, `expected.json`, into a new folder."""
    folder.mkdir()
    with SceneFile(folder / "runs.h5", "x") as file, file.transaction():
        first, _ = file.create_scenes("sim", 2)
        for name, frames in fields().items():
            for frame, record in frames.items():
                file.write_frame(frame, {first: {name: record}})
        file.put_properties({first: PROPERTIES})
        for frame, time in TIMES.items():
            file.put_times(frame, {first: time})
        for name, rows in CURVES.items():
            for step, *values in rows:
                file.log_scalars(step, {first: {name: values}})
        file.write_files({first: FILES})
    filled = {
        "fields": {name: as_json(dict(frames)) for name, frames in sorted(fields().items())},
        "properties": as_json(PROPERTIES),
        "times": as_json(dict(sorted(TIMES.items()))),
        "curves": as_json(CURVES),
        "files": as_json(FILES),
    }
    expected = {first: filled, "sim_000001": {name: {} for name in filled}}
    text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(HERE / layout.FORMAT_VERSION)
