"""Patterns of gate `leak` about the answer, when it was known, and about the task."""

from __future__ import annotations

from avrt.generate.gates.leak_context import (
    answered_in_clip,
    by_someone,
    named_in_clip,
    not_early,
)
from avrt.generate.gates.leak_pattern import group

__all__ = ["ANSWERS", "TASK"]

ANSWERS = (
    group(
        "answer",
        answered_in_clip,
        """
        # an answer that is given, expected, known: before the noun, after it, as its predicate
        EXPECTED RIGHT? <ANSWER|response|label|key>
        EXPECTED outcome|conclusion|verdict|target|reply
        LETTER ~ the EXPECTED one
        SINCE the answer|outcome must|has_to|should|is_to|needs_to _* LETTER
        the|our|my|this|that|an|a|its|RIGHT|final <ANSWER> LETTER? ,? that|which? WE? ADVERB* BE ADVERB* to_be|to_us|as? GIVEN !by|up|off|out|about|aside|for
        <answer|solution|letter|key> LETTER? ,? ADVERB? GIVEN !by|up|off|out|about|aside|for|the|these|this|that|all|what
        option|choice LETTER provided|supplied|handed|preselected|predetermined|designated
        the|our|this|that|an|RIGHT|final <ANSWER> LETTER? BE ADVERB* known|given|predetermined|preselected|prescribed
        <ANSWER> LETTER? ,? that|which? WE|people? ADVERB* have|had|hold|were|was|received|start|know|knew|got !to|left
        <ANSWER> LETTER? BE? ADVERB* fixed|settled|decided|chosen|determined BEFOREHAND
        <answer> LETTER? at_hand|on_file|on_record|already_in|in_hand|in_mind|above
        the|our|this|that RIGHT ANSWER LETTER? ,? being|has_been|had_been|was|is_already|is_known|is_said|is_given|is_stated|is_listed|is_marked|is_told|is_provided|is_supposed|is_meant|is_available|is_confirmed_as|is_set|as_given|as_stated|as_provided|as_specified|as_indicated|as_known|as_listed
        BE|gets to_be|as? the? RIGHT|answer GIVEN
        answer|solution <key|sheet|label|book>
        ground truth
        # the answer as a premise, before the evidence
        SINCE the|this|that|our|my|its? RIGHT|final ANSWER|one here|in_question? ~ is|being|was|has|reads
        SINCE the|this|that|our|my|its? answer here|in_question|to_the_question|to_this? ,? LETTER
        SINCE the|this|that|our|my|its? answer here|in_question|to_the_question|to_this? BE ADVERB* LETTER|the|a|an|given|known
        SINCE the|this|that|our|my|its? answer|solution must_be|should_be|has_to_be LETTER
        SINCE the|our answer|solution BE|reads|turns_out
        it turns out that? the RIGHT? answer|option|choice
        given|considering|in_light_of|in_the_light_of|in_view_of|with|starting_from|departing_from|from|under the|our|this|that RIGHT|final ANSWER !in|within
        given|considering|in_light_of|in_the_light_of|in_view_of the|our answer|solution
        match|matches|matching|fits|fitting|fit|agree_with|agrees_with|agreeing_with|aligns_with|align_with|aligning_with|in_line_with|in_accordance_with|in_agreement_with|in_keeping_with|consistent_with|compatible_with|tallies_with|squares_with|true_to|reconcile_with|reconciled_with|coincides_with the|our|this|that RIGHT? answer|solution|key|label
        match|matches|matching|fits|fitting|agree_with|agrees_with|aligns_with|in_line_with|in_accordance_with|in_keeping_with|consistent_with|compatible_with the|our RIGHT ANSWER
        KNOW ADVERB? the|what_the|which|that_the|our|this RIGHT? ANSWER|label|outcome|conclusion|result|one !of
        knowing that? ~ RIGHT|answer|option|choice
        knowing where|what|how this|it|the|we ~ end|ends|lead|leads|going|has|must|should
        KNOW ADVERB? that? it|this? BE? LETTER
        knowledge|knowing|aware|awareness|certainty|given that ~ is RIGHT|known|given|answer
        prior|advance knowledge
        hint|information|note|premise|assumption|statement|fact that the? RIGHT? answer|LETTER
        have|had|has|having ADVERB* the|our RIGHT? answer|solution ,|already|now|in|and|before|at
        come|comes|came|arrives with its|the|a RIGHT? answer|solution
        question|item|task ~ its|the answer|solution|key ,? LETTER
        that the RIGHT? answer BE LETTER was|is|has
        the|a|our <answer|solution|key|label|sheet> says|states|has|shows|gives|lists|names|demands|requires|dictates|wants|asks|presupposes|tells|contradicts|calls
        the RIGHT? answer itself? confirms|tells|requires|implies|dictates|demands|says|presupposes|hints
        been settled|established|decided|fixed|determined that ~ ANSWER|RIGHT
        the fact that the? RIGHT? ANSWER|LETTER LETTER? is|was|must
        SINCE ~ is|was the? known|given|expected|stated|designated ANSWER
        """,
    ),
    group(
        "answer",
        answered_in_clip,
        """
        # something is marked as the right one; the distractors
        GIVEN|flagged|ticked|circled|underlined|highlighted|said|supposed|meant|taken|counts|counted|treated|regarded|accepted|scored|listed|presented to_be|as|as_being|being the? RIGHT|answer|solution !screen
        GIVEN|known to_be|as? RIGHT ,|by|in|on|here|from|and
        LETTER|answer|option|choice|solution ~ GIVEN|flagged|known as? RIGHT
        distractor|distractors
        answer|solution on|in the sheet|key|label
        reasons|reason|arguments|justification|justifications|grounds|motivation for|of|in_favour_of|in_favor_of the? option? LETTER
        here is|'s why the? RIGHT? answer|option|LETTER
        somebody|someone has|had|have ADVERB* decided|determined|established|chosen|settled
        it|this BE ADVERB* revealed|disclosed|announced|confirmed|decided|settled|given|known that ~ RIGHT|answer|LETTER
        the <solution|answer|key> at the back|end|bottom
        for the answer|outcome|result to be
        officially
        for ~ to be the? RIGHT|answer|solution
        ^ should ~ be the? RIGHT|answer
        if ~ is|was|be to be the? RIGHT|answer|solution
        ^ that LETTER is RIGHT|given|known ~ is|was|has
        , as WE? have|had|were|was|are|'ve? been? learned|learnt|told|know|knew|established .
        have|has|had it on record|file|paper|good_authority
        """,
    ),
    group(
        "answer",
        named_in_clip,
        """
        RIGHT|target|class|gold|golden|answer|reference|annotated|ground_truth|expected|given|provided|assigned <label|labels>
        the <label> for|of this|the question|clip|video|item|sample
        the <label> says|states|has|gives|is|demands|requires ADVERB? the|that|LETTER|RIGHT|ANSWER
        consistent_with|match|matches|in_line_with|agree_with|agrees_with|fits|to|by|per|from the <label> ,
        as? the <key|label> shows|says|gives|lists|names|states|has|reads|tells|wants ,|LETTER|that|it|the
        label|key LETTER
        ^ the? <label|target|key|solution> ;
        point|case to be proven|proved|shown|demonstrated|justified|explained|defended
        """,
    ),
    group(
        "answer",
        None,
        """
        # the letter as a premise, or as something to be reached or defended
        SINCE that|it|this? the|this|that? ANSWER? LETTER ,? is|was|being|as|has_been the|our|my|a|already? RIGHT|given|known|fixed|marked|set|settled|stated|provided|expected|supposed|designated|answer|solution|target|what|said|told|established|required|intended|confirmed|flagged|labelled|the_one
        SINCE that? the|this|that? ANSWER? LETTER has|must|needs|should|is|ought to? be
        LETTER|outcome|answer is what|the_one|where that|which|we|i|they|one|us? has|have|needs|need|is|are|was|were|must|should|want|wants|had ~ to|be|given|told|asked|supposed|meant|handed|after|looking|expected|say|reach
        LETTER is what|where we|i|they|one need|needs|want|must|should|have|were|are|aim
        LETTER|answer|option|outcome|choice|conclusion|solution _* has|have|needs|need|is|are|was|were|must|ought|remains|wants still? to_be|be ADVERB? REACHED
        LETTER|answer|option|choice _* can|could|may|might ADVERB? be ADVERB? justified|defended|rationalised|rationalized|verified|motivated|substantiated|validated|backed_up|made_plausible|explained
        answer|choice|option|LETTER of? LETTER? is ADVERB? justified|defensible|vindicated|validated
        ANSWER|outcome|result|conclusion that_is|which_is|that_must_be|that_has_to_be|which_must_be|,? to be? REACHED|REACH
        ANSWER|outcome|result|conclusion that|which? we|i|one have|need|must|am|are|want|should to? ADVERB? REACH
        MUST|order|way|possible ADVERB? to|to_be_able_to|be_to? REACH why|that|how? the|this|that|our? same|RIGHT|given|final|stated|one|EXPECTED? ANSWER|outcome|LETTER LETTER? !or
        supposed|meant|required|expected|asked|told|instructed|tasked|wants_me|wants_us|expects_us|expects_me|obliged|instruction|instructions|need|needs|have|has|order to|should REACH|SAY with|at|on|in|to|for|that|why? the? ANSWER? LETTER !or
        be|been justified|defended|rationalised|rationalized|argued_for|substantiated|vindicated
        i|we MUST ADVERB* to? make ~ convincing|plausible|likely|look|sound|seem|appear|fit|work
        justify|justifying|defend|defending|rationalise|rationalize|rationalising|rationalizing|vindicate|validate|motivate|motivating _* answer|option|solution|alternative|outcome|LETTER
        LETTER ~ , as EXPECTED|instructed|requested|told|indicated .
        answer|LETTER|gets|comes ~ by the key|label|user|prompt|task|reference|solution|sheet .
        path|way|road|route|bridge|steps|step|journey|ladder to|towards|toward the? option? LETTER
        get|gets|getting|come|comes|coming|go|goes from ~ to the? option? LETTER
        the one|option|answer i|we|one am|are|have|is|must|should to? ADVERB? REACH|SAY|argue
        they|he|she|you want|wants|expect|expects|wanted the? option? LETTER
        for the? option|answer? LETTER to be|hold|work|stand|come
        the|our|this|that key|target|label|reference|destination is|has|was the? option? LETTER
        the key|answer|solution for|to|of this|the|our item|question|clip|task|sample says|has|states|gives|names|lists|,
        arrive_at|reach|get_to|end_up_at|end_up_with|land_on|lead_to the? answer? LETTER ,? we|i|one|it ADVERB? need|have|must|should|takes|has
        see|explain|explains|explaining|show|shows|understand|demonstrate|establish|consider|check|clarify|illustrate|spell_out|work_out|find_out|clear|obvious|reason|reasons why it? is|must_be|has_to_be? the|option? RIGHT? ANSWER|LETTER !is_wrong|was_wrong|is_false
        with the|this|that|our? RIGHT|final? OUTCOME|LETTER LETTER? _? ,? ADVERB? in_mind|in_hand|known|fixed|settled|given|decided|established|set|determined|as_the|as_our|as_a|as_given
        start|starts|starting|begin|begins|beginning|going|working|work|works|proceed|proceeding|reason|reasoning|reasoned|back|backward|backwards|depart|departing|derived|thinking|think|argue|arguing out? from|with the|this|that|our? RIGHT|known|given|final? answer|solution|conclusion|outcome|result
        working|work|works|reasoning|reason|back|backward|backwards|derived|argue|arguing from the? option|answer? LETTER !and|or|to
        take|takes|taken|taking the|option|answer? ANSWER? LETTER? as|for given|granted|read|settled|the_starting_point|the_answer|the_premise|the_correct|the_right|a_premise|our_starting_point|a_starting_point
        given the? option? LETTER as|to_be
        because it was|is|has_been ADVERB? marked|given|stated|provided|designated|listed|specified
        conclusion|outcome|result|reasoning|explanation|argument should|needs_to|has_to|must be|end|lead|result|come|point|arrive at|to|in|with|out|at? the? option? LETTER
        LETTER being ADVERB? the? RIGHT|answer|given|marked|designated
        given|knowing|seeing|considering|since|because that? it|this is|must_be|has_to_be|should_be LETTER
        the|option|answer|choice? LETTER was|is|has_been ADVERB* given|provided|supplied|stated|specified|designated|marked|preselected|flagged|handed|prescribed|listed|confirmed_to|declared !by|over|through|up|off
        LETTER|answer ~ is what ~ must|has_to|have_to|should|need_to|needs_to|is_to|are_to
        the fact that the? option? LETTER is|was|must
        LETTER|the_answer comes|come|came|has_to_come|must_come|should_come out
        comes|come out as the? option? LETTER
        meant|supposed|intended|expected|required|bound to be the|option? answer|LETTER
        without revealing|letting_on|giving_away|admitting|showing ~ answer|option|solution|that
        why is|must|would|should the? RIGHT? answer|option|LETTER
        reasons|evidence|support|case|arguments|clues for the|option? answer|LETTER must|has|have|need|needs|is_needed|can_be|are_to
        name|names|named|give|gives|gave|list|lists|has the|option? LETTER as|for the|a|our|this RIGHT|answer|solution|target|key|item
        """,
    ),
    group(
        "answer",
        not_early,
        """
        # the answer comes before any evidence
        ^ the answer ,? here|to_this_question|to_the_question? ,? BE|must_be ,? clearly|obviously|therefore? the? option? LETTER
        ^ the|our RIGHT ANSWER|one ,? BE|must_be? ,? the? option? LETTER
        ^ option? LETTER is the? RIGHT|answer
        ^ the? RIGHT? answer|option ;
        """,
    ),
    group(
        "answer",
        by_someone,
        """
        # backward reasoning, and what was known beforehand
        work|works|working|worked|reason|reasons|reasoning|reasoned|argue|argued|arguing|infer|inferred|inferring|think|thinking|deduce|deducing|deduced it|out? back|backward|backwards|in_reverse !and|in|into|at|on|door
        reverse|reversed|reversing engineer|engineering|engineered
        i|we already|do know|knew
        known|knew|know|knows|fixed|settled|decided|clear to_us|to_me? beforehand|in_advance|from_the_start|from_the_outset|up_front|upfront|ahead_of_time|before_any|before_looking
        know|knew|known from the start|outset|beginning
        as|since|because|given_that it|this is|was|has_been _? already? established|settled|given|fixed|specified|stated|known that|as|to_be
        it is already_known|already_given|already_stated|already_established|given|specified|stipulated that|which
        foregone|foreordained|preordained|predetermined|predecided
        as|which was|is to be shown|proved|proven|demonstrated|explained|confirmed
        only|just|merely need|needs|have|has|remains|remain|left to check|confirm|verify|show|see|find|connect|collect that|whether|how|reasons|it|the
        only the reasons|reasons|reason are|is left|missing|needed|to
        wants|want|expects|expect us|me to say|answer|choose|conclude|find|pick|reach|arrive
        """,
    ),
)

TASK = (
    group(
        "told",
        by_someone,
        """
        # somebody has told the writer something
        WE have|had|'ve? ADVERB* BE ADVERB* been? TOLD !to_wait
        WE have|had|'ve? ADVERB* BE ADVERB* been? given that|to_understand|as|two|both|here|LETTER|the_answer|the_correct|the_right|the_two|the_option|the_information|the_description|the_descriptions|the_text|the_transcript|the_solution|the_label|the_audio|the_visual|the_letter|the_final|the_key|an_answer|a_solution|a_description|a_transcript|a_summary|the_expected
        WE have|had|'ve? ADVERB* BE ADVERB* been? provided with|the|two|both|that|an
        WE have|had|'ve? ADVERB* BE ADVERB* been? asked|required|expected|supposed|meant|tasked to justify|explain|argue|defend|merge|combine|support|integrate|show|write|arrive|reach|conclude|answer|end|find|say|choose
        WE have|had|'ve? received|got|obtained the|two|both|this|that LOOSE|TEXT|INFO|ANSWER
        what|everything|all|anything|nothing|that|which WE? BE ADVERB* been? handed|supplied|passed|relayed|told|communicated|submitted|furnished to|on|over|us|me|,|is|was|here|fits
        what|everything WE? BE ADVERB* been? given|provided|described|reported|noted|mentioned|written_down|put_down
        WE can? read that|of|about|in_the
        having been told|informed|given|handed|instructed|supplied|provided !to|an|a|his|her
        ^ as|like requested|instructed|required|specified|asked|told|given|provided|stipulated|indicated !in_the_question
        , as requested|instructed|required|specified|told|stipulated|prescribed .
        handed|passed|relayed|communicated|forwarded|supplied|given|made_available|available|submitted to us|me
        INFO|TEXT|LOOSE WE have|had|'ve been? received|been_given|got|was_given|were_given|obtained
        """,
    ),
    group(
        "told",
        named_in_clip,
        """
        the|this|that|my|our|your|system|user|input|original|text <prompt> ,|'s|itself|already|also|asks|asked|wants|above|here|and|for|about|with|to|in|by|REPORTS
        in|from|by|per|to|following|under|according_to|given the <prompt>
        the|an <ai|algorithm|classifier> !voice|voices
        captioning|speech|recognition|perception|vision <system|tool|network|module|model|pipeline>
        captioning|ai <model>
        the <user|requester|requestor|system> has|had|says|said|wants|specified|gave|asks|asked|provided|states|stated|expects|requires|'s
        <dataset|metadata|benchmark>
        question|quiz 's? setter|writer|author|designer|creator
        the <setter|examiner>
        """,
    ),
    group(
        "told",
        None,
        """
        my|our TASK now|here? is|was|are|were|name|names|say|says|ask|asks|require|requires|state|tell|demand|specify|specifies|mention|give|list|want|to
        the task|job|assignment|brief here|now? asks|wants|requires|demands|says|states|expects|calls_for|reads|tells
        given|following|per|under|by the|my|our instruction|instructions to|,|that|above
        the TASK now|here? is|was|are|says|asks|requires|states|tells|demands only|now|simply? to? explain|justify|show|argue|merge|combine|integrate|defend|arrive|reach|support|write|me|us|that|not
        i|we have|need|must|ought|want|wish|aim|plan|hope to? end_up|end|finish|land|come_out|wind_up with|at|on|in
        i|we have|need|ought|am|are|was|were|must|should ADVERB* to? explain|justify|prove|demonstrate|defend|show|stress|emphasise|emphasize|argue why|that|how|what_speaks
        i|we am|are|was|were supposed|meant|expected|required to conclude|find|reach|arrive|end|say|choose|show|explain|answer|pick|get
        as requested|instructed|required|specified|asked|demanded|stipulated in|by the prompt|task|instructions|user|input
        here is|'s the|a|my|your|one _? _? merged|combined|integrated|unified|coherent|reasoning|trace|chain|line|response|rewrite|version
        merged|combined|integrated|unified|coherent _? reasoning|trace|chain_of_thought|narrative|line_of_reasoning|explanation
        as an|a ai|text_model|language_model
        language model|models
        llm|llms|asr
        system|user message
        training data
        input text|texts
        text inputs|input
        let_me|let_us|let_'s|i_'ll|i_will|i_shall|we_can|i_can|i_must|we_must|i_need_to|i_have_to|we_will|will|to now|first|then? merge|rewrite|compose|craft|draft|reconcile|integrate|synthesise|synthesize
        arrive_at|end_up_at|end_up_with|end_at|end_with|conclude_with|come_out_at the? option|answer|letter|outcome? LETTER we|i|one
        """,
    ),
)
