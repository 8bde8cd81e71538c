"""Holoscan loads on a machine without CUDA, from the runtime in requirements.txt."""

import ctypes
import subprocess
import sys

_WITHOUT_SYSTEM = """
import ctypes
real = ctypes.CDLL
def without_system(name, *arguments, **options):
    if name == "libcudart.so.13":
        raise OSError("not installed")
    return real(name, *arguments, **options)
ctypes.CDLL = without_system
import operators
maps = open("/proc/self/maps").read()
print([line.split()[-1] for line in maps.splitlines() if "libcudart" in line][0])
"""


def test_the_package_serves_where_the_system_has_no_cuda():
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SYSTEM], capture_output=True, text=True, check=True
    )
    assert "site-packages/nvidia/cu13" in done.stdout


def test_it_is_loaded_before_any_operator():
    import operators  # noqa: F401

    # A library that is loaded is found by its name alone.
    ctypes.CDLL("libcudart.so.13")
