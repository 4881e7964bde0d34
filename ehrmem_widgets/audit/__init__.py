"""A whole cohort asked by every probe: a declared plan, work in shards that survives interruption, and results to report from."""
