"""Your own training loop: mixup on scikit-learn's digits. Everything but the loop stays. Works offline."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from roughfed import Client


def model() -> nn.Module:
    """A small convolutional net for 8 by 8 images."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


def digits(*, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every fifth image is held out; pixels are scaled to 0..1."""
    x, y = load_digits(return_X_y=True)
    where = (np.arange(len(y)) % 5 == 0) == held_out
    return x[where] / 16, y[where]


# Functions: the data are loaded in the trainer process, when they are needed.
client = Client(model=model, train=lambda: digits(held_out=False), test=lambda: digits(held_out=True))


@client.fit
def mixup(net, loader, round):
    """One round: the net holds the global weights, each pass over the loader is one shuffled epoch on the device."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), round.lr, momentum=round.momentum, weight_decay=round.weight_decay)
    mix = torch.distributions.Beta(0.2, 0.2)
    total, steps = 0.0, 0
    for _ in range(round.epochs):
        for x, y in loader:
            share = float(mix.sample())  # torch is seeded for you, from round.seed
            other = torch.randperm(len(x), device=x.device)
            output = net(share * x + (1 - share) * x[other])
            loss = share * functional.cross_entropy(output, y) + (1 - share) * functional.cross_entropy(
                output, y[other]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, steps = total + loss.item(), steps + 1
    return {"loss": total / max(1, steps)}


client.run()
