"""Pre-training of JetViT's encoder without labels, see `models.jepa`.

It runs in the loop of `training.loop`: the same batches, moves, schedule, checkpoints, history.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from command import InputError
from jets.angularities import OF_JETS
from jets.constituents import Constituents
from models import create_model
from models.jepa import JEPA, Masks, Predicted, draw_masks, loss_of
from models.jetvit import Encoder, Tokens, mean
from models.pretrained import save_encoder
from products import atomic_write
from sensitivity.bootstrap import Estimate
from study import Study
from training import checkpoint
from training.constituents import JetConstituents
from training.distributed import ALONE
from training.inputs import Batch, Inputs, Sample, make_sample
from training.interruption import Watch
from training.learner import optimiser_of
from training.loop import train

NETWORK, OF_ENCODER = "JetViT", ("positions", "pairwise", "patches", "registers")
MASKS = "contiguous", "random"
WATCHED = 2_000  # validation jets that the monitors see, at most, evenly spaced
MASK_SEED = 0  # of the masks of validation jets, the same after each epoch


@dataclass(frozen=True)
class Pretraining:
    """What decides a pre-training besides the study's `training`; the numbers are those of I-JEPA
    (arXiv:2301.08243), as arXiv:2502.03933 does not state its own.

    Attributes:
        masks: one of `MASKS`; published are the contiguous ones.
        targets: blocks of them.
        target_scale, context_scale: shares of a jet's tokens, least and largest.
        momentum: of the moving average at the start; it rises linearly to 1.
    """

    masks: str = MASKS[0]
    targets: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    context_scale: tuple[float, float] = (0.85, 1.0)
    momentum: float = 0.996

    def draw(self, tokens: Tokens, generator: torch.Generator | None = None) -> Masks:
        """Masks of b jets, see `draw_masks`."""
        is_contiguous = self.masks == MASKS[0]
        scales = self.target_scale, self.context_scale
        return draw_masks(tokens, self.targets, *scales, is_contiguous, generator)


class Pretrainer:
    """A `JEPA` and its optimiser: a step of it, as `training.learner.Learner` has one. In one
    process; eager, on a GPU with products in bfloat16."""

    processes = ALONE

    def __init__(self, network: JEPA, study: Study, asked: Pretraining, jets: int) -> None:
        """`jets`: of an epoch, by which the momentum of the average rises."""
        self.network, self.study, self.asked = network, study, asked
        self.device = next(network.parameters()).device
        self.optimiser = optimiser_of(network, study)
        self._steps = study.training.epochs * -(-jets // study.training.batch_size)

    def step(self, batch: Batch, factor: float = 1.0) -> torch.Tensor:
        """Learn from one batch, the average follows; the mean loss (), detached."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            predicted = predict(self.network, self.asked, batch.inputs)
        loss = loss_of(predicted).mean()
        (factor * loss).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.network.follow(self.momentum())
        return loss.detach()

    def momentum(self) -> float:
        """Of the next step."""
        done = self.network.steps.item() / self._steps
        return self.asked.momentum + (1 - self.asked.momentum) * done


def predict(
    network: JEPA,
    asked: Pretraining,
    inputs: Mapping[str, torch.Tensor],
    generator: torch.Generator | None = None,
) -> Predicted:
    """The targets of a batch, with masks from a generator, or from PyTorch's own."""
    whole = network.target.tokens(**inputs)
    masks = asked.draw(whole, generator)
    return network(masks, tokens_beside(masks, whole, network.encoder, inputs), whole)


def tokens_beside(
    masks: Masks, whole: Tokens, encoder: Encoder, inputs: Mapping[str, torch.Tensor]
) -> Tokens:
    """The tokens of an encoder without the constituents of targets among the whole ones."""
    return encoder.tokens(**inputs, hidden=whole.constituents_of(masks.targets))


@torch.inference_mode()
def shares_of_context(
    encoder: Encoder,
    asked: Pretraining,
    inputs: Mapping[str, torch.Tensor],
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of a jet masks leave: the shares (b,) of the pT of its constituents that are in the
    context, and in no token."""
    whole, pt = encoder.tokens(**inputs), inputs["momenta"][..., 0]
    masks = asked.draw(whole, generator)
    tokens = tokens_beside(masks, whole, encoder, inputs)
    in_context = tokens.constituents_of(masks.context & tokens.exists)
    in_none = ~whole.constituents_of(whole.exists)
    of_context, of_none = ((pt * one).sum(dim=1) / pt.sum(dim=1) for one in (in_context, in_none))
    return of_context, of_none


@torch.inference_mode()
def monitor(learner: Pretrainer, samples: Sequence[Sample]) -> dict[str, Estimate]:
    """What tells whether the encoder has collapsed, of `WATCHED` validation jets.

    Returns:
        `loss`; `variance` of the normalised targets over tokens, the mean over channels: 1 where
        each token is another, 0 where all are the same; `rank`, the effective rank of the jets'
        mean tokens, at most the number of channels; `predicted_variance` of what is predicted.
        The error of the loss is that of the mean over jets; the others have none. Nothing where
        one is not finite.
    """
    network, inputs = learner.network.eval(), samples[1].inputs
    generator = torch.Generator(learner.device).manual_seed(MASK_SEED)
    rows = samples[1].rows
    rows = rows[:: -(-len(rows) // WATCHED)]  # of all files alike
    sizes = np.minimum(inputs.at_once, len(rows) - np.arange(0, len(rows), inputs.at_once))
    losses, found, wanted, means = [], [], [], []
    for _, given in inputs.batches(rows, sizes):
        predicted = predict(network, learner.asked, given, generator)
        losses.append(loss_of(predicted))
        found.append(predicted.found[predicted.exists])
        wanted.append(predicted.wanted[predicted.exists])
        tokens = network.target.tokens(**given)
        means.append(mean(network.target(tokens)[1], tokens.exists))
    of_jet, means = torch.cat(losses), torch.cat(means)
    if not (of_jet.isfinite().all() and means.isfinite().all()):
        return {}
    numbers = {
        "loss": Estimate(of_jet.mean().item(), of_jet.std().item() / len(of_jet) ** 0.5),
        "variance": Estimate(_variance(torch.cat(wanted)), 0.0),
        "predicted_variance": Estimate(_variance(torch.cat(found)), 0.0),
        "rank": Estimate(effective_rank(means), 0.0),
    }
    return numbers if all(np.isfinite(one.value) for one in numbers.values()) else {}


def _variance(tokens: torch.Tensor) -> float:
    return tokens.var(dim=0).mean().item()


def effective_rank(rows: torch.Tensor) -> float:
    """exp of the entropy of the shares of the singular values of rows (n, channels): 1 where all
    are the same (arXiv:2210.02885, eq. 1).

    >>> round(effective_rank(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    values = torch.linalg.svdvals(rows.double())
    shares = values / values.sum()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def unlabelled(found: Constituents, device: torch.device) -> JetConstituents:
    """Jets of which nothing is known but their constituents, as networks see them."""
    table = np.zeros(len(found), [("event", "i8"), ("label", "i8")])
    table["event"] = np.arange(len(found))
    return JetConstituents(found, np.zeros((len(found), len(OF_JETS))), table, device)


def options_of(study: Study) -> dict:
    """The options of JetViT that its encoder has, as a study states them.

    Raises:
        InputError: a bias of features of the whole jet, which pre-training does not see.
    """
    options = study.training.network_options.get(NETWORK, {})
    if options.get("jet_bias"):
        raise InputError(
            f"study {study.name}: training.network_options.{NETWORK}.jet_bias is true, but jets "
            "without labels have no features of the whole jet here; leave it out"
        )
    return {name: value for name, value in options.items() if name in OF_ENCODER}


def pretrain(
    directory: Path,
    inputs: Sequence[Inputs],
    study: Study,
    asked: Pretraining,
    seed: int,
    settings: dict,
    watch: Watch,
    report: Callable[[dict[str, float]], None],
) -> tuple[JEPA, list[dict[str, float]]]:
    """Pre-train the encoder of the study's JetViT, going on from what lies in the directory.

    Args:
        inputs: to train on, and for the monitors.
        settings: what decides it, see `training.loop.train`.

    Returns:
        The network, and its history with the columns of `monitor`.
    """
    torch.manual_seed(seed)
    device = inputs[0].device
    network = create_model(NETWORK, inputs[0].size, study.training.width, **options_of(study))
    network = JEPA(network.encoder).to(device)
    samples = [make_sample(one) for one in inputs]
    learner = Pretrainer(network, study, asked, len(samples[0]))
    history = train(learner, samples, seed, directory, settings, watch, report, monitor)
    last = checkpoint.checkpoint_path(directory, study.training.epochs - 1)
    checkpoint.load(last, network, settings)
    return network, history


def write_encoder(path: Path, network: JEPA, study: Study, **facts) -> None:
    """The target encoder as a file that JetViT's `init` takes."""
    known = {
        "network": NETWORK,
        "width": study.training.width,
        "network_options": json.dumps(options_of(study)),
        "study": study.name,
        "epochs": study.training.epochs,
        **facts,
    }
    with atomic_write(path) as temporary:
        save_encoder(temporary, network.target, {name: str(x) for name, x in known.items()})
