"""One grid whose blocks live on the ranks of a communicator, written as one frame.

No rank ever has all of it. The array is cut into the chunks of the dataset. Each has an owner: the
rank whose block holds its first value. The others send the owner what they have of it, the owner
packs it, and one rank writes what arrives.

All ranks take the chunks in one order, owner by owner in turn, so that all of them pack while one
writes. A rank goes on before its messages have arrived, but has at most `_WAITING` of them: this
bounds the memory, and as nobody waits for a later chunk than somebody else, nobody waits for ever.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.cluster.ranks import (
    Outcome,
    checked_root,
    everyones,
    from_root,
    own_communicator,
    tried,
)
from h5scene.cluster.rows import Block, Place
from h5scene.cluster.tiling import Tiling, tiling
from h5scene.errors import InvalidInputError
from h5scene.format import names
from h5scene.format.chunks import write_array
from h5scene.format.pieces import Form, Packed, packed_piece, write_pieces
from h5scene.format.rounding import digits_by_field
from h5scene.phi_fields import record_from_field
from h5scene.record import FieldRecord
from h5scene.scene import Scene
from h5scene.tensors import outlined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import h5py
    from phi.field import Field

    from h5scene.format.filters import Compression
    from h5scene.format.pieces import Box
    from h5scene.format.tree import PlannedFrame, SceneTree
    from h5scene.record import Array
    from h5scene.scene_file import SceneFile

_PIECE_TAG, _CHUNK_TAG = 1, 2
_WAITING = 8
_NOTHING = Outcome("nothing")


def write_blocks(
    scene: Scene | None,
    blocks: Mapping[str, Field],
    comm: Any,
    frame: int = 0,
    *,
    axes: str | Sequence[str] | None = None,
    keep_digits: int | Mapping[str, int] | None = None,
    root: int = 0,
) -> None:
    """Writes fields of which each rank has a block as one frame: all become visible, or none.

    All ranks of `comm` call this together. Where a block is follows from its bounds; the blocks
    must stand in rows along every axis, with cells of one size, as those of a Cartesian
    communicator do. The whole has the lower corner of the first block and the upper corner of the
    last one. On each of its sides it has the boundary that the blocks there have; along the axes in
    which `comm` is periodic it is `PERIODIC`, whatever the blocks say.

    Args:
        scene: Where to write. Only that of `root` counts; others may give `None`.
        blocks: The block of this rank of each field, by name.
        comm: Communicator of mpi4py. A Cartesian one tells along which axes the whole is periodic,
            and the blocks are checked against it.
        frame: Frame index, at least 0.
        axes: For which axes of the grid the dims of a Cartesian communicator stand, such as `'y,z'`
            or `('y', 'z')`; the first ones by default.
        keep_digits: As of `Scene.write`.
        root: The rank that writes to the file. The others need not see it.

    Shapes:
        Blocks `(xˢ=32, yˢ=64)` on the 2 ranks of a row along `x`: one `(xˢ=64, yˢ=64)`. Dims that
        are no axes are the same in all blocks. Staggered blocks of 32 cells have up to 33 faces; of
        the faces that two blocks have, the values of the upper block are stored.

    Durability:
        As of `Scene.write`, when the call returns on any rank.

    Raises:
        InvalidInputError: Blocks do not fit together, a name or a frame differs between ranks, or
            `scene` is no single scene.
        UnsupportedFieldError: A block is no grid, or one that cannot be put together.
        RankError: A rank does something else, or failed by an error that is none of h5scene's.
        H5SceneError: As `Scene.write`. All ranks raise the same error.
    """
    own = own_communicator(comm)
    call = {"frame": frame, "axes": axes, "keep_digits": keep_digits, "root": root}
    records, wholes = _described(own, comm, blocks, call)
    digits = digits_by_field(keep_digits, set(records))
    with ExitStack() as stack:  # aborts the transaction when something fails before its end
        frames: list[tuple[SceneTree, PlannedFrame]] = []

        def open_file() -> Compression:
            file, name = _file_of(scene)
            tree = stack.enter_context(file._transaction(name))
            names.frame_link(frame)
            names.check_distinct(wholes)
            for field, whole in wholes.items():
                outline = FieldRecord(whole.description, outlined(whole.shape, whole.dtype))
                keep = digits.get(field)
                plan = tree.plan_frame(name, field, frame, outline, keep_digits=keep)
                frames.append((tree, plan))
            return file._compression

        compression = from_root(own, root, "open", open_file)
        exchanges = []
        for name, whole in wholes.items():
            form = Form(whole.shape, whole.dtype, compression, digits.get(name))
            exchanges.append(_Exchange(own, root, whole, form, records[name].values))

        def write() -> None:
            try:
                with stack.pop_all():
                    for (tree, plan), exchange in zip(frames, exchanges, strict=True):
                        plan = replace(plan, put_values=exchange.put_values)
                        tree.write_frame(plan, compression)
            finally:
                for exchange in exchanges:
                    exchange.take_part()  # in what is left: the others wait for it

        if own.rank != root:
            for exchange in exchanges:
                exchange.take_part()
        from_root(own, root, "write", write)


def _described(
    own: Any, comm: Any, blocks: Mapping[str, Field], call: Mapping[str, Any]
) -> tuple[dict[str, FieldRecord], dict[str, Tiling]]:
    """Returns the blocks of this rank, and what those of all ranks make up, by name.

    Raises:
        InvalidInputError: The ranks were not called alike, or their blocks do not fit together.
        UnsupportedFieldError: A block is no grid, or one that cannot be put together.
    """
    records: dict[str, FieldRecord] = {}

    def describe() -> tuple[tuple[str, ...], dict[str, Any], dict[str, Block]]:
        checked_root(own, call["root"])
        axes = _names(call["axes"])
        for name in sorted(blocks):
            records[name] = record_from_field(blocks[name])
        described = {
            n: Block.of(record, _place(comm, record, axes)) for n, record in records.items()
        }
        return tuple(records), dict(call), described

    told = everyones(own, "write_blocks", describe)
    for rank, other in enumerate(told):
        if other[:2] != told[0][:2]:
            raise InvalidInputError(
                "all ranks must write the same fields in the same way: rank 0 calls write_blocks "
                f"for {_told(*told[0][:2])}, rank {rank} for {_told(*other[:2])}"
            )
    return records, {
        name: tiling(name, [by_name[name] for *_, by_name in told]) for name in records
    }


def _names(axes: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Returns the names of axes that a user gave as one text or several."""
    if axes is None:
        return None
    return tuple(part.strip() for part in (axes.split(",") if isinstance(axes, str) else axes))


def _place(comm: Any, record: FieldRecord, axes: tuple[str, ...] | None) -> Place | None:
    """Returns where this rank stands in a Cartesian communicator; `None` for any other.

    Raises:
        InvalidInputError: It has more dims than the field has axes, or than are named.
    """
    bounds = record.description.bounds
    if bounds is None or not hasattr(comm, "Get_coords"):
        if axes is not None:
            raise InvalidInputError(
                "axes= says what the dims of a Cartesian communicator stand for; this one is none"
            )
        return None
    _, periods, coords = comm.Get_topo()
    named = bounds.axes[: len(coords)] if axes is None else axes
    if len(named) != len(coords):
        raise InvalidInputError(
            f"the communicator has {len(coords)} dims, the grid has the axes {bounds.axes}; name "
            "one for each with axes="
        )
    return Place(named, tuple(coords), tuple(map(bool, periods)))


def _told(fields: tuple[str, ...], call: Mapping[str, Any]) -> str:
    """Returns what a rank was asked to write."""
    options = ", ".join(f"{name}={value!r}" for name, value in call.items())
    return f"{', '.join(map(repr, fields)) or 'no field'}, {options}"


def _file_of(scene: Scene | None) -> tuple[SceneFile, str]:
    """Returns the file of a single scene, and the name of the scene.

    Raises:
        InvalidInputError: This is a batch, or no scene.
    """
    if not isinstance(scene, Scene) or scene.is_batch:
        raise InvalidInputError(f"blocks are written to one scene, not to {scene!r}")
    ((file, (member,)),) = scene._by_file()
    return file, member.scene


class _Exchange:
    """The messages by which the pieces of one array come together.

    Args:
        own: Communicator.
        root: The rank that writes.
        whole: What the blocks make up.
        form: Of the array.
        values: Those of the block of this rank.
    """

    def __init__(self, own: Any, root: int, whole: Tiling, form: Form, values: Array):
        self._own = own
        self._root = root
        self._whole = whole
        self._form = form
        self._values = values
        self._sent: deque[Any] = deque()
        self._steps = self._planned()

    def put_values(self, group: h5py.Group, name: str) -> None:
        """Writes the array, on `root`, while the others take part."""
        if self._form.is_one_piece:
            (values,) = self._arriving()
            form = self._form
            write_array(group, name, values, form.compression, workers=1, digits=form.digits)
        else:
            write_pieces(group, name, self._form, self._arriving())

    def take_part(self) -> None:
        """Does what this rank has to do, or what is left of it."""
        for step in self._steps:
            self._do(*step)
        while self._sent:
            self._sent.popleft().wait()

    def _arriving(self) -> Iterator[Any]:
        """Yields the pieces on `root`.

        Raises:
            H5SceneError: A rank failed to make one.
        """
        for step in self._steps:
            outcome = self._do(*step)
            if outcome.error is not None:
                raise outcome.error
            yield outcome.value

    def _planned(self) -> Iterator[tuple[int, int]]:
        """Yields the number of each piece and its owner, in the order of all ranks."""
        numbers = range(self._form.piece_count)
        if self._form.compression is None or self._form.is_one_piece:
            for number in numbers:
                yield number, self._root
            return
        by_owner: dict[int, deque[int]] = {}
        for number in numbers:
            owner = self._whole.owner(self._form.box(number))
            by_owner.setdefault(owner, deque()).append(number)
        while by_owner:
            for owner in sorted(by_owner):
                yield by_owner[owner].popleft(), owner
            by_owner = {owner: rest for owner, rest in by_owner.items() if rest}

    def _do(self, number: int, owner: int) -> Outcome:
        """Does what this rank has to do for a piece; returns the piece on `root`."""
        rank, whole, box = self._own.rank, self._whole, self._form.box(number)
        if rank not in (owner, self._root) and not any(whole.given(rank, box)):
            return _NOTHING
        if rank == owner:
            found = [
                (other, self._own.recv(source=other, tag=_PIECE_TAG))
                for other in whole.givers(box)
                if other != rank and any(whole.given(other, box))
            ]
            failed = [outcome for _, outcome in found if outcome.error is not None]
            outcome = (
                failed[0]
                if failed
                else tried("pack", rank, lambda: self._packed(number, box, dict(found)))
            )
            if rank == self._root:
                return outcome
            self._send(outcome, self._root, _CHUNK_TAG)
            return _NOTHING
        if any(whole.given(rank, box)):
            self._send(tried("cut", rank, lambda: self._cut(box)), owner, _PIECE_TAG)
        if rank != self._root:
            return _NOTHING
        arrived: Outcome = self._own.recv(source=owner, tag=_CHUNK_TAG)
        return arrived

    def _cut(self, box: Box) -> list[Array]:
        """Returns what this rank has of a piece."""
        return [
            np.ascontiguousarray(self._values[source])
            for _, source in self._whole.given(self._own.rank, box)
        ]

    def _packed(self, number: int, box: Box, found: Mapping[int, Outcome]) -> Array | Packed:
        """Returns a piece that this rank has and others have sent, as it is to be written."""
        # What no block has is padding of staggered values, which nobody reads.
        piece = np.zeros([part.stop - part.start for part in box], self._form.dtype)
        sent = {rank: outcome.value for rank, outcome in found.items()}
        for rank, arrays in {**sent, self._own.rank: self._cut(box)}.items():
            for (target, _), array in zip(self._whole.given(rank, box), arrays, strict=True):
                piece[target] = array
        return piece if self._form.is_one_piece else packed_piece(number, piece, self._form)

    def _send(self, outcome: Outcome, rank: int, tag: int) -> None:
        """Sends a message, which may arrive later."""
        if len(self._sent) >= _WAITING:
            self._sent.popleft().wait()
        self._sent.append(self._own.isend(outcome, rank, tag))
