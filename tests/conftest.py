"""Tests are of the CPU, whatever else there is, but for those that ask for a GPU: `-m gpu`."""

import os
import signal

from models import MODELS

MODELS["Toy"] = "toy_network:toy"  # as if a user had added a network


def pytest_configure(config):
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A shell starts a job in the background with SIGINT ignored, and all that it starts inherit it:
    # scripts then rightly take no notice of Ctrl-C, but here they are to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
