import type { Schemas } from "../../lib/api";
import { sentence } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Disclosure } from "../../ui/Disclosure";
import { costRange, hoursRange } from "./Summary";

type Option = Schemas["PlanOption"];

const KEYS: Record<Option["key"], string> = { economy: "Economy", recommended: "Recommended", best: "Best" };

/** Two or three whole plans at different prices, why each is what it is, and what would change the choice. */
export function Options({ plan, busy, locked, onPick }: { plan: Schemas["TrainingImplementationPlan"]; busy: boolean; locked: boolean; onPick: (option: Option) => void }) {
  const changes = plan.wouldChange ?? [];
  if (plan.options.length < 2 && !plan.options.some((option) => !option.inPlan) && changes.length === 0) return null;
  return (
    <section aria-labelledby="options" className="grid gap-3">
      <h2 id="options" className="text-xl font-semibold">Ways to do it, by price</h2>
      <ul className={`grid gap-3 ${plan.options.length > 2 ? "lg:grid-cols-3" : "lg:grid-cols-2"}`}>
        {plan.options.map((option) => <OptionCard key={option.key} option={option} busy={busy} locked={locked} onPick={onPick} />)}
      </ul>
      {changes.length > 0 && (
        <Disclosure title="What would change the choice" open={changes.length < 3}>
          <ul className="grid list-disc gap-1.5 pl-5 text-sm text-mid">{changes.map((change) => <li key={change} className="break-words">{change}</li>)}</ul>
        </Disclosure>
      )}
    </section>
  );
}

function OptionCard({ option, busy, locked, onPick }: { option: Option; busy: boolean; locked: boolean; onPick: (option: Option) => void }) {
  const [name, ...rest] = option.title.split(" · ");
  return (
    <li className={`card flex min-w-0 flex-col p-4 sm:p-5 ${option.inPlan ? "border-signal/60" : ""}`}>
      <div className="flex min-h-6 flex-wrap items-center justify-between gap-2">
        <span className="text-xs text-low">{KEYS[option.key]}</span>
        {option.inPlan && <Badge tone="signal" icon="check">In this plan</Badge>}
      </div>
      <h3 className="mt-1 text-base font-semibold break-words">
        {name}
        <span className="block text-sm font-normal text-mid"><span className="visually-hidden">, </span>{rest.join(", ")}</span>
      </h3>
      <p className="num mt-2 text-lg font-semibold">{costRange(option.costUsd)}</p>
      <p className="num text-xs text-low">{hoursRange(option.timeHours)}</p>
      <p className="mt-2 text-sm text-mid">{option.expectedQuality}</p>
      {option.limits && <p className="mt-1 text-xs break-words text-low">{option.limits}</p>}
      {(option.reasons ?? []).length > 0 && (
        <Disclosure plain title={<>Why<span className="visually-hidden"> {KEYS[option.key]}: {option.title}</span></>}>
          <dl className="grid gap-2 text-xs">
            {(option.reasons ?? []).map((reason) => (
              <div key={reason.axis}>
                <dt className="text-low">{sentence(reason.axis)}{reason.asked ? ", as you asked" : ""}</dt>
                <dd className="break-words text-mid">
                  {reason.sentence}
                  {reason.source && <span className="block text-low">{sentence(reason.source)}{reason.asOf ? `, ${reason.asOf}` : ""}</span>}
                </dd>
              </div>
            ))}
          </dl>
        </Disclosure>
      )}
      {!option.available && <p className="mt-auto pt-3 text-sm text-hold">{option.whyNot ?? "Not available here."}</p>}
      {!locked && !option.inPlan && (
        <div className={`pt-3 ${option.available ? "mt-auto" : ""}`}><Button busy={busy} onClick={() => onPick(option)}>Take this one<span className="visually-hidden">: {option.title}</span></Button></div>
      )}
    </li>
  );
}
