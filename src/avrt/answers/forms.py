"""The table of forms: what holds a statement, how it names a letter, letters in prose, denials.

All but the marks are of plain text, in which `avrt.answers` has put private characters for tags.
"""

from __future__ import annotations

import re

from avrt.types import LETTERS

L = f"[{LETTERS}]"
ANY = f"(?i:{L})"
"""An option's letter; in either case."""
MARK = re.compile(
    r"<\s*(?P<slash>[/\\]\s*)?(?:(?P<answer>(?:final)?\s?answer)|(?P<box>box))"
    r"(?:\s+\w+\s*=[^<>]*|\s*)(?:>|\Z)"
    r"|(?P<begin><\|beginofbox\|>)|(?P<end><\|endofbox\|>)"
    r"|(?P<boxed>\\[bf]?box(?:ed)?\s*\{)|(?P<styled>\\(?:text|math|emph|mbox|bold)[a-z]*\s*\{)"
    r"|(?P<brace>[{}])|\\(?P<bracket>[()\[\]])|(?P<arrow>\\(?:long)?rightarrow|\\to\b)"
    r"|<\|[^<>|]{1,64}\|>|</?s>|<(?:eos|bos|pad|unk|endofturn|/?INST)>|\[/?INST\]|\$(?!\d)"
    r"|</?(?:b|i|u|em|strong|code|span|font|mark|p|br|div)(?:\s+\w+=[^<>]*|\s*/?)>",
    re.IGNORECASE,
)
"""Tags, boxes and LaTeX that become marks; and special tokens and emphasis, which go."""
BLOCK = re.compile("\ue000([^\ue000\ue001]*)(\ue001|\\Z|(?=\ue000))")
BOXED = re.compile("\ue002([^\ue002\ue003]*)(\ue003|\\Z|(?=\ue002))")
HEADS = (
    *("answer", "réponse", "antwort", "respuesta", "risposta", "resposta", "ответ", "الإجابة"),
    *("答案", "正解", "答え", "정답"),
)
HEAD = rf"((?<!\w)(?:{'|'.join(HEADS[:8])})|{'|'.join(HEADS[8:])})"
LABEL = re.compile(rf"{HEAD}(?:[ \t]+(?:choice|option|letter))?'?[ \t]*[:=]\s*")
SENTENCE = re.compile(
    rf"(?:{HEAD}|((?:option|choice)(?:(?<=correct.{{7}})|(?<=right.{{7}})|(?<=best.{{7}}))))"
    r"(?:[ \t]+(?:is|must be|should be|would be|est|ist|es|è|é)\b|[ \t]*[是为為は은는])[ \t:]*"
)
"""Both in lower case: patterns that ignore case are slow."""
STATED = re.compile(
    rf"(?:[>•-]\s+)*(?:(?i:option|choice)\s*:?\s+)?(?:[(\[{{<']+\s*({ANY})\s*[)\]}}>']"
    rf"|({ANY})(?=\s*(?:[.):;/\]}}\ue000-\ue003]|\Z)|\s+-\s)"
    rf"|({L})(?=\s*(?:,|\n)|\s+(?:because|since|as|(?:and|or)\s+[(\[]?{L})\b))"
)
"""A letter that starts an explicit statement: "(b)", "b.", "option B"; before words "a" is an
article.
"""
MENTION = re.compile(
    rf"^[ \t>•-]*(?:({L})[.)](?!\S)|[(\[{{<']*({ANY})[)\]}}>'.:]*(?=[ \t]*$))"
    rf"|[(\[]({L})[)\]]|\([^()]*\)|\b(?i:option|choice):? ({L})\b(?!')"
)
"""Letters in a line of prose; other brackets are skipped whole, so "(blood type A)" is none."""
LISTED = re.compile(rf"(?<!\S)({L})[.)](?!\S)")
PAIRED = re.compile(rf"[ \t>•-]*(?:({L})\s|[(\[]?({ANY})\s*[)\].:;,=|-])")
"""A letter that counts when all that follows is the text of its option."""
ALSO = re.compile(
    r"(?:^|[.,;:!?/|&+()\[\]>~]|\b(?:or|and|but|not|to)\b|\s-|->)[ \t(\[]*"
    r"(?:(?i:or|and|but|not|no|is|it|it's|its|maybe|perhaps|possibly|probably|actually|rather"
    rf"|hmm|wait|then|even|option|choice)\b[ \t,.:(\[]*){{0,5}}({L})"
    r"(?=\s*(?:\Z|[.,;:!?/|&+()\[\]\n\ue000-\ue003]|(?:or|and|but|because|since)\b|-\s))",
    re.MULTILINE,
)
"""A further letter behind a stated one: " or (B)", "/B", ", B", ". Hmm, actually B"."""
SECOND = re.compile(rf"\n[ \t]*(?:(?:or|and)[ \t]+)?[(\[]?{L}[)\].]*[ \t]*(?=\n|\Z)")
"""A line below a statement that is another letter."""
JOINED = re.compile(r"\s*(?:,?\s*(?:or|and)\b|[,;/&+|])\s*")
SIDE_BY_SIDE = re.compile(r"[\s$,;/&+|]*(?:\b(?:or|and)\b[\s$]*)?")
"""What stands between two boxes that are one statement."""
ARTICLE = re.compile(r"[\s()\[\]{}>.:;,=-]*(?:(?:or|and)\s+)?((?:the|an?)\s+)?", re.IGNORECASE)
GOES_ON = re.compile(r"\s+(?!or\b|and\b)\w")

# --- What denies a letter, or a statement: words before it in its clause, or right behind it.
CLAUSE = re.compile(
    r"[.;!?\n]|,(?!\s*(?:or|nor)\b)|\b(?:but|so|because|since|hence|thus|therefore|sondern|mais|sino)\b"
    r"|\band (?=the\b|it\b|so\b)|而是|所以",
    re.IGNORECASE,
)
NO = re.compile(
    r"\b(?:no(?! doubt)|not|non|never|neither|nor|cannot|except|than|instead|unlike|wrong|incorrect"
    r"|false|unlikely|least|worst|(?:exclud|eliminat|reject|discard|dismiss)\w*|rul\w+ (?:\w+ )?out"
    r"|(?<!no )doubt|nicht|kein\w*|ne|pas|n[ãa]o|nem|ни|не|нет)\b|n't\b|n'|[不非]|除了|排除",
    re.IGNORECASE,
)
NOT_THIS = re.compile(rf"(?:{NO.pattern})(?:\s+(?:be|is|the|option|choice))*[\s$(\[]*$", re.I)
NOT_FINAL = re.compile(
    r"\b(?:second|third|next|previous|initial|original|first|their|his|her|some\w*|\w+'s)"
    r"(?: (?:best|correct|right|possible))* *$",
    re.IGNORECASE,
)
"""Before "answer": it is another one than the reply's."""
DENIED_BEHIND = re.compile(
    rf"(?:[\s)\].,:-]+(?:(?:and|or)\s+)?[(\[]?{L}(?![^\W_])){{0,4}}"
    r"[\s)\].,:-]*(?:(?:which|that|this|also|still|both)\s+)*"
    r"(?:(?:(?:is|was|are|were|be|been|being|seems?|looks?|sounds?|appears?|can|could|does|do|did|has|have"
    r"|had|would|might|may|must|should|will|ist|est|es)\s*){1,3}"
    r"(?:(?:\w{1,20}ly|quite|too|just|so|very|the|an?)\s+){0,3}"
    r"(?:not|n't|no|wrong|incorrect|false|out|less|unlikely|impossible|implausible|ruled|eliminated"
    r"|excluded|tempting|nicht|pas|falsch|faux|contradicted|unsupported)\b"
    r"|(?:wrong|incorrect|false|impossible|unlikely|implausible|lacks|contradicts|fails|no(?=\s*(?:[.,;]|$)))\b"
    r"|[❌✗✘×不]|(?:では|じゃ)な)",
    re.IGNORECASE,
)
