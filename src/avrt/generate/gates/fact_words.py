"""The word lists of the gates on facts, as stems."""

from __future__ import annotations

from avrt.generate.gates.case import stem

__all__ = ["FAMILIAR", "HEARD", "KINDS", "NUMBERS", "SEEN", "SYNONYMS"]


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(stem, text.split()))


SEEN = _stems(
    "see seen sees visible visibly visual visuals visually view frame frames picture pictures "
    "image images footage video camera screen watch looks wears wearing wear dressed red orange "
    "yellow green blue purple violet pink brown grey gray white black beige turquoise golden "
    "silver striped"
)
"""Words of seeing: one of them, stated as a fact, is enough."""
HEARD = _stems(
    "hear hears heard hearing listen listening audible audibly audio sound sounds noise noises "
    "acoustic soundtrack loud voice voices say says said shout shouts scream screams yell yells "
    "cry cries call calls laugh laughs laughter cheer cheers applause clap claps sing sings song "
    "music melody tune rhythm beat bark barks meow meows purr growl howl chirp tweet quack moo "
    "neigh roar buzz hum drone hiss rumble thud thump bang crash click clack clatter clang clink "
    "rattle squeak squeal creak screech whistle ring rings chime beep beeps honk toot siren "
    "splash gurgle sizzle crackle rustle murmur whisper chatter echo clank chug whir whine pop "
    "snap knock patter drip plop groan moan sigh giggle chant hoot bleat cluck crunch scrape"
)
"""Words of hearing, and for what is heard."""

NUMBERS = _stems(
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty "
    "sixty seventy eighty ninety hundred thousand million"
)

KINDS = {
    what: {kind: _stems(names) for kind, names in kinds.items()}
    for what, kinds in {
        "animal": {
            "dog": "dog dogs puppy spaniel terrier hound husky poodle labrador retriever collie "
            "bark barks barking woof",
            "cat": "cat cats kitten kitty tabby meow meows purr purring miaow",
            "horse": "horse horses pony stallion mare foal neigh neighs whinny hooves",
            "cow": "cow cows cattle calf bull moo moos mooing",
            "sheep": "sheep lamb lambs ewe goat goats bleat bleats bleating",
            "pig": "pig pigs piglet hog oink grunts",
            "chicken": "hen hens chicken rooster cock cluck crows",
            "duck": "duck ducks duckling goose geese quack quacks",
            "bird": "sparrow robin blackbird parrot pigeon crow gull seagull owl eagle chirp "
            "chirping tweet",
            "lion": "lion lioness tiger leopard",
            "monkey": "monkey ape chimpanzee gorilla",
            "frog": "frog frogs toad croak croaking",
            "bee": "bee bees wasp bumblebee hornet",
            "elephant": "elephant",
            "bear": "bear",
            "wolf": "wolf wolves",
        },
        "drive": {
            "horses": "horse horses carriage coachman reins hooves",
            "engine": "engine motor exhaust gears cylinder diesel",
            "sail": "sail sails",
            "oars": "oar oars rowing paddle paddles",
            "pedals": "bicycle cyclist pedal pedals",
        },
    }.items()
}
"""What excludes each other where the teachers settle on different options."""

SYNONYMS: dict[str, frozenset[str]] = {
    one: group
    for group in map(
        _stems,
        (
            "car vehicle automobile van truck lorry",
            "engine motor machine",
            "boy girl child children kid kids toddler youngster teenager",
            "man male guy gentleman father husband",
            "woman female lady mother wife",
            "people crowd audience spectators visitors guests passengers customers",
            "sea ocean wave waves water beach coast",
            "street road lane pavement asphalt",
            "house building home",
            "picture photo photograph image",
            "song music tune melody",
            "player athlete sportsman team",
            "couple bride groom",
            "cup glass mug",
            "wood wooden timber plank board",
            "metal metallic steel iron",
            "stone stones rock rocks gravel",
            "telephone phone mobile smartphone",
            "shop store market stall",
            "shoe shoes boot boots sneakers heels",
        ),
    )
    for one in group
}

FAMILIAR = _stems(
    # function words
    "a an the and or of in on at to from with by for it its he she his her him they them their is "
    "are was were be been being as that this these those which who whom what when while where "
    "there here not no nor but so if than then into over under out up down off again still also "
    "only very more most much same other another some any all each every both few little i we you "
    "my our your would could can cannot will must may might does do did done has have had since "
    "because through after before until between behind along across around above below near next "
    "like just quite many such even well too about against upon during how why whose nothing none "
    "neither either rather therefore thus hence further apart toward towards within onto himself "
    "herself itself themselves however though although whereas otherwise perhaps maybe indeed "
    "instead among amid per via ago else yet ever"
    # numbers and order
    " one two three four five six seven eight nine ten eleven twelve first second third last once "
    "twice half single several various different similar pair double couple number amount"
    # the trace's own talk
    " question option answer clip evidence clue detail conclusion choice scene picture audio "
    "visual visually image frame video sight observation description account report analysis "
    "trace reason reasoning sense point lead leave settle decide decisive fit match suit belong "
    "agree confirm support suggest indicate mean show tell describe explain identify consistent "
    "consider conclude clear plain obvious certain likely unlikely probable improbable possible "
    "possibly exact typical usual together combination combine combined correct right true sure "
    "matter fact everything anything something somebody someone everybody everyone nobody whole "
    "entire kind sort type word text information provide provided based base prompt label source "
    "candidate possibility idea role sign mark situation content context expression impression "
    "reliable reasonable remain reveal justify defend designated imply prove rule exclude involve "
    "require need depend relate relevant distinct distinctive characteristic unmistakable main "
    "overall final finally result easily easy detailed statement key"
    # plain verbs
    " become seem appear look sound turn move keep hold stand lie sit go going gone come came "
    "take took taken give gave given put bring brought get got make made let help try want know "
    "find found think expect notice hear heard see saw seen watch listen observe recognise "
    "recognize perceive name add play join reach pass hang catch caught happen occur accompany "
    "include contain consist contribute begin began begins start stop end continue follow stay "
    "talk speak spoke say said call cry use used work set run ran walk fall fell rise rose meet "
    "met open opened close closed change appear form"
    # plain adjectives, adverbs, places, times and general nouns
    " direct immediate natural background foreground surrounding environment setting atmosphere "
    "place spot room space area outside inside outdoors indoors ahead away bright dark light "
    "heavy deep shallow full empty clean large big small tiny huge long short high low tall wide "
    "narrow loud quiet soft hard strong weak old young new early late fast slow quick steady "
    "regular good bad fine nice great calm far distant nearby side top bottom middle centre "
    "center left right front back part piece way manner method moment time minute hour day second "
    "while meanwhile afterwards throughout beginning voice noise tone pitch rhythm volume music "
    "people person man woman men women boy girl child group audience thing object item body "
    "almost nearly hardly really simply mostly already especially particularly probably "
    "presumably apparently extremely constantly repeatedly order alone"
)
"""Words that prove no fact when they are new."""
