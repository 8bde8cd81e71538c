"""Runs the application where Python is given this folder, as in the image of MONAI's packager."""

import sys

from app.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
