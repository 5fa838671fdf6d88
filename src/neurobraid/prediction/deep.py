"""Small neural networks (extra ``[deep]``, PyTorch) as members beside the linear models: same folds, same audit.

They are comparators, never the default. Linear models match deep ones on brain images of up to 10,000 people (Schulz et
al. 2020, Nat Commun 11:4238), and convolutional networks that seemed better often had seen the people tested (Wen et al.
2020, Med Image Anal 63:101694). The architectures are fixed; only the weight decay is tuned.
"""

import contextlib
import hashlib
import os

import numpy as np
from sklearn.base import BaseEstimator

from neurobraid.errors import InputError
from neurobraid.prediction.declared import INPUT

#: Default weight decays of each member; for the autoencoder the ridge penalties of its linear head.
DEEP_GRIDS = {
    "conv3d": (1e-2,),
    "conv1d": (1e-2,),
    "lstm": (1e-2,),
    "mlp-dropout": (1e-2,),
    "autoencoder": (100.0, 10.0, 1.0, 0.1, 0.01),
}
INSTALL = "pip install 'neurobraid[deep]', or pip install torch==2.13.0, into the environment of the workflow"


def require_torch(member="conv3d"):
    """PyTorch, or a message that says how to get it.

    Parameters
    ----------
    member : str
        Estimator that needs it, for the message.

    Returns
    -------
    module

    Raises
    ------
    InputError
        PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "config: prediction.models", "estimator", f"{member}, but PyTorch is not installed",
            f"{member} with the extra [deep]; every other estimator without it", INSTALL,
        ) from None  # fmt: skip
    return torch


@contextlib.contextmanager
def _repeatable(torch, seed, threads):
    """Fixed seed, threads and algorithms inside; whatever was set before stays outside."""
    # what cuBLAS asks for before it sums in a fixed order; without a GPU nobody reads it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.set_num_threads(before[1])


# ------------------------------------------------------------------ architectures


def _halve(x, dims):
    """Mean of pairs of voxels along the last `dims` axes; an odd last voxel stays as it is.

    Means, because the maximum of noisy voxels is noise; and no pooling layer, because its backward pass is not
    deterministic on a GPU.
    """
    import torch

    for axis in range(-dims, 0):
        if x.shape[axis] % 2 and x.shape[axis] > 1:
            x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], axis)
        if x.shape[axis] > 1:
            x = x.unflatten(axis, (-1, 2)).mean(axis)
    return x


def _conv3d(torch):
    nn = torch.nn

    class Conv3D(nn.Module):
        """Four blocks of convolution, norm, ReLU and halving; average over what is left; one linear unit."""

        def __init__(self, channels=(8, 16, 32, 64)):
            super().__init__()
            sizes = (1, *channels)
            self.convolutions = nn.ModuleList(
                nn.Conv3d(a, b, 3, padding=1) for a, b in zip(sizes, channels, strict=False)
            )
            self.norms = nn.ModuleList(nn.InstanceNorm3d(b, affine=True) for b in channels)
            self.hidden = nn.Linear(channels[-1], 32)
            self.last = nn.Linear(32, 1)

        def forward(self, x, mask):
            x = x[:, None]
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                x = convolution(x)
                # a map of one voxel has no spread to divide by
                x = norm(x) if x[0, 0].numel() > 1 else x
                x = _halve(torch.relu(x), 3)
            return self.last(torch.relu(self.hidden(x.mean((2, 3, 4)))))[:, 0]

    return Conv3D()


def _masked_mean(x, mask):
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _conv1d(torch, regions):
    nn = torch.nn

    class Conv1D(nn.Module):
        """Regions mixed, two convolutions over time, mean over the volumes there are."""

        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(regions, 32)
            self.first = nn.Conv1d(32, 32, 5, padding=2)
            self.second = nn.Conv1d(32, 64, 5, padding=2)
            self.last = nn.Linear(64, 1)
            self.drop = nn.Dropout(0.3)

        def forward(self, x, mask):
            x = self.mix(x) * mask[..., None]
            for convolution in (self.first, self.second):
                # padded volumes are put back to zero, so that they cannot reach a real one
                x = torch.relu(convolution(x.transpose(1, 2))).transpose(1, 2) * mask[..., None]
            return self.last(self.drop(_masked_mean(x, mask)))[:, 0]

    return Conv1D()


def _lstm(torch, regions):
    nn = torch.nn

    class Recurrent(nn.Module):
        """LSTM of 32 units forward in time, mean of its states over the volumes there are."""

        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(regions, 32, batch_first=True)
            self.last = nn.Linear(32, 1)
            self.drop = nn.Dropout(0.3)

        def forward(self, x, mask):
            # padding comes after the last volume: it cannot change a state that is used
            return self.last(self.drop(_masked_mean(self.lstm(x)[0], mask)))[:, 0]

    return Recurrent()


def _mlp(torch, sizes, dropout):
    nn = torch.nn

    class Perceptron(nn.Module):
        """One hidden layer per modality, their mean over those there are, one hidden layer more."""

        def __init__(self):
            super().__init__()
            self.modalities = nn.ModuleList(nn.Linear(size, 32) for size in sizes)
            self.hidden = nn.Linear(32, 16)
            self.last = nn.Linear(16, 1)
            self.drop = nn.Dropout(0.3)

        def forward(self, x, mask):
            if self.training and len(sizes) > 1:
                # a modality taken away at random, but never a person's last one
                kept = mask * (torch.rand(mask.shape) >= dropout).to(mask)
                mask = torch.where(kept.sum(1, keepdim=True) > 0, kept, mask)
            parts = torch.split(x, list(sizes), dim=1)
            states = torch.stack(
                [torch.relu(m(p)) for m, p in zip(self.modalities, parts, strict=True)], dim=1
            )
            return self.last(self.drop(torch.relu(self.hidden(self.drop(_masked_mean(states, mask))))))[:, 0]

    return Perceptron()


def _autoencoder(torch, features, codes):
    nn = torch.nn

    class Autoencoder(nn.Module):
        """Features through a few codes and back."""

        def __init__(self):
            super().__init__()
            self.encode = nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, codes))
            self.decode = nn.Sequential(nn.Tanh(), nn.Linear(codes, 32), nn.Tanh(), nn.Linear(32, features))

        def forward(self, x, mask):
            return self.decode(self.encode(x))

    return Autoencoder()


# ------------------------------------------------------------------ the estimator


def held_out(y, groups, kind, seed):
    """Rows on which training stops early: about a fifth, whole groups, of every class.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
    groups : numpy.ndarray, (people,)
        Rows of one group are on one side.
    kind : {'classification', 'regression'}
    seed : int

    Returns
    -------
    numpy.ndarray of bool, (people,)
        All False when there are too few groups to hold any out.
    """
    from neurobraid.prediction.folds import _possible, _split, strata

    groups = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    codes = strata(y, kind, folds=5)
    count = _possible((y > 0).astype(int) if kind == "classification" else np.zeros(y.size, int), groups, 5)
    if count < 2:
        return np.zeros(y.size, dtype=bool)
    out = _split(codes, groups, count, seed) == 0
    rest = y[~out] > 0
    usable = kind == "regression" or (rest.any() and not rest.all() and np.ptp(y[out]) > 0)
    return out if usable else np.zeros(y.size, dtype=bool)


class DeepPath(BaseEstimator):
    """A network fitted once per value of its regularisation, with the interface of the linear members.

    Parameters
    ----------
    network : {'conv3d', 'conv1d', 'lstm', 'mlp-dropout', 'autoencoder'}
    kind : {'classification', 'regression'}
    grid : tuple of float
        Weight decays (AdamW; Loshchilov & Hutter 2019); ridge penalties of the linear head for the autoencoder.
    shape : tuple of int, optional
        Shape of one person's features: (x, y, z) of maps, (volumes, regions) of series. In the rows they lie flat, last
        axis fastest. Volumes that are NaN in every region are padding; a region that is NaN throughout counts as zero.
    modalities : tuple of int, optional
        Columns of every modality of ``mlp-dropout``, in order; default one. A modality that is NaN throughout is missing.
    modality_dropout : float
        Probability with which a person's modality is hidden during training.
    codes : int
        Of the autoencoder.
    epochs, patience, batch : int
        Most passes over the people; passes without a better loss on the rows held out; people per step.
    learning_rate : float
    seed : int
    device : str
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``: nothing else changes.
    threads : int
        Threads of PyTorch; sums depend on it in the last digit, so it is fixed.

    Attributes
    ----------
    weights_ : list of list of numpy.ndarray
        One list per value of the grid.
    epochs_ : list of int
        Epoch whose weights were kept.
    digest_ : str
        SHA-256 of the weights.
    n_samples_seen_ : int
    """

    #: `TunedModel` hands over the inner folds as groups.
    needs_groups = True

    def __init__(
        self, network="conv3d", kind="classification", grid=DEEP_GRIDS["conv3d"], shape=None, modalities=None,
        modality_dropout=0.3, codes=8, epochs=60, patience=15, batch=16, learning_rate=3e-3, seed=0, device="cpu",
        threads=1,
    ):  # fmt: skip
        self.network = network
        self.kind = kind
        self.grid = grid
        self.shape = shape
        self.modalities = modalities
        self.modality_dropout = modality_dropout
        self.codes = codes
        self.epochs = epochs
        self.patience = patience
        self.batch = batch
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.threads = threads

    # --- arrays

    def _shaped(self, X):
        """Array and mask as the network reads them, float32."""
        X = np.asarray(X, dtype=np.float64)
        reads = INPUT[self.network]
        if reads == "table":
            sizes = self._sizes(X)
            mask = np.stack(
                [np.isfinite(part).any(axis=1) for part in np.split(X, np.cumsum(sizes)[:-1], axis=1)], axis=1
            )
            return np.nan_to_num((X - self.center_) / self.scale_), mask.astype(np.float64)
        if self.shape is None or np.prod(self.shape) != X.shape[1]:
            raise ValueError(
                f"{X.shape[1]} columns do not have the shape {self.shape} of one person's {reads}"
            )
        X = X.reshape(len(X), *self.shape)
        if reads == "maps":
            return np.nan_to_num((X - self.center_) / self.scale_), np.ones((len(X), 1))
        return _standard_series(X)

    def _sizes(self, X):
        return tuple(self.modalities) if self.modalities else (X.shape[1],)

    def _measure(self, X):
        """Centre and spread of the training people: of all voxels of maps together, of every column of a table."""
        reads = INPUT[self.network]
        with np.errstate(invalid="ignore"):
            if reads == "table":
                known = np.isfinite(X)
                filled = np.where(known, X, np.nan)
                filled[:, ~known.any(axis=0)] = 0.0
                center, scale = np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)
            else:
                center, scale = np.nanmean(X), np.nanstd(X) if reads == "maps" else 1.0
        self.center_, self.scale_ = center, np.where(scale > 1e-12, scale, 1.0)

    def _network(self, torch, X):
        if self.network == "conv3d":
            return _conv3d(torch)
        if self.network == "conv1d":
            return _conv1d(torch, self.shape[-1])
        if self.network == "lstm":
            return _lstm(torch, self.shape[-1])
        if self.network == "mlp-dropout":
            return _mlp(torch, self._sizes(X), self.modality_dropout)
        return _autoencoder(torch, X.shape[1], self.codes)

    # --- training

    def fit(self, X, y, groups=None):
        """Train one network per value of the grid.

        Parameters
        ----------
        X : numpy.ndarray, (people, features)
        y : numpy.ndarray, (people,)
            Classes as -1 and 1, or numbers.
        groups : numpy.ndarray, (people,), optional
            Rows of one group are never on both sides of the split by which training stops. Default: every row its own.
        """
        torch = require_torch(self.network)
        if self.network not in INPUT:
            raise ValueError(f"network {self.network}; one of {', '.join(INPUT)}")
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        groups = np.arange(y.size) if groups is None else groups
        self.n_samples_seen_ = len(X)
        self.constant_ = float(y.mean())
        self.target_ = (y.mean(), y.std() or 1.0) if self.kind == "regression" else (0.0, 1.0)
        self.weights_, self.epochs_ = [], []
        self.usable_ = bool(X.shape[1] and np.ptp(y) > 0)
        if not self.usable_:
            return self
        self._measure(X)
        self.columns_ = X.shape[1]
        values, mask = self._shaped(X)
        out = held_out(y, groups, self.kind, self.seed)
        decays = self.grid if self.network != "autoencoder" else (1e-4,)
        with _repeatable(torch, self.seed, self.threads):
            for decay in decays:
                torch.manual_seed(self.seed)
                weights, epoch = self._train(torch, values, mask, y, out, decay)
                self.weights_.append(weights)
                self.epochs_.append(epoch)
        digest = hashlib.sha256()
        for array in (a for one in self.weights_ for a in one):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.digest_ = digest.hexdigest()
        if self.network == "autoencoder":
            from neurobraid.prediction.estimators import RidgePath

            codes = self._run(X)[0]
            self.codes_ = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1e-9)
            self.head_ = RidgePath(self.grid, self.kind).fit((codes - self.codes_[0]) / self.codes_[1], y)
        return self

    def _loss(self, torch, y):
        if self.network == "autoencoder":
            return lambda found, target: torch.mean((found - target) ** 2)
        if self.kind == "regression":
            return lambda found, target: torch.mean((found - target[:, 0]) ** 2)
        positive = float(np.mean(y > 0))
        weights = 0.5 / (1 - positive), 0.5 / positive

        def classes(found, target):
            side = (target[:, 0] > 0).to(found)
            weight = weights[0] + (weights[1] - weights[0]) * side
            return torch.nn.functional.binary_cross_entropy_with_logits(found, side, weight=weight)

        return classes

    def _train(self, torch, values, mask, y, out, decay):
        """Weights of the best epoch, and its number."""
        device = torch.device(self.device)
        network = self._network(torch, values).to(device)
        target = (
            values if self.network == "autoencoder" else ((y - self.target_[0]) / self.target_[1])[:, None]
        )
        x, m, t = (
            torch.as_tensor(np.ascontiguousarray(a), dtype=torch.float32).to(device)
            for a in (values, mask, target)
        )
        rows, held = np.flatnonzero(~out), np.flatnonzero(out)
        loss = self._loss(torch, y[rows])
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=decay)
        order = np.random.default_rng(self.seed)
        best, kept, since = np.inf, None, 0
        # without rows to hold out nothing says when to stop: a third of the passes
        for epoch in range(1, (self.epochs if held.size else max(self.epochs // 3, 1)) + 1):
            network.train()
            mixed = order.permutation(rows)
            for start in range(0, mixed.size, self.batch):
                some = torch.as_tensor(mixed[start : start + self.batch], device=device)
                optimiser.zero_grad()
                loss(network(x[some], m[some]), t[some]).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            if not held.size:
                continue
            network.eval()
            with torch.no_grad():
                now = float(loss(network(x[held], m[held]), t[held]))
            if now < best - 1e-6:
                best, since = now, 0
                kept = [p.detach().cpu().numpy().copy() for p in network.state_dict().values()], epoch
            else:
                since += 1
                if since >= self.patience:
                    break
        if kept is None:
            kept = [p.detach().cpu().numpy().copy() for p in network.state_dict().values()], epoch
        return kept

    # --- use

    def _run(self, X):
        """Output of every network, list of arrays (people,) or of codes (people, codes)."""
        torch = require_torch(self.network)
        values, mask = self._shaped(X)
        found = []
        with _repeatable(torch, self.seed, self.threads):
            for weights in self.weights_:
                network = self._network(torch, values)
                state = dict(zip(network.state_dict(), map(torch.as_tensor, weights), strict=True))
                network.load_state_dict(state)
                network.to(self.device).eval()
                forward = network.encode if self.network == "autoencoder" else network
                parts = []
                with torch.no_grad():
                    for start in range(0, len(values), 64):
                        rows = slice(start, start + 64)
                        x, m = (
                            torch.as_tensor(np.ascontiguousarray(a[rows]), dtype=torch.float32).to(
                                self.device
                            )
                            for a in (values, mask)
                        )
                        part = forward(x) if self.network == "autoencoder" else forward(x, m)
                        parts.append(part.cpu().numpy().astype(np.float64))
                found.append(np.concatenate(parts))
        return found

    def scores(self, X):
        """Scores, (people, grid): log odds, or the predicted value."""
        if not self.usable_:
            return np.full((len(X), len(self.grid)), self.constant_)
        if X.shape[1] != self.columns_:
            raise ValueError(f"{X.shape[1]} columns; the network was fitted on {self.columns_}")
        if not len(X):
            return np.empty((0, len(self.grid)))
        if self.network == "autoencoder":
            return self.head_.scores((self._run(X)[0] - self.codes_[0]) / self.codes_[1])
        return np.stack(self._run(X), axis=1) * self.target_[1] + self.target_[0]

    def predict_proba(self, X):
        """Probabilities of the two classes by the first value of the grid, (people, 2); not calibrated."""
        if self.kind != "classification":
            raise ValueError("probabilities belong to a classification")
        second = 1 / (1 + np.exp(-self.scores(X)[:, 0]))
        return np.stack([1 - second, second], axis=1)


def _standard_series(X):
    """Series of every person with mean 0 and SD 1 per region, volumes there are first; their mask.

    Parameters
    ----------
    X : numpy.ndarray, (people, volumes, regions)
        NaN throughout a volume: padding or censored. NaN elsewhere counts as the region's mean.

    Returns
    -------
    values : numpy.ndarray, (people, volumes, regions)
    mask : numpy.ndarray, (people, volumes)
    """
    there = np.isfinite(X).any(axis=2)
    values, mask = np.zeros(X.shape), np.zeros(there.shape)
    for number, (one, rows) in enumerate(zip(X, there, strict=True)):
        kept = one[rows]
        if not len(kept):
            continue
        known = np.isfinite(kept)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, kept, 0).sum(axis=0) / count
        centred = np.where(known, kept - mean, 0.0)
        spread = np.sqrt((centred**2).sum(axis=0) / count)
        values[number, : len(kept)] = centred / np.where(spread > 1e-12, spread, 1.0)
        mask[number, : len(kept)] = 1.0
    return values, mask


# ------------------------------------------------------------------ explanation


def occlusion(score, X, y, shape, *, size=4, step=None):
    """How much of the right answer hangs on every part of a map.

    A cube is set to the mean of these people, which hides it from the model (Zeiler & Fergus 2014).

    Parameters
    ----------
    score : callable
        ``score(X)`` gives (people,) of a fitted model.
    X : numpy.ndarray, (people, voxels)
        People who were not trained on.
    y : numpy.ndarray, (people,)
        -1 and 1, or numbers.
    shape : tuple of int
    size, step : int
        Edge of the cube and its stride, voxels; default stride half the edge.

    Returns
    -------
    numpy.ndarray, shape
        Mean loss of ``score * y`` (y centred and of SD 1) over the cubes that hold the voxel, in SD of the scores.
    """
    step = step or max(size // 2, 1)
    target = (y - y.mean()) / (y.std() or 1.0)
    before = score(X)
    spread = before.std() or 1.0
    middle = np.nanmean(X, axis=0)
    total, count = np.zeros(shape), np.zeros(shape)
    for corner in np.ndindex(*(max(-(-(s - size) // step), 0) + 1 for s in shape)):
        place = tuple(slice(c * step, c * step + size) for c in corner)
        cube = np.zeros(shape, dtype=bool)
        cube[place] = True
        hidden = X.copy()
        hidden[:, cube.ravel()] = middle[cube.ravel()]
        lost = float(np.mean((before - score(hidden)) * target)) / spread
        total[place] += lost
        count[place] += 1
    return total / np.maximum(count, 1)


def explain(estimator, X, y, splits, shape, *, groups=None, nulls=10, seed=0, size=4, step=None):
    """Occlusion map averaged over folds, against maps of models that were trained on shuffled labels.

    Parameters
    ----------
    estimator : DeepPath
        Cloned and fitted on every training part; any estimator with ``fit`` and ``scores`` will do.
    X : numpy.ndarray, (people, voxels)
    y : numpy.ndarray, (people,)
    splits : sequence of tuple of numpy.ndarray of int
        Train and test rows of every fold.
    shape : tuple of int
    groups : numpy.ndarray, (people,), optional
        Labels are shuffled between groups where every group has one row; else with rows.
    nulls : int
        Runs with shuffled labels.
    seed, size, step
        See `occlusion`.

    Returns
    -------
    dict
        ``map`` and ``z`` (shape): the mean map, and it in SD of the null maps' voxels around their mean; ``p_fwe`` (shape):
        share of null maps whose maximum reaches the voxel, ``(1 + b) / (1 + nulls)``.
    """
    from sklearn.base import clone

    groups = np.arange(y.size) if groups is None else np.asarray(groups)

    def run(target):
        maps = []
        for train, test in splits:
            fitted = clone(estimator)
            extra = {"groups": groups[train]} if getattr(estimator, "needs_groups", False) else {}
            fitted.fit(X[train], target[train], **extra)
            maps.append(
                occlusion(
                    lambda a, f=fitted: f.scores(a)[:, 0], X[test], target[test], shape, size=size, step=step
                )
            )
        return np.mean(maps, axis=0)

    rng = np.random.default_rng(seed)
    found = run(y)
    null = np.array([run(rng.permutation(y)) for _ in range(nulls)])
    spread = null.std() if nulls else np.nan
    top = np.sort(null.reshape(nulls, -1).max(axis=1)) if nulls else np.empty(0)
    beaten = nulls - np.searchsorted(top, found - 1e-12)
    return {
        "map": found,
        "z": (found - (null.mean() if nulls else 0.0)) / (spread or 1.0),
        "p_fwe": (1 + beaten) / (1 + nulls),
    }
