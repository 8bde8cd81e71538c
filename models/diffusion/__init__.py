"""Diffusion: signal models and fits."""
