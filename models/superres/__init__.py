"""Guided super-resolution of PD, T1 and T2 maps: the physics, the network and its training."""
