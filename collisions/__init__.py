"""Proton collisions as arrays: processes -> particles -> detector -> selection -> observables.

A batch of events is flat arrays with one row a particle (object, jet), sorted by event, and offsets
(n_events + 1,) that say where each event begins. Every stage is a function of such arrays; only
`hepmc` and `sherpa`, by which other generators come in, open files. Needs pythia8mc and fastjet.
"""
