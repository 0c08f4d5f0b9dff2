"""`python -m h5scene`: the same as the command `h5scene`."""

from __future__ import annotations

from h5scene.cli import main

if __name__ == "__main__":
    main()
