"""Vertices: proxies on the base mesh, eyes turned, everything before the camera, with normals and shadows."""

# pyright: basic, reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportAssignmentType=false, reportOptionalMemberAccess=false, reportOptionalOperand=false

import warp as wp

from engine.kernels.common import OPTIONS, Triangle, drawn

wp.set_module_options(OPTIONS)


@wp.struct
class CameraBatch:
    """Per face [B]: where the head is and how the camera sees it."""

    rotation: wp.array(dtype=wp.mat33)  # head to view
    pivot: wp.vec3  # in the head's frame
    translation: wp.array(dtype=wp.vec3)  # of the pivot in view space
    focal: wp.array(dtype=float)  # image widths
    gaze: wp.array(dtype=wp.vec2)  # yaw and pitch of the eyes, radians
    side: float  # of the picture, in samples
    key_frame: wp.array(dtype=wp.mat33)  # view to the key light's frame: across, down, towards it
    key_centre: wp.array(dtype=wp.vec3)  # in view space
    key_scale: float  # texels of the shadow map a metre
    key_side: float  # of the shadow map, in texels


@wp.func
def place(
    camera: CameraBatch,
    face: int,
    point: int,
    at: wp.vec3,
    view: wp.array2d(dtype=wp.vec3),
    screen: wp.array2d(dtype=wp.vec3),
    cast: wp.array2d(dtype=wp.vec3),
):
    """Write a point in view space, in the picture, and in the shadow map (texels, and metres towards the light)."""
    view[face, point] = at
    inverse = 1.0 / wp.max(-at[2], 0.01)
    scale = camera.focal[face] * camera.side * inverse
    screen[face, point] = wp.vec3(0.5 * camera.side + at[0] * scale, 0.5 * camera.side - at[1] * scale, inverse)
    seen = camera.key_frame[face] * (at - camera.key_centre[face])
    half = 0.5 * camera.key_side
    cast[face, point] = wp.vec3(half + seen[0] * camera.key_scale, half + seen[1] * camera.key_scale, seen[2])


@wp.kernel
def pose(
    base: wp.array2d(dtype=wp.vec3),
    references: wp.array2d(dtype=int),
    weights: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.vec3),
    ranges: wp.array3d(dtype=int),
    eyes: wp.vec2i,
    eye_centres: wp.array2d(dtype=wp.vec3),
    camera: CameraBatch,
    view: wp.array2d(dtype=wp.vec3),
    screen: wp.array2d(dtype=wp.vec3),
    cast: wp.array2d(dtype=wp.vec3),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Place what is bound to the base mesh, turn the eyes about their centres [B, 2] (left, right), project into the
    picture and into the shadow map."""
    face, number = wp.tid()
    vertex = drawn(ranges, face, number)
    if vertex < 0:
        return
    n_base = base.shape[1]
    at = wp.vec3(0.0, 0.0, 0.0)
    if vertex < n_base:
        at = base[face, vertex]
    else:
        proxy = vertex - n_base
        weight = weights[proxy]
        at = (
            offsets[proxy]
            + weight[0] * base[face, references[proxy, 0]]
            + weight[1] * base[face, references[proxy, 1]]
            + weight[2] * base[face, references[proxy, 2]]
        )
        if vertex >= eyes[0] and vertex < eyes[1]:
            gaze = camera.gaze[face]
            turn = wp.quat_from_axis_angle(wp.vec3(0.0, 1.0, 0.0), gaze[0]) * wp.quat_from_axis_angle(
                wp.vec3(1.0, 0.0, 0.0), gaze[1]
            )
            centre = eye_centres[face, wp.where(at[0] > 0.0, 0, 1)]
            at = centre + wp.quat_rotate(turn, at - centre)
    at = camera.rotation[face] * (at - camera.pivot) + camera.translation[face]
    place(camera, face, vertex, at, view, screen, cast)
    normals[face, vertex] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel
def curve(
    ends: wp.array2d(dtype=int),
    ranges: wp.array3d(dtype=int),
    first: int,
    normals: wp.array2d(dtype=wp.vec3),
    camera: CameraBatch,
    view: wp.array2d(dtype=wp.vec3),
    screen: wp.array2d(dtype=wp.vec3),
    cast: wp.array2d(dtype=wp.vec3),
):
    """Place the middles of edges, points `first` and on, on curves that meet the normals at both ends
    (engine/rounding.py)."""
    face, number = wp.tid()
    edge = drawn(ranges, face, number)
    if edge < 0:
        return
    a, b = ends[edge, 0], ends[edge, 1]
    along = view[face, b] - view[face, a]
    leaving, arriving = wp.normalize(normals[face, a]), wp.normalize(normals[face, b])
    bend = wp.dot(along, arriving) * arriving - wp.dot(along, leaving) * leaving
    # A crease is no curve: the more the normals part, the straighter the edge.
    round = wp.max(wp.dot(leaving, arriving), 0.0)
    at = 0.5 * (view[face, a] + view[face, b]) + 0.125 * round * round * bend
    place(camera, face, first + edge, at, view, screen, cast)


@wp.kernel
def add_normals(
    view: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=Triangle),
    ranges: wp.array3d(dtype=int),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Add each triangle's area-weighted normal to its vertices."""
    face, number = wp.tid()
    t = drawn(ranges, face, number)
    if t < 0:
        return
    corner = triangles[t].corner
    a = view[face, corner[0]]
    normal = wp.cross(view[face, corner[1]] - a, view[face, corner[2]] - a)
    for k in range(3):
        wp.atomic_add(normals, face, corner[k], normal)


@wp.kernel
def occlude(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    first: int,
    directions: wp.array(dtype=wp.vec3),
    reach: float,
    open_share: wp.array(dtype=float),
):
    """Share of directions, weighted by their cosine, in which each point sees the open."""
    number = wp.tid() + first
    normal = wp.normalize(normals[number])
    start = points[number] + normal * 0.0006
    seen = float(0.0)
    total = float(0.0)
    for k in range(directions.shape[0]):
        weight = wp.max(wp.dot(directions[k], normal), 0.0)
        if weight > 0.0:
            total += weight
            query = wp.mesh_query_ray(mesh, start, directions[k], reach)
            if not query.result:
                seen += weight
    open_share[number] = wp.where(total > 0.0, seen / total, 1.0)
