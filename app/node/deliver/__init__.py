"""Results out: C-STORE, STOW-RS or a folder, again and again until they have arrived."""
