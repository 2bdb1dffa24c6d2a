"""Your own model and data. Start it after `roughfed join`: `python own_model.py`. Works offline."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn

from roughfed import Client


class Net(nn.Sequential):
    """BatchNorm first: nobody knows the mean over all hospitals beforehand, so it is learned like the weights."""

    def __init__(self):
        super().__init__(nn.BatchNorm1d(30), nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))


x, y = load_breast_cancer(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)

client = Client(model=Net, train=(train_x, train_y), test=(test_x, test_y))
client.run()
