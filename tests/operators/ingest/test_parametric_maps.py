"""Parametric Maps as highdicom writes them come in as quantity maps."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code

from operators.vocabulary.acquisition import SeriesKind


@pytest.fixture
def parametric_map(write, volumes, tmp_path):
    """Writes a float Parametric Map over a classic series; gives its folder."""

    def write_map(values, quantity, unit):
        folder = write(volumes(*values.shape[:3]))
        images = [pydicom.dcmread(path) for path in sorted((folder / "series1").iterdir())]
        mapping = hd.pm.RealWorldValueMapping(
            lut_label="map",
            lut_explanation="map",
            unit=unit,
            value_range=(-1e6, 1e6),
            slope=1,
            intercept=0,
            quantity_definition=quantity,
        )
        made = hd.pm.ParametricMap(
            source_images=images,
            pixel_array=values.astype(np.float32),
            series_instance_uid="1.2.3.5",
            series_number=5,
            sop_instance_uid="1.2.3.5.1",
            instance_number=1,
            manufacturer="Maker",
            manufacturer_model_name="Model",
            software_versions="1",
            device_serial_number="1",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[hd.VOILUTTransformation(1, 2)],
        )
        target = tmp_path / "map"
        target.mkdir()
        made.save_as(target / "map.dcm")
        return target

    return write_map


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1), ("s", 1000)])
def test_a_map_of_a_known_quantity_comes_in_with_its_unit(
    parametric_map, only, axial, unit, factor
):
    values = np.random.default_rng(2).normal(800, 300, (3, 4, 5))
    code = Code("113063", "DCM", "T1")
    acquisition = only(parametric_map(values, code, Code(unit, "UCUM", unit)))
    assert acquisition.kind is SeriesKind.QUANTITY_MAP
    assert acquisition.protocol.quantity.name == "t1"
    np.testing.assert_allclose(
        acquisition.volume().array[..., 0], values.astype(np.float32) * factor, rtol=1e-6
    )
    np.testing.assert_allclose(acquisition.geometry.affine, axial, atol=1e-6)


def test_a_map_of_another_quantity_is_left_alone(parametric_map, acquired):
    code = Code("126370", "DCM", "Time of Peak Concentration")
    folder = parametric_map(np.ones((3, 4, 5)), code, Code("s", "UCUM", "s"))
    study = acquired(folder)
    assert study.acquisitions == ()
    assert study.series[0].kind is SeriesKind.UNRECOGNISED
    assert "not in the table" in study.series[0].because
