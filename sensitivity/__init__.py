"""Figures of merit: from classifier scores to AUC, SIC and excluded stop masses.

Pure functions of arrays. `bootstrap` resamples whole events, `auc` and `sic` measure classifiers,
`exclusion` turns efficiencies into significances and excluded masses.
"""
