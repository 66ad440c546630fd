import cv2
import numpy as np
import pytest

from models import alignment
from models.alignment import IBUG_68, MIRROR_68, FaceLandmarker, NoFace
from models.images import decode_photo
from models.reference import REFERENCE, apply, fit_similarity, five_points
from tests.models.support import LANDMARKER, PHOTOS


@pytest.fixture(scope="module")
def landmarker():
    with FaceLandmarker(LANDMARKER) as task:
        yield task


def _transform(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def test_the_similarity_that_moved_the_points_is_recovered() -> None:
    truth = _transform(0.4, 2.5, (30.0, -12.0))
    assert np.allclose(fit_similarity(REFERENCE, apply(truth, REFERENCE)), truth)


def test_the_similarity_never_mirrors_or_squeezes() -> None:
    squeezed = REFERENCE * (0.5, 1.0)
    matrix = fit_similarity(squeezed, REFERENCE)
    assert np.isclose(matrix[0, 0], matrix[1, 1]) and np.isclose(matrix[0, 1], -matrix[1, 0])


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.zeros((68, 2)), REFERENCE)


def test_tables_have_68_points_and_mirror_back() -> None:
    assert len(set(IBUG_68.tolist())) == 68
    assert np.array_equal(MIRROR_68[MIRROR_68], np.arange(68))


def test_the_reference_is_symmetric_with_its_eyes_in_place() -> None:
    assert REFERENCE.shape == (68, 2) and REFERENCE.min() > 0 and REFERENCE.max() < 1
    mirrored = REFERENCE[MIRROR_68] * (-1, 1) + (1, 0)
    assert np.abs(mirrored - REFERENCE).max() < 0.01
    left_eye, right_eye, *_ = five_points(REFERENCE)
    assert np.allclose(left_eye, (0.38, 0.46), atol=0.015) and np.allclose(right_eye, (0.62, 0.46), atol=0.015)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0])
def test_a_warp_puts_points_where_the_matrix_says(scale: float) -> None:
    size = 96
    photo_side = round(size / scale)
    centre = np.array([[photo_side * 0.4, photo_side * 0.3]])
    y, x = np.mgrid[:photo_side, :photo_side] + 0.5
    blob = np.exp(-((x - centre[0, 0]) ** 2 + (y - centre[0, 1]) ** 2) / (2 * (5 / scale) ** 2))
    image = np.repeat((blob * 255).round().astype(np.uint8)[..., None], 3, axis=2)
    matrix = _transform(0.2, scale, (3.0, -2.0))
    crop = alignment.warp(image, matrix, size)[..., 0].astype(float)
    rows, columns = np.mgrid[:size, :size] + 0.5
    found = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
    assert np.allclose(found, apply(matrix, centre)[0], atol=0.15)


def test_a_large_photo_shrinks_without_aliasing() -> None:
    checks = ((np.indices((1600, 1600)).sum(0) % 2) * 255).astype(np.uint8)
    crop = alignment.warp(np.dstack([checks] * 3), _transform(0.1, 0.08, (10.0, 0.0)), 128)
    assert np.abs(crop[30:90, 30:90].astype(int) - 127).max() <= 3


def test_warped_labels_stay_labels() -> None:
    labels = np.zeros((300, 300), np.uint8)
    labels[100:200, 80:220] = 9
    warped = alignment.warp_labels(labels, _transform(0.3, 0.4, (20.0, 5.0)), 128)
    assert set(np.unique(warped)) == {0, 9}


@pytest.mark.parametrize("path", PHOTOS, ids=lambda p: p.stem)
def test_a_real_portrait_comes_out_upright_and_in_place(landmarker: FaceLandmarker, path) -> None:
    image = decode_photo(path)
    faces = landmarker.find(image)
    assert len(faces) == 1
    face = faces[0]
    assert abs(face.yaw) < 20 and abs(face.pitch) < 20 and abs(face.roll) < 20
    _, matrix = alignment.align(image, face.landmarks, 256)
    moved = five_points(apply(matrix, face.landmarks))
    assert np.linalg.norm(moved - five_points(REFERENCE) * 256, axis=1).mean() < 0.15 * 61
    again = landmarker.find(alignment.align(image, face.landmarks, 256)[0])[0]
    distance = np.linalg.norm(five_points(again.landmarks) - moved, axis=1).mean()
    assert distance < 0.05 * 61, "the crop shows the face where the matrix says"


def test_roll_has_its_documented_sign(landmarker: FaceLandmarker) -> None:
    image = decode_photo(PHOTOS[-1])
    before = landmarker.find(image)[0].roll
    turn = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), 20, 1.0)  # OpenCV: counter-clockwise
    turned = cv2.warpAffine(image, turn, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    assert landmarker.find(turned)[0].roll - before == pytest.approx(20, abs=3)


def _turned(points: np.ndarray, turn: int, height: int, width: int) -> np.ndarray:
    """Where points of a picture are after `turn` quarter turns counter-clockwise."""
    x, y = points[:, 0], points[:, 1]
    return np.stack(((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turn], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("path", PHOTOS, ids=lambda p: p.stem)
def test_a_photo_on_its_side_or_its_head_is_read_as_the_upright_one(landmarker: FaceLandmarker, path, turn) -> None:
    image = decode_photo(path)
    upright = landmarker.find(image)[0]
    face = landmarker.find(np.ascontiguousarray(np.rot90(image, turn)))[0]
    off = np.linalg.norm(face.landmarks - _turned(upright.landmarks, turn, *image.shape[:2]), axis=1)
    assert off.max() < 0.02 * alignment.eye_distance(upright.landmarks)
    assert (face.yaw, face.pitch) == pytest.approx((upright.yaw, upright.pitch), abs=0.5)
    assert (face.roll - upright.roll) % 360 == pytest.approx(90 * turn, abs=0.5) and -180 <= face.roll <= 180
    assert face.box[0] < face.box[2] and face.box[1] < face.box[3] and not face.doubtful and not upright.doubtful


@pytest.mark.slow
def test_a_tiny_face_upside_down_in_a_large_photo_is_turned(landmarker: FaceLandmarker) -> None:
    scene = np.full((1500, 2400, 3), 150, np.uint8)
    scene[1000:1217, 1900:2080] = cv2.resize(decode_photo(PHOTOS[-1]), (180, 217), interpolation=cv2.INTER_AREA)
    upright, face = (landmarker.find(np.ascontiguousarray(picture))[0] for picture in (scene, scene[::-1, ::-1]))
    off = np.linalg.norm(face.landmarks - _turned(upright.landmarks, 2, *scene.shape[:2]), axis=1)
    assert off.max() < 0.02 * alignment.eye_distance(upright.landmarks)


def test_of_two_people_the_one_who_stands_is_read_first(landmarker: FaceLandmarker) -> None:
    standing, other = decode_photo(PHOTOS[-1])[:640], decode_photo(PHOTOS[0])[:640]
    pictures = (np.hstack([standing, np.full_like(other, 128)]), np.hstack([standing, other[::-1, ::-1]]))
    alone, first = (landmarker.find(np.ascontiguousarray(picture))[0] for picture in pictures)
    assert np.abs(first.landmarks - alone.landmarks).max() < 0.05 * alignment.eye_distance(alone.landmarks)


def test_a_face_that_is_hardly_to_be_seen_is_doubtful_and_not_turned(landmarker: FaceLandmarker) -> None:
    image = decode_photo(next(p for p in PHOTOS if p.stem == "ardern_2018"))
    face = landmarker.find(cv2.GaussianBlur(image, (0, 0), 21))[0]
    assert face.doubtful and abs(face.roll) < 20


CANVASES = {  # (height, width) in widths of the picture, and where it lies in what is left
    "2.5 to 1, left end": ((1, 2.5), (0.5, 0)),
    "2.5 to 1, right end": ((1, 2.5), (0.5, 1)),
    "16 to 9, left end": ((1, 16 / 9), (0.5, 0)),
    "16 to 9, right end": ((1, 16 / 9), (0.5, 1)),
    "tall, top": ((2.5, 1), (0, 0.5)),
    "tall, bottom": ((2.5, 1), (1, 0.5)),
    "corner": ((3, 3), (1, 0)),
    "other corner, wide": ((1.5, 4), (0, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("side", [120, 640])
@pytest.mark.parametrize("canvas", CANVASES)
def test_the_pose_does_not_depend_on_where_in_the_picture_the_face_is(
    landmarker: FaceLandmarker, canvas: str, side: int
) -> None:
    shape, place = CANVASES[canvas]
    height, width = (round(side * length) for length in shape)
    y, x = round((height - side) * place[0]), round((width - side) * place[1])
    for path in PHOTOS:
        image = decode_photo(path)
        left, top, right, bottom = landmarker.find(image)[0].box
        half = 0.9 * max(right - left, bottom - top)
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + ((left + right) / 2, (top + bottom) / 2)
        corners = np.array([[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]])
        picture = alignment.warp(image, fit_similarity(square, corners), side)
        scene = np.full((height, width, 3), 128, np.uint8)
        scene[y : y + side, x : x + side] = picture
        centred, face = landmarker.find(picture)[0], landmarker.find(scene)[0]
        assert (face.yaw, face.pitch, face.roll) == pytest.approx((centred.yaw, centred.pitch, centred.roll), abs=3)


def test_mirroring_a_photo_mirrors_yaw(landmarker: FaceLandmarker) -> None:
    image = decode_photo(next(p for p in PHOTOS if p.stem == "macron_2025"))
    yaw = landmarker.find(image)[0].yaw
    assert yaw < -5, "he looks towards the image's left"
    assert landmarker.find(image[:, ::-1])[0].yaw == pytest.approx(-yaw, abs=3)


def test_no_face_is_an_error_of_its_own(landmarker: FaceLandmarker) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    with pytest.raises(NoFace):
        landmarker.find(noise)


def test_a_tiny_face_in_a_large_photo_is_found_in_place(landmarker: FaceLandmarker) -> None:
    portrait = cv2.resize(decode_photo(PHOTOS[-1]), (180, 217), interpolation=cv2.INTER_AREA)
    scene = np.full((1500, 2400, 3), 150, np.uint8)
    scene[1000:1217, 1900:2080] = portrait
    face = landmarker.find(scene)[0]
    assert 1900 < face.box[0] < face.box[2] < 2080 and 1000 < face.box[1] < face.box[3] < 1217


def test_the_largest_of_several_faces_comes_first(landmarker: FaceLandmarker) -> None:
    large = decode_photo(next(p for p in PHOTOS if p.stem == "ardern_2018"))
    small = cv2.resize(decode_photo(PHOTOS[-1]), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((900, 1300, 3), 128, np.uint8)
    scene[: large.shape[0], -large.shape[1] :] = large[:900]
    scene[100 : 100 + small.shape[0], : small.shape[1]] = small
    faces = landmarker.find(scene)
    assert len(faces) == 2
    assert faces[0].box[0] > 600 and faces[0].size > faces[1].size


def test_a_landmarker_outside_a_with_block_says_so() -> None:
    with pytest.raises(RuntimeError, match="with"):
        FaceLandmarker(LANDMARKER).find(np.zeros((50, 50, 3), np.uint8))


def test_blur_lowers_sharpness_and_light_raises_brightness(landmarker: FaceLandmarker) -> None:
    image = decode_photo(PHOTOS[0])
    crop, _ = alignment.align(image, landmarker.find(image)[0].landmarks, 256)
    blurred = alignment.quality(cv2.GaussianBlur(crop, (0, 0), 4))
    assert blurred.sharpness < 30 < alignment.quality(crop).sharpness
    assert alignment.quality(crop // 2).brightness < alignment.quality(crop).brightness
