"""Scalar curves over their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from h5scene.scene_file import Curve

_MOST_COLUMNS = 3


def draw_curves(
    curves: Mapping[str, Mapping[str, Curve]], *, is_log: bool = False, xlabel: str = "step"
) -> Any:
    """Returns a Matplotlib figure: a panel for each curve, a line for each scene that has it.

    Args:
        curves: Curves by name and scene.
        is_log: Whether values stand on a logarithmic axis.
        xlabel: What the steps are.
    """
    from matplotlib import pyplot as plt

    columns = min(len(curves), _MOST_COLUMNS)
    rows = -(-len(curves) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.5 * columns, 3 * rows), squeeze=False, layout="constrained"
    )
    for panel, (name, by_scene) in zip(axes.flat, curves.items(), strict=False):
        for scene, curve in by_scene.items():
            values = curve.values.reshape(len(curve.steps), -1)
            for i, line in enumerate(values.T):
                label = scene if values.shape[1] == 1 else f"{scene} [{i}]"
                mark = "o" if len(line) == 1 else None
                panel.plot(curve.steps, line, label=label, marker=mark, linewidth=1)
        panel.set_title(name)
        panel.set_xlabel(xlabel)
        panel.grid(visible=True, alpha=0.3)
        if is_log:
            panel.set_yscale("log")
        if len(panel.lines) > 1:
            panel.legend(fontsize="small")
    for panel in axes.flat[len(curves) :]:
        panel.set_visible(False)
    return figure
