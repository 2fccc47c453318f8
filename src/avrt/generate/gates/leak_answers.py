"""Patterns of gate `leak` about the answer, when it was known, and about the task."""

from __future__ import annotations

from avrt.generate.gates.leak_context import (
    answered_in_clip,
    by_someone,
    named_in_clip,
    said_in_clip,
)
from avrt.generate.gates.leak_pattern import ANSWER, ANY_LETTER, GIVEN, OPTION, group

__all__ = ["ANSWERS", "TASK"]

_RIGHT = r"(?:correct|right|true|proper|actual)"

# The answer is given

_PREMISE = (
    r"(?:since|as|because|given(?: that)?|seeing(?: that)?|considering(?: that)?|knowing(?: that)?|"
    r"now that|assuming(?: that)?|with|provided that|granted that|accepting(?: that)?|if we accept)"
)
_MUST = (
    r"(?:need|needs|needed|have|has|had|must|should|ought|supposed|meant|required|expected|want|"
    r"wanted|aim|goal|task|job|try|trying|remains|bound|obliged|asked|told|instructed|set out)"
)
_REACH = (
    r"(?:justify|defend|rationali[sz]e|arrive at|reach|end (?:up )?(?:at|with|in)|land on|get to|"
    r"lead (?:up )?to|conclude (?:with|on)|come (?:out )?(?:to|at)|back up|argue for|"
    r"argue in favou?r of|make (?:the|a) case for|support|build towards?|steer towards?|"
    r"work (?:up )?to(?:wards?)?|add up to|explain|confirm|find (?:support|reasons|evidence) for)"
)
_REACHED = (
    r"(?:justified|defended|rationali[sz]ed|arrived at|reached|argued (?:for|towards?)|backed up|"
    r"obtained|accounted for|explained|supported|made to fit|borne out)"
)
_ADVANCE = r"(?:beforehand|in advance|from the (?:start|outset|beginning)|up front|ahead of time)"

ANSWERS = (
    group(
        "answer",
        answered_in_clip,
        "answer option choice solution alternative letter response",
        r" (?:given|provided|supplied|expected|stated|known|pre-?determined|pre-?selected|"
        r"designated|intended|desired|target|targeted|gold|golden|reference|official|required|"
        r"specified|indicated|marked|prescribed|chosen|selected|annotated|labell?ed|established|"
        r"assigned|verified|keyed|preset|predefined|proposed|suggested|listed|wanted|sought|prior|"
        r"sought-after|set|claimed|confirmed|announced|declared|purported|said|model)"
        rf" (?:correct |right |final |proper )?{ANSWER}\b",
        r" (?:given|provided|stated|expected|required|desired|supplied|correct|right|target) "
        r"(?:response|letter)\b(?! (?:is|to|:)\b)",
        rf" letter(?: {ANY_LETTER})? (?:is|was) (?:already )?(?:known|given|provided)\b",
        rf" {ANSWER}(?: {ANY_LETTER})?,? (?:(?:that |which )?(?:(?:we|i)(?:'ve| were| was| have "
        r"been| had been| are| am)|is|was|are|were|has been|had been|have been|being|as)(?: \w+ly|"
        rf" already| just| here| simply| in fact)? )?(?:to be )?(?:{GIVEN}|stated|designated|"
        r"specified|known|marked|pre-?determined|revealed|listed|indicated|named|told|"
        r"communicated|prescribed|announced|confirmed to be|labell?ed)\b(?! (?:up|off|out|about|"
        r"aside|for))",
        r" (?:answer[- ](?:key|sheet|label)|solution (?:key|sheet))\b",
        rf" answer(?: {ANY_LETTER})? (?:above|at hand|on file|on record|already in|in (?:hand|"
        r"mind))\b",
        rf" answer(?: {ANY_LETTER})? (?:comes|come|came|has to come|must come|should come) out\b",
        rf" (?:the )?{_RIGHT} {ANSWER},? (?:being|was|has (?:already )?been|had been|as (?:given|"
        r"stated|provided|specified|indicated|known|listed)|(?:is|are) (?:already|known|said|"
        r"given|stated|listed|marked|told|provided|specified|indicated|supposed|meant|available|"
        r"at hand|confirmed as|set|in hand))\b",
        rf" {_PREMISE} (?:(?:the|this|that|our|my|its) )?(?:(?:{_RIGHT}|final) (?:answer|option|"
        r"choice|solution|letter|one)|answer)(?: here| to this| in question| to the question)?,? "
        rf"(?:is|being|was|has|must|should|reads|turns? out|{ANY_LETTER})",
        r" (?:match|matches|matching|fits|fitting|agrees? with|agreeing with|align(?:s|ed|ing)? "
        r"with|in line with|consistent with|in keeping with|corresponds? (?:to|with)|compatible "
        r"with|in accordance with|tallies with|squares with|true to) (?:the|this|that|our) "
        rf"(?:given |stated |final |expected )?(?:answer|(?:correct|right) {ANSWER})\b",
        r" (?:confirm|confirms|confirming|verif(?:y|ies|ying)|support|supports|supporting) "
        rf"(?:the|this|that) (?:given|expected|correct|right|stated|provided|known) {ANSWER}\b(?! "
        r"(?:is|as|to be|:))",
        r" the (?:correct |right )?answer (?:itself |already )?(?:confirms|tells us|requires|"
        r"implies|dictates|demands|says so|suggests|presupposes|hints)\b",
        r" (?:know|knows|knew|knowing|known) (?:\w+ )?(?:the|what the|which|that the|our) "
        rf"(?:{_RIGHT} )?{ANSWER}\b(?!s)",
        rf" knowing (?:that )?[^.;]{{0,60}}\b{ANSWER}\b",
        r" (?:since|because|as|given that|knowing that) [^.,;]{1,60}? (?:is|was) (?:the |known "
        rf"to be the )?(?:correct|right|given|expected|stated) {ANSWER}\b",
        rf" why (?:is|must|would|should) (?:the (?:{_RIGHT} )?answer|{OPTION})",
        rf" been (?:settled|established|decided|fixed|determined) that [^.,;]{{0,30}}{ANSWER}\b",
        r" the (?:solution|answer) (?:says|states|reads|has it)\b",
        rf" {ANSWER} (?:that |which )?(?:we|i) (?:hold|have|start|were|are|must|need|had|know|"
        r"should|received)\b(?! left)",
        rf" {ANSWER} (?:\w+ ){0, 3}?(?:fixed|settled|decided|chosen|determined) {_ADVANCE}\b",
        rf" the fact that the (?:{_RIGHT} )?{ANSWER} (?:is|was|must)\b",
    ),
    group(
        "answer",
        answered_in_clip,
        "correct right true valid proper",
        r" (?:(?:pre-?)?marked|flagged|labell?ed|listed|given|designated|indicated|declared|"
        r"specified|stated|known|said|supposed|meant|taken|identified|supplied|provided|presented|"
        r"named|counts?|treated|regarded|accepted|scored|registered) (?:to be |as )?(?:being "
        r")?(?:the )?(?:correct|right|true|valid|proper)(?= (?:one|answer|option|choice|solution|"
        r"by|in|on|here|for|as)\b|[,.;:]|$)",
        r" knowing (?:that )?[^.;]{0,60}\b(?:correct|right)\b",
    ),
    group(
        "answer",
        None,
        "truth label conclusion outcome result key point case reasoning explanation",
        r" ground[- ]truth\b",
        r" (?:correct|right|true|target|class|gold|golden|answer|reference) label\b",
        r" label (?:for|of) (?:this|the) (?:question|clip|video|item|sample)\b",
        r" (?:given|provided|stated|pre-?determined|required|desired|supplied|intended|foregone|"
        r"prescribed|preset) (?:conclusion|outcome|result)\b",
        r" (?:know|knows|knew|knowing) (?:that )?the (?:outcome|result)\b",
        r" label (?:says|states|has|gives|reads) (?:that )?(?:the "
        rf")?(?:{_RIGHT}|{ANSWER}|{ANY_LETTER})",
        r" (?:the key (?:says|gives|lists|names|states|has it)|(?:given|supplied|provided|"
        r"official) key)\b",
        r" (?:point|case) to be (?:proven|proved|shown|demonstrated|justified|explained|"
        r"defended)\b",
    ),
    group(
        "answer",
        None,
        "answer option choice solution alternative letter outcome result conclusion §",
        # the letter as a premise: "since D is what has to be justified"
        rf" {_PREMISE} (?:that )?{OPTION}(?:, [^,.;]{{1,30}},)? (?:is|was|being|as|has been|has "
        r"to|must|needs to|should) *(?:(?:the|our|my|a) )?(?:correct|right|true|given|known|fixed|"
        r"marked|set|settled|stated|provided|expected|supposed|designated|answer|solution|target|"
        r"what|one (?:we|that)|said|told|already|established|required|intended|be)\b",
        rf" {OPTION} is (?:what|the one|where)(?: that| which| we| i)* (?:has|have|needs?|is|are|"
        r"was|were|must|should|want|had) (?:to|be|given|told|asked|supposed|meant|handed|after|"
        r"looking)\b",
        rf" (?:{ANSWER}|{ANY_LETTER})[^.;,]{{0,40}}? (?:has|have|needs?|is|are|was|were|must|"
        rf"ought|remains|wants) (?:still )?(?:to be|be) {_REACHED}\b",
        rf" (?:{ANSWER}|{OPTION})[^.;,]{{0,30}}? (?:can|could|may|might)(?: \w+ly)? be (?:\w+ly )?"
        r"(?:justified|defended|rationali[sz]ed)\b",
        rf" (?:answer|choice|{OPTION})(?: of {ANY_LETTER})? is (?:\w+ )?(?:justified|defensible|"
        r"vindicated)\b",
        rf" (?:{ANSWER}|outcome|result|conclusion) (?:that is |which is )?(?:to be|that must be|"
        r"that has to be|(?:we|i) (?:have|need|must|am|are|want|should)(?: \w+)? to) "
        rf"(?:{_REACHED}|{_REACH})\b",
        rf" {_MUST}(?: \w+)? (?:to |be to )?{_REACH} (?:why |that |how )?(?:the |this |our "
        rf")?(?:(?:same|correct|right|given|final|stated|one) )?(?:{ANSWER}\b|{OPTION})",
        r" (?:justif(?:y|ies|ied|ying)|rationali[sz]\w+|vindicat\w+|validat(?:es?|ing)) (?:\w+ "
        rf"){{0,2}}?(?:{ANSWER}\b|{OPTION})",
        r" (?:see|explain|explains|explaining|show|shows|understand|demonstrate|establish|"
        r"consider|check|clarify|illustrate|spell out|work out|find out|clear|obvious|reason) why "
        rf"(?:the (?:correct |right )?{ANSWER}|{OPTION}|it (?:is|must be|has to be) {OPTION})",
        rf" with (?:the |this |that |our )?(?:(?:correct |right )?{ANSWER}|outcome|result|"
        rf"conclusion|{OPTION})(?: \w+)?,? (?:already )?(?:in mind|in hand|known|fixed|settled|"
        r"given|decided|established|as (?:the|our|a) (?:given|target|goal|premise|answer|starting "
        r"point|correct \w+|right \w+))\b",
        r" (?:start|starts|starting|begin|begins|beginning|going|working|work|works|proceed\w*|"
        r"reasoning|back|backwards?|depart\w*|derived) (?:out )?(?:from|with) (?:the |this |that |"
        r"our )?(?:correct |right |known |given |final )?(?:answer|solution|conclusion)\b",
        rf" (?:working|work|works|reasoning|back|backwards?|derived) from {OPTION}(?! and| or| to)",
        rf" tak(?:e|es|en|ing) (?:{OPTION}|the answer) (?:as|for) (?:given|granted|read|settled|"
        r"the (?:starting point|answer|premise|correct|right))",
        rf" given {OPTION} (?:as|to be)\b",
        r" because it (?:was|is|has been) (?:marked|given|stated|provided|designated|listed|"
        r"specified)\b",
        r" (?:conclusion|outcome|result|reasoning|explanation) (?:should|needs to|has to) (?:be|"
        rf"end|lead|result|come|point)(?: at| to| in| with| out)? {OPTION}",
        rf" {OPTION} being (?:the )?(?:right|correct|answer|given)\b",
        r" (?:given|knowing|seeing|considering|since|because) (?:that )?(?:it|this) (?:is|must be|"
        rf"has to be|should be) {ANY_LETTER}",
        rf" {OPTION} (?:was|is|has been) (?:given|provided|supplied|stated|specified|designated|"
        r"marked|pre-?selected)\b(?! (?:by|over|through|up|off))",
        rf" (?:{ANSWER}|{ANY_LETTER})[^.;,]{{0,20}} is what [^.;,]{{0,30}}\b(?:must|has to|have "
        r"to|should|needs? to|is to|are to)\b",
        rf" the fact that {OPTION} (?:is|was|must)\b",
        rf" (?:{ANY_LETTER}|the answer) (?:comes|come|came) out\b",
        rf" comes? out as {OPTION}",
        rf" (?:meant|supposed|intended|expected|required|bound) to be (?:the answer|{OPTION})",
        r" without (?:revealing|letting on|giving away) [^.;]{0,40}\b(?:answer|option|solution)\b",
    ),
    group(
        "answer",
        said_in_clip,
        "work reason argu argue infer think deduce reverse know known knowing establish settled "
        "given specified stated fixed stipulated foregone predetermined preordained expects wants "
        "shown proved proven demonstrated explained confirmed check confirm verify show see",
        r" (?:work|works|working|worked|reason|reasons|reasoning|reasoned|argu(?:e|ed|ing)|"
        r"infer(?:red|ring)?|think(?:ing)?|deduc(?:e|ing)) (?:it )?(?:back(?:ward|wards)?\b|in "
        r"reverse)",
        r" revers(?:e|ed|ing)[- ]engineer\w*",
        r" (?:i|we|one) (?:already|do) knows?\b",
        rf" know(?:n|s)? (?:to (?:us|me) )?{_ADVANCE}\b",
        r" (?:as|since|because|given that) (?:it|this) (?:is|was|has been)(?: \w+)? (?:already )?"
        r"(?:established|settled|given|fixed|specified|stated|known) (?:that|as|to be)\b",
        r" it is (?:already (?:known|given|stated|established)|given|specified|stipulated) "
        r"(?:that|which)\b",
        r" (?:foregone|foreordained|preordained|pre-?determined|predecided)\b",
        r" (?:as|which) (?:was|is) to be (?:shown|proved|proven|demonstrated|explained|"
        r"confirmed)\b",
        r" (?:only|just|merely) (?:need|needs|have|has|remains?) to (?:check|confirm|verify|show|"
        r"see) (?:that|whether|how)\b",
        r" (?:wants?|expects?) (?:us|me) to (?:say|answer|choose|conclude|find|pick|reach|"
        r"arrive)\b",
    ),
)

# The task is talked about

_SAYS = (
    r"(?:says?|said|states?|stated|mentions?|mentioned|notes?|noted|reports?|reported|describes?|"
    r"described|indicates?|indicated|suggests?|suggested|shows?|showed|tells?|told|speaks?|spoke|"
    r"talks?|lists?|listed|contains?|contained|includes?|gives?|gave|identif(?:y|ies|ied)|calls?|"
    r"concludes?|concluded|confirms?|confirmed|points?|pointed|specif(?:y|ies|ied)|refers?|"
    r"referred|has|have|had|makes?|made|leaves?|left|omits?|lacks?|provides?|provided|records?|"
    r"reveals?|do(?:es)? not|did not|don't|doesn't|never|agrees?|agreed|align\w*|concurs?|"
    r"match\w*|fits?|supports?|supported|complements?|corroborates?|converges?|coincides?|"
    r"establish\w*|is|are|was|were|puts?|placed?s?|claims?|claimed|argues?|argued|explains?|"
    r"explained|emphasi[sz]e[sd]?|highlights?|highlighted|detail(?:s|ed)|both|that|which|names?|"
    r"named|offers?|adds?)"
)

TASK = (
    group(
        "told",
        by_someone,
        "told informed advised instructed notified handed supplied briefed assured provided asked "
        "given described reported noted mentioned passed relayed written put read presented",
        r" (?:we|i|one)(?:'ve| have| had)?(?: also| already| just)*(?: was| were| are| am|'re|'m|"
        r" is| been| get| got)+(?: also| already| just| explicitly| \w+ly)? (?:been )?(?:told|"
        r"informed|advised|instructed|notified|handed|supplied|briefed|assured|provided with|"
        r"asked to (?:justify|explain|argue|defend|merge|combine|support|integrate|show|write|"
        r"arrive|reach)|given (?:that|to understand|as|two|both|here|the (?:correct|right|answer|"
        r"two|option|information|description|text|transcript|solution|label|audio|visual|"
        r"letter)))\b",
        r" (?:we|i|one)(?: have| had|'ve)(?: been)? (?:only |just )?(?:been )?(?:told|informed|"
        r"given the|given two|handed|supplied)\b",
        r" what (?:was|is|were|has been|had been|we (?:were|are|have been|'ve been)|i (?:was|am|"
        rf"have been|'ve been)) (?:{GIVEN}|described|reported|told|noted|mentioned|passed on|"
        r"relayed|written down|put down)\b",
        r" (?:we|i) (?:can )?read (?:that|of|about|in the)\b",
        r" having been (?:told|informed|given|handed|instructed|supplied|provided)\b(?! (?:to|an?|"
        r"his|her)\b)",
        r" (?:we|i) have been (?:given|told|handed)(?= (?:is|are|was)\b|[,.;])",
        r"^ (?:as|like) (?:requested|instructed|required|specified|asked|told|given|provided|"
        r"stipulated)\b(?! in the question)",
    ),
    group(
        "told",
        named_in_clip,
        "prompt ai algorithm classifier system model tool network module",
        r" (?:the|this|that|my|our|your|system|user|input|given|original|text) "
        rf"(?P<noun>prompt)\b(?=[,.;:)]|$|'s| (?:{_SAYS}|itself|already|also|asks?|asked|wants|"
        r"above|here|and|for|about|with|to|in|by)\b)",
        r" (?:in|from|by|per|to|following|under|according to|given) the (?P<noun>prompt)(?=[,.;]|"
        r"$)",
        r" (?:the|an) (?P<noun>ai|algorithm|classifier)\b",
        r" (?:captioning|speech|recognition|perception|vision) (?P<noun>system|tool|network|"
        r"module)\b",
        r" (?:captioning|ai) (?P<noun>model)\b",
    ),
    group(
        "told",
        None,
        "task job assignment instruction brief goal requested instructed required specified asked "
        "demanded stipulated here setter explain justify prove demonstrate defend show supposed "
        "meant expected end land come wind",
        r" (?:my|our) (?:task|job|assignment|brief)(?: here| now)? (?:is|was)\b",
        r" (?:i|we) (?:have|need|must|ought)(?: to)? (?:end up|land|come out|wind up) (?:with|at|"
        r"on|in)\b",
        r" (?:i|we) (?:have|need|ought|am|are|was|were|must|should)(?: \w+)? (?:to )?(?:explain|"
        r"justify|prove|demonstrate|defend|show) (?:why|that|how)\b",
        r" (?:i|we) (?:am|are|was|were) (?:supposed|meant|expected|required) to (?:conclude|find|"
        r"reach|arrive|end|say|choose|show|explain|answer|pick|get)\b",
        r" (?:my|our|the) (?:task|job|assignment|instructions?|brief|goal)(?: here| now)? (?:is|"
        r"was|are|were|says?|asks?|requires?|states?|tells?|demands?) (?:only |now |simply "
        r")?(?:to )?(?:explain|justify|show|argue|merge|combine|integrate|defend|arrive|reach|"
        r"support|write|me|us|that|not)\b",
        r" as (?:requested|instructed|required|specified|asked|demanded|stipulated) (?:in|by) "
        r"the (?:prompt|task|instructions?|user|input)\b",
        r" here(?:'s| is) (?:the|a|my|your|one)(?: \w+){0,2}? (?:merged|combined|integrated|"
        r"unified|coherent|reasoning|trace|chain|line|response|rewrite|version)\b",
        r" (?:(?:question|quiz) setter|setter of the question)\b",
    ),
    group(
        "told",
        None,
        "merged combined integrated unified coherent ai model llm llms asr user message dataset"
        " metadata input text merge rewrite compose craft draft reconcile data",
        r" (?:merged|combined|integrated|unified|coherent) (?:\w+ )?(?:reasoning|trace|chain of "
        r"thought|narrative|line of reasoning)\b",
        r" (?:as an? (?:ai|text model)|(?:a|the) language models?|llms?|asr)\b",
        r" (?:the user|system message|training data|dataset|metadata|input texts?|text inputs?)\b",
        r" (?:let me|let us|let's|i'll|(?:i|we) (?:will|shall|can|must|need to|have to)) (?:now |"
        r"first |then )?(?:merge|rewrite|compose|craft|draft|reconcile)\b",
    ),
)
