"""The forms in which models give an answer, as templates: {L} a letter, {l} in lower case, {F} in
full width, {t} the text of its option.
"""

from __future__ import annotations

__all__ = ["BOTH", "LETTERED", "OPTIONS", "TEXTS", "WRAPPERS", "filled"]

LETTERED = (
    *(
        "{L}",
        "{l}",
        "{F}",
        "{L}.",
        "{L})",
        "({L})",
        "({l})",
        "[{L}]",
        "（{F}）",
        "{F}．",
        "【{L}】",
    ),
    *("**{L}**", "__{L}__", "`{L}`", "*{L}*", "**({L})**", '"{L}"', "'{L}'", "“{L}”", "「{L}」"),
    *("$\\boxed{{{L}}}$", "\\boxed{{{L}}}", "$$\\boxed{{\\text{{{L}}}}}$$", "\\text{{{L}}}"),
    *("\\[\\boxed{{\\mathbf{{({L})}}}}\\]", "\\(\\boxed{{{L}}}\\)", "\\fbox{{{L}}}", "${L}$"),
    *("<|begin_of_box|>{L}<|end_of_box|>", "<box>{L}</box>", "It is <box>{L}</box>"),
    *("{L}<|im_end|>", "{L}</s>", "{L}<｜end▁of▁sentence｜>", "<b>{L}</b>", "['{L}']"),
    *("\ufeff{L}", "\u200b{L}\u200b", "\u202b{L}\u202c", "{L}\u00ad", "\u2067{L}\u2069"),
    *("Option {L}", "option {L}.", "Choice {L}", "- {L}", "{L}\n", "\n\n{L}\n\n"),
)
"""A letter alone."""
BOTH = (
    *("{L}. {t}", "({L}) {t}", "{L}) {t}", "{L}: {t}", "{L} - {t}", "{L} – {t}", "{L}, {t}"),
    *("{L} {t}", "**{L}. {t}**", "**{L}.** {t}", "[{L}] {t}", "（{F}）{t}", "{F}．{t}"),
    *("{F}：{t}", "{l}) {t}", "{L}. \\text{{{t}}}", '"{L}. {t}"', "{L}.\u200b {t}", "{L}. {t}."),
    *("$\\boxed{{{L}. {t}}}$", "\\boxed{{\\text{{{L}. {t}}}}}", "<box>{L}. {t}</box>"),
    "<|begin_of_box|>{L}. {t}<|end_of_box|>",
)
"""A letter and the text of its option."""
TEXTS = ("{t}", "{t}.", "**{t}**", '"{t}"', "“{t}”", "\ufeff{t}", "{t}\n", " {t} ", "{t}<|im_end|>")
"""The text of an option alone."""
WRAPPERS = (
    *("{}", "<answer>{}</answer>", "<think>(H)?</think><answer>{}</answer>"),
    *("<answer> {} </answer>", "<ANSWER>\n{}\n</ANSWER>", '<answer type="letter">{}</answer>'),
    *("< answer >{}</ answer >", "＜answer＞{}＜/answer＞", "<final_answer>{}</final_answer>"),
    *("<answer>{}", "<think>x</think><answer>{}", "<answer>{}<answer>"),
    *("<answer>{}</answer> Option H was tempting.", "<answer>H</answer> No: <answer>{}</answer>"),
    *(
        "Answer: {}",
        "**Answer:** {}",
        "Answer：{}",
        "Final answer: {}",
        "ANSWER:\n{}",
        "answer = {}",
    ),
    *("I hear it.\nFinal answer: {}", '{{"answer": "{}"}}', "◁think▷Answer: H◁/think▷Answer: {}"),
    *("The answer is {}", "The answer is **{}**", "The correct answer is: {}"),
)
"""What a form stands in."""
OPTIONS = (
    ("Rain->Thunder->Silence", "Thunder->Rain->Silence", "Silence->Rain->Thunder", "none"),
    ("C major", "A minor", "B minor", "D minor"),
    ("< 10 dB", "10 dB to 60 dB", "> 60 dB", "10"),
    ("-1", "1", "+1", "0"),
    ("a dog", "a cat", "A man is talking", "D minor"),
    ("$x^2$", "\\frac{1}{2}", "x_1", "\\text{cm}"),
    ("They answer: no", "no answer", "answer", "the best option is B"),
    ("🐶 dog", "🐱", "👨‍👩‍👧", "❤️"),
    ("كلب", "قطة", "שלום עולם", "سيارة"),
    ("狗叫", "汽车", "ドラム（太鼓）", "「你好」"),
    ("ｆｕｌｌ", "Ｗｉｄｔｈ", "half", "①"),
    ('"Hello"', "It's me", "dogs' bark", "“Hi”"),
    ("<b>bold</b>", "a < b > c", "[x]", "{y}"),
    ("Both A and B", "A or B", "None of the above", "(A) team"),
    ("Vitamin C", "Plan B", "E. coli", "A.M."),
    ("A->B->C", "B->A->C", "C->B->A", "A->C->B"),
    ("E, D, C", "C, D, E", "D, C, E", "C, E, D"),
    ("not B", "wrong", "B is wrong", "is not (A)"),
    ("dog", "a dog", "the dog", "dog and cat"),
    ("one, two", "two; one", "(one) two", "one. two."),
)
"""Options that hold what the rules look for."""


def filled(form: str, letter: str, text: str) -> str:
    """A form about an option."""
    wide = chr(ord(letter) + 0xFEE0)
    return form.format(L=letter, l=letter.lower(), F=wide, t=text)
