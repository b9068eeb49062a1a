"""Tests are of the CPU, whatever else there is, but for those that ask for a GPU: `-m gpu`."""

import os
import signal

import pytest

from models import MODELS

MODELS["Toy"] = "toy_network:toy"  # as if a user had added a network


def pytest_configure(config):
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A shell starts jobs in the background with SIGINT ignored, nohup with SIGHUP, and what they
    # start inherits it: scripts then rightly take no notice, but here they are to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The files that take longest, begun first: so several workers end at about the same time.
LONG = ("test_chain", "test_endurance", "test_fuzz", "test_plots", "test_train_scripts")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes whole files: what the tests of a file share is made once, not by each."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
