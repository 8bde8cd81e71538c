"""Acquisitions into quantity maps: networks through ONNX Runtime, physics through torch."""
