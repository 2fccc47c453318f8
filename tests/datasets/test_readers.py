from __future__ import annotations

from collections import Counter

import pytest

from avrt.config import DataConfig
from avrt.datasets import media_paths, read_samples, require_media, write_samples
from avrt.errors import ConfigError


def test_a_missing_root_is_refused_before_the_first_sample(tmp_path):
    with pytest.raises(ConfigError, match=r"absent: no such folder; set data\.root"):
        read_samples(DataConfig(root=tmp_path / "absent"))


def test_a_missing_annotation_file_names_what_there_is(write_avqa):
    root = write_avqa({}, split="val")
    with pytest.raises(ConfigError, match=r"train_qa\.json: no such file; the folder has val_qa"):
        read_samples(DataConfig(root=root))


def test_the_limit_counts_samples(write_avqa):
    root = write_avqa({}, {"multi_choice": None}, {}, {})
    counts = Counter()
    samples = list(read_samples(DataConfig(root=root, limit=2), counts))
    assert [sample.id for sample in samples] == ["avqa-train-1", "avqa-train-3"]
    assert counts == {"dropped/no_options": 1}


def test_a_sample_is_the_same_whatever_the_order_and_part_of_a_larger_one(write_avqa, tmp_path):
    root = write_avqa(*[{}] * 40)
    every = list(read_samples(DataConfig(root=root)))

    def drawn(n: int, **settings) -> list[str]:
        data = DataConfig(root=root, sample=n, **settings)
        return [sample.id for sample in read_samples(data)]

    ten = drawn(10)
    assert len(ten) == 10
    assert ten == [sample.id for sample in every if sample.id in ten]
    assert {*ten} < {*drawn(25)}
    assert drawn(10, limit=3) == ten[:3]
    write_samples(tmp_path / "back.parquet", every[::-1])
    back = DataConfig(root=tmp_path, format="parquet", split="back", sample=10)
    assert [sample.id for sample in read_samples(back)] == ten[::-1]


def test_a_sample_of_more_questions_than_there_are_is_refused(write_avqa):
    root = write_avqa({}, {})
    with pytest.raises(ConfigError, match=r"sample = 3, but .* holds 2 questions; lower it"):
        read_samples(DataConfig(root=root, sample=3))


def test_both_formats_give_the_same_samples(write_avqa, tmp_path):
    root = write_avqa({}, {})
    samples = list(read_samples(DataConfig(root=root)))
    write_samples(tmp_path / "train.parquet", samples)
    assert list(read_samples(DataConfig(root=root, format="parquet"))) == samples


def test_a_root_without_any_media_is_refused(write_avqa):
    root = write_avqa({}, {"video_name": "-abc_000001"}, {})
    samples = list(read_samples(DataConfig(root=root)))
    assert media_paths(samples) == ["videos/-abc_000001.mp4", "videos/-abc_000003.mp4"]
    with pytest.raises(ConfigError, match="none of the 2 media files is here"):
        require_media(root, samples)
    (root / "videos").mkdir()
    (root / "videos" / "-abc_000003.mp4").touch()
    require_media(root, samples)
