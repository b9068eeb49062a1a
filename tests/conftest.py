"""Tests are of the CPU, whatever else there is, but for those that ask for a GPU: `-m gpu`."""

import os
import signal

import pytest

from models import MODELS, Network

MODELS["Toy"] = Network("toy_network:toy")  # as if a user had added a network


def pytest_configure(config):
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A shell starts jobs in the background with SIGINT ignored, nohup with SIGHUP, and what they
    # start inherits it: scripts then rightly take no notice, but here they are to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The files that take longest, the longest first: so several workers end at about the same time.
LONG = ("chain", "endurance", "distributed", "plots", "fuzz", "learner", "models", "collisions")
LONG += ("snakefile", "setup", "train_scripts", "trees", "simulate", "training", "pretrained")


def pytest_collection_modifyitems(items):
    order = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes whole files: what the tests of a file share is made once, not by each.

    Two files share a process from which they fork others, because it has imported PyTorch.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return super()._split_scope(nodeid).replace("test_distributed", "test_endurance")

    config.option.loadscopereorder = False
    return Scheduling(config, log)
