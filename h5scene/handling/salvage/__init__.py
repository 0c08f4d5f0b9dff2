"""What can be saved from a file of which HDF5 makes nothing any more.

Levels, each using those above it:

    structures              HDF5's object headers and links, found by signatures and read here
    rebuilding              a new root for the objects that were found, as patches of the file
    reading, writing        what a child reads, piece by piece, of what is still there; the new file
    parts                   what scenes hold beside fields, out of one and into the other
    sources                 the ways in which a damaged file can be opened
"""
