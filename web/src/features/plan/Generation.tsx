import { useEffect, useRef, useState } from "react";
import type { Schemas } from "../../lib/api";
import { duration, money, range, sentence, words } from "../../lib/format";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";

export const STEPS = ["Parsing intent", "Selecting models", "Choosing methods", "Estimating costs", "Generating plan"] as const;

/** What each step found, from the answer itself: nothing is shown as done before it is. */
export function findings({ contract, plan }: Schemas["Planned"]): string[] {
  const tier = plan.summary.qualityTier;
  const also = Math.max(0, contract.recommendedBaseModels.length - 1);
  const methods = Math.max(0, contract.recommendedMethods.length - 1);
  return [
    `${sentence(plan.summary.targetCapability)}, ${words(tier)} tier${plan.intent.budgetMaxUsd ? `, budget ${money(plan.intent.budgetMaxUsd)}` : ""}`,
    `${plan.summary.selectedModel}${also ? `, with ${also} other${also > 1 ? "s" : ""} to choose from` : ""}`,
    `${words(plan.summary.selectedMethod)}${methods ? `, with ${methods} other${methods > 1 ? "s" : ""}` : ""}`,
    `${range(plan.estimate.costUsd.min, plan.estimate.costUsd.max, money)} and ${range(plan.estimate.timeHours.low * 3600, plan.estimate.timeHours.high * 3600, duration)}`,
    `${plan.tiles.length} tiles, ${plan.options.length || 1} option${plan.options.length > 1 ? "s" : ""}`,
  ];
}

const READ_MS = 1200;

/** Shown from the sending of the request until its plan opens. */
export function Generation({
  prompt, made, onDone, onCancel,
}: { prompt: string; made: Schemas["Planned"] | null; onDone: () => void; onCancel: () => void }) {
  const [seconds, setSeconds] = useState(0);
  const done = useRef(onDone);
  useEffect(() => {
    done.current = onDone;
  }, [onDone]);
  useEffect(() => {
    const timer = made ? setTimeout(() => done.current(), READ_MS) : undefined;
    const clock = made ? undefined : setInterval(() => setSeconds((before) => before + 1), 1000);
    return () => {
      clearTimeout(timer);
      clearInterval(clock);
    };
  }, [made]);
  const found = made ? findings(made) : [];
  return (
    <section aria-labelledby="generation" className="mx-auto grid max-w-2xl gap-6 pt-8 sm:pt-14">
      <div className="space-y-2">
        <h1 id="generation" className="text-2xl font-semibold">Analyzing your training requirements with AI...</h1>
        <p className="line-clamp-3 break-words text-mid">“{prompt}”</p>
      </div>
      <ol className="card divide-y divide-edge">
        {STEPS.map((step, at) => (
          <li key={step} className="flex min-h-16 items-center gap-4 px-5 py-3">
            <span className={`grid size-8 shrink-0 place-items-center rounded-full border ${found[at] ? "border-signal/50 text-signal" : "border-line/60 text-low"}`}>
              {found[at] ? <Icon name="check" size={16} /> : <span className="num text-xs">{at + 1}</span>}
            </span>
            <span className="min-w-0">
              <span className={`block text-sm font-medium ${found[at] ? "text-hi" : "text-mid"}`}>{step}</span>
              {found[at] && <span className="enter block text-sm break-words text-mid">{found[at]}</span>}
            </span>
          </li>
        ))}
      </ol>
      <div className="flex items-center justify-between gap-4">
        <p role="status" className="text-sm text-low">{made ? "The plan is ready." : seconds >= 2 ? `Working for ${seconds} s` : "Working"}</p>
        {made ? <Button look="primary" icon="arrow" onClick={onDone}>Review the plan</Button> : <Button look="quiet" onClick={onCancel}>Cancel</Button>}
      </div>
    </section>
  );
}
