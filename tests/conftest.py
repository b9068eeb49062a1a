"""Tests are of the CPU, whatever else there is, but for those that ask for a GPU: `-m gpu`."""

import os


def pytest_configure(config):
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
