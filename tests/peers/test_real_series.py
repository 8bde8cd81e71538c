"""Real series of every vendor, beside dcm2niix, dcmstack and the scanners' own maps."""

import gzip
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fsl_frame import fsl_bvecs

from app.demo.mr_series import write_mr_series
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.acquisition import SeriesKind

nibabel = pytest.importorskip("nibabel", reason="nibabel reads the reference NIfTI files")

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def acquired(shared_data):
    """Acquires a folder of the shared data, once."""
    known = {}

    def acquire_once(name, part=""):
        if (name, part) not in known:
            known[name, part] = acquire(shared_data(name) / part, IngestSettings())
        return known[name, part]

    return acquire_once


def series(study, number, kind):
    (found,) = (
        one for one in study.acquisitions if one.source.series_number == number and one.kind is kind
    )
    return found


DIFFUSION = [
    ("dwi_siemens_xa30_enhanced", 10, "10_DWI_dir80_PA"),
    ("dwi_philips_classic", 601, "WIP_dti_ax_601"),
    ("dwi_uih_mosaic", 9, "dti_tra_dir16_AP_9_134431"),
    ("dwi_uih_mosaic", 12, "dti_tra_dir16_PA_rot_12_132222"),
    ("dwi_ge_phantom", 1, "Ax_DWI_TENSOR_R2_1"),
    ("dwi_ge_phantom", 2, "Ax_DWI_TENSOR_R3_2"),
]


@pytest.mark.parametrize(("name", "number", "reference"), DIFFUSION)
def test_gradient_tables_equal_those_of_dcm2niix(acquired, shared_data, name, number, reference):
    acquisition = series(acquired(name, "dicom"), number, SeriesKind.DIFFUSION)
    path = shared_data(name) / "reference" / reference
    b_values = np.loadtxt(path.with_suffix(".bval"))
    np.testing.assert_allclose(acquisition.protocol.b_values, b_values, atol=0.01)
    theirs = np.loadtxt(path.with_suffix(".bvec")).T
    affine = acquisition.geometry.affine
    orientation = np.concatenate([affine[:3, 2], affine[:3, 1]])
    orientation[:3] /= np.linalg.norm(orientation[:3])
    orientation[3:] /= np.linalg.norm(orientation[3:])
    ours = fsl_bvecs(acquisition.protocol.directions, orientation)
    weighted = b_values >= 50
    np.testing.assert_array_equal(ours[~weighted], 0)
    theirs = theirs[weighted] / np.linalg.norm(theirs[weighted], axis=1, keepdims=True)
    sines = np.linalg.norm(np.cross(ours[weighted], theirs), axis=1)
    cosines = np.sum(ours[weighted] * theirs, axis=1)
    assert np.degrees(np.arctan2(sines, cosines)).max() < 0.3


def assert_same_by_position(acquisition, image, tolerance):
    """Our voxels are those of a NIfTI image at the same places (200,000 of them at most)."""
    volume = acquisition.volume()
    theirs = np.asarray(image.dataobj, dtype=np.float64)
    theirs = theirs[..., np.newaxis] if theirs.ndim == 3 else theirs
    to_theirs = np.linalg.inv(RAS_TO_LPS @ image.affine) @ volume.affine
    every = -(-int(np.prod(volume.spatial_shape)) // 200_000)
    chosen = np.arange(0, np.prod(volume.spatial_shape), every)
    indices = np.stack(np.unravel_index(chosen, volume.spatial_shape), axis=-1)
    found = indices @ to_theirs[:3, :3].T + to_theirs[:3, 3]
    nearest = np.rint(found).astype(int)
    np.testing.assert_allclose(found, nearest, atol=0.01)
    ours = volume.array.reshape(-1, volume.array.shape[3])[chosen]
    np.testing.assert_allclose(ours, theirs[tuple(nearest.T)], atol=tolerance)


@pytest.fixture(scope="module")
def converted(shared_data, tool, tmp_path_factory):
    """NIfTI images that dcm2niix makes of a folder, with DICOM's rescale and not Philips' own."""

    def convert(folder):
        out = tmp_path_factory.mktemp("nifti")
        subprocess.run(
            [tool("dcm2niix"), "-z", "n", "-p", "n", "-f", "%s_%d", "-o", out, folder],
            check=True,
            capture_output=True,
        )
        return {path.stem: nibabel.load(path) for path in out.glob("*.nii")}

    return convert


@pytest.mark.parametrize(
    ("name", "number", "kind", "tolerance"),
    [
        ("dwi_siemens_xa30_enhanced", 5, SeriesKind.WEIGHTED_IMAGE, 0),
        ("dwi_siemens_xa30_enhanced", 10, SeriesKind.DIFFUSION, 0),
        # dcm2niix keeps the Rescale Slope as float32.
        ("dwi_philips_classic", 601, SeriesKind.DIFFUSION, 1e-3),
        ("dwi_uih_mosaic", 9, SeriesKind.DIFFUSION, 0),
        ("dwi_uih_mosaic", 12, SeriesKind.DIFFUSION, 0),
        ("dwi_ge_phantom", 1, SeriesKind.DIFFUSION, 0),
    ],
)
def test_voxels_lie_where_dcm2niix_puts_them(
    acquired, converted, shared_data, name, number, kind, tolerance
):
    images = converted(shared_data(name) / "dicom")
    image = next(
        image
        for stem, image in sorted(images.items())
        if stem.startswith(f"{number}_") and not stem.endswith("_ADC")
    )
    assert_same_by_position(series(acquired(name, "dicom"), number, kind), image, tolerance)


@pytest.fixture(scope="module")
def philips(shared_data, tmp_path_factory):
    """The Philips acquisitions, decompressed: folders "cl" (classic) and "enh" (Enhanced)."""
    folder = tmp_path_factory.mktemp("philips")
    for path in (shared_data("mr_philips_enhanced_and_classic") / "dicom").rglob("*.gz"):
        target = folder / path.parent.name / path.stem
        target.parent.mkdir(exist_ok=True)
        with gzip.open(path) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    return folder


def test_a_sagittal_series_lies_where_dcm2niix_puts_it(philips, converted, tmp_path):
    for path in (philips / "cl").glob("1301_*"):
        shutil.copy(path, tmp_path)
    (acquisition,) = acquire(tmp_path, IngestSettings()).acquisitions
    (image,) = converted(tmp_path).values()
    assert_same_by_position(acquisition, image, 1e-3)


@pytest.mark.parametrize(("number", "volumes"), [(2001, 4), (1901, 1)])
def test_enhanced_and_classic_exports_give_the_same_bits(philips, number, volumes):
    classic, enhanced = (
        series(acquire(philips / part, IngestSettings()), number, SeriesKind.WEIGHTED_IMAGE)
        for part in ("cl", "enh")
    )
    ours, theirs = classic.volume(), enhanced.volume()
    assert ours.array.shape[3] == volumes
    assert ours.array.tobytes() == theirs.array.tobytes()
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-9)
    np.testing.assert_array_equal(classic.protocol.echo_times, enhanced.protocol.echo_times)


def test_both_exports_in_one_folder_stay_apart_compressed_or_not(philips, acquired):
    compressed = acquired("mr_philips_enhanced_and_classic")
    both = acquire(philips, IngestSettings())
    assert [(one.series_number, one.images) for one in both.series] == [
        (one.series_number, one.images) for one in compressed.series
    ]
    assert both.refusals == compressed.refusals == ()
    assert [one.images for one in both.series if one.series_number == 2001] == [212, 1]


@pytest.mark.parametrize(
    ("part", "rule", "reason"),
    [
        ("gantrytilting", "gantry-tilt", "14.0° from their normal"),
        ("slicecount", "missing-slices", "only 2 slices"),
        ("sliceincrement", "uneven-slice-spacing", "10 mm apart, the others 5 mm"),
    ],
)
def test_series_that_must_be_refused_are(acquired, part, rule, reason):
    study = acquired("mr_series_that_must_be_refused", part)
    assert study.acquisitions == ()
    (refusal,) = study.refusals
    assert refusal.rule == rule
    assert reason in str(refusal)
    assert refusal.series_instance_uid not in str(refusal)


def test_what_the_scanner_derived_is_recognised_as_such(acquired):
    study = acquired("dwi_siemens_xa30_enhanced", "dicom")
    kinds = {one.series_number: (one.kind, one.because) for one in study.series}
    assert kinds[12][0] is kinds[16][0] is SeriesKind.UNRECOGNISED
    assert "TRACEW" in kinds[12][1]
    assert "colour" in kinds[14][1]
    assert study.refusals == ()


@pytest.mark.parametrize(
    ("number", "name", "unit"),
    [(11, "mean_diffusivity", 1e-6), (13, "fractional_anisotropy", 1e-3)],
)
def test_maps_of_the_scanner_have_their_units(acquired, shared_data, number, name, unit):
    study = acquired("dwi_siemens_xa30_enhanced", "dicom")
    acquisition = series(study, number, SeriesKind.QUANTITY_MAP)
    assert acquisition.protocol.quantity.name == name
    folder = shared_data("dwi_siemens_xa30_enhanced") / "reference"
    image = nibabel.load(folder / f"{number}_DWI_dir80_PA.nii")
    scaled = nibabel.Nifti1Image(np.asarray(image.dataobj) * unit, image.affine)
    assert_same_by_position(acquisition, scaled, 1e-9)


def test_a_multi_echo_series_lies_where_dcmstack_puts_it(shared_data, tmp_path):
    source = shared_data("t2_relaxometry_siemens") / "test/data/dcmstack/2D_16Echo_qT2"
    for path in source.glob("*.dcm"):
        if "-2.2" not in path.name:
            shutil.copy(path, tmp_path)
    (acquisition,) = acquire(tmp_path, IngestSettings()).acquisitions
    np.testing.assert_array_equal(acquisition.protocol.echo_times, [20, 40, 60])
    image = nibabel.load(source / "single_vol.nii.gz")
    first_echo = np.asarray(image.dataobj)[..., np.newaxis].repeat(3, axis=3)
    volume = acquisition.volume()
    to_theirs = np.linalg.inv(RAS_TO_LPS @ image.affine) @ volume.affine
    corners = np.array([[0, 0, 0, 1], [1, 191, 191, 1], [1, 20, 150, 1]]) @ to_theirs.T
    np.testing.assert_allclose(corners, np.rint(corners), atol=1e-3)
    for index, corner in zip([(0, 0, 0), (1, 191, 191), (1, 20, 150)], corners, strict=True):
        place = tuple(np.rint(corner[:3]).astype(int))
        assert volume.array[(*index, 0)] == first_echo[(*place, 0)]


def test_every_malformed_file_is_skipped_and_the_series_beside_it_acquired(shared_data, tmp_path):
    malformed = shared_data("malformed_dicom")
    shutil.copytree(malformed, tmp_path / "malformed")
    values = np.arange(60.0).reshape(3, 4, 5)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])[:, [2, 1, 0, 3]]
    write_mr_series(tmp_path / "good", values, affine, uid_prefix="1.2.3", common={})
    tracemalloc.start()
    study = acquire(tmp_path, IngestSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (acquisition,) = study.acquisitions
    np.testing.assert_array_equal(acquisition.volume().array[..., 0], values)
    files = {path.relative_to(tmp_path) for path in Path(tmp_path, "malformed").rglob("*")}
    assert {file.path for file in study.skipped} == {
        path for path in files if (tmp_path / path).is_file()
    }
    assert all(file.reason for file in study.skipped)
    assert study.refusals == ()
    assert peak < 64 * 1024**2
