"""The fast path beside the plain one: the same logits, the same gradients, the same AUC."""

import dataclasses
import platform
import resource

import numpy as np
import pytest
import torch
from toy_jets import SIDE, packed, select

from jets.split import TRAIN, VALIDATION
from models import create_model
from sensitivity.auc import auc
from study import PRESETS, Study
from training.checkpoint import Progress
from training.inputs import make_sample
from training.interruption import Watch
from training.jet_images import JetImages
from training.learner import Learner, choose_device
from training.loop import logits_of, train_epoch

CPU = torch.device("cpu")
TOY = Study("toy").changed(training={"width": 0.125, "learning_rate": 1e-3, "batch_size": 32})
NETWORKS = PRESETS["readme"].classifiers.networks  # of which doc/performance.md speaks


def trained(network: str, device: torch.device, plain: bool = True):
    """A learner after some epochs, and validation jets it has not seen."""
    jets = packed(n_events=300)
    learning, validating = (
        make_sample(JetImages(select(jets, split), "sqrt", False, device))
        for split in (TRAIN, VALIDATION)
    )
    torch.manual_seed(0)
    learner = Learner(create_model(network, SIDE, TOY.training.width).to(device), TOY, plain)
    learning = dataclasses.replace(learning, rows=np.tile(learning.rows, 8))
    train_epoch(learner, learning, 0, Progress(), Watch())
    return learner, validating


def area(logits: np.ndarray, label: torch.Tensor) -> float:
    """AUC of the difference of the two logits."""
    margin, label = logits[:, 1] - logits[:, 0], label.cpu().numpy()
    return auc(margin[label == 1], margin[label == 0], bootstraps=2).value


@pytest.mark.parametrize("network", NETWORKS)
def test_bfloat16_products_change_logits_and_auc_little(network):
    learner, sample = trained(network, CPU)
    exact = logits_of(learner.network, sample.inputs, network)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = logits_of(learner.network, sample.inputs, network)
    assert (reduced != exact).any()
    assert area(exact, sample.label) > 0.9
    assert np.sqrt(np.mean((reduced - exact) ** 2)) < 5e-2 * np.sqrt(np.mean(exact**2))
    assert area(reduced, sample.label) == pytest.approx(area(exact, sample.label), abs=1e-3)


# PyTorch's remark on that release of Python; it is about speed, and there is nothing to mend here.
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_one_graph(network):
    """Compilation sees it whole, so nothing in it waits for the device."""
    torch.compiler.reset()
    model = create_model(network, SIDE, TOY.training.width).eval()
    images, mass = torch.rand(4, 3, SIDE, SIDE), torch.rand(4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images, mass), model(images, mass), rtol=0, atol=1e-4)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_tensors_free_serves_the_next_ones():
    """New memory costs a page fault for each of its pages; used memory costs none."""
    choose_device("cpu")
    size = 2**26  # bytes
    faults = []
    for _ in range(10):  # the first ones may find no gap that is large enough
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(size // 4)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) * resource.getpagesize() < size / 10


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")  # what compilers say is not ours to mend
@pytest.mark.parametrize("network", NETWORKS)
def test_the_fast_path_of_a_gpu_learns_what_the_plain_one_does(network):
    gpu = choose_device("cuda")
    (plain, sample), (fast, _) = (trained(network, gpu, plain) for plain in (True, False))
    areas = [
        area(logits_of(one.network, sample.inputs, network), sample.label) for one in (plain, fast)
    ]
    assert areas[1] == pytest.approx(areas[0], abs=1e-2)  # two trainings
    exact = logits_of(fast.network, sample.inputs, network)
    with torch.autocast("cuda", torch.bfloat16):
        rough = logits_of(fast.network, sample.inputs, network)
    assert np.sqrt(np.mean((rough - exact) ** 2)) < 5e-2
    assert area(rough, sample.label) == pytest.approx(area(exact, sample.label), abs=1e-3)
    compiled = torch.compile(fast.network)
    _, inputs = next(sample.inputs.batches(np.arange(64), np.array([64])))
    with torch.inference_mode():
        expected = fast.network(**inputs)
        torch.testing.assert_close(compiled(**inputs), expected, rtol=0, atol=1e-4)
        with torch.autocast("cuda", torch.bfloat16):
            reduced = compiled(**inputs).float()
    assert (reduced - expected).square().mean().sqrt() < 5e-2
