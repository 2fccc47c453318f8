"""Patterns of gate `leak` about sources: texts on the clip and what was told there.

The merger was handed texts of two kinds. Words for such texts need the less of a hint the less they
are words for things in clips: TEXT, then LOOSE, then INFO.
"""

from __future__ import annotations

from avrt.generate.gates.leak_context import (
    given_in_clip,
    guide_in_clip,
    remark_in_clip,
    shown_in_clip,
    speaker_in_clip,
    text_in_clip,
)
from avrt.generate.gates.leak_pattern import group

__all__ = ["SOURCES"]

SOURCES = (
    group(
        "source",
        guide_in_clip,
        """
        # a text or a writer by the sense: "the audio description", "visual agent", "sound expert"
        SENSE based|only|derived|related|side? and|or|,? SENSE? MEDIUM? 's? side|part|half? 's?
            <PAPER>
        hearing|listening|sight|sound|image|frame|video|picture|text based|only|derived <PAPER|WHO|
            explanation>
        SENSE _ <sheet|notes|list|log|description|analysis|text|texts|report>
        SENSE based|only? and|or|,? MEDIUM? <WHO>
        sound|soundtrack|listening|hearing|image|picture|frame|frames|video|viewing|scene|footage
            <WHO> !who|of
        images|image|video|frames|frame|picture|sound|soundtrack|footage|scene|listening|hearing|
            viewing|sight <TEXT|LOOSE|findings>
        SENSE|sound|video person|reader|party|guy|contributor|judge|watcher|helper|informer
        SENSE|sound|video information|data|evidence says|states|mentions|notes|reports|specifies|
            lists|describes|reads
        sound|listening|hearing|viewing|picture|watching notes|log|sheet|record|records|file|
            protocol
        MEDIUM|modality 's|' <PAPER|WHO>
        SENSE|sound|picture based|only|side source|sources|statement|claim|answer|guess|view
        modalities|senses|channels ' <TEXT|LOOSE>
        """,
    ),
    group(
        "source",
        text_in_clip,
        """
        # a text on a sense: "the report on the sound", "commentary on the visuals"
        <TEXT|LOOSE|PAPER|file|blurb|memo|document|sheet|entry|card|log|message|lines|words|record|
            listing|list|observer|reviewer|listener|watcher|enumeration|catalogue> of|on|about|for|
            from|to|concerning|regarding|covering what|the|these? still|eight|silent|moving|two?
            MEDIUM|heard|seen|audible|visible|acoustics|is_heard|is_seen|was_heard|was_seen
        texts|text|paragraphs|paragraph|lines|sentences|sentence|passages|passage|sections|section|
            information|details|reasoning|input|trace|captions|facts about|for|from|of|on the audio|
            soundtrack|sounds|sound|frames|video|footage|visuals|recording|pictures
        textual|written|verbal|text evidence|material|information|data|account|input|inputs|content|
            source|sources|form|details|description|side
        """,
    ),
    group(
        "source",
        None,
        """
        # a sense that speaks like a witness
        SENSE|sound|listening|hearing|picture|seeing|image|viewing|hearing|watching ROLE ADVERB*
            REPORTS !to
        SENSE|sound|listening|hearing|picture|seeing|image|viewing|watching ROLE ADVERB*
            contributes|contributed|reaches|reached|came|comes|opted|opts|chose|chooses|picked|
            settled|was_interpreted|was_read|was_asked|answered|answers|of_the_evidence|offers|
            guessed|leaned|leans|believed|votes|voted|thinks|is_silent|has_it|arrives|arrived|
            proposes|proposed|suspected|favours|favors|is_convinced
        what the SENSE|listening|hearing|sound ROLE ADVERB* contributes|adds|has|says|offers|
            supplies
        the|both|while|and audio|soundtrack|video|visuals|visual|frames|picture|pictures|footage|
            images|image|recording ADVERB* mentions|mention|mentioned|notes|noted|reports|reported|
            states|stated|describes|described|concludes|concluded|specifies|lists|makes_mention|
            makes_no_mention|says_that|says_there|say_that|says_it|speaks_of|argues|opted|opts|
            claims|believes|does_not_mention|does_not_describe|does_not_report|does_not_specify|
            do_not_mention|doesn't_mention|did_not_mention|thinks|guessed
        described|reported|noted|mentioned|recorded|observed|stated|said|remarked|established|
            documented|picked_up|detected|pointed_out|identified on|from|by the audio|sound|
            listening|hearing|visual|vision|picture|seeing|image|video|auditory|other ROLE|end|camp
        audio|sound|visual|vision|picture|auditory part|side|half|section|portion|channel|stream|
            team|branch|camp 's
        hint|mention|reference|word|remark|line|note|statement|nothing ~ in the audio|sound|visual|
            vision|picture|auditory part|half|side|section|portion
        on the listening|hearing|seeing|viewing|watching|looking side|end
        SENSE and SENSE agents|experts|models|teachers|analysts|descriptions|analyses|accounts|
            reports|traces|reasonings|interpretations|annotations
        SENSE|hearing|listening|sight|sound alone|only ,? ~ had been|concluded put|proposed|
            suggested
        # those who watched or listened
        according_to the|a person|one|party|side who|that|which
        the|both|two|our teacher|expert|agent|vision|audio|specialist models|agents|outputs|
            networks|systems
        person|one|model|agent|someone|party|teacher|expert|analyst describing|reporting|
            summarising|summarizing|considering|analysing|analyzing|judging|labelling|annotating|
            transcribing the|it|what
        whoever|the_one|the_person|the_people|the_party|the_side|someone|somebody|those|WHO|people|
            anyone|one|person who|that|which? had|has? only|actually|just|merely|had? captioned|
            labelled|wrote|wrote_about|commented|watched|saw|listened|heard|viewed|looked|examined|
            inspected|studied|analysed|analyzed|described|reported|reviewed|judged|summarised|
            summarized|transcribed|annotated only|just? to|at|from|on|with|through? only|just? the|a
            silent|eight|still|moving? frames|pictures|picture|video|images|image|footage|recording|
            sound|sounds|audio|soundtrack|clip !of|coming
        whoever watched|listened|heard|saw|looked|described|wrote|reported|annotated
        WHO that|who|which only|merely|just|had_only|has_only|could_only listened|watched|heard|saw|
            hears|sees|hear|see|had|has
        had|has|with|having no access to
        WHO|TEXT|LOOSE|one|side|party ,? who|which|that could|did|can not|only see|hear|watch|
            listen|know
        whoever _ only? to|at|on|about? the MEDIUM
        the_one|the_person|the_other|whoever who|that|which? only? listened|watched|heard|saw|
            looked|viewed ,? JUDGES
        the reference|key says|states|has|lists|gives|names|tells|wants|shows|agrees|mentions
        """,
    ),
    group(
        "source",
        None,
        """
        # a writer or a half of the text by what it is about
        WHO responsible_for|in_charge_of|assigned_to|for|in|on|concerned_with|tasked_with|
            dealing_with the? MEDIUM
        was|were|been ~ on|from the SENSE|sound|listening|hearing side|half|part|end|camp
        idea|possibility|option|suggestion|notion ~ was|had_been|were brought_up|raised|floated|
            entertained|aired|voiced
        one|neither|either|each of the two ADVERB* JUDGES|put|puts
        no|any source|sources JUDGES
        ORDER set|list|group|batch of observations|notes|clues|details|findings|remarks
        second opinion
        TEXT|LOOSE|notes that|which goes|go|went|came|comes|belongs|belong with|to the? MEDIUM|clip|
            question|video
        visual|vision|auditory|acoustic|sonic statement|statements
        that|which came|comes with the clip|question|video|task
        sound observations
        , so? they say|said .
        version|versions|text|account|report|one with the sound|picture|pictures|frames|audio
        part|parts|section|sections|half|paragraph on|about the? MEDIUM
        in|from|per|by|to the SENSE|sound|picture part|half|section|portion
        what the SENSE|sound|picture|listening ROLE JUDGES
        someone|somebody has|have? ADVERB* transcribed|written_down|annotated|captioned|summarised|
            summarized
        # somebody without a name who wrote
        someone|somebody listening|watching|looking ~ noted|wrote|heard|saw|described|reported
        who|that described|annotated|captioned|summarised|summarized|transcribed the? MEDIUM
        words of another|others|someone|somebody
        BE|, listed|noted|described|given|reported|recorded|named|mentioned|stated for|under the
            MEDIUM
        ^ on paper ,
        written|put|noted|set|recorded|summarised|summarized|described down? by someone|somebody|
            those|the_one|one|a_person|the_person|whoever|people
        data|texts|notes|material|descriptions|reports|details we|i have|had|got
        listed|named|catalogued|reported|noted _? sounds|sound|events|noises|details|objects
        multimodal|sensory|two|both inputs
        # one's own sources, witnesses, two independent views
        my|our ORDER? colleagues|colleague|partner|counterpart|counterparts|informants|informant|
            teammate|other_half|vision|audio|expert|experts|teachers|agents|analysts|annotators|
            listener|viewer|observer|source|sources !'s|ears|eyes|of
        ear|eye witness|witnesses
        earwitness|earwitnesses
        verdict|verdicts|answer|answers|conclusion|conclusions|opinion|opinions|account|accounts|
            report|reports|views|view|guess|guesses|claim|claims of the_two|both|each .
        two|both|the_two independent|separate|different looks|views|perspectives|takes|readings|
            sources|lines|judgements|judgments|verdicts|opinions|accounts|impressions|observations
        by|of|from|for the|one ORDER? of? the_two|them .
        the one|person|party|side with the ears|eyes
        learn|learned|know|gather|read|take|took|have|get|see from|through|via the SENSE|sound|
            listening|picture ROLE
        know|knew|have|learned|learn ~ second hand
        lines|words|text|sentences|paragraphs|sentence|paragraph above|below about|on|speak|say|
            says|speaks|from|concerning
        what the_two|both|the_other|the_first|each of_them? wrote|reported|noted|described|
            concluded|put_down|say|says|said|writes|write
        whoever set|wrote|made|posed|asked|devised the question|questions|options|quiz|task
        # the writer has not seen or heard the clip
        not having heard|seen|watched ~ myself|ourselves
        cannot|can't|could_not|couldn't|can_not see|hear|watch|access|view|listen_to the|this video|
            audio|clip|frames|recording|footage|images|soundtrack|pictures
        i|we only? know the MEDIUM|clip only? from|through|by
        not available to me|us
        put|laid|placed|set before|in_front_of me|us
        TEXT|LOOSE|INFO before me|us
        what is|was|'s|has_been written|put_down|noted|reported|described|listed !on|in|at|across|
            above|over|beneath|below|under|there|by
        # two lines of thought, and their merger
        independent|separate observers|observations|sources|witnesses|reports|accounts|analyses|
            descriptions|reviewers|annotators|assessments|perspectives|judgements|judgments|
            interpretations|inferences
        these|those|the|their|both two? interpretations|inferences|hypotheses|readings ,|are|were|
            agree|differ|that|made|about|independently|converge
        both|the_two|all|two lines_of_reasoning|line_of_reasoning|chains_of_thought|
            chains_of_reasoning|trains_of_thought|lines_of_argument|lines_of_thought|sets_of_notes|
            sets_of_observations|sets_of_findings|sets_of_details|sets_of_clues|pieces_of_text|
            pieces_of_writing|bodies_of_text|streams_of_text|strands_of_reasoning|arguments|
            argumentations
        merging|merge|combine|combining|integrate|integrating|synthesise|synthesising|synthesize|
            synthesizing|fuse|fusing|consolidate|consolidating|reconcile|reconciling|weigh|weighing|
            join|joining|compare|comparing|read|reading|take|taking up|together? both|the_two|
            these_two|the|these|all SENSE? TEXT|accounts|reports|narratives|texts|versions|
            statements|responses|sources|findings|interpretations|perspectives|reasonings|inputs|
            summaries|conclusions|verdicts|viewpoints|views !of_the_sea
        merging|reconciling|integrating them
        """,
    ),
    group(
        "source",
        text_in_clip,
        """
        # a text with an article, a number or an owner
        !this_analysis THE|such_an|such_a|one|any|no|each|every|whose ADJ* <TEXT> !above|so_far
        TWO ADJ* <TEXT>
        # two texts, or one of two
        both|both_of_the|both_the|the_two|these_two|our_two|two|all_three|the_three ADJ* <LOOSE|
            statements|reasonings|inferences|conclusions|verdicts|opinions|predictions|perspectives|
            viewpoints|arguments>
        the first|second|other|former|latter|visual|original <account|report|text|narrative|summary|
            trace|caption|input|version|reasoning|interpretation|output|commentary|assessment|
            testimony|response>
        either|neither|each|one <account|report|text|narrative|summary|trace|input|testimony|
            commentary|reasoning|output> ,|REPORTS|has|is|was|does|leaves|and|nor|or|that|which|,
        one|each|neither|either|none|both|all|any of the two? <TEXT|LOOSE|WHO>
        in|from|by|with|per|into|against|between|to|across|of|on both|the_two|either|neither|each|
            all <TEXT|LOOSE|sources|source> !of
        <texts|accounts|reports|analyses|notes|summaries|statements|findings> at_hand|in_hand|
            before_me|before_us|in_front_of_me|on_file
        put|puts|putting|place|placing|lay|laying|hold|holding|bring|bringing|take|taking|set|
            setting|read|reading both|the_two|these_two|these|the <accounts|reports|texts|analyses|
            versions|statements|findings|testimonies|summaries>
        # texts that hardly any clip has
        <descriptions|annotations|analyses|captioning|annotating>
        the <transcribed> _
        its|their <description|transcript|annotation|analysis|transcription>
        the ADJ* <account|accounts|summary|summaries|write_up|testimony|input|inputs|output|outputs|
            paragraph|paragraphs> !jack|cable|socket|of|number|book|holder
        the ADJ* <report|reports> JUDGES|has|have|is|was|leaves|on|about|.
        the ADJ* <trace|traces|reasoning> !of
        in the ORDER <statement|testimony|remark>
        the ADJ* <commentary|commentaries> has|have|on|about|of|REPORTS
        as a <text|transcript|description|caption>
        so|as|thus the <TEXT|LOOSE|story|wording> goes|has_it|puts_it|says
        <eyewitness|eyewitnesses> account|accounts|report|reports|says|said
        a|an ADJ* _? <description|transcription|annotation> of|in
        per the|an|a? ADJ* <TEXT|LOOSE>
        SUPPLIED <TEXT|LOOSE|notes|material|record> !by
        <analyses|accounts|summaries|traces|reasonings|testimonies> ADVERB* REPORTS|agree|differ|
            align|concur|match|converge|complement|support|diverge|provided|supplied|given|above|
            leave|leaves|line_up|are|fit
        this|that|such_an|such_a|whose <description|account|report|analysis|testimony|summary> fits|
            fit|matches|match|leaves|points|makes|rules|suggests|indicates|corresponds|is|could|can|
            would|excludes|alone
        the|a|an ADJ* <description|account|report|summary|analysis|commentary> that|which mentions|
            speaks|notes|contains|describes|has|reports|names
        """,
    ),
    group(
        "source",
        shown_in_clip,
        """
        the ADJ* <LOOSE|findings|notes> itself|ADVERB? REPORTS|also|both
        the <LOOSE> has|have|contains|contain
        the ADJ* <account|accounts|summary|summaries|narrative|narratives|write_up|testimony> has|
            have|had|is|are|was|were|leaves|left|provides|offers|gives|shows|both|that|which|fits|
            matches|aligns|of|alone
        in|from|by|per|to the <notes> ,|on|about|for|that|there
        it|this says|mentions|reports|states in the <text|texts|notes|account|report|summary>
        ^ it also|even|further? mentions|reports|notes|describes|states_that|lists|speaks_of
        according_to|as_per|judging_by|going_by|relying_on|trusting|trust|based_on|following the|an|
            a|both|each|one|my|our? ADJ* <TEXT|LOOSE|findings|information|data|input|material|
            source|sources|listing|log|first|second|former|latter|listener|viewer|observer|
            annotators|analysts|notes> !i|we
        in|from|by|per|with|as_per|following|under the ADJ* <LOOSE|findings> !message|of|machine|
            hole|on
        image|video|audio|first|second|provided <caption|captions>
        the|its|their wording|phrasing|adjective|adjectives|adverb|adverbs|word_choice|
            choice_of_words
        the|a <word|term|expression|phrase|verb> that_is|that_was? used|chosen|employed
        the|this|that <note|remark|comment|statement|mention|hint|reference> about|regarding|
            concerning the|a|an|some|something ~ is|was|settles|fits|makes|points|seems|decisive
        """,
    ),
    group(
        "source",
        speaker_in_clip,
        """
        # any other thing that speaks like a text
        the|one|each|this|that _? _ ADVERB* mentions|mentioned|states|stated|specifies|specified|
            concludes|concluded|reports|reported|notes_that|notes_a|noted_that !by|as
        """,
    ),
    group(
        "source",
        remark_in_clip,
        """
        <reports> of a|an|the|some|two
        ^ it says that|there|here
        no_one|nobody <reported|noted|recorded|described|listed|mentioned>
        one|the_other|the_first|the_second|the_former|the_latter|each_of_them|each_of_the_two|each
            only|also|then|merely|,? <mentions|reports|notes|describes|states|concludes|contains|
            lists|speaks_of|makes_no_mention|specifies|identifies>
        both ADVERB* <mention|report|describe|state|indicate|specify|note>
        as both _? <say|agree|state|note|mention|report>
        according_to both
        references|mentions|reference|mention to|of ~ is|are absent|missing|lacking|nowhere
        second|other|another|one pair_of_ears|pair_of_eyes
        by_all_accounts|by_both_accounts|word_has_it|on_good_authority|hearsay
        someone|somebody has|have? noted|reported|described|recorded
        what is known about|of
        """,
    ),
    group(
        "source",
        given_in_clip,
        """
        # information that was provided to the writer
        the|this|that|all|these|those|any|on|from|by|given|only|following|two|some|of|more _? <INFO>
            that|which? WE|have|had|BE? BE? provided|supplied|given|presented|handed|furnished|
            received|submitted|attached|included|at_my_disposal|at_our_disposal|handed_over|
            passed_on|relayed|made_available|available_to !up|off|in_and|in_to|as_well_as|by|here
        the|all|on|from|by|this|these|those|both|two|of|with|given SUPPLIED _* <INFO>
        SUPPLIED information|details|data|facts|context|clues|evidence
        based_on|from|with|by|to|given the? available|above information|text|data|input
        sources|information at_hand|available|at_my_disposal|at_our_disposal|we_have|i_have
        both|the_two|two|either|neither|each|the_other|the_first|the_second|all|our|the <source|
            sources> ADVERB* JUDGES|are_consistent|are_in_agreement|are_clear !of
        in|from|by|across|between|combining|to|of both|the_two|either|neither|these_two|each
            <source|sources> !of
        neither|either <source> ADVERB* _
        details|objects|actions|items|things|features|clues|facts|elements|visuals|events|sounds|
            noises that_are|that_were|which_are|which_were? listed|named|enumerated|catalogued|
            itemised|itemized|reported|described|noted|mentioned|recounted|relayed|documented|
            recorded !by|here
        listed|named|included among the sounds|noises|details|objects
        list|inventory|catalogue|enumeration of sounds|noises|details|objects|observations|
            things_heard|things_seen
        """,
    ),
)
