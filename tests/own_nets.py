"""Ordinary networks as users write them."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Digit(nn.Module):
    """The digit CNN of the paper, without a thought of lanes."""

    def __init__(self, width, input_shape, classes):
        super().__init__()
        c1, c2, c3, h1, h2 = (math.ceil(width * full - 1e-9) for full in (64, 64, 128, 2048, 512))
        channels, height, breadth = input_shape
        self.conv1, self.bn1 = nn.Conv2d(channels, c1, 5, padding="same"), nn.BatchNorm2d(c1)
        self.conv2, self.bn2 = nn.Conv2d(c1, c2, 5, padding=2), nn.BatchNorm2d(c2)
        self.conv3, self.bn3 = nn.Conv2d(c2, c3, 5, padding=2), nn.BatchNorm2d(c3)
        self.fc1, self.bn4 = nn.Linear(c3 * (height // 4) * (breadth // 4), h1), nn.BatchNorm1d(h1)
        self.fc2, self.bn5 = nn.Linear(h1, h2), nn.BatchNorm1d(h2)
        self.fc3 = nn.Linear(h2, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        x = x.view(x.size(0), -1)
        x = F.relu(self.bn4(self.fc1(x)))
        return self.fc3(F.relu(self.bn5(self.fc2(x))))


class Mixed(nn.Module):
    """Every other kind that is packed: groups, shortcuts, squeeze-and-excitation, concatenation, scores."""

    def __init__(self, width, input_shape, classes):
        super().__init__()
        c, (channels, height, breadth) = 4 * math.ceil(width * 4), input_shape
        self.mean = nn.InstanceNorm2d(channels, affine=True)
        self.stem = nn.Conv2d(channels, c, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False)
        self.depthwise = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.grouped = nn.Conv2d(c, c, 1, groups=2)
        self.group_norm = nn.GroupNorm(2, c)
        self.layer_norm = nn.LayerNorm([c, (height + 1) // 2, breadth])
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, c), nn.Sigmoid())
        self.head = nn.Sequential(nn.LayerNorm(2 * c), nn.GELU(), nn.Linear(2 * c, classes, bias=False))

    def forward(self, x):
        x = self.stem(self.mean(x))
        out = F.relu(self.group_norm(self.depthwise(x)))
        out = self.layer_norm(self.grouped(out)) * self.squeeze(out).view(x.shape[0], -1, 1, 1)
        out = (out + x).mean((2, 3))
        return F.log_softmax(self.head(torch.cat([out, out * 2 - 1], dim=1)), dim=1)


class Patches(nn.Module):
    """What is not packed: tokens and a parameter of the network's own."""

    def __init__(self, width, input_shape, classes):
        super().__init__()
        d = 4 * math.ceil(width * 4)
        self.embed = nn.Conv2d(input_shape[0], d, 4, 4)
        self.place = nn.Parameter(torch.randn(1, d))
        self.mlp, self.norm = nn.Linear(d, d), nn.LayerNorm(d)
        self.head = nn.Linear(d, classes)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(tokens + self.mlp(tokens)).mean(1))


class Branching(Digit):
    """A forward pass that Python decides on, which only one lane at a time can follow."""

    def forward(self, x):
        return super().forward(x if float(x.detach().sum()) > 0 else -x)


def dropping(width, input_shape, classes):
    hidden = math.ceil(16 * width)
    layers = nn.Linear(math.prod(input_shape), hidden), nn.Linear(hidden, classes)
    return nn.Sequential(nn.Dropout(0.5), nn.Flatten(), *layers)
