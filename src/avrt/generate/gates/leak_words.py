"""The classes of words of gate `leak`: what its patterns are written in.

A class is a set of words or phrases with one meaning in a leak, whatever the writer's taste:
`TEXT` is what may hold a description, `REPORTS` what such a text does. Verbs and nouns stand here
in their first form; their other forms are made by rule.
"""

from __future__ import annotations

__all__ = ["CLASSES", "COMMON", "FAMILIES", "words_of"]


def words(text: str) -> list[str]:
    """The words as they are."""
    return text.split()


def nouns(text: str) -> list[str]:
    """Each noun and its plural; "analysis/analyses" gives an irregular one."""
    found: list[str] = []
    for one in text.split():
        single, _, many = one.partition("/")
        if not many:
            many = single[:-1] + "ies" if single.endswith("y") else single + "s"
        found += [single, many]
    return found


def verbs(text: str) -> list[str]:
    """Each verb with -s, -ed and -ing; irregular pasts follow it: "write/wrote/written"."""
    found: list[str] = []
    for one in text.split():
        base, *pasts = one.split("/")
        stem = base[:-1] if base.endswith("e") and not base.endswith("ee") else base
        if base.endswith("y") and base[-2] not in "aeou":
            third, past = base[:-1] + "ies", base[:-1] + "ied"
        else:
            third = base + ("es" if base.endswith(("s", "sh", "ch", "x")) else "s")
            past = stem + "ed"
        found += [base, third, stem + "ing", *(pasts or [past])]
    return found


def pasts(text: str) -> list[str]:
    """The forms of `verbs` that a passive takes."""
    return [verbs(one)[-1] for one in text.split()]


SENSES = words("audio visual vision auditory acoustic aural sonic audiovisual")
TEXTS = nouns(
    "description analysis/analyses transcript transcription annotation write_up writeup rationale"
)
LOOSE_TEXTS = nouns(
    """account report summary narrative testimony commentary caption text trace input
    interpretation assessment evaluation breakdown output passage paragraph excerpt version
    characterisation characterization synopsis/synopses reasoning rendition retelling chronicle
    overview outline digest paraphrase inventory explanation recap gloss"""
)
REPORTING = [
    *verbs(
        """say/said state mention note report describe tell/told list contain indicate identify
        conclude confirm specify refer record claim explain point call name agree concur omit add
        suggest argue put/put place reveal detail highlight emphasise emphasize observe comment
        remark assert maintain stress attest testify recount relay portray depict cite document
        register"""
    ),
    *words("speak speaks spoke makes_no make_no makes_it is_silent are_silent"),
]

CLASSES: dict[str, list[str]] = {
    # the answer
    "ANSWER": words("answer option choice solution alternative letter response"),
    "RIGHT": words("correct right true proper actual valid"),
    "OUTCOME": words("""answer option choice outcome result conclusion destination verdict
        solution letter key end_point endpoint ending"""),
    # how an answer is known
    "GIVEN": [
        *pasts(
            """provide supply give/given present hand furnish state specify designate mark
            predetermine preselect list indicate name tell/told communicate prescribe announce label
            stipulate annotate assign pass share confirm flag reveal disclose establish fix settle
            impose set/set dictate tick circle underline highlight declare identify register score
            enter record note"""
        ),
        *words("known told_us pre_selected pre_determined laid_down handed_over in_hand"),
    ],
    "EXPECTED": words("""given provided supplied expected stated known predetermined intended
        desired target targeted gold golden reference official required specified indicated
        marked prescribed preselected designated annotated labelled labeled established
        assigned verified keyed preset predefined proposed suggested listed wanted sought
        claimed confirmed announced declared purported said model flagged stipulated imposed
        anticipated ground_truth pre_selected pre_determined sought_after agreed fixed
        foregone mandated communicated prearranged aforementioned decreed revealed disclosed
        canonical key requested"""),
    "SINCE": words("""since as because given given_that seeing seeing_that considering
        considering_that knowing knowing_that now_that assuming assuming_that with provided_that
        granted_that granted accepting accepting_that if_we_accept in_view_of in_light_of
        in_the_light_of on_the_premise_that inasmuch_as"""),
    "KNOW": verbs("know/knew/known"),
    "BEFOREHAND": words("""beforehand in_advance from_the_start from_the_outset from_the_beginning
        up_front upfront ahead_of_time before_any already all_along"""),
    # an answer that is argued for
    "MUST": words("""must should shall ought have has had need needs needed want wants wanted try
        trying supposed meant required expected obliged asked told instructed bound remains aim
        goal task job set_out aims tasked forced wish hope"""),
    "REACH": words("""reach arrive_at end_at end_with end_in end_up_at end_up_with end_up_on
        land_on land_at land_with get_to get_at lead_to lead_up_to conclude_with conclude_on
        come_to come_out_at come_down_to finish_with finish_at argue_for argue_towards
        argue_in_favour_of argue_in_favor_of make_the_case_for make_a_case_for support
        build_towards build_toward steer_towards steer_toward work_towards work_toward work_up_to
        add_up_to wind_up_at wind_up_with explain confirm justify defend rationalise rationalize
        motivate back_up substantiate find_support_for find_reasons_for find_evidence_for
        account_for prove show demonstrate validate converge_on arrive_with hit_upon"""),
    "REACHED": [
        *pasts(
            """justify defend rationalise rationalize reach obtain explain support motivate prove
            show demonstrate vindicate validate substantiate confirm"""
        ),
        *words("""arrived_at argued_for argued_towards accounted_for made_to_fit borne_out
            backed_up"""),
    ],
    "SAY": words("""name choose give select pick say conclude answer answer_with point_to declare
        find"""),
    # who was told
    "WE": words("we i one us me"),
    "BE": words("""is are was were be been being 'm 're 's am has_been have_been had_been 've_been
        gets get got"""),
    "TOLD": pasts(
        """tell/told inform advise instruct notify hand supply brief assure promise furnish task
        prompt"""
    ),
    "TASK": words("task job assignment instructions instruction brief goal prompt exercise"),
    # the sources
    "SENSE": SENSES,
    "MEDIUM": [
        *SENSES,
        *words("""video sound sounds soundtrack image images picture pictures frame frames footage
            listening hearing viewing sight scene audio_track seeing watching visuals recording
            noises clip ear eye ears eyes"""),
    ],
    "ROLE": nouns(
        """side part half/halves portion component section end camp team department partner channel
        stream branch modality perspective"""
    ),
    "TEXT": TEXTS,
    "LOOSE": LOOSE_TEXTS,
    "PAPER": [
        *TEXTS,
        *LOOSE_TEXTS,
        *nouns(
            """finding inference conclusion verdict opinion prediction log note answer claim guess
            judgement judgment argument hypothesis/hypotheses diagnosis/diagnoses theory
            metadata/metadata appraisal deduction remark estimate proposal suggestion"""
        ),
    ],
    "INFO": [
        *nouns(
            """detail fact clue cue hint input note observation excerpt snippet source summary
            finding piece item material content text"""
        ),
        *words("information info data evidence context reasoning count tally number"),
    ],
    "WHO": nouns(
        """agent model teacher expert analyst annotator captioner assistant observer listener viewer
        describer reviewer specialist hearer watcher spotter correspondent system evaluator
        informant adviser advisor transcriber labeller labeler rater contributor author module
        network pipeline colleague counterpart witness/witnesses eyewitness/eyewitnesses
        earwitness/earwitnesses"""
    ),
    "SCRIBE": nouns(
        "annotator captioner analyst describer transcriber labeller labeler rater evaluator"
    ),
    # what stands before and after them
    "THE": words("the this that these those said such"),
    "TWO": words("""both both_of both_the both_of_the both_these both_of_these the_two these_two
        those_two two each each_of_the either either_of_the neither neither_of_the our_two my_two
        all_the all_three all_of_the the_three"""),
    "ORDER": words("first second other former latter third remaining"),
    "SUPPLIED": words("""provided supplied given accompanying written available input attached
        textual presented furnished received submitted enclosed handed included"""),
    "ADJ": words("""provided given supplied accompanying written available detailed original first
        second third other former latter following input two said respective corresponding
        combined integrated merged full entire whole same textual above attached separate short
        brief initial underlying individual independent different various earlier previous
        preceding own more very three"""),
    "REPORTS": REPORTING,
    "JUDGES": [
        *REPORTING,
        *verbs(
            """see/saw hear/heard perceive detect recognise recognize notice pick choose/chose
            settle arrive reach come/came favour favor opt vote decide think/thought believe infer
            judge find/found support converge match coincide establish listen watch mark give/gave
            write/wrote label lean guess miss lack differ disagree diverge contribute provide supply
            deliver offer suspect assume propose catch/caught capture interpret read/read complement
            corroborate align contradict overlook focus consider deem bring/brought yield answer
            understand/understood take/took leave/left rule"""
        ),
    ],
    "ADVERB": words("""also already just then both all not explicitly independently separately
        clearly once even further only again never simply here itself alone thus hence together
        previously initially correctly rightly directly specifically additionally merely
        repeatedly indeed now still likewise too consistently unanimously nowhere twice later
        first apparently expressly actually of_course briefly vaguely wrongly mistakenly quite
        rather very so at_least in_fact"""),
}
"""The words of each class; "_" joins the words of a phrase."""

COMMON = frozenset(
    words(
        """, ; and the a is in of on with it that would to so at are no be there or not over an for
        as has from this two which out 's then by he what up one while its his i they into after
        have answer option her she them each only all does their neither both when between who do
        other first right was were had we if must"""
    )
)
"""Words that many sentences have: poor signs of which patterns to try."""

FAMILIES = [
    set(words(line))
    for line in (
        "describe description describing",
        "analyse analyze analysis analyses analyst",
        "transcript transcribe transcription",
        "annotation annotate annotator editor",
        "report reporter reporting reportage newsreader news bulletin",
        "account accountant",
        "narrate narrator narrative narration",
        "comment commentary commentator",
        "caption captioner subtitle",
        "summary summarise summarize",
        "state statement",
        "testimony testify witness trial court judge lawyer",
        "interpret interpreter interpretation",
        "note notes notebook notepad",
        "text message sms chat headline script prompter lines",
        "teacher teach lesson class school classroom pupil lecturer",
        "model modelling catwalk runway miniature toy",
        "expert specialist",
        "agent agency",
        "assess assessor assessment evaluate evaluation",
        "answer reply respond response",
        "version remix cover story tale",
        "evidence court detective police",
    )
]


def words_of(name: str) -> list[str]:
    """The words of a class, phrases with spaces."""
    return [word.replace("_", " ") for word in CLASSES[name]]
