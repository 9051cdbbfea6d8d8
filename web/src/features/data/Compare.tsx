import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { money } from "../../lib/format";
import { Button } from "../../ui/Button";
import { ErrorBox } from "../../ui/States";
import type { Dataset } from "./client";

const MOST_PAIRS = 50;

/** Starts a set of answers to compare by hand. Where a model would write the second answers, its forecast comes first. */
export function Compare({ data }: { data: Dataset }) {
  const navigate = useNavigate();
  const start = useMutation({
    mutationFn: (confirmed: boolean) =>
      call(api.POST("/api/training/data/preference-pairs", {
        body: { sourceData: data.id, generationMethod: "human_annotation", pairsNeeded: Math.min(MOST_PAIRS, Math.max(1, data.rows)), qualityCriteria: "correct, complete, helpful and clear", confirmed },
      })),
    onSuccess: (made, confirmed) => {
      if (confirmed || !made.forecast) void navigate({ to: "/label/$setId", params: { setId: made.id } });
    },
  });
  const forecast = start.data && !start.variables ? start.data.forecast : null;
  return (
    <div className="grid justify-items-start gap-2">
      {forecast ? <Forecast forecast={forecast} busy={start.isPending} onConfirm={() => start.mutate(true)} /> : (
        <Button look="quiet" icon="list" busy={start.isPending} onClick={() => start.mutate(false)}>Compare answers by hand</Button>
      )}
      {start.isError && <ErrorBox problem={toProblem(start.error)} kept="Nothing was asked or spent." />}
    </div>
  );
}

function Forecast({ forecast, busy, onConfirm }: { forecast: Schemas["MakingForecast"]; busy: boolean; onConfirm: () => void }) {
  if (!forecast.model) return <p className="text-sm text-hold">These rows hold one answer each, and no language model is set up here to write a second one. Upload rows with two answers.</p>;
  return (
    <>
      <p className="text-sm text-mid">{forecast.model} would write the second answers: {forecast.calls} calls, about {money(forecast.expectedUsd)} of {money(forecast.leftUsd)} left.</p>
      <Button busy={busy} onClick={onConfirm}>Write them and compare</Button>
    </>
  );
}
