"""A data set as one HDF5 file."""
