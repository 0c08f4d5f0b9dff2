"""The file format: what FORMAT.md says, as code. Knows HDF5 and records, not PhiFlow.

* `layout`: every name on disk, and the version of the format.
* `names`: which names scenes, fields, frames, properties and attached files may have.
* `json_values`: JSON text of properties, dims and boundaries.
* `filters`: chunk shapes and filter pipelines.
* `chunks`, `readings`: arrays as datasets and back, with the filters in threads; `checksums`.
* `codec`: a field description as attributes, a frame as a dataset or group, tables of numbers.
"""
