"""Skin colours that meet where the texture's islands do: the sources' halves of the neck, and neck and scalp, differ.

Both sides of a seam get the mean of their colours there. What that changes fades over the skin beside it: the solution
of a screened Poisson equation on the mesh, (L + s) x = 0 with x given on the seams.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from engine import atlas
from engine.exporters.geometry import welded
from engine.head import SKIN, TEETH, Head

FADING = 0.002  # s: the larger, the sooner a change fades away from a seam
INSIDE = 0.4  # how far from a corner to the middle of its triangle its colour is taken


def seamless(head: Head, colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The skin's picture [512, 512, 3], whose unused texels have been filled, without steps of colour at its seams."""
    outside = np.flatnonzero((head.materials == SKIN) & (head.labels != TEETH))
    column, row = (head.uvs[outside].mean(axis=1) * [1.0, -1.0] + [0.0, 1.0]).T * len(colour)
    # The insides of the sockets are red, as they should be.
    outside = outside[atlas.inside("head", "neck")[row.astype(int), column.astype(int)]]
    sources, uvs, triangles = welded(head.triangles[outside], head.uvs[outside])
    found = _beside(colour, uvs, triangles)
    change = _faded(_mean_of_same(sources, found) - found, sources, triangles)
    corners = atlas.rasterise(uvs[triangles], change[triangles])
    return (colour + np.nan_to_num(corners)).clip(0, 255).astype(np.uint8)


def _beside(colour: NDArray[np.uint8], uvs: NDArray[np.float32], triangles: NDArray[np.int64]) -> NDArray[np.float32]:
    """The colour at each point [P, 3], taken a bit inside the triangles around it: outside lie other islands."""
    corners = uvs[triangles]
    inside = INSIDE * corners.mean(axis=1, keepdims=True) + (1.0 - INSIDE) * corners
    column, row = ((inside * [1.0, -1.0] + [0.0, 1.0]) * len(colour) - 0.5).reshape(-1, 2).T
    channels = np.moveaxis(colour.astype(np.float32), 2, 0)
    found = [map_coordinates(channel, [row, column], order=1, mode="nearest") for channel in channels]
    return _means(triangles.ravel(), np.stack(found, axis=1))


def _mean_of_same(sources: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the values [P, 3] of all points that come from one vertex."""
    number = np.unique(sources, return_inverse=True)[1]
    return _means(number, values)[number]


def _means(number: NDArray[np.int64], values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The mean of the values [N, 3] of each number [N], which runs from 0 on."""
    count = np.bincount(number)
    sums = [np.bincount(number, column) for column in values.T]
    return (np.stack(sums, axis=1) / count[:, None]).astype(np.float32)


def _faded(given: NDArray[np.float32], sources: NDArray[np.int64], triangles: NDArray[np.int64]) -> NDArray[np.float32]:
    """What is given [P, 3] where several points come from one vertex, and fades from there to the others."""
    count = len(sources)
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    joined = scipy.sparse.coo_matrix((np.ones(len(sides)), sides.T), (count, count)).tocsr()
    joined = ((joined + joined.T) > 0).astype(np.float64)
    system = (scipy.sparse.diags(np.asarray(joined.sum(axis=1))[:, 0] + FADING) - joined).tocsc()
    _, number, times = np.unique(sources, return_inverse=True, return_counts=True)
    on_seam = times[number] > 1
    made = given.astype(np.float64)
    inside = ~on_seam
    right = -system[inside][:, on_seam] @ made[on_seam]
    made[inside] = scipy.sparse.linalg.splu(system[inside][:, inside]).solve(right)
    return made.astype(np.float32)
