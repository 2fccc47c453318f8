"""Patterns of gate `leak` about the writers of the sources: agents, models, teachers, experts."""

from __future__ import annotations

from avrt.generate.gates.leak_context import named_in_clip
from avrt.generate.gates.leak_pattern import group

__all__ = ["WRITERS"]

WRITERS = (
    group(
        "source",
        named_in_clip,
        """
        # the writers: two of them, numbered, or by a word for nothing else
        both|both_of_the|both_the|the_two|these_two|each_of_the|neither_of_the|either_of_the|
            our_two|two|either|neither|each|every <WHO> !'s
        the ORDER <WHO> ADVERB* ,? have|has|had|who|then|also|both|independently? ADVERB* JUDGES
        the ORDER|same|SENSE <WHO> !of|in|with
        one|the_one <WHO> ,? ADVERB* JUDGES
        one <agent|model|teacher|annotator|analyst|captioner|expert|listener|observer> ,? ~
            the other
        one of the two? <WHO> ADVERB* JUDGES
        <agent|teacher|model|expert|annotator|analyst|source|witness|observer|description|analysis|
            trace|account|report|text|input|reviewer|assistant|captioner|passage|summary|describer|
            specialist|narrator> number|no|nr? LETTER|1|2|one|two|#1|#2|i|ii
        the|one|our|an|a <SCRIBE|system|systems|model|models> sees|hears
        the|one|our|an|a|any <SCRIBE> ADVERB* JUDGES
        the <listener|listeners|observer|observers> ADVERB* reports|reported|notes|noted|mentions|
            mentioned|describes|described|concludes|concluded|says|said|states|stated|identified|
            identifies|judged|specifies|claims|picked|chose|settled|wrote|labelled|called
        the|one|our|a <viewer|viewers> ADVERB* reports|reported|notes|noted|mentions|mentioned|
            describes|described|concludes|concluded|says|said|states|stated|judged|specifies|claims|
            picked|chose|settled
        the|one|our|an|a <model|models|system|evaluator> ADVERB* REPORTS|picked|chose|settled|
            guessed|heard|saw
        the ORDER <one> saw|sees|heard|hears|mentions|reports|describes|notes|states|concludes
        according_to the|one|either|another|our ORDER? <SCRIBE>
        according_to one|either|another|our <WHO>
        according_to the ORDER <WHO>
        by|from|of|to|with|for|between|among both|the_two|either|neither|each_of_the|the_first|
            the_second|the_other <WHO>
        ORDER|vision|audio|sound <agent|agents|teacher|teachers|model|models|expert|experts|
            annotator|analyst> 's|JUDGES
        by|of|from one <agent|model|teacher|annotator|analyst|captioner>
        SENSE|sound|picture <commentator|narrator|reporter|describer>
        the|both|our|either|neither|each|an|a ADJ* <agent|agents|model|models|annotator|annotators|
            analyst|analysts|captioner|captioners|describer|describers> JUDGES|'s|'|and|,|ADVERB|
            who|that|whose|with|on|for
        the ADJ* <teacher|expert|specialist|assistant|observer|witness|reviewer|listener> that|who
            had|has|only|could|saw|heard|watched|listened|looked|got|worked
        an|one <WHO> ADVERB* JUDGES ~ another|the_other|a_second
        <annotators|captioners|labellers|labelers|transcribers|raters>
        <WHO> 's|' account|accounts|report|reports|description|descriptions|analysis|notes|findings|
            version|statement|statements|text|reasoning|verdict|conclusion|summary|impression|guess|
            remark|view|perspective|choice|answer|opinion|assessment|interpretation|suggestion|
            observation|observations|claim|claims|words|findings|finding|explanation|explanations|
            inference|judgement|judgment|summaries|output|outputs|responses|response|contribution|
            input|hypothesis|side
        blind|deaf <listener|observer|agent|model|teacher>
        in_the_words_of the <WHO>
        by the <listener|viewer|observer|SCRIBE>
        the <listener|viewer|observer|listeners> , relying|working|judging|listening|based|using|
            going|having|with
        both|the_two|between the? <agents|analysts|annotators|captioners|specialists|reviewers|
            evaluators|teachers>
        the|its|their|one <SCRIBE>
        <WHO|one> with|without the? access|sound|frames|pictures|picture|audio|video|images|vision|
            only
        their <reports|accounts|findings|descriptions|analyses|conclusions|verdicts|interpretations|
            statements|summaries|judgements|judgments|guesses|predictions|assessments|inferences|
            report|description|reasoning>
        two|both|either|neither <vote|votes>
        the <agents|models|teachers|experts|analysts|annotators|captioners|specialists|reviewers|
            describers|systems|evaluators|witnesses> ADVERB* JUDGES
        the <agent|agents|model|models|analyst|analysts|annotator|annotators|expert|experts|
            teachers|specialists> 's|' _
        SENSE|sound|picture|listening|hearing <team|camp|person|people|reader|party>
        trust|trusting|believe|following the <WHO>
        SENSE|sound|listening|hearing <expert|analyst|agent|model|specialist|teacher>
        """,
    ),
    group(
        "source",
        named_in_clip,
        """
        # two verdicts
        both of_them? have|had? ADVERB* chosen|gone_for|conclude|concluded|chose|choose|picked|pick|
            opted|voted|settled|settle|arrived|arrive|came|come|reach|reached|answer|answered|name|
            named|identify|identified|give|gave|favour|favoured for|on|at|to|with? the|that? same|
            identical|RIGHT|one|a? <answer|conclusion|option|letter|choice|verdict|result>
        both of_them? have|had? ADVERB* chosen|gone_for|conclude|concluded|chose|choose|picked|pick|
            opted|voted|settled|settle|name|named|say|said|give|gave|vote|favour|favor for|on|at|
            that? the? ANSWER? LETTER
        both of_them? have|had chosen|picked|selected|named|concluded|gone_for|voted|opted|settled
        both|the_two|their|either|neither <answers|responses|replies|conclusions|verdicts|opinions|
            judgements|judgments|choices|predictions|guesses|conclusion|verdict> ADVERB* agree|are|
            is|point|match|coincide|give|name|align|converge|concur|say|state|favour|favor|settle|
            land|identical|arrive
        arrive|arrives|arrived|conclude|concludes|concluded|reach|reaches|reached|come_to|comes_to|
            came_to|agree_on on|with|at|in_favour_of|in_favor_of? the|a same|identical|similar
            <option|answer|choice|letter|verdict|conclusion|view|result> independently|separately|
            without|with|on
        both of_them? ADVERB* settle|settles|arrive|arrives|settled|arrived|opt|opted on|at|for
        # a guess that somebody had
        earlier|previous|prior|preceding|initial|other <explanation|rationale|reasoning|account|
            line|verdict|answer> of|for|about|from
        the|an|this initial|original|first|earlier|early|other|rival|competing|alternative
            <suggestion|proposal|guess|hypothesis|assumption|verdict|suspicion> of|that|was|is|,|
            does|had
        had|was|were|has|have been? ADVERB* put_forward|brought_forward|put_forth|ventured|floated|
            proposed|suggested !to|by
        was|were|had_been ADVERB* considered|assumed|inferred|guessed|suspected because|since|
            on_account|on_the_basis|from_the|due_to|based_on|by_ear|from_sound|initially|at_first
        """,
    ),
)
