"""The tiers from the plainest up, and which methods each tries first."""

TIERS = ("consumer", "professional", "flagship", "research")
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "text": {
        "consumer": ("qlora", "lora", "dora", "vera", "galore", "full_finetune"),
        "professional": ("dora+dpo", "hybrid_lora_dpo", "dora", "lora", "full_finetune", "galore"),
        "flagship": ("hybrid_full_rlhf", "full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "dora+dpo", "dora", "lora"),
        "research": ("megatron_lm", "3d_parallelism", "full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
    "code": {
        "consumer": ("qlora", "lora", "dora", "full_finetune"),
        "professional": ("qlora+rlvr", "lora+rlvr", "dora", "qlora", "lora", "full_finetune"),
        "flagship": ("full_finetune_deepspeed+rlvr", "full_finetune_deepspeed", "qlora+rlvr", "dora", "lora"),
        "research": ("megatron_lm", "full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
    "image": {
        "consumer": ("dora", "lora", "dreambooth", "textual_inversion", "full_finetune"),
        "professional": ("dora", "lora+dpo", "lora", "full_finetune"),
        "flagship": ("full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "dora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_deepspeed"),
    },
    "video": {
        "consumer": ("lora", "dora", "temporal_adaptation"),
        "professional": ("temporal_adaptation", "lora", "dora"),
        "flagship": ("flagship_video", "temporal_adaptation+dpo", "temporal_adaptation", "lora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_fsdp"),
    },
    "music": {
        "consumer": ("lora", "full_finetune"),
        "professional": ("full_finetune+dpo", "hybrid_lora_dpo", "full_finetune", "lora"),
        "flagship": ("flagship_music", "full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "lora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_fsdp"),
    },
    "voice": {
        "consumer": ("voice_clone", "lora", "full_finetune"),
        "professional": ("full_finetune", "voice_clone", "lora"),
        "flagship": ("full_finetune", "voice_clone", "lora"),
        "research": ("full_finetune", "voice_clone", "lora"),
    },
    "embedding": {
        "consumer": ("contrastive", "lora", "full_finetune"),
        "professional": ("contrastive", "full_finetune", "lora"),
        "flagship": ("full_finetune", "contrastive", "lora"),
        "research": ("full_finetune", "contrastive", "lora"),
    },
    "vision_language": {
        "consumer": ("qlora", "lora", "dora", "full_finetune"),
        "professional": ("cross_modal_alignment+qlora", "cross_modal_alignment+dora", "qlora", "dora", "lora", "full_finetune"),
        "flagship": ("cross_modal_alignment+full_finetune_deepspeed", "full_finetune_deepspeed", "hybrid_lora_dpo", "qlora"),
        "research": ("full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
}
"""Per modality and tier, in order of preference; "a+b" is a then b. The tiers are those of the specification."""


def tiers_down(tier: str) -> tuple[str, ...]:
    """A tier and those below it, the highest first; unknown ones alone."""
    return TIERS[TIERS.index(tier) :: -1] if tier in TIERS else (tier,)


def tier_above(tier: str) -> str | None:
    """The next tier up; None above the highest."""
    return TIERS[TIERS.index(tier) + 1] if tier in TIERS[:-1] else None
