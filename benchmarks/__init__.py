"""Our time beside the peers' time, on the same data, in the same run."""
