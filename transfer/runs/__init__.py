"""A run from data to report: fitting, scoring, comparing and exporting."""
