"""Records: open a MEDS data set, read one patient at a time, and know what its codes mean."""
