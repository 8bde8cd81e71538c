"""CEST and semisolid MT: saturation schedules, Bloch–McConnell physics, networks."""
