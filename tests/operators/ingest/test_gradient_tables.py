"""b-values and directions of every vendor, in one frame."""

import numpy as np
import pytest
from fsl_frame import fsl_bvecs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from operators.ingest.gradients.weighting import (
    image_to_patient,
    principal_direction,
)
from operators.vocabulary.acquisition import SeriesKind

B = 1000.0
DIRECTIONS = np.array([[1, 2, 3], [-2, 1, 0.5], [0.3, -1, 2], [1, 1, -1], [2, 0, 1], [0, 1, 4]])
DIRECTIONS = DIRECTIONS / np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
TABLE = np.vstack([np.zeros(3), DIRECTIONS])
"""One unweighted volume and six directions, LPS."""

rotation = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


def oblique(angles=(25, -40, 70)):
    """An oblique affine (slice, row, column) and its Image Orientation (Patient)."""
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = np.stack([axes[:, 2] * 4, axes[:, 1] * 3, axes[:, 0] * 2], axis=1)
    return affine, np.concatenate([axes[:, 0], axes[:, 1]])


AFFINE, ORIENTATION = oblique()
ROW, COLUMN, SLICE = ORIENTATION[:3], ORIENTATION[3:], np.cross(ORIENTATION[:3], ORIENTATION[3:])


def in_image_frame(direction):
    return [float(direction @ axis) for axis in (ROW, COLUMN, SLICE)]


def private(image, group, creator, **values):
    block = image.private_block(group, creator, create=True)
    for offset, (vr, value) in values.items():
        block.add_new(int(offset[1:], 16), vr, value)


def standard(image, b, g):
    image.DiffusionBValue = b
    image.DiffusionGradientOrientation = [float(part) for part in g]


def siemens(image, b, g):
    values = {"x0C": ("IS", int(b))}
    if g.any():
        values["x0E"] = ("FD", [float(part) for part in g])
    private(image, 0x0019, "SIEMENS MR HEADER", **values)


def siemens_matrix(image, b, g):
    matrix = (b * np.outer(g, g))[np.triu_indices(3)]
    private(
        image,
        0x0019,
        "SIEMENS MR HEADER",
        x0C=("IS", int(b)),
        x27=("FD", [float(m) for m in matrix]),
    )


def philips(image, b, g):
    # Philips writes b0 as .001, .002, …
    private(image, 0x2001, "Philips Imaging DD 001", x03=("FL", b or 0.001), x04=("CS", "O"))
    private(
        image,
        0x2005,
        "Philips MR Imaging DD 001",
        xB0=("FL", float(g[0])),
        xB1=("FL", float(g[1])),
        xB2=("FL", float(g[2])),
    )


def ge(image, b, g, phase="COL", bias=0, length=1.0):
    x, y, z = in_image_frame(g)
    x, y = (-x, -y) if phase == "COL" else (y, -x)
    image.InPlanePhaseEncodingDirection = phase
    image.ScanningSequence = ["EP", "RM"]
    private(image, 0x0043, "GEMS_PARM_01", x39=("IS", [int(b + bias), 8, 0, 0]))
    private(
        image,
        0x0019,
        "GEMS_ACQU_01",
        **{
            offset: ("DS", f"{part * length:.8f}")
            for offset, part in (("xBB", x), ("xBC", y), ("xBD", z))
        },
    )


def uih(image, b, g):
    x, y, z = in_image_frame(g)
    private(image, 0x0065, "Image Private Header", x09=("FD", b), x37=("FD", [x, y, z]))


def canon(image, b, g):
    image.Manufacturer = "CANON_MEC"
    if b:
        x, y, z = in_image_frame(g)
        image.ImageComments = f"b={b:g}({x:.6f},{y:.6f},{z:.6f})"


def toshiba(image, b, g):
    image.Manufacturer = "TOSHIBA_MEC"
    if b:
        standard(image, b, g)


VENDORS = {
    "standard": standard,
    "Siemens": siemens,
    "Philips": philips,
    "GE, phase along columns": ge,
    "GE, phase along rows": lambda image, b, g: ge(image, b, g, phase="ROW"),
    "GE, biased by 1e9": lambda image, b, g: ge(image, b, g, bias=1_000_000_000),
    "GE, standard b-value": lambda image, b, g: (
        ge(image, b, g),
        setattr(image, "DiffusionBValue", b),
    ),
    "UIH": uih,
    "Canon": canon,
    "Toshiba": toshiba,
}


@pytest.fixture
def diffusion(write, volumes):
    """Writes a diffusion series of which ``vendor`` writes the weighting."""

    def write_diffusion(vendor, table=TABLE, b_values=None, affine=AFFINE, **arguments):
        b_values = [B if g.any() else 0.0 for g in table] if b_values is None else b_values
        return write(
            volumes(volumes=len(table)),
            affine,
            amend=lambda image, _, volume: vendor(image, b_values[volume], np.array(table[volume])),
            **arguments,
        )

    return write_diffusion


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_every_vendor_gives_the_same_table_in_the_patient_frame(diffusion, only, vendor):
    acquisition = only(diffusion(vendor))
    assert acquisition.kind is SeriesKind.DIFFUSION
    np.testing.assert_allclose(acquisition.protocol.b_values, [0, *[B] * 6], atol=0.01)
    np.testing.assert_allclose(acquisition.protocol.directions, TABLE, atol=1e-5)


def test_a_b_matrix_gives_directions_up_to_their_sign(diffusion, only):
    acquisition = only(diffusion(siemens_matrix))
    cosines = np.sum(acquisition.protocol.directions[1:] * DIRECTIONS, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-6)
    assert "directions-from-b-matrix" in {finding.code for finding in acquisition.findings}


def test_older_ge_multi_shell_tables_scale_b_by_the_squared_length(diffusion, only):
    def two_shells(image, b, g):
        ge(image, 2000.0 if b else 0.0, g, length=1.0 if b == 2000 else 0.5**0.5)

    b_values = [0, 2000, 2000, 2000, 1000, 1000, 1000]
    acquisition = only(diffusion(two_shells, b_values=b_values))
    np.testing.assert_allclose(acquisition.protocol.b_values, b_values, rtol=1e-5)
    assert "b-values-scaled" in {finding.code for finding in acquisition.findings}


def test_a_direction_without_weighting_is_no_direction(diffusion, only):
    table = TABLE.copy()
    table[0] = DIRECTIONS[0]
    acquisition = only(diffusion(standard, table, b_values=[0.002, *[B] * 6]))
    np.testing.assert_array_equal(acquisition.protocol.directions[0], 0)


def test_directions_come_out_at_unit_length(diffusion, only):
    directions = only(diffusion(standard, TABLE * 0.7)).protocol.directions
    np.testing.assert_allclose(np.linalg.norm(directions[1:], axis=1), 1)


def trace_by_philips(image, b, g):
    philips(image, b, g)
    if b and not g.any():
        image.private_block(0x2001, "Philips Imaging DD 001")[0x04].value = "I"


def trace_by_standard(image, b, g):
    standard(image, b, g)
    if b and not g.any():
        image.DiffusionDirectionality = "ISOTROPIC"


@pytest.mark.parametrize("vendor", [trace_by_philips, trace_by_standard, ge, uih, standard])
def test_a_trace_volume_is_dropped_and_reported(diffusion, only, vendor):
    table = np.vstack([TABLE, np.zeros(3)])
    acquisition = only(diffusion(vendor, table, b_values=[0, *[B] * 7]))
    np.testing.assert_allclose(acquisition.protocol.directions, TABLE, atol=1e-5)
    assert acquisition.volume().array.shape[3] == 7
    assert [finding.code for finding in acquisition.findings] == ["trace-volumes-dropped"]
    assert len(acquisition.source.images) == 7 * 3


def test_a_series_of_trace_images_alone_is_refused(diffusion, refusal):
    found = refusal(diffusion(standard, np.zeros((2, 3)), b_values=[0, B]))
    assert found.rule == "missing-directions"


def test_removed_private_elements_are_named_as_the_reason(write, volumes, refusal):
    folder = write(
        volumes(volumes=7),
        common={"SequenceName": "*ep_b1000#1"},
        per_volume=[{"AcquisitionNumber": number} for number in range(7)],
    )
    found = refusal(folder)
    assert found.rule == "missing-b-values"
    assert "private elements" in found.reason


def test_a_b_value_missing_in_some_images_is_refused(diffusion, refusal):
    def forgetful(image, b, g):
        if b:
            siemens(image, b, g)

    assert refusal(diffusion(forgetful)).rule == "missing-b-values"


def test_ge_directions_without_phase_encoding_are_refused(diffusion, refusal):
    def silent(image, b, g):
        ge(image, b, g)
        del image.InPlanePhaseEncodingDirection

    assert "InPlanePhaseEncodingDirection" in refusal(diffusion(silent)).reason


def test_a_b_value_of_ge_outside_echo_planar_imaging_means_something_else(diffusion, only):
    def spoiled(image, b, g):
        ge(image, b, g)
        image.ScanningSequence = "GR"

    assert only(diffusion(spoiled)).kind is SeriesKind.WEIGHTED_IMAGE


def test_unweighted_series_of_a_diffusion_sequence_are_no_diffusion_series(diffusion, only):
    folder = diffusion(standard, np.zeros((1, 3)), common={"SequenceName": "*ep_b0"})
    assert only(folder).kind is SeriesKind.WEIGHTED_IMAGE


@settings(max_examples=50, deadline=None)
@given(rotation, vectors)
def test_fsl_and_patient_frame_are_each_others_inverse(quaternion, vector):
    axes = Rotation.from_quat(quaternion).as_matrix()
    orientation = [*axes[:, 0], *axes[:, 1]]
    patient = np.array(image_to_patient(vector, orientation))
    x, y, z = fsl_bvecs(patient[np.newaxis], orientation)[0]
    np.testing.assert_allclose((x, -y, z), vector, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(rotation, rotation, vectors)
def test_turning_the_patient_with_the_image_leaves_the_fsl_vector(image, patient, vector):
    axes = Rotation.from_quat(image).as_matrix()
    turn = Rotation.from_quat(patient).as_matrix()
    direction = np.array(vector)
    before = fsl_bvecs(direction[np.newaxis], [*axes[:, 0], *axes[:, 1]])
    turned = turn @ axes
    after = fsl_bvecs((turn @ direction)[np.newaxis], [*turned[:, 0], *turned[:, 1]])
    np.testing.assert_allclose(after, before, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(vectors, st.floats(100, 5000))
def test_the_principal_direction_is_that_of_the_gradient(vector, b):
    g = np.array(vector) / np.linalg.norm(vector)
    matrix = b * np.outer(g, g)
    found = principal_direction(matrix[np.triu_indices(3)])
    assert abs(np.dot(found, g)) == pytest.approx(1, abs=1e-9)
    assert principal_direction(np.zeros(6)) is None
