import type { Schemas } from "../../lib/api";
import { duration, money, range, sentence, words } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Disclosure } from "../../ui/Disclosure";
import { Icon } from "../../ui/Icon";
import { findings, STEPS } from "./Generation";
import { tileTitle } from "./Tile";

const SOURCES: Record<string, string> = {
  measured: "measured on this machine", calibrated: "from earlier runs", analytic: "calculated, not measured yet", guess: "a guess",
};

export const hoursRange = (time: Schemas["Interval"]): string => range(time.low * 3600, time.high * 3600, duration);
export const costRange = (cost: Schemas["MoneyRange"]): string => range(cost.min, cost.max, money);

/** A hub name without its owner. */
export const shortName = (id: string): string => id.split("/").at(-1) ?? id;

/** What was asked, what it became, and what it takes. */
export function Summary({ made }: { made: Schemas["Planned"] }) {
  const { plan, contract } = made;
  const { summary, estimate } = plan;
  const model = plan.tiles.find((tile) => tile.category === "model");
  const facts: [string, string, (string | undefined)?][] = [
    ["Time", hoursRange(estimate.timeHours), SOURCES[estimate.timeHours.source ?? "analytic"]],
    ["Cost", costRange(estimate.costUsd), estimate.costUsd.pricesAsOf ? `prices of ${estimate.costUsd.pricesAsOf}` : `${money(estimate.pricePerHour)} per hour`],
    ["Model", model ? tileTitle(model) : shortName(summary.selectedModel)],
    ["Method", words(summary.selectedMethod)],
    ["Runs on", summary.gpuRequirement],
    ["Memory", range(estimate.vramGb.low, estimate.vramGb.high, (gb) => `${gb < 10 ? gb.toFixed(1) : gb.toFixed(0)} GB`)],
  ];
  return (
    <div className="grid gap-4">
      <div className="space-y-3">
        <div className="flex flex-wrap items-center gap-2">
          <Badge>{sentence(summary.targetCapability)}</Badge>
          <Badge>{sentence(summary.qualityTier)} tier</Badge>
          {summary.qualityBenchmark && !summary.qualityBenchmark.includes(summary.qualityTier) && <Badge>{words(summary.qualityBenchmark)}</Badge>}
        </div>
        <h1 className="max-w-4xl text-xl font-semibold break-words sm:text-2xl">{plan.prompt}</h1>
        <p className="max-w-[70ch] text-mid">{plan.prose}</p>
      </div>
      <dl className="card grid grid-cols-2 gap-px overflow-hidden bg-edge sm:grid-cols-3 lg:grid-cols-6">
        {facts.map(([name, value, hint]) => (
          <div key={name} className="min-w-0 bg-ink-900 p-4">
            <dt className="text-xs text-low">{name}</dt>
            <dd className="mt-0.5 font-medium break-words">
              {value}
              {hint && <span className="block text-xs font-normal text-low">{hint}</span>}
            </dd>
          </div>
        ))}
      </dl>
      {!plan.approvable && (
        <section aria-labelledby="blocked" className="flex gap-3 rounded-card border border-fault/50 bg-ink-900 p-4">
          <Icon name="alert" size={18} className="mt-0.5 text-fault" />
          <div className="min-w-0 text-sm">
            <h2 id="blocked" className="font-medium">This plan cannot be started</h2>
            <p className="mt-1 text-mid">{plan.whyNotApprovable}</p>
          </div>
        </section>
      )}
      {plan.warnings.length > 0 && (
        <section aria-labelledby="warnings" className="flex gap-3 rounded-card border border-hold/40 bg-ink-900 p-4">
          <Icon name="info" size={18} className="mt-0.5 text-hold" />
          <div className="min-w-0 text-sm">
            <h2 id="warnings" className="font-medium">Worth knowing</h2>
            <ul className="mt-1 grid gap-1 text-mid">{plan.warnings.map((warning) => <li key={warning} className="break-words">{warning}</li>)}</ul>
          </div>
        </section>
      )}
      <div>
      <Disclosure plain title="How this plan came about">
        <ol className="grid gap-3 pl-1 text-sm sm:grid-cols-2">
          {findings(made).map((found, at) => (
            <li key={STEPS[at]}><span className="block text-xs text-low">{STEPS[at]}</span><span className="text-mid">{found}</span></li>
          ))}
        </ol>
        {contract.assumptions.length > 0 && (
          <div className="mt-4 text-sm">
            <h3 className="text-xs text-low">Assumed, because it was not said</h3>
            <ul className="mt-1 grid list-disc gap-1 pl-5 text-mid">{contract.assumptions.map((line) => <li key={line}>{line}</li>)}</ul>
          </div>
        )}
        {contract.successCriteria.length > 0 && (
          <div className="mt-4 text-sm">
            <h3 className="text-xs text-low">It counts as a success when</h3>
            <ul className="mt-1 grid list-disc gap-1 pl-5 text-mid">{contract.successCriteria.map((line) => <li key={line.sentence}>{line.sentence}</li>)}</ul>
          </div>
        )}
      </Disclosure>
      <Disclosure plain title="Every step in detail">
        <ol className="grid list-decimal gap-1.5 pl-6 text-sm text-mid">{plan.detailedSteps.map((step) => <li key={step}>{step}</li>)}</ol>
      </Disclosure>
      </div>
    </div>
  );
}
