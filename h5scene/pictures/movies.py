"""One picture after the other, as GIF or MP4. The file appears when it is whole."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

SUFFIXES = (".gif", ".mp4")


def pixels_of(figure: Any, dpi: float) -> Pixels:
    """Returns a Matplotlib figure as pixels `(y, x, rgb)`, rows from the top, and closes it.

    Width and height are even, which video formats ask for.
    """
    from matplotlib import pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    plt.close(figure)
    return np.ascontiguousarray(pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2])


def write_movie(path: str | Path, pictures: Iterable[Pixels], frames_per_s: float) -> None:
    """Writes pictures of one size as a movie, in place of what has the name.

    Args:
        path: Ends in `.gif` or `.mp4`.
        pictures: Pixels, see `pixels_of`.
        frames_per_s: How fast it plays.

    Raises:
        InvalidInputError: The path ends otherwise, or there is no picture.
        StorageError: The file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInputError(f"a movie ends in .gif or .mp4, not {target.name!r}")
    beside = target.with_name(f".{target.name}.part{suffix}")
    write = _write_gif if suffix == ".gif" else _write_mp4
    try:
        write(beside, iter(pictures), frames_per_s)
        beside.replace(target)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {target}: {error}", errno=error.errno) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _first(pictures: Iterator[Pixels]) -> Pixels:
    """Returns the first picture."""
    for picture in pictures:
        return picture
    raise InvalidInputError("there is no frame to show")


def _write_gif(path: Path, pictures: Iterator[Pixels], frames_per_s: float) -> None:
    from PIL import Image

    first = Image.fromarray(_first(pictures)).convert("P", palette=Image.Palette.ADAPTIVE)
    rest = (
        Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE) for pixels in pictures
    )
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=rest,
        duration=max(round(1000 / frames_per_s), 20),  # viewers slow down what is shorter
        loop=0,
        optimize=False,
    )


def _write_mp4(path: Path, pictures: Iterator[Pixels], frames_per_s: float) -> None:
    import imageio_ffmpeg

    first = _first(pictures)
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (first.shape[1], first.shape[0]),
        fps=frames_per_s,
        codec="libx264",
        macro_block_size=2,
        ffmpeg_log_level="error",
    )
    writer.send(None)
    try:
        writer.send(first)
        for pixels in pictures:
            writer.send(pixels)
    finally:
        writer.close()
