"""Pictures of fields and curves, drawn by `phi.vis.plot` and Matplotlib.

* `planes`: what of a field is drawn: slices and projections of 3D grids
* `panels`: fields and frames side by side, a colour scale for each field
* `movies`: one picture after the other
* `curve_plots`: scalar curves over their steps

Matplotlib and what writes videos come with the extra `h5scene[plot]`.
"""
