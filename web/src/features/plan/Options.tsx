import type { Schemas } from "../../lib/api";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { costRange, hoursRange } from "./Summary";

const KEYS: Record<Schemas["PlanOption"]["key"], string> = { economy: "Economy", recommended: "Recommended", best: "Best" };

/** Two or three whole plans at different prices. */
export function Options({ plan, busy, locked, onPick }: { plan: Schemas["TrainingImplementationPlan"]; busy: boolean; locked: boolean; onPick: (option: Schemas["PlanOption"]) => void }) {
  if (plan.options.length < 2) return null;
  const sameChoices = (option: Schemas["PlanOption"]): boolean =>
    (["baseModel", "method", "gpu", "gpuCount", "provider"] as const).every((name) => option.choices[name] === plan.choices[name]) &&
    option.choices.settings.epochs === plan.choices.settings.epochs;
  const chosen = plan.options.find(sameChoices);
  const offers = plan.tiles.find((tile) => tile.category === "budget")?.alternatives ?? [];
  const whyNot = (option: Schemas["PlanOption"]): string | null => {
    const offer = offers.find((item) => item.value === option.key);
    return offer && !offer.available ? (offer.whyNot ?? "Not available here.") : null;
  };
  const same = (option: Schemas["PlanOption"]): boolean => option === chosen;
  return (
    <section aria-labelledby="options" className="grid gap-3">
      <h2 id="options" className="text-xl font-semibold">Ways to do it, by price</h2>
      <ul className={`grid gap-3 ${plan.options.length > 2 ? "lg:grid-cols-3" : "lg:grid-cols-2"}`}>
        {plan.options.map((option) => {
          const [name, ...rest] = option.title.split(" · ");
          const missing = whyNot(option);
          return (
          <li key={option.key} className={`card flex min-w-0 flex-col p-4 sm:p-5 ${same(option) ? "border-signal/60" : ""}`}>
            <div className="flex min-h-6 flex-wrap items-center justify-between gap-2">
              <span className="text-xs text-low">{KEYS[option.key]}</span>
              {same(option) && <Badge tone="signal" icon="check">In this plan</Badge>}
            </div>
            <h3 className="mt-1 text-base font-semibold">
              {name}
              <span className="block text-sm font-normal text-mid"><span className="visually-hidden">, </span>{rest.join(", ")}</span>
            </h3>
            <p className="num mt-2 text-lg font-semibold">{costRange(option.costUsd)}</p>
            <p className="num text-xs text-low">{hoursRange(option.timeHours)}</p>
            <p className="mt-2 text-sm text-mid">{option.expectedQuality}</p>
            {option.limits && <p className="mt-1 text-xs text-low">{option.limits}</p>}
            {missing && !same(option) && <p className="mt-auto pt-3 text-sm text-hold">{missing}</p>}
            {!locked && !missing && !same(option) && (
              <div className="mt-auto pt-3"><Button busy={busy} onClick={() => onPick(option)}>Take this one<span className="visually-hidden">: {option.title}</span></Button></div>
            )}
          </li>
          );
        })}
      </ul>
    </section>
  );
}
