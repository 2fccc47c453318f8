"""What a model or a data set may write, and a run in which every field has it.

Nothing of it may run, be fetched or break the layout. `RAN` is set in the window by whatever runs.
"""

from __future__ import annotations

from pathlib import Path

from avrt.config import Config
from synthetic_run import write_run

__all__ = ["HOST", "POISONS", "RAN", "poisoned_run"]

RAN = "avrtRan"
HOST = "elsewhere.invalid"
_RUN = f"window.{RAN}=1"
_FETCH = f"https://{HOST}/x"
POISONS = (
    f"<script>{_RUN};alert(1)</script>",
    f"</script><script>{_RUN}</script>",
    f"<img src=x onerror='{_RUN}'><img src='{_FETCH}.png'>",
    f'<svg onload="{_RUN}"><animate onbegin="{_RUN}" attributeName=x dur=1s></svg>',
    f"<iframe srcdoc=\"<script>parent.{RAN}=1</script>\" src='{_FETCH}'></iframe>",
    f'"><a href="javascript:{_RUN}">a link</a><form action={_FETCH}><button>send</button></form>',
    f"javascript:{_RUN}",
    f"' autofocus onfocus='{_RUN}' onmouseover='{_RUN}' style='position:fixed;inset:0",
    f'");{_RUN};//',
    f"\\u0022);{_RUN};//\\",
    f"${{{_RUN}}}`+{_RUN}+`{{{{constructor.constructor('{_RUN}')()}}}}",
    f"\u2028{_RUN}\u2029;{_RUN}//",
    f"<!--<script>{_RUN}-->]]></style></textarea></title><base href={_FETCH}/>",
    f"<style>@import '{_FETCH}.css'; * {{ background: url({_FETCH}.gif); display: none }}</style>",
    f"<link rel=stylesheet href={_FETCH}.css><meta http-equiv=refresh content='0;url={_FETCH}'>",
    f"<audio src={_FETCH}.wav autoplay></audio><video poster={_FETCH}.png></video>",
    "\u202egpj.exe\u2066 \u2067abc\u202b right to left \u061c\u200f",
    "a\0b \x1b[31mred\x1b]0;title\x07 \x7f\x85\ufeff\ufffe",
    "__proto__",
    "constructor",
    "prototype",
    "hasOwnProperty",
    "toString",
    "__defineGetter__",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '\t=1+1,"quoted",a\r\n=2+2',
    "x" * 5_000,
    "Z" + "\u0351\u036b\u0343\u036a\u0302" * 40 + "algo",
    "\u0633\u0644\u0627\u0645 \u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f467 \U000e0041",
    "../../../../etc/passwd%00#/items?q=x&y=%",
    f"//{HOST}/x file:///etc/passwd data:text/html,<script>{_RUN}</script>",
    "&lt;b&gt;&amp;&#60;script&#62; \\u003cscript\\u003e",
    "",
    "   \n\n\t",
    "NaN",
    "null",
)
BROKEN = "half a pair \ud83d, the other \ude00, both turned round \ude00\ud83d"
"""Only JSON can hold it: in Parquet, texts are UTF-8."""
LONG = 1 << 20
_UNIQUE = ("__proto__", "constructor", "prototype", "hasOwnProperty", "toString", "valueOf")


def poison(field: str, number: int) -> str:
    """Every field goes through all of them in an order of its own."""
    if field == "id":
        return _UNIQUE[number] if number < len(_UNIQUE) else f"{_at(number, 0)} {number}"
    if field == "video":  # a path that does not leave the folder of the data
        return f"videos/{_at(number, 3).replace('..', '')} {number}.mp4"
    if field == "answer" and number % 3 == 0:
        return BROKEN
    if number == 40 and field in ("question", "option", "vision", "audio", "merged", "quote"):
        return "long " * (LONG // 5)
    if field == "answer" and number % 64 == 2:
        return "<b>" * (LONG // 3)
    return _at(number, sum(map(ord, field)))


def _at(number: int, shift: int) -> str:
    return POISONS[(number + shift) % len(POISONS)]


def poisoned_run(folder: Path) -> Config:
    """Sixty questions of a data set and twenty of a benchmark; names that no setting allows."""
    data = {"format": "parquet", "root": str(folder / "data"), "split": "bench"}
    name = "<img src=x onerror=window.avrtRan=1>"
    config = Config.model_validate(
        {
            "run": {"dir": str(folder), "name": "run"},
            "data": data | {"split": "train"},
            "student": {"model": "some/student"},
            "eval": {
                "benchmarks": {name: data},
                "models": {
                    "base": "base",
                    f"{name}'\"=1+1": f"some/{name}",
                    "__proto__": "<script>window.avrtRan=1</script>",
                    "constructor": f"javascript:{_RUN}",
                },
            },
        }
    )
    run = config.run.model_copy(update={"name": f"{name} & \"'%41#?\u202e"})
    config = config.model_copy(update={"run": run})
    (folder / "data").mkdir()
    write_run(config, 60, 20, poison)
    return config
