"""Patterns of gate `leak` about sources: analyses, their writers, reports without a speaker."""

from __future__ import annotations

from avrt.generate.gates.leak_context import (
    by_someone,
    named_in_clip,
    remark_in_clip,
    said_in_clip,
    shown_in_clip,
    text_in_clip,
)
from avrt.generate.gates.leak_pattern import GIVEN, OPTION, SENSE, group

__all__ = ["HEARSAY", "SOURCES"]

# The sources are talked about. The merger was handed texts of two kinds by two writers; the words
# of _TEXT need no more than an article, those of _LOOSE are also words for things in clips.

_TEXT = r"(?:descriptions?|analys[ei]s|transcripts?|transcriptions?|annotations?)"
_LOOSE = (
    r"(?:accounts?|reports?|narratives?|write-?ups?|testimon(?:y|ies)|summar(?:y|ies)|captions?|"
    r"traces?|texts?|inputs?)"
)
_WHO = (
    r"(?:agents?|models?|teachers?|experts?|analysts?|annotators?|captioners?|assistants?|"
    r"observers?|listeners?|viewers?|describers?|reviewers?|specialists?|systems?|witness(?:es)?|"
    r"evaluators?|informants?|advis[eo]rs?|reporters?|narrators?|modules?|networks?)"
)
_SENSED = (
    rf"(?:{_TEXT}|accounts?|reports?|statements?|reasonings?|traces?|interpretations?|assessments?|"
    r"findings|write-?ups?|testimon(?:y|ies)|breakdowns?|inferences?|conclusions?|passages?|notes|"
    r"logs?|agents?|models?|teachers?|experts?|analysts?|annotators?|captioners?|assistants?|"
    r"observers?|specialists?|witness(?:es)?|modules?|metadata|verdict|opinion|answers?|"
    r"paragraphs?|predictions?|summar(?:y|ies)|captions?)"
)
_INFO = (
    r"(?:information|info|details?|data|evidence|facts?|clues?|context|material|contents?|cues?|"
    r"hints?|inputs?|notes?|observations?|excerpts?|snippets?|sources?|summar(?:y|ies)|findings|"
    r"reasoning|number|count|tally|figure)"
)
_ADJ = (
    r"(?:(?:provided|given|supplied|accompanying|written|available|detailed|original|first|second|"
    r"third|other|former|latter|following|input|two|said|respective|corresponding|combined|merged|"
    r"full|entire|whole|same|textual|above|attached|separate|short|brief|initial|rest of the|"
    r"underlying|individual|independent|different|various|earlier|previous|preceding) )"
)
_TWO = (
    r"(?:both(?: of)?(?: the| these| those)?|(?:the|these|those|our|my) two|two|each|either|"
    r"neither)"
)

_REPORTS = (
    r"(?:says?|states?|stated|mentions?|mentioned|notes?|noted|reports?|reported|describes?|"
    r"described|tells?|speaks?|spoke|talks?|lists?|listed|contains?|contained|includes?|"
    r"identif(?:y|ies|ied)|concludes?|concluded|confirms?|confirmed|specif(?:y|ies|ied)|refers?|"
    r"referred|records?|claims?|explains?|explained|points? (?:out|to)|calls?|called|names?|named|"
    r"agrees?|concurs?|omits?|goes|makes? (?:no|it|clear)|adds?|added|indicates?|indicated|"
    r"suggests?|places?|puts?|(?:do|does|did) not (?:say|state|mention|note|report|describe|"
    r"contain|specify|tell)|never)"
)
_VERDICT = (
    r"(?:says?|said|states?|stated|mentions?|mentioned|notes?|noted|reports?|reported|describes?|"
    r"described|indicates?|identif(?:y|ies|ied)|concludes?|concluded|confirms?|confirmed|points? "
    r"to|pointed to|specif(?:y|ies|ied)|claims?|claimed|agrees?|agreed|concurs?|concurred|saw|"
    r"sees?|heard|hears?|perceived?s?|detect(?:s|ed)?|recogni[sz]e[sd]?|observed|noticed|picked|"
    r"chose|choose|chooses|settled?s?|arrived?s?|reach(?:es|ed)?|came to|come to|favou?r\w*|opted|"
    r"voted|decided?s?|thinks?|believes?|infer(?:s|red)?|judged?s?|find|finds|found|suggests?|"
    r"align\w*|lead|support|supports|converge|match|coincide|establish\w*|speaks? of|listened|"
    r"watched|marked|picks? up|picked up|gave|gives?|looked at|writes?|wrote|labell?ed|adds?|"
    r"added)"
)

SOURCES = (
    group(
        "source",
        None,
        "audio visual vision auditory acoustic aural sonic audiovisual",
        # an analysis by its sense: "the audio description", "visual analyses", "the vision model"
        r" (?:audio|visual|vision|auditory|acoustic|aural|sonic|audio-?visual)(?:-based|-only)?"
        rf"(?: and| or|/|,)?(?: {SENSE})?(?: (?:side|part|half)'s)? {_SENSED}\b(?!-)",
    ),
    group(
        "source",
        None,
        "audio video image frame picture sound soundtrack footage scene listening hearing viewing "
        "sight visual recording clip heard seen audible visible acoustic noise vision seeing "
        "sonic according",
        r" (?:video|images?|frames?|picture|sound|soundtrack|footage|scene|listening|hearing|"
        rf"viewing|sight) (?:{_TEXT}|accounts|narratives?|reasonings|trace|agents?|annotators?|"
        r"analysts?|captioners?|captions?|observers?|interpretations?|assessments?|write-?ups?|"
        r"model|teacher|summar\w+)\b",
        r" (?:audio|sound|soundtrack|video|visual|visuals|picture|image|clip|recording|footage)'s "
        rf"(?:{_TEXT}|accounts?|reports?|narratives?|summar\w+|reasoning)\b",
        r" (?:summary|descriptions?|accounts?|reports?|transcripts?|transcription|record|"
        r"rendering|retelling|paraphrase|inventory|catalogue|outline|digest|write-?up|"
        r"characteri[sz]ation|notes|list|enumeration|listing|overview|annotations?|narration|"
        r"observer|reviewer|listener|watcher) (?:of|on|about|for|from|to) (?:the |what "
        r")?(?:(?:audio|sound|visual) )?(?:audio|soundtrack|sounds?|recording|frames?|pictures?|"
        r"video|footage|visuals?|images?|clip|scene|noises?|heard|seen|was (?:heard|seen)|is "
        r"(?:heard|seen)|audible|visible|acoustics)\b",
        r" (?:texts?|paragraphs?|lines|sentences?|passages?|sections?|information|details|"
        r"reasoning|input|trace|captions?|facts) (?:about|for|from|of) the (?:audio|soundtrack|"
        r"sounds?|frames|video|footage|visuals|recording)\b",
        r" information on the (?:audio|soundtrack|sounds?|frames|video|visuals|pictures?)\b",
        r" (?:audio|sound|listening|hearing|visual|vision|picture|seeing|image|video|auditory|"
        r"sonic|acoustic|viewing) (?:side|part|half|portion|component|section|end|camp|team|"
        r"department|partner|colleague|counterpart|channel|stream)(?: \w+ly| also| then)? "
        r"(?:says?|said|states?|stated|mentions?|mentioned|notes|noted|reports?|reported|"
        r"describes?|described|concludes?|concluded|identif\w+|claims?|argues?|speaks of|tells of|"
        r"specif\w+|lists)\b",
        r" (?<!of the )(?<!in the )(?:audio|soundtrack|video|visuals?|frames|pictures?|"
        r"footage|images?)(?: \w+ly| also| further)? (?:mentions?|mentioned|notes|noted|reports|"
        r"reported|states|stated|describes|described|concludes|concluded|specifies|lists|makes "
        r"(?:no )?mention|says? (?:that|there|it)|speaks? of|do(?:es)? not (?:mention|describe|"
        r"report|specify|state|note))\b",
        r" (?:described|reported|noted|mentioned|recorded|observed|stated|said|remarked|"
        r"established|documented|picked up|detected) (?:on|from) the (?:audio|sound|listening|"
        r"hearing|visual|vision|picture|seeing|image|video|auditory|other) (?:side|part|half|"
        r"end)\b",
        r" (?:audio|sound|vision|visual|picture|hearing|seeing|listening) (?:side|part|half) has "
        r"it\b",
        r" (?:audio|sound|visual|vision|picture|auditory) (?:part|side|half|section|portion)'s\b",
        r" (?:hint|mention|reference|word|remark|line|note|statement)s?\b[^.;,]{0,30} in the "
        r"(?:audio|sound|visual|vision|picture|auditory) (?:part|half|side|section|portion)\b",
        r" on the (?:listening|hearing|seeing|viewing|watching|looking) side\b",
        r" (?:image|picture|listening|hearing|listener|viewer|viewing) (?:experts?|models?)\b",
        # those who watched or listened
        r" according to (?:the|an?) (?:person|one|party|side) (?:who|that|which)\b",
        r" (?:person|one|model|agent|someone|party|teacher) (?:describing|reporting|"
        r"summari[sz]ing|listening to|watching|who described|that described) the (?:frames|"
        r"pictures|recording|audio|soundtrack|clip|footage)\b",
        r" (?:whoever|the one|the person|the people|the party|the side|someone|somebody|those|"
        rf"one|he|she|the {_WHO})(?: who| that| which)? (?:had |has )?(?:only |actually |just |"
        r"merely )?(?:watched|saw|listened|heard|viewed|looked|examined|inspected|watches|listens|"
        r"sees|hears|studied|worked|described|reported|reviewed) (?:only |just )?(?:(?:to|at|from|"
        r"on|with) )?(?:only |just )?(?:the |a )?(?:(?:silent|eight|still) )?(?:frames|pictures?|"
        r"video|images?|footage|recording|sound|sounds|audio|soundtrack|clip)\b(?! of| "
        r"coming)(?![^.]{0,60}\b(?:might|could|would|may)\b)",
        r" (?:sounds?|noises?) (?:that (?:are|were) |which (?:are|were) )?(?:listed|named|"
        r"enumerated|catalogued|itemi[sz]ed|reported|described|noted|mentioned|recounted|relayed|"
        r"documented)\b(?! by)",
    ),
    group(
        "source",
        None,
        "my our ear-witness earwitness ear independent separate transcribed transcription line "
        "chain train set piece body stream merg combin integrat synthesiz synthesis fus weigh "
        "compar join combining merging integrating comparing reading synthesise synthesize "
        "weighing",
        r" (?:my|our) (?:colleagues?|partner|counterpart|listener|viewer|observer|sources?|"
        r"informants?|teammate|other half|vision|audio|expert|experts|teachers?|agents?|two)\b(?! "
        r"(?:ears|eyes|senses))",
        r" ear-?witness\w*",
        r" (?:independent|separate) (?:observers|observations|sources|witnesses|reports|accounts|"
        r"analyses|descriptions|reviewers|annotators|assessments|perspectives|judg\w+)\b",
        r" (?:transcribed|transcriptions?)\b(?! by)",
        r" (?:both|the two|all) (?:lines? of reasoning|chains? of (?:thought|reasoning)|trains "
        r"of thought|sets of (?:notes|observations|findings|details|clues|information)|pieces of "
        r"(?:text|writing)|bodies of text|streams of (?:text|information))\b",
        r" (?:merg|combin|integrat|synthesi[sz]|fus|weigh|compar|consolidat|join|read)(?:e|es|ed|"
        rf"ing|s)?(?: up)? (?:together )?(?:both|the two|these two|the) (?:{SENSE} )?(?:{_TEXT}|"
        r"accounts|reports|narratives|texts|versions|statements|responses|sources)\b",
    ),
    group(
        "source",
        text_in_clip,
        "description analysis analyses transcript transcription annotation account report "
        "narrative statement version write-up passage interpretation assessment testimony "
        "reasonings commentary summary summaries trace caption note text record response finding "
        "input output paragraph source agent model teacher expert analyst annotator material",
        r" (?!this analysis|the (?:above|preceding) analysis)(?:the|this|that|these|those|"
        rf"such an?|said) {_ADJ}{{0,2}}(?P<noun>{_TEXT})\b(?! (?:above|so far))",
        rf" {_TWO} {_ADJ}{{0,2}}(?P<noun>{_TEXT})\b",
        r" (?:both(?: of)?(?: the| these| those)?|(?:the|these|those|our|my) two|one) "
        rf"{_ADJ}{{0,2}}(?P<noun>{_LOOSE}|reasonings)\b",
        r" the (?:first|second|other|former|latter) (?P<noun>account|report|text|narrative|"
        r"summary|trace|caption|input)\b",
        rf" (?:of|in|from|between) the two (?P<noun>{_LOOSE}|statements|notes|findings)\b",
        r" (?:one|each|neither|either|none|both|all|any) of the (?:two "
        rf")?(?P<noun>{_TEXT}|{_LOOSE}|{_WHO})\b",
        rf" (?:neither|either|each) (?P<noun>{_LOOSE}) {_REPORTS}\b",
        r" (?P<noun>texts|accounts|reports|analyses|notes|summaries|statements) (?:at hand|in "
        r"hand|before me|before us|in front of me)\b",
        r" (?:put|puts|putting|place|placing|lay|laying|hold|holding|bring|bringing|take|taking|"
        r"set|setting) (?:both|the two|these two|these|the) (?P<noun>accounts|reports|texts|"
        r"analyses|versions|statements|findings|testimonies)\b",
        r" (?P<noun>listener|viewer|observer|watcher|agent|model|teacher|annotator|expert|"
        r"analyst)s?(?:'s|') (?:accounts?|reports?|descriptions?|analysis|notes|findings|version|"
        r"statements?|text|reasoning|verdict|conclusion|summary)\b",
        r" (?P<noun>descriptions|annotations)\b",
        rf" per (?:the |an? )?{_ADJ}{{0,2}}(?P<noun>{_TEXT}|{_LOOSE})\b",
        r" (?:in|from|by|with|on|per|into|against|between|to|across|of) (?:both|the two|either|"
        rf"neither|each) (?P<noun>{_TEXT}|{_LOOSE}|sources?)\b(?! of)",
        r" (?:provided|supplied|given|accompanying|input|attached|written) (?P<noun>"
        rf"{_TEXT}|{_LOOSE}|notes|material|record)\b(?! by)",
        r" (?P<noun>analyses|accounts|summaries|traces) (?:agree|differ|align|concur|mention|say|"
        r"state|report|indicate|confirm|match|converge|complement|support|suggest|describe|point|"
        r"show|note|provided|supplied|given|above|of (?:the|both))\b",
        r" (?:this|that|such an?|whose) (?P<noun>description|account|report|analysis)s? (?:fits?|"
        r"match\w*|leaves?|points?|makes?|rules?|suggests?|indicates?|corresponds?|is|could|can|"
        r"would|excludes?)\b",
        r" an? (?:\w+ )?(?P<noun>description|account|report|summary|analysis) (?:that|which) "
        r"(?:mentions|speaks|notes|contains|describes|has|reports)\b",
    ),
    group(
        "source",
        shown_in_clip,
        "text account report narrative note passage statement record write-up reasoning version "
        "listing log testimony caption summary trace input description analysis transcript "
        "information data material source wording phrasing adjective adverb word term expression "
        "phrase verb commentary listener viewer observer annotator first second former latter "
        "finding note according mention report describe list speak state",
        rf" the {_ADJ}{{0,2}}(?P<noun>{_LOOSE}|findings)(?: \w+ly| also| itself| further| then)? "
        rf"{_REPORTS}\b",
        rf" the {_ADJ}{{0,2}}(?P<noun>accounts?|summar(?:y|ies)|narratives?|write-?up) (?:has|"
        r"have|had|is|are|was|were|leaves?|left|provides?|offers?|gives?|shows?|both|that|which|"
        r"fits?|match\w*|align\w*)\b",
        r" the (?P<noun>notes) (?:say|mention|speak of|state|describe|report|list|call|contain|"
        r"tell|note)\b",
        r" (?:in|from|by|per|to) the (?P<noun>notes)(?=[,.;]| (?:on|about|for|that|there)\b)",
        r"^ it (?:also |even |further )?(?:mentions|reports|notes|describes|states that|lists|"
        r"speaks of)\b",
        rf" the {_ADJ}{{0,2}}(?P<noun>reasoning) (?:{GIVEN}|says|states|mentions|notes|reports|"
        r"concludes|describes|for the (?:audio|sound|frames|visuals?|pictures?)|from the (?:audio|"
        r"sound|visual|other)|above|of the (?:first|second|other|audio|visual))\b",
        rf" according to (?:the |an? |both |each |one )?{_ADJ}{{0,2}}(?P<noun>{_TEXT}|{_LOOSE}|"
        r"information|data|input|material|source|listing|log|first|second|former|latter|listener|"
        r"viewer|observer|annotators?|analysts?)\b",
        rf" (?:in|from|by|per|with|as per|following) the {_ADJ}{{0,2}}(?P<noun>{_LOOSE}|"
        r"findings)\b(?! (?:message|of|machine|hole))",
        r" (?:image|video|audio|first|second|provided) (?P<noun>captions?)\b",
        r" (?:the|its|their) (?:wording|phrasing|adjectives?|adverbs?|word choice|choice of "
        r"words)\b",
        r" (?:the|a) (?:word|term|expression|phrase|verb) (?:that is |that was )?(?:used|chosen|"
        r"employed)\b",
    ),
    group(
        "source",
        remark_in_clip,
        "mention report note describe state conclude contain list speak say agree according "
        "reference pair accounts word authority somebody someone known",
        r" reports of (?:an?|the|some|two)\b",
        r" (?:no one|nobody) (?:reported|noted|recorded|described|listed)\b",
        r" (?:one|the other|the first|the second|the former|the latter|each(?: of (?:them|the "
        r"two))?) (?:only |also |then )?(?:mentions|reports|notes|describes|states|concludes|"
        r"contains|lists|speaks of|makes no mention)\b",
        r" both (?:\w+ly |also )?(?:mention|report|describe|state|indicate|specify|note)\b",
        r" (?:as both (?:\w+ )?(?:say|agree|state|note|mention)|according to both)\b",
        r" (?:references?|mentions?) (?:to|of) [^.;,]{1,30} (?:is|are) (?:absent|missing|"
        r"lacking)\b",
        r" (?:second|other|another|one) pair of (?:ears|eyes)\b",
        r" (?:by (?:all|both) accounts|word has it|on good authority)\b",
        r" (?:someone|somebody) (?:has |have )?(?:noted|reported|described|recorded)\b",
        r" what is known (?:about|of)\b",
    ),
    group(
        "source",
        by_someone,
        "information info detail data evidence fact clue context material content cue hint input "
        "note observation excerpt snippet source summary finding text description piece sound "
        "noise object action item thing feature element reasoning number count tally figure "
        "listed named included list",
        r" (?:the|this|that|all|these|those|any|on|from|by|given|only|following) (?:\w+ "
        rf")?{_INFO}(?: that| which)?(?: (?:was|is|are|were|has been|have been|we(?: have| were| "
        rf"are|'ve)?(?: been)?|i(?: have| was| am|'ve)?(?: been)?))? (?:{GIVEN}|at (?:my|our) "
        r"disposal|handed over|passed on|relayed|made available)\b(?! (?:up|off|in (?:and|to)|as "
        r"well as))",
        r" (?:the|all|on|from|by|this|these|those|both|two|of|with|given) (?:provided|supplied|"
        r"given|presented|furnished|received|submitted|attached|included) (?:\w+ )?(?:information|"
        r"details?|data|evidence|facts?|clues?|context|material|contents?|cues?|hints?|inputs?|"
        r"notes?|observations?|texts?|descriptions?|sources?|findings|excerpts?|pieces)\b",
        r" (?:given|provided) (?:information|details|data|facts|context|clues|evidence)\b",
        r" (?:based on|from|with|by|to|given) (?:the )?(?:available|above) (?:information|text|"
        r"data|descriptions?|input)\b",
        r" sources (?:at hand|available|at (?:my|our) disposal)\b",
        r" information (?:at hand|available|at (?:my|our) disposal|(?:we|i) have)\b",
        r" (?:both|the two|two|either|neither|each|the|the (?:other|first|second)|all|our) "
        r"(?P<noun>sources?)(?! of)(?:,? (?:\w+ly )?(?:agree|confirm|say|mention|report|describe|"
        r"indicate|point to|suggest|support|concur|align|note|converge|tell|identify|conclude|"
        r"match|corroborate|are (?:consistent|in agreement|clear))\w*)",
        r" (?:in|from|by|across|between|combining|to|of) (?:both|the two|either|neither|these "
        r"two|each) sources?\b(?! of)",
        r" (?:details?|objects?|actions?|items|things|features|clues|facts|elements|visuals|"
        r"events) (?:that (?:are|were) |which (?:are|were) )?(?:listed|named|enumerated|"
        r"catalogued|itemi[sz]ed|reported|described|noted|mentioned|recounted|relayed|"
        r"documented)\b(?! here)",
        r" (?:listed|named|included) among the (?:sounds|noises|details|objects)\b",
        r" (?:list|inventory|catalogue|enumeration) of (?:sounds|noises|details|objects|"
        r"observations|things heard|things seen)\b",
    ),
    group(
        "source",
        named_in_clip,
        "agent model teacher expert analyst annotator captioner assistant observer listener viewer"
        " describer reviewer specialist system witness evaluator informant adviser advisor reporter"
        " narrator module network",
        rf" (?:{_TWO}|the (?:first|second|other|former|latter|same)|one|the one) "
        rf"(?P<noun>{_WHO})(?:,? (?:\w+ly|also|both|independently|then|each|all|have|has|had|who "
        rf"\w+))* {_VERDICT}\b",
        r" (?:the|one|our|an?) (?P<noun>annotators?|captioners?|analysts?|describers?|models?|"
        r"systems?) (?:sees|hears)\b",
        r" (?:the|one|our|an?) (?P<noun>listeners?|viewers?|observers?|annotators?|captioners?|"
        r"analysts?|evaluators?|describers?|models?|systems?)(?: \w+ly| also| has| had)? "
        r"(?:reports?|reported|notes|noted|mentions?|mentioned|describes?|described|concludes?|"
        r"concluded|says|said|states?|stated|identified|identifies|judged|specifies|heard|saw|"
        r"claims?|picked|chose|settled|wrote|marked|labell?ed|called|calls)\b",
        r" (?:by|from|of|to|with|for) (?:both|the two|either|neither|each of the) "
        rf"(?P<noun>{_WHO})\b",
        r" (?:first|second|other|vision|audio|sound) (?P<noun>agents?|teachers?|models?|experts?|"
        r"annotators?|analysts?)(?:'s?)? (?:concludes?|concluded|reports?|reported|identif\w+|"
        r"describ\w+|not(?:es|ed)|heard|saw|mention\w*|picks?|picked|cho\w+|answer\w*|say\w*|said|"
        r"state[sd]?|observ\w+|account|report|text|notes|view|reasoning|description|analysis)\b",
        r" (?:by |of |from )?one (?P<noun>agent|model|teacher|annotator|analyst|captioner)\b",
        r" (?:blind|deaf) (?P<noun>listener|observer|agent|model|teacher)\b",
        r" in the words of the (?P<noun>listener|viewer|observer|annotator|agent|model|expert)\b",
        r" by the (?P<noun>listener|viewer|observer|annotator|analyst|captioner)\b",
        r" (?:by|from|of|to|with|for) the (?:first|second|other) (?P<noun>agent|model|teacher|"
        r"expert|annotator|analyst|observer)\b",
    ),
    group(
        "source",
        named_in_clip,
        "both answer response reply conclusion verdict opinion judgement judgment choice "
        "prediction guess option letter",
        r" both (?:of them )?(?:independently |separately |also |then )*(?:conclude|concluded|"
        r"chose|choose|picked|pick|opted|voted|settled|settle|arrived?|came|come|reach|reached|"
        r"answer|answered|name|named|identify|identified|give|gave) (?:for |on |at |to |with "
        r")?(?:the |that )?(?:same |identical |correct |right |one )*(?P<noun>answer|conclusion|"
        r"option|letter|choice|verdict|result)\b",
        r" both (?:of them )?(?:conclude|concluded|chose|choose|picked|pick|opted|voted|settled|"
        rf"settle)(?: for| on)? {OPTION}",
        r" (?:both|the two|their|either|neither) (?P<noun>answers|responses|replies|conclusions|"
        r"verdicts|opinions|judg\w+|choices|predictions|guesses)(?: \w+ly| also| both)? (?:agree|"
        r"are|is|point|match|coincide|give|name|align|converge|concur|say|state|favou?r|settle|"
        r"land|identical|arrive)\b",
        r" (?:arrives?|conclud\w+) (?:on |with |at |in favou?r of )?(?:the )?(?:same|identical) "
        r"(?P<noun>option|answer|choice|letter)\b",
    ),
)

# Reports without a speaker in the clip

_BE = (
    r" (?:is|are|was|were|been|being)(?: \w+ly| also| already| just| not| never| once| even| "
    r"both| all)* "
)

HEARSAY = (
    group(
        "hearsay",
        said_in_clip,
        "described characterised characterized portrayed reported mentioned unmentioned "
        "mentioning documented recounted remarked attested testified relayed cited narrated "
        "summarised summarized",
        r" (?P<noun>described|characteri[sz]ed|portrayed) (?:\w+ly )?(?:as|to be|like|in "
        r"terms of|here|in)\b",
        r"(?: (?:is|are|was|were|been|being|gets?|got|as)|,)(?: \w+ly| also| already| just| "
        r"once| not| never| nowhere| even| at least| twice| only)* (?P<noun>described|reported|"
        r"mentioned|documented|recounted|remarked|attested|testified|relayed|cited|narrated|"
        r"summari[sz]ed)\b(?! for)",
        r" (?P<noun>mentioned|unmentioned|mentioning)\b",
        r" (?:the|all the|any) (?P<noun>described|reported|relayed|cited|recounted|documented|"
        r"mentioned|summari[sz]ed) (?!in|by|as|that|to\b)\w+",
    ),
    group(
        "hearsay",
        said_in_clip,
        "noted stated specified remarked commented pointed written put spelled singled recorded "
        "emphasised emphasized highlighted underlined stressed logged said claimed alleged "
        "understood purported rumoured rumored told reported relayed documented listed detailed "
        "given cited indicated observed mentioned described established spoken talked set entered "
        "registered tagged rendered identified labelled labeled passed handed provided supplied "
        "presented named explicitly expressly specifically",
        rf"(?:{_BE}| as (?:already |also )?)(?P<noun>noted|stated|specified|remarked on|"
        r"commented on|pointed out|written down|put on record|spelled out|singled out|recorded "
        r"that|emphasi[sz]ed|underlined|stressed|logged)\b(?! (?:for|by its|down a|down the|down "
        r"his|down her))",
        rf"{_BE}(?P<noun>said|claimed|alleged|stated|understood|purported|rumou?red) (?:to (?!him|"
        r"her|them)|that\b|about\b|of\b)",
        r" as (?:already |also |just )?(?P<noun>said|told|written|reported|relayed|documented|"
        r"listed|detailed|recorded|given|put|noted|claimed) (?:in|by|on|from|here|there|,)",
        r"(?: (?:is|are|was|were|been)|,)(?: \w+ly| also| already| here)* (?P<noun>put down|set "
        r"down|written down|noted down|given|logged|entered|listed|recorded|registered|reported|"
        r"tagged|rendered|cited|noted|stated|termed|named|summed up|classed|identified|labell?ed) "
        r"as\b(?! an? (?:gift|present|prize|reward|sign))",
        r" (?:the|all the|any) (?P<noun>noted) (?!in|by|as|that|to\b)\w+",
        r" it (?:has been|had been|is|was|gets) (?:\w+ly |also |further |even )?(?P<noun>noted|"
        r"reported|stated|said|mentioned|pointed out|recorded|observed|remarked|described|"
        r"established|specified|claimed|indicated) (?!as|for|by)",
        r" (?:explicitly|expressly|specifically) (?P<noun>named|listed|noted|stated|described|"
        r"reported|given|specified|identified|cited|recorded|excluded)\b",
        r" as (?P<noun>given|provided|supplied|presented|stated|listed)(?=[,.;]| (?:is|are|"
        r"leaves?|shows?|suggests?|points?|makes?)\b)",
        r" (?P<noun>passed|handed) (?:along|on|down) as\b",
        r" nothing (?:is|was|has been) (?P<noun>said|mentioned|reported|noted|written|stated) "
        r"(?:of|about|to)\b",
        rf"{_BE}(?P<noun>spoken of|talked of|talked about|written of|written about)\b",
    ),
    group(
        "hearsay",
        said_in_clip,
        "judged deemed reckoned adjudged assessed identified recognised recognized classified "
        "perceived interpreted transcribed categorised categorized labelled labeled tagged heard "
        "taken registered characterised characterized made reportedly purportedly allegedly"
        " believed thought presumed confirmed",
        r"(?: (?:is|are|was|were|been|being)|,)(?: \w+ly| also| already| both| all)* "
        r"(?P<noun>judged|deemed|reckoned|adjudged|assessed) (?:to|as|too|in)\b",
        r" (?:was|were|been|being)(?: \w+ly| also| already| all| both)* (?P<noun>identified|"
        r"recogni[sz]ed|classified|perceived|interpreted|transcribed|categori[sz]ed|labell?ed|"
        r"tagged|heard|taken down|registered|characteri[sz]ed|made out) (?:as|to be)\b",
        r" (?:is|are|was|were)(?: \w+ly| also| all| both)* (?P<noun>believed|thought|presumed) to "
        r"be\b",
        r" (?:was|were|been)(?: \w+ly| also)* (?P<noun>confirmed) (?:as|to be)\b",
        r" (?P<noun>reportedly|purportedly|allegedly)\b",
    ),
    group(
        "hearsay",
        remark_in_clip,
        "mention remark comment reference statement testimony note notice report account claim"
        " indication assertion talk word",
        r" (?:the|this|that|any|no|an?|without|with|only|sole|also|is|further|first|second|one) "
        r"(?:(?:explicit|further|clear|direct|single|brief|additional|specific|particular|"
        r"repeated|short|other|sole|passing) )?(?P<noun>mentions?) (?:is (?:also )?made )?(?:of|"
        r"that|about)\b",
        r" no (?P<noun>mention) (?:is|was|has been|whatsoever|at all|anywhere)\b",
        r" (?:the|this|that|any|no|one|another|further) (?:(?:brief|short|additional|further|"
        r"final|other|last|explicit|small|added|single|passing) )?(?P<noun>remark|comment|"
        r"reference|statement|testimony|claim|assertion) (?:about|that|of (?:an?|something)|"
        r"to (?:an?|the|something|its)|regarding|concerning)\b",
        r" there(?: is|'s| was| are) (?:also |no |any |even )?(?P<noun>talk|word|mentions?) of\b",
    ),
)
