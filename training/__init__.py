"""Training: batches on a device, the loop, its metrics and checkpoints.

`plan` names the trainings of a study, `batches` makes dense images of sparse jets, `loop` trains
and scores, `metrics` measures after each epoch, `checkpoint` keeps what is needed to go on.
"""
