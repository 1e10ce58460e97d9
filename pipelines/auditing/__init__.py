"""The audit of data sets: checks, findings, a report, and lists of files to leave out."""
