"""Patterns of gate `leak` about the answer, when the writer knew it."""

from __future__ import annotations

from avrt.generate.gates.leak_context import (
    answered_in_clip,
    by_someone,
    named_in_clip,
    not_early,
    not_first,
)
from avrt.generate.gates.leak_pattern import group

__all__ = ["ANSWERS"]

ANSWERS = (
    group(
        "answer",
        answered_in_clip,
        """
        # an answer that is given, expected, known: before the noun, after it, as its predicate
        EXPECTED RIGHT? <ANSWER|response|label|key>
        EXPECTED outcome|conclusion|verdict|target|reply|class
        known|official|agreed|reference|target|communicated result
        the answer|option|letter|choice wanted|sought|required|desired|expected|demanded|intended
            is|was|,|.
        according_to|per|as_per|by the <label|key|solution|answer>
        LETTER ~ the EXPECTED one
        SINCE the target|key|label|reference BE
        SINCE it|this has_to|must|should be ~ in_the_end
        prescribed|required|given|stated|provided|desired|predetermined|fixed|requested|wanted
            result|end|ending
        ANSWER|outcome ~ no secret
        answer|solution|choice before me|us
        the OUTCOME|end_point|endpoint|end BE fixed|prescribed|predetermined|preset|laid_down
        the OUTCOME|end_point|endpoint|result that|which? we|i|one need|want|seek|are_after|expect|
            require
        SINCE the answer|outcome must|has_to|should|is_to|needs_to _* LETTER
        the|our|my|this|that|an|a|its|RIGHT|final <ANSWER> LETTER? ,? that|which? WE? ADVERB* BE
            ADVERB* to_be|to_us|as? GIVEN !by|up|off|out|about|aside
        <answer|solution|letter|key> LETTER? ,? ADVERB? GIVEN !by|up|off|out|about|aside|for|the|
            these|this|that|all|what
        option|choice LETTER provided|supplied|handed|preselected|predetermined|designated
        the|our|this|that|an|RIGHT|final <ANSWER> LETTER? BE ADVERB* known|given|predetermined|
            preselected|prescribed
        <ANSWER> LETTER? ,? that|which? WE|people ADVERB* have|had|hold|were|was|received|start|
            know|knew|got !to|left
        <ANSWER> LETTER? BE? ADVERB* fixed|settled|decided|chosen|determined BEFOREHAND
        <answer|solution> LETTER? BE at_hand|in_hand|available|on_the_table|on_record|not_in_doubt|
            in_no_doubt
        check|checking|checked|compare|comparing|compared|test|testing|tested|measured|hold|holding|
            held ~ against|with|to the|our RIGHT|given|EXPECTED? <answer|solution|key|label>
        comes|came|come with|alongside|along_with|together_with the question|task
        question|task|item 's <key|answer|solution>
        <answer> LETTER? at_hand|on_file|on_record|already_in|in_hand|in_mind|above
        the|our|this|that RIGHT ANSWER LETTER? ,? being|has_been|had_been|was|is_already|is_known|
            is_said|is_given|is_stated|is_listed|is_marked|is_told|is_provided|is_supposed|is_meant|
            is_available|is_confirmed_as|is_set|as_given|as_stated|as_provided|as_specified|
            as_indicated|as_known|as_listed
        BE|gets to_be|as? the? RIGHT|answer GIVEN
        answer|solution <key|sheet|label|book>
        ground truth
        # the answer as a premise, before the evidence
        SINCE the|this|that|our|my|its? RIGHT|final ANSWER|one here|in_question? ~ is|being|was|has|
            reads
        SINCE the|this|that|our|my|its? answer here|in_question|to_the_question|to_this? ,? LETTER
        SINCE the|this|that|our|my|its? answer here|in_question|to_the_question|to_this? BE ADVERB*
            LETTER|the|a|an|given|known
        SINCE the|this|that|our|my|its? answer|solution must_be|should_be|has_to_be LETTER
        SINCE the|our answer|solution BE|reads|turns_out
        it turns out that? the RIGHT? answer|option|choice
        given|considering|in_light_of|in_the_light_of|in_view_of|with|starting_from|departing_from|
            from|under the|our|this|that RIGHT|final ANSWER !in|within
        given|considering|in_light_of|in_the_light_of|in_view_of the|our answer|solution
        match|matches|matching|fits|fitting|fit|agree_with|agrees_with|agreeing_with|aligns_with|
            align_with|aligning_with|in_line_with|in_accordance_with|in_agreement_with|
            in_keeping_with|consistent_with|compatible_with|tallies_with|squares_with|true_to|
            reconcile_with|reconciled_with|coincides_with the|our|this|that RIGHT? answer|solution|
            key|label
        match|matches|matching|fits|fitting|agree_with|agrees_with|aligns_with|in_line_with|
            in_accordance_with|in_keeping_with|consistent_with|compatible_with the|our RIGHT ANSWER
        KNOW ADVERB? the|what_the|which|that_the|our|this RIGHT? ANSWER|label|outcome|conclusion|
            result|one !of
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
        the|a|our <answer|solution|key|label|sheet> says|states|has|shows|gives|lists|names|demands|
            requires|dictates|wants|asks|presupposes|tells|contradicts|calls
        the RIGHT? answer itself? confirms|tells|requires|implies|dictates|demands|says|presupposes|
            hints
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
        GIVEN|flagged|ticked|circled|underlined|highlighted|said|supposed|meant|taken|counts|
            counted|treated|regarded|accepted|scored|listed|presented to_be|as|as_being|being the?
            RIGHT|answer|solution !screen
        GIVEN|known to_be|as? RIGHT ,|by|in|on|here|from|and
        LETTER|answer|option|choice|solution ~ GIVEN|flagged|known as? RIGHT
        distractor|distractors
        answer|solution on|in the sheet|key|label
        reasons|reason|arguments|justification|justifications|grounds|motivation for|of|
            in_favour_of|in_favor_of the? option? LETTER
        here is|'s why the? RIGHT? answer|option|LETTER
        official version|line
        gets|get|earns|earn the mark|marks|points
        have|had|got LETTER on|in|from
        is a given
        have|has|'ve|had ADVERB? justified|defended|vindicated the? option|answer? LETTER|answer|
            choice|solution
        proof that|of ~ LETTER
        to be shown|proved|proven|demonstrated has|was|is|had
        quod|qed
        ANSWER|outcome|result that|which? we|i|one had|'ve to REACH
        i|we KNOW to be
        LETTER|ANSWER , as marked|given|stated|provided|indicated|specified|known .
        match|matches|matching|agrees_with|agree_with|fits|in_line_with the reference|key .
        demanded|required|requested|stipulated that i|we
        what has_to|must|should come|result|emerge out? is LETTER
        justification for|of the|LETTER
        easily|readily|well|hard_to|easy_to justified|justify|defend
        i|we justify|defend|rationalise|rationalize
        LETTER|answer BE deemed|held|considered|reckoned|judged to_be? the? RIGHT
        made to fit|match|support LETTER|the_answer
        get|getting|got to the? option? LETTER
        ^ why|how the? option? LETTER .
        remains|remain|left to be shown|explained|proved|proven|justified|seen why|that
        that|as the answer|solution is LETTER can|is|was|has|must
        from|on|by the <sheet|key> .
        the answer|option|choice they|he|she|people look_for|want|expect|are_after|have_in_mind|
            expected|wanted
        test|quiz|exam|question 's answer
        has_to|must|should|needs_to come out on_top|right|ahead
        expected|wanted|demanded|required of|from me|us
        what|that|which they|he|she expect|expects|want|wants is|,|from|to
        what is expected|wanted|asked_for|required|demanded here|of_me|of_us|from_us|from_me|is
        told|promised that? it|this? is|'s? LETTER
        as we know it is|to_be
        put|puts|have|has|enter|entered|mark|marked|set down? LETTER as
        to|can|could|will|would|i|we ADVERB? support|back|back_up|defend|argue_for the? option?
            LETTER
        ^ let me|us justify|defend
        the choice|decision has_been|was|is made|taken|decided beforehand|for_us|for_me|already|
            in_advance
        my conclusion|answer|verdict BE fixed|set|settled|given|prescribed before|beforehand|already
        argue|argues|arguing|work|works|working|reason|reasons|reasoning|write|build|building|head|
            heading|steer|steering _* towards|toward|to the? option? LETTER
        as i|we was|were|am|are|have_been asked|told|instructed|required
        somebody|someone has|had|have ADVERB* decided|determined|established|chosen|settled
        it|this BE ADVERB* revealed|disclosed|announced|confirmed|decided|settled|given|known that ~
            RIGHT|answer|LETTER
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
        RIGHT|target|class|gold|golden|answer|reference|annotated|ground_truth|expected|given|
            provided|assigned <label|labels>
        the quiz|teacher|official 's? <key> saying|has|says|wants|gives|lists|names|reads|is
        ^ given|known|told|target ; LETTER
        the? <label|class|tag> for|of|given_to|assigned_to|attached_to this|the question|clip|video|
            item|sample
        clip|video|question|item|sample|recording 's <label|class|tag>
        the <label> says|states|has|gives|is|demands|requires ADVERB? the|that|LETTER|RIGHT|ANSWER
        consistent_with|match|matches|in_line_with|agree_with|agrees_with|fits|to|by|per|from the
            <label> ,
        as? the <key|label> shows|says|gives|lists|names|states|has|reads|tells|wants ,|LETTER|that|
            it|the
        label|key LETTER
        the <label|labels|target> says|has|wants|gives
        the <key> is|has|was the? option? LETTER !flat|sharp|major|minor
        ^ the? <label|target|key|solution> ;
        point|case to be proven|proved|shown|demonstrated|justified|explained|defended
        """,
    ),
    group(
        "answer",
        None,
        """
        # the letter as a premise, or as something to be reached or defended
        SINCE that|it|this? the|this|that? ANSWER? LETTER ,? is|was|being|as|has_been the|our|my|a|
            already? RIGHT|given|known|fixed|marked|set|settled|stated|provided|expected|supposed|
            designated|answer|solution|target|what|said|told|established|required|intended|
            confirmed|flagged|labelled|the_one
        SINCE that? the|this|that? ANSWER? LETTER has|must|needs|should|is|ought to? be
        LETTER|outcome|answer is what|the_one|where that|which|we|i|they|one|us? has|have|needs|
            need|is|are|was|were|must|should|want|wants|had ~ to|be|given|told|asked|supposed|meant|
            handed|after|looking|expected|say|reach
        LETTER is what|where we|i|they|one need|needs|want|must|should|have|were|are|aim
        LETTER|answer|option|outcome|choice|conclusion|solution _* has|have|needs|need|is|are|was|
            were|must|ought|remains|wants still? to_be|be ADVERB? REACHED
        LETTER|answer|option|choice _* can|could|may|might ADVERB? be ADVERB? justified|defended|
            rationalised|rationalized|verified|motivated|substantiated|validated|backed_up|
            made_plausible|explained
        answer|choice|option|LETTER of? LETTER? is ADVERB? justified|defensible|vindicated|validated
        ANSWER|outcome|result|conclusion that_is|which_is|that_must_be|that_has_to_be|which_must_be|
            ,? to be? REACHED|REACH
        ANSWER|outcome|result|conclusion that|which? we|i|one have|need|must|am|are|want|should to?
            ADVERB? REACH
        MUST|order|way|possible ADVERB? to|to_be_able_to|be_to? REACH why|that|how? the|this|that|
            our? same|RIGHT|given|final|stated|one|EXPECTED? ANSWER|outcome|LETTER LETTER? !or
        supposed|meant|required|expected|asked|told|instructed|tasked|wants_me|wants_us|expects_us|
            expects_me|obliged|instruction|instructions|need|needs|have|has|order to|should REACH|
            SAY with|at|on|in|to|for|that|why? the? ANSWER? LETTER !or
        be|been justified|defended|rationalised|rationalized|argued_for|substantiated|vindicated
        i|we MUST ADVERB* to? make ~ convincing|plausible|likely|look|sound|seem|appear|fit|work
        justify|justifying|defend|defending|rationalise|rationalize|rationalising|rationalizing|
            vindicate|validate|motivate|motivating _* answer|option|solution|alternative|outcome|
            LETTER
        LETTER ~ , as EXPECTED|instructed|requested|told|indicated .
        answer|LETTER|gets|comes ~ by the key|label|user|prompt|task|reference|solution|sheet .
        path|way|road|route|bridge|steps|step|journey|ladder to|towards|toward the? option? LETTER
        get|gets|getting|come|comes|coming|go|goes from ~ to the? option? LETTER
        the one|option|answer i|we|one am|are|have|is|must|should to? ADVERB? REACH|SAY|argue
        they|he|she|you want|wants|expect|expects|wanted the? option? LETTER
        for the? option|answer? LETTER to be|hold|work|stand|come
        the|our|this|that target|label|reference|destination is|has|was the? option? LETTER
        the key|answer|solution for|to|of this|the|our item|question|clip|task|sample says|has|
            states|gives|names|lists|,
        arrive_at|reach|get_to|end_up_at|end_up_with|land_on|lead_to the? answer? LETTER ,? we|i|
            one|it ADVERB? need|have|must|should|takes|has
        see|determine|explore|explain|explains|explaining|show|shows|understand|demonstrate|
            establish|consider|check|clarify|illustrate|spell_out|work_out|find_out|clear|obvious|
            reason|reasons why it? is|must_be|has_to_be? the|option? RIGHT? ANSWER|LETTER !is_wrong|
            was_wrong|is_false
        with the|this|that|our? RIGHT|final? OUTCOME|LETTER LETTER? _? ,? ADVERB? in_mind|in_hand|
            known|fixed|settled|given|decided|established|set|determined|as_the|as_our|as_a|as_given
        start|starts|starting|begin|begins|beginning|going|working|work|works|proceed|proceeding|
            reason|reasoning|reasoned|back|backward|backwards|depart|departing|derived|thinking|
            think|argue|arguing out? from|with the|this|that|our? RIGHT|known|given|final? answer|
            solution|conclusion|outcome|result
        working|work|works|reasoning|reason|back|backward|backwards|derived|argue|arguing from the?
            option|answer? LETTER !and|or|to
        take|takes|taken|taking the|option|answer? ANSWER? LETTER? as|for given|granted|read|
            settled|the_starting_point|the_answer|the_premise|the_correct|the_right|a_premise|
            our_starting_point|a_starting_point
        given the? option? LETTER as|to_be
        because it was|is|has_been ADVERB? marked|given|stated|provided|designated|listed|specified
        conclusion|outcome|result|reasoning|explanation|argument should|needs_to|has_to|must be|end|
            lead|result|come|point|arrive at|to|in|with|out|at? the? option? LETTER
        LETTER being ADVERB? the? RIGHT|answer|given|marked|designated
        given|knowing|seeing|considering|since|because that? it|this is|must_be|has_to_be|should_be
            LETTER
        the|option|answer|choice? LETTER was|is|has_been ADVERB* given|provided|supplied|stated|
            specified|designated|marked|preselected|flagged|handed|prescribed|listed|confirmed_to|
            declared !by|over|through|up|off
        LETTER|answer ~ is what ~ must|has_to|have_to|should|need_to|needs_to|is_to|are_to
        the fact that the? option? LETTER is|was|must
        LETTER|the_answer comes|come|came|has_to_come|must_come|should_come out
        comes|come out as the? option? LETTER
        meant|supposed|intended|expected|required|bound to be the|option? answer|LETTER
        without revealing|letting_on|giving_away|admitting|showing ~ answer|option|solution|that
        why is|must|would|should the? RIGHT? answer|option|LETTER
        reasons|evidence|support|case|arguments|clues for the|option? answer|LETTER must|has|have|
            need|needs|is_needed|can_be|are_to
        name|names|named|give|gives|gave|list|lists|has the|option? LETTER as|for the|a|our|this
            RIGHT|answer|solution|target|key|item
        """,
    ),
    group(
        "answer",
        not_first,
        """
        # the first sentence has the answer
        ^ the answer ,? here|to_this_question|to_the_question? ,? BE|must_be ,? clearly|obviously|
            therefore? the? option? LETTER
        ^ the|our RIGHT ANSWER ,? BE|must_be? ,? the? option? LETTER
        ^ option? LETTER is the? RIGHT|answer
        ^ the? RIGHT? answer|option ;
        """,
    ),
    group(
        "answer",
        not_early,
        """
        # a name for the answer before the evidence: "the correct answer, B, agrees with the cries"
        ^ the|our RIGHT ANSWER , the? option? LETTER ,
        """,
    ),
    group(
        "answer",
        by_someone,
        """
        # backward reasoning, and what was known beforehand
        work|works|working|worked|reason|reasons|reasoning|reasoned|argue|argued|arguing|infer|
            inferred|inferring|think|thinking|deduce|deducing|deduced it|out? back|backward|
            backwards|in_reverse !and|in|into|at|on|door
        reverse|reversed|reversing engineer|engineering|engineered
        i|we already|do know|knew
        known|knew|know|knows|fixed|settled|decided|laid_down to_us|to_me? beforehand|in_advance|
            from_the_start|from_the_outset|up_front|upfront|ahead_of_time|before_any|before_looking
        know|knew|known from the start|outset|beginning
        as|since|because|given_that it|this is|was|has_been _? already? established|settled|given|
            fixed|specified|stated|known that|as|to_be
        it is already_known|already_given|already_stated|already_established|given|specified|
            stipulated that|which
        foregone|foreordained|preordained|predetermined|predecided
        as|which was|is to be shown|proved|proven|demonstrated|explained|confirmed
        only|just|merely need|needs|have|has|remains|remain|left to check|confirm|verify|show|see|
            find|connect|collect that|whether|how|reasons|it|the
        only the reasons|reasons|reason are|is left|missing|needed|to
        wants|want|expects|expect us|me to say|answer|choose|conclude|find|pick|reach|arrive
        """,
    ),
)
