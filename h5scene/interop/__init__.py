"""Scenes in other forms. Each form is one subject here, and knows nothing of the others.

Directories of npz files, PhiFlow's own form, need no PhiFlow. Their levels, each using those below:

* `scene_directories`: whole trees, `import_scenes` and `export_scenes`
* `comparing`, `importing`, `exporting`: one scene
* `scene_content`, `stored`: what a directory holds, what a scene file holds beside fields
* `sidecar`: what npz cannot hold, beside the npz files
* `description_json`, `log_text`: the text files of a scene
* `npz`, `npz_boundaries`, `plain_trees`: fields to arrays and back
* `npz_archive`, `npy`, `pickled_data`, `deflate`, `safe_files`: bytes, checked

Datasets of xarray and windows of frames for training. Only `xarray_fields` needs PhiFlow:

* `xarray_backend`: scenes as datasets; `xarray_fields`: fields made of their variables
* `xarray_attrs`: descriptions and properties as attributes
* `statistics`: mean and range of fields, for `h5scene.torch_data`
* `tensor_arrays`: frames as arrays with the axes of a PyTorch tensor, for the same
* `source`: files that are read by many threads and processes

Whatever is read here may have been made to do harm: nothing in it is executed, no link is followed
out of a directory, and no size is believed before memory is taken.
"""
