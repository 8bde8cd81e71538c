"""Unified Procedure Steps (PS3.4 annex CC): other systems order runs and follow them."""
