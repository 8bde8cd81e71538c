"""Gradient tables: b-values and directions of every vendor, in the patient frame (LPS)."""
