"""A process of its own for reading what may crash it.

libhdf5 dies of some files. What reads a file in a `Sandbox` does so in a child with limits of
memory and time; a file that ends it, or that it never gets done with, is an error and no more.

    process   the child: started, asked, stopped, started again
    plain     what it answers: JSON and bytes, of which nothing is unpickled
    limits    what the operating system lets it have
"""

from h5scene.sandbox.plain import carried
from h5scene.sandbox.process import Sandbox

__all__ = ["Sandbox", "carried"]
