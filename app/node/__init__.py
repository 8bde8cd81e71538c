"""The DICOM node: receive, complete, route, run, deliver."""
