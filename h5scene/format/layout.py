"""Every name that stands in a scene file, and the version of the format; see FORMAT.md."""

from __future__ import annotations

from typing import Final

FORMAT_VERSION: Final = "1.0"
"""Readers accept every minor version of a major version they know."""

ENCODING_VERSION: Final = "1.0"

# Attributes of the root group.
FORMAT_ATTR: Final = "h5scene_format"
CREATOR_ATTR: Final = "h5scene_creator"

# Attributes of every group that h5scene defines.
KIND_ATTR: Final = "kind"
ENCODING_ATTR: Final = "encoding_version"

SCENE_KIND: Final = "scene"
FIELD_KIND: Final = "field"
FRAME_KIND: Final = "frame"

# Attributes of a field group; of a frame that differs from its field.
FIELD_TYPE_ATTR: Final = "field_type"
DIMS_ATTR: Final = "dims"
AXES_ATTR: Final = "axes"
LOWER_ATTR: Final = "lower"
UPPER_ATTR: Final = "upper"
CENTER_ATTR: Final = "center"
SIZE_ATTR: Final = "size"
DIMS_SUFFIX: Final = "_dims"
BOUNDARY_ATTR: Final = "boundary"
FIELD_ATTRS_ATTR: Final = "field_attrs"
NAME_ATTR: Final = "name"
FRAMES_VARY_ATTR: Final = "frames_vary"

DESCRIPTION_ATTRS: Final = (
    FIELD_TYPE_ATTR,
    DIMS_ATTR,
    AXES_ATTR,
    LOWER_ATTR,
    UPPER_ATTR,
    CENTER_ATTR,
    SIZE_ATTR,
    *(name + DIMS_SUFFIX for name in (LOWER_ATTR, UPPER_ATTR, CENTER_ATTR, SIZE_ATTR)),
    BOUNDARY_ATTR,
    FIELD_ATTRS_ATTR,
)

# Attributes of datasets of numbers, and of what has a description.
CHECKSUM_ATTR: Final = "checksum"
DESCRIPTION_CHECKSUM_ATTR: Final = "description_checksum"

# Attributes of objects that are made of several arrays, and of these.
CONTENT_HASH_ATTR: Final = "content_hash"
SIZES_ATTR: Final = "sizes"

# Attributes of the values of a frame.
MAX_RELATIVE_ERROR_ATTR: Final = "max_relative_error"

# Attributes of attached files and directories, and of plain arrays.
MODE_ATTR: Final = "mode"
MEMBERS_ATTR: Final = "members"

# Members of a frame that is a group.
VALUES_DATASET: Final = "values"
GEOMETRY_GROUP: Final = "geometry"
STRUCTURE_GROUP: Final = "structure"
BOUNDARY_DATASET_PREFIX: Final = "boundary_"

# Members of the root group that are no scenes.
OBJECTS_GROUP: Final = "_objects"
MERGING_GROUP: Final = "_merging"
"""Scenes that are being copied in, and are not complete yet."""

# Members of a scene that are not fields. Names that start with an underscore are reserved.
RESERVED_PREFIX: Final = "_"
FILES_GROUP: Final = "_files"
ARRAYS_GROUP: Final = "_arrays"
CURVES_GROUP: Final = "_curves"
TIMES_DATASET: Final = "_times"
PROPERTIES_DATASET: Final = "_properties"
STATISTICS_GROUP: Final = "_statistics"
SCENE_PARTS: Final = (
    PROPERTIES_DATASET,
    TIMES_DATASET,
    CURVES_GROUP,
    FILES_GROUP,
    ARRAYS_GROUP,
    STATISTICS_GROUP,
)
"""All of these; properties are also attributes of the scene."""

COLUMNS_ATTR: Final = "columns"
TIME_COLUMNS: Final = ("frame", "time")
MAX_TIMED_FRAME: Final = 1 << 53
"""Larger whole numbers are not exact in float64."""
STEP_COLUMN: Final = "step"
FRAME_COLUMN: Final = "frame"
STATISTICS_COLUMNS: Final = ("count", "mean", "variance", "min", "max")
"""Of each component, after the column of the frame."""

# The property of a scene that has got another number with a merge, and its keys.
MERGED_FROM_PROPERTY: Final = "merged_from"

# Attributes of a scene group that are not properties.
SCENE_ATTRS: Final = frozenset({KIND_ATTR, ENCODING_ATTR})

MAX_PROPERTY_ATTR_BYTES: Final = 4000
"""Longer JSON goes to the properties dataset. HDF5 keeps larger attributes without a checksum."""
MAX_BOUNDARY_TENSOR_BYTES: Final = 4096
"""Larger tensors in a boundary are datasets of the frame."""
MAX_NAME_BYTES: Final = 1024

NEW_FRAME_LINK: Final = "_new"
"""A frame that is being written, and will replace one when it is complete."""

MIN_FRAME_DIGITS: Final = 6

# Keys of JSON objects.
JSON_KIND_KEY: Final = "__kind__"
JSON_TENSOR: Final = "tensor"
JSON_FLOAT: Final = "float"
JSON_COMPLEX: Final = "complex"
