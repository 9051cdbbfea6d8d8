"""The vocabulary of plan edits: patterns in English. What other languages say for it is in glossary.toml."""

import re

NUMBER_WORDS = {
    "a": 1, "an": 1, "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "sixteen": 16, "twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100, "couple": 2, "pair": 2, "dozen": 12,  # noqa: E501
    "ein": 1, "eine": 1, "zwei": 2, "drei": 3, "vier": 4, "acht": 8, "dos": 2, "tres": 3, "deux": 2, "trois": 3, "duas": 2,
}  # fmt: skip

NOUNS: dict[str, str] = {
    "batch_size": r"(?:effective\s+|global\s+|micro[- ]?)?batch(?:es)?(?:[ _-]?size)?|\bbs\b",
    "learning_rate": r"learning[ _-]?rate|\blr\b|step[ -]size",
    "warmup_ratio": r"warm[- ]?up(?:\s+ratio)?",
    "weight_decay": r"weight[ _-]decay",
    "dropout": r"dropout",
    "alpha": r"\balpha\b",
    "rank": r"\b(?:lora[ _-]?)?rank\b|\br\b(?=\s*(?:=|:|to|of|at|is)?\s*\d)",
    "epochs": r"epochs?\b|(?:see|show|read|repeat|visit|over|through)\s+(?:the\s+|my\s+|our\s+|all\s+)*(?:data\s?set|data|set|examples|samples)(?=\s+\w+\s+times)|pass(?:es)?\b|\brounds?\b|\bcycles?\b|times\s+(?:over|through)\s+(?:the\s+)?(?:data|dataset)",  # noqa: E501
    "max_steps": r"(?:max(?:imum)?[ _-]?)?(?:training\s+|optimizer\s+)?(?:steps\b|iterations\b)",
    "seq_len": r"(?:max(?:imum)?[ _-]?)?(?:seq(?:uence)?s?|context)(?:[ _-]?(?:len(?:gth)?s?|window|size))?\b|max[ _-]?len(?:gth)?\b|\btokens\b(?!\s+(?:of|per\s+second))",  # noqa: E501
    "resolution": r"resolution|\bres\b|\bpx\b|\bpixels?\b",
    "budget": r"budget|(?:spend(?:ing)?\s+)?\bcap\b|spending\s+limit|(?:cost|price|money|budget|spend)\s+limit|\bspend(?:ing)?\b|\bceiling\b",  # noqa: E501
    "cost": r"\bcosts?\b|\bprice\b|\bbill\b|\bexpenses?\b|\bmoney\b",
    "time": r"training\s+time|\btime\b|\bduration\b|\bruntime\b|\bwait\b|\bhow\s+long\s+it\s+(?:trains?|takes?|runs?)\b",
    "vram": r"\bv?ram\b|(?:gpu\s+)?memory(?:\s+(?:use|usage|footprint))?",
    "gpu": r"\bgpus?\b|graphics?\s+cards?|\bcards?\b|\bhardware\b|\binstances?\b|\bmachine\b|\baccelerators?\b",
    "data_amount": r"training\s+(?:data|set|examples)|\bdata(?:[ -]?set)?s?\b|\bexamples?\b|\bsamples?\b|\brows?\b|\bimages?\b|\bphotos?\b"  # noqa: E501
    r"|\bpictures?\b|\bclips?\b|\bsongs?\b|\btracks?\b|\brecordings?\b|\bpairs\b|\bconversations\b|\bdialogues\b",
    "tier": r"\btier\b",
    "quality": r"\bquality\b|\baccuracy\b|\bperformance\b|\bresults?\b",
    "model": r"(?:base[ -]|language\s+)?\bmodels?\b|\bllm\b|\bnetwork\b|\bbrains?\b|\bbase\b|\bparam(?:eter)?s?\b|\bcheckpoint\b",
    "method": r"\bmethod\b|\btechnique\b",
    "provider": r"\bprovider\b|\bhost(?:er)?\b",
}  # fmt: skip
"""Setting or axis → how people call it; the first that matches a place wins, so the specific come first."""
NOUN_PATTERNS = {name: re.compile(pattern) for name, pattern in NOUNS.items()}

LESS = re.compile(
    r"\b(?:smaller|dumber|weaker|simpler|humbler|more\s+modest|gentler|softer|milder|calmer|leaner|slimmer|smallest|small|smol|tiny|tinier|lighter|lightweight|compact|mini|lower|lowest|less|fewer|shorter|reduced?|reducing|decreas(?:e|ing)|"
    r"shrink|shorten|lessen|slash|pare|prune|ease|scale\s+back|tone\s+down|(?:step|go|come|dial)\s+down|"
    r"cut(?:ting)?|drop(?=\s+(?:the|my|our)?\s*$)|drop(?=\s+the\s+(?:batch|learning|lr|rank|epoch|resol|seq|context|cost|price|budget))|trim|minimi[sz]e|bring\s+down|"
    r"scale\s+down|turn\s+down|dial\s+(?:back|down)|downsize|downgrade|slim|overweight|oversized|bloated|clunky|unwieldy|chunky|lessened|wind\s+down|back(?=\s*$)|(?:too|such\s+an?|so|that|this|as)\s+(?:big|large|high|long|many|heavy|huge|much)|down)\b"
)
MORE = re.compile(
    r"\b(?:bigger|biggest|larger|largest|large|big|higher|highest|greater|longer|more|increas(?:e|ing)|raise|bump|boost|extend|expand|upgrade|"
    r"crank\s+up|cleverer|more\s+(?:oomph|muscle|capacity|intelligent|clever)|widen|stretch|lengthen|enlarge|grow|ramp\s+up|dial\s+up|(?:step|go)\s+up|stronger|strongest|mightier|more\s+powerful|more\s+capable|smarter|beefier|heavier|scale\s+up|turn\s+up|upsize|"
    r"too\s+(?:small|low|short|few|weak|little|dumb|tiny)|add|another|extra|additional|up)\b"
)
EXTREME = re.compile(r"\b(?:smallest|tiniest|lowest|minimal|minimum|cheapest|biggest|largest|highest|maximum|strongest|fastest)\b")
HALVE = re.compile(r"\b(?:halv(?:e|ing|ed)|half(?!\s+an?\s+hour)|by\s+50\s*%|50\s*%\s+(?:less|fewer|smaller|lower|cheaper))\b")
DOUBLE = re.compile(r"\b(?:doubl(?:e|ing|ed)|twice|by\s+100\s*%)\b")
TRIPLE = re.compile(r"\b(?:tripl(?:e|ing|ed)|three\s+times\s+(?:as|the|more))\b")
QUADRUPLE = re.compile(r"\bquadrupl(?:e|ing|ed)\b")
QUARTER = re.compile(r"\b(?:quarter(?:ed|ing)?)\b")
FRACTIONS = {"third": 1 / 3, "fourth": 0.25, "fifth": 0.2, "sixth": 1 / 6, "eighth": 0.125, "tenth": 0.1}
FRACTION = re.compile(rf"\b(?P<n>an?|one|two|three)\s+(?P<part>{'|'.join(FRACTIONS)})s?(?:\s+(?:of|as)\b|\s*$)")
TIMES = re.compile(
    r"\b(\d+(?:\.\d+)?)\s*(?:x|×|times)\s+(?:as|the|more|larger|bigger|higher|lower|smaller|less|longer)\b|\bby\s+(?:a\s+factor\s+of\s+)?(\d+(?:\.\d+)?)\s*(?:x|×|times)\b|\b(\d+)-?fold\b|\bx\s?(\d+(?:\.\d+)?)\s*$"
)
PERCENT = re.compile(r"(?:by\s+)?(\d+(?:\.\d+)?)\s*(?:%|percent)")

CHEAPER = re.compile(
    r"\b(?:cheap(?:er|est|ly)?|(?:less|not\s+(?:so|as|that))\s+(?:expensive|pricey|costly|dear)|at\s+(?:that|this)\s+price|more\s+affordable|affordable|inexpensive|sav(?:e|ing)\s+(?:some\s+|us\s+|me\s+|a\s+bit\s+of\s+|a\s+little\s+)*(?:money|cash|costs?|bucks)|(?:for|with)\s+less(?!\s+than|\s+\w*\s*(?:data|memory|vram))|economi[sz]e|penny|pinch|skint|(?:that|this|such\s+a|what\s+a)\s+(?:price|cost|bill|sum)(?!\s+(?:is|looks|seems)\s+(?:fine|ok|good|fair))|(?:too|so|pretty|quite)\s+(?:steep|dear|hefty)|break(?:s|ing)?\s+the\s+bank|on\s+the\s+cheap|too\s+rich|a\s+lot\s+of\s+money|(?:less|reduce|lower)\s+(?:the\s+)?(?:spending|outlay|expenses?)|discount|(?:purse|wallet|pocket)s?\s+(?:is|are|hurts?)|broke|bargain|cost[- ]effective|save\s+on\s+(?:costs?|gpus?)|go\s+easy\s+on\s+(?:the|my)\s+(?:wallet|purse)|"  # noqa: E501
    r""
    r"too\s+(?:expensive|pricey|costly|dear|much\s+money)|costs?\s+(?:me\s+|us\s+)?too\s+much|low(?:er)?[- ]cost|econom(?:y|ical|ic)|frugal|thrifty|budget[- ]friendly|low[- ]budget|on\s+a\s+shoestring|"  # noqa: E501
    r"(?:way\s+)?(?:over|out\s+of|beyond|above)\s+(?:my|our|the)\s+(?:budget|price\s+range|means)|bring\s+(?:it|the\s+(?:cost|price)s?)\s+down|(?:can'?t|cannot|could\s+not|couldn'?t)\s+(?:afford|pay|spend)|thrift(?:ier|iest)|(?:spend|pay|charge)\s+less|(?:costs?|price)\s+(?:is\s+|are\s+)?too\s+(?:high|much|steep)|less\s+money|(?:money|cash|funds?)\s+(?:is|are)\s+(?:very\s+|really\s+|a\s+bit\s+)?(?:tight|short|limited|scarce)|short\s+of\s+(?:money|cash)|(?:not|don'?t|won'?t|can'?t|cannot)\s+(?:want\s+to\s+|like\s+to\s+)?(?:spend|pay)\s+(?:that|so|as|this|too)\s+much|budget\s+is\s+tight)\b"
)
FASTER = re.compile(
    r"\b(?:drags?(?:\s+on)?|snapp(?:y|ier)|time\s+(?:matters|counts|is\s+(?:key|critical|short|tight|of\s+the\s+essence))|(?:shorten|cut|reduce|trim)\s+(?:the\s+|my\s+|this\s+)?(?:run|training|job|wait)|pronto|earlier|shave\s+(?:off\s+)?(?:some\s+)?time|(?:lasts?|goes\s+on|is)\s+(?:far\s+|way\s+|much\s+)?too\s+long|impatient|(?:pressed|short|tight)\s+(?:for|on|of)\s+time|time\s+pressure|(?:tight|close)\s+(?:schedule|deadline)|(?:eternity|eternities)|swift(?:er|ly)?|rapid(?:ly)?|speedy|half\s+the\s+time|fast(?:er|est)?|quick(?:er|est|ly)?|speed(?:ier)?(?:\s+(?:it|this|things|training))?(?:\s+up)?|sooner|too\s+slow|"
    r"takes?\s+(?:way\s+|far\s+|much\s+)?(?:too\s+long|forever|ages)|(?:can'?t|cannot|don'?t\s+want\s+to|won'?t)\s+wait|wait(?:ing)?\s+(?:so|that|this)\s+long|less\s+time|in\s+a\s+(?:hurry|rush)|hurry|rush|(?:need|want)\s+(?:it|this|that)\s+(?:very\s+|really\s+)?(?:soon|now)|asap|accelerate)\b"
)
SLOWER = re.compile(
    r"\b(?:slower\s+is\s+(?:fine|ok(?:ay)?)|(?:can|may)\s+(?:take|run)\s+longer|no\s+(?:hurry|rush)|not\s+in\s+a\s+(?:hurry|rush)|"
    r"take\s+(?:your|its)\s+time|don'?t\s+mind\s+(?:waiting|if\s+it\s+(?:takes|is)\s+(?:longer|slower))|time\s+(?:is\s+not|isn'?t)\s+(?:critical|an?\s+issue))\b"
)
BETTER = re.compile(
    r"\b(?:better\s+(?:quality|results?|accuracy|model|answers|output)|(?:higher|best|improve(?:\s+the)?|more|maximum|top)\s+(?:quality|accuracy)|"
    r"more\s+accurate|smarter|improve\s+(?:it|the\s+results?)|make\s+(?:it|this|the\s+model)\s+(?:way\s+|much\s+|a\s+bit\s+)?better|quality\s+(?:matters|first|comes\s+first))\b"
)
WORSE_IS_FINE = re.compile(r"\b(?:lower|less)\s+quality\s+(?:is\s+)?(?:fine|ok(?:ay)?|acceptable)|good\s+enough\b")
LESS_MEMORY = re.compile(r"\b(?:less|lower|reduce(?:\s+the)?|save|cut(?:\s+the)?|too\s+much)\s+(?:gpu\s+)?(?:v?ram|memory)")
OUT_OF_MEMORY = re.compile(
    r"(?:\bout\s+of\s+(?:gpu\s+)?(?:memory|v?ram)|\boom(?:s|ed|ing)?\b|(?:doesn'?t|won'?t|does\s+not|will\s+not)\s+fit\b)"
    r"(?:\s+(?:on|in|into)\s+(?:my|our|the|this)\s+\w+)?"
)
NEGATION = re.compile(
    r"(?:\bno|\bnot|n't|\bnever|\bwithout|\bavoid|\binstead\s+of|\brather\s+than|\bdrop|\bskip|\bremove|\blose|\bscrap|\bkill|\bbin|\bstrip|\baxe|\bomit|\beliminate|\bdelete|\bcancel|\btake\s+out|\bthrow\s+out|\bdo\s+away\s+with|\bexcept(?:ing)?|\bother\s+than|\bapart\s+from|\bbesides|\bexclude|\bditch|\bforget|\bstop\s+using|"
    r"\bget\s+rid\s+of|\bcut\s+out|\bleave\s+out|\banything\s+but|\bno\s+more|\bswap(?:\s+out)?(?!\s+(?:to|in|it))|\bexchange|\btrade|\breplace|^\s*from|\b(?:switch|change|move|go|migrate)(?:ing)?(?:\s+(?:it|us|this|over))?(?:\s+away)?\s+from|(?<!be\s)(?<!start\s)(?<!is\s)\bover)\s+"
    r"(?:(?:the|a|an|any|on|in|to|use|using|with|it|go|run|running|do|doing|be|want|need|train|training|for|via|at|my|our|really|that|stage|step)\s+)*$"
)
COMPARED = re.compile(r"(?:\bthan|\bin\s+(?:place|lieu)\s+of)\s+(?:(?:the|a|plain|simple|normal|just|ordinary|your|that)\s+)*$")
"""What something is better than is not wanted: "DoRA rather than LoRA", "vera in place of lora"."""
GONE = re.compile(
    r"^(?:\s+(?:stage|step|part|phase|bit))?\s+(?:(?:can|could|should|must|may|is|are)\s+(?:be\s+)?)?"
    r"(?:(?:(?:is|are)n't|(?:is|are)\s+no\s+longer|won't\s+be|needn't\s+be)\s+(?:needed|wanted|necessary|used|there)|out|away|off|drop(?:ped)?|gone|remove[d]?|skipped|left\s+out|passé|outdated|overkill|history|yesterday|over|no\s+good|useless|not\s+(?:needed|wanted|necessary)|unnecessary)\b"
)
"""What follows a name that is ruled out: "leave DPO out", "DPO is not needed"."""
KEEP = re.compile(
    r"\b(?:keep|don'?t\s+(?:change|touch|alter|modify|mess\s+with)|do\s+not\s+(?:change|touch|alter|modify)|leave|same|stick\s+with|"
    r"without\s+(?:changing|touching)|not\s+the|maintain)\s+(?:using\s+)?(?:the\s+|my\s+|our\s+|this\s+|that\s+|same\s+|current\s+|existing\s+)*"
    r"(?P<noun>(?:base\s+)?model|method|data(?:\s?set)?|gpus?|hardware|budget|settings?|config\w*|epochs?|batch(?:\s+size)?|learning\s+rate|lr|"
    r"provider|rank|resolution|quality|tier|rest|everything(?:\s+else)?)\b(?!\s+(?:under|below|at|to|within|around|near|<|≤|small|smaller|low|cheap))"
)
KEEP_AXES = {
    "model": ("base_model",), "base model": ("base_model",), "method": ("method",), "data": ("data_source", "data_rows"),
    "dataset": ("data_source", "data_rows"), "gpu": ("gpu", "gpu_count"), "gpus": ("gpu", "gpu_count"), "hardware": ("gpu", "gpu_count", "provider"),  # noqa: E501
    "budget": ("budget_max_usd",), "epoch": ("epochs",), "epochs": ("epochs",), "batch": ("micro_batch", "accumulation"),
    "batch size": ("micro_batch", "accumulation"), "learning rate": ("learning_rate",), "lr": ("learning_rate",), "provider": ("provider",),  # noqa: E501
    "rank": ("lora",), "resolution": ("resolution",), "quality": ("tier", "base_model"), "tier": ("tier",),
}  # fmt: skip

PROVIDERS: dict[str, str] = {
    "runpod": r"run[ -]?pod",
    "modal": r"\bmodal(?:\.com|\s+labs)?\b",
    "lambda": r"\blambda(?:\s?labs)?\b",
    "vast": r"\bvast(?:\.?ai)?\b",
    "aws": r"\baws\b|\bamazon\b|\bsage\s?maker\b|\bec2\b",
    "gcp": r"\bgcp\b|google\s+cloud|\bvertex\b",
    "azure": r"\bazure\b",
    "colab": r"\bcolab\b",
    "kubernetes": r"\bkubernetes\b|\bk8s\b",
    "local": r"\blocal(?:ly)?\b|on[- ]prem(?:ises?)?\b|\b(?:my|our|this)\s+(?:own\s+)?(?:machine|laptop|computer|pc|server|servers|workstation|desktop|box|rig|"  # noqa: E501
    r"mac(?:book)?|hardware|gpu|card)\b|\bin[- ]house\b|\bself[- ]host(?:ed)?\b|\boffline\b|\bhere\s+on\s+this\b|\b(?:computer|machine|pc|laptop)\s+(?:here|at\s+home|under\s+my\s+desk)\b",  # noqa: E501
}
PROVIDER_PATTERNS = {name: re.compile(pattern) for name, pattern in PROVIDERS.items()}
NO_CLOUD = re.compile(
    r"\b(?:no|without|outside|not\s+(?:in|on|using|use)|avoid|not(?=\s+the\s)|don'?t\s+(?:use|want)|never|nothing\s+in|off|(?:not|n't|never)\s+(?:be\s+|go\s+|run\s+|end\s+up\s+|be\s+sent\s+|happen\s+)(?:in|into|to|on|via))\s+(?:the\s+|any\s+|a\s+)?cloud|cloud[- ]free|not\s+leave\s+(?:our|my)|"  # noqa: E501
    r"(?:nothing|data|it)\s+(?:may|must|should|can)(?:\s+not|n'?t)?\s+leave"
)
CLOUD = re.compile(r"\b(?:in|on|to|use|using|with)\s+(?:the\s+|a\s+)?cloud\b|\brent(?:ed|ing)?\s+(?:a\s+|some\s+)?gpus?\b")
CPU = re.compile(
    r"\bcpu(?:[- ]only)?\b|\b(?:no|without(?:\s+an?|\s+any)?|(?:don'?t|do\s+not)\s+(?:have|own)\s+an?y?)\s+(?:gpus?|graphics?\s+cards?|video\s+cards?)\b"  # noqa: E501
)

SOURCES: dict[str, str] = {
    "huggingface": r"hugging\s?face|\bhf\s+(?:data\w*|hub)|(?:data\s?set\w*|data)\s+(?:from|on)\s+(?:the\s+)?(?:hf|hub)|public\s+data\s?sets?|from\s+the\s+hub",  # noqa: E501
    "synthetic": r"synthetic(?:ally)?|generat(?:e|ed|ing)\s+(?:the\s+|some\s+|more\s+|training\s+)*(?:data|examples|pairs|samples)|ai[- ]generated\s+data",  # noqa: E501
    "web_search": r"(?:search|scrape|crawl)\w*\s+(?:the\s+)?(?:web|internet)|\bweb\s+(?:search|data|scrap\w+)|(?:from|on|off|in)\s+the\s+(?:web|internet|net)|\bonline\s+(?:data|sources|examples)|\b(?:find|look\s+for|collect|gather|get)\s+[^,;.]{0,24}\bonline",  # noqa: E501
    "hybrid": r"\bhybrid\s+(?:data|mix|dataset)?|mix(?:\s+of)?\s+(?:my|our|own|real|public|synthetic)\b.*|\bmix(?:ed)?\s+data",
    "user_upload": r"\b(?:my|our)\s+own\s+(?:data|files?|examples|rows|documents|images|recordings)|\b(?:i(?:'ll|\s+will|\s+can)?|we(?:'ll|\s+will|\s+can)?)\s+upload|"  # noqa: E501
    r"\bupload\s+(?:my|our)|\buse\s+(?:my|our)\s+(?:data|files?|uploads?|examples)",
}
SOURCE_PATTERNS = {name: re.compile(pattern) for name, pattern in SOURCES.items()}

METHODS: tuple[tuple[str, str], ...] = (
    ("full_finetune_fsdp", r"\bfsdp\d?\b"),
    ("deepspeed_infinity", r"(?:zero|deepspeed)[- ]?infinity"),
    ("deepspeed_zero3", r"zero[- ]?(?:stage\s*)?3\b"),
    ("deepspeed_zero2", r"zero[- ]?(?:stage\s*)?2\b"),
    ("deepspeed_zero1", r"zero[- ]?(?:stage\s*)?1\b"),
    ("full_finetune_deepspeed", r"\bdeepspeed\b"),
    ("megatron_lm", r"\bmegatron(?:-lm)?\b"),
    ("3d_parallelism", r"3d[- ]parallel\w*"),
    ("hybrid_lora_dpo", r"\bhybrid_lora_dpo\b"),
    ("hybrid_full_rlhf", r"\bhybrid_full_rlhf\b"),
    ("hybrid_moe_alignment", r"\bhybrid_moe_alignment\b"),
    ("qdora", r"\bq-?dora\b"),
    ("qlora", r"\bq-?lora\b|\b4[- ]?bit\b|\bquanti[sz]ed?\b|\bquanti[sz]ation\b|\bnf4\b"),
    ("adalora", r"\bada-?lora\b"),
    ("longlora", r"\blong-?lora\b"),
    ("relora", r"\bre-?lora\b"),
    ("dora", r"\bdora\b"),
    ("vera", r"\bvera\b"),
    ("mora", r"\bmora\b"),
    ("galore", r"\bga-?lore\b"),
    ("lora", r"\blora\b(?!\s*(?:rank|alpha|dropout|r\b))|\badapters?\b"),
    (
        "full_finetune",
        r"\b(?:full|complete|entire|whole)(?:[- ]|[- ](?:model|parameters?|weights?)[- ])?(?:fine[- ]?tun\w*|ft\b|train\w*|sft\b)|\bfull_finetune\b|\b(?:all|every(?:\s+single)?)\s+(?:the\s+|of\s+the\s+|its\s+)?(?:weights?|parameters?)\b|\ball\s+(?:the\s+)?layers\b|\bunfreeze\s+(?:everything|it\s+all|all)\b|\b(?:tune|train|update)\s+(?:everything|the\s+(?:whole|entire)\s+(?:model|network))\b",  # noqa: E501
    ),
    ("diffusion_dpo", r"\bdiffusion[- ]dpo\b"),
    ("dpo", r"\bdpo\b|direct\s+preference"),
    ("orpo", r"\borpo\b"),
    ("kto", r"\bkto\b"),
    ("simpo", r"\bsimpo\b"),
    ("grpo", r"\bgrpo\b"),
    ("rlvr", r"\brlvr\b|verifiable\s+rewards?"),
    ("rlaif", r"\brlaif\b"),
    ("constitutional_ai", r"\bconstitutional(?:[- ]ai)?\b"),
    ("rlhf_ppo", r"\brlhf(?:_ppo)?\b|\bppo\b"),
    ("moe_diffusion", r"\bmoe[_ -]diffusion\b|\bmixture\s+of\s+experts\b|\bmoe\b"),
    ("dreambooth", r"\bdream\s?booth\b"),
    ("textual_inversion", r"\btextual[_ ]inversion\b"),
    ("voice_clone", r"\bvoice[_ ]clon\w+\b"),
    ("temporal_adaptation", r"\btemporal[_ ](?:adapt\w+|adapter|lora)\b"),
    ("contrastive", r"\bcontrastive\b"),
    ("cross_modal_alignment", r"\b(?:cross[- _]?modal|projector|vision[- ]language)[ _]alignment\b"),
    ("reward_model", r"\breward[_ ]model\b"),
)
METHOD_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in METHODS)
ONE_STAGE = re.compile(
    r"\b(?:only\s+|just\s+)?(?:a\s+)?(?:one|single)\s+stage\b|\b(?:drop|skip|remove|without|no)\s+(?:that|the\s+last|the\s+second|the\s+other)\s+stages?\b|"
    r"\b(?:no|don'?t\s+have(?:\s+any)?|without)\s+preference\s+(?:pairs|data|step|stage|tuning|training|optimi\w+|alignment)|\b(?:only|just)\s+(?:supervised|sft)\b|\b(?:supervised|sft)\s+(?:only|alone)\b"
)
APPEND = re.compile(
    r"\b(?:add|then|followed\s+by|afterwards?|after\s+that|plus|also\s+(?:do|run|use)|on\s+top|append|finish\s+with|tack\b|at\s+the\s+end|finally|as\s+(?:a|the)\s+(?:second|last|final)|follow\s+(?:it|this|that)\s+(?:up\s+)?with|second\s+stage|extra\s+stage|and\s+then)\b"
)

TIERS: dict[str, str] = {
    "flagship": r"\bflagship\b|state[- ]of[- ]the[- ]art|\bsota\b|best\s+possible\s+quality|top[- ]tier|world[- ]class",
    "professional": r"\bprofessional\b|\bproduction(?:[- ](?:ready|grade|quality))?\b|\bpro\s+(?:tier|level|quality)\b|enterprise[- ]grade",  # noqa: E501
    "consumer": r"\bconsumer\b|\bhobby(?:ist)?\b|\bquick\s+(?:test|fine|experiment|version|run)\w*|\bjust\s+a\s+(?:test|experiment|demo|draft)\b|\bprototype\b|\bproof[- ]of[- ]concept\b|\btoy\s+(?:model|project|version)\b|\btrial\s+run\b",  # noqa: E501
    "research": r"\bresearch\s+(?:tier|grade|level)\b",
}
TIER_PATTERNS = {name: re.compile(pattern) for name, pattern in TIERS.items()}
MEDIA_SIZE = re.compile(
    r"\b(?:images?|photos?|pictures?|renders?|outputs?)\b[^,;.]{0,16}\b(?:bigger|larger|smaller|sharper)\b|\b(?:bigger|larger|smaller|sharper)\s+(?:images?|photos?|pictures?|renders?)\b"
)
"""How large a picture is, not how many there are."""
PROMPT = re.compile(
    r"\b(?:(?:set|make|use|change)\s+)?(?:the\s+|a\s+|as\s+)*(?P<which>class|instance)[ _-]prompt\b\s*"
    r"(?:(?:(?:should|must|shall)\s+be|is|to|as|=|:)\s*)?(?:\"(?P<quoted>[^\"]+)\"|'(?P<single>[^']+)'|(?P<bare>[^;,.\n\"']+?)(?=\s+and\s|[;,.\n]|\s*$))"
)
"""What DreamBooth is told of its subject, and of the subject's kind."""
OPTIONS = re.compile(
    r"\b(?P<key>economy|recommended|best)\s+(?:option|plan|one)\b|\b(?:option|plan)\s+(?P<key2>economy|recommended|best)\b"
)
RESET = re.compile(
    r"\b(?:recommended|default|original|standard)\s+(?:settings?|config\w*|values|hyper\s?param\w*)|\breset\s+(?:the\s+)?(?:settings?|config\w*|everything)"
)
ALERT = re.compile(
    r"\b(?:alert|notify|warn|tell|ping|email|text)\b(?:\s+me|\s+us)?[^.;,]{0,30}?\b(?:at|when|after|from)\s+(?:it\s+(?:hits|reaches)\s+|about\s+)?(\d+(?:\.\d+)?)\s*(?:%|percent)"
)
FREEZE = re.compile(
    r"\b(?:freeze|stop|pause|halt)\b[^.;,]{0,30}?\b(?:at|when|after)\s+(?:it\s+(?:hits|reaches)\s+|about\s+)?(\d+(?:\.\d+)?)\s*(?:%|percent)"
)
OTHER_CAPABILITY = re.compile(
    r"\b(?:make|turn|change|switch)\s+(?:it|this)\s+(?:into|to|in)?\s*(?:an?\s+)?(?:video|image|music|voice|speech|code|coding|embedding|chat)\s+(?:model|generator|bot)\b"
)
