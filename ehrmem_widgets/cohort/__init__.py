"""Records: open a MEDS data set, read one patient at a time, and write a record as a model reads it."""
