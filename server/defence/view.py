"""What the defence is shown of a round: rows with names, their inner products, and a weighted sum where it can be had.

n rows (clients, or groups of them), e extra rows (the server's own: ROOT, PREVIOUS), D parameters, M sent codes.

A rule that works on norms, distances and angles needs the Gram matrix [n, n] alone, whether the rows are whole updates
or sketches of a few numbers. The full vectors are never in memory together: they are read from their files, one tile of
coordinates at a time. Rows are sorted by name before anything is added, so the order of arrival changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError
from roughfed.params import Flat
from roughfed.server.defence import passes
from roughfed.server.storage.slices import Fill
from roughfed.server.uploads.spool import opened

Gram = NDArray[np.float64]
Projection = Callable[[int, int], NDArray[np.float64]]
Rows = Literal["sketches", "updates", "groups"]


class View:
    """Rows with names, as far as the server may see them, and extra rows of the server's own.

    Attributes:
        cosine_error: standard error of a cosine of two rows; 0 where the rows are whole.
        rounding: squared length that rounding adds to a row, about, in the units of the Gram matrix; 0 likewise.
        longest: norm that clients cut their updates to, in the units of the Gram matrix; infinite where they do not.
        raw: squared norms of the rows as they came, where the Gram matrix has others.
    """

    cosine_error = 0.0
    rounding = 0.0
    longest = math.inf
    raw: NDArray[np.float64] | None = None

    def __init__(
        self,
        names: Sequence[str],
        rows: Rows,
        gram: Callable[[], Gram],
        weighted_sum: Callable[[Sequence[float]], Flat] | None = None,
        extras: Sequence[str] = (),
        projected: Projection | None = None,
    ) -> None:
        """Made by `view_of_claims`, `view_of_files` and `view_of_arrays`.

        Args:
            names: of the rows, sorted.
            rows: what a row is.
            gram: makes the inner products, float64 [n + e, n + e], the extra rows last; called once at most.
            weighted_sum: weights [n] -> float32 [D], where the full vectors are there.
            extras: names of the extra rows.
            projected: (dim, seed) -> float64 [n, dim], where the full vectors are there.
        """
        self.names, self.extras = tuple(names), tuple(extras)
        self.rows: Rows = rows
        self._make_gram, self._weighted_sum, self._projected = gram, weighted_sum, projected
        self._gram: Gram | None = None

    def __len__(self) -> int:
        return len(self.names)

    def gram(self) -> Gram:
        """Inner products of the rows, without the extra ones, computed at the first call.

        Returns:
            float64 [n, n], read-only, symmetric. Of sketches in units of C^2: the diagonal estimates the squared norms;
            of updates and groups in squared units of the parameters.

        Raises:
            StorageError: a file is gone or too short.
            LocalProtocolError: a row is not finite, which admission should have refused.
        """
        return self.whole_gram()[: len(self), : len(self)]

    def whole_gram(self) -> Gram:
        """The same with the extra rows after the others, float64 [n + e, n + e]."""
        if self._gram is None:
            gram = self._make_gram()
            if not np.isfinite(gram).all():
                names = (*self.names, *self.extras)
                odd = [name for name, at in zip(names, gram.diagonal(), strict=True) if not np.isfinite(at)]
                raise LocalProtocolError(f"not finite, although admitted: {', '.join(odd)}")
            gram.setflags(write=False)
            self._gram = gram
        return self._gram

    def raw_squares(self) -> NDArray[np.float64]:
        """Squared lengths of the rows and the extra ones, float64 [n + e], with the rounding that is in them.

        The diagonal of `whole_gram` is these without the rounding, and no less than it.
        """
        return self.whole_gram().diagonal() if self.raw is None else self.raw

    def against(self, extra: str) -> tuple[NDArray[np.float64], float]:
        """Inner products of every row with an extra one, float64 [n], and the squared norm of that one.

        Raises:
            LocalProtocolError: there is no such extra row.
        """
        if extra not in self.extras:
            raise LocalProtocolError(f"the view has no extra row {extra!r}")
        at = len(self) + self.extras.index(extra)
        gram = self.whole_gram()
        return gram[: len(self), at], float(gram[at, at])

    def weighted_sum(self, weights: Sequence[float]) -> Flat:
        """sum_i weights[i] * row_i over the rows, without the extra ones; a row of weight 0 is not read.

        Args:
            weights: n of them, in the order of `names`.

        Returns:
            float32 [D], accumulated in float64; infinite where float32 cannot hold it.

        Raises:
            LocalProtocolError: the view has no full vectors, or another number of weights.
            StorageError: a file is gone or too short.
        """
        if self._weighted_sum is None:
            raise LocalProtocolError(f"a view of {self.rows} has no weighted sum: its rows are not the updates")
        if len(weights) != len(self):
            raise LocalProtocolError(f"{len(weights)} weights for {len(self)} rows")
        return self._weighted_sum(weights)

    def projected(self, dim: int, *, seed: int) -> NDArray[np.float64]:
        """A few numbers of every row, without the extra ones: a linear map that keeps inner products, about.

        Coordinate d is added to number d mod dim, with a sign that follows from the seed: an inner product of two rows
        x, y is off by |x| |y| / sqrt(dim), about, and not to one side. The same seed gives the same map of any view.

        Args:
            dim: numbers of each row; best a prime, so that no layer's width falls together with it.
            seed: of the signs; secret, or a row could be made to vanish.

        Returns:
            float64 [n, dim].

        Raises:
            LocalProtocolError: the view has no full vectors.
            StorageError: a file is gone or too short.
        """
        if self._projected is None:
            raise LocalProtocolError(f"a view of {self.rows} cannot be projected: its rows are not the updates")
        return self._projected(dim, seed)

    def only(self, names: Collection[str]) -> View:
        """The same view without the rows that are not in `names`, with the extra ones; nothing is computed twice.

        Raises:
            LocalProtocolError: a name that has no row.
        """
        if unknown := set(names) - set(self.names):
            raise LocalProtocolError(f"no row of {', '.join(sorted(unknown))}")
        kept = [at for at, name in enumerate(self.names) if name in names]
        whole = [*kept, *range(len(self), len(self) + len(self.extras))]

        def spread(weights: Sequence[float]) -> Flat:
            full = np.zeros(len(self))
            full[kept] = weights
            return self.weighted_sum(full.tolist())

        part = View(
            [self.names[at] for at in kept],
            self.rows,
            lambda: self.whole_gram()[np.ix_(whole, whole)],
            None if self._weighted_sum is None else spread,
            self.extras,
            None if self._projected is None else lambda dim, seed: self.projected(dim, seed=seed)[kept],
        )
        part.cosine_error, part.rounding = self.cosine_error, self.rounding
        part.raw = None if self.raw is None else self.raw[whole]
        return part


NO_CLAIMS: Mapping[str, NDArray[np.float64]] = MappingProxyType({})
NO_PATHS: Mapping[str, Path] = MappingProxyType({})
NO_ARRAYS: Mapping[str, Flat] = MappingProxyType({})

ROUNDING = 1 / 6
"""Variance that stochastic rounding adds to a code, the mean of p (1 - p) over the fractions p of a level."""


def view_of_claims(
    claims: Mapping[str, NDArray[np.float64]],
    *,
    length: int,
    norm_unit: float,
    rounding: float = 0.0,
    longest: float = math.inf,
    extras: Mapping[str, NDArray[np.float64]] = NO_CLAIMS,
) -> View:
    """A view of what the clients' sketches claim, all of one seed, `dim` and bucket sizes.

    Args:
        claims: by client, float64 [dim] (`Sketcher.claim`); not changed.
        length: number of sent codes, M: squared length of a claim times M / dim estimates that of the codes.
        norm_unit: norm of the centred codes of an update of norm C (`Terms.norm_unit`).
        rounding: variance of a code that is rounding alone (`ROUNDING`). It is in every squared norm and in no inner
            product of two rows, so it is taken off the diagonal: two equal updates are then at distance 0, about. But
            no row counts as shorter than its rounding, of which it may then have less: with what is left of it for a
            length, rows that only share a direction would pass for copies.
        longest: norm that clients cut their updates to, in units of C.
        extras: claims of the extra rows, likewise.

    Returns:
        a view of sketches; an entry of its Gram matrix is off by about |a| |b| sqrt(2 / dim) at most.

    Raises:
        LocalProtocolError: claims of different lengths, or a unit or length that is not positive.
    """
    names, more = sorted(claims), sorted(extras)
    rows = [*(claims[name] for name in names), *(extras[name] for name in more)]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1 or any(len(shape) != 1 or shape == (0,) for shape in shapes):
        raise LocalProtocolError(f"claims of shapes {sorted(shapes)} cannot be compared")
    if length < 1 or not norm_unit > 0:
        raise LocalProtocolError(f"{length} codes with a unit of {norm_unit}")
    if not rows:
        return View((), "sketches", lambda: np.zeros((0, 0)))
    matrix = np.stack(rows).astype(np.float64, copy=False)  # [n + e, dim], a copy
    matrix *= (length / matrix.shape[1]) ** 0.5 / norm_unit
    noise = rounding * length / norm_unit**2

    def gram() -> Gram:
        found = matrix @ matrix.T
        np.fill_diagonal(found, np.maximum(found.diagonal() - noise, noise))
        return found

    view = View(names, "sketches", gram, extras=more)
    view.longest = longest
    view.cosine_error, view.rounding = matrix.shape[1] ** -0.5, noise
    view.raw = np.einsum("nd,nd->n", matrix, matrix)
    return view


def view_of_files(
    paths: Mapping[str, Path],
    *,
    size: int,
    codec: str = "identity",
    rows: Rows = "updates",
    extras: Mapping[str, Path] = NO_PATHS,
) -> View:
    """A view of full updates, or of means of groups, that lie in files; they are opened when something is computed.

    Args:
        paths: payload file by client; with "identity" bare little-endian float32 [D]. Each was checked when it arrived.
        size: D.
        codec: which row of CODECS the payloads are of.
        rows: what a row is.
        extras: files of the extra rows, bare float32 [D] whatever the codec.

    Returns:
        a view with a weighted sum.
    """
    names, more = sorted(paths), sorted(extras)

    def gram() -> Gram:
        with (
            _opened([paths[name] for name in names], codec, size) as theirs,
            _opened([extras[name] for name in more], "identity", size) as own,
        ):
            return passes.inner_products([*theirs, *own], size)

    def weighted_sum(weights: Sequence[float]) -> Flat:
        used = {name: weight for name, weight in zip(names, weights, strict=True) if weight}
        with _opened([paths[name] for name in used], codec, size) as theirs:
            return passes.sum_of_rows(theirs, list(used.values()), size)

    def projected(dim: int, seed: int) -> NDArray[np.float64]:
        with _opened([paths[name] for name in names], codec, size) as theirs:
            return passes.projected(theirs, size, dim, seed)

    return View(names, rows, gram, weighted_sum, more, projected)


def view_of_arrays(rows: Mapping[str, Flat], *, kind: Rows = "groups", extras: Mapping[str, Flat] = NO_ARRAYS) -> View:
    """A view of rows that are in memory, float32 [D] each: the means of groups, or a bench's updates.

    Raises:
        LocalProtocolError: rows of different lengths.
    """
    names, more = sorted(rows), sorted(extras)
    vectors = [*(rows[name] for name in names), *(extras[name] for name in more)]
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise LocalProtocolError(f"rows of {sorted(sizes)} parameters cannot be compared")
    size = sizes.pop() if sizes else 0

    def weighted_sum(weights: Sequence[float]) -> Flat:
        used = [(v, w) for v, w in zip(vectors, weights, strict=False) if w]  # the extra rows have no weight
        return passes.sum_of_rows([reader(v) for v, _ in used], [w for _, w in used], size)

    def projected(dim: int, seed: int) -> NDArray[np.float64]:
        return passes.projected([reader(v) for v in vectors[: len(names)]], size, dim, seed)

    return View(
        names, kind, lambda: passes.inner_products([reader(v) for v in vectors], size), weighted_sum, more, projected
    )


def reader(vector: Flat) -> Fill:
    """A vector in memory, float32 [D], as something to read pieces from."""

    def fill(start: int, into: Flat) -> None:
        into[:] = vector[start : start + len(into)]

    return fill


@contextmanager
def _opened(paths: Sequence[Path], codec: str, size: int) -> Generator[list[Fill]]:
    """The payloads as something to read pieces from, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(path, codec=codec, size=size)) for path in paths]
