"""The paper's figures, drawn from what the steps wrote and from nothing else.

`jet_images`, `distributions`, `training_curves`, `performance` and `limits` draw one family of
figures each, `diagram` the process; `style` is how all of them look. A figure is a function of the
results (`evaluation/`) that returns a `style.Drawing`: the figure and the points in it.
"""

import os

# Read when matplotlib is imported: a user's settings must not change, or prevent, a figure.
os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
