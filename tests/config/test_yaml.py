"""YAML that other programs wrote, or that was made to do harm, ends in a value or one message."""

from __future__ import annotations

import pytest

from avrt.config import load_config
from avrt.config.files import parse_yaml
from avrt.errors import ConfigError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGED = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run: {name: " + "[" * 100_000, "too many levels of nesting"),
        ("run:\n" + "".join(" " * n + "a:\n" for n in range(1, 2000)), "too many levels"),
        (BOMB, "its aliases make over 100,000 values"),
        (MERGED, "its aliases make over 100,000 values"),
        ("a: &a [*a]", "an alias stands inside the value that it names"),
        ("run: {seed: " + "9" * 5000 + "}", "a value is not what its form or tag says"),
        ("run: {seed: !!int x}", "a value is not what its form or tag says"),
        ("run: {seed: !!float x}", "a value is not what its form or tag says"),
        ("run: {seed: !!timestamp x}", "a value is not what its form or tag says"),
        ("run: {seed: !!python/name:os.system x}", "could not determine a constructor"),
        ("run: {? [a] : b}", "unhashable key"),
        ("run: {name: a\x1b[31m}", r"line 1: '\x1b' is no text"),
        ("run:\n  name: \x07", r"line 2: '\x07' is no text"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: *nowhere", "undefined alias"),
        ("a:\n\t- b", "cannot start any token"),
        ("- a\n- b", "expected sections"),
        ("text", "expected sections"),
        ("run: {no: 1, off: 2}", "`off` stands at lines 1 and 1"),
        ("run: {1: a,\n  true: b}", "`true` stands at lines 1 and 2"),
        ("eval: {models: {a: {model: x,\n  model: y}}}", "`model` stands at lines 1 and 2"),
        ("x: &x {a: 1, a: 2}\nrun: {<<: *x}", "`a` stands at lines 1 and 1"),
        ("run: {name: !!binary gICA}", "run.name = "),
        ("run: {no: 1}", "run: the key false is no text; unquoted, no, off and false"),
        ("1: {2: 3}", 'configuration: the key 1 is no text; quote it: "1"'),
        ("run: {seed: yes}", "run.seed = true: expected a number"),
        ("media: {max_audio_s: on}", "media.max_audio_s = true: expected a number"),
        ("sft: {learning_rate: no}", "sft.learning_rate = false: expected a number"),
        ("run: {seed: 4294967296}", "run.seed = 4294967296: must be less than"),
        ("run: {~: 1}", "run: the key null is no text; an empty value or an unquoted ~"),
        ("eval: {models: {on: {model: x}}}", "eval.models: the key true is no text; unquoted, yes"),
        ("eval: {models: {3.5: {model: x}}}", 'eval.models: the key 3.5 is no text; quote it: "3'),
        ("teachers: {7: {model: x}}", 'teachers: the key 7 is no text; quote it: "7"'),
        ("run: {" + "k" * 5000 + ": 1}", "not valid YAML"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_message(tmp_path, text, complaint):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert complaint in str(error.value)
    assert str(error.value).count("\n") < 8


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\ud83d"', "a\ufffd"),
        (r'"a\0b"', "a\ufffdb"),
        (r'"\e[31m"', "\x1b[31m"),
        ("\ufeffa", "a"),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("", None),
        ("# nothing", None),
    ],
)
def test_the_rest_is_read(text, value):
    assert parse_yaml(text) == value


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "a\0b", "deep/" * 2000])
def test_a_file_that_cannot_be_opened_is_refused_in_short(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot be read: .*section\.key=value") as error:
        load_config(tmp_path / name)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("sft.epochs=1", "sft={save_steps: 5}"), "sft.epochs is set, and then sft as a whole"),
        (("eval.models.a.k=1", "run.seed=1", "eval={models: {}}"), "eval.models.a.k is set"),
        (("data={root: a, root: b}",), "`root` stands at lines 1 and 1"),
        (("eval={models: {a: {model: x, model: y}}}",), "`model` stands at lines 1 and 1"),
        (("data.limit=1" + "0" * 5000,), "is not valid YAML"),
        (("data.limit=[" + "[" * 5000,), "too many levels of nesting"),
        (("x" * 5000,), "is not of the form section.key=value"),
        (("run.name=\x1b[31m",), "is not valid YAML"),
    ],
)
def test_overrides_that_undo_each_other_or_are_absurd_are_refused(overrides, complaint):
    with pytest.raises(ConfigError, match=r"^(override|command line)") as error:
        load_config(None, overrides)
    assert complaint in str(error.value)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_the_later_of_two_overrides_wins():
    config = load_config(None, ("sft={epochs: 2}", "sft.save_steps=5", "sft.save_steps=6"))
    assert (config.sft.epochs, config.sft.save_steps) == (2, 6)
