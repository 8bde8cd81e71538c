"""The networks that ship and the science that makes them; knows nothing of DICOM."""
