"""One file per data set or layout: what lies where, in which unit."""
