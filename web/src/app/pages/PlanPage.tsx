import { useMutation } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { type Authorization, Authorize, problems } from "../../features/budget/Authorize";
import { Attached } from "../../features/data/Attached";
import { HaveNeed } from "../../features/data/DatasetCard";
import { needOf } from "../../features/data/need";
import { ConsentForm, needOf as consentNeedOf, lacking, NO_CONSENT, Recorded } from "../../features/plan/Consent";
import { Judging, takenBy } from "../../features/plan/Judging";
import { ModelCheck } from "../../features/plan/ModelCheck";
import { Changes, Modify } from "../../features/plan/Modify";
import { Options } from "../../features/plan/Options";
import { Pipeline } from "../../features/plan/Pipeline";
import { Settings } from "../../features/plan/Settings";
import { Summary } from "../../features/plan/Summary";
import { type Edit, TileCard, TileTitle } from "../../features/plan/Tile";
import { usePlan } from "../../features/plan/usePlan";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { money } from "../../lib/format";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { Again } from "../../ui/Again";
import { Button } from "../../ui/Button";
import { ButtonLink } from "../../ui/Link";
import { ErrorBox, Loading, Missing } from "../../ui/States";

type Plan = Schemas["TrainingImplementationPlan"];

function startAuthorization(plan: Plan): Authorization {
  return {
    maxBudget: plan.choices.budgetMaxUsd > 0 ? plan.choices.budgetMaxUsd : Math.max(0.5, Math.ceil(plan.estimate.costUsd.max * 100) / 100),
    notifyAtPercent: plan.choices.notifyAtPercent, freezeAtPercent: plan.choices.freezeAtPercent, notificationChannels: ["in_app"], termsAccepted: false,
  };
}

export function PlanPage() {
  const { planId } = useParams({ from: "/plans/$planId" });
  const state = usePlan(planId);
  useDocumentTitle("Plan");
  if (state.problem && !state.made) return <Missing title="This plan cannot be shown" problem={state.problem} onRetry={state.reload} />;
  if (!state.made) return <Loading label="Loading the plan" rows={4} />;
  return <Review made={state.made} state={state} />;
}

function Review({ made, state }: { made: Schemas["Planned"]; state: ReturnType<typeof usePlan> }) {
  const { plan } = made;
  const navigate = useNavigate();
  const [authorization, setAuthorization] = useState(() => startAuthorization(plan));
  const [authorized, setAuthorized] = useState(false);
  const [consent, setConsent] = useState(NO_CONSENT);
  const need = consentNeedOf(plan);
  const locked = plan.status === "approved" || plan.status === "rejected";
  const approve = useMutation({
    mutationFn: () =>
      call(api.POST("/api/training/plans/{plan_id}/approve", {
        params: { path: { plan_id: plan.id } }, body: {
          budgetAuthorization: { ...authorization, termsAccepted: true },
          ...(need && { consent: { person: consent.person, statement: consent.statement } }),
        },
      })),
    onSuccess: ({ jobId }) => void navigate({ to: "/jobs/$jobId", params: { jobId } }),
  });
  const edit = (tile: string, change: Edit) => {
    // What was authorized was authorized for that plan: another plan asks again.
    setAuthorized(false);
    void state.edit(tile, change);
  };
  const custom = (tile: string, value: unknown) => edit(tile, { type: "custom_value", value, nlpPrompt: null });
  const missing = [
    ...(plan.approvable ? [] : [plan.whyNotApprovable ?? "This plan does not train yet."]), ...(need ? lacking(consent, need) : []), ...(authorized ? [] : ["The charges are not authorized yet."]),
  ];
  const method = plan.tiles.find((tile) => tile.category === "method");
  const extra: Partial<Record<Plan["tiles"][number]["category"], React.ReactNode>> = {
    data: <Attached datasetId={plan.choices.datasetId ?? null} onAttach={(id) => custom("data", id)} />,
    method: takenBy(method?.facts ?? {}).length > 0 && <Judging key={plan.updatedAt} choices={plan.choices} facts={method?.facts ?? {}} busy={state.busy} onSave={(value) => custom("method", value)} />,
    config: <Settings key={plan.updatedAt} settings={plan.choices.settings} busy={state.busy} onSave={(value) => custom("config", value)} />,
  };
  const drawings: typeof extra = {
    model: locked ? null : <ModelCheck planId={plan.id} model={plan.choices.baseModel} />,
    method: <Pipeline method={plan.choices.method} title={plan.summary.selectedMethod} pipeline={plan.pipeline} />,
    data: <div className="mt-4"><HaveNeed need={needOf(plan.tiles.find((tile) => tile.category === "data")?.facts ?? {})} /></div>,
  };
  return (
    <div className="grid gap-6">
      <Summary made={made} />
      {locked && <Decided plan={plan} />}
      {plan.pendingDecisions.length > 0 && !locked && (
        <section aria-label="Open questions" className="card grid gap-3 border-hold/40 p-4 sm:p-5">
          {plan.pendingDecisions.map((item) => (
            <div key={item.field}>
              <p className="font-medium">{item.question}</p>
              <p className="text-sm text-mid">Until you say otherwise: {item.default}</p>
              {item.choices.length > 0 && (
                <div className="mt-2 flex flex-wrap gap-2">{item.choices.map((choice) => <Button key={choice} busy={state.busy} onClick={() => void state.say(choice)}>{choice}</Button>)}</div>
              )}
            </div>
          ))}
        </section>
      )}
      {!locked && <Modify onSend={(words) => { setAuthorized(false); return state.say(words); }} busy={state.busy} problem={state.sayProblem} />}
      {state.changes && <Changes changes={state.changes} onClose={state.forget} />}
      {state.editProblem && <ErrorBox problem={state.editProblem} kept="The plan is as it was." />}
      <div aria-busy={state.busy} className="group/tiles grid gap-4 md:grid-cols-2 lg:grid-cols-3">
        {plan.tiles.filter((tile) => tile.category !== "budget").map((tile, at) => (
          <TileCard key={tile.id} tile={tile} at={at} moved={state.moved.has(tile.category)} busy={state.busy} locked={locked} onEdit={(change) => edit(tile.id, change)} drawing={drawings[tile.category]}>
            {extra[tile.category]}
          </TileCard>
        ))}
        {plan.tiles.filter((tile) => tile.category === "budget").map((tile) => (
          <section key={tile.id} aria-labelledby="tile-budget" className="card min-w-0 p-4 sm:p-5 md:col-span-2 lg:col-span-3">
            <TileTitle tile={tile} />
            <p className="mt-3 text-lg font-semibold">{tile.recommendation || tile.value}</p>
            <p className="mt-1 mb-5 max-w-[70ch] text-sm text-mid">{tile.description}</p>
            {locked ? (
              <p className="num">{plan.budgetAuthorization ? `Up to ${money(plan.budgetAuthorization.maxBudget)}` : tile.value}</p>
            ) : (
              <Authorize value={authorization} onChange={setAuthorization} expected={plan.estimate.costUsd} authorized={authorized} onAuthorize={setAuthorized} />
            )}
          </section>
        ))}
      </div>
      {need && !locked && <ConsentForm need={need} value={consent} onChange={setConsent} />}
      {locked && plan.consent && <Recorded consent={plan.consent} />}
      <Options plan={plan} busy={state.busy} locked={locked} onPick={(option) => edit("budget", { type: "select_alternative", value: option.key, nlpPrompt: null })} />
      {approve.isError && <ErrorBox problem={toProblem(approve.error)} kept="Nothing was started or charged." />}
      {approve.isError && toProblem(approve.error).code === "words_missing" && plan.choices.datasetId && (
        <ButtonLink to="/data/$datasetId" params={{ datasetId: plan.choices.datasetId }} icon="voice" className="justify-self-start">Words of the recordings</ButtonLink>
      )}
      {!locked && (
        <div className="sticky bottom-0 z-20 -mx-4 border-t border-edge bg-ink-950/95 px-4 py-3 sm:-mx-6 sm:px-6">
          <div className="flex flex-wrap items-center justify-between gap-3">
            <p id="missing" className="min-w-0 flex-1 basis-64 text-sm text-mid">{missing[0] ?? `Ready. It starts at once and may spend up to ${money(authorization.maxBudget)}.`}</p>
            <Button look="primary" icon="play" aria-describedby="missing" className="w-full sm:w-auto" busy={approve.isPending} disabled={missing.length > 0 || Object.keys(problems(authorization)).length > 0} onClick={() => approve.mutate()}>
              Approve &amp; Start Training
            </Button>
          </div>
        </div>
      )}
    </div>
  );
}

function Decided({ plan }: { plan: Plan }) {
  const approved = plan.status === "approved";
  return (
    <div className="card flex flex-wrap items-center justify-between gap-3 p-4">
      <p className="text-sm text-mid">{approved ? "This plan was approved and is locked. A changed mind is a new plan." : "This plan was put aside."}</p>
      <div className="flex flex-wrap gap-2">
        {plan.jobId && <ButtonLink to="/jobs/$jobId" params={{ jobId: plan.jobId }} look="primary" icon="arrow">Open its run</ButtonLink>}
        <Again planId={plan.id} />
      </div>
    </div>
  );
}
