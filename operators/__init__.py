"""MONAI Deploy operators, in the order in which data flows: ingest, inference, results."""

from operators.cuda_runtime import load_cuda_runtime

# Before any module below imports the App SDK.
load_cuda_runtime()
