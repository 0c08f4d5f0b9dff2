"""Where `h5scene.Scene` differs from `phi.field.Scene` on purpose: all of it, in one table.

Each entry is tested on both sides in `test_differences_*.py`, and stands word by word in
COMPATIBILITY.md. To add one: an entry here, a test class marked `@shows("its-id")`, and the row
that `test_known_differences.py` asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Difference:
    """One intended difference.

    Attributes:
        id: Short name, in lower case with hyphens.
        topic: Heading in COMPATIBILITY.md.
        phi: What `phi.field.Scene` does.
        h5scene: What `h5scene.Scene` does.
        why: The reason.
    """

    id: str
    topic: str
    phi: str
    h5scene: str
    why: str


_TABLE = [
    # --- field names ------------------------------------------------------------------------------
    Difference(
        "field-name-case",
        "Field names",
        "Stores names in lower case: `write(Velocity=v)` makes the field `velocity`.",
        "Keeps the case. Reading takes the exact name first, then the only one that differs in "
        "case.",
        "A name should come back as it was given, and scripts that rely on lower case go on "
        "working.",
    ),
    Difference(
        "case-makes-two-fields",
        "Field names",
        "`Velocity` and `velocity` overwrite each other.",
        "They are two fields. Reading `VELOCITY` is refused with both names.",
        "Nothing is lost silently.",
    ),
    Difference(
        "same-stored-name",
        "Field names",
        "`a b` and `a-b` are both stored as `a-b`, and overwrite each other.",
        "`InvalidNameError`; what is stored stays. A field is written under one spelling.",
        "Nothing is lost silently.",
    ),
    Difference(
        "empty-name",
        "Field names",
        "A name without letters or digits, such as `!?`, is stored as an empty name.",
        "`InvalidNameError`.",
        "Names that become empty overwrite each other.",
    ),
    Difference(
        "reserved-name",
        "Field names",
        "`__x` is stored as `_x`.",
        "`InvalidNameError`: stored names that start with an underscore are reserved.",
        "Attached files, curves and times need names that no field can have.",
    ),
    Difference(
        "composed-letters",
        "Field names",
        "An accent that is a character of its own is dropped: `é` typed in two parts is stored "
        "as `e`.",
        "Names are composed first (Unicode NFC): it is stored as `é`.",
        "macOS and other programs write letters in two parts; both are one letter to a person.",
    ),
    # --- frames -----------------------------------------------------------------------------------
    Difference(
        "frames-by-prefix",
        "Frames",
        "Frames of `smoke2` count as frames of `smoke`, so `complete_frames` lists frames that "
        "are not.",
        "Frames are counted field by field.",
        "A frame that is listed as complete can be read.",
    ),
    Difference(
        "frames-above-999999",
        "Frames",
        "Frame 1,000,000 and above make `frames` fail or give wrong numbers, and spoil "
        "`fieldnames`.",
        "Works, up to 18 digits.",
        "Long runs exist.",
    ),
    Difference(
        "negative-frames",
        "Frames",
        "Stores frame -1, and reads it again.",
        "Writing it is an `InvalidInputError`. Reading -1 gives the last frame, -2 the one before.",
        "A negative frame is a mistake in the loop that computes it, and PhiFlow's names for it do "
        "not sort; Python counts from the end.",
    ),
    Difference(
        "frames-as-tensors",
        "Frames",
        "A frame given as a `Tensor` is written under a name that `frames` cannot read.",
        "A whole number is a frame, whatever its type.",
        "Loops over PhiML ranges give tensors.",
    ),
    Difference(
        "frames-of-batches",
        "Frames",
        "`frames`, `complete_frames` and `fieldnames` fail on batches.",
        "`frames` and `fieldnames` are those of any scene, `complete_frames` those complete in "
        "all.",
        "A batch of scenes is used like a scene.",
    ),
    # --- fields -----------------------------------------------------------------------------------
    Difference(
        "precision",
        "Fields",
        "Values come back in PhiML's current precision: float16, float64 and complex128 as "
        "float32 and complex64, or float32 as "
        "float64.",
        "Values keep their dtype, whatever the current precision.",
        "What is read is what was written.",
    ),
    Difference(
        "integers-and-booleans",
        "Fields",
        "Grids of integers or booleans, such as `field > 0`, come back as float32.",
        "They keep their dtype.",
        "What is read is what was written.",
    ),
    Difference(
        "precision-of-bounds",
        "Fields",
        "Corners of the bounds come back in PhiML's current precision.",
        "They keep their dtype.",
        "What is read is what was written.",
    ),
    Difference(
        "batched-bounds",
        "Fields",
        "A grid whose bounds have a batch dim cannot be written.",
        "It can; a batch of scenes is cut along the dim.",
        "PhiFlow computes with such grids.",
    ),
    Difference(
        "bounds-of-batches",
        "Fields",
        "Reading a batch gives every scene the bounds of the first one.",
        "Bounds that differ come back with the dim of the batch.",
        "Wrong geometry goes unnoticed.",
    ),
    Difference(
        "boundary-of-batches",
        "Fields",
        "Reading a batch fails when the scenes differ in a value inside a boundary that differs "
        "by side.",
        "The value comes back with the dim of the batch.",
        "A batch that can be written can be read.",
    ),
    Difference(
        "order-of-stacked-dims",
        "Fields",
        "A batch of scenes along a channel or spatial dim is read with that dim among those of "
        "its type.",
        "The dims of the scenes stand in front.",
        "PhiML computes by name; the order in memory is that of the stored frames.",
    ),
    Difference(
        "different-kinds-of-boundary",
        "Fields",
        "Reading a batch whose scenes have different kinds of boundary is an internal error of "
        "PhiML.",
        "`BatchMismatchError`, a `ValueError`.",
        "The message says what differs, and where.",
    ),
    Difference(
        "different-sizes",
        "Fields",
        "Reading a batch whose scenes have different resolutions is an `IncompatibleShapes` of "
        "PhiML, while it is read or at the "
        "first use.",
        "`BatchMismatchError`, a `ValueError`, when it is read.",
        "An error belongs to the call that causes it, and says what to do.",
    ),
    Difference(
        "tensor-boundary",
        "Fields",
        "A constant boundary that is a tensor loses the names, types and labels of its dims.",
        "It keeps them.",
        "What is read is what was written.",
    ),
    Difference(
        "antireflect-boundary",
        "Fields",
        "`ANTIREFLECT` comes back as `ANTISYMMETRIC`.",
        "It comes back as it was.",
        "What is read is what was written.",
    ),
    Difference(
        "staggered-boundaries",
        "Fields",
        "Staggered grids with a normal/tangential boundary, or with `NONE`, cannot be written.",
        "They can.",
        "PhiFlow computes with such grids.",
    ),
    Difference(
        "other-geometries",
        "Fields",
        "Only grids can be written. Point clouds, meshes, graphs and tensors are "
        "`NotImplementedError` or other errors.",
        "They can be written, as can sparse values and batches of different sizes. Geometries made "
        "of functions are `UnsupportedFieldError`, a `NotImplementedError`.",
        "PhiFlow simulates with all of them.",
    ),
    Difference(
        "dicts-of-fields",
        "Fields",
        "A dict of fields cannot be written.",
        "It can: `write(fluid={'v': v})` stores `fluid_v`, and `read(\"fluid\")` returns the dict.",
        "States are dicts.",
    ),
    Difference(
        "write-is-atomic",
        "Fields",
        "When one of several fields in a `write` is refused, those before it are stored.",
        "All fields of a call are stored, or none.",
        "A frame is whole.",
    ),
    Difference(
        "batch-write-is-atomic",
        "Fields",
        "When a frame cannot be written to one scene of a batch, the scenes before it keep it.",
        "The scenes of one file get it all, or none does.",
        "A frame is whole.",
    ),
    Difference(
        "not-found-message",
        "Fields",
        "A missing field or frame is a `FileNotFoundError` that names an npz file.",
        "`FieldNotFoundError` or `FrameNotFoundError`, both `FileNotFoundError`, with the names "
        "or frames that exist.",
        "The message says what to do next.",
    ),
    Difference(
        "batch-mismatch",
        "Fields",
        "A field whose dim has another size than that of the scenes is an `AssertionError`.",
        "`BatchMismatchError`, a `ValueError`.",
        "Assertions can be switched off; mistakes in a call are `ValueError`.",
    ),
    Difference(
        "no-pickle",
        "Fields",
        "Reading a field unpickles parts of its npz file, which can run code.",
        "The file holds numbers and text only.",
        "Files are shared.",
    ),
    # --- properties -------------------------------------------------------------------------------
    Difference(
        "numpy-properties",
        "Properties",
        "`put_property` cannot store NumPy numbers; neither function can store small integers, "
        "booleans, arrays, or numbers "
        "inside lists and dicts.",
        "NumPy numbers become numbers and arrays become lists, wherever they stand.",
        "Parameters of a simulation often are NumPy numbers.",
    ),
    Difference(
        "nested-tensors",
        "Properties",
        "Tensors inside lists and dicts, and complex numbers, cannot be stored.",
        "They can.",
        "Parameters are grouped in dicts.",
    ),
    Difference(
        "precision-of-properties",
        "Properties",
        "A tensor of float64 comes back as float32.",
        "It keeps its dtype.",
        "What is read is what was written.",
    ),
    Difference(
        "failed-property",
        "Properties",
        "A value that JSON cannot hold leaves a truncated, unreadable `description.json`: all "
        "properties are lost.",
        "`InvalidInputError`; all properties stay as they were.",
        "A mistake must not cost data.",
    ),
    Difference(
        "properties-are-live",
        "Properties",
        "A Scene object keeps the properties it has read once: it misses what others write, and "
        "overwrites it.",
        "Properties are read from the file at each access, and a change touches only the "
        "properties it names.",
        "Two objects, or processes, work with one scene.",
    ),
    Difference(
        "properties-item-assignment",
        "Properties",
        "`scene.properties['a'] = 1` changes memory only, until a `put_property` happens to "
        "store it.",
        "It is stored.",
        "It looks as if it were.",
    ),
    Difference(
        "exist-properties-after-reading",
        "Properties",
        "`exist_properties()` is true once `properties` was read, though there are none.",
        "It says whether there are any.",
        "It is what the name says.",
    ),
    Difference(
        "empty-properties",
        "Properties",
        "`exist_properties()` and `exists_config()` are true when an empty `description.json` "
        "was written.",
        "They say whether there are properties.",
        "There is no second file that could exist.",
    ),
    Difference(
        "exists-config-of-batches",
        "Properties",
        "`exists_config()` fails on batches.",
        "It says whether any scene has properties, as PhiFlow documents.",
        "A batch of scenes is used like a scene.",
    ),
    Difference(
        "setting-properties",
        "Properties",
        "Assigning to `properties` fails on batches, and for tensors leaves a truncated file.",
        "It takes what `put_properties` takes.",
        "A batch of scenes is used like a scene.",
    ),
    Difference(
        "properties-of-a-batch-of-one",
        "Properties",
        "`properties` fails on a batch of one scene.",
        "Works.",
        "A batch may have any size.",
    ),
    Difference(
        "property-in-some-scenes",
        "Properties",
        "A property that only some scenes of a batch have is an `AssertionError`.",
        "`BatchMismatchError`, a `ValueError`.",
        "Assertions can be switched off.",
    ),
    Difference(
        "property-names",
        "Properties",
        "The name of a property may be a number; it comes back as a string.",
        "`InvalidNameError`.",
        "Two properties could become one.",
    ),
    Difference(
        "properties-of-a-missing-scene",
        "Properties",
        "A scene that does not exist has the properties `{}`.",
        "`SceneNotFoundError`.",
        "No properties and no scene are two different things.",
    ),
    # --- scenes -----------------------------------------------------------------------------------
    Difference(
        "siblings",
        "Scenes",
        "A directory `sim_backup` makes `Scene.create` fail, and `Scene.list` takes it for a "
        "scene of the series.",
        "Only `sim_` and a number belong to the series `sim`; others are listed with "
        "`include_other=True`.",
        "Backups and renamed scenes are normal.",
    ),
    Difference(
        "series-by-prefix",
        "Scenes",
        "After `create(name='a_b')`, `create(name='a')` fails.",
        "Works.",
        "The same mistake as with `sim_backup`.",
    ),
    Difference(
        "order-of-scenes",
        "Scenes",
        "`Scene.list` sorts by text: scene 1,000,000 stands before 999,999, and "
        "`Scene.at(parent, -1)` is not the last one.",
        "Sorts by number; scenes of other names follow.",
        "The order of the scenes is that of their creation.",
    ),
    Difference(
        "two-processes-create",
        "Scenes",
        "Two processes that call `Scene.create` at the same time can get the same scene.",
        "Each gets scenes of its own.",
        "Jobs of a cluster start together.",
    ),
    Difference(
        "missing-negative-id",
        "Scenes",
        "`Scene.at(parent, -1)` without scenes is an `AssertionError`.",
        "`SceneNotFoundError`, as for every scene that does not exist.",
        "One `except OSError` catches all.",
    ),
    Difference(
        "scene-not-found-message",
        "Scenes",
        "`Scene.at` of a missing scene is an `OSError`.",
        "`SceneNotFoundError`, a `FileNotFoundError`, with the scenes that exist.",
        "The message says what to do next.",
    ),
    Difference(
        "scene-and-id",
        "Scenes",
        "`Scene.at(scene, 1)` is an `AssertionError`.",
        "`InvalidInputError`, a `ValueError`.",
        "Assertions can be switched off.",
    ),
    Difference(
        "path-of-batches",
        "Scenes",
        "`path` of a batch is an `AssertionError`.",
        "`InvalidInputError`, a `ValueError`.",
        "Assertions can be switched off.",
    ),
    Difference(
        "hash",
        "Scenes",
        "Scenes cannot be hashed.",
        "Equal scenes have equal hashes: they can be keys and members of sets.",
        "Scenes compare by value and do not change.",
    ),
    Difference(
        "names-of-dims",
        "Scenes",
        "A batch may have dims named `times`, `files`, `curves`, `flush`, `lazy`, `resume` or "
        "`transaction`, to be sliced by `scenes.times[0]`, and `durability`, `compression`, "
        "`workers`, `background` or `lock_timeout_s`, to be created by keyword.",
        "These are names of its own methods and options. Such dims are sliced by "
        "`scenes[{'times': 0}]` and created by "
        "`batch(compression=2)`.",
        "The new methods and options need names.",
    ),
    Difference(
        "equality-of-shapes",
        "Scenes",
        "Comparing batches of different shapes raises.",
        "They are different.",
        "`==` does not raise.",
    ),
    Difference(
        "rename-returns-the-scene",
        "Scenes",
        "`rename` prints two paths and returns `None`.",
        "It prints nothing and returns the scene under its new name.",
        "A library does not print, and the scene is still wanted.",
    ),
    Difference(
        "rename-to-an-existing-scene",
        "Scenes",
        "`rename` to the name of another scene moves the scene into the other one.",
        "`AlreadyExistsError`; both stay as they are.",
        "Nothing gets lost.",
    ),
    Difference(
        "rename-of-batches",
        "Scenes",
        "`rename` of a batch moves the scenes into each other.",
        "`InvalidInputError`.",
        "Nothing gets lost.",
    ),
    Difference(
        "rename-of-a-missing-scene",
        "Scenes",
        "`rename` of a scene that does not exist does nothing.",
        "`SceneNotFoundError`.",
        "The new name would be missing later.",
    ),
    Difference(
        "mkdir-makes-the-parent",
        "Scenes",
        "`mkdir` fails when the parent directory is missing.",
        "It creates the file.",
        "There is no directory to be made by hand.",
    ),
    # --- files ------------------------------------------------------------------------------------
    Difference(
        "one-file",
        "Files",
        "A scene is a directory `data/sim_000000` with one npz file for each field and frame.",
        "A scene is a group in one file: `data.h5/sim_000000`. `data/sim_000000` finds it as well.",
        "One file is what h5scene is for.",
    ),
    Difference(
        "subpath",
        "Files",
        "`subpath(name, create=True)` makes a directory, and any program can write into it.",
        "The path names an attached file; `create` and `create_parent` do nothing. Use "
        "`write_file`, `read_file`, "
        "`remove_file` and `files`.",
        "There are no directories in an HDF5 file that other programs could open.",
    ),
    Difference(
        "src-without-folder",
        "Files",
        "`copy_src` and `copy_src_text` fail when the folder `src` is missing.",
        "They work.",
        "A folder needs no preparation here.",
    ),
    Difference(
        "phi-vis",
        "Files",
        "`phi.vis.load_scalars`, `plot_scalars` and `view(scene=...)` write and read text files "
        "in the scene's directory.",
        "They do not take its scenes. `scene.log_scalars` and `scene.curves` take their place; a "
        "curve has the form that "
        "`load_scalars` returns.",
        "There is no directory.",
    ),
    Difference(
        "folder-named-phi",
        "Files",
        "A script in a folder named `phi` is taken for a part of PhiFlow, and not copied.",
        "Only PhiFlow's, PhiML's and h5scene's own files are left out.",
        "The script belongs to the scene wherever it lies.",
    ),
]

KNOWN_DIFFERENCES: dict[str, Difference] = {entry.id: entry for entry in _TABLE}
assert len(KNOWN_DIFFERENCES) == len(_TABLE), "two entries have one id"


def shows(difference_id: str) -> Callable[[T], T]:
    """Marks a class of tests: `test_phi` shows PhiFlow's side, `test_h5scene` ours."""
    difference = KNOWN_DIFFERENCES[difference_id]

    def mark(cls: T) -> T:
        cls.difference = difference  # type: ignore[attr-defined]
        return cls

    return mark
