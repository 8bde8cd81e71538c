"""MONAI Deploy operators, in the order in which data flows: ingest, inference, results."""
