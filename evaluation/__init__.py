"""The results of a study as tables: classifiers side by side, exclusions, the summary."""
