"""Facts about `avrt plan`: what it refuses, what it reckons, and what a run measures for it."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from avrt.ask.ledger import open_ledger
from avrt.ask.rows import Call, Carried
from avrt.cli import cli
from avrt.config import load_config
from avrt.planning import make_plan
from avrt.planning.arithmetic import (
    Gpu,
    Model,
    call_gpu_s,
    checkpoint_gb,
    hours_of,
    rows_in_flight,
    sample_tflop,
    training_gb,
    usable_gpus,
)
from avrt.planning.rates import Rate, Rates, given_rates
from avrt.runs import save_config, write_json
from avrt.types import Completion, Prompt, Sampling

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = str(CONFIGS / "paper.yaml")
SIZE = ("--clips", "1e6", "--gpus", "64")


def run_plan(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["plan", *words])
    return result.exit_code, result.output


def plan_of(*words: str):
    code, output = run_plan(*words, "--json")
    assert code == 0, output
    return json.loads(output)


def stage_of(plan, name: str):
    return next(stage for stage in plan["stages"] if stage["name"] == name)


# What is refused


@pytest.mark.parametrize("clips", ["0", "-5", "nan", "inf", "1e30", "0.5"])
def test_a_number_of_clips_that_cannot_be_is_refused_with_one_that_can(clips):
    code, output = run_plan(PAPER, "--clips", clips, "--gpus", "64")
    assert code == 2
    assert "--clips" in output
    assert "such as 1e6" in output


def test_sizes_are_whole_numbers_in_either_notation():
    for clips, gpus, name in (("1.5", "4", "--clips 1.5"), ("4", "1.5", "--gpus 1.5")):
        code, output = run_plan(PAPER, "--clips", clips, "--gpus", gpus)
        assert code == 2
        assert f"{name}: expected a whole number, such as 2" in output
    words = (PAPER, "--clips", "1e1")
    plan = plan_of(*words, "--gpus", "1e1")
    assert plan == plan_of(*words, "--gpus", "10")
    for row in (*plan["stages"], plan["total"]):
        assert all(type(row[n]) is int for n in ("calls", "prompt_tokens", "reply_tokens", "batch"))
    assert type(plan["samples"]) is type(plan["clips"]) is type(plan["gpus"]) is int


def test_very_large_sizes_have_units_of_their_own():
    code, output = run_plan(PAPER, "--clips", "1e12", "--gpus", "64")
    assert code == 0
    assert re.search(r"^media +850\.0 PB", output, re.MULTILINE)
    assert re.search(r"^all +[0-9.]+ EB", output, re.MULTILINE)


@pytest.mark.parametrize("gpus", ["0", "-1", "nan", "99999999"])
def test_a_number_of_gpus_that_cannot_be_is_refused(gpus):
    code, output = run_plan(PAPER, "--clips", "1e6", "--gpus", gpus)
    assert code == 2
    assert "expected a number from 1 to 1,000,000, such as 64" in output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["teachers.vision=null", "teachers.audio=null"], "teachers: there is none with media"),
        (["student.model=mine"], "--rate student.parameters_b=4.7"),
        (["teachers.vision.model=mine"], "--rate teachers.vision.reply_tokens=300"),
        (
            ["merger.model=mine", "--rate", "merger.reply_tokens=9"],
            "too little is known about the model mine; give --rate merger.parameters_b=8",
        ),
        (["merger.engine.base_url=https://api.example/v1"], "--rate merger.prompt_price=0.5"),
        (["merger.engine.base_url=http://127.0.0.1:8000/v1"], "a server has one model"),
        (["--rate", "merger.parameters_b=70"], "merger: Qwen/Qwen2.5-14B-Instruct has 140 GB"),
        (["student.deepspeed=null", "--rate", "gpu.memory_gb=40"], "student.deepspeed=zero2"),
        (["--rate", "gpu.prise=3"], "did you mean gpu.price"),
        (["--rate", "teachers.second.gpu_s=3"], "there is none of this name"),
        (["--rate", "=3"], "--rate =3: expected NAME=VALUE"),
        (["--rate", "gpu.price=1e300"], "expected a number from 0 on, below 1e15"),
        (["--rate", "gpu.price"], "expected NAME=VALUE, such as gpu.price=2.5"),
        (["--rate", "gpu.price=nan"], "expected a number from 0 on"),
        (["--rate", "gpu.price=-1"], "expected a number from 0 on"),
        (["--rate", "gpu.price=cheap"], "expected a number from 0 on"),
        (["--rate", "kept.merged=48"], "it is a share, from 0 to 1"),
        (["--rate", "gpu.tflops=0"], "expected a number above 0"),
        (["--rates", "gone.yaml"], "gone.yaml"),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused_with_the_remedy(words, complaint):
    code, output = run_plan(PAPER, *words, *SIZE)
    assert code == 2
    assert complaint in output


def test_all_missing_rates_are_named_at_once_and_suffice():
    words = (PAPER, "teachers.vision.model=mine", "merger.model=yours", "student.model=ours")
    code, output = run_plan(*words, *SIZE)
    assert code == 2
    options = re.findall(r"--rate [a-z._]+=[0-9.]+", output)
    assert [option.split()[1].partition("=")[0] for option in options] == [
        "teachers.vision.reply_tokens",
        "teachers.vision.parameters_b",
        "merger.reply_tokens",
        "merger.parameters_b",
        "student.parameters_b",
        "student.trained_b",
    ]
    plan_of(*words, *SIZE, *(word for option in options for word in option.split()))


def test_fewer_gpus_than_a_server_needs_are_refused():
    serve = "merger.engine.serve=vllm serve m --tensor-parallel-size 4"
    code, output = run_plan(PAPER, serve, "--clips", "10", "--gpus", "2")
    assert code == 2
    assert "--gpus 2: merger (Qwen/Qwen2.5-14B-Instruct) needs 4 GPUs for one server" in output


def test_a_file_of_rates_that_is_no_mapping_is_refused(tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text("- gpu.price: 3\n")
    code, output = run_plan(PAPER, *SIZE, "--rates", str(path))
    assert code == 2
    assert "rates.yaml: expected sections" in output


# What is reckoned


def test_a_server_writes_as_many_replies_at_a_time_as_its_memory_holds():
    gpu, model = Gpu(72, 346, 1.675), Model(16, 3, cache_kb=40, n_gpus=1)
    assert rows_in_flight(model, gpu, context=10_000, most=256) == 100  # 40 GB by 0.4 GB
    assert rows_in_flight(model, gpu, context=10_000, most=16) == 16
    assert rows_in_flight(Model(36, 3, 40, 1), gpu, 10_000, 256) == 0
    assert rows_in_flight(Model(36, 3, 40, 2), gpu, 10_000, 256) == 180


def test_a_call_costs_its_prompts_arithmetic_and_its_replys_reading_of_memory():
    gpu, model = Gpu(80, 100, 2.0), Model(10, 5, cache_kb=100, n_gpus=1)
    # 1,000 x 10 GFLOP by 100 TFLOP/s; 20 GB + 10 x 1.1e3 tokens x 100 kB = 21.1 GB by 2 TB/s.
    assert call_gpu_s(model, gpu, (1000, 100), rows=10) == pytest.approx(0.1 + 100 * 0.01055 / 10)
    slow = call_gpu_s(model, gpu, (1000, 100), rows=10, least_step_s=0.04)
    assert slow == pytest.approx(0.1 + 100 * 0.04 / 10)


def test_the_arithmetic_of_training_is_that_of_the_page_about_gpus():
    text = (CONFIGS.parent / "docs" / "gpus.md").read_text(encoding="utf-8")
    assert "17.2 + 4 x 22.7 = 108 TFLOP" in text
    assert sample_tflop(3.09, tokens=3_400, towers=17.2) == pytest.approx(108, rel=0.1)
    assert "186 TFLOP" in text
    grpo = sample_tflop(3.09, tokens=4_350, towers=17.2, extra_tokens=3_150 + 4_350)
    assert grpo == pytest.approx(186, rel=0.1)
    resumable, model = checkpoint_gb(4.703, 3.397)
    assert resumable == pytest.approx(57, abs=1)  # "about 60 GB"
    assert model == pytest.approx(16.2, abs=0.1)
    assert training_gb(4.703, 3.397, has_reference=False, bytes_adam=8) == pytest.approx(63.8, 0.01)


def test_hours_are_those_of_the_scarcer_of_gpus_and_cores():
    assert hours_of(gpu_s=7200, core_s=0, gpus=2, cores=8) == 1
    assert hours_of(gpu_s=7200, core_s=3600 * 160, gpus=2, cores=8) == 10
    assert [usable_gpus(64, n) for n in (1, 3, 64, 65)] == [64, 63, 64, 0]


def test_calls_follow_from_clips_questions_answers_view_and_votes():
    judge = 'judges.main={"votes": 3, "temperature": 0.7}'
    rates = ("--rate", "clip.questions=2", "--rate", "kept.merged=0.25", "--rate", "gpu.price=2")
    plan = plan_of(
        PAPER, "teachers.vision.k=4", judge, "--clips", "1000", "--gpus", "8", *rates,
        "--rate", "judges.main.reply_tokens=100",
    )  # fmt: skip
    calls = {stage["name"]: stage["calls"] for stage in plan["stages"]}
    assert calls["trace vision"] == 1000 * 2 * 4
    assert calls["trace audio"] == 1000 * 2
    assert calls["merge"] == 500
    assert calls["judge main"] == 1500
    vision = stage_of(plan, "trace vision")
    assert vision["money"] == pytest.approx(vision["hours"] * 8 * 2)
    assert plan["total"]["money"] == pytest.approx(sum(s["money"] for s in plan["stages"]))
    assert plan["storage_gb"] == pytest.approx(sum(s["gb"] for s in plan["storage"]))


def test_twice_the_clips_take_twice_the_calls_and_files_but_not_twice_the_training():
    one, two = (plan_of(PAPER, "--clips", n, "--gpus", "64") for n in ("1e6", "2e6"))
    for name in ("trace vision", "prepare", "build"):
        for field in ("calls", "gpu_hours", "core_hours", "hours"):
            assert stage_of(two, name)[field] == pytest.approx(2 * stage_of(one, name)[field])
    assert stage_of(two, "grpo") == stage_of(one, "grpo")  # grpo.max_steps
    assert stage_of(two, "sft")["hours"] == pytest.approx(2 * stage_of(one, "sft")["hours"], 0.01)


def test_a_run_reads_and_asks_no_more_than_its_limits():
    size, questions = ("--clips", "1000", "--gpus", "8"), ("--rate", "clip.questions=2")
    plan = plan_of(PAPER, "data.sample=900", "data.limit=500", *size, *questions)
    assert (plan["clips"], plan["samples"]) == (250, 500)
    assert stage_of(plan, "trace vision")["calls"] == 500
    some = plan_of(PAPER, "data.limit=500", "generate.limit=100", *size, *questions)
    assert (some["clips"], some["samples"]) == (250, 500)
    assert stage_of(some, "trace vision")["calls"] == 100
    assert stage_of(some, "merge")["calls"] == 48
    assert stage_of(some, "prepare")["hours"] == stage_of(plan, "prepare")["hours"]
    gb = [{store["name"]: store["gb"] for store in each["storage"]} for each in (plan, some)]
    assert gb[1]["media"] == gb[0]["media"]
    for name in ("payloads", "traces", "dataset"):
        assert gb[1][name] == pytest.approx(gb[0][name] / 5)
    _, output = run_plan(PAPER, "data.limit=500", "generate.limit=100", *size, *questions)
    assert "data.limit=500: 500 samples of 250 clips\n" in output
    assert "generate.limit=100: teachers are asked about 100 samples" in output
    wide = plan_of(PAPER, "data.limit=5000", "generate.limit=3000", *size, *questions)
    assert (wide["clips"], wide["samples"], wide["notes"]) == (1000, 2000, [])


def test_traces_of_one_teacher_ask_no_merger_and_a_script_no_gpu(tmp_path):
    plan = plan_of(PAPER, "generate.traces_of=audio", *SIZE)
    assert not [stage for stage in plan["stages"] if stage["name"].startswith("merge")]
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "", "reply": "x"}\n')
    engine = f"teachers.vision.engine={json.dumps({'kind': 'scripted', 'script': str(script)})}"
    plan = plan_of(PAPER, engine, *SIZE)
    vision = stage_of(plan, "trace vision")
    assert vision["gpu_hours"] == 0
    assert vision["core_hours"] > 0
    assert vision["no_gpu"] == "scripted"
    assert not [name for name in plan["rates"] if name.startswith("teachers.vision.")]
    row = next(x for x in run_plan(PAPER, engine, *SIZE)[1].splitlines() if "trace vision " in x)
    assert row.endswith(" scripted")


def test_a_hosted_model_costs_its_tokens():
    rates = ("prompt_tokens=1000", "reply_tokens=100", "prompt_price=2", "reply_price=10")
    options = [word for rate in rates for word in ("--rate", f"merger.{rate}")]
    plan = plan_of(PAPER, "merger.engine.base_url=https://api.example/v1", *options, *SIZE)
    merge = next(stage for stage in plan["stages"] if stage["name"].startswith("merge"))
    assert merge["gpu_hours"] == 0
    assert merge["money"] == pytest.approx(merge["calls"] * (1000 * 2 + 100 * 10) / 1e6)


@pytest.mark.parametrize("name", ["paper", "recommended", "demo"])
def test_every_number_says_where_it_comes_from(name):
    plan = plan_of(str(CONFIGS / f"{name}.yaml"), *SIZE)
    for row in (*plan["stages"], *plan["storage"]):
        size = row.get("gb", 1)
        assert row["rates"] or size == 0, row
        assert set(row["rates"]) <= plan["rates"].keys()
    for rate in plan["rates"].values():
        assert rate["origin"] in ("given", "measured", "stated", "reckoned")
        assert rate["source"]
    code, output = run_plan(str(CONFIGS / f"{name}.yaml"), *SIZE)
    assert code == 0
    assert all(rate in output for rate in plan["rates"])


def test_given_rates_win_over_measured_over_stated_and_the_command_line_over_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("gpu.price: 7\ncore.price: 8\n")
    given = given_rates(path, ["gpu.price=9"], [])
    assert (given["gpu.price"].value, given["gpu.price"].source) == (9, "--rate")
    assert (given["core.price"].value, given["core.price"].source) == (8, "mine.yaml")
    layers = [{"a": Rate(1, "given", "")}, {n: Rate(2, "measured", "") for n in "ab"}]
    rates = Rates(*layers, {n: Rate(3, "stated", "") for n in "abc"})
    assert [rates.get(name) for name in "abc"] == [1, 2, 3]
    assert rates.get("d", lambda: (4.0, "a formula")) == 4
    assert rates.used["d"] == Rate(4.0, "reckoned", "a formula")


@pytest.mark.parametrize(
    ("gpus", "batch", "sft", "grpo"),
    [
        (1, 32, "571 steps with a batch of 32 samples", "571 steps with a batch of 32 prompts"),
        (
            8,
            256,
            "(32 on one GPU; sft.gradient_accumulation_steps=4 keeps 32)",
            "(32 on one GPU; grpo.prompts_per_step=4 keeps 32)",
        ),
        (
            64,
            2048,
            "sft.gradient_accumulation_steps=1 makes it 64",
            "grpo.prompts_per_step=1 makes",
        ),
    ],
)
def test_a_training_says_its_batch_and_what_keeps_it(gpus, batch, sft, grpo):
    words = ("sft.gradient_accumulation_steps=32", "grpo.prompts_per_step=32", "--clips", "40050")
    plan = plan_of(PAPER, *words, "--gpus", str(gpus), "--rate", "clip.questions=1")
    assert stage_of(plan, "sft")["batch"] == stage_of(plan, "grpo")["batch"] == batch
    assert sft in stage_of(plan, "sft")["note"]
    assert grpo in stage_of(plan, "grpo")["note"]
    assert ("on one GPU" in stage_of(plan, "sft")["note"]) == (gpus > 1)
    _, output = run_plan(PAPER, "--clips", "1", "--gpus", "1", "--rate", "clip.questions=1")
    assert "1 clip (1 sample) on 1 GPU\n" in output
    assert "sft: 1 step with" in output


def test_checkpoints_of_adapters_have_the_adapters_alone_and_the_model_all_of_its_weights():
    text = (CONFIGS.parent / "docs" / "gpus.md").read_text(encoding="utf-8")
    assert "| trained weights, float32 | 12.7 | 12.7 | 0.1 |" in text
    words = (PAPER, "student.lora.rank=16", "student.deepspeed=null", "sft.keep_checkpoints=4")
    plan = plan_of(*words, *SIZE)
    adapters = 16 * plan["rates"]["student.adapter_m"]["value"] * 1e6
    assert 4 * adapters / 2**30 == pytest.approx(0.1, abs=0.02)
    sizes = {store["name"]: store["gb"] for store in plan["storage"]}
    model = 4 * 4.7
    assert sizes["checkpoints of grpo"] == pytest.approx(3 * 16 * adapters / 1e9 + model)
    assert sizes["checkpoints of sft"] == pytest.approx((3 * 16 + 2 * 4) * adapters / 1e9 + model)
    unknown = ("student.model=mine", "--rate", "student.parameters_b=4", "--rate")
    rates = plan_of(*words, *unknown, "student.trained_b=3", *SIZE)["rates"]
    assert rates["student.adapter_m"]["origin"] == "reckoned"


# What a run measures


def write_measured_run(run: Path, n_calls: int, seconds: int) -> None:
    """A run with that many replies of each role in so many seconds, tables, and a training."""
    settings = [f"run.dir={run.parent}", f"run.name={run.name}"]
    save_config(load_config(Path(PAPER), settings), works=False)
    reply = Completion("x" * 100, "stop", n_prompt_tokens=2000, n_completion_tokens=100)
    with open_ledger(run) as ledger:
        for stage, role in (("trace", "vision"), ("trace", "audio"), ("merge", "merger")):
            for n in range(n_calls):
                sampling = Sampling(0.0, 1.0, 9, seed=n)
                call = Call(stage, f"s{n}", role, {"model": "m"}, None, f"{role}?", sampling)
                ledger.record(call.key, call, Carried.by(Prompt("?")), reply)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with sqlite3.connect(run / "ledger.sqlite") as connection:
        for row, (key,) in enumerate(
            connection.execute("SELECT key FROM calls ORDER BY rowid").fetchall()
        ):
            at = start + timedelta(seconds=(row % n_calls) * seconds / n_calls)
            created = at.isoformat(timespec="milliseconds")
            connection.execute("UPDATE calls SET created = ? WHERE key = ?", (created, key))
    connection.close()
    pq.write_table(pa.table({"size_bytes": [2_000_000] * 50}), run / "media.parquet")
    pq.write_table(pa.table({"id": list(range(100))}), run / "samples.parquet")
    for stage, counts in (("merge", {"read": 100, "kept": 60}), ("build", {"kept": 30})):
        path = run / "manifests" / f"{stage}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"settings": {}, "inputs": {}, "counts": counts})
    batch = {"per_device_batch_size": 2, "gradient_accumulation_steps": 4}
    write_json(
        run / "manifests" / "sft.json", {"settings": {"sft": batch}, "inputs": {}, "counts": {}}
    )
    (run / "sft").mkdir()
    lines = [json.dumps({"step": n, "step_time_s": 4.0}) + "\n" for n in range(5)]
    (run / "sft" / "log.jsonl").write_text("".join(lines))


def test_a_run_gives_the_rates_that_it_measured(tmp_path):
    run = tmp_path / "paper"
    write_measured_run(run, n_calls=300, seconds=100)
    plan = plan_of(PAPER, f"run.dir={tmp_path}", *SIZE)
    rates = {name: rate["value"] for name, rate in plan["rates"].items()}
    assert rates["clip.mb"] == 2
    assert rates["clip.questions"] == 2
    assert rates["kept.merged"] == 0.6
    assert rates["kept.dataset"] == 0.5
    assert rates["teachers.vision.reply_tokens"] == 100
    assert rates["merger.prompt_tokens"] == 2000
    assert rates["teachers.vision.gpu_s"] == pytest.approx(100 / 300)
    assert rates["sft.sample_gpu_s"] == 0.5
    measured = plan["rates"]["teachers.vision.gpu_s"]
    assert measured["origin"] == "measured"
    assert measured["source"] == "in paper, 300 replies in 100 s on 1 GPU"
    vision = stage_of(plan, "trace vision")
    assert vision["gpu_hours"] == pytest.approx(2e6 / 3 / 3600)


def test_pauses_between_replies_are_no_part_of_a_pace_and_few_replies_are_none(tmp_path):
    run = tmp_path / "paper"
    write_measured_run(run, n_calls=20, seconds=20 * 600)  # one in ten minutes
    rates = plan_of(PAPER, f"run.dir={tmp_path}", *SIZE)["rates"]
    assert rates["teachers.vision.gpu_s"]["value"] == 20 * 10 / 20
    write_measured_run(tmp_path / "few" / "paper", n_calls=19, seconds=3600)
    rates = plan_of(PAPER, f"run.dir={tmp_path / 'few'}", *SIZE)["rates"]
    assert rates["teachers.vision.gpu_s"]["origin"] == "reckoned"
    assert rates["teachers.vision.reply_tokens"]["origin"] == "stated"
    assert "paper has 19 replies: too few to measure" in rates["merger.reply_tokens"]["source"]
    pq.write_table(
        pa.table({"size_bytes": [2_000_000] * 4}), tmp_path / "few" / "paper" / "media.parquet"
    )
    code, output = run_plan(PAPER, f"run.dir={tmp_path / 'few'}", *SIZE)
    assert code == 0
    clip = next(line for line in output.splitlines() if line.startswith("clip.mb "))
    assert clip.endswith("paper has 4 clips: too few to measure")


def test_a_damaged_run_is_refused_by_name(tmp_path):
    run = tmp_path / "paper"
    write_measured_run(run, n_calls=1, seconds=1)
    (run / "manifests" / "merge.json").write_text("{")
    code, output = run_plan(PAPER, f"run.dir={tmp_path}", *SIZE)
    assert code == 2
    assert "merge.json" in output


def test_a_plan_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_plan(load_config(Path(PAPER)), 1_000_000, 64, {})
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_the_page_are_those_of_the_command(tmp_path):
    page = (CONFIGS.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    tables = re.findall(r"^```text\n(plan of .*?)\n```", page, re.MULTILINE | re.DOTALL)
    for clips, table in zip(("1e6", "5e7"), tables, strict=True):
        words = (PAPER, f"run.dir={tmp_path}", "--clips", clips, "--gpus", "64")
        code, output = run_plan(*words)
        assert code == 0
        command = f"avrt plan configs/paper.yaml --clips {clips} --gpus 64"
        assert output.startswith(f"{table}\n\nrate "), f"put what `{command}` prints into the page"


def test_the_page_says_what_the_rates_say():
    page = (CONFIGS.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    one, other = (plan_of(str(CONFIGS / f"{n}.yaml"), *SIZE) for n in ("paper", "recommended"))
    assert round(other["total"]["money"] / one["total"]["money"]) == 15
    assert "cost 15 times as much" in page
    asked = [s for s in one["stages"] if s["name"].split()[0] in ("trace", "merge")]
    share = stage_of(one, "trace vision")["gpu_hours"] / sum(s["gpu_hours"] for s in asked)
    assert share == pytest.approx(0.75, abs=0.01)
    assert "Of the GPU hours of trace and merge, the vision teacher has three quarters" in page
    assert share * sum(s["gpu_hours"] for s in asked) == pytest.approx(
        0.25 * one["total"]["gpu_hours"], rel=0.05
    )
    assert "of all GPU hours a quarter" in page
