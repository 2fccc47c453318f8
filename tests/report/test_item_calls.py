"""The calls behind an item's texts: the prompts of the page are those of the ledger."""

from __future__ import annotations

import json
from pathlib import Path

from avrt.ask.ledger import read_ledger
from avrt.generate import trace
from avrt.prompts import format_options
from avrt.report import item_calls
from avrt.report.item_calls import open_calls
from reading_pages import read_items, written


def calls_of(items: list[dict]) -> list[tuple[dict, dict]]:
    """Every text of a teacher or the merger that has a call, with its item."""
    return [
        (item, text)
        for item in items
        for text in [*item["traces"], item["merged"]]
        if text is not None and text["key"]
    ]


def filled(item: dict, text: dict, prompts: list[dict]) -> dict[str, str]:
    """The prompt, as the page fills it."""
    asked = text["asked"]
    template = asked if isinstance(asked, dict) else prompts[asked]
    places = text.get("order", range(len(item["options"])))
    fields = {
        "question": item["question"],
        "options": format_options([item["options"][place] for place in places]),
        "answer": f"({item['target']}) {item['options']['ABCD'.index(item['target'])]}",
        **{f"trace {n}": each["text"].strip(" \t\r\n") for n, each in enumerate(item["traces"])},
    }
    return {
        part: "".join(fields[p] if n % 2 else p for n, p in enumerate(parts))
        for part, parts in template.items()
    }


def check(run: Path, items: list[dict], prompts: list[dict]) -> None:
    found = calls_of(items)
    with read_ledger(run) as ledger:
        stored = ledger.find_calls([text["key"] for _, text in found])
    assert found
    for item, text in found:
        call = stored[text["key"]]
        system = {} if call.request["system"] is None else {"system": call.request["system"]}
        assert filled(item, text, prompts) == {**system, "user": call.request["text"]}
        assert text["latency_s"] == round(call.completion.latency_s, 3)


def test_every_prompt_of_the_page_is_the_ledgers_and_few_templates_make_them(full_run, tmp_path):
    done = written(full_run, tmp_path)
    check(full_run.run.path, read_items(tmp_path), done.prompts)
    assert len(done.prompts) == 3


def test_options_that_a_teacher_saw_in_another_order_are_in_that_order(a_run, tmp_path):
    shuffled = a_run.generate.model_copy(update={"shuffle_options": True})
    config = a_run.model_copy(update={"generate": shuffled})
    (config.run.path / "manifests" / "trace.json").unlink()
    trace.run(config)
    done = written(config, tmp_path)
    items = read_items(tmp_path)
    check(config.run.path, items, done.prompts)
    assert any("order" in text for _, text in calls_of(items))


def test_prompts_beyond_the_shared_templates_stand_in_their_items(full_run, tmp_path, monkeypatch):
    monkeypatch.setattr(item_calls, "MAX_TEMPLATES", 1)
    done = written(full_run, tmp_path)
    assert len(done.prompts) == 1
    check(full_run.run.path, read_items(tmp_path), done.prompts)


def test_without_the_ledger_the_items_are_there_without_prompts(a_run, tmp_path):
    ledger = a_run.run.path / "ledger.sqlite"
    ledger.unlink()
    done = written(a_run, tmp_path)
    assert (done.faults, done.prompts) == ([], [])
    assert all("asked" not in text for _, text in calls_of(read_items(tmp_path)))
    ledger.write_bytes(b"no ledger at all" * 1000)
    done = written(a_run, tmp_path)
    assert len(done.faults) == 1
    assert done.faults[0].startswith("ledger.sqlite: ")
    assert done.n_items == 24


def test_a_field_that_occurs_by_chance_changes_no_prompt():
    item = {
        "question": "options or user?",
        "options": ["a", "b"],
        "target": "A",
        "traces": [{"text": " (A) a\n(B) b ", "key": "x"}],
        "merged": None,
    }
    prompt = "options or user? (A) a\n(B) b / (A) a\n(B) b options or user?"
    with open_calls(Path("/nowhere"), []) as calls:
        fields = item_calls._fields(item, item["traces"][0])
        parts = item_calls._take_apart(prompt, fields)
        assert calls.templates == []
    assert "".join(fields[p] if n % 2 else p for n, p in enumerate(parts)) == prompt
    assert json.loads(json.dumps(parts)) == parts
