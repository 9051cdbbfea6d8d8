import type { Schemas } from "../../lib/api";
import { hours, words } from "../../lib/format";
import { Icon } from "../../ui/Icon";

const PLAIN: [RegExp, string][] = [
  [/rlhf|ppo/, "learn from a score"], [/grpo|rlvr/, "learn from checked answers"], [/dpo|orpo|kto|simpo|rlaif|constitutional/, "learn which answer is better"],
  [/qlora|lora|dora|vera|mora|adapter/, "learn the task on small added weights"], [/moe/, "split the work among experts"], [/temporal/, "learn motion"],
  [/full|fsdp|deepspeed|zero|galore/, "learn the task on all weights"], [/dreambooth|textual/, "learn a subject"], [/voice/, "learn a voice"],
];

const inWords = (method: string): string => PLAIN.find(([pattern]) => pattern.test(method))?.[1] ?? "train";

/** The pipeline drawn as its stages, with a plain word under each. */
export function Pipeline({ method, title, pipeline }: { method: string; title: string; pipeline: Schemas["TrainingPipeline"] | null | undefined }) {
  const stages = pipeline?.stages ?? [{ name: title, method, estimatedHours: 0, config: {}, requiresApproval: false }];
  return (
    <ol aria-label="Training stages" className="mt-3 flex flex-wrap items-stretch gap-2">
      {stages.map((stage, at) => (
        <li key={`${stage.method}-${at}`} className="flex min-w-0 items-center gap-2">
          {at > 0 && <Icon name="arrow" size={16} className="text-low" />}
          <span className="min-w-0 rounded-control border border-line/50 px-2.5 py-1.5 text-xs">
            <span className="block font-medium text-hi">{stage.name || words(stage.method)}</span>
            <span className="block text-low">{inWords(stage.method)}{stage.estimatedHours ? `, ${hours(stage.estimatedHours)}` : ""}</span>
          </span>
        </li>
      ))}
    </ol>
  );
}
