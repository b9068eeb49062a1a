"""Proton collisions as arrays: processes -> particles -> detector -> selection -> observables.

A batch of events is flat arrays with one row a particle (object, jet), sorted by event, and offsets
(n_events + 1,) that say where each event begins. Every stage is a function of such arrays; this
room opens no file. Needs pythia8mc and fastjet.
"""
