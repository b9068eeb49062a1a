"""One optimiser step, as fast as the device allows."""

import contextlib
import ctypes
import os

import torch
from torch import nn

from command import InputError
from study import Study
from training.distributed import ALONE, Processes
from training.inputs import Batch
from training.losses import loss_of

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def choose_device(name: str | None) -> torch.device:
    """The device of this name, or an InputError; without a name, a GPU if there is one.

    Each process that torchrun started has a GPU of its own.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"--device {device}: {reason}; leave the option out or name another"
        ) from None
    if chosen.type == "cpu":
        # Tensors' memory is kept for the next step. By default glibc returns large blocks to the
        # system, which clears new ones: more than half of the time of CoAtNet with 128 pixels.
        with contextlib.suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_MAX, 0)
            mallopt(M_TRIM_THRESHOLD, -1)
    elif chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # of everything that is not told one
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32, in convolutions too
    return chosen


def optimiser_of(network: nn.Module, study: Study) -> torch.optim.Optimizer:
    """Adam, with weight decay AdamW (arXiv:1711.05101), of what a network is to learn."""
    asked, learnt = study.training, [one for one in network.parameters() if one.requires_grad]
    options = {"lr": asked.learning_rate, "weight_decay": asked.weight_decay}
    return torch.optim.AdamW(learnt, **options, fused=True)


class Learner:
    """A network and its optimiser.

    On a GPU the fast path: products in bfloat16 (weights, norms, loss and optimiser stay in
    float32), and forward and backward compiled into CUDA graphs, so that small batches do not wait
    for kernel launches. `plain` is eager float32 anywhere, and what a CPU always does: there the
    fast path does not pay (doc/performance.md).

    Attributes:
        network: the bare one, on the device, with the weights to start from.
        study: what decides a training, the batch size of all processes together among it.
        way: how it runs, in words.
    """

    def __init__(
        self, network: nn.Module, study: Study, plain: bool = False, processes: Processes = ALONE
    ) -> None:
        self.network, self.study, self.processes = network, study, processes
        self._loss = loss_of(study.training)
        self.device = next(network.parameters()).device
        self.optimiser = optimiser_of(network, study)
        self._is_fast = self.device.type == "cuda" and not plain
        self._eager = self._full = processes.data_parallel(network, self.device)
        first, last = processes.share(study.training.batch_size)
        self._full_share = last - first  # a smaller last batch is not compiled
        self.way = f"{self.device}, {'bfloat16' if self._is_fast else 'float32'}"
        norms = (
            one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)
        )
        # SyncBatchNorm breaks a compiled network into pieces, one at each norm.
        if self._is_fast and (processes.number == 1 or not any(norms)):
            self.way += ", compiled"
            torch.compiler.reset()  # PyTorch compiles a class for a few networks only
            # CUDA graphs and the exchange of gradients between processes exclude each other.
            mode = "reduce-overhead" if processes.number == 1 else "default"
            self._full = torch.compile(self._eager, mode=mode, dynamic=False)
        if processes.number > 1:
            self.way += f", {processes.number} processes"

    def step(self, batch: Batch, factor: float = 1.0) -> torch.Tensor:
        """Learn from one batch, whose gradient is multiplied by `factor` (see `Processes.shares`).

        Nothing here waits for the device: the mean loss (), detached, lies there.
        """
        network = self._full if len(batch.rows) == self._full_share else self._eager
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_fast):
            logits = network(**batch.inputs)
        loss = self._loss(logits.float(), batch.label, batch.weight, batch.spectator)
        (factor * loss).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()  # before the next replay of the graph that owns the gradients
        return loss.detach()
