"""The frames that tools/bench writes and reads: seeded turbulence, and a frame of the plume."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PhiML warns about its own definitions
    from phi.field import CenteredGrid, StaggeredGrid
    from phi.geom import Box
    from phi.math import channel, extrapolation, spatial, tensor

from h5scene.phi_fields import record_from_field

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """One frame to measure with.

    Attributes:
        title: What it is, for the table.
        fields: PhiFlow's fields by name.
        repeats: How often to measure each library.
        in_a_row: Calls per measurement, so that none is shorter than the clock is good for.
    """

    title: str
    fields: dict[str, Any]
    repeats: int
    in_a_row: int = 1

    @cached_property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The values of the fields as they stand in a file; staggered ones padded."""
        return {
            name: np.ascontiguousarray(record_from_field(field).values)
            for name, field in self.fields.items()
        }

    @cached_property
    def byte_count(self) -> int:
        """Bytes of all values."""
        return sum(array.nbytes for array in self.arrays.values())


def turbulence(size: int, dims: int, components: int, seed: int = 0) -> Floats:
    """Returns periodic velocities of random phase whose energy falls like k^-5/3."""
    random = np.random.default_rng(seed)
    axes = [np.fft.fftfreq(size) * size] * (dims - 1) + [np.fft.rfftfreq(size) * size]
    wave = np.sqrt(sum(k**2 for k in np.meshgrid(*axes, indexing="ij")))
    wave[(0,) * dims] = np.inf  # no mean flow
    # A shell of wave numbers k has k^(dims - 1) modes.
    amplitude = wave ** (-5 / 6 - (dims - 1) / 2)
    parts = []
    for _ in range(components):
        noise = np.fft.rfftn(random.standard_normal((size,) * dims))
        parts.append(np.fft.irfftn(noise * amplitude, s=(size,) * dims, axes=range(dims)))
    stacked = np.stack(parts, -1)
    result: Floats = (stacked / stacked.std()).astype(np.float32)
    return result


def turbulence_grid(size: int, dims: int) -> Any:
    """Returns a periodic centered grid of turbulence."""
    axes = "xyz"[:dims]
    values = tensor(
        turbulence(size, dims, dims), spatial(",".join(axes)), channel(vector=",".join(axes))
    )
    return CenteredGrid(values, extrapolation.PERIODIC, Box(**dict.fromkeys(axes, 1.0)))


def staggered_grid(size: int) -> Any:
    """Returns a closed staggered grid, its faces sampled from turbulence."""
    sizes = dict.fromkeys("xyz", size)
    return StaggeredGrid(turbulence_grid(size, 3), 0, Box(x=1.0, y=1.0, z=1.0), **sizes)


def tiny_grid() -> Any:
    """Returns a scalar grid of 32×16 cells."""
    values = tensor(np.ascontiguousarray(turbulence(32, 2, 1)[:, :16, 0]), spatial("x,y"))
    return CenteredGrid(values, 0, Box(x=100, y=50))


def plume_fields(steps: int) -> dict[str, Any]:
    """Returns the fields of the smoke plume of tools/demo after some steps."""
    from plume import simulate

    fields: dict[str, Any] = {}
    for fields in simulate(steps):  # noqa: B007  # only the last ones are wanted
        pass
    return fields


def all_frames(*, quick: bool) -> list[Frame]:
    """Returns the frames to measure, small ones first."""
    steps = 4 if quick else 40
    frames = [
        Frame("32×16 scalar", {"smoke": tiny_grid()}, 8 if quick else 40, in_a_row=5),
        Frame(f"plume, step {steps}", plume_fields(steps), 5 if quick else 30),
        Frame("staggered 64³", {"velocity": staggered_grid(64)}, 3 if quick else 9),
        Frame("512² vector", {"velocity": turbulence_grid(512, 2)}, 4 if quick else 15),
    ]
    if not quick:
        frames.append(Frame("128³ vector", {"velocity": turbulence_grid(128, 3)}, 7))
    return frames
