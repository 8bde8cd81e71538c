"""The example of ``docs/protocols.md`` is a protocol."""

import re
from pathlib import Path

from models.cest_mt.schedule import Analysis, load_schedule

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "protocols.md"


def test_the_documented_example_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    file = tmp_path / "example.yaml"
    file.write_text(example)
    schedule = load_schedule(file)
    assert schedule.analysis is Analysis.Z_SPECTRUM
    assert schedule.number_of_images == 4
