"""Objects in: C-STORE, storage commitment and STOW-RS, synced to disk before success."""
