"""What the workflow asks a study about a scan."""

from types import SimpleNamespace

import pandas as pd
import pytest

from neurobraid.bids.pairing import build_index
from neurobraid.errors import InputError
from neurobraid.study import Study
from tests.unit.bids.trees import TREES, write_tree


def test_echoes(tmp_path):
    study = Study(build_index(write_tree(TREES["multi_echo"], tmp_path)))
    assert study.has_echoes("sub-01_task-rest")
    assert not study.has_echoes("sub-02_task-rest_run-2_echo-2")
    with pytest.raises(InputError, match="did you mean sub-01_task-rest"):
        study.has_echoes("sub-01_task-rest_echo-1")


def test_field_maps(tmp_path):
    index = build_index(write_tree(TREES["no_sessions"], tmp_path))
    scans = ["sub-01_task-rest", "sub-02_task-rest"]
    table = pd.DataFrame({"scan": scans, "method": ["phase difference", "none"]})
    known = SimpleNamespace(scans=index.scans, pairing=index.pairing, fieldmaps=table)
    assert [Study(known).has_fieldmap(scan) for scan in (*scans, "sub-03_task-rest")] == [True, False, False]
    bare = SimpleNamespace(scans=index.scans, pairing=index.pairing)
    assert not Study(bare).has_fieldmap(scans[0])
