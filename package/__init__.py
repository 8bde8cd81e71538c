"""The MAP image: its manifests, its context and its recipe (MONAI Application Package)."""
