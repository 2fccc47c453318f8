"""Facts about exported rows: whatever their texts hold, placeholders and lists agree."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

import avrt.engines.torchcompat  # noqa: F401
from avrt.exchange.exports import FORMATS
from avrt.exchange.exports.chat import llamafactory_row, ms_swift_row, trl_row
from avrt.exchange.exports.formats import Entry, ExportOptions, ExtractedClip, drop_reason
from avrt.exchange.exports.r1 import video_r1_row
from avrt.types import Sample
from exported import check_messages, check_trl

TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "<video>",
        "<audio><image>",
        "a <|video_pad|> b",
        "</video>",
        "< video >",
        "<VIDEO>",
        "{question}",
    ]
)


@given(TEXTS, st.lists(TEXTS, min_size=2, max_size=8), TEXTS, st.booleans(), st.booleans(),
       st.booleans())  # fmt: skip
@settings(deadline=None)
def test_whatever_the_texts_hold_placeholders_and_lists_agree(
    question, options, thought, is_video, has_media, grpo
) -> None:
    sample = Sample(
        "s", question, tuple(options), 0, "Which", "both", "v", "v.mp4" if is_video else None,
        None if is_video else "i.png", None if is_video else "a.wav", "test",
    )  # fmt: skip
    media = ExtractedClip(("media/v/0.jpg", "media/v/1.jpg"), 1.0, "media/v.flac", "media/v.mp4")
    text = f"{question}\n{options}"
    trace = f"<think>{thought}</think><answer>A</answer>"
    entry = Entry(sample, trace, None, text, {}, media if has_media else None)
    choice = ExportOptions(grpo=grpo, with_media=has_media)
    last = "user" if grpo else "assistant"
    if drop_reason(entry, FORMATS["ms-swift"], choice) is None:
        check_messages(ms_swift_row(entry, choice), last)
    if drop_reason(entry, FORMATS["llamafactory"], choice) is None and not grpo:
        one = llamafactory_row(entry, choice)
        check_messages(one, last)
        assert one["messages"][0]["content"].count("<video><audio>") == len(one.get("videos", ()))
    if drop_reason(entry, FORMATS["trl"], choice) is None:
        check_trl([trl_row(entry, choice)])
    json.dumps(video_r1_row(entry, 1, choice))
