"""Patterns of gate `leak` about the task: what the writer was told or asked, and by whom."""

from __future__ import annotations

from avrt.generate.gates.leak_context import by_someone, named_in_clip
from avrt.generate.gates.leak_pattern import group

__all__ = ["TASK"]

TASK = (
    group(
        "told",
        by_someone,
        """
        # somebody has told the writer something
        WE have|had|'ve? ADVERB* BE ADVERB* been? TOLD !to_wait
        WE have|had|'ve? ADVERB* BE ADVERB* been? given that|to_understand|as|two|both|here|LETTER|
            the_answer|the_correct|the_right|the_two|the_option|the_information|the_description|
            the_descriptions|the_text|the_transcript|the_solution|the_label|the_audio|the_visual|
            the_letter|the_final|the_key|an_answer|a_solution|a_description|a_transcript|a_summary|
            the_expected
        WE have|had|'ve? ADVERB* BE ADVERB* been? provided with|the|two|both|that|an
        WE have|had|'ve? ADVERB* BE ADVERB* been? asked|required|expected|supposed|meant|tasked to
            justify|explain|argue|defend|merge|combine|support|integrate|show|write|arrive|reach|
            conclude|answer|end|find|say|choose
        WE have|had|'ve? received|got|obtained the|two|both|this|that LOOSE|TEXT|INFO|ANSWER
        what|everything|all|anything|nothing|that|which WE? BE ADVERB* been? handed|supplied|passed|
            relayed|told|communicated|submitted|furnished to|on|over|us|me|,|is|was|here|fits
        what|everything WE? BE ADVERB* been? given|provided|described|reported|noted|mentioned|
            written_down|put_down
        WE can|'ve|have? read|reads that|of|about|in_the
        having been told|informed|given|handed|instructed|supplied|provided !to|an|a|his|her
        ^ as|like requested|instructed|required|specified|asked|told|given|provided|stipulated|
            indicated !in_the_question
        , as requested|instructed|required|specified|told|stipulated|prescribed .
        handed|passed|relayed|communicated|forwarded|supplied|given|made_available|available|
            submitted to us|me
        INFO|TEXT|LOOSE WE have|had|'ve been? received|been_given|got|was_given|were_given|obtained
        """,
    ),
    group(
        "told",
        named_in_clip,
        """
        the|this|that|my|our|your|system|user|input|original|text <prompt> ,|'s|itself|already|also|
            asks|asked|wants|above|here|and|for|about|with|to|in|by|REPORTS
        in|from|by|per|to|following|under|according_to|given the <prompt>
        the|an <ai|algorithm|classifier> !voice|voices
        captioning|speech|recognition|perception|vision <system|tool|network|module|model|pipeline>
        captioning|ai <model>
        the <user|requester|requestor|system> has|had|says|said|wants|specified|gave|asks|asked|
            provided|states|stated|expects|requires|'s
        <dataset|metadata|benchmark>
        the|these|our|my <instructions> call_for|want|wants|require|demand|name|tell_us|tell_me|
            expect
        <quiz> 's? setter|maker|writer|author|designer
        question 's? setter|maker|writer|author|designer|creator
        the <setter|grader>
        """,
    ),
    group(
        "told",
        None,
        """
        my|our TASK now|here? is|was|are|were|name|names|say|says|ask|asks|require|requires|state|
            tell|demand|specify|specifies|mention|give|list|want|to
        the task|job|assignment|brief here|now? asks|wants|requires|demands|says|states|expects|
            calls_for|reads|tells
        given|following|per|under|by the|my|our instruction|instructions to|,|that|above
        the TASK now|here? is|was|are|says|asks|requires|states|tells|demands only|now|simply? to?
            explain|justify|show|argue|merge|combine|integrate|defend|arrive|reach|support|write|me|
            us|that|not
        i|we have|need|must|ought|want|wish|aim|plan|hope to? end_up|end|finish|land|come_out|
            wind_up with|at|on|in
        i|we have|need|ought|am|are|was|were|must|should ADVERB* to? explain|justify|prove|
            demonstrate|defend|show|stress|emphasise|emphasize|argue why|that|how|what_speaks
        i|we am|are to conclude|find|argue|show|explain|justify|defend|reach|arrive|end|say
        i|we BE to draw
        i|we am|are to write|merge|combine|connect|fill|integrate|make_it|act_as_if
        i|we am|are|was|were supposed|meant|expected|required to conclude|find|reach|arrive|end|say|
            choose|show|explain|answer|pick|get
        as requested|instructed|required|specified|asked|demanded|stipulated in|by the prompt|task|
            instructions|user|input
        here is|'s the|a|my|your|one _? _? merged|combined|integrated|unified|coherent|reasoning|
            trace|chain|line|response|rewrite|version
        merged|combined|integrated|unified|coherent _? reasoning|trace|chain_of_thought|narrative|
            line_of_reasoning|explanation
        as an|a ai|text_model|language_model
        language model|models
        llm|llms|asr
        system|user message
        training data
        input text|texts
        text inputs|input
        let_me|let_us|let_'s|i_'ll|i_will|i_shall|we_can|i_can|i_must|we_must|i_need_to|i_have_to|
            we_will|will now|first|then? merge|rewrite|compose|craft|draft|reconcile
        ^ to REACH the RIGHT ANSWER
        arrive_at|end_up_at|end_up_with|end_at|end_with|conclude_with|come_out_at the? option|
            answer|letter|outcome? LETTER we|i|one
        """,
    ),
)
