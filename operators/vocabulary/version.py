"""The version of the software that results state; the same as in ``pyproject.toml``."""

VERSION = "0.1.0"
