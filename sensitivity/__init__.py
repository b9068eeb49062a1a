"""Figures of merit: from classifier scores to AUC, SIC and excluded stop masses.

Pure functions of arrays. `bootstrap` resamples whole events, `auc` and `sic` measure classifiers,
`cross_sections` and `exclusion` turn efficiencies into significances and excluded masses.
"""
