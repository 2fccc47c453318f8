"""Patterns of gate `leak` about hearsay: reports that nobody in the clip makes."""

from __future__ import annotations

from avrt.generate.gates.leak_context import remark_in_clip, said_in_clip
from avrt.generate.gates.leak_pattern import group

__all__ = ["HEARSAY"]

HEARSAY = (
    group(
        "hearsay",
        said_in_clip,
        """
        <described|characterised|characterized|portrayed> ADVERB* as|to_be|like|in_terms_of|here|in
        BE|as|, ADVERB* <described|reported|mentioned|documented|recounted|remarked|attested|
            testified|relayed|cited|narrated|summarised|summarized> !for
        <unmentioned>
        , ADVERB* <mentioned>
        _ <mentioned> in|of|about|here|only|nowhere|anywhere|once|twice|are|is|was|were|such_as|,|
            and|that|which
        _ <mentioned> .
        _ <described|reported|noted> is|are|was|were|fit|fits|match|matches|suggest|suggests|point|
            points|belong|belongs|comes|come|seems|seem
        the|all_the|any <described|reported|relayed|cited|recounted|documented|mentioned|summarised|
            summarized|noted> !in|by|as|that|to _
        BE|as ADVERB* <noted|stated|specified|remarked_on|commented_on|pointed_out|written_down|
            put_on_record|spelled_out|singled_out|recorded_that|emphasised|emphasized|underlined|
            stressed|logged> !for|by_its|down_a|down_the|down_his|down_her
        BE ADVERB* <said|claimed|alleged|stated|understood|purported|rumoured|rumored> to|that|
            about|of !him|her|them
        as already|also|just|was? <said|told|written|reported|relayed|documented|listed|detailed|
            recorded|given|put|noted|claimed> in|by|on|from|here|there|,
        BE|, ADVERB* <put_down|set_down|written_down|noted_down|given|logged|entered|listed|
            recorded|registered|reported|tagged|written_up|cited|noted|stated|termed|named|
            summed_up|classed|identified|labelled|labeled> as !a_gift|a_present|a_prize|a_reward|
            a_sign
        it BE|'s ADVERB* given that
        it BE|'s ADVERB* <noted|reported|stated|said|mentioned|written|pointed_out|recorded|
            observed|remarked|described|specified|claimed|indicated> !as|for|by
        explicitly|expressly|specifically <named|listed|noted|stated|described|reported|given|
            specified|identified|cited|recorded|excluded>
        as <given|provided|supplied|presented|stated|listed|summarised|summarized|relayed> ,|is|are|
            leaves|leave|shows|suggests|points|makes|includes
        <passed|handed> along|on|down as
        nothing is|was|has_been <said|mentioned|reported|noted|written|stated> of|about|to
        BE <spoken_of|talked_of|talked_about|written_of|written_about>
        """,
    ),
    group(
        "hearsay",
        said_in_clip,
        """
        BE|, ADVERB* <judged|deemed|reckoned|adjudged|assessed> to|as|too|in
        was|were|been|being ADVERB* <identified|recognised|recognized|classified|perceived|
            interpreted|transcribed|categorised|categorized|labelled|labeled|tagged|heard|
            taken_down|registered|characterised|characterized|made_out> as|to_be
        BE ADVERB* <believed|thought|presumed> to_be
        BE ADVERB* <labelled|labeled|tagged|annotated|classified|termed|classed|transcribed> _
        was|were|been ADVERB* <confirmed> as|to_be
        the <alleged|purported|reputed>
        <reportedly|purportedly|allegedly|supposedly>
        """,
    ),
    group(
        "hearsay",
        remark_in_clip,
        """
        the|this|that|any|no|an|a|without|with|only|sole|also|is|further|first|second|one explicit|
            further|clear|direct|single|brief|additional|specific|particular|repeated|short|other|
            sole|passing? <mention|mentions> is_made|is_also_made? of|that|about
        <mention|mentions> of|that|about
        no <mention|reference|note> is|was|has_been|whatsoever|at_all|anywhere
        get|gets|got|find|finds|found|deserve|deserves|receive|receives|earn|earns a _? <mention>
        there is|was no|any|not_any <reference|mention|word> to|of|about
        the|this|that|any|no|one|another|further brief|short|additional|further|final|other|last|
            explicit|small|added|single|passing? <remark|comment|reference|statement|testimony|
            claim|assertion> about|that|of_a|of_an|of_something|to_a|to_an|to_the|to_something|
            to_its|regarding|concerning
        there is|'s|was|are also|no|any|even? <talk|word|mention|mentions> of
        """,
    ),
)
