"""Version of the package. The version of the file format is in `format.layout`."""

__version__ = "0.1.0"
