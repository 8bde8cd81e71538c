"""Quantity maps into DICOM objects and pictures."""
