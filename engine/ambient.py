"""How open each vertex of the average face is to its surroundings: rays are cast from skin and eyes; hair, teeth and
beards get a share by their depth."""

import numpy as np
import warp as wp
from numpy.typing import NDArray

from engine import beards
from engine.head import SKIN, TEETH, Head
from engine.kernels import pose

REACH = 0.12  # metres within which a surface shades another from the surroundings
RAYS = 128
HAIR_ROOT, HAIR_DEPTH = 0.35, 0.030  # at the skin; metres off it where hair is in the open
MOUTH = 0.12  # the average face keeps its mouth shut, so nothing can be measured there
TEETH_OPEN, TEETH_DEPTH = (0.8, 0.12), 0.034  # of the foremost tooth and so many metres behind it


def openness(head: Head, view: wp.array, normals: wp.array) -> NDArray[np.float32]:
    """The shares [V] in [0, 1], given points and normals [1, V] of the average face in view space."""
    shares = np.where(_is_cast(head), _cast(head, view, normals), _off_the_skin(head))
    shares[_teeth(head)] = _teeth_shares(head)
    numbers, of_beards = beards.openness(head)
    shares[numbers] = of_beards
    return shares.astype(np.float32)


def _is_cast(head: Head) -> NDArray[np.bool_]:
    """Whether rays are cast from each vertex [V]: those of the base and the eyes, which are the first."""
    return np.arange(head.n_vertices) < head.n_base + head.part["eyes"].n_vertices


def _cast(head: Head, view: wp.array, normals: wp.array) -> NDArray[np.float32]:
    """The share [V] of the rays that leave the base unhindered; 1 where none are cast."""
    base, eyes = head.part["base"], head.part["eyes"]
    indices = head.triangles[base.first_triangle : base.first_triangle + base.n_triangles].ravel()
    points = wp.array(view.numpy()[0, : head.n_base], dtype=wp.vec3, device=view.device)
    occluder = wp.Mesh(points=points, indices=wp.array(indices, dtype=int, device=view.device))
    share = wp.full(head.n_vertices, 1.0, dtype=float, device=view.device)
    directions = wp.array(_fibonacci_sphere(RAYS), dtype=wp.vec3, device=view.device)
    for first, count in ((0, head.n_base), (eyes.first_vertex, eyes.n_vertices)):
        arguments = [occluder.id, view[0], normals[0], first, directions, REACH, share]
        wp.launch(pose.occlude, dim=(count,), inputs=arguments, device=view.device)
    shares = np.array(share.numpy(), np.float32)
    shares[np.unique(head.triangles[(head.labels == TEETH) & (head.materials == SKIN)])] = MOUTH
    return shares


def _off_the_skin(head: Head) -> NDArray[np.float32]:
    """How open each vertex [V] is that lies off the skin: the outer locks shade those below them."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(head.template).query(head.bound_vertices)
    shares = HAIR_ROOT + (1.0 - HAIR_ROOT) * (np.asarray(distance) / HAIR_DEPTH).clip(0.0, 1.0)
    return np.concatenate([np.ones(head.n_base), shares]).astype(np.float32)


def _teeth(head: Head) -> slice:
    teeth = head.part["teeth"]
    return slice(teeth.first_vertex, teeth.first_vertex + teeth.n_vertices)


def _teeth_shares(head: Head) -> NDArray[np.float64]:
    """The less, the deeper a tooth lies behind the foremost."""
    depth = head.bound_vertices[_teeth(head).start - head.n_base :][: head.part["teeth"].n_vertices, 2]
    return np.interp(depth.max() - depth, (0.0, TEETH_DEPTH), TEETH_OPEN)


def _fibonacci_sphere(count: int) -> NDArray[np.float32]:
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    angle = np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)
