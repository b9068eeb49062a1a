"""Data-parallel training: several processes, each with a share of every batch.

`torchrun --nproc-per-node=N train.py ...` starts N processes that find each other through the
environment. Each holds all jets and the whole network, works on its share of every batch, and the
gradients are averaged: the same step as of one process, up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """This process among those of a training; `rank` 0 is the one that writes and prints."""

    rank: int = 0
    number: int = 1

    def share(self, n: int) -> tuple[int, int]:
        """Where this process's share of `n` (or an array of them) begins and ends."""
        return n * self.rank // self.number, n * (self.rank + 1) // self.number

    def shares(
        self, order: np.ndarray, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This process's share of every batch of `order` (n,), which is the same in all processes.

        Returns:
            The jets of its shares, one share after another; the size of each, (steps,); and what
            the mean loss of each is to be multiplied by, so that the average over processes is
            the mean over the batch. A last batch of fewer jets than processes is worked on whole
            by each of them.
        """
        start = np.arange(0, len(order), batch_size)
        length = np.minimum(batch_size, len(order) - start)
        is_whole = length < self.number
        first, last = self.share(length)
        first, last = np.where(is_whole, 0, first), np.where(is_whole, length, last)
        size = last - first
        behind = np.cumsum(size) - size
        rows = order[np.arange(size.sum()) + np.repeat(start + first - behind, size)]
        return rows, size, np.where(is_whole, 1.0, self.number * size / length)

    def data_parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """A network whose gradients are averaged over processes; its batch norm sees the whole
        batch on GPUs, but a process's own share on CPUs, for which PyTorch has no such layer."""
        if self.number == 1:
            return network
        if device.type == "cpu":
            return DistributedDataParallel(network)
        from timm.layers import convert_sync_batchnorm  # seconds, which few trainings need

        return DistributedDataParallel(convert_sync_batchnorm(network), device_ids=[device])

    def align(self, network: nn.Module) -> None:
        """Give every process the running averages of rank 0."""
        if self.number > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.number > 1:
            distributed.all_reduce(tensor)
        return tensor

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes hold; no device waits for it."""
        if self.number == 1:
            return number
        agreed = torch.tensor(number)
        distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
        return int(agreed)

    def agree(self, number: int) -> bool:
        """Whether all processes hold the same number; all get the same answer."""
        largest = self.largest(number)
        return largest == -self.largest(-number)


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes that torchrun started, if it started this one."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    if device.type == "cuda":
        distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    else:
        distributed.init_process_group("gloo")
    yield Processes(distributed.get_rank(), distributed.get_world_size())
    # Not after an error in one process alone: that would wait for the others.
    distributed.destroy_process_group()
