"""Maker and version of the software that results state; the latter as in ``pyproject.toml``."""

MANUFACTURER = "QuantMAP"
VERSION = "0.1.0"
