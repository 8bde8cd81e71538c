"""DICOM files into acquisitions: a 4-D volume and the protocol that made it."""
